//! Taking over: what a partition of `__consumer_offsets` says is read from its beginning and replayed into groups.

use std::{collections::BTreeMap, sync::Arc};

use ottla_rules::{
    batch::records::Record,
    group::{Group, GroupConfig},
    records::GroupRecord,
};

use crate::{
    group::Machine,
    replay::{Source, Take},
};

/// Groups as the log has them.
pub(super) type Loaded = BTreeMap<Arc<str>, Machine>;

/// What is to be read, and for whom.
pub(super) struct Load {
    /// Groups forget topics that the image does not know: the node must have applied the one that made it lead.
    pub(super) source: Source,
    pub(super) config: Arc<GroupConfig>,
    /// Only this group.
    pub(super) only: Option<Arc<str>>,
    /// Not before this moment, monotonic milliseconds.
    pub(super) not_before_ms: u64,
}

impl Load {
    /// Reads everything up to the high watermark. Waits as long as it takes: until then clients are told to come again.
    pub(super) async fn run(self) -> Loaded {
        let Self { source, config, only, not_before_ms } = self;
        source.shared.host.clock.sleep_until(not_before_ms).await;
        let make = || Loading { config: config.clone(), only: only.clone(), groups: Loaded::new() };
        source.replay(make).await.groups
    }
}

struct Loading {
    config: Arc<GroupConfig>,
    only: Option<Arc<str>>,
    groups: Loaded,
}

impl Take for Loading {
    fn take(&mut self, record: &Record<'_>) {
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
