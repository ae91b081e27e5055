//! Taking over: what a partition of `__consumer_offsets` says is read from its beginning and replayed into groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ottla_rules::{
    batch::{Header, marker::Marker, records::Record},
    group::{Group, GroupConfig, open::OpenTransactions},
    ids::ProducerId,
    records::GroupRecord,
};

use crate::{
    group::Machine,
    replay::{Source, Take},
};

/// What the log says.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) groups: BTreeMap<Arc<str>, Machine>,
    /// The transactions that have not ended.
    pub(super) open: OpenTransactions,
}

/// What is to be read, and for whom.
pub(super) struct Load {
    /// Groups forget topics that the image does not know: the node must have applied the one that made it lead.
    pub(super) source: Source,
    pub(super) config: Arc<GroupConfig>,
    /// Only these groups.
    pub(super) only: Option<Arc<BTreeSet<Arc<str>>>>,
    /// Not before this moment, monotonic milliseconds.
    pub(super) not_before_ms: u64,
}

impl Load {
    /// Reads everything that the log has. Waits as long as it takes: until then clients are told to come again. None when nobody
    /// waits any more.
    pub(super) async fn run(self, is_awaited: impl Fn() -> bool) -> Option<Loaded> {
        let Self { source, config, only, not_before_ms } = self;
        source.shared.host.clock.sleep_until(not_before_ms).await;
        let make = || Loading { config: config.clone(), only: only.clone(), loaded: Loaded::default() };
        source.replay(make, is_awaited).await.map(|loading| loading.loaded)
    }
}

struct Loading {
    config: Arc<GroupConfig>,
    only: Option<Arc<BTreeSet<Arc<str>>>>,
    loaded: Loaded,
}

impl Take for Loading {
    fn take(&mut self, record: &Record<'_>, batch: &Header) {
        let Some(key) = record.key else { return };
        let at = batch.base_offset.plus(i64::from(record.offset_delta));
        let record = match GroupRecord::decode(key, record.value) {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(error) => return log::error!(error:% = error; "a record is lost"),
        };
        if self.only.as_ref().is_some_and(|only| !only.contains(record.group())) {
            return;
        }
        let producer = batch.attributes.is_transactional().then_some(batch.producer_id);
        let Loaded { groups, open } = &mut self.loaded;
        let id = match groups.get_key_value(record.group()) {
            Some((id, _)) => id.clone(),
            None => record.group().into(),
        };
        if let Some(producer) = producer {
            open.found(producer, &id);
        }
        let make = || Group::new(&id, self.config.clone());
        groups.entry(id.clone()).or_insert_with(make).replay(record, at, producer);
    }

    fn take_marker(&mut self, producer: ProducerId, marker: Marker) {
        for group in self.loaded.open.ended(producer) {
            if let Some(group) = self.loaded.groups.get_mut(&group) {
                group.ended(producer, marker.commit);
            }
        }
    }
}
