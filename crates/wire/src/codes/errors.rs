//! Which of Kafka's codes says what one of our errors means.
//!
//! A new kind of error does not build before it has its row here.

use ottla_rules::{
    batch::BatchError,
    cluster::CommandError,
    fetch_sessions::SessionError,
    group::GroupError,
    partition::{AppendError, DeleteError, ReadError},
    producers::SequenceError,
    settings::SettingError,
    topic::NameError,
    transaction::TransactionError,
};

use super::Code;
use crate::reader::DecodeError;

impl From<&BatchError> for Code {
    fn from(error: &BatchError) -> Self {
        match error {
            BatchError::Truncated { .. } | BatchError::Corrupt { .. } => Self::CorruptMessage,
            BatchError::TooLarge { .. } | BatchError::UnpacksTooLarge { .. } => Self::MessageTooLarge,
            BatchError::TooLargeForSegment { .. } => Self::RecordListTooLarge,
            BatchError::Invalid { .. } | BatchError::Magic { .. } => Self::InvalidRecord,
            BatchError::Unpackable { .. } => Self::UnknownServerError,
            BatchError::Timestamp { .. } => Self::InvalidTimestamp,
            BatchError::UnsupportedCodec { .. } => Self::UnsupportedCompressionType,
        }
    }
}

impl From<&SessionError> for Code {
    fn from(error: &SessionError) -> Self {
        match error {
            SessionError::NotFound => Self::FetchSessionIdNotFound,
            SessionError::Epoch => Self::InvalidFetchSessionEpoch,
            SessionError::TopicIds => Self::FetchSessionTopicIdError,
        }
    }
}

impl From<&SequenceError> for Code {
    fn from(error: &SequenceError) -> Self {
        match error {
            SequenceError::Fenced { .. } => Self::InvalidProducerEpoch,
            SequenceError::OutOfOrder { .. } => Self::OutOfOrderSequenceNumber,
        }
    }
}

impl From<&AppendError> for Code {
    fn from(error: &AppendError) -> Self {
        match error {
            AppendError::NotHere => Self::NotLeaderOrFollower,
            AppendError::OutOfOrder { .. } => Self::OutOfOrderSequenceNumber,
            AppendError::Fenced { .. } => Self::InvalidProducerEpoch,
            AppendError::NotEnoughReplicas { .. } => Self::NotEnoughReplicas,
            // Nobody knows, or nobody has looked: producers try again.
            AppendError::TimedOut | AppendError::TooManyParked => Self::RequestTimedOut,
            AppendError::Storage => Self::KafkaStorageError,
            AppendError::Invalid(_) => Self::InvalidRecord,
            AppendError::InvalidTransaction(_) => Self::InvalidTxnState,
            AppendError::CoordinatorFenced { .. } => Self::TransactionCoordinatorFenced,
            AppendError::NotJoined(error) => match error {
                // Of a batch: fatal only when a coordinator says so (KIP-588).
                TransactionError::Fenced => Self::InvalidProducerEpoch,
                // Old clients do not expect a coordinator's errors from Produce, and try this one again (KIP-890).
                TransactionError::Concurrent
                | TransactionError::NotHere
                | TransactionError::Loading
                | TransactionError::NotAvailable => Self::NotEnoughReplicas,
                TransactionError::InvalidRequest(_)
                | TransactionError::InvalidTimeout { .. }
                | TransactionError::InvalidMapping
                | TransactionError::InvalidState { .. }
                | TransactionError::NotInTransaction => Self::from(error),
            },
        }
    }
}

impl From<&TransactionError> for Code {
    fn from(error: &TransactionError) -> Self {
        match error {
            TransactionError::InvalidRequest(_) => Self::InvalidRequest,
            TransactionError::InvalidTimeout { .. } => Self::InvalidTransactionTimeout,
            TransactionError::InvalidMapping => Self::InvalidProducerIdMapping,
            TransactionError::Fenced => Self::ProducerFenced,
            TransactionError::Concurrent => Self::ConcurrentTransactions,
            TransactionError::InvalidState { .. } => Self::InvalidTxnState,
            TransactionError::NotInTransaction => Self::TransactionAbortable,
            TransactionError::NotHere => Self::NotCoordinator,
            TransactionError::Loading => Self::CoordinatorLoadInProgress,
            TransactionError::NotAvailable => Self::CoordinatorNotAvailable,
        }
    }
}

impl From<&ReadError> for Code {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::NotHere => Self::NotLeaderOrFollower,
            ReadError::OffsetOutOfRange { .. } => Self::OffsetOutOfRange,
            ReadError::FencedEpoch { .. } => Self::FencedLeaderEpoch,
            ReadError::UnknownEpoch { .. } => Self::UnknownLeaderEpoch,
            // The reader is answered with what there is, only sooner than it hoped.
            ReadError::TooManyWaiting => Self::None,
            ReadError::Storage => Self::KafkaStorageError,
        }
    }
}

impl From<&DeleteError> for Code {
    fn from(error: &DeleteError) -> Self {
        match error {
            DeleteError::NotHere => Self::NotLeaderOrFollower,
            DeleteError::OffsetOutOfRange { .. } => Self::OffsetOutOfRange,
            DeleteError::Compacted => Self::PolicyViolation,
            DeleteError::Storage => Self::KafkaStorageError,
        }
    }
}

impl From<&NameError> for Code {
    fn from(error: &NameError) -> Self {
        match error {
            NameError::Empty | NameError::Dots(_) | NameError::TooLong(_) | NameError::Letters(_) => {
                Self::InvalidTopicException
            }
        }
    }
}

impl From<&SettingError> for Code {
    fn from(error: &SettingError) -> Self {
        match error {
            SettingError::Invalid(_) => Self::InvalidConfig,
            SettingError::Request(_) => Self::InvalidRequest,
        }
    }
}

impl From<&CommandError> for Code {
    fn from(error: &CommandError) -> Self {
        match error {
            CommandError::Name(error) => error.into(),
            CommandError::Collision { .. } => Self::InvalidTopicException,
            CommandError::Exists(_) => Self::TopicAlreadyExists,
            CommandError::IdTaken(_) | CommandError::Exhausted(_) => Self::UnknownServerError,
            CommandError::UnknownTopic(_) => Self::UnknownTopicId,
            CommandError::UnknownPartition(_) => Self::UnknownTopicOrPartition,
            CommandError::Partitions(_) => Self::InvalidPartitions,
            CommandError::Replication(_) => Self::InvalidReplicationFactor,
            CommandError::Assignment(_) => Self::InvalidReplicaAssignment,
            CommandError::Config(_) => Self::InvalidConfig,
            CommandError::Request(_) => Self::InvalidRequest,
            CommandError::TooManyPartitions => Self::PolicyViolation,
            CommandError::UnknownNode(_) => Self::BrokerIdNotRegistered,
            CommandError::Feature(_) => Self::InvalidUpdateVersion,
            CommandError::NotHere => Self::NotController,
            CommandError::TimedOut => Self::RequestTimedOut,
            CommandError::Storage(_) => Self::KafkaStorageError,
        }
    }
}

impl From<&GroupError> for Code {
    fn from(error: &GroupError) -> Self {
        match error {
            GroupError::NotCoordinator => Self::NotCoordinator,
            GroupError::Loading => Self::CoordinatorLoadInProgress,
            GroupError::NotAvailable => Self::CoordinatorNotAvailable,
            GroupError::UnknownMember => Self::UnknownMemberId,
            GroupError::IllegalGeneration => Self::IllegalGeneration,
            GroupError::FencedInstance => Self::FencedInstanceId,
            GroupError::RebalanceInProgress => Self::RebalanceInProgress,
            GroupError::InconsistentProtocol => Self::InconsistentGroupProtocol,
            GroupError::SessionTimeout => Self::InvalidSessionTimeout,
            GroupError::MemberIdRequired(_) => Self::MemberIdRequired,
            GroupError::MaxSizeReached => Self::GroupMaxSizeReached,
            GroupError::NotFound | GroupError::WrongType(_) | GroupError::CannotUpgrade(_) => {
                Self::GroupIdNotFound
            }
            GroupError::FencedMemberEpoch { .. } => Self::FencedMemberEpoch,
            GroupError::StaleMemberEpoch => Self::StaleMemberEpoch,
            GroupError::UnreleasedInstance => Self::UnreleasedInstanceId,
            GroupError::UnsupportedAssignor(_) => Self::UnsupportedAssignor,
            GroupError::InvalidRegex(_) => Self::InvalidRegularExpression,
            GroupError::InvalidRequest(_) => Self::InvalidRequest,
            GroupError::UnsupportedVersion => Self::UnsupportedVersion,
            GroupError::NonEmpty => Self::NonEmptyGroup,
            GroupError::SubscribedToTopic => Self::GroupSubscribedToTopic,
            GroupError::MetadataTooLarge => Self::OffsetMetadataTooLarge,
            GroupError::CommitTooLarge => Self::InvalidCommitOffsetSize,
            // Of what a producer writes: fatal only when a transaction's coordinator says so itself (KIP-588).
            GroupError::Transaction(TransactionError::Fenced) => Self::InvalidProducerEpoch,
            GroupError::Transaction(error) => error.into(),
            GroupError::TransactionOver => Self::InvalidTxnState,
            GroupError::Unknown => Self::UnknownServerError,
        }
    }
}

/// For the log and for tests: nobody is told, the connection is closed.
impl From<&DecodeError> for Code {
    fn from(error: &DecodeError) -> Self {
        match error {
            DecodeError::Version { .. } | DecodeError::UnknownKey { .. } => Self::UnsupportedVersion,
            DecodeError::Truncated { .. }
            | DecodeError::NegativeLength { .. }
            | DecodeError::TextTooLong { .. }
            | DecodeError::Null { .. }
            | DecodeError::Varint { .. }
            | DecodeError::TooMany { .. } => Self::InvalidRequest,
        }
    }
}

#[cfg(test)]
mod tests {
    use ottla_rules::ids::{Offset, ProducerEpoch, Sequence};

    use super::*;

    #[test]
    fn producers_learn_what_to_do_next() {
        let gap = AppendError::OutOfOrder { expected: Sequence(3), got: Sequence(5) };
        let fenced = AppendError::Fenced { by: ProducerEpoch(2), got: ProducerEpoch(1) };
        let large = BatchError::TooLarge { bytes: 2, max: 1 };
        assert_eq!(Code::from(&gap).number(), 45);
        assert_eq!(Code::from(&fenced).number(), 47);
        assert_eq!(Code::from(&AppendError::NotHere).number(), 6);
        assert_eq!(Code::from(&large).number(), 10);
        assert_eq!(Code::from(&BatchError::Magic { magic: 1 }).number(), 87);
    }

    #[test]
    fn readers_and_administrators_do_too() {
        let outside = ReadError::OffsetOutOfRange { log_start: Offset(1), end: Offset(2) };
        assert_eq!(Code::from(&outside).number(), 1);
        assert_eq!(Code::from(&DeleteError::Compacted).number(), 44);
        assert_eq!(Code::from(&CommandError::Name(NameError::Empty)).number(), 17);
        assert_eq!(Code::from(&CommandError::Exists("a".into())).number(), 36);
        assert_eq!(Code::from(&SettingError::Request("b".into())).number(), 42);
    }
}
