//! What stands before a request and before its answer.
//!
//! A request header is version 1, or 2 (tagged fields at its end) where the request is flexible; its client id keeps
//! the classic encoding in both. The header of an answer is version 0, or 1 where the answer is flexible, except that
//! answers of ApiVersions always have version 0: the client cannot know yet what the broker speaks.

use crate::{
    api::ApiKey,
    reader::{DecodeError, Reader},
    writer::Writer,
};

/// What stands before a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API is called.
    pub key: ApiKey,
    /// In which version. It may be one that is not served.
    pub version: i16,
    /// Comes back with the answer.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Reads a header; the reader then stands at the body.
    ///
    /// # Errors
    /// [`DecodeError::UnknownKey`] for an API that does not exist (Kafka closes the connection), otherwise what is
    /// wrong with the bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.i16()?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let key = ApiKey::from_number(number).ok_or(DecodeError::UnknownKey { key: number })?;
        let client_id = reader.nullable_string(false)?;
        if version >= key.flexible_from() {
            reader.tagged_fields(|_, _| Ok(()))?;
        }
        Ok(Self { key, version, correlation_id, client_id })
    }

    /// Writes the header.
    pub fn encode(&self, writer: &mut Writer) {
        writer.i16(self.key.number());
        writer.i16(self.version);
        writer.i32(self.correlation_id);
        writer.nullable_string(self.client_id.as_deref(), false);
        writer.no_tagged_fields(self.version >= self.key.flexible_from());
    }
}

fn response_is_flexible(key: ApiKey, version: i16) -> bool {
    key != ApiKey::ApiVersions && version >= key.flexible_from()
}

/// Writes what stands before an answer.
pub fn encode_response_header(writer: &mut Writer, key: ApiKey, version: i16, correlation_id: i32) {
    writer.i32(correlation_id);
    writer.no_tagged_fields(response_is_flexible(key, version));
}

/// Reads what stands before an answer: the correlation id. The reader then stands at the body.
///
/// # Errors
/// [`DecodeError`] when the bytes are no such header.
pub fn decode_response_header(
    reader: &mut Reader<'_>,
    key: ApiKey,
    version: i16,
) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if response_is_flexible(key, version) {
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    Ok(correlation_id)
}
