//! The simulated file system's names: what lookups see, and what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::disk::Entry;
use crate::sim::{SimChance, pages::Pages};

/// The directory everything is in.
const ROOT: u64 = 0;

/// Files and directories by number, and the changes of names that no directory sync has covered yet, oldest first.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    pending: Vec<Step>,
    /// How often each file is open: an open file outlives its name.
    open: BTreeMap<u64, usize>,
}

#[derive(Debug)]
enum Node {
    File(Pages),
    Dir { cache: Names, platter: Names },
}

type Names = BTreeMap<String, u64>;

/// Changes of names that happen together or not at all.
#[derive(Debug)]
struct Step(Vec<Change>);

#[derive(Debug)]
struct Change {
    dir: u64,
    name: String,
    to: Option<u64>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Node::Dir { cache: Names::new(), platter: Names::new() };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, pending: vec![], open: BTreeMap::new() }
    }

    pub(crate) fn find(&self, path: &Path) -> io::Result<u64> {
        let mut at = ROOT;
        for name in names_of(path) {
            at = *self.names(at)?.get(&name).ok_or_else(|| missing(path))?;
        }
        Ok(at)
    }

    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let names = self.names(self.find(dir)?)?;
        Ok(names.iter().map(|(name, id)| Entry { name: name.clone(), is_dir: self.is_dir(*id) }).collect())
    }

    /// Each new name is synced.
    pub(crate) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        let mut path = PathBuf::new();
        for name in names_of(dir) {
            let parent = self.find(&path)?;
            path.push(&name);
            match self.names(parent)?.get(&name) {
                Some(id) if self.is_dir(*id) => continue,
                Some(_) => return Err(not_a_dir()),
                None => (),
            }
            let id = self.add(Node::Dir { cache: Names::new(), platter: Names::new() });
            self.change(vec![Change { dir: parent, name, to: Some(id) }]);
            self.commit(parent);
        }
        Ok(())
    }

    pub(crate) fn create_file(&mut self, path: &Path) -> io::Result<u64> {
        let (dir, name) = self.place(path)?;
        let id = self.add(Node::File(Pages::default()));
        self.change(vec![Change { dir, name, to: Some(id) }]);
        Ok(id)
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        if names_of(to).starts_with(&names_of(from)) && names_of(to) != names_of(from) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        if let Some(over) = self.names(to_dir)?.get(&to_name).copied() {
            if over == id {
                return Ok(());
            }
            let fits = match (self.is_dir(id), self.is_dir(over)) {
                (false, false) => true,
                (true, true) => self.names(over)?.is_empty(),
                (true, false) | (false, true) => false,
            };
            if !fits {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        self.change(vec![
            Change { dir: from_dir, name: from_name, to: None },
            Change { dir: to_dir, name: to_name, to: Some(id) },
        ]);
        Ok(())
    }

    pub(crate) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        if self.is_dir(self.find(path)?) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (dir, name) = self.place(path)?;
        self.change(vec![Change { dir, name, to: None }]);
        Ok(())
    }

    pub(crate) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        for entry in self.list(path)? {
            let below = path.join(entry.name);
            if entry.is_dir { self.remove_dir_all(&below)? } else { self.remove_file(&below)? }
        }
        let (dir, name) = self.place(path)?;
        self.change(vec![Change { dir, name, to: None }]);
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let id = self.find(dir)?;
        self.names(id)?;
        self.commit(id);
        Ok(())
    }

    /// The bytes of a file; none when it is a directory or gone.
    pub(crate) fn pages(&mut self, id: u64) -> Option<&mut Pages> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(pages)) => Some(pages),
            Some(Node::Dir { .. }) | None => None,
        }
    }

    /// Every file leaves the page cache.
    pub(crate) fn chill(&mut self) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File(pages) => pages.chill(),
                Node::Dir { .. } => (),
            }
        }
    }

    /// Whether a name that ended with `suffix` was changed into another, and no directory sync has covered that.
    pub(crate) fn has_unsynced_rename(&self, suffix: &str) -> bool {
        let is_rename = |step: &Step| step.0.iter().any(|change| change.to.is_some());
        let leaves = |change: &Change| change.to.is_none() && change.name.ends_with(suffix);
        self.pending.iter().any(|step| is_rename(step) && step.0.iter().any(leaves))
    }

    pub(crate) fn is_dir(&self, id: u64) -> bool {
        matches!(self.nodes.get(&id), Some(Node::Dir { .. }))
    }

    pub(crate) fn opened(&mut self, id: u64) {
        *self.open.entry(id).or_default() += 1;
    }

    pub(crate) fn closed(&mut self, id: u64) {
        let Some(count) = self.open.get_mut(&id) else { return };
        *count -= 1;
        if *count == 0 {
            self.open.remove(&id);
        }
    }

    /// Each unsynced step survives or not; not without the steps before it that touched the same name, or one thing could be
    /// in two places. Then each file loses what it loses.
    pub(crate) fn crash(&mut self, chance: &SimChance) {
        let mut lost = BTreeSet::new();
        for step in std::mem::take(&mut self.pending) {
            let builds_on_lost =
                step.0.iter().any(|change| lost.contains(&(change.dir, change.name.clone())));
            if builds_on_lost || chance.one_in(2) {
                lost.extend(step.0.into_iter().map(|change| (change.dir, change.name)));
            } else {
                self.apply(step);
            }
        }
        self.open.clear();
        for node in self.nodes.values_mut() {
            match node {
                Node::File(pages) => pages.crash(chance),
                Node::Dir { cache, platter } => cache.clone_from(platter),
            }
        }
        self.forget_unreachable();
    }

    fn add(&mut self, node: Node) -> u64 {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    fn names(&self, dir: u64) -> io::Result<&Names> {
        match self.nodes.get(&dir) {
            Some(Node::Dir { cache, .. }) => Ok(cache),
            Some(Node::File(_)) | None => Err(not_a_dir()),
        }
    }

    /// The directory that a path lies in, and its name there.
    fn place(&self, path: &Path) -> io::Result<(u64, String)> {
        let mut names = names_of(path);
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.find(&names.iter().collect::<PathBuf>())?;
        self.names(dir)?;
        Ok((dir, name))
    }

    fn change(&mut self, changes: Vec<Change>) {
        for Change { dir, name, to } in &changes {
            if let Some(Node::Dir { cache, .. }) = self.nodes.get_mut(dir) {
                set(cache, name, *to);
            }
        }
        self.pending.push(Step(changes));
    }

    /// Makes all steps durable that touched a directory, and the older ones that those build upon elsewhere.
    fn commit(&mut self, dir: u64) {
        let mut dirs = BTreeSet::from([dir]);
        let mut covered = vec![];
        let mut left = vec![];
        for step in std::mem::take(&mut self.pending).into_iter().rev() {
            if step.0.iter().any(|change| dirs.contains(&change.dir)) {
                dirs.extend(step.0.iter().map(|change| change.dir));
                covered.push(step);
            } else {
                left.push(step);
            }
        }
        left.reverse();
        self.pending = left;
        let removes = covered.iter().flat_map(|step| &step.0).any(|change| change.to.is_none());
        for step in covered.into_iter().rev() {
            self.apply(step);
        }
        if removes {
            self.forget_unreachable();
        }
    }

    fn apply(&mut self, step: Step) {
        for Change { dir, name, to } in step.0 {
            if let Some(Node::Dir { platter, .. }) = self.nodes.get_mut(&dir) {
                set(platter, &name, to);
            }
        }
    }

    fn forget_unreachable(&mut self) {
        let mut seen = BTreeSet::new();
        let pending = self.pending.iter().flat_map(|step| &step.0);
        let mut next: Vec<u64> =
            pending.flat_map(|change| change.to.into_iter().chain([change.dir])).collect();
        next.extend(self.open.keys().copied().chain([ROOT]));
        while let Some(id) = next.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Some(Node::Dir { cache, platter }) = self.nodes.get(&id) {
                next.extend(cache.values().chain(platter.values()).copied());
            }
        }
        self.nodes.retain(|id, _| seen.contains(id));
    }
}

fn set(names: &mut Names, name: &str, to: Option<u64>) {
    match to {
        Some(id) => names.insert(name.to_owned(), id),
        None => names.remove(name),
    };
}

/// Absolute or not, all paths begin at the root: a simulated node has no working directory.
pub(crate) fn names_of(path: &Path) -> Vec<String> {
    let normal = |part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    };
    path.components().filter_map(normal).collect()
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: no such file or directory", path.display()))
}

fn not_a_dir() -> io::Error {
    io::ErrorKind::NotADirectory.into()
}
