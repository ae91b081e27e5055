//! Names on the disk: Kafka's for what Kafka has, `.ottla` for what is ours alone.
//!
//! ```text
//! <data directory>/
//!   .ottla/lock            held by the process that uses the directory
//!   .ottla/format          the version of everything below
//!   .ottla/facts/          sled
//!   .ottla/seal            what the metadata among the facts adds up to
//!   .ottla/ballast         nothing, to be given away on a full disk
//!   .ottla/journal/        the journal
//!   .ottla/suspect         a sync failed: pages that look clean may not be on the disk
//!   <topic>-<partition>/   one partition, as in Kafka:
//!     partition.metadata     which topic id the files belong to
//!     00000000000000000000.log  .index  .timeindex
//!   <topic>-<partition>.<unique>-delete/   a partition on its way out
//!   <topic>-<partition>.<unique>-stray/    one that the metadata never knew: for a person to look at
//! ```

use std::path::{Path, PathBuf};

use ottla_rules::ids::Offset;

/// The directory of our own files within a data directory.
pub const OWN: &str = ".ottla";

/// The mark that a sync has failed.
pub(crate) const SUSPECT: &str = "suspect";
/// The end of a partition directory that is to be deleted.
pub const DELETED_DIR: &str = "-delete";
/// The end of a partition directory that is not to be touched any more.
pub const STRAY_DIR: &str = "-stray";
/// The end of a segment file that is to be deleted.
pub const DELETED_FILE: &str = ".deleted";
/// The end of a segment file that compaction has written, and that does not count yet.
pub const CLEANED_FILE: &str = ".cleaned";
/// Kafka's file that says which topic id a partition directory belongs to.
pub const PARTITION_METADATA: &str = "partition.metadata";

/// One of the three files of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The record batches.
    Log,
    /// Offsets to positions.
    Index,
    /// Timestamps to offsets.
    TimeIndex,
}

impl Part {
    /// Each part once.
    pub const ALL: [Self; 3] = [Self::Log, Self::Index, Self::TimeIndex];

    /// How the file's name ends, as in Kafka.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Index => "index",
            Self::TimeIndex => "timeindex",
        }
    }
}

/// The name of one file of the segment that begins at `base`.
#[must_use]
pub fn file_name(base: Offset, part: Part) -> String {
    format!("{:020}.{}", base.0, part.extension())
}

/// The name under which a file of a segment waits to be deleted; `number` is its alone.
#[must_use]
pub fn deleted_file_name(base: Offset, number: u64, part: Part) -> String {
    format!("{:020}.{number}.{}{DELETED_FILE}", base.0, part.extension())
}

/// What a name in a partition's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file of a segment.
    Segment(Offset, Part),
    /// Left behind by a deletion or an unfinished compaction: to be removed.
    Stray,
    /// Nothing of ours to touch.
    Other,
}

/// Reads a name found in a partition's directory.
#[must_use]
pub fn read_name(name: &str) -> Entry {
    if [DELETED_FILE, CLEANED_FILE, ".swap"].iter().any(|end| name.ends_with(end)) {
        return Entry::Stray;
    }
    let Some((base, extension)) = name.split_once('.') else { return Entry::Other };
    let Some(part) = Part::ALL.into_iter().find(|part| part.extension() == extension) else {
        return Entry::Other;
    };
    if base.len() != 20 || !base.bytes().all(|digit| digit.is_ascii_digit()) {
        return Entry::Other;
    }
    base.parse().map_or(Entry::Other, |base| Entry::Segment(Offset(base), part))
}

/// Our own file or directory `name` in the data directory `dir`.
#[must_use]
pub fn own(dir: &Path, name: &str) -> PathBuf {
    dir.join(OWN).join(name)
}

/// The name under which the partition directory `name` waits to be deleted; `unique` is 32 characters that no other
/// deletion used. Long topic names are cut so that file systems accept it, as Kafka's `LogDir` does.
#[must_use]
pub fn deleted_dir(name: &str, unique: &str) -> String {
    away(name, unique, DELETED_DIR)
}

/// The same for one that is put aside.
#[must_use]
pub fn stray_dir(name: &str, unique: &str) -> String {
    away(name, unique, STRAY_DIR)
}

fn away(name: &str, unique: &str, end: &str) -> String {
    let room = 255 - unique.len() - 1 - end.len();
    let name = &name[..name.len().min(room)];
    format!("{name}.{unique}{end}")
}

/// Splits a partition directory's name at its last `-`.
#[must_use]
pub fn read_dir_name(name: &str) -> Option<(&str, i32)> {
    let (topic, index) = name.rsplit_once('-')?;
    let index = index.parse().ok().filter(|index: &i32| *index >= 0)?;
    (!topic.is_empty() && !topic.starts_with('.')).then_some((topic, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for part in Part::ALL {
            assert_eq!(read_name(&file_name(Offset(42), part)), Entry::Segment(Offset(42), part));
        }
        assert_eq!(file_name(Offset(42), Part::TimeIndex), "00000000000000000042.timeindex");
        assert_eq!(read_name(&deleted_file_name(Offset(42), 7, Part::Log)), Entry::Stray);
        for stray in ["00000000000000000042.log.deleted", "00000000000000000042.index.swap", "x.cleaned"] {
            assert_eq!(read_name(stray), Entry::Stray);
        }
        for other in
            ["42.log", "partition.metadata", "0000000000000000004x.log", "99999999999999999999.log", ""]
        {
            assert_eq!(read_name(other), Entry::Other, "{other}");
        }
    }

    #[test]
    fn a_directory_is_split_at_its_last_dash() {
        assert_eq!(read_dir_name("a-b-3"), Some(("a-b", 3)));
        for no in ["a", "-1", "a-x", ".ottla", "a-1.0123-delete"] {
            assert_eq!(read_dir_name(no), None, "{no}");
        }
        assert!(deleted_dir(&format!("{}-7", "t".repeat(249)), &"u".repeat(32)).len() <= 255);
    }
}
