//! AddOffsetsToTxn (key 25), versions 0 to 4.
//!
//! Versions: 3 flexible. 4 the error TRANSACTION_ABORTABLE.

use crate::message::message;

message! {
    AddOffsetsToTxn request, versions 0-4, flexible 3+;
    /// Makes the offsets of a group part of a transaction.
    AddOffsetsToTxnRequest {
        /// The transactional id.
        transactional_id: String [0+],
        /// The producer's id.
        producer_id: i64 [0+],
        /// The producer's epoch.
        producer_epoch: i16 [0+],
        /// The group.
        group_id: String [0+],
    }
}

message! {
    AddOffsetsToTxn response, versions 0-4, flexible 3+;
    /// Whether they are.
    AddOffsetsToTxnResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
