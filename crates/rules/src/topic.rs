//! Topic names.
//!
//! Kafka's `Topic.validate`: a name becomes the name of a directory and of metrics, hence the narrow alphabet, and
//! hence two names that differ only in `.` and `_` do not live side by side.

/// The longest name: with `-`, a partition number and the suffix of a deleted directory it still fits in 255 bytes.
pub const NAME_BYTES_MAX: usize = 249;

/// Why a text is no topic name (INVALID_TOPIC_EXCEPTION). The sentences are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no text.
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    /// `.` and `..` are directories of their own.
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(String),
    /// More than [`NAME_BYTES_MAX`] bytes.
    #[error("Topic name is invalid: the length of '{0}' is longer than the max allowed length 249")]
    TooLong(String),
    /// A character outside the alphabet.
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    Letters(String),
}

/// Whether `name` may name a topic.
///
/// # Errors
/// Which of Kafka's rules it breaks, in Kafka's order.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots(name.into()));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err(NameError::Letters(name.into()));
    }
    Ok(())
}

/// What two colliding names have in common: metrics write `.` as `_` (Kafka's `Topic.unifyCollisionChars`).
#[must_use]
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// The topic that groups live in.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// The topic that transactions live in.
pub const TRANSACTION_STATE: &str = "__transaction_state";

/// The topic that Kafka keeps its metadata in. Here it is none, and nobody may make one of that name.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Whether the broker itself writes to this topic; clients may read it, and only admin tools may write.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | "__share_group_state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_kafka_checks_them() {
        for good in ["a", "payments.eu-west_1", "...", "A9", &"x".repeat(249)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_name(""), Err(NameError::Empty));
        assert_eq!(check_name(".."), Err(NameError::Dots("..".into())));
        assert!(matches!(check_name(&"x".repeat(250)), Err(NameError::TooLong(_))));
        for bad in ["a b", "a/b", "ä", "a\0b", "a:b"] {
            assert_eq!(check_name(bad), Err(NameError::Letters(bad.into())));
        }
    }

    #[test]
    fn a_very_long_name_does_not_come_back_in_full() {
        assert!(check_name(&"x".repeat(1_000_000)).unwrap_err().to_string().len() < 400);
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a.b"), collision_key("a-b"));
    }
}
