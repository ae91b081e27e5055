//! What members with protocol type `consumer` say to each other (Kafka's `ConsumerProtocol`): the only opaque bytes of
//! the classic protocol that a broker looks into, and, for members of the classic protocol in a consumer group, writes.
//!
//! Later versions only add fields at the end: what is newer than version 3 is read as that.

use bytes::Bytes;

use crate::records::codec::{Read, Write};

/// The newest version of assignments that is written.
const VERSION_MAX: i16 = 3;

/// What a member subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The version it is written in.
    pub version: i16,
    /// The topics' names.
    pub topics: Vec<String>,
    /// The partitions that the member keeps while it joins, by topic name.
    pub owned: Vec<(String, Vec<i32>)>,
    /// Its rack.
    pub rack_id: Option<String>,
}

/// What a member was given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The partitions by topic name.
    pub partitions: Vec<(String, Vec<i32>)>,
    /// Whether the assignor has added bytes of its own.
    pub has_user_data: bool,
}

/// The topics in a member's subscription; none when the bytes are no subscription.
#[must_use]
pub fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut bytes = Read::new(metadata);
    let version = bytes.i16()?;
    if version < 0 {
        return None;
    }
    bytes.list(Read::text)
}

impl Subscription {
    /// Reads a subscription; none when the bytes are none.
    #[must_use]
    pub fn decode(metadata: &[u8]) -> Option<Self> {
        let mut bytes = Read::new(metadata);
        let version = bytes.i16().filter(|version| *version >= 0)?;
        let topics = bytes.list(Read::text)?;
        bytes.blob()?;
        let owned = if version >= 1 { partitions(&mut bytes)? } else { Vec::new() };
        if version >= 2 {
            bytes.i32()?;
        }
        let rack_id = if version >= 3 { bytes.nullable_text()? } else { None };
        Some(Self { version, topics, owned, rack_id: rack_id.filter(|rack| !rack.is_empty()) })
    }
}

impl Assignment {
    /// Reads an assignment; none when the bytes are none. No bytes at all are no partitions.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let mut bytes = Read::new(bytes);
        bytes.i16().filter(|version| *version >= 0)?;
        let partitions = partitions(&mut bytes)?;
        let has_user_data = !bytes.blob()?.is_empty();
        Some(Self { partitions, has_user_data })
    }

    /// Writes it for a member whose subscription has this version.
    #[must_use]
    pub fn encode(&self, version: i16) -> Bytes {
        let value = Write::new(version.clamp(0, VERSION_MAX), false);
        let value = value.list(&self.partitions, |value, (topic, partitions)| {
            value.text(topic).list(partitions, |value, index| value.i32(*index))
        });
        // Without bytes of an assignor: null.
        value.i32(-1).done().into()
    }
}

fn partitions(bytes: &mut Read<'_>) -> Option<Vec<(String, Vec<i32>)>> {
    bytes.list(|bytes| Some((bytes.text()?, bytes.list(Read::i32)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_of_every_version_are_read() {
        let begin =
            |version: i16| Write::new(version, false).list(&["t"], |value, name| value.text(name)).i32(-1);
        let owned = |value: Write| value.i32(1).text("t").list(&[2], |value, index| value.i32(*index));
        let topics = vec!["t".to_owned()];
        let read = Subscription::decode(&begin(0).done()).unwrap();
        assert_eq!(read, Subscription { topics: topics.clone(), ..Default::default() });
        let full = owned(begin(3)).i32(7).nullable_text(Some("r")).done();
        let read = Subscription::decode(&full).unwrap();
        let kept = vec![("t".to_owned(), vec![2])];
        assert_eq!(read, Subscription { version: 3, topics, owned: kept, rack_id: Some("r".into()) });
        for cut in 0..full.len() {
            assert_eq!(Subscription::decode(&full[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn assignments_are_read_as_they_were_written() {
        let partitions = vec![("t".to_owned(), vec![0, 2]), ("u".to_owned(), vec![])];
        let assignment = Assignment { partitions, has_user_data: false };
        let bytes = assignment.encode(1);
        assert_eq!(bytes[..2], [0, 1]);
        assert_eq!(Assignment::decode(&bytes), Some(assignment));
        assert_eq!(Assignment::decode(&[]), Some(Assignment::default()));
        assert_eq!(Assignment::decode(&[0]), None);
    }
}
