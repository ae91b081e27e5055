//! InitProducerId (key 22), versions 0 to 5.
//!
//! Versions: 2 flexible. 3 the client names the id and epoch it has. (6, two-phase commit, is not stable in Kafka.)

use crate::message::message;

message! {
    InitProducerId request, versions 0-5, flexible 2+;
    /// Asks for a producer id.
    InitProducerIdRequest {
        /// The transactional id; null without transactions.
        transactional_id: Option<String> [0+, nullable 0+],
        /// After how long an open transaction may be aborted, in milliseconds.
        transaction_timeout_ms: i32 [0+],
        /// The producer's id; -1 for none.
        producer_id: i64 [3+, default -1],
        /// The producer's epoch; -1 for none.
        producer_epoch: i16 [3+, default -1],
    }
}

message! {
    InitProducerId response, versions 0-5, flexible 2+;
    /// The producer id.
    InitProducerIdResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The producer's id; -1 for none.
        producer_id: i64 [0+, default -1],
        /// The producer's epoch; -1 for none.
        producer_epoch: i16 [0+],
    }
}
