//! Taking over: what a partition of `__consumer_offsets` says is read from its beginning and replayed into groups.

use std::{collections::BTreeMap, io, sync::Arc};

use ottla_rules::{
    batch::{
        Walk,
        records::{Record, Records},
    },
    group::{Group, GroupConfig},
    ids::{Offset, PartitionId},
    partition::{ReadAsk, ReadError},
    records::GroupRecord,
};
use ottla_store::Slice;

use crate::{
    group::Machine,
    partition::{LookUp, PlanRead, Wanted},
    shared::Shared,
    stage::reply::Reply,
};

/// Bytes read at a time.
const STEP_BYTES: usize = 4 << 20;

/// How long to wait for a partition that is still recovering, before it is asked again. It doubles from one to the other.
const PAUSE_MS_MIN: u64 = 1;
const PAUSE_MS_MAX: u64 = 500;

/// Groups as the log has them.
pub(super) type Loaded = BTreeMap<Arc<str>, Machine>;

/// What is to be read, and for whom.
pub(super) struct Load {
    pub(super) shared: Arc<Shared>,
    pub(super) partition: PartitionId,
    /// The node must have applied this much: groups forget topics that it does not know.
    pub(super) image_version: u64,
    pub(super) config: Arc<GroupConfig>,
    /// Only this group.
    pub(super) only: Option<Arc<str>>,
    /// Not before this moment, monotonic milliseconds.
    pub(super) not_before_ms: u64,
}

impl Load {
    /// Reads everything up to the high watermark. Waits as long as it takes: until then clients are told to come again.
    pub(super) async fn run(self) -> Loaded {
        self.shared.host.clock.sleep_until(self.not_before_ms).await;
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            let why = match self.attempt().await {
                Ok(loaded) => return loaded,
                Err(Trouble::Refused(error)) => error.to_string(),
                Err(Trouble::Read(error)) => error.to_string(),
            };
            if pause_ms >= PAUSE_MS_MAX {
                log::warn!(partition:% = self.partition, why:% = why; "groups cannot be loaded yet");
            }
            let clock = &self.shared.host.clock;
            clock.sleep_until(clock.now().mono_ms + pause_ms).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }

    async fn attempt(&self) -> Result<Loaded, Trouble> {
        if self.shared.directory.image().version() < self.image_version {
            return Err(Trouble::Refused(ReadError::NotHere));
        }
        let mut from = self.start().await?;
        let mut loading =
            Loading { config: self.config.clone(), only: self.only.clone(), groups: Loaded::new() };
        loop {
            let (reply, plan) = Reply::once();
            let ask = ReadAsk { from, current_epoch: None, last_fetched_epoch: None, committed_only: false };
            let question = PlanRead { ask, bytes_max: STEP_BYTES, bell: None, reply };
            self.shared.directory.tell(self.partition, question);
            let plan = plan.await.map_err(Trouble::Refused)?;
            let (Some(slice), true) = (plan.slice, plan.bounds.upto > from) else {
                return Ok(loading.groups);
            };
            let step = self.shared.in_pool(move || {
                let end = loading.take(slice, from)?;
                io::Result::Ok((loading, end))
            });
            let (read, end) = step.await.ok_or_else(ended)??;
            loading = read;
            if end <= from {
                return Ok(loading.groups);
            }
            from = end;
        }
    }

    async fn start(&self) -> Result<Offset, Trouble> {
        let (reply, start) = Reply::once();
        let look = LookUp { wanted: Wanted::Earliest, committed_only: false, current_epoch: None, reply };
        self.shared.directory.tell(self.partition, look);
        let start = start.await.map_err(Trouble::Refused)?;
        Ok(start.map_or(Offset::ZERO, |found| found.offset))
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

struct Loading {
    config: Arc<GroupConfig>,
    only: Option<Arc<str>>,
    groups: Loaded,
}

impl Loading {
    /// Reads the batches of a slice; where the next one begins. Blocks.
    fn take(&mut self, slice: Slice, from: Offset) -> io::Result<Offset> {
        let bytes = slice.read(true)?.read()?;
        let mut end = from;
        for found in Walk::over(&bytes) {
            let (at, header) = found.map_err(|error| io::Error::other(error.to_string()))?;
            end = header.end();
            // Markers of transactions are no records of groups.
            if header.attributes.is_control() {
                continue;
            }
            // The broker wrote them itself and does not pack them; what an administrator put here is not unpacked for ever.
            let batch = &bytes[at..at + header.size()];
            if let Err(error) = self.take_batch(batch) {
                log::error!(offset:% = header.base_offset, error:% = error; "a batch of group records cannot be read, its keys are lost");
            }
        }
        Ok(end)
    }

    fn take_batch(&mut self, batch: &[u8]) -> Result<(), ottla_rules::batch::BatchError> {
        let mut records = Records::of(batch, STEP_BYTES)?;
        while let Some(record) = records.next()? {
            self.take_record(&record);
        }
        Ok(())
    }

    fn take_record(&mut self, record: &Record<'_>) {
        let Some(key) = record.key else { return };
        let record = match GroupRecord::decode(key, record.value) {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(error) => return log::error!(error:% = error; "a record is lost"),
        };
        if self.only.as_ref().is_some_and(|only| **only != *record.group()) {
            return;
        }
        if let Some(group) = self.groups.get_mut(record.group()) {
            return group.replay(record);
        }
        let mut group = Group::new(record.group(), self.config.clone());
        let id = record.group().into();
        group.replay(record);
        self.groups.insert(id, group);
    }
}
