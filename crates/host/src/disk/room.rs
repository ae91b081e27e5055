//! Room for one more open file, where the process has as many open as it may.
//!
//! Files that are only kept open for the next time stand in the way of those that are needed now, and a directory that could
//! not be opened to be synced would be taken for a failed sync.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long [`patiently`] waits for a descriptor, and how long between two looks.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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

    /// Has files let go of that are only kept open; whether there were any.
    pub(super) fn make(&self) -> bool {
        let let_go = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let_go.is_some_and(|let_go| let_go())
    }
}

/// Whether it is `EMFILE` or `ENFILE`: the process, or the machine, has as many files open as it may.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

/// Does what needs an open file, and waits where the process has as many open as it may. For what must not fail because of that, such
/// as a sync: where nothing was opened nothing was lost, but who asked for it has noted that it is done. Blocks for ten
/// seconds at most.
///
/// # Errors
/// Those of `act`. One that [`is_out_of_files`] is no longer one of those once it was waited for in vain.
pub fn patiently<T>(act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    patiently_within(PATIENCE, act)
}

fn patiently_within<T>(patience: Duration, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match act() {
            Err(error) if !is_out_of_files(&error) => return Err(error),
            Err(error) if Instant::now() >= deadline => return Err(io::Error::other(error.to_string())),
            Err(_) => thread::sleep(LOOK_AGAIN),
            done => return done,
        }
    }
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

    #[test]
    fn what_must_not_fail_waits_for_a_descriptor_and_not_for_ever() {
        let asked = AtomicUsize::new(0);
        let third = || match asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(io::Error::from_raw_os_error(24)),
            _ => Ok("opened"),
        };
        assert_eq!(patiently_within(PATIENCE, third).unwrap(), "opened");
        assert_eq!(asked.load(Ordering::Relaxed), 3);

        let never = || Err::<(), _>(io::Error::from_raw_os_error(24));
        let error = patiently_within(Duration::ZERO, never).unwrap_err();
        assert!(!is_out_of_files(&error) && error.to_string().contains("open files"), "{error}");
        let broken = || Err::<(), _>(io::Error::from_raw_os_error(5));
        assert_eq!(patiently_within(PATIENCE, broken).unwrap_err().raw_os_error(), Some(5));
    }
}
