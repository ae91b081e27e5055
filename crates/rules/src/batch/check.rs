//! What a client's batch has to keep to be taken.

use bytes::BytesMut;

use super::{Batch, BatchError, BatchRules};
use crate::time::Now;

pub(super) fn parse(_bytes: BytesMut, _rules: &BatchRules, _now: Now) -> Result<Batch, BatchError> {
    todo!()
}
