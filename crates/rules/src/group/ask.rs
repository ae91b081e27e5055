//! What a group is asked, and what it answers.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    cluster::Image,
    group::{WriteError, classic::Description, consumer::ConsumerDescription, offsets::Fetched},
    ids::TopicId,
    partition::Joining,
    records::TopicPartitions,
    transaction::{Session, TransactionError},
};

/// A request to one group.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Join, or join again (JoinGroup).
    Join(Join),
    /// Get, or bring, assignments (SyncGroup).
    Sync(Sync),
    /// Say that a member lives (Heartbeat).
    Heartbeat(Heartbeat),
    /// Take members out (LeaveGroup).
    Leave(Vec<Leaver>),
    /// Commit offsets (OffsetCommit), or make them part of a transaction (TxnOffsetCommit).
    Commit(CommitOffsets),
    /// Read what was committed (OffsetFetch).
    FetchOffsets {
        /// The partitions by topic; none is all that there are.
        topics: Option<Vec<(String, Vec<i32>)>>,
        /// The member that asks, and its epoch; none outside of the consumer protocol.
        reader: Option<(String, i32)>,
        /// Rather nothing than an offset that a transaction may still change.
        stable: bool,
    },
    /// Forget what was committed (OffsetDelete).
    DeleteOffsets {
        /// The partitions.
        topics: Vec<(String, i32)>,
    },
    /// Join, stay or leave by the consumer protocol (ConsumerGroupHeartbeat).
    ConsumerHeartbeat(ConsumerHeartbeat),
    /// Tell all about the group (DescribeGroups).
    Describe,
    /// The same of a group of the consumer protocol (ConsumerGroupDescribe).
    ConsumerDescribe,
    /// Forget the group (DeleteGroups).
    Delete,
}

/// A member joins.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// Its id; empty before it has one.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from, as Kafka writes it: `/127.0.0.1`.
    pub client_host: String,
    /// After how long a silence it is given up, in milliseconds.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for it, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// What it takes the group to be for.
    pub protocol_type: String,
    /// The ways of assigning that it supports, best first.
    pub protocols: Vec<(String, Bytes)>,
    /// A member without an id is given one first and has to come again with it (KIP-394).
    pub id_first: bool,
    /// It understands that a leader may be told to keep the assignment.
    pub can_skip: bool,
    /// Sixteen random bytes, for the id of a new member.
    pub chance: [u8; 16],
}

/// A member wants its assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sync {
    /// Its id.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// The generation it believes in.
    pub generation: i32,
    /// What it believes the group is for; none when it does not say.
    pub protocol_type: Option<String>,
    /// The way of assigning it believes was chosen; none when it does not say.
    pub protocol: Option<String>,
    /// Who gets what; only from the leader.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Its id.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// The generation it believes in.
    pub generation: i32,
}

/// A member leaves, or is taken out.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaver {
    /// Its id; empty when a static member is meant by its name.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
}

/// Offsets to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitOffsets {
    /// The member's id; empty outside of a group.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// The member's generation; -1 outside of a group.
    pub generation: i32,
    /// The client knows the errors about groups that came with version 9.
    pub knows_group_errors: bool,
    /// For how long to keep the offsets, in milliseconds; -1 as the broker does.
    pub retention_ms: i64,
    /// The offsets. The topics exist.
    pub offsets: Vec<CommitOffset>,
    /// The transaction that they are part of.
    pub transaction: Option<InTransaction>,
}

/// The transaction of a producer that offsets are part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InTransaction {
    /// Which one, and how the group's partition of `__consumer_offsets` gets to be part of it.
    pub joining: Joining,
    /// The producer's session.
    pub session: Session,
}

/// One offset to commit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitOffset {
    /// The topic's name.
    pub topic: String,
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition's number.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1 when the client does not know.
    pub leader_epoch: i32,
    /// What the client wants to remember with it.
    pub metadata: String,
}

/// A member of the consumer protocol lives. What is none has not changed since its last heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerHeartbeat {
    /// Its id; empty when the broker is to make one.
    pub member_id: String,
    /// The client makes member ids itself (KIP-1082).
    pub makes_its_id: bool,
    /// Its epoch; 0 joins, -1 leaves, -2 is a static member that will be back.
    pub member_epoch: i32,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// Its rack.
    pub rack_id: Option<String>,
    /// How long it may take to give partitions up, in milliseconds.
    pub rebalance_timeout_ms: Option<i32>,
    /// The topics it reads.
    pub topic_names: Option<Vec<String>>,
    /// The pattern of topics it reads; empty for none.
    pub topic_regex: Option<String>,
    /// The assignor it wants.
    pub server_assignor: Option<String>,
    /// The partitions it owns.
    pub owned: Option<Vec<TopicPartitions>>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from, as Kafka writes it: `/127.0.0.1`.
    pub client_host: String,
    /// The topics that there are.
    pub image: Arc<Image>,
    /// Sixteen random bytes, for the id of a new member.
    pub chance: [u8; 16],
}

/// What a member of the consumer protocol is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Its id.
    pub member_id: String,
    /// Its epoch from now on.
    pub member_epoch: i32,
    /// When to say again that it lives, in milliseconds.
    pub interval_ms: i32,
    /// What it should own from now on; none when that has not changed.
    pub assignment: Option<Vec<TopicPartitions>>,
}

/// What a group says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The member is in.
    Joined(Joined),
    /// What the member was given.
    Synced {
        /// What the group is for.
        protocol_type: Option<String>,
        /// The way of assigning.
        protocol: Option<String>,
        /// The assignment; no bytes for none.
        assignment: Bytes,
    },
    /// The member may go on.
    Alive,
    /// What a member of the consumer protocol is to do.
    Beat(Beat),
    /// What became of each that was to leave.
    Left(Vec<Result<(), GroupError>>),
    /// What became of each offset; none is well.
    Committed(Vec<Option<GroupError>>),
    /// What was committed.
    Offsets(Vec<Fetched>),
    /// What became of each offset that was to be forgotten; none is well.
    OffsetsDeleted(Vec<Option<GroupError>>),
    /// All about the group.
    Described(Description),
    /// All about a group of the consumer protocol.
    ConsumerDescribed(ConsumerDescription),
    /// The group is gone.
    Deleted,
}

/// A group as a member joined it.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The member's id.
    pub member_id: String,
    /// The generation.
    pub generation: i32,
    /// What the group is for.
    pub protocol_type: Option<String>,
    /// The way of assigning that was chosen.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: String,
    /// The leader keeps the assignment that there is.
    pub skip_assignment: bool,
    /// All members: id, static name, and what each says to the leader. For the leader alone.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// The type of groups whose members speak the consumer protocol, by Kafka's name.
pub const CONSUMER_KIND: &str = "consumer";

/// What lists say about a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its state, by Kafka's name.
    pub state: &'static str,
    /// Its type, by Kafka's name.
    pub kind: &'static str,
    /// What it is for; empty when nobody has said.
    pub protocol_type: String,
}

/// What a request comes to.
pub type Outcome = Result<Answer, GroupError>;

/// Why a group says no. Each is one of Kafka's errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// This node does not coordinate the group (NOT_COORDINATOR).
    #[error("this broker does not coordinate the group")]
    NotCoordinator,
    /// Not yet: what the group knew is still being read (COORDINATOR_LOAD_IN_PROGRESS).
    #[error("the coordinator is still reading what the group knew")]
    Loading,
    /// Not now: the log of groups takes no writes (COORDINATOR_NOT_AVAILABLE).
    #[error("the coordinator is not available")]
    NotAvailable,
    /// No member has this id (UNKNOWN_MEMBER_ID).
    #[error("the group has no such member")]
    UnknownMember,
    /// The group has another generation (ILLEGAL_GENERATION).
    #[error("the group has another generation")]
    IllegalGeneration,
    /// Another member has taken over the static name (FENCED_INSTANCE_ID).
    #[error("another member has taken over the group instance id")]
    FencedInstance,
    /// Members have to join again (REBALANCE_IN_PROGRESS).
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// No way of assigning that all support, or another purpose (INCONSISTENT_GROUP_PROTOCOL).
    #[error("the member's protocols do not go with those of the group")]
    InconsistentProtocol,
    /// Outside of what the broker allows (INVALID_SESSION_TIMEOUT).
    #[error(
        "the session timeout is outside of what group.min.session.timeout.ms and group.max.session.timeout.ms allow"
    )]
    SessionTimeout,
    /// Come again with this id (MEMBER_ID_REQUIRED).
    #[error("join again as {0}")]
    MemberIdRequired(String),
    /// The group is full (GROUP_MAX_SIZE_REACHED).
    #[error("the group has as many members as group.max.size allows")]
    MaxSizeReached,
    /// There is no such group (GROUP_ID_NOT_FOUND).
    #[error("there is no such group")]
    NotFound,
    /// The group is of the other type; this is the one that was asked for (GROUP_ID_NOT_FOUND).
    #[error("the group is not a {0} group")]
    WrongType(&'static str),
    /// The member must give everything up and join again (FENCED_MEMBER_EPOCH).
    #[error("the member's epoch is {is}, not {got}: it must give up all its partitions and join again")]
    FencedMemberEpoch {
        /// The epoch it has.
        is: i32,
        /// The epoch it believes in.
        got: i32,
    },
    /// The member has another epoch by now (STALE_MEMBER_EPOCH).
    #[error("the member has another epoch by now")]
    StaleMemberEpoch,
    /// Another member still uses the static name (UNRELEASED_INSTANCE_ID).
    #[error("another member still uses the group instance id: it must leave first")]
    UnreleasedInstance,
    /// No such assignor; these there are (UNSUPPORTED_ASSIGNOR).
    #[error("the assignor is not supported; supported are {0}")]
    UnsupportedAssignor(String),
    /// The group speaks the classic protocol and goes on with it, for this reason (GROUP_ID_NOT_FOUND).
    #[error("the classic group cannot become a consumer group because {0}")]
    CannotUpgrade(String),
    /// The pattern cannot be read (INVALID_REGULAR_EXPRESSION).
    #[error("the regular expression {0} is not valid")]
    InvalidRegex(String),
    /// The request contradicts itself (INVALID_REQUEST).
    #[error("{0}")]
    InvalidRequest(String),
    /// The client is too old for this group (UNSUPPORTED_VERSION).
    #[error("members of the consumer protocol commit with version 9 of OffsetCommit or later")]
    UnsupportedVersion,
    /// The group has members (NON_EMPTY_GROUP).
    #[error("the group has members")]
    NonEmpty,
    /// The group reads the topic (GROUP_SUBSCRIBED_TO_TOPIC).
    #[error("the group reads the topic")]
    SubscribedToTopic,
    /// More text than `offset.metadata.max.bytes` (OFFSET_METADATA_TOO_LARGE).
    #[error("the metadata is longer than offset.metadata.max.bytes")]
    MetadataTooLarge,
    /// The records do not fit into a batch (INVALID_COMMIT_OFFSET_SIZE).
    #[error("the offsets do not fit into one batch")]
    CommitTooLarge,
    /// The coordinator of the transaction says no (its own errors; INVALID_PRODUCER_EPOCH for a session that is over).
    #[error("{0}")]
    Transaction(TransactionError),
    /// The transaction has ended before the offsets came (INVALID_TXN_STATE).
    #[error("the transaction has ended before these offsets")]
    TransactionOver,
    /// Something that cannot be (UNKNOWN_SERVER_ERROR).
    #[error("the group's state could not be written")]
    Unknown,
}

impl GroupError {
    /// What a commit is told when its records are not safe (Kafka's `OffsetMetadataManager`).
    pub(super) fn of_commit(error: WriteError) -> Self {
        match error {
            WriteError::NotAvailable => Self::NotAvailable,
            WriteError::NotHere => Self::NotCoordinator,
            WriteError::TooLarge => Self::CommitTooLarge,
            WriteError::Refused(error) => Self::Transaction(error),
            WriteError::TransactionOver => Self::TransactionOver,
        }
    }

    /// What everybody else is told.
    pub(super) fn of_metadata(error: WriteError) -> Self {
        match error {
            WriteError::NotAvailable => Self::NotAvailable,
            WriteError::NotHere => Self::NotCoordinator,
            WriteError::TooLarge | WriteError::Refused(_) | WriteError::TransactionOver => Self::Unknown,
        }
    }
}
