//! ListTransactions (key 66), versions 0 to 2 (KIP-664).
//!
//! Versions: 1 how long they have run (KIP-994). 2 by a pattern of ids (KIP-1152).

use crate::message::message;

message! {
    ListTransactions request, versions 0-2, flexible 0+;
    /// Asks which transactional ids there are.
    ListTransactionsRequest {
        /// Only those in one of these states; all when empty.
        state_filters: Vec<String> [0+],
        /// Only those of these producers; all when empty.
        producer_id_filters: Vec<i64> [0+],
        /// Only transactions that have run for at least so many milliseconds; all when negative.
        duration_filter: i64 [1+, default -1],
        /// Only ids that match this RE2 pattern; all when null or empty.
        transactional_id_pattern: Option<String> [2+, nullable 2+, default None],
    }
}

message! {
    ListTransactions response, versions 0-2, flexible 0+;
    /// The transactional ids.
    ListTransactionsResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// Filters that name no state.
        unknown_state_filters: Vec<String> [0+],
        /// The transactions.
        transaction_states: Vec<TransactionState> [0+],
    }

    /// One transactional id.
    TransactionState {
        /// The transactional id.
        transactional_id: String [0+],
        /// The producer's id.
        producer_id: i64 [0+],
        /// The name of its state.
        transaction_state: String [0+],
    }
}
