//! Closed loops: produce and fetch as fast as it goes.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Subject;
use crate::client::{self, Client};

/// How one closed loop is run.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partitions: usize,
    pub(crate) connections: usize,
    /// Requests that one connection has under way.
    pub(crate) in_flight: usize,
    /// Requests of all connections together.
    pub(crate) requests: u64,
}

/// What one run was like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
    /// Of each request, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Run {
    /// Millions of bytes of record batches a second.
    pub(crate) fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }

    pub(crate) fn requests_per_s(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }

    /// The broker's CPU seconds per 10^9 bytes of record batches.
    pub(crate) fn cpu_s_per_gb(&self) -> f64 {
        self.cpu.as_secs_f64() / (self.bytes as f64 / 1e9)
    }

    pub(crate) fn cpu_us_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    /// The latency that this share of the requests did not exceed, in microseconds.
    pub(crate) fn latency_us(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = ((self.latencies.len() as f64 * share) as usize).min(last);
        self.latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }
}

/// Sends one batch again and again, to each partition in turn; each connection begins with another one.
pub(crate) fn produce(subject: &Subject, load: Load<'_>, batch: &[u8]) -> io::Result<Run> {
    let left = AtomicU64::new(load.requests);
    let requests: Vec<_> =
        (0..load.partitions).map(|partition| client::produce(load.topic, partition, batch)).collect();
    let mut clients = connect(subject, load.connections)?;
    let (cpu, began) = (subject.cpu(), Instant::now());
    let latencies = thread::scope(|scope| {
        let loops = clients.iter_mut().enumerate().map(|(number, client)| {
            let (left, requests) = (&left, &requests);
            scope.spawn(move || {
                let mut sent = requests.iter().cycle().skip(number % requests.len());
                let mut under_way = VecDeque::new();
                let mut latencies = Vec::new();
                loop {
                    while under_way.len() < load.in_flight && take_one(left) {
                        under_way.push_back(Instant::now());
                        client.send(sent.next().map_or(&[], |request| &request[..]))?;
                    }
                    let Some(since) = under_way.pop_front() else { return Ok(latencies) };
                    client.acknowledged()?;
                    latencies.push(since.elapsed());
                    while let Some(since) = under_way.front().filter(|_| client.has_more()) {
                        client.acknowledged()?;
                        latencies.push(since.elapsed());
                        under_way.pop_front();
                    }
                }
            })
        });
        join_all(loops.collect::<Vec<_>>())
    })?;
    let (took, cpu) = (began.elapsed(), subject.cpu().saturating_sub(cpu));
    Ok(run(load.requests * batch.len() as u64, latencies, took, cpu))
}

/// Reads the partitions from their beginning, each connection its share of them, up to `bytes` in all.
pub(crate) fn fetch(
    subject: &Subject,
    load: Load<'_>,
    bytes: u64,
    partition_bytes_max: usize,
) -> io::Result<Run> {
    let mut clients = connect(subject, load.connections)?;
    let share = bytes / load.connections as u64;
    let (cpu, began) = (subject.cpu(), Instant::now());
    let loops = thread::scope(|scope| {
        let loops = clients.iter_mut().enumerate().map(|(number, client)| {
            scope.spawn(move || {
                let mine = (0..load.partitions).filter(|partition| partition % load.connections == number);
                let mut wanted: Vec<(usize, i64)> = mine.map(|partition| (partition, 0)).collect();
                let (mut got, mut latencies, mut last) = (0, Vec::new(), Instant::now());
                while got < share {
                    let asked = Instant::now();
                    client.send(&client::fetch(load.topic, &wanted, partition_bytes_max, 500))?;
                    let mut fresh = 0;
                    client::each_batch(client.receive()?, |partition, _, next, size| {
                        fresh += size as u64;
                        wanted.iter_mut().filter(|(of, _)| *of == partition).for_each(|(_, at)| *at = next);
                    })?;
                    if fresh == 0 {
                        break;
                    }
                    got += fresh;
                    last = Instant::now();
                    latencies.push(last - asked);
                }
                Ok(vec![(got, latencies, last)])
            })
        });
        join_all(loops.collect::<Vec<_>>())
    })?;
    let cpu = subject.cpu().saturating_sub(cpu);
    // The last poll, which waits for nothing, is not counted.
    let end = loops.iter().map(|(_, _, last)| *last).max().unwrap_or(began);
    let bytes = loops.iter().map(|(got, _, _)| got).sum();
    let latencies = loops.into_iter().flat_map(|(_, latencies, _)| latencies).collect();
    Ok(run(bytes, latencies, end - began, cpu))
}

pub(crate) fn connect(subject: &Subject, connections: usize) -> io::Result<Vec<Client>> {
    (0..connections).map(|_| Client::connect(&subject.address)).collect()
}

/// What the threads found, all together; the first failure counts.
pub(crate) fn join_all<T>(
    threads: Vec<thread::ScopedJoinHandle<'_, io::Result<Vec<T>>>>,
) -> io::Result<Vec<T>> {
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| io::Error::other("a thread panicked"))??);
    }
    Ok(all)
}

/// What the loops of one run found.
pub(crate) fn run(bytes: u64, mut latencies: Vec<Duration>, took: Duration, cpu: Duration) -> Run {
    latencies.sort_unstable();
    Run { bytes, requests: latencies.len() as u64, took, cpu, latencies }
}

/// Whether one was left.
pub(crate) fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
