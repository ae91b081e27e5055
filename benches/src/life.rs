//! Starting, restarting, partitions, memory, and doing nothing.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::broker::{PAGE_CACHE, Subject, empty};
use crate::client::{self, Client};
use crate::load::{self, Load};
use crate::table::{Table, median, short};

const OTTLA: &str = "Ottla, page cache";
const OTTLA_SYNCED: &str = "Ottla";

/// From the start of the process to the first acknowledged record: empty, and with 1,000 partitions after a clean stop.
pub(crate) fn ready(options: &Options, table: &mut Table) -> io::Result<()> {
    table.head(&["spawn to first acknowledged record", "ms", "CPU ms"]);
    let dir = options.dir.join("ready");
    for (name, setting) in [("empty directory", None), ("empty directory, page cache", Some(PAGE_CACHE))] {
        let settings: Vec<&str> = setting.into_iter().collect();
        let mut runs = Vec::new();
        for _ in 0..options.rounds(11) {
            empty(&dir)?;
            let (subject, took) = first_ack(options, &dir, &settings)?;
            runs.push((took, subject.cpu()));
            subject.stop()?;
        }
        row(table, name, &runs);
    }
    for (name, settings) in
        [("1,000 partitions, clean stop", &[][..]), ("the same, page cache", &[PAGE_CACHE][..])]
    {
        empty(&dir)?;
        let subject = Subject::spawn(options, OTTLA, &dir, settings)?;
        let mut client = Client::patiently(&subject.address)?;
        client.topic("many", 1_000)?;
        fill(&subject, "many", 1_000)?;
        let took = subject.stop()?;
        eprintln!("  stopped in {} ms", short(took.as_secs_f64() * 1e3));
        let mut runs = Vec::new();
        for _ in 0..options.rounds(7) {
            let (subject, took) = first_ack_of(options, &dir, settings, "many")?;
            runs.push((took, subject.cpu()));
            subject.stop()?;
        }
        row(table, name, &runs);
    }
    empty(&dir)
}

fn row(table: &mut Table, name: &str, runs: &[(Duration, Duration)]) {
    let ms = |of: fn(&(Duration, Duration)) -> Duration| {
        short(median(runs.iter().map(|run| of(run).as_secs_f64() * 1e3).collect()))
    };
    table.row(&[name.to_owned(), ms(|run| run.0), ms(|run| run.1)]);
}

/// One small record to each partition.
fn fill(subject: &Subject, topic: &str, partitions: usize) -> io::Result<()> {
    let load = Load { topic, partitions, connections: 1, in_flight: 5, requests: partitions as u64 };
    load::produce(subject, load, &client::batch(1, 222)).map(drop)
}

fn first_ack(options: &Options, dir: &std::path::Path, settings: &[&str]) -> io::Result<(Subject, Duration)> {
    first_ack_of(options, dir, settings, "first")
}

/// Starts a broker and produces one record until it is taken; the topic is made if it is not there.
fn first_ack_of(
    options: &Options,
    dir: &std::path::Path,
    settings: &[&str],
    topic: &str,
) -> io::Result<(Subject, Duration)> {
    let request = client::produce(topic, 0, &client::batch(1, 90));
    let began = Instant::now();
    let subject = Subject::spawn(options, OTTLA, dir, settings)?;
    let mut client = Client::patiently(&subject.address)?;
    client.send(&request)?;
    if client.acknowledged().is_err() {
        // Not there, or recovering.
        client.create(topic, 1)?;
        loop {
            client.send(&request)?;
            if client.acknowledged().is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok((subject, began.elapsed()))
}

/// `kill -9` with 1 GB in one partition; then to the first acknowledged record.
pub(crate) fn restart(options: &Options, table: &mut Table) -> io::Result<()> {
    table.head(&["kill -9 with 1 GB in one partition, to the first acknowledged record", "ms", "CPU ms"]);
    let dir = options.dir.join("restart");
    let bytes: u64 = if options.quick { 250_000_000 } else { 1_000_000_000 };
    let batch = client::batch(63, 1014);
    for (name, settings) in [("page cache", &[PAGE_CACHE][..]), ("synced", &[][..])] {
        for (state, cold) in [("warm", false), ("page cache dropped", true)] {
            let mut runs = Vec::new();
            for _ in 0..options.rounds(3) {
                empty(&dir)?;
                let subject = Subject::spawn(options, OTTLA, &dir, settings)?;
                Client::patiently(&subject.address)?.topic("first", 1)?;
                let requests = bytes / batch.len() as u64;
                let load = Load { topic: "first", partitions: 1, connections: 1, in_flight: 5, requests };
                load::produce(&subject, load, &batch)?;
                subject.kill()?;
                if cold && !drop_page_cache() {
                    continue;
                }
                let (subject, took) = first_ack(options, &dir, settings)?;
                runs.push((took, subject.cpu()));
                subject.kill()?;
            }
            row(table, &format!("{name}, {state}"), &runs);
        }
    }
    empty(&dir)
}

/// Whether the kernel let us.
pub(crate) fn drop_page_cache() -> bool {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// From CreateTopics to the moment when every partition answers.
pub(crate) fn partitions(options: &Options, table: &mut Table) -> io::Result<()> {
    table.head(&["partitions in one topic", "created and all led, s", "resident then, MiB"]);
    for partitions in [1_000, 10_000] {
        let (mut times, mut sizes) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds(3) {
            let subject = Subject::fresh(options, OTTLA_SYNCED, &[])?;
            let mut client = Client::connect(&subject.address)?;
            let began = Instant::now();
            client.topic("many", partitions)?;
            times.push(began.elapsed().as_secs_f64());
            sizes.push(subject.resident_kib() as f64 / 1024.0);
        }
        table.row(&[partitions.to_string(), short(median(times)), short(median(sizes))]);
    }
    Ok(())
}

pub(crate) fn memory(options: &Options, table: &mut Table) -> io::Result<()> {
    table.head(&["resident memory", "MiB"]);
    let mib = |subject: &Subject| short(subject.resident_kib() as f64 / 1024.0);
    for (name, settings) in [(OTTLA_SYNCED, &[][..]), (OTTLA, &[PAGE_CACHE][..])] {
        let subject = Subject::fresh(options, name, settings)?;
        thread::sleep(Duration::from_secs(1));
        table.row(&[format!("{name}: idle"), mib(&subject)]);
        Client::connect(&subject.address)?.topic("t", 8)?;
        let records: u64 = if options.quick { 1_000_000 } else { 10_000_000 };
        let load = Load { topic: "t", partitions: 8, connections: 4, in_flight: 5, requests: records / 150 };
        load::produce(&subject, load, &client::batch(150, 100))?;
        table.row(&[format!("{name}: after {} M records of 100 B", records / 1_000_000), mib(&subject)]);
    }
    let subject = Subject::fresh(options, OTTLA_SYNCED, &[])?;
    Client::connect(&subject.address)?.topic("many", 1_000)?;
    fill(&subject, "many", 1_000)?;
    table.row(&["1,000 partitions, a record in each".to_owned(), mib(&subject)]);
    Ok(())
}

/// CPU time while nobody asks for anything.
pub(crate) fn idle(options: &Options, table: &mut Table) -> io::Result<()> {
    let seconds = if options.quick { 5 } else { 65 };
    table.head(&["idle", "CPU s a minute"]);
    for partitions in [0, 1_000] {
        let subject = Subject::fresh(options, OTTLA_SYNCED, &[])?;
        if partitions > 0 {
            Client::connect(&subject.address)?.topic("many", partitions)?;
            fill(&subject, "many", partitions)?;
        }
        thread::sleep(Duration::from_secs(1));
        let before = subject.cpu();
        thread::sleep(Duration::from_secs(seconds));
        let used = subject.cpu().saturating_sub(before).as_secs_f64();
        table.row(&[format!("{partitions} partitions"), short(used * 60.0 / seconds as f64)]);
    }
    Ok(())
}
