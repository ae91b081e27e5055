//! DescribeTransactions (key 65), version 0 (KIP-664).

use crate::message::message;

message! {
    DescribeTransactions request, versions 0-0, flexible 0+;
    /// Asks where transactional ids stand.
    DescribeTransactionsRequest {
        /// The transactional ids.
        transactional_ids: Vec<String> [0+],
    }
}

message! {
    DescribeTransactions response, versions 0-0, flexible 0+;
    /// Where the transactional ids stand.
    DescribeTransactionsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The transactions.
        transaction_states: Vec<TransactionState> [0+],
    }

    /// Where one transactional id stands.
    TransactionState {
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The transactional id.
        transactional_id: String [0+],
        /// The name of its state.
        transaction_state: String [0+],
        /// How long a transaction may take, in milliseconds.
        transaction_timeout_ms: i32 [0+],
        /// When the transaction under way began, Unix milliseconds; -1 without one.
        transaction_start_time_ms: i64 [0+],
        /// The producer's id.
        producer_id: i64 [0+],
        /// The producer's epoch.
        producer_epoch: i16 [0+],
        /// The partitions of the transaction under way, by topic.
        topics: Vec<TopicData> [0+],
    }

    /// Partitions of one topic.
    TopicData {
        /// The topic's name.
        topic: String [0+],
        /// The partitions' numbers.
        partitions: Vec<i32> [0+],
    }
}
