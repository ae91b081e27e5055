//! EndTxn (key 26), versions 0 to 5.
//!
//! Versions: 3 flexible. 4 the error TRANSACTION_ABORTABLE. 5 the answer has the session of the next transaction (KIP-890).

use crate::message::message;

message! {
    EndTxn request, versions 0-5, flexible 3+;
    /// Commits or aborts a transaction.
    EndTxnRequest {
        /// The transactional id.
        transactional_id: String [0+],
        /// The producer's id.
        producer_id: i64 [0+],
        /// The producer's epoch.
        producer_epoch: i16 [0+],
        /// Whether to commit; else to abort.
        committed: bool [0+],
    }
}

message! {
    EndTxn response, versions 0-5, flexible 3+;
    /// Whether the transaction has ended.
    EndTxnResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// The producer id of the next transaction; -1 when there was an error.
        producer_id: i64 [5+, default -1],
        /// The epoch of the next transaction; -1 when there was an error.
        producer_epoch: i16 [5+, default -1],
    }
}
