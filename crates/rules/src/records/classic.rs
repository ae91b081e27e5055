//! A group of the classic protocol (Kafka's `GroupMetadataValue`, read in versions 0 to 4, written in 3, as Kafka does).

use bytes::Bytes;

use crate::records::codec::{Read, Write};

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GroupValue {
    /// What it is for.
    pub protocol_type: String,
    /// Its generation.
    pub generation: i32,
    /// The way of assigning that was chosen; none while there are no members.
    pub protocol: Option<String>,
    /// The member that assigns.
    pub leader: Option<String>,
    /// Since when it is in its state, Unix milliseconds; -1 when that was not written.
    pub state_timestamp: i64,
    /// The members.
    pub members: Vec<MemberValue>,
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberValue {
    /// Its id.
    pub member_id: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// How long a rebalance waits for it, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// After how long a silence it is given up, in milliseconds.
    pub session_timeout_ms: i32,
    /// What it said to the leader, for the chosen way of assigning.
    pub subscription: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

impl GroupValue {
    pub(super) fn encode(&self) -> Vec<u8> {
        let value = Write::new(3, false).text(&self.protocol_type).i32(self.generation);
        let value = value.nullable_text(self.protocol.as_deref()).nullable_text(self.leader.as_deref());
        let value = value.i64(self.state_timestamp);
        let member = |value: Write, member: &MemberValue| {
            let value = value.text(&member.member_id).nullable_text(member.instance_id.as_deref());
            let value = value.text(&member.client_id).text(&member.client_host);
            let value = value.i32(member.rebalance_timeout_ms).i32(member.session_timeout_ms);
            value.blob(&member.subscription).blob(&member.assignment)
        };
        value.list(&self.members, member).done()
    }

    pub(super) fn decode(bytes: &mut Read<'_>) -> Option<Option<Self>> {
        let version = Read::i16(&mut bytes.clone())?;
        let Some(mut bytes) = bytes.version(0..=4, 4)? else { return Some(None) };
        let protocol_type = bytes.text()?;
        let generation = bytes.i32()?;
        let protocol = bytes.nullable_text()?;
        let leader = bytes.nullable_text()?;
        let state_timestamp = if version >= 2 { bytes.i64()? } else { -1 };
        let members = bytes.list(|bytes| MemberValue::decode(bytes, version))?;
        bytes.skip_tags()?;
        Some(Some(Self { protocol_type, generation, protocol, leader, state_timestamp, members }))
    }
}

impl MemberValue {
    fn decode(bytes: &mut Read<'_>, version: i16) -> Option<Self> {
        let member_id = bytes.text()?;
        let instance_id = if version >= 3 { bytes.nullable_text()? } else { None };
        let client_id = bytes.text()?;
        let client_host = bytes.text()?;
        let rebalance_timeout_ms = if version >= 1 { bytes.i32()? } else { -1 };
        let session_timeout_ms = bytes.i32()?;
        let subscription = Bytes::copy_from_slice(bytes.blob()?);
        let assignment = Bytes::copy_from_slice(bytes.blob()?);
        bytes.skip_tags()?;
        Some(Self {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: if version >= 1 { rebalance_timeout_ms } else { session_timeout_ms },
            session_timeout_ms,
            subscription,
            assignment,
        })
    }
}
