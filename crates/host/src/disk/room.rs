//! Room for one more open file, where the process has as many open as it may.
//!
//! Files that are only kept open for the next time stand in the way of those that are needed now, and a directory that could
//! not be opened to be synced would be taken for a failed sync.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

type LetGo = Arc<dyn Fn() -> bool + Send + Sync>;

/// Who can let go of files of one disk.
#[derive(Clone, Default)]
pub(super) struct Room(Arc<Mutex<Option<LetGo>>>);

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Room")
    }
}

impl Room {
    /// See [`super::Disk::make_room_by`].
    pub(super) fn make_by(&self, let_go: LetGo) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(let_go);
    }

    /// Does this, and again as long as there is no room for another open file and some can be let go of.
    pub(super) fn within<T>(&self, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                Err(error) if is_out_of_files(&error) && self.make() => (),
                done => return done,
            }
        }
    }

    fn make(&self) -> bool {
        let let_go = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let_go.is_some_and(|let_go| let_go())
    }
}

/// Whether it is `EMFILE` or `ENFILE`: the process, or the machine, has as many files open as it may.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_found_no_room_is_done_again_as_long_as_files_are_let_go_of() {
        let kept = Arc::new(AtomicUsize::new(3));
        let room = Room::default();
        let full = || Err::<(), _>(io::Error::from_raw_os_error(24));
        assert_eq!(room.within(full).unwrap_err().raw_os_error(), Some(24), "nobody keeps any");

        let mine = kept.clone();
        room.make_by(Arc::new(move || {
            mine.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        }));
        let act = || if kept.load(Ordering::Relaxed) > 1 { full() } else { Ok(()) };
        room.within(act).unwrap();
        assert_eq!(kept.load(Ordering::Relaxed), 1, "no more than is needed");
        room.within(full).unwrap_err();
        assert_eq!(kept.load(Ordering::Relaxed), 0);
        let other = room.within(|| Err::<(), _>(io::Error::from_raw_os_error(5))).unwrap_err();
        assert_eq!(other.raw_os_error(), Some(5));
    }
}
