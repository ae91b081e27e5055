//! What one partition lets a Fetch read: a plan of its own, or one that a crowd of long polls shares.

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use ottla_actors::partition::{ReadPlan, SharedPlan};
use ottla_host::Pool;
use ottla_store::FileRange;

use crate::cold;
use crate::door::Piece;

/// From this size on a range leaves by `sendfile`; below, one `pread` into memory is cheaper (measured).
const SEND_FILE_BYTES: u64 = 64 * 1024;

/// A plan, whoever else has it.
pub(super) enum Plan {
    /// Made for this request.
    Own(ReadPlan),
    /// Brought by the bell to all who had asked the same: the first of them finds and reads, for everyone.
    Shared(Arc<SharedPlan>),
}

impl Deref for Plan {
    type Target = ReadPlan;

    fn deref(&self) -> &ReadPlan {
        match self {
            Plan::Own(plan) => plan,
            Plan::Shared(shared) => &shared.plan,
        }
    }
}

impl Plan {
    /// Finds its whole batches, at most `bytes_max` bytes of them: of a shared plan as many as were asked for.
    pub(super) async fn find(
        &self,
        pool: &Pool,
        bytes_max: usize,
        at_least_one: bool,
    ) -> io::Result<Option<FileRange>> {
        let Some(slice) = &self.slice else { return Ok(None) };
        let find = || cold::find(pool, slice.clone().at_most(bytes_max), at_least_one);
        let range = match self {
            Plan::Own(_) => find().await?,
            Plan::Shared(shared) => shared.range.get_or_try_init(find).await?.clone(),
        };
        Ok(Some(range).filter(|range| range.len > 0))
    }

    /// Small ranges are read into memory, up to `room` bytes of them; large ones, and the others, stay where they are.
    pub(super) async fn load(&self, pool: &Pool, range: FileRange, room: &mut u64) -> io::Result<Piece> {
        if range.len >= SEND_FILE_BYTES || range.len > *room {
            return Ok(Piece::File(range));
        }
        *room -= range.len;
        let load = || cold::load(pool, range);
        let bytes = match self {
            Plan::Own(_) => load().await?,
            Plan::Shared(shared) => shared.bytes.get_or_try_init(load).await?.clone(),
        };
        Ok(Piece::Bytes(bytes))
    }
}
