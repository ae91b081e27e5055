//! One entry of the journal as bytes.
//!
//! ```text
//!  0      4   5      6      8     16        24     32      48         52     56         64      68
//!  | CRC | v | kind | zero | lap | sequence | salt | topic | partition | epoch | offset | length | record bytes ...
//!         '-------------------------------- under the CRC (CRC-32C) --------------------------------
//! ```
//!
//! Numbers are big-endian. The salt is drawn anew each time the journal is opened: a lap that was begun and torn by a crash
//! leaves entries behind whose numbers the next run gives out again.

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use ottla_rules::{
    ids::{LeaderEpoch, Offset, PartitionId, TopicId},
    staging::FileNumber,
};

/// Bytes before the record bytes.
pub const ENTRY_HEADER_BYTES: usize = 68;

const VERSION: u8 = 1;

/// What happened to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A batch was appended.
    Append {
        /// Its first offset.
        base: Offset,
        /// The whole batch, as it is in the segment.
        bytes: Bytes,
    },
    /// The log begins there now.
    MoveStart {
        /// The new log start.
        to: Offset,
    },
    /// The log was cut there.
    Truncate {
        /// The new log end.
        to: Offset,
    },
}

/// An entry that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub partition: PartitionId,
    /// The reign under which it happened.
    pub epoch: LeaderEpoch,
    /// What happened.
    pub kind: EntryKind,
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Whose.
    pub partition: PartitionId,
    /// The reign under which it happened.
    pub epoch: LeaderEpoch,
    /// What happened.
    pub kind: EntryKind,
    /// The lap it belongs to.
    pub lap: u64,
    /// Its place in the order of everything that happened in this data directory.
    pub sequence: u64,
    /// The journal file it is in.
    pub file: FileNumber,
    /// Where it begins in that file.
    pub at: u64,
}

/// What tells one use of a file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lap {
    pub(crate) number: u64,
    pub(crate) salt: u64,
}

impl EntryKind {
    fn code(&self) -> u8 {
        match self {
            Self::Append { .. } => 1,
            Self::MoveStart { .. } => 2,
            Self::Truncate { .. } => 3,
        }
    }

    fn offset(&self) -> Offset {
        match self {
            Self::Append { base, .. } => *base,
            Self::MoveStart { to } | Self::Truncate { to } => *to,
        }
    }
}

impl Entry {
    /// Bytes that it takes in the journal.
    #[must_use]
    pub fn len(&self) -> u64 {
        (ENTRY_HEADER_BYTES + self.bytes().len()) as u64
    }

    /// Never: an entry has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The record bytes; none for anything but an append.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.kind {
            EntryKind::Append { bytes, .. } => bytes,
            EntryKind::MoveStart { .. } | EntryKind::Truncate { .. } => &[],
        }
    }

    /// Writes what stands before the record bytes.
    pub(crate) fn put_header(&self, lap: Lap, sequence: u64, out: &mut BytesMut) {
        let from = out.len();
        out.put_u32(0);
        out.put_u8(VERSION);
        out.put_u8(self.kind.code());
        out.put_u16(0);
        out.put_u64(lap.number);
        out.put_u64(sequence);
        out.put_u64(lap.salt);
        out.put_slice(&self.partition.topic.0);
        out.put_i32(self.partition.index);
        out.put_i32(self.epoch.0);
        out.put_i64(self.kind.offset().0);
        // Fits: staging places nothing larger than a file, and a batch counts its own bytes in 31 bits.
        out.put_u32(self.bytes().len() as u32);
        let crc = crc_of(&out[from + 4..], self.bytes());
        out[from..from + 4].copy_from_slice(&crc.to_be_bytes());
    }
}

/// An entry read back, and what it says about its place.
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) lap: Lap,
    pub(crate) sequence: u64,
    pub(crate) len: usize,
}

/// Whether these can be the first bytes of an entry: not of a file that is free, which was wiped or never written to.
pub(crate) fn may_begin(head: &[u8; ENTRY_HEADER_BYTES]) -> bool {
    head[4] == VERSION
}

/// The entry that begins at `at`; none when no whole, undamaged entry does. Nothing is copied, and nothing is allocated
/// for a length that is not there.
pub(crate) fn read(file: &Bytes, at: usize) -> Option<Found> {
    let head = file.get(at..)?.first_chunk::<ENTRY_HEADER_BYTES>()?;
    if !may_begin(head) {
        return None;
    }
    let length = u32::from_be_bytes(field(head, 64)) as usize;
    let from = at + ENTRY_HEADER_BYTES;
    let bytes = file.get(from..from.checked_add(length)?)?;
    if u32::from_be_bytes(field(head, 0)) != crc_of(&head[4..], bytes) {
        return None;
    }
    let offset = Offset(i64::from_be_bytes(field(head, 56)));
    let kind = match head[5] {
        1 => EntryKind::Append { base: offset, bytes: file.slice(from..from + length) },
        2 => EntryKind::MoveStart { to: offset },
        3 => EntryKind::Truncate { to: offset },
        _ => return None,
    };
    let entry = Entry {
        partition: PartitionId {
            topic: TopicId(field(head, 32)),
            index: i32::from_be_bytes(field(head, 48)),
        },
        epoch: LeaderEpoch(i32::from_be_bytes(field(head, 52))),
        kind,
    };
    let lap = lap_at(file, at)?;
    let sequence = u64::from_be_bytes(field(head, 16));
    // Whoever reads counts one further, and no journal comes that far: these are bytes of somebody else.
    if lap.number == u64::MAX || sequence == u64::MAX {
        return None;
    }
    Some(Found { entry, lap, sequence, len: ENTRY_HEADER_BYTES + length })
}

/// The lap that the entry at `at`, already found whole, belongs to.
pub(crate) fn lap_at(file: &Bytes, at: usize) -> Option<Lap> {
    let head = file.get(at..)?.first_chunk::<ENTRY_HEADER_BYTES>()?;
    Some(Lap { number: u64::from_be_bytes(field(head, 8)), salt: u64::from_be_bytes(field(head, 24)) })
}

fn crc_of(header: &[u8], bytes: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(header);
    digest.update(bytes);
    digest.finalize() as u32
}

/// `N` bytes of a header; places are the constants of this file, all within it.
fn field<const N: usize>(head: &[u8; ENTRY_HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&head[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind() -> impl Strategy<Value = EntryKind> {
        prop_oneof![
            (any::<i64>(), prop::collection::vec(any::<u8>(), 0..300))
                .prop_map(|(base, bytes)| EntryKind::Append { base: Offset(base), bytes: bytes.into() }),
            any::<i64>().prop_map(|to| EntryKind::MoveStart { to: Offset(to) }),
            any::<i64>().prop_map(|to| EntryKind::Truncate { to: Offset(to) }),
        ]
    }

    proptest! {
        /// What was written is read; one flipped bit, or a missing byte, and nothing is.
        #[test]
        fn an_entry_is_read_back_whole_or_not_at_all(
            kind in kind(), topic: [u8; 16], index: i32, epoch: i32, lap: u64, salt: u64, sequence: u64, flip: prop::sample::Index,
        ) {
            let partition = PartitionId { topic: TopicId(topic), index };
            let entry = Entry { partition, epoch: LeaderEpoch(epoch), kind };
            let lap = Lap { number: lap, salt };
            let mut out = BytesMut::new();
            entry.put_header(lap, sequence, &mut out);
            out.put_slice(entry.bytes());
            let whole = out.clone().freeze();

            let found = read(&whole, 0).unwrap();
            prop_assert_eq!((&found.entry, found.lap, found.sequence, found.len as u64), (&entry, lap, sequence, entry.len()));

            prop_assert!(read(&whole.slice(..whole.len() - 1), 0).is_none());
            let bit = flip.index(out.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read(&out.freeze(), 0).is_none());
        }

        #[test]
        fn any_bytes_at_all_do_no_harm(bytes: Vec<u8>, at: usize) {
            prop_assert!(read(&bytes.into(), at).is_none());
        }
    }

    #[test]
    fn zeros_are_not_an_entry() {
        assert!(!may_begin(&[0; ENTRY_HEADER_BYTES]));
        assert!(read(&Bytes::from(vec![0; 4096]), 0).is_none());
    }
}
