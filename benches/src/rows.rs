//! The chapters about speed: who runs, in turn, with what load.

use std::io;
use std::time::Duration;

use crate::Options;
use crate::broker::{PAGE_CACHE, Subject};
use crate::client::{self, Client};
use crate::load::{self, Load, Run};
use crate::pace::{self, Pace, Paced};
use crate::table::{Table, median, short};

const PARTITIONS: usize = 8;
const IN_FLIGHT: usize = 5;
const OTTLA: &str = "Ottla, page cache";
pub(crate) const OTTLA_SYNCED: &str = "Ottla";
const BEFORE: &str = "Ottla before, page cache";
const BEFORE_SYNCED: &str = "Ottla before";

/// A batch size: its name, records a batch, bytes of a value, bytes produced in one run.
type Size = (&'static str, usize, usize, u64);

const SIZES: [Size; 3] = [
    ("64 KiB batches", 63, 1014, 512 << 20),
    ("16 KiB batches", 15, 1014, 192 << 20),
    ("one record of 291 B", 1, 222, 16 << 20),
];

pub(crate) fn produce(options: &Options, table: &mut Table) -> io::Result<()> {
    let mut subjects = vec![Subject::sink(options)?, Subject::fresh(options, OTTLA, &[PAGE_CACHE])?];
    subjects.extend(before(options, BEFORE, &[PAGE_CACHE])?);
    subjects.extend(options.peer.as_deref().map(|at| Subject::peer("peer", at, options.peer_pid)));
    produce_rows(options, table, &subjects, 5, 1)
}

pub(crate) fn durable(options: &Options, table: &mut Table) -> io::Result<()> {
    let mut subjects = vec![Subject::fresh(options, OTTLA_SYNCED, &[])?];
    subjects.extend(before(options, BEFORE_SYNCED, &[])?);
    let peer = options.peer_synced.as_deref();
    subjects.extend(peer.map(|at| Subject::peer("peer, synced", at, options.peer_synced_pid)));
    produce_rows(options, table, &subjects, 5, 4)?;
    crate::crowd::durable_producers(options, table, &subjects)
}

fn produce_rows(
    options: &Options,
    table: &mut Table,
    subjects: &[Subject],
    rounds: usize,
    divisor: u64,
) -> io::Result<()> {
    table.head(&[
        "produce",
        "who",
        "MB/s",
        "requests/s",
        "of the first",
        "CPU s/GB",
        "CPU us/request",
        "of the first",
        "p50 / p99 us",
    ]);
    for (size, (name, records, value, bytes)) in SIZES.into_iter().enumerate() {
        let batch = client::batch(records, value);
        let topic = format!("produce-{size}");
        for subject in subjects.iter().filter(|subject| subject.name != "sink") {
            Client::connect(&subject.address)?.topic(&topic, PARTITIONS)?;
        }
        for connections in [1, 8] {
            let what = format!("{name}, {connections} conn");
            if !options.wants_row(&what) {
                continue;
            }
            let requests = bytes / divisor / batch.len() as u64 / if options.quick { 4 } else { 1 };
            let load =
                Load { topic: &topic, partitions: PARTITIONS, connections, in_flight: IN_FLIGHT, requests };
            let runs =
                in_turn(subjects, options.rounds(rounds), |subject| load::produce(subject, load, &batch))?;
            let first = (middle(&runs[0], Run::requests_per_s), middle(&runs[0], Run::cpu_s_per_gb));
            for (subject, runs) in subjects.iter().zip(&runs) {
                table.row(&[
                    what.clone(),
                    subject.name.to_owned(),
                    short(middle(runs, Run::mb_per_s)),
                    short(middle(runs, Run::requests_per_s)),
                    short(middle(runs, Run::requests_per_s) / first.0),
                    short(middle(runs, Run::cpu_s_per_gb)),
                    short(middle(runs, Run::cpu_us_per_request)),
                    short(middle(runs, Run::cpu_s_per_gb) / first.1),
                    latencies(runs),
                ]);
            }
        }
    }
    Ok(())
}

pub(crate) fn fetch(options: &Options, table: &mut Table) -> io::Result<()> {
    let mut subjects = vec![Subject::sink(options)?, Subject::fresh(options, OTTLA, &[PAGE_CACHE])?];
    subjects.extend(before(options, BEFORE, &[PAGE_CACHE])?);
    subjects.extend(options.peer.as_deref().map(|at| Subject::peer("peer", at, options.peer_pid)));
    table.head(&[
        "fetch, 1 MiB a partition",
        "who",
        "MB/s",
        "of the first",
        "of the last",
        "CPU s/GB",
        "of the first",
        "p50 / p99 us",
    ]);
    for (size, (name, records, value, bytes)) in SIZES.into_iter().take(2).enumerate() {
        let batch = client::batch(records, value);
        let topic = format!("fetch-{size}");
        let bytes = if options.quick { bytes / 4 } else { bytes.max(384 << 20) };
        let requests = bytes / batch.len() as u64;
        let load =
            Load { topic: &topic, partitions: PARTITIONS, connections: 1, in_flight: IN_FLIGHT, requests };
        for subject in &subjects {
            if subject.name == "sink" {
                // It has its own batches, which it makes when it is asked for the first.
                load::fetch(subject, load, 1, 1 << 20)?;
                continue;
            }
            Client::connect(&subject.address)?.topic(&topic, PARTITIONS)?;
            load::produce(subject, load, &batch)?;
        }
        for connections in [1, 8] {
            let what = format!("{name}, {connections} conn");
            if !options.wants_row(&what) {
                continue;
            }
            let load = Load { topic: &topic, partitions: PARTITIONS, connections, in_flight: 1, requests: 0 };
            // Almost all of it: nobody waits in a last poll for records that do not come.
            let wanted = bytes / 100 * 95;
            let runs =
                in_turn(&subjects, options.rounds(7), |subject| load::fetch(subject, load, wanted, 1 << 20))?;
            let first = (middle(&runs[0], Run::mb_per_s), middle(&runs[0], Run::cpu_s_per_gb));
            let last = runs.last().map_or(f64::NAN, |runs| middle(runs, Run::mb_per_s));
            for (subject, runs) in subjects.iter().zip(&runs) {
                let speed = middle(runs, Run::mb_per_s);
                table.row(&[
                    what.clone(),
                    subject.name.to_owned(),
                    short(speed),
                    short(speed / first.0),
                    short(speed / last),
                    short(middle(runs, Run::cpu_s_per_gb)),
                    short(middle(runs, Run::cpu_s_per_gb) / first.1),
                    latencies(runs),
                ]);
            }
        }
    }
    Ok(())
}

pub(crate) fn latency(options: &Options, table: &mut Table) -> io::Result<()> {
    let mut all = vec![Subject::sink(options)?];
    all.extend([Subject::fresh(options, OTTLA, &[PAGE_CACHE])?, Subject::fresh(options, OTTLA_SYNCED, &[])?]);
    all.extend(before(options, BEFORE, &[PAGE_CACHE])?);
    all.extend(before(options, BEFORE_SYNCED, &[])?);
    all.extend(options.peer.as_deref().map(|at| Subject::peer("peer", at, options.peer_pid)));
    table.head(&["latency", "who", "ack p50 / p99 us", "end to end p50 / p99 us", "CPU, % of a core"]);
    let seconds = if options.quick { 2 } else { 5 };
    for (at, (name, tick_us, records, is_read)) in [
        // The limit answers nobody who reads.
        ("1,000/s, nobody reads", 1000, 1, false),
        ("1,000/s", 1000, 1, true),
        ("10,000/s", 1000, 10, true),
        ("100,000/s", 1000, 100, true),
        ("10,000/s, one a request", 100, 1, true),
    ]
    .into_iter()
    .enumerate()
    .filter(|(_, (name, ..))| options.wants_row(name))
    {
        let subjects: Vec<_> = all.iter().filter(|subject| !is_read || subject.name != "sink").collect();
        let topic = format!("latency-{at}");
        let pace = Pace {
            topic: &topic,
            partitions: PARTITIONS,
            tick: Duration::from_micros(tick_us),
            records_per_batch: records,
            warm_up: Duration::from_secs(1),
            lasts: Duration::from_secs(seconds),
            is_read,
        };
        for subject in subjects.iter().filter(|subject| subject.name != "sink") {
            Client::connect(&subject.address)?.topic(&topic, PARTITIONS)?;
        }
        let runs = in_turn(subjects.iter().copied(), options.rounds(3), |subject| pace::run(subject, pace))?;
        for (subject, runs) in subjects.iter().zip(&runs) {
            let of = |list: fn(&Paced) -> &Vec<Duration>| {
                let at = |share| median(runs.iter().map(|run| pace::us(list(run), share)).collect());
                format!("{} / {}", short(at(0.5)), short(at(0.99)))
            };
            table.row(&[
                name.to_owned(),
                subject.name.to_owned(),
                of(|run| &run.ack),
                of(|run| &run.end_to_end),
                short(100.0 * median(runs.iter().map(|run| run.cores).collect())),
            ]);
        }
    }
    Ok(())
}

/// Ottla as it comes, another build of it, and the peer as it comes: as far as they are there.
pub(crate) fn synced_and_peer(options: &Options) -> io::Result<Vec<Subject>> {
    let mut subjects = vec![Subject::fresh(options, OTTLA_SYNCED, &[])?];
    subjects.extend(before(options, BEFORE_SYNCED, &[])?);
    subjects.extend(options.peer.as_deref().map(|at| Subject::peer("peer", at, options.peer_pid)));
    Ok(subjects)
}

/// The other build that is compared with, if there is one.
fn before(options: &Options, name: &'static str, settings: &[&str]) -> io::Result<Option<Subject>> {
    options.before.is_some().then(|| Subject::fresh(options, name, settings)).transpose()
}

/// Everyone once, then everyone again: what changes on the machine meanwhile changes for all.
pub(crate) fn in_turn<'a, T>(
    subjects: impl IntoIterator<Item = &'a Subject> + Clone,
    rounds: usize,
    mut run: impl FnMut(&Subject) -> io::Result<T>,
) -> io::Result<Vec<Vec<T>>> {
    let mut all: Vec<Vec<T>> = subjects.clone().into_iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (subject, runs) in subjects.clone().into_iter().zip(&mut all) {
            runs.push(run(subject)?);
        }
    }
    Ok(all)
}

pub(crate) fn middle(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    median(runs.iter().map(of).collect())
}

pub(crate) fn latencies(runs: &[Run]) -> String {
    let at = |share| short(middle(runs, |run| run.latency_us(share)));
    format!("{} / {}", at(0.5), at(0.99))
}
