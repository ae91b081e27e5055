//! How a fact's value is written: a version byte, then bincode.

use bincode::{Decode, Encode};

use super::{Facts, FactsError, key};

/// Fixed-width and little-endian, so that a value's bytes can be read by eye in a hex dump.
const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::Limit<VALUE_BYTES_MAX>,
> = bincode::config::standard().with_fixed_int_encoding().with_limit::<VALUE_BYTES_MAX>();

/// Larger values are refused when read: a damaged length must not make us allocate.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// A value with a version. A new shape gets the next version, and reads the older ones.
pub trait Value: Encode + Decode<()> {
    /// The version of this shape, the value's first byte.
    const VERSION: u8;
}

/// Writes `value` under `key`.
pub fn put<V: Value>(facts: &Facts, key: &[u8], value: &V) -> Result<(), FactsError> {
    facts.put(key, &encode(value))
}

/// Reads the value under `key`; [`FactsError::Damaged`] when it is not one of ours.
pub fn get<V: Value>(facts: &Facts, key: &[u8]) -> Result<Option<V>, FactsError> {
    match facts.get(key)? {
        Some(bytes) => decode(key, &bytes).map(Some),
        None => Ok(None),
    }
}

/// The bytes of `value`.
pub fn encode<V: Value>(value: &V) -> Vec<u8> {
    let mut bytes = vec![V::VERSION];
    // Encoding into a Vec can fail only for types we do not store (a RefCell that is borrowed, a poisoned lock).
    bincode::encode_into_std_write(value, &mut bytes, CONFIG).expect("a plain value is always encoded");
    bytes
}

/// The value in `bytes`, found under `key`.
pub fn decode<V: Value>(key: &[u8], bytes: &[u8]) -> Result<V, FactsError> {
    let damaged = |why: String| FactsError::Damaged { key: key::display(key), why };
    let (version, body) = bytes.split_first().ok_or_else(|| damaged("it is empty".to_owned()))?;
    if *version != V::VERSION {
        return Err(damaged(format!("it has version {version}, known is {}", V::VERSION)));
    }
    match bincode::decode_from_slice::<V, _>(body, CONFIG) {
        Ok((value, used)) if used == body.len() => Ok(value),
        Ok((_, used)) => Err(damaged(format!("{} bytes follow its end", body.len() - used))),
        Err(error) => Err(damaged(error.to_string())),
    }
}
