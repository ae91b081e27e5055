//! WriteTxnMarkers (key 27), versions 1 and 2.
//!
//! Versions: 2 the rules of the transaction (KIP-1228).

use crate::message::message;

message! {
    WriteTxnMarkers request, versions 1-2, flexible 1+;
    /// Ends transactions in partitions.
    WriteTxnMarkersRequest {
        /// The markers.
        markers: Vec<WritableTxnMarker> [0+],
    }

    /// The end of one producer's transaction.
    WritableTxnMarker {
        /// The producer's id.
        producer_id: i64 [0+],
        /// The producer's epoch.
        producer_epoch: i16 [0+],
        /// Whether it is committed; else it is aborted.
        transaction_result: bool [0+],
        /// The partitions, by topic.
        topics: Vec<WritableTxnMarkerTopic> [0+],
        /// The reign of the coordinator.
        coordinator_epoch: i32 [0+],
        /// The level of `transaction.version` that the transaction follows.
        transaction_version: i8 [2+],
    }

    /// Partitions of one topic.
    WritableTxnMarkerTopic {
        /// The topic's name.
        name: String [0+],
        /// The partitions' numbers.
        partition_indexes: Vec<i32> [0+],
    }
}

message! {
    WriteTxnMarkers response, versions 1-2, flexible 1+;
    /// Which markers are written.
    WriteTxnMarkersResponse {
        /// The answers, by marker.
        markers: Vec<WritableTxnMarkerResult> [0+],
    }

    /// The answers for one producer.
    WritableTxnMarkerResult {
        /// The producer's id.
        producer_id: i64 [0+],
        /// The answers, by topic.
        topics: Vec<WritableTxnMarkerTopicResult> [0+],
    }

    /// The answers for one topic.
    WritableTxnMarkerTopicResult {
        /// The topic's name.
        name: String [0+],
        /// The partitions.
        partitions: Vec<WritableTxnMarkerPartitionResult> [0+],
    }

    /// The answer for one partition.
    WritableTxnMarkerPartitionResult {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
    }
}
