//! Variable-length integers of the record format: seven bits a byte, lowest first, zigzag (Kafka's `ByteUtils`).

/// The most bytes that a 32-bit number takes.
const BYTES_MAX_32: u32 = 5;

/// The most bytes that a 64-bit number takes.
const BYTES_MAX_64: u32 = 10;

/// Takes a 32-bit number off the front. None when it is cut off or longer than five bytes; bits beyond 32 fall away, as in Kafka.
#[inline]
pub(super) fn take(bytes: &mut &[u8]) -> Option<i32> {
    take_raw(bytes, BYTES_MAX_32).map(|raw| unzigzag_32(raw as u32))
}

/// Takes a 64-bit number off the front; see [`take`].
#[inline]
pub(super) fn take_long(bytes: &mut &[u8]) -> Option<i64> {
    take_raw(bytes, BYTES_MAX_64).map(|raw| (raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn take_raw(bytes: &mut &[u8], bytes_max: u32) -> Option<u64> {
    let mut raw = 0u64;
    for at in 0..bytes_max {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        raw |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(raw);
        }
    }
    None
}

/// A 32-bit number that arrives byte by byte.
#[derive(Default)]
pub(super) struct Arriving {
    raw: u64,
    n: u32,
}

impl Arriving {
    /// Takes the next byte; the number once it is whole.
    ///
    /// # Errors
    /// `()` when it is longer than five bytes.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<i32>, ()> {
        self.raw |= u64::from(byte & 0x7f) << (7 * self.n);
        self.n += 1;
        match byte & 0x80 {
            0 => Ok(Some(unzigzag_32(self.raw as u32))),
            _ if self.n == BYTES_MAX_32 => Err(()),
            _ => Ok(None),
        }
    }
}

fn unzigzag_32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

/// Appends a number; 32-bit numbers are written by the same rule.
pub(super) fn put(value: i64, out: &mut Vec<u8>) {
    let mut raw = (value << 1 ^ value >> 63) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in
            [0, 1, -1, 63, -64, 64, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN]
        {
            let mut bytes = vec![];
            put(value, &mut bytes);
            assert_eq!(take_long(&mut bytes.as_slice()), Some(value));
            assert_eq!(take_long(&mut &bytes[..bytes.len() - 1]), None, "{value} cut off");
            let Ok(small) = i32::try_from(value) else { continue };
            assert_eq!(take(&mut bytes.as_slice()), Some(small));
            let mut arriving = Arriving::default();
            let whole: Vec<_> = bytes.iter().map(|byte| arriving.push(*byte)).collect();
            assert_eq!(whole.last(), Some(&Ok(Some(small))));
        }
    }

    #[test]
    fn a_number_without_end_is_refused() {
        assert_eq!(take(&mut [0xff; 9].as_slice()), None);
        assert_eq!(take_long(&mut [0xff; 19].as_slice()), None);
    }
}
