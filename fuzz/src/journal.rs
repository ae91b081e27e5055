//! Journal replay: a journal is refused with its file and place, or its entries are; what is replayed can be replayed again
//! and comes to the same.

use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};
use ottla_host::{Disk, Host, OpenMode, SimWorld};
use ottla_rules::{limits::Limits, staging::StagingLimits, topic_config::TopicConfig};
use ottla_store::{
    FactsKind, Log, LogConfig, MemoryFacts, Place, Store,
    journal::{Journal, by_partition, entry::ENTRY_HEADER_BYTES},
};

const JOURNAL_BYTES_MAX: u64 = 1 << 20;
const PARTITIONS_MAX: usize = 4;

/// Puts the CRC of each entry right, so that what lies under it is reached.
fn mend(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(entry) = bytes.get_mut(at..).filter(|rest| rest.len() >= ENTRY_HEADER_BYTES) {
        let length = entry.len() - ENTRY_HEADER_BYTES;
        let told = u32::from_be_bytes([entry[64], entry[65], entry[66], entry[67]]) as usize;
        let length = told.min(length);
        entry[64..68].copy_from_slice(&(length as u32).to_be_bytes());
        entry[4] = 1;
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        crc.update(&entry[4..ENTRY_HEADER_BYTES + length]);
        let crc = crc.finalize() as u32;
        entry[..4].copy_from_slice(&crc.to_be_bytes());
        at += ENTRY_HEADER_BYTES + length;
    }
}

fn put(disk: &Disk, bytes: &[u8]) {
    disk.create_dir_all("/data/journal").unwrap();
    let file = disk.open("/data/journal/00000000.journal", OpenMode::Create).unwrap();
    file.pwrite_all(bytes, 0).unwrap();
}

/// The first byte says whether the CRCs are put right; the others are a journal file.
pub fn check(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 != 0 {
        mend(&mut bytes);
    }
    let world = SimWorld::new(1);
    let host = Host::simulated(&world);
    put(&host.disk, &bytes);
    let facts = MemoryFacts::new();
    let store =
        Store::open(host.disk.clone(), "/data".into(), FactsKind::Memory(facts), host.chance).unwrap();
    let limits = StagingLimits::of(JOURNAL_BYTES_MAX);
    let Ok((_, entries)) = Journal::open(host.disk, "/data/journal".into(), limits, 7) else { return };
    let config = LogConfig::of("t", &TopicConfig::default(), &Limits::default());
    for (at, (partition, entries)) in by_partition(entries).into_iter().take(PARTITIONS_MAX).enumerate() {
        let place = Place { id: partition, topic: Arc::from(format!("t{at}")) };
        let Ok((log, first)) = Log::recover(&store, place.clone(), config.clone(), entries.clone()) else {
            continue;
        };
        drop(log);
        let (_, second) =
            Log::recover(&store, place, config.clone(), entries).expect("what was replayed once is there");
        assert_eq!((first.log_start, first.end), (second.log_start, second.end));
    }
}
