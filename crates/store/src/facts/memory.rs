//! The twin of sled for the simulation: facts in memory that a crash can lose.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{FactsError, Pair};

/// Facts that outlive the node holding them, as a disk does, and lose in a crash some of what was not flushed.
#[derive(Clone, Debug, Default)]
pub struct MemoryFacts {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What a reader sees.
    seen: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What a crash cannot take.
    flushed: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Changes since the last flush, in order: the key, and its value or its end.
    unflushed: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// There is no room for any change.
    is_full: bool,
}

impl MemoryFacts {
    /// No facts yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut: of the changes not flushed, a tail is lost. `draw` chooses how long that tail is.
    pub fn crash(&self, draw: u64) {
        let mut inner = self.lock();
        let unflushed = std::mem::take(&mut inner.unflushed);
        let kept = (draw % (unflushed.len() as u64 + 1)) as usize;
        for (key, value) in unflushed.into_iter().take(kept) {
            apply(&mut inner.flushed, key, value);
        }
        inner.seen = inner.flushed.clone();
    }

    /// Whether the disk is full from now on: no change is taken then.
    pub fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.lock().seen.get(key).cloned()
    }

    pub(super) fn put(&self, key: &[u8], value: &[u8]) -> Result<(), FactsError> {
        self.change(key.to_vec(), Some(value.to_vec()))
    }

    pub(super) fn remove(&self, key: &[u8]) -> Result<(), FactsError> {
        self.change(key.to_vec(), None)
    }

    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> Vec<Pair> {
        let inner = self.lock();
        let from = inner.seen.range(prefix.to_vec()..);
        from.take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(super) fn visit_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let inner = self.lock();
        let mut facts = inner.seen.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        while facts.next().is_some_and(|(key, value)| visit(key, value)) {}
    }

    pub(super) fn flush(&self) {
        let mut inner = self.lock();
        for (key, value) in std::mem::take(&mut inner.unflushed) {
            apply(&mut inner.flushed, key, value);
        }
    }

    fn change(&self, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<(), FactsError> {
        let mut inner = self.lock();
        if inner.is_full {
            return Err(FactsError::Full("the disk in memory is full".to_owned()));
        }
        apply(&mut inner.seen, key.clone(), value.clone());
        inner.unflushed.push((key, value));
        Ok(())
    }

    /// A poisoned lock is taken all the same: each change is whole once the lock is free.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn apply(facts: &mut BTreeMap<Vec<u8>, Vec<u8>>, key: Vec<u8>, value: Option<Vec<u8>>) {
    match value {
        Some(value) => drop(facts.insert(key, value)),
        None => drop(facts.remove(&key)),
    }
}
