//! What members with protocol type `consumer` say to each other (Kafka's `ConsumerProtocol`): the only opaque bytes of
//! the classic protocol that a broker looks into.

use crate::records::codec::Read;

/// The topics in a member's subscription; none when the bytes are no subscription. Later versions only add fields.
#[must_use]
pub fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut bytes = Read::new(metadata);
    let version = bytes.i16()?;
    if version < 0 {
        return None;
    }
    bytes.list(Read::text)
}
