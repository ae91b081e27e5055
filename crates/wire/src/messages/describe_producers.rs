//! DescribeProducers (key 61), version 0 (KIP-664).

use crate::message::message;

message! {
    DescribeProducers request, versions 0-0, flexible 0+;
    /// Asks who writes to partitions.
    DescribeProducersRequest {
        /// The partitions, by topic.
        topics: Vec<TopicRequest> [0+],
    }

    /// Partitions of one topic.
    TopicRequest {
        /// The topic's name.
        name: String [0+],
        /// The partitions' numbers.
        partition_indexes: Vec<i32> [0+],
    }
}

message! {
    DescribeProducers response, versions 0-0, flexible 0+;
    /// Who writes to the partitions.
    DescribeProducersResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// The partitions, by topic.
        topics: Vec<TopicResponse> [0+],
    }

    /// The partitions of one topic.
    TopicResponse {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<PartitionResponse> [0+],
    }

    /// Who writes to one partition.
    PartitionResponse {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// A sentence for a person; null when there is nothing to say.
        error_message: Option<String> [0+, nullable 0+, default None],
        /// The producers.
        active_producers: Vec<ProducerState> [0+],
    }

    /// One producer.
    ProducerState {
        /// Its id.
        producer_id: i64 [0+],
        /// Its epoch.
        producer_epoch: i32 [0+],
        /// The sequence of its last record; -1 for none.
        last_sequence: i32 [0+, default -1],
        /// The time of its last record, Unix milliseconds; -1 for none.
        last_timestamp: i64 [0+, default -1],
        /// The reign of the coordinator that wrote its last marker; -1 for none.
        coordinator_epoch: i32 [0+],
        /// Where the transaction begins that it has open; -1 for none.
        current_txn_start_offset: i64 [0+, default -1],
    }
}
