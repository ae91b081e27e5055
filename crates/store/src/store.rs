//! One data directory, used by one process.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ottla_host::{Chance, Disk, LockFile, OpenMode};
use ottla_rules::{
    ids::{NodeId, PartitionId, TopicId},
    planted,
};

use crate::{
    claims::{Claim, Claims, Hold},
    facts::{self, Facts, FactsError, FactsKind, identity::Identity},
    files::{Dir, Files},
    layout,
    log::{LogError, Place},
    suspect,
};

/// The version of everything in a data directory; an older process refuses a newer one.
pub const FORMAT: u32 = 1;

/// Why a data directory cannot be used: a sentence for whoever starts the node.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be created or written.
    #[error("the data directory {} cannot be used: {error}; give the user of this process the right to write there, or set log.dirs to another directory", .dir.display())]
    NotUsable {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another process has it.
    #[error("the data directory {} is used by another process; stop that one, or set log.dirs to another directory", .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer version wrote it.
    #[error("the data directory {} has format {found:?}, this version knows formats up to {FORMAT}; start the version that wrote it, or a newer one", .dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// It belongs to another node.
    #[error("the data directory {} belongs to node {owner}, not to node {claimed}; set node.id={owner}, or set log.dirs to another directory", .dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who wants it.
        claimed: NodeId,
    },
    /// It has partitions and no facts.
    #[error("the data directory {} has partitions ({partition}) but no metadata in .ottla that tells of them; put .ottla back from a copy, or set log.dirs to another directory", .dir.display())]
    Orphans {
        /// The directory.
        dir: PathBuf,
        /// One of them.
        partition: String,
    },
    /// There is no room to open its facts.
    #[error("the disk of the data directory {} is full, and not even its metadata can be opened: {error}; make room there", .dir.display())]
    Full {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        error: FactsError,
    },
    /// Its facts cannot be read.
    #[error("the data directory {} cannot be read: {error}; put its .ottla directory back from a copy", .dir.display())]
    Facts {
        /// The directory.
        dir: PathBuf,
        /// Why not.
        error: FactsError,
    },
}

/// One data directory: its facts, its partitions' files. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    facts: Facts,
    files: Arc<Files>,
    chance: Chance,
    identity: Mutex<Identity>,
    was_clean: bool,
    is_suspect: bool,
    claims: Claims,
    /// Partitions that were opened since the process started.
    opened: Mutex<BTreeSet<PartitionId>>,
    /// Held as long as anyone has the store, or until it is released.
    lock: Mutex<Option<LockFile>>,
}

/// Directories of partitions that nobody knew at the start, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Left by a deletion, and gone now.
    pub removed: Vec<String>,
    /// Kept under this name: nobody knows whose they are.
    pub put_aside: Vec<String>,
}

impl Store {
    /// Opens the data directory `dir`, which is created when it is not there, with a new identity then. Removes what
    /// deletions left behind.
    ///
    /// # Errors
    /// One sentence for the person who starts the node: [`OpenError`].
    pub fn open(disk: Disk, dir: PathBuf, kind: FactsKind, chance: Chance) -> Result<Self, OpenError> {
        let unusable = |error| OpenError::NotUsable { dir: dir.clone(), error };
        let unreadable = |error| unreadable(&dir, error);
        disk.create_dir_all(dir.join(layout::OWN)).map_err(unusable)?;
        let lock = match disk.lock(layout::own(&dir, "lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::InUse { dir }),
            Err(error) => return Err(unusable(error)),
        };
        check_format(&disk, &dir)?;
        let is_suspect = suspect::is_marked(&disk, &dir) && !planted::is(planted::Bug::FailedSyncForgotten);
        if is_suspect {
            log::warn!(dir:% = dir.display(); "a sync failed before: what is not known to be synced is written again");
            for own in ["facts", "journal"] {
                suspect::write_dir_again(&disk, &layout::own(&dir, own)).map_err(unusable)?;
            }
        }
        let facts = Facts::open(kind, &disk, &dir.join(layout::OWN)).map_err(unreadable)?;
        let identity = match facts::identity::get(&facts).map_err(unreadable)? {
            Some(identity) => identity,
            None => {
                refuse_orphans(&disk, &dir)?;
                let cluster = new_id(&chance).to_string();
                let identity = Identity { cluster, directory: new_id(&chance), node: None };
                facts.commit(&[facts::identity::put(&identity)]).map_err(unreadable)?;
                identity
            }
        };
        let was_clean = facts::identity::is_clean(&facts).map_err(unreadable)?;
        // A process that was killed may have left names in it that no sync has covered.
        remove_strays(&disk, &dir).and_then(|()| disk.sync_dir(&dir)).map_err(unusable)?;
        let files = Files::new(disk);
        let identity = Mutex::new(identity);
        Ok(Self {
            inner: Arc::new(Inner {
                dir,
                facts,
                files,
                chance,
                identity,
                was_clean,
                is_suspect,
                claims: Claims::default(),
                opened: Mutex::default(),
                lock: Mutex::new(Some(lock)),
            }),
        })
    }

    /// Says which node uses the directory. The first one keeps it for good.
    pub fn claim(&self, node: NodeId) -> Result<(), OpenError> {
        let dir = || self.inner.dir.clone();
        let mut identity = crate::files::lock(&self.inner.identity);
        match identity.node {
            Some(owner) if owner == node => return Ok(()),
            Some(owner) => return Err(OpenError::OtherNode { dir: dir(), owner, claimed: node }),
            None => identity.node = Some(node),
        }
        let put = self.facts().commit(&[facts::identity::put(&identity)]);
        put.map_err(|error| unreadable(&dir(), error))
    }

    /// Who this directory is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        crate::files::lock(&self.inner.identity).clone()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.dir
    }

    /// Where the journal's files are; not created here.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        layout::own(&self.inner.dir, "journal")
    }

    /// The directory's facts.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.inner.facts
    }

    /// The disk it is on.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.inner.files.disk
    }

    /// Whether the last process that used it stopped in order: nothing needs to be looked at.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.inner.was_clean
    }

    /// From now on a crash may leave things unfinished; safe on the disk when this returns.
    pub fn mark_dirty(&self) -> Result<(), FactsError> {
        self.facts().commit(&[facts::identity::clean(false)])
    }

    /// Everything is written and synced: the last act of a clean stop.
    pub fn mark_clean(&self) -> Result<(), FactsError> {
        self.facts().commit(&[facts::identity::clean(true)])?;
        // Left behind it costs the next start time and nothing else.
        if let Err(error) = suspect::clear(self.disk(), self.path()) {
            log::warn!(error:% = error; "the mark of a failed sync is not taken away");
        }
        Ok(())
    }

    /// A sync failed: the next start must not believe pages that look clean. Until then nothing here is to be synced.
    pub fn mark_suspect(&self) {
        if let Err(error) = suspect::mark(self.disk(), self.path()) {
            log::error!(
                error:% = error;
                "a failed sync cannot be noted: start the machine again before this process, or records may be lost at the next power cut"
            );
        }
    }

    /// Whether a sync failed in the life before: what is above a recovery point is written again before it counts.
    pub(crate) fn is_suspect(&self) -> bool {
        self.inner.is_suspect
    }

    /// Whether this partition was opened since the process started. One that could not be, for want of room, was not.
    pub(crate) fn was_recovered(&self, partition: PartitionId) -> bool {
        crate::files::lock(&self.inner.opened).contains(&partition)
    }

    /// From now on it was.
    pub(crate) fn note_recovered(&self, partition: PartitionId) {
        crate::files::lock(&self.inner.opened).insert(partition);
    }

    /// Lets another process have the directory, whoever still holds this value: the very last act of a stop.
    pub fn release(&self) {
        drop(crate::files::lock(&self.inner.lock).take());
    }

    /// How many segment files may stay open (512 when never said); at least 16.
    pub fn set_open_files_max(&self, max: usize) {
        self.inner.files.set_max(max);
    }

    /// Deletes partitions that are on the disk but that `is_known` does not know: their topic was deleted, and the node
    /// stopped before the files were. Of which the facts have heard nothing either, the metadata may be older than they are, put back from a
    /// copy: those get another name and stay, as in Kafka. At start only, before partitions are opened.
    pub fn remove_unknown(&self, is_known: impl Fn(&str, PartitionId) -> bool) -> Result<Unknown, LogError> {
        let dir = &self.inner.dir;
        let failed = |error| LogError::Io { what: "list", file: dir.clone(), error };
        let mut unknown = Unknown::default();
        for name in self.disk().list(dir).map_err(failed)?.into_iter().map(|entry| entry.name) {
            let Some((topic, index)) = layout::read_dir_name(&name) else { continue };
            let Some(id) = crate::log::read_metadata(self, &dir.join(&name))? else { continue };
            if is_known(topic, PartitionId { topic: id, index })
                || planted::is(planted::Bug::DeletedTopicRead)
            {
                continue;
            }
            let partition = PartitionId { topic: id, index };
            if self.was_known(partition)? {
                self.remove_dir(&name, partition)?;
                unknown.removed.push(name);
            } else {
                let to = layout::stray_dir(&name, &self.unique());
                let moved = self.disk().rename(dir.join(&name), dir.join(&to));
                moved.map_err(|error| LogError::Io { what: "rename", file: dir.join(&name), error })?;
                unknown.put_aside.push(to);
            }
        }
        Ok(unknown)
    }

    /// Whether the facts have heard of a partition: of where it was synced, or of its first batch. What is damaged was there.
    fn was_known(&self, partition: PartitionId) -> Result<bool, FactsError> {
        let known = facts::checkpoint::get(self.facts(), partition).map(|checkpoint| checkpoint.is_some());
        let known =
            known.and_then(|known| Ok(known || !facts::epochs::get(self.facts(), partition)?.is_empty()));
        match known {
            Err(FactsError::Damaged { .. }) => Ok(true),
            known => known,
        }
    }

    /// Forgets what the facts say of partitions that nobody knows: when they were deleted the disk was full, or the process died. At start
    /// only. Blocks.
    ///
    /// # Errors
    /// As the facts give them; not for want of room.
    pub fn forget_unknown(&self, is_known: impl Fn(PartitionId) -> bool) -> Result<(), LogError> {
        let mut known = facts::checkpoint::partitions(self.facts())?;
        known.extend(facts::epochs::partitions(self.facts())?);
        known.sort_unstable();
        known.dedup();
        let mut unknown = known.into_iter().filter(|partition| !is_known(*partition));
        unknown.try_for_each(|partition| crate::log::delete::forget_if_room(self.facts(), partition))
    }

    /// Removes the directory of a partition that has no owner, and all that is known of it. A directory of that name which is another
    /// topic's stays; one that does not say whose it is goes, since the caller knows. Blocks.
    ///
    /// # Errors
    /// [`LogError::Busy`] while what an earlier owner began is not over; else as the file system and the facts give them.
    pub fn remove(&self, place: &Place) -> Result<(), LogError> {
        let Some(_hold) = self.hold(place.id) else { return Err(LogError::Busy) };
        let name = place.dir_name();
        match crate::log::read_metadata(self, &self.inner.dir.join(&name))? {
            Some(topic) if topic != place.id.topic => Ok(()),
            _ if !self.disk().exists(self.inner.dir.join(&name)) => Ok(()),
            _ => self.remove_dir(&name, place.id),
        }
    }

    fn remove_dir(&self, name: &str, partition: PartitionId) -> Result<(), LogError> {
        let dir = Arc::new(Dir::new(self.inner.files.clone(), self.inner.dir.join(name)));
        let away = crate::log::delete::rename_away(self, &dir, name)?;
        let removed = self.disk().remove_dir_all(&away);
        removed.map_err(|error| LogError::Io { what: "remove", file: away, error })?;
        crate::log::delete::forget_if_room(self.facts(), partition)
    }

    pub(crate) fn dir_of(&self, place: &Place) -> Dir {
        Dir::new(self.inner.files.clone(), self.inner.dir.join(place.dir_name()))
    }

    /// A random number in `0..end`; 0 when that is empty.
    pub(crate) fn draw_below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.inner.chance.below(end) }
    }

    /// Two numbers that nobody can guess.
    pub(crate) fn secret(&self) -> [u64; 2] {
        [self.inner.chance.u64(), self.inner.chance.u64()]
    }

    /// The right to change the names of this partition's files; none while somebody has it.
    #[must_use]
    pub fn hold(&self, partition: PartitionId) -> Option<Hold> {
        self.inner.claims.hold(partition)
    }

    /// The right to compact this partition; none while somebody has it.
    pub(crate) fn claim_compaction(&self, partition: PartitionId) -> Option<Claim> {
        self.inner.claims.claim(partition)
    }

    /// 32 characters that were not used before.
    pub(crate) fn unique(&self) -> String {
        format!("{:016x}{:016x}", self.inner.chance.u64(), self.inner.chance.u64())
    }
}

/// Partitions without any metadata: it was lost, or the directory is somebody else's. To begin anew would be to delete them.
fn refuse_orphans(disk: &Disk, dir: &Path) -> Result<(), OpenError> {
    let listed = disk.list(dir).map_err(|error| OpenError::NotUsable { dir: dir.to_owned(), error })?;
    let is_partition = |name: &str| layout::read_dir_name(name).is_some();
    match listed.into_iter().find(|entry| entry.is_dir && is_partition(&entry.name)) {
        Some(entry) => Err(OpenError::Orphans { dir: dir.to_owned(), partition: entry.name }),
        None => Ok(()),
    }
}

fn unreadable(dir: &Path, error: FactsError) -> OpenError {
    let dir = dir.to_owned();
    match error {
        FactsError::Full(_) => OpenError::Full { dir, error },
        FactsError::Damaged { .. } | FactsError::Failed(_) | FactsError::Unsynced(_) => {
            OpenError::Facts { dir, error }
        }
    }
}

/// A random id, as Kafka's `Uuid.randomUuid`: none that begins with a dash, which would look like an option.
fn new_id(chance: &Chance) -> TopicId {
    loop {
        let mut bytes = [0; 16];
        chance.fill(&mut bytes);
        // Version 4, variant 1, as every random UUID.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = TopicId(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

/// Reads the format file, or writes it in a new directory.
fn check_format(disk: &Disk, dir: &Path) -> Result<(), OpenError> {
    let unusable = |error| OpenError::NotUsable { dir: dir.to_owned(), error };
    let path = layout::own(dir, "format");
    let file = disk.open(&path, OpenMode::Create).map_err(unusable)?;
    let mut bytes = [0; 64];
    let n = file.pread(&mut bytes, 0).map_err(unusable)?;
    let found = String::from_utf8_lossy(&bytes[..n]).trim_matches(['\0', '\n', ' ']).to_owned();
    if found.is_empty() {
        // New, or a crash came before it was safe.
        file.pwrite_all(format!("{FORMAT}\n").as_bytes(), 0).map_err(|error| unusable(error.into()))?;
        file.sync_data().map_err(unusable)?;
        return disk.sync_dir(dir.join(layout::OWN)).map_err(unusable);
    }
    match found.parse::<u32>() {
        Ok(version) if version <= FORMAT => Ok(()),
        Ok(_) | Err(_) => Err(OpenError::Newer { dir: dir.to_owned(), found }),
    }
}

fn remove_strays(disk: &Disk, dir: &Path) -> io::Result<()> {
    for name in disk.list(dir)?.into_iter().map(|entry| entry.name) {
        if name.ends_with(layout::DELETED_DIR) {
            disk.remove_dir_all(dir.join(name))?;
        }
    }
    Ok(())
}
