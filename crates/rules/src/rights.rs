//! Who may do what.
//!
//! Every API asks here, with what it needs on which resource, so that access control can come without touching the
//! APIs. Until then everything is allowed. The table is Kafka's (`KafkaApis`, `ControllerApis`, the ACL chapter of
//! its documentation).

use core::net::IpAddr;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `User:name`; `User:ANONYMOUS` where nobody was authenticated.
    pub principal: String,
    /// The name of the listener it came in by.
    pub listener: String,
    /// The address it came from.
    pub host: IpAddr,
}

/// What is done to a resource, as ACLs number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Read records, or take part in a group.
    Read = 3,
    /// Write records.
    Write = 4,
    /// Create it.
    Create = 5,
    /// Delete it or its contents.
    Delete = 6,
    /// Change it.
    Alter = 7,
    /// See that it is there and what it is.
    Describe = 8,
    /// What brokers do among themselves.
    ClusterAction = 9,
    /// See its settings.
    DescribeConfigs = 10,
    /// Change its settings.
    AlterConfigs = 11,
    /// Write with a producer id.
    IdempotentWrite = 12,
    /// Make tokens for a user.
    CreateTokens = 13,
    /// See the tokens of a user.
    DescribeTokens = 14,
}

/// What something is done to, as ACLs number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A group.
    Group = 3,
    /// The cluster, of which there is one (`kafka-cluster`).
    Cluster = 4,
    /// A transactional id.
    TransactionalId = 5,
    /// A delegation token.
    DelegationToken = 6,
    /// A user.
    User = 7,
}

/// One right an API may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// What is done.
    pub operation: Operation,
    /// To what.
    pub resource: ResourceKind,
    /// When it is needed.
    pub when: When,
}

/// When a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// For each resource that the request names.
    Always,
    /// Only for a request that wants this: transactional, a creation, another kind of resource.
    Asked,
    /// In place of the need before it: one of the two is enough.
    Instead,
}

impl Operation {
    /// The number in ACLs and in `authorizedOperations`.
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }
}

impl ResourceKind {
    /// The number in ACLs.
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The operations that make sense on it; what a caller that may do everything is told.
    #[must_use]
    pub fn operations(self) -> &'static [Operation] {
        use Operation::{
            Alter, AlterConfigs, ClusterAction, Create, CreateTokens, Delete, Describe, DescribeConfigs,
            DescribeTokens, IdempotentWrite, Read, Write,
        };
        match self {
            Self::Topic => &[Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs],
            Self::Group => &[Read, Delete, Describe, DescribeConfigs, AlterConfigs],
            Self::Cluster => {
                &[Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite]
            }
            Self::TransactionalId => &[Write, Describe],
            Self::DelegationToken => &[Describe],
            Self::User => &[CreateTokens, DescribeTokens],
        }
    }
}

/// Whether `caller` may do this to the resource of this name. Everybody may do everything until there are ACLs.
#[must_use]
pub fn allowed(_caller: &Caller, _operation: Operation, _resource: ResourceKind, _name: &str) -> bool {
    true
}

/// The operations `caller` may do to the resource of this name, as the bits of Kafka's `authorizedOperations`.
#[must_use]
pub fn authorized_operations(caller: &Caller, resource: ResourceKind, name: &str) -> i32 {
    resource
        .operations()
        .iter()
        .filter(|operation| allowed(caller, **operation, resource, name))
        .fold(0, |bits, operation| bits | 1 << operation.number())
}

/// The rights that the API of this key may need; `None` for a key that has no row, and that must not be served.
#[must_use]
pub fn needs(api_key: i16) -> Option<&'static [Need]> {
    TABLE.iter().find(|(keys, _)| keys.contains(&api_key)).map(|(_, needs)| *needs)
}

const fn need(operation: Operation, resource: ResourceKind) -> Need {
    Need { operation, resource, when: When::Always }
}

const fn asked(operation: Operation, resource: ResourceKind) -> Need {
    Need { operation, resource, when: When::Asked }
}

const fn or(operation: Operation, resource: ResourceKind) -> Need {
    Need { operation, resource, when: When::Instead }
}

use Operation as Op;
use ResourceKind as On;

#[rustfmt::skip]
const TABLE: &[(&[i16], &[Need])] = &[
    // Produce
    (&[0], &[need(Op::Write, On::Topic), asked(Op::Write, On::TransactionalId)]),
    // Fetch; as a replica it is what brokers do
    (&[1], &[need(Op::Read, On::Topic), asked(Op::ClusterAction, On::Cluster)]),
    // ListOffsets, OffsetForLeaderEpoch, DescribeTopicPartitions
    (&[2, 23, 75], &[need(Op::Describe, On::Topic)]),
    // Metadata; it may create topics
    (&[3], &[need(Op::Describe, On::Topic), asked(Op::Create, On::Cluster), or(Op::Create, On::Topic)]),
    // OffsetCommit
    (&[8], &[need(Op::Read, On::Group), need(Op::Read, On::Topic)]),
    // OffsetFetch
    (&[9], &[need(Op::Describe, On::Group), need(Op::Describe, On::Topic)]),
    // FindCoordinator: by the kind of key
    (&[10], &[asked(Op::Describe, On::Group), asked(Op::Describe, On::TransactionalId), asked(Op::ClusterAction, On::Cluster)]),
    // JoinGroup, Heartbeat, LeaveGroup, SyncGroup, ConsumerGroupHeartbeat
    (&[11, 12, 13, 14, 68], &[need(Op::Read, On::Group), asked(Op::Describe, On::Topic)]),
    // DescribeGroups, ConsumerGroupDescribe, ShareGroupDescribe, StreamsGroupDescribe, DescribeShareGroupOffsets
    (&[15, 69, 77, 89, 90], &[need(Op::Describe, On::Group), asked(Op::Describe, On::Topic)]),
    // ListGroups: all with the first, else those with the second
    (&[16], &[need(Op::Describe, On::Cluster), or(Op::Describe, On::Group)]),
    // SaslHandshake, ApiVersions, SaslAuthenticate: they come before anybody is known; DescribeCluster; telemetry
    (&[17, 18, 36, 60, 71, 72], &[]),
    // CreateTopics
    (&[19], &[need(Op::Create, On::Cluster), or(Op::Create, On::Topic), asked(Op::DescribeConfigs, On::Topic)]),
    // DeleteTopics, DeleteRecords
    (&[20, 21], &[need(Op::Delete, On::Topic)]),
    // InitProducerId
    (&[22], &[asked(Op::Write, On::TransactionalId), need(Op::IdempotentWrite, On::Cluster), or(Op::Write, On::Topic)]),
    // AddPartitionsToTxn; from version 4 it is what brokers do
    (&[24], &[need(Op::Write, On::TransactionalId), need(Op::Write, On::Topic), asked(Op::ClusterAction, On::Cluster)]),
    // AddOffsetsToTxn
    (&[25], &[need(Op::Write, On::TransactionalId), need(Op::Read, On::Group)]),
    // EndTxn
    (&[26], &[need(Op::Write, On::TransactionalId)]),
    // WriteTxnMarkers
    (&[27], &[need(Op::ClusterAction, On::Cluster), or(Op::Alter, On::Cluster)]),
    // TxnOffsetCommit
    (&[28], &[need(Op::Write, On::TransactionalId), need(Op::Read, On::Group), need(Op::Read, On::Topic)]),
    // DescribeAcls, DescribeLogDirs, ListPartitionReassignments, DescribeUserScramCredentials, DescribeQuorum
    (&[29, 35, 46, 50, 55], &[need(Op::Describe, On::Cluster)]),
    // CreateAcls, DeleteAcls, AlterReplicaLogDirs, ElectLeaders, AlterPartitionReassignments,
    // AlterUserScramCredentials, UpdateFeatures, UnregisterBroker, AddRaftVoter, RemoveRaftVoter
    (&[30, 31, 34, 43, 45, 51, 57, 64, 80, 81], &[need(Op::Alter, On::Cluster)]),
    // DescribeConfigs: by the kind of resource
    (&[32], &[asked(Op::DescribeConfigs, On::Topic), asked(Op::DescribeConfigs, On::Group), asked(Op::DescribeConfigs, On::Cluster)]),
    // AlterConfigs, IncrementalAlterConfigs: by the kind of resource
    (&[33, 44], &[asked(Op::AlterConfigs, On::Topic), asked(Op::AlterConfigs, On::Group), asked(Op::AlterConfigs, On::Cluster)]),
    // CreatePartitions
    (&[37], &[need(Op::Alter, On::Topic)]),
    // CreateDelegationToken
    (&[38], &[asked(Op::CreateTokens, On::User)]),
    // RenewDelegationToken, ExpireDelegationToken: for owner and renewers, whatever their rights
    (&[39, 40], &[]),
    // DescribeDelegationToken
    (&[41], &[asked(Op::Describe, On::DelegationToken), asked(Op::DescribeTokens, On::User)]),
    // DeleteGroups
    (&[42], &[need(Op::Delete, On::Group)]),
    // OffsetDelete
    (&[47], &[need(Op::Delete, On::Group), need(Op::Read, On::Topic)]),
    // DescribeClientQuotas, ListConfigResources
    (&[48, 74], &[need(Op::DescribeConfigs, On::Cluster)]),
    // AlterClientQuotas
    (&[49], &[need(Op::AlterConfigs, On::Cluster)]),
    // DescribeProducers
    (&[61], &[need(Op::Read, On::Topic)]),
    // DescribeTransactions, ListTransactions
    (&[65, 66], &[need(Op::Describe, On::TransactionalId), asked(Op::Describe, On::Topic)]),
    // ShareGroupHeartbeat
    (&[76], &[need(Op::Read, On::Group), asked(Op::Describe, On::Topic)]),
    // ShareFetch, ShareAcknowledge, AlterShareGroupOffsets
    (&[78, 79, 91], &[need(Op::Read, On::Group), need(Op::Read, On::Topic)]),
    // Initialize-, Read-, Write-, DeleteShareGroupState, ReadShareGroupStateSummary
    (&[83, 84, 85, 86, 87], &[need(Op::ClusterAction, On::Cluster)]),
    // StreamsGroupHeartbeat
    (&[88], &[need(Op::Read, On::Group), need(Op::Describe, On::Topic), asked(Op::Create, On::Topic)]),
    // DeleteShareGroupOffsets
    (&[92], &[need(Op::Delete, On::Group), need(Op::Read, On::Topic)]),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::Ipv4Addr};

    use super::*;

    /// Every key that brokers answer clients on (Kafka 4.3).
    fn client_keys() -> impl Iterator<Item = i16> {
        (0..=3)
            .chain(8..=51)
            .chain([55, 57, 60, 61, 64, 65, 66, 68, 69, 71, 72])
            .chain(74..=81)
            .chain(83..=92)
    }

    fn somebody() -> Caller {
        Caller {
            principal: "User:ANONYMOUS".into(),
            listener: "PLAINTEXT".into(),
            host: Ipv4Addr::LOCALHOST.into(),
        }
    }

    #[test]
    fn every_api_has_exactly_one_row() {
        for key in client_keys() {
            let rows = TABLE.iter().filter(|(keys, _)| keys.contains(&key)).count();
            assert_eq!(rows, 1, "key {key}");
        }
        assert_eq!(needs(4), None);
    }

    #[test]
    fn an_alternative_follows_what_it_replaces_and_every_need_makes_sense() {
        for (keys, needs) in TABLE {
            assert!(needs.first().is_none_or(|first| first.when != When::Instead), "{keys:?}");
            for need in *needs {
                assert!(need.resource.operations().contains(&need.operation), "{keys:?} {need:?}");
            }
        }
    }

    #[test]
    fn who_may_do_everything_is_told_kafkas_bits() {
        // What a Kafka broker without an authorizer answers.
        assert_eq!(authorized_operations(&somebody(), ResourceKind::Topic, "t"), 3576);
        assert_eq!(authorized_operations(&somebody(), ResourceKind::Cluster, "kafka-cluster"), 8096);
    }

    #[test]
    fn everything_is_allowed_for_now() {
        let kinds = BTreeSet::from([ResourceKind::Topic, ResourceKind::Group, ResourceKind::Cluster]);
        for kind in kinds {
            for operation in kind.operations() {
                assert!(allowed(&somebody(), *operation, kind, "any"));
            }
        }
    }
}
