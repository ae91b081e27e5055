//! What a group committed for one partition (Kafka's `OffsetCommitValue`, read in versions 0 to 4, written in 4).

use crate::{
    ids::TopicId,
    records::codec::{Read, Write},
};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the last record that was read; -1 when the client did not know.
    pub leader_epoch: i32,
    /// What the client wanted to remember with it.
    pub metadata: String,
    /// When it was committed, Unix milliseconds.
    pub commit_timestamp: i64,
    /// When it expires, Unix milliseconds; -1: as the broker's retention says. Only old clients ask for it.
    pub expire_timestamp: i64,
    /// The topic's id; zero when it was written without.
    pub topic_id: TopicId,
}

impl OffsetValue {
    pub(super) fn encode(&self) -> Vec<u8> {
        if self.expire_timestamp >= 0 {
            // Version 1 alone has a time to expire.
            let value = Write::new(1, false).i64(self.offset).text(&self.metadata);
            return value.i64(self.commit_timestamp).i64(self.expire_timestamp).done();
        }
        let value = Write::new(4, true).i64(self.offset).i32(self.leader_epoch);
        let value = value.text(&self.metadata).i64(self.commit_timestamp);
        let id = (self.topic_id != TopicId::ZERO).then(|| Write::tagged().uuid(self.topic_id.0));
        value.tag(0, id).done()
    }

    pub(super) fn decode(bytes: &mut Read<'_>) -> Option<Option<Self>> {
        let version = Read::i16(&mut bytes.clone())?;
        let Some(mut bytes) = bytes.version(0..=4, 4)? else { return Some(None) };
        let offset = bytes.i64()?;
        let leader_epoch = if version >= 3 { bytes.i32()? } else { -1 };
        let metadata = bytes.text()?;
        let commit_timestamp = bytes.i64()?;
        let expire_timestamp = if version == 1 { bytes.i64()? } else { -1 };
        let mut topic_id = TopicId::ZERO;
        bytes.tags(|tag, mut field| {
            if tag == 0 {
                topic_id = TopicId(field.uuid()?);
            }
            Some(())
        })?;
        Some(Some(Self { offset, leader_epoch, metadata, commit_timestamp, expire_timestamp, topic_id }))
    }
}
