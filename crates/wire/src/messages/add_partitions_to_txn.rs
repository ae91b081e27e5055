//! AddPartitionsToTxn (key 24), versions 0 to 5.
//!
//! Versions: 3 flexible. 4 many transactions at once, and `verify_only`: sent between brokers only (KIP-890).

use crate::message::message;

message! {
    AddPartitionsToTxn request, versions 0-5, flexible 3+;
    /// Makes partitions part of a transaction.
    AddPartitionsToTxnRequest {
        /// The transactions.
        transactions: Vec<AddPartitionsToTxnTransaction> [4+],
        /// The transactional id.
        v3_and_below_transactional_id: String [0-3],
        /// The producer's id.
        v3_and_below_producer_id: i64 [0-3],
        /// The producer's epoch.
        v3_and_below_producer_epoch: i16 [0-3],
        /// The partitions, by topic.
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [0-3],
    }

    /// A transaction and the partitions that join it.
    AddPartitionsToTxnTransaction {
        /// The transactional id.
        transactional_id: String [4+],
        /// The producer's id.
        producer_id: i64 [4+],
        /// The producer's epoch.
        producer_epoch: i16 [4+],
        /// Whether only to say if the partitions are part of the transaction.
        verify_only: bool [4+],
        /// The partitions, by topic.
        topics: Vec<AddPartitionsToTxnTopic> [4+],
    }

    /// Partitions of one topic.
    AddPartitionsToTxnTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions' numbers.
        partitions: Vec<i32> [0+],
    }
}

message! {
    AddPartitionsToTxn response, versions 0-5, flexible 3+;
    /// Which partitions are part of the transactions.
    AddPartitionsToTxnResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code for the whole request, 0 when all went well.
        error_code: i16 [4+],
        /// The answers, by transaction.
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4+],
        /// The answers, by topic.
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [0-3],
    }

    /// The answers for one transaction.
    AddPartitionsToTxnResult {
        /// The transactional id.
        transactional_id: String [4+],
        /// The answers, by topic.
        topic_results: Vec<AddPartitionsToTxnTopicResult> [4+],
    }

    /// The answers for one topic.
    AddPartitionsToTxnTopicResult {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [0+],
    }

    /// The answer for one partition.
    AddPartitionsToTxnPartitionResult {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        partition_error_code: i16 [0+],
    }
}
