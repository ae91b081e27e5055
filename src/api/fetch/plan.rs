//! What one partition lets a Fetch read: a plan of its own, or one that a crowd of long polls shares.

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use ottla_actors::partition::{ReadPlan, SharedPlan};
use ottla_host::Pool;
use ottla_store::FileRange;

use crate::cold;
use crate::door::{Loading, Piece};

/// From this size on a range leaves by `sendfile`; below, one `pread` into memory is cheaper (measured).
const SEND_FILE_BYTES: u64 = 64 * 1024;

/// Whether its file has one of the last descriptors, which are from `descriptors_max` on.
pub(super) fn takes_one_of_the_last(range: &FileRange, descriptors_max: usize) -> bool {
    range.file.descriptor().is_some_and(|number| number >= descriptors_max)
}

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

/// What an answer may keep.
pub(super) struct Room {
    /// Bytes of memory.
    pub(super) bytes: u64,
    /// And as many as all answers of the node together.
    pub(super) loading: Loading,
    /// And for ranges of which the file has one of the last descriptors.
    pub(super) rescued_bytes: u64,
    /// Files whose descriptors are below this.
    pub(super) descriptors_max: usize,
}

impl Room {
    /// Whether a range is read into memory, for which there is less room then.
    fn takes(&mut self, range: &FileRange) -> bool {
        if takes_one_of_the_last(range, self.descriptors_max) {
            let left = self.rescued_bytes.checked_sub(range.len);
            self.rescued_bytes = left.unwrap_or(self.rescued_bytes);
            return left.is_some();
        }
        let fits = range.len < SEND_FILE_BYTES && range.len <= self.bytes;
        let takes = fits && self.loading.takes(usize::try_from(range.len).unwrap_or(usize::MAX));
        self.bytes -= if takes { range.len } else { 0 };
        takes
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

    /// Small ranges are read into memory, and those of which the file has one of the last descriptors, up to `room` bytes of
    /// them; large ones, and the others, stay where they are.
    pub(super) async fn load(&self, pool: &Pool, range: FileRange, room: &mut Room) -> io::Result<Piece> {
        if !room.takes(&range) {
            return Ok(Piece::File(range));
        }
        let load = || cold::load(pool, range);
        let bytes = match self {
            Plan::Own(_) => load().await?,
            Plan::Shared(shared) => shared.bytes.get_or_try_init(load).await?.clone(),
        };
        Ok(Piece::Bytes(bytes))
    }
}
