//! Reading on a thread that must not wait for a disk: what the page cache has is read at once, the rest on the pool.

use std::io;

use bytes::{Bytes, BytesMut};
use ottla_host::{Pool, is_cold};
use ottla_store::{FileRange, Slice};
use tokio::sync::oneshot;

/// Finds the batches of a slice (see [`Slice::read`]).
pub(crate) async fn find(pool: &Pool, slice: Slice, at_least_one: bool) -> io::Result<FileRange> {
    match slice.clone().only_warm().read(at_least_one) {
        Err(error) if is_cold(&error) => run(pool, move || slice.read(at_least_one)).await.map_err(ended)?,
        found => found,
    }
}

/// Reads a small range into memory.
pub(crate) async fn load(pool: &Pool, range: FileRange) -> io::Result<Bytes> {
    match read(&range.only_warm()) {
        Err(error) if is_cold(&error) => run(pool, move || read(&range)).await.map_err(ended)?,
        loaded => loaded,
    }
}

fn read(range: &FileRange) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(usize::try_from(range.len).unwrap_or(0));
    range.file.read_exact_at(&mut bytes, range.at)?;
    Ok(bytes.freeze())
}

/// Runs a job that may wait for the disk, and waits for it.
pub(crate) async fn wait_for<T: Send + 'static>(
    pool: &Pool,
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    run(pool, job).await.map_err(ended)?
}

/// Brings a range of a file into the page cache. The job is queued when this returns, and the future only waits.
pub(crate) fn warm_up(pool: &Pool, range: FileRange) -> impl Future<Output = io::Result<()>> + use<> {
    let warmed = run(pool, move || range.file.warm_up(range.at..range.at + range.len));
    async move { warmed.await.map_err(ended)? }
}

/// Runs a job on the pool. When the pool is full the job runs here: late is better than never, and the pool is full only
/// when thousands want it at once.
fn run<T: Send + 'static>(pool: &Pool, job: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, answer) = oneshot::channel();
    // Whoever waited may be gone: then nobody wants it.
    if let Err(full) = pool.run(move || drop(done.send(job()))) {
        (full.0)();
    }
    answer
}

fn ended(_: oneshot::error::RecvError) -> io::Error {
    io::Error::other("a read on the disk pool came to no end")
}
