//! Many at once: producers that sync, idle connections, long polls.

use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::broker::{PAGE_CACHE, Subject};
use crate::client::{self, Client};
use crate::load::{self, Load};
use crate::table::{Table, median, short};

/// Producers with one request under way, each with a partition of its own: how well syncs are shared.
pub(crate) fn durable_producers(
    options: &Options,
    table: &mut Table,
    subjects: &[Subject],
) -> io::Result<()> {
    table.chapter("durable, one record of 291 B a request, one request in flight a producer");
    table.head(&[
        "producers and partitions",
        "who",
        "acks/s",
        "CPU us/ack",
        "p50 / p99 us",
        "written / acknowledged bytes",
        "acks a sync",
    ]);
    let batch = client::batch(1, 222);
    for crowd in [1, 16, 256] {
        let topic = format!("crowd-{crowd}");
        let requests = if options.quick { 8_000 } else { 40_000 };
        let load = Load { topic: &topic, partitions: crowd, connections: crowd, in_flight: 1, requests };
        for subject in subjects {
            Client::connect(&subject.address)?.topic(&topic, crowd)?;
            // The first append of a partition makes its files.
            load::produce(subject, Load { requests: crowd as u64 * 4, ..load }, &batch)?;
        }
        for subject in subjects {
            let mut runs = Vec::new();
            for _ in 0..options.rounds(3) {
                let (written, syncs) = (subject.written_bytes(), Syncs::count(subject));
                let run = load::produce(subject, load, &batch)?;
                let written = subject.written_bytes() - written;
                runs.push((run, written, syncs.and_then(Syncs::end)));
            }
            let middle =
                |of: &dyn Fn(&load::Run) -> f64| median(runs.iter().map(|(run, _, _)| of(run)).collect());
            let amplification =
                runs.iter().map(|(run, written, _)| *written as f64 / run.bytes as f64).collect();
            let shared = runs
                .iter()
                .filter_map(|(run, _, syncs)| Some(run.requests as f64 / syncs.as_ref()?))
                .collect();
            table.row(&[
                crowd.to_string(),
                subject.name.to_owned(),
                short(middle(&load::Run::requests_per_s)),
                short(middle(&load::Run::cpu_us_per_request)),
                format!(
                    "{} / {}",
                    short(middle(&|run| run.latency_us(0.5))),
                    short(middle(&|run| run.latency_us(0.99)))
                ),
                short(median(amplification)),
                short(median(shared)),
            ]);
        }
    }
    Ok(())
}

/// Counts the fsync and fdatasync calls of a process, where `perf` may.
struct Syncs(std::process::Child);

impl Syncs {
    fn count(subject: &Subject) -> Option<Syncs> {
        let pid = subject.pid?.to_string();
        let events = "syscalls:sys_enter_fdatasync,syscalls:sys_enter_fsync";
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-e", events, "-p", &pid]).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = perf.spawn().ok()?;
        // It says nothing when it has attached.
        thread::sleep(Duration::from_millis(300));
        Some(Syncs(child))
    }

    fn end(self) -> Option<f64> {
        Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().ok()?;
        let said = self.0.wait_with_output().ok()?;
        let text = String::from_utf8(said.stderr).ok()?;
        let counts = text.lines().filter(|line| line.contains("sys_enter_f"));
        let sum: f64 = counts.filter_map(|line| line.split(',').next()?.parse::<f64>().ok()).sum();
        (sum > 0.0).then_some(sum)
    }
}

/// What a connection costs that has said hello and nothing since.
pub(crate) fn connections(options: &Options, table: &mut Table) -> io::Result<()> {
    let crowd = if options.quick { 2_000 } else { 9_900 };
    let subject = Subject::fresh(options, "Ottla, page cache", &[PAGE_CACHE])?;
    thread::sleep(Duration::from_millis(200));
    let before = subject.resident_kib();
    let began = Instant::now();
    let mut clients = load::connect(&subject, crowd)?;
    clients.iter_mut().try_for_each(Client::greet)?;
    let took = began.elapsed();
    let after = subject.resident_kib();
    let cpu = subject.cpu();
    thread::sleep(Duration::from_secs(2));
    let idle = subject.cpu().saturating_sub(cpu);
    table.head(&["idle connections", "KiB each", "connected in s", "CPU s a minute then"]);
    table.row(&[
        crowd.to_string(),
        short(after.saturating_sub(before) as f64 / crowd as f64),
        short(took.as_secs_f64()),
        short(idle.as_secs_f64() * 30.0),
    ]);
    Ok(())
}

/// A thousand consumers wait for one partition; one append wakes them all.
pub(crate) fn polls(options: &Options, table: &mut Table) -> io::Result<()> {
    const WAITING: usize = 1_000;
    let subject = Subject::fresh(options, "Ottla, page cache", &[PAGE_CACHE])?;
    let mut producer = Client::connect(&subject.address)?;
    producer.topic("polls", 1)?;
    let request = client::produce("polls", 0, &client::batch(1, 90));
    let mut waiting = load::connect(&subject, WAITING)?;
    let (mut acks, mut lasts) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds(7) {
        let end = producer.ends("polls", 1)?[0];
        let poll = client::fetch("polls", &[(0, end)], 1 << 20, 30_000);
        waiting.iter_mut().try_for_each(|client| client.send(&poll))?;
        let (ack, last) = thread::scope(|scope| {
            let answered = scope.spawn(|| await_all(&mut waiting));
            // Long enough for all of them to have been taken in, and for their reader to be waiting too.
            thread::sleep(Duration::from_millis(300));
            let began = Instant::now();
            producer.send(&request)?;
            producer.acknowledged()?;
            let ack = began.elapsed();
            let last = load::join_all(vec![answered])?;
            io::Result::Ok((ack, last.into_iter().map(move |at| at - began)))
        })?;
        acks.push(ack.as_secs_f64() * 1e3);
        lasts.extend(last.map(|last| last.as_secs_f64() * 1e3));
    }
    table.head(&["long polls woken by one append", "producer's ack, ms", "last waiter, ms"]);
    table.row(&[WAITING.to_string(), short(median(acks)), short(median(lasts))]);
    Ok(())
}

/// When the last of the polls had its one batch.
fn await_all(waiting: &mut [Client]) -> io::Result<Vec<Instant>> {
    for client in waiting {
        let mut came = 0;
        client::each_batch(client.receive()?, |_, _, _, _| came += 1)?;
        if came != 1 {
            return Err(io::Error::other(format!("a poll was answered with {came} batches")));
        }
    }
    Ok(vec![Instant::now()])
}
