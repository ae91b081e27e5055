//! The batch parser: a batch is refused, or it can be stamped, stored, walked and looked into.

use bytes::BytesMut;
use ottla_rules::{
    batch::{Batch, BatchRules, HEADER_BYTES, TimestampType, Walk, check_stored, records},
    ids::{LeaderEpoch, Offset},
    time::Now,
};

const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// Puts the CRC right, so that what lies under it is reached.
fn mend(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]) as u32;
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The first byte says what the topic allows, and whether the CRC is put right.
pub fn check(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let rules = BatchRules {
        compacted: how & 1 != 0,
        timestamp_type: if how & 2 != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        unpacked_bytes_max: UNPACKED_BYTES_MAX,
        ..BatchRules::default()
    };
    let mut bytes = BytesMut::from(bytes);
    if how & 4 != 0 {
        mend(&mut bytes);
    }
    let came = bytes.len();
    let now = Now { mono_ms: 5, wall_ms: 1_700_000_000_000 };
    let Ok(batch) = Batch::parse(bytes, &rules, now) else { return };
    let (count, size) = (batch.header().count, batch.header().size());
    // What follows it and is not a whole batch falls away, as in Kafka.
    assert!(size <= came, "no more is kept than came");
    let append_time = (how & 2 != 0).then_some(now.wall_ms);
    let stamped = batch.stamp(Offset(1000), LeaderEpoch(3), append_time);
    assert_eq!(stamped.bytes.len(), size, "a stored batch is as long as its header says");
    assert_eq!(stamped.end, Offset(1000 + i64::from(count)), "offsets are dense");
    let header = check_stored(&stamped.bytes).expect("what was stamped is whole");
    assert_eq!(header.base_offset, Offset(1000));
    assert_eq!(Walk::over(&stamped.bytes).count(), 1);
    // Packed records that nobody had to look at may turn out to be no records, and no more than that.
    let _ = records::find_timestamp(&stamped.bytes, 0, UNPACKED_BYTES_MAX);
    let _ = records::find_max_timestamp(&stamped.bytes, UNPACKED_BYTES_MAX);
}
