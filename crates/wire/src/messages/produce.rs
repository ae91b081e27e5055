//! Produce (key 0), versions 3 to 13.
//!
//! The request is read by hand, see [`crate::produce`].
//!
//! Versions: 5 log start offset. 8 record errors. 9 flexible. 10 current leader and node endpoints. 13 topic ids.

use ottla_rules::ids::TopicId;

use crate::message::message;

message! {
    Produce response, versions 3-13, flexible 9+;
    /// What became of the batches.
    ProduceResponse {
        /// The answers, one for each thing that was asked for.
        responses: Vec<TopicProduceResponse> [0+],
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// Where the leaders that are named above listen (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [10+, tag 0],
    }

    /// The answers for one topic.
    TopicProduceResponse {
        /// The topic's name.
        name: String [0-12],
        /// The topic's id.
        topic_id: TopicId [13+],
        /// The answers, one for each partition.
        partition_responses: Vec<PartitionProduceResponse> [0+],
    }

    /// The answer for one partition.
    PartitionProduceResponse {
        /// The partition's number within its topic.
        index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The offset of the first record; -1 after an error.
        base_offset: i64 [0+],
        /// The time the broker gave to the records; -1 when theirs stand.
        log_append_time_ms: i64 [2+, default -1],
        /// The first offset that still exists; -1 when not known.
        log_start_offset: i64 [5+, default -1],
        /// The records that were the reason of a refusal.
        record_errors: Vec<BatchIndexAndErrorMessage> [8+],
        /// What is wrong with the batch as a whole.
        error_message: Option<String> [8+, nullable 8+, default None],
        /// Who leads now, when the one asked does not (KIP-951).
        current_leader: LeaderIdAndEpoch [10+, tag 0],
    }

    /// What is wrong with one record.
    BatchIndexAndErrorMessage {
        /// The number of the record in its batch.
        batch_index: i32 [8+],
        /// What is wrong with it.
        batch_index_error_message: Option<String> [8+, nullable 8+, default None],
    }

    /// Who leads a partition.
    LeaderIdAndEpoch {
        /// The leader's node id; -1 when there is none.
        leader_id: i32 [10+, default -1],
        /// The epoch of the leader; -1 when not known.
        leader_epoch: i32 [10+, default -1],
    }

    /// Where a node listens.
    NodeEndpoint {
        /// The node's id.
        node_id: i32 [10+],
        /// Where the node listens.
        host: String [10+],
        /// The port it listens on.
        port: i32 [10+],
        /// Its rack; null when it has none.
        rack: Option<String> [10+, nullable 10+, default None],
    }
}
