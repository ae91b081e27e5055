//! Taking over a coordinator's partition: every record from the log start to the high watermark, in order.
//!
//! Whoever was here before may have fallen while a batch of its own was being made safe: what the log had at the first look is waited
//! for, unless it is cut back.

use std::{io, sync::Arc};

use ottla_rules::{
    batch::{
        BatchError, Header,
        marker::Marker,
        records::{Record, Records},
    },
    ids::{Offset, PartitionId, ProducerId},
    partition::{ReadAsk, ReadError},
};
use ottla_store::{Lost, Piece, Slice};

use crate::{
    partition::{LookUp, PlanRead, Wanted},
    shared::Shared,
    stage::reply::Reply,
};

/// Bytes read at a time.
const STEP_BYTES: usize = 4 << 20;

/// How long to wait for a partition that is still recovering, before it is asked again. It doubles from one to the other.
const PAUSE_MS_MIN: u64 = 1;
const PAUSE_MS_MAX: u64 = 500;

/// Whoever takes in the records.
pub(crate) trait Take: Send + 'static {
    /// Takes a record of the batch with this header. What cannot be read is lost, with a word in the log, and the rest
    /// goes on.
    fn take(&mut self, record: &Record<'_>, batch: &Header);

    /// Takes the marker that ends a transaction of `producer`.
    fn take_marker(&mut self, producer: ProducerId, marker: Marker);
}

/// What is to be read.
pub(crate) struct Source {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partition: PartitionId,
    /// The node must have applied this much.
    pub(crate) image_version: u64,
}

impl Source {
    /// Reads everything, into a new taker at each attempt. Waits as long as it takes: until then clients are told to come
    /// again. None when nobody waits for it any more, or the partition is gone.
    pub(crate) async fn replay<T: Take>(
        self,
        make: impl Fn() -> T,
        is_awaited: impl Fn() -> bool,
    ) -> Option<T> {
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            let why = match self.attempt(make(), &is_awaited).await {
                Ok(taken) => return Some(taken),
                Err(Trouble::Refused(error)) => error.to_string(),
                Err(Trouble::Read(error)) => error.to_string(),
            };
            if !is_awaited() || self.is_gone() {
                return None;
            }
            if pause_ms >= PAUSE_MS_MAX {
                log::warn!(partition:% = self.partition, why:% = why; "what the partition coordinates cannot be loaded yet");
            }
            self.pause(&mut pause_ms).await;
        }
    }

    /// Waits, and the next time for longer.
    async fn pause(&self, pause_ms: &mut u64) {
        let clock = &self.shared.host.clock;
        clock.sleep_until(clock.now().mono_ms + *pause_ms).await;
        *pause_ms = (*pause_ms * 2).min(PAUSE_MS_MAX);
    }

    fn is_gone(&self) -> bool {
        let image = self.shared.directory.image();
        image.version() >= self.image_version && image.partition(self.partition).is_none()
    }

    async fn attempt<T: Take>(&self, mut taker: T, is_awaited: impl Fn() -> bool) -> Result<T, Trouble> {
        if self.shared.directory.image().version() < self.image_version {
            return Err(Trouble::Refused(ReadError::NotHere));
        }
        let needed = self.look_up(Wanted::End).await?;
        let mut from = self.look_up(Wanted::Earliest).await?;
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            let (reply, plan) = Reply::once();
            let ask = ReadAsk { from, current_epoch: None, last_fetched_epoch: None, committed_only: false };
            let question = PlanRead { ask, bytes_max: STEP_BYTES, bell: None, is_alone: true, reply };
            self.shared.directory.tell(self.partition, question);
            let plan = plan.await.map_err(Trouble::Refused)?;
            let (Some(slice), true) = (plan.slice, plan.bounds.upto > from) else {
                // What others append meanwhile is not needed, nor what was cut back.
                if plan.bounds.upto >= needed || plan.bounds.upto >= self.look_up(Wanted::End).await? {
                    return Ok(taker);
                }
                if !is_awaited() {
                    return Err(Trouble::Refused(ReadError::NotHere));
                }
                self.pause(&mut pause_ms).await;
                continue;
            };
            let step = self.shared.in_pool(move || {
                let end = take_slice(&mut taker, slice)?;
                io::Result::Ok((taker, end))
            });
            let (taken, end) = step.await.ok_or_else(ended)??;
            taker = taken;
            if end <= from {
                return Ok(taker);
            }
            if !is_awaited() {
                return Err(Trouble::Refused(ReadError::NotHere));
            }
            from = end;
        }
    }

    async fn look_up(&self, wanted: Wanted) -> Result<Offset, Trouble> {
        let (reply, found) = Reply::once();
        let look = LookUp { wanted, committed_only: false, current_epoch: None, reply };
        self.shared.directory.tell(self.partition, look);
        let found = found.await.map_err(Trouble::Refused)?;
        Ok(found.map_or(Offset::ZERO, |found| found.offset))
    }
}

enum Trouble {
    Refused(ReadError),
    Read(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

fn ended() -> io::Error {
    io::Error::other("the node is leaving")
}

/// Reads the batches of a slice; where the next one begins. What is damaged is passed over. Blocks.
fn take_slice(taker: &mut impl Take, slice: Slice) -> io::Result<Offset> {
    slice.show(|piece| match piece {
        Piece::Batch(header, batch) => {
            if let Err(error) = take_batch(taker, header, batch) {
                log::error!(offset:% = header.base_offset, error:% = error; "a batch of a coordinator's records cannot be read, its keys are lost");
            }
        }
        // One line for all of it: what may have been in there is known by its offsets only.
        Piece::Lost(Lost { file, at, from, upto }) => log::error!(
            file:% = file.display(), at = at, from:% = from, upto:% = upto;
            "a batch of a coordinator's records cannot be read, its keys are lost"
        ),
    })
}

/// Takes a batch whose CRC is right.
fn take_batch(taker: &mut impl Take, header: &Header, batch: &[u8]) -> Result<(), BatchError> {
    if header.attributes.is_control() {
        if let Some(marker) = Marker::read(batch)? {
            taker.take_marker(header.producer_id, marker);
        }
        return Ok(());
    }
    // The broker wrote them itself and does not pack them; what an administrator put here is not unpacked for ever.
    let mut records = Records::of(batch, STEP_BYTES)?;
    while let Some(record) = records.next()? {
        taker.take(&record, header);
    }
    Ok(())
}
