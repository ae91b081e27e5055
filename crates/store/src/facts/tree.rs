//! Facts in sled, over a disk that may be full for a while.
//!
//! sled takes nothing any more once a write has failed, and says so for good. A full disk is no reason for that: it is
//! opened again, first when the [`Ballast`] has been given away, then whenever somebody asks. What was put and not yet flushed
//! is kept in memory until a flush has returned, and is put again then. Any other failure is for good, as it is for a
//! segment: after a failed fsync nobody knows what is on the disk.
//!
//! sled's own flush asks the kernel to write its pages out (`sync_file_range`), which covers neither the file's size nor the
//! disk's cache: an fsync of ours follows each.

use std::{
    collections::BTreeMap,
    io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ottla_host::{Disk, OpenMode, aside, patiently};

use super::{FactsError, Pair};
use crate::{ballast::Ballast, files::lock};

/// Memory that sled may use for its cache. Facts are few and small, and most are read once, at start.
const CACHE_BYTES: u64 = 4 << 20;
/// sled's name for the file that everything is in.
const DB_FILE: &str = "db";

/// How long a closed sled may keep its file. Its own threads let go of it a moment after the last handle is gone, and a
/// process that is being started holds what this one has open until it runs; the directory itself is locked by us.
const LET_GO: Duration = Duration::from_secs(10);

/// Facts that are read at once while they are visited.
const VISIT_STEP: usize = 64;

/// The facts of one data directory, in sled.
#[derive(Debug)]
pub(super) struct Tree {
    disk: Disk,
    dir: PathBuf,
    /// A failed fsync: no later one is believed.
    lost: AtomicBool,
    ballast: Ballast,
    /// None while the disk has no room to open it.
    db: RwLock<Option<sled::Db>>,
    pending: Mutex<Pending>,
    /// Up to which change everything is known to be flushed. Held by who flushes: one flush for all who wait meanwhile.
    flushed: Mutex<u64>,
}

/// What was put or removed and is not known to be flushed.
#[derive(Debug, Default)]
struct Pending {
    /// How many changes there have been.
    count: u64,
    /// Of each key its last change, as its number, and the value or the key's end.
    last: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
}

impl Tree {
    pub(super) fn open(disk: Disk, dir: &Path, ballast: Ballast) -> Result<Self, FactsError> {
        let tree = Self {
            disk,
            dir: dir.to_owned(),
            lost: AtomicBool::new(false),
            ballast,
            db: RwLock::new(None),
            pending: Mutex::default(),
            flushed: Mutex::default(),
        };
        tree.reopen()?;
        // The names of a new directory, and of the file in it.
        let mut names = [Some(dir), dir.parent()].into_iter().flatten();
        names
            .try_for_each(|dir| tree.disk.sync_dir(dir))
            .map_err(|error| FactsError::Unsynced(error.to_string()))?;
        Ok(tree)
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, FactsError> {
        Ok(self.ask(|db| db.get(key))?.map(|value| value.to_vec()))
    }

    pub(super) fn scan_prefix(&self, prefix: &[u8]) -> Result<Vec<Pair>, FactsError> {
        self.ask(|db| {
            db.scan_prefix(prefix)
                .map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }

    pub(super) fn visit_from(
        &self,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), FactsError> {
        // Collected in steps: a question may be asked twice, a visitor is not to see a fact twice.
        let mut next = from.to_vec();
        loop {
            let pairs =
                self.ask(|db| db.range(next.clone()..).take(VISIT_STEP).collect::<sled::Result<Vec<_>>>())?;
            for (key, value) in &pairs {
                if !key.starts_with(prefix) || !visit(key, value) {
                    return Ok(());
                }
            }
            let Some((last, _)) = pairs.last().filter(|_| pairs.len() == VISIT_STEP) else { return Ok(()) };
            next = [last, &[0][..]].concat();
        }
    }

    /// Puts a value, or with none removes the key.
    pub(super) fn change(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), FactsError> {
        // Held over both, so that what is put again after a reopening is the last that was put.
        let mut pending = lock(&self.pending);
        let change = |db: &sled::Db| change(db, key, value);
        let done = match self.try_once(change) {
            Err(FactsError::Full(_)) => self.reopen_with(&pending).and_then(|()| self.try_once(change)),
            done => done,
        };
        done?;
        pending.count += 1;
        let number = pending.count;
        pending.last.insert(key.to_vec(), (number, value.map(<[u8]>::to_vec)));
        Ok(())
    }

    pub(super) fn flush(&self) -> Result<(), FactsError> {
        let asked = lock(&self.pending).count;
        let mut flushed = lock(&self.flushed);
        if *flushed >= asked && asked > 0 {
            return Ok(());
        }
        let upto = lock(&self.pending).count;
        match self.try_once(|db| db.flush().map(drop)) {
            // Opening it again flushes what is put again.
            Err(FactsError::Full(_)) => self.reopen()?,
            flushed => flushed?,
        }
        self.sync()?;
        lock(&self.pending).last.retain(|_, (number, _)| *number > upto);
        *flushed = upto;
        Ok(())
    }

    pub(super) fn take_on_ballast(&self) {
        self.ballast.take_on();
    }

    /// Makes what sled has written survive a power cut.
    fn sync(&self) -> Result<(), FactsError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(FactsError::Unsynced("an earlier sync of them failed".to_owned()));
        }
        let opened = patiently(|| self.disk.open(self.dir.join(DB_FILE), OpenMode::Read));
        let synced = opened.and_then(|file| file.sync_data());
        synced.map_err(|error| {
            self.lost.store(true, Ordering::Relaxed);
            FactsError::Unsynced(error.to_string())
        })
    }

    /// Asks for something that changes nothing; a second time when the disk had no room and has now.
    fn ask<T>(&self, question: impl Fn(&sled::Db) -> sled::Result<T>) -> Result<T, FactsError> {
        match self.try_once(&question) {
            Err(FactsError::Full(_)) => {
                self.reopen()?;
                self.try_once(question)
            }
            answer => answer,
        }
    }

    fn try_once<T>(&self, question: impl Fn(&sled::Db) -> sled::Result<T>) -> Result<T, FactsError> {
        match &*self.held() {
            Some(db) => question(db).map_err(failed),
            None => Err(FactsError::Full("they are closed until space returns".to_owned())),
        }
    }

    fn held(&self) -> RwLockReadGuard<'_, Option<sled::Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn reopen(&self) -> Result<(), FactsError> {
        self.reopen_with(&lock(&self.pending))
    }

    /// Opens sled anew and puts what was not flushed, with the ballast's room when there is none otherwise.
    fn reopen_with(&self, pending: &Pending) -> Result<(), FactsError> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        let open = || {
            let_go(&self.disk, &self.dir.join(DB_FILE), LET_GO)?;
            remove_half_written(&self.disk, &self.dir)?;
            let opened = open(&self.dir)?;
            let mut all = pending.last.iter();
            let put = all.try_for_each(|(key, (_, value))| change(&opened, key, value.as_deref()));
            match put.and_then(|()| opened.flush()) {
                Ok(_) => Ok(opened),
                Err(error) => {
                    close(opened);
                    Err(error)
                }
            }
        };
        // Closed first: two of them in one directory would not work.
        db.take().into_iter().for_each(close);
        let mut opened = unwound(open);
        if matches!(opened, Err(FactsError::Full(_))) && self.ballast.give_away() {
            opened = unwound(open);
        }
        *db = Some(opened?);
        Ok(())
    }
}

/// Closes sled where nobody waits for it: after a large page, from before facts were kept in parts, has found no room it waits for that
/// page for ever.
fn close(db: sled::Db) {
    aside(move || drop(db));
}

/// sled panics over some damage that it finds, and an operator wants a sentence.
fn unwound<T>(open: impl Fn() -> sled::Result<T>) -> Result<T, FactsError> {
    match panic::catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(failed),
        Err(_) => Err(FactsError::Failed("sled found damage in them that it cannot name".to_owned())),
    }
}

fn change(db: &sled::Db, key: &[u8], value: Option<&[u8]>) -> sled::Result<()> {
    match value {
        Some(value) => db.insert(key, value).map(drop),
        None => db.remove(key).map(drop),
    }
}

/// sled takes what it was writing when it was killed, or when the disk was full, for its newest snapshot, and refuses to open. What is
/// wanted is the one before it, which goes only when the new one is whole and has its name.
fn remove_half_written(disk: &Disk, dir: &Path) -> io::Result<()> {
    if !disk.exists(dir) {
        return Ok(());
    }
    let names = disk.list(dir)?.into_iter().map(|entry| entry.name);
    let mut half = names.filter(|name| name.starts_with("snap.") && name.ends_with(".generating"));
    half.try_for_each(|name| disk.remove_file(dir.join(name)))
}

/// Waits until nobody holds the file any more. Blocks, at most for `patience`.
fn let_go(disk: &Disk, file: &Path, patience: Duration) -> io::Result<()> {
    // Only a file that is there: asking for the lock would make it, and an empty one is a damaged one.
    match disk.open(file, OpenMode::Read) {
        Ok(_) => match disk.lock_within(file, patience) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other(
                "sled does not let go of them, as after a large page has found no room; make room and start again",
            )),
            locked => locked.map(drop),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn open(dir: &Path) -> sled::Result<sled::Db> {
    sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        // Our own flush says when a fact is safe; a timer would only hide a missing one.
        .flush_every_ms(None)
        .open()
}

fn failed(error: sled::Error) -> FactsError {
    if let sled::Error::Corruption { at, .. } = &error {
        let place: String = format!("{at:?}").chars().filter(char::is_ascii_digit).collect();
        let place = if place.is_empty() { place } else { format!(" at byte {place}") };
        return FactsError::Failed(format!("{DB_FILE} in .ottla/facts is damaged{place}"));
    }
    let kind = if let sled::Error::Io(error) = &error { Some(error.kind()) } else { None };
    match kind {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            FactsError::Full(error.to_string())
        }
        _ => FactsError::Failed(error.to_string()),
    }
}
