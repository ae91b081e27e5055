//! Fetch (key 1), versions 4 to 18.
//!
//! Versions: 5 log start offset. 7 sessions. 9 leader epochs. 11 rack and preferred replica. 12 flexible, last fetched and
//! diverging epoch. 13 topic ids. 15 replica state. 16 node endpoints. 17 directory ids. 18 the replica's high watermark.

use ottla_rules::ids::TopicId;

use crate::{fetch::Records, message::message};

message! {
    Fetch request, versions 4-18, flexible 12+;
    /// Asks for records.
    FetchRequest {
        /// The cluster the asking replica believes to be in.
        cluster_id: Option<String> [12+, nullable 12+, tag 0, default None],
        /// The node that asks; -1 for a client that is not a node.
        replica_id: i32 [0-14, default -1],
        /// Who asks, from version 15.
        replica_state: ReplicaState [15+, tag 1],
        /// How long an answer may wait for `min_bytes`, in milliseconds.
        max_wait_ms: i32 [0+],
        /// How many bytes are worth an answer.
        min_bytes: i32 [0+],
        /// How many bytes of records an answer should have at most.
        max_bytes: i32 [3+, default i32::MAX],
        /// 0: read uncommitted, 1: read committed.
        isolation_level: i8 [4+],
        /// The fetch session (KIP-227); 0 for none.
        session_id: i32 [7+],
        /// The number of the request in its session; -1 for none, 0 to open one.
        session_epoch: i32 [7+, default -1],
        /// The topics.
        topics: Vec<FetchTopic> [0+],
        /// What to drop from the fetch session.
        forgotten_topics_data: Vec<ForgottenTopic> [7+],
        /// The client's rack, to be served by a replica nearby (KIP-392).
        rack_id: String [11+],
    }

    /// The replica that asks.
    ReplicaState {
        /// The node that asks; -1 for a client that is not a node.
        replica_id: i32 [15+, default -1],
        /// The broker epoch of the replica that asks; -1 when it has none.
        replica_epoch: i64 [15+, default -1],
    }

    /// A topic to read.
    FetchTopic {
        /// The topic's name, before version 13.
        topic: String [0-12],
        /// The topic's id.
        topic_id: TopicId [13+],
        /// The partitions.
        partitions: Vec<FetchPartition> [0+],
    }

    /// A partition to read.
    FetchPartition {
        /// The partition's number within its topic.
        partition: i32 [0+],
        /// The leader epoch that the client knows; -1 when it knows none.
        current_leader_epoch: i32 [9+, default -1],
        /// The first offset wanted.
        fetch_offset: i64 [0+],
        /// The leader epoch of the last record the client has; -1 for none.
        last_fetched_epoch: i32 [12+, default -1],
        /// The first offset that the asking replica has; -1 from a client.
        log_start_offset: i64 [5+, default -1],
        /// How many bytes of this partition an answer should have at most.
        partition_max_bytes: i32 [0+],
        /// The data directory of the asking replica.
        replica_directory_id: TopicId [17+, tag 0],
        /// The high watermark that the asking replica knows; the highest number from a client (KIP-1166).
        high_watermark: i64 [18+, tag 1, default i64::MAX],
    }

    /// A topic to drop from the session.
    ForgottenTopic {
        /// The topic's name.
        topic: String [7-12],
        /// The topic's id.
        topic_id: TopicId [13+],
        /// The partitions' numbers.
        partitions: Vec<i32> [7+],
    }
}

message! {
    Fetch response, versions 4-18, flexible 12+;
    /// The records, or where in the response they belong, see [`crate::fetch`].
    FetchResponse {
        /// For how long the client should be quiet, in milliseconds, because it is over its quota.
        throttle_time_ms: i32 [1+],
        /// An error of the request as a whole.
        error_code: i16 [7+],
        /// The fetch session (KIP-227); 0 for none.
        session_id: i32 [7+],
        /// The answers, one for each thing that was asked for.
        responses: Vec<FetchableTopicResponse> [0+],
        /// Where the leaders that are named above listen (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [16+, tag 0],
    }

    /// The answers for one topic.
    FetchableTopicResponse {
        /// The topic's name, before version 13.
        topic: String [0-12],
        /// The topic's id.
        topic_id: TopicId [13+],
        /// The partitions.
        partitions: Vec<PartitionData> [0+],
    }

    /// The answer for one partition.
    PartitionData {
        /// The partition's number within its topic.
        partition_index: i32 [0+],
        /// Kafka's error code, 0 when all went well.
        error_code: i16 [0+],
        /// One past the last offset that all in-sync replicas have; -1 after an error.
        high_watermark: i64 [0+],
        /// One past the last offset below which every transaction is decided.
        last_stable_offset: i64 [4+, default -1],
        /// The first offset that still exists; -1 when not known.
        log_start_offset: i64 [5+, default -1],
        /// Where the asking replica's log parts from the leader's.
        diverging_epoch: EpochEndOffset [12+, tag 0],
        /// Who leads now, when the one asked does not (KIP-951).
        current_leader: LeaderIdAndEpoch [12+, tag 1],
        /// The snapshot to read first (only KRaft's own log).
        snapshot_id: SnapshotId [12+, tag 2],
        /// Aborted transactions in the range, by first offset; null for a reader of uncommitted records.
        /// (The default is null, unlike in Kafka's schema: Kafka's broker always sets it.)
        aborted_transactions: Option<Vec<AbortedTransaction>> [4+, nullable 4+, default None],
        /// The node to read from instead (KIP-392); -1 for this one.
        preferred_read_replica: i32 [11+, default -1],
        /// The batches of records, or the gap that they will fill.
        records: Option<Records> [0+, nullable 0+],
    }

    /// Where an epoch ends in one partition.
    EpochEndOffset {
        /// The epoch; -1 for none.
        epoch: i32 [12+, default -1],
        /// One past the last offset of that epoch; -1 when not known.
        end_offset: i64 [12+, default -1],
    }

    /// Who leads a partition.
    LeaderIdAndEpoch {
        /// The leader's node id; -1 when there is none.
        leader_id: i32 [12+, default -1],
        /// The epoch of the leader; -1 when not known.
        leader_epoch: i32 [12+, default -1],
    }

    /// Where a snapshot ends.
    SnapshotId {
        /// One past the last offset of that epoch; -1 when not known.
        end_offset: i64 [0+, default -1],
        /// The epoch; -1 for none.
        epoch: i32 [0+, default -1],
    }

    /// A transaction whose records a reader of committed ones must skip.
    AbortedTransaction {
        /// The producer's id; -1 for none.
        producer_id: i64 [4+],
        /// The first offset of the transaction.
        first_offset: i64 [4+],
    }

    /// Where a node listens.
    NodeEndpoint {
        /// The node's id.
        node_id: i32 [16+],
        /// Where the node listens.
        host: String [16+],
        /// The port it listens on.
        port: i32 [16+],
        /// Its rack; null when it has none.
        rack: Option<String> [16+, nullable 16+, default None],
    }
}
