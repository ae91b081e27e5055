//! Groups that commit as fast as they are answered, and what is there again after `kill -9`.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};

use crate::Options;
use crate::broker::{Subject, empty};
use crate::client::{self, Client, count, refuse};
use crate::life::drop_page_cache;
use crate::load::{self, Run};
use crate::rows::{self, OTTLA_SYNCED, in_turn, latencies, middle};
use crate::table::{Table, median, short};

/// As clients commit that know no topic ids.
const OFFSET_COMMIT: i16 = 9;
const OFFSET_FETCH: i16 = 8;
pub(crate) const FIND_COORDINATOR: i16 = 2;
/// FindCoordinator: of a group.
pub(crate) const GROUP: i8 = 0;
/// FindCoordinator: of a transactional id.
pub(crate) const TRANSACTION: i8 = 1;

const TOPIC: &str = "committed";
const GROUPS: usize = 1_000;
const THREADS: usize = 8;

/// A thousand groups, each with one commit under way: over eight connections, and over one each.
pub(crate) fn commits(options: &Options, table: &mut Table) -> io::Result<()> {
    let subjects = rows::synced_and_peer(options)?;
    table.head(&[
        "1,000 groups, one partition a commit",
        "who",
        "commits/s",
        "CPU us/commit",
        "commits per CPU s",
        "of the last",
        "p50 / p99 us",
    ]);
    let requests: Vec<_> = (0..GROUPS).map(|group| commit(&name(group), 1)).collect();
    for subject in &subjects {
        Client::connect(&subject.address)?.topic(TOPIC, 1)?;
        commit_all(subject, &requests)?;
    }
    let floor: Vec<_> =
        (0..GROUPS).map(|group| client::encode(FIND_COORDINATOR, &whereabouts(&name(group)))).collect();
    let commits = Asked { requests: &requests, answered: committed };
    let floor = Asked { requests: &floor, answered: found };
    for (what, connections, asked) in [
        ("8 connections", 8, commits),
        ("64 connections", 64, commits),
        ("1,000 connections", GROUPS, commits),
        // What sockets and codec cost: answered where it is read, by nobody else.
        ("1,000 connections, FindCoordinator instead", GROUPS, floor),
    ] {
        if !options.wants_row(what) {
            continue;
        }
        let count = if options.quick { 50_000 } else { 200_000 };
        let runs =
            in_turn(&subjects, options.rounds(5), |subject| closed_loop(subject, asked, connections, count))?;
        let per_cpu = |runs: &[Run]| 1e6 / middle(runs, Run::cpu_us_per_request);
        let last = runs.last().map_or(f64::NAN, |runs| per_cpu(runs));
        for (subject, runs) in subjects.iter().zip(&runs) {
            table.row(&[
                what.to_owned(),
                subject.name.to_owned(),
                short(middle(runs, Run::requests_per_s)),
                short(middle(runs, Run::cpu_us_per_request)),
                short(per_cpu(runs)),
                short(per_cpu(runs) / last),
                latencies(runs),
            ]);
        }
    }
    Ok(())
}

/// `kill -9` with 10,000 groups and 1,000,000 committed offsets; then until every group is answered with what it committed.
pub(crate) fn takeover(options: &Options, table: &mut Table) -> io::Result<()> {
    const PARTITIONS: usize = 100;
    let groups = if options.quick { 1_000 } else { 10_000 };
    let offsets = (groups * PARTITIONS) as f64;
    let dir = options.dir.join("takeover");
    table.head(&[
        "committed offsets",
        "restart",
        "first answer, ms",
        "every coordinator answers, ms",
        "CPU ms then",
        "bytes an offset, while committing",
        "bytes an offset, after the restart",
    ]);
    for (state, is_cold) in [("kill -9", false), ("kill -9, page cache dropped", true)] {
        let mut runs = Vec::new();
        for _ in 0..options.rounds(3) {
            empty(&dir)?;
            let subject = Subject::spawn(options, OTTLA_SYNCED, &dir, &[])?;
            Client::patiently(&subject.address)?.topic(TOPIC, PARTITIONS)?;
            find(&subject, GROUP, "")?;
            let idle = subject.resident_kib();
            let requests: Vec<_> = (0..groups).map(|group| commit(&name(group), PARTITIONS)).collect();
            commit_all(&subject, &requests)?;
            let grown = subject.resident_kib() - idle;
            subject.kill()?;
            if is_cold && !drop_page_cache() {
                continue;
            }
            let began = Instant::now();
            let subject = Subject::spawn(options, OTTLA_SYNCED, &dir, &[])?;
            let mut client = Client::patiently(&subject.address)?;
            let first = look(&mut client, &name(0), PARTITIONS).map(|()| began.elapsed())?;
            // In each of the fifty partitions of the offsets topic there are some of these.
            for group in (0..groups).step_by(groups / 500) {
                look(&mut client, &name(group), PARTITIONS)?;
            }
            let all = began.elapsed();
            let cpu = subject.cpu();
            let after = subject.resident_kib().saturating_sub(idle);
            subject.kill()?;
            runs.push([first, all, cpu].map(|time| time.as_secs_f64() * 1e3));
            let bytes = [grown, after].map(|kib| kib as f64 * 1024.0 / offsets);
            runs.push([bytes[0], bytes[1], f64::NAN]);
        }
        let of = |rest: usize, at: usize| {
            short(median(runs.iter().skip(rest).step_by(2).map(|run| run[at]).collect()))
        };
        table.row(&[
            format!("{} in {groups} groups", short(offsets)),
            state.to_owned(),
            of(0, 0),
            of(0, 1),
            of(0, 2),
            of(1, 0),
            of(1, 1),
        ]);
    }
    empty(&dir)
}

/// What everyone asks again and again, and how an answer is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) requests: &'a [Bytes],
    pub(crate) answered: fn(&mut Client) -> io::Result<()>,
}

/// One connection and the groups that share it.
struct Lane<'a> {
    client: Client,
    asked: Asked<'a>,
    /// Answers come in the order of the requests.
    under_way: VecDeque<(usize, Instant)>,
    /// What is to be sent, gathered.
    bytes: Vec<u8>,
}

impl Lane<'_> {
    /// Sends the commits of these groups, as far as there are any left.
    fn send(&mut self, groups: impl Iterator<Item = usize>, left: &AtomicU64) -> io::Result<()> {
        self.bytes.clear();
        let now = Instant::now();
        for group in groups {
            if load::take_one(left) {
                self.bytes.extend_from_slice(&self.asked.requests[group]);
                self.under_way.push_back((group, now));
            }
        }
        self.client.send(&self.bytes)
    }

    /// Takes the answers that are there, at least one; whoever has one commits again.
    fn turn(&mut self, left: &AtomicU64, latencies: &mut Vec<Duration>) -> io::Result<()> {
        let mut again = Vec::new();
        while let Some((group, since)) = self.under_way.pop_front() {
            (self.asked.answered)(&mut self.client)?;
            latencies.push(since.elapsed());
            again.push(group);
            if !self.client.has_more() {
                break;
            }
        }
        self.send(again.into_iter(), left)
    }
}

/// Every group asks again as soon as it is answered, until so many answers are there. The groups are spread over the
/// connections, and those over the threads.
fn closed_loop(subject: &Subject, asked: Asked<'_>, connections: usize, count: u64) -> io::Result<Run> {
    let left = AtomicU64::new(count);
    let mut lanes = Vec::new();
    for requests in asked.requests.chunks(asked.requests.len().div_ceil(connections)) {
        let client = Client::connect(&subject.address)?;
        let asked = Asked { requests, ..asked };
        lanes.push(Lane { client, asked, under_way: VecDeque::new(), bytes: Vec::new() });
    }
    let (cpu, began) = (subject.cpu(), Instant::now());
    let share = lanes.len().div_ceil(THREADS);
    let latencies = thread::scope(|scope| {
        let loops = lanes.chunks_mut(share).map(|lanes| {
            let left = &left;
            scope.spawn(move || {
                let mut latencies = Vec::new();
                for lane in lanes.iter_mut() {
                    lane.send(0..lane.asked.requests.len(), left)?;
                }
                while lanes.iter().any(|lane| !lane.under_way.is_empty()) {
                    for lane in lanes.iter_mut().filter(|lane| !lane.under_way.is_empty()) {
                        lane.turn(left, &mut latencies)?;
                    }
                }
                Ok(latencies)
            })
        });
        load::join_all(loops.collect())
    })?;
    let (took, cpu) = (began.elapsed(), subject.cpu().saturating_sub(cpu));
    Ok(load::run(0, latencies, took, cpu))
}

/// Every group commits once, as soon as it has a coordinator.
fn commit_all(subject: &Subject, requests: &[Bytes]) -> io::Result<()> {
    find(subject, GROUP, "")?;
    let mut client = Client::connect(&subject.address)?;
    // The first ones meet coordinators that have just been made.
    for request in requests.iter().take(500) {
        patiently(|| {
            client.send(request)?;
            committed(&mut client)
        })?;
    }
    for some in requests.chunks(500) {
        client.send(&some.concat())?;
        some.iter().try_for_each(|_| committed(&mut client))?;
    }
    Ok(())
}

/// Waits until there is a coordinator for this group or transactional id; the first who asks has the topic made.
pub(crate) fn find(subject: &Subject, key_type: i8, key: &str) -> io::Result<()> {
    let mut client = Client::connect(&subject.address)?;
    let key = if key.is_empty() { name(0) } else { key.to_owned() };
    let request = FindCoordinatorRequest { key, key_type, ..Default::default() };
    patiently(|| {
        let answer: FindCoordinatorResponse = client.ask(FIND_COORDINATOR, &request)?;
        refuse(answer.error_code)
    })
}

/// Again and again until it goes well: coordinators are being made, or read what they know.
pub(crate) fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Err(error) if error.kind() != io::ErrorKind::Other || Instant::now() > deadline => {
                return Err(error);
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
            done => return done,
        }
    }
}

fn name(group: usize) -> String {
    format!("group-{group:05}")
}

/// A commit for the first partitions of the topic, as a consumer that assigns them to itself sends it.
fn commit(group: &str, partitions: usize) -> Bytes {
    let partitions = (0..partitions).map(|partition| OffsetCommitRequestPartition {
        partition_index: count(partition),
        committed_offset: offset(partition),
        committed_metadata: Some(String::new()),
        ..Default::default()
    });
    let topic = OffsetCommitRequestTopic {
        name: TOPIC.into(),
        partitions: partitions.collect(),
        ..Default::default()
    };
    let request = OffsetCommitRequest { group_id: group.into(), topics: vec![topic], ..Default::default() };
    client::encode(OFFSET_COMMIT, &request)
}

/// What is committed for a partition.
fn offset(partition: usize) -> i64 {
    1_000_000 + i64::from(count(partition))
}

pub(crate) fn whereabouts(group: &str) -> FindCoordinatorRequest {
    FindCoordinatorRequest { key: group.into(), key_type: GROUP, ..Default::default() }
}

pub(crate) fn found(client: &mut Client) -> io::Result<()> {
    let answer: FindCoordinatorResponse = client.answer(FIND_COORDINATOR)?;
    refuse(answer.error_code)
}

fn committed(client: &mut Client) -> io::Result<()> {
    let answer: OffsetCommitResponse = client.answer(OFFSET_COMMIT)?;
    let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.try_for_each(|partition| refuse(partition.error_code))
}

/// Asks what a group has committed until it is answered, and compares.
fn look(client: &mut Client, group: &str, partitions: usize) -> io::Result<()> {
    let topic = OffsetFetchRequestTopics {
        name: TOPIC.into(),
        partition_indexes: (0..count(partitions)).collect(),
        ..Default::default()
    };
    let asked =
        OffsetFetchRequestGroup { group_id: group.into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
    let answer = patiently(|| {
        let answer: OffsetFetchResponse = client.ask(OFFSET_FETCH, &request)?;
        answer.groups.iter().try_for_each(|group| refuse(group.error_code)).map(|()| answer)
    })?;
    let topics = answer.groups.iter().flat_map(|group| &group.topics);
    let found: Vec<_> =
        topics.flat_map(|topic| &topic.partitions).map(|partition| partition.committed_offset).collect();
    if found == (0..partitions).map(offset).collect::<Vec<_>>() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{group} lost what it had committed")))
}
