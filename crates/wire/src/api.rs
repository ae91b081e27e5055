//! Kafka's APIs, and which versions of which are served.

use crate::Message;

/// From this version on: never.
pub const NEVER: i16 = i16::MAX;

macro_rules! api_keys {
    ($($name:ident = $number:literal, flexible $from:tt $(+)?;)*) => {
        /// All APIs up to Kafka 4.4, named and numbered by Kafka. Most of them are not served, see [`served`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey { $(
            #[doc = concat!("Key ", $number, ".")]
            $name = $number,
        )* }

        impl ApiKey {
            /// Every API, in the order of their keys.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The API with this key, if there is one.
            #[must_use]
            pub fn from_number(number: i16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Its name in Kafka's schemas.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The first version whose headers and bodies are flexible (KIP-482); [`NEVER`] when none is.
            #[must_use]
            pub fn flexible_from(self) -> i16 {
                match self { $(Self::$name => api_keys!(@from $from),)* }
            }
        }
    };
    (@from never) => { NEVER };
    (@from $from:literal) => { $from };
}

impl ApiKey {
    /// What stands on the wire.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }
}

/// The key is not one that Kafka has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no API has the key {0}")]
pub struct UnknownKey(pub i16);

impl TryFrom<i16> for ApiKey {
    type Error = UnknownKey;

    fn try_from(number: i16) -> Result<Self, UnknownKey> {
        Self::from_number(number).ok_or(UnknownKey(number))
    }
}

/// One API that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Which one.
    pub key: ApiKey,
    /// The lowest version that is answered.
    pub min: i16,
    /// The highest version that is answered.
    pub max: i16,
    /// The lowest version that ApiVersions names. It differs from `min` for Produce alone: librdkafka compresses only
    /// for brokers that name version 0 (KAFKA-18659); versions 0 to 2 are then refused with UNSUPPORTED_VERSION.
    pub advertised_min: i16,
}

impl Served {
    /// Whether requests of this version are answered.
    #[must_use]
    pub fn takes(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    const fn of<M: Message>() -> Self {
        Self { key: M::KEY, min: M::MIN_VERSION, max: M::MAX_VERSION, advertised_min: M::MIN_VERSION }
    }
}

/// Everything that is served, in the order of the keys.
pub const SERVED: &[Served] = {
    use crate::messages as m;
    &[
        Served { advertised_min: 0, ..Served::of::<m::produce::ProduceResponse>() },
        Served::of::<m::fetch::FetchRequest>(),
        Served::of::<m::list_offsets::ListOffsetsRequest>(),
        Served::of::<m::metadata::MetadataRequest>(),
        Served::of::<m::offset_commit::OffsetCommitRequest>(),
        Served::of::<m::offset_fetch::OffsetFetchRequest>(),
        Served::of::<m::find_coordinator::FindCoordinatorRequest>(),
        Served::of::<m::join_group::JoinGroupRequest>(),
        Served::of::<m::heartbeat::HeartbeatRequest>(),
        Served::of::<m::leave_group::LeaveGroupRequest>(),
        Served::of::<m::sync_group::SyncGroupRequest>(),
        Served::of::<m::describe_groups::DescribeGroupsRequest>(),
        Served::of::<m::list_groups::ListGroupsRequest>(),
        Served::of::<m::api_versions::ApiVersionsRequest>(),
        Served::of::<m::create_topics::CreateTopicsRequest>(),
        Served::of::<m::delete_topics::DeleteTopicsRequest>(),
        Served::of::<m::delete_records::DeleteRecordsRequest>(),
        Served::of::<m::init_producer_id::InitProducerIdRequest>(),
        Served::of::<m::offset_for_leader_epoch::OffsetForLeaderEpochRequest>(),
        Served::of::<m::add_partitions_to_txn::AddPartitionsToTxnRequest>(),
        Served::of::<m::add_offsets_to_txn::AddOffsetsToTxnRequest>(),
        Served::of::<m::end_txn::EndTxnRequest>(),
        Served::of::<m::write_txn_markers::WriteTxnMarkersRequest>(),
        Served::of::<m::txn_offset_commit::TxnOffsetCommitRequest>(),
        Served::of::<m::describe_configs::DescribeConfigsRequest>(),
        Served::of::<m::alter_configs::AlterConfigsRequest>(),
        Served::of::<m::describe_log_dirs::DescribeLogDirsRequest>(),
        Served::of::<m::create_partitions::CreatePartitionsRequest>(),
        Served::of::<m::delete_groups::DeleteGroupsRequest>(),
        Served::of::<m::incremental_alter_configs::IncrementalAlterConfigsRequest>(),
        Served::of::<m::offset_delete::OffsetDeleteRequest>(),
        Served::of::<m::update_features::UpdateFeaturesRequest>(),
        Served::of::<m::describe_cluster::DescribeClusterRequest>(),
        Served::of::<m::describe_producers::DescribeProducersRequest>(),
        Served::of::<m::describe_transactions::DescribeTransactionsRequest>(),
        Served::of::<m::list_transactions::ListTransactionsRequest>(),
        Served::of::<m::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest>(),
        Served::of::<m::consumer_group_describe::ConsumerGroupDescribeRequest>(),
        Served::of::<m::list_config_resources::ListConfigResourcesRequest>(),
        Served::of::<m::describe_topic_partitions::DescribeTopicPartitionsRequest>(),
    ]
};

/// What is served of an API; `None` when nothing is.
#[must_use]
pub fn served(key: ApiKey) -> Option<&'static Served> {
    SERVED.iter().find(|served| served.key == key)
}

api_keys! {
    Produce = 0, flexible 9+;
    Fetch = 1, flexible 12+;
    ListOffsets = 2, flexible 6+;
    Metadata = 3, flexible 9+;
    LeaderAndIsr = 4, flexible never;
    StopReplica = 5, flexible never;
    UpdateMetadata = 6, flexible never;
    ControlledShutdown = 7, flexible never;
    OffsetCommit = 8, flexible 8+;
    OffsetFetch = 9, flexible 6+;
    FindCoordinator = 10, flexible 3+;
    JoinGroup = 11, flexible 6+;
    Heartbeat = 12, flexible 4+;
    LeaveGroup = 13, flexible 4+;
    SyncGroup = 14, flexible 4+;
    DescribeGroups = 15, flexible 5+;
    ListGroups = 16, flexible 3+;
    SaslHandshake = 17, flexible never;
    ApiVersions = 18, flexible 3+;
    CreateTopics = 19, flexible 5+;
    DeleteTopics = 20, flexible 4+;
    DeleteRecords = 21, flexible 2+;
    InitProducerId = 22, flexible 2+;
    OffsetForLeaderEpoch = 23, flexible 4+;
    AddPartitionsToTxn = 24, flexible 3+;
    AddOffsetsToTxn = 25, flexible 3+;
    EndTxn = 26, flexible 3+;
    WriteTxnMarkers = 27, flexible 1+;
    TxnOffsetCommit = 28, flexible 3+;
    DescribeAcls = 29, flexible 2+;
    CreateAcls = 30, flexible 2+;
    DeleteAcls = 31, flexible 2+;
    DescribeConfigs = 32, flexible 4+;
    AlterConfigs = 33, flexible 2+;
    AlterReplicaLogDirs = 34, flexible 2+;
    DescribeLogDirs = 35, flexible 2+;
    SaslAuthenticate = 36, flexible 2+;
    CreatePartitions = 37, flexible 2+;
    CreateDelegationToken = 38, flexible 2+;
    RenewDelegationToken = 39, flexible 2+;
    ExpireDelegationToken = 40, flexible 2+;
    DescribeDelegationToken = 41, flexible 2+;
    DeleteGroups = 42, flexible 2+;
    ElectLeaders = 43, flexible 2+;
    IncrementalAlterConfigs = 44, flexible 1+;
    AlterPartitionReassignments = 45, flexible 0+;
    ListPartitionReassignments = 46, flexible 0+;
    OffsetDelete = 47, flexible never;
    DescribeClientQuotas = 48, flexible 1+;
    AlterClientQuotas = 49, flexible 1+;
    DescribeUserScramCredentials = 50, flexible 0+;
    AlterUserScramCredentials = 51, flexible 0+;
    Vote = 52, flexible 0+;
    BeginQuorumEpoch = 53, flexible 1+;
    EndQuorumEpoch = 54, flexible 1+;
    DescribeQuorum = 55, flexible 0+;
    AlterPartition = 56, flexible 0+;
    UpdateFeatures = 57, flexible 0+;
    Envelope = 58, flexible 0+;
    FetchSnapshot = 59, flexible 0+;
    DescribeCluster = 60, flexible 0+;
    DescribeProducers = 61, flexible 0+;
    BrokerRegistration = 62, flexible 0+;
    BrokerHeartbeat = 63, flexible 0+;
    UnregisterBroker = 64, flexible 0+;
    DescribeTransactions = 65, flexible 0+;
    ListTransactions = 66, flexible 0+;
    AllocateProducerIds = 67, flexible 0+;
    ConsumerGroupHeartbeat = 68, flexible 0+;
    ConsumerGroupDescribe = 69, flexible 0+;
    ControllerRegistration = 70, flexible 0+;
    GetTelemetrySubscriptions = 71, flexible 0+;
    PushTelemetry = 72, flexible 0+;
    AssignReplicasToDirs = 73, flexible 0+;
    ListConfigResources = 74, flexible 0+;
    DescribeTopicPartitions = 75, flexible 0+;
    ShareGroupHeartbeat = 76, flexible 0+;
    ShareGroupDescribe = 77, flexible 0+;
    ShareFetch = 78, flexible 0+;
    ShareAcknowledge = 79, flexible 0+;
    AddRaftVoter = 80, flexible 0+;
    RemoveRaftVoter = 81, flexible 0+;
    UpdateRaftVoter = 82, flexible 0+;
    InitializeShareGroupState = 83, flexible 0+;
    ReadShareGroupState = 84, flexible 0+;
    WriteShareGroupState = 85, flexible 0+;
    DeleteShareGroupState = 86, flexible 0+;
    ReadShareGroupStateSummary = 87, flexible 0+;
    StreamsGroupHeartbeat = 88, flexible 0+;
    StreamsGroupDescribe = 89, flexible 0+;
    DescribeShareGroupOffsets = 90, flexible 0+;
    AlterShareGroupOffsets = 91, flexible 0+;
    DeleteShareGroupOffsets = 92, flexible 0+;
    StreamsGroupTopologyDescriptionUpdate = 93, flexible 0+;
    UnregisterController = 94, flexible 0+;
}
