//! A group of the consumer protocol with a thousand members: how long until everyone has its share, and what a heartbeat costs.

use std::io;
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use ottla_rules::ids::TopicId;
use ottla_wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, OwnedTopicPartitions,
};

use crate::Options;
use crate::broker::Subject;
use crate::client::{self, Client, count, refuse};
use crate::commits::{Asked, FIND_COORDINATOR, GROUP, find, found, patiently, whereabouts};
use crate::load::{self, Run};
use crate::rows::{self, in_turn, latencies, middle};
use crate::table::{Table, median, short};

const HEARTBEAT: i16 = 1;
const MEMBERS: usize = 1_000;
const CONNECTIONS: usize = 8;
const TOPIC: &str = "shared";
/// So long nothing may change before a group counts as settled.
const STAYS: Duration = Duration::from_secs(3);
/// What a member is answered that has missed an answer: it joins again.
const FENCED_MEMBER_EPOCH: i16 = 110;

/// One member as its consumer sees it.
#[derive(Clone, Default)]
struct Member {
    id: String,
    epoch: i32,
    owned: Vec<i32>,
    topic: TopicId,
    /// It was told of another share, and has not said that it has it.
    has_news: bool,
}

impl Member {
    /// Joins.
    fn hello(&self, group: &str) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            member_epoch: 0,
            rebalance_timeout_ms: 300_000,
            subscribed_topic_names: Some(vec![TOPIC.into()]),
            topic_partitions: Some(Vec::new()),
            ..self.nothing_new(group)
        }
    }

    /// Lives.
    fn nothing_new(&self, group: &str) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: group.into(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            ..Default::default()
        }
    }

    /// Joins if it has to; says what it has taken over or let go of, if it was told to; else that it lives.
    fn says(&self, group: &str) -> ConsumerGroupHeartbeatRequest {
        if self.epoch == 0 {
            return self.hello(group);
        }
        if !self.has_news {
            return self.nothing_new(group);
        }
        let owned = OwnedTopicPartitions { topic_id: self.topic, partitions: self.owned.clone() };
        let owned = if self.owned.is_empty() { Vec::new() } else { vec![owned] };
        ConsumerGroupHeartbeatRequest { topic_partitions: Some(owned), ..self.nothing_new(group) }
    }

    fn hears(&mut self, answer: ConsumerGroupHeartbeatResponse) -> io::Result<()> {
        if answer.error_code == FENCED_MEMBER_EPOCH {
            *self = Member { id: mem::take(&mut self.id), ..Member::default() };
            return Ok(());
        }
        refuse(answer.error_code)?;
        self.epoch = answer.member_epoch;
        self.has_news = answer.assignment.is_some();
        let Some(assignment) = answer.assignment else { return Ok(()) };
        self.owned.clear();
        for topic in assignment.topic_partitions {
            self.topic = topic.topic_id;
            self.owned.extend(topic.partitions);
        }
        Ok(())
    }
}

/// Everyone joins at once and heartbeats as fast as it is answered until each partition has one owner and all are in the same
/// epoch; then nobody has anything to say.
pub(crate) fn members(options: &Options, table: &mut Table) -> io::Result<()> {
    let subjects = rows::synced_and_peer(options)?;
    table.head(&[
        "1,000 members, 1,000 partitions",
        "who",
        "converged, s",
        "heartbeats until then",
        "CPU s until then",
        "CPU us/idle heartbeat",
        "p50 / p99 us",
        "the same, 200 a second",
        "CPU us/FindCoordinator",
        "the same, 200 a second",
    ]);
    for subject in &subjects {
        Client::connect(&subject.address)?.topic(TOPIC, MEMBERS)?;
        find(subject, GROUP, "members")?;
    }
    let mut round = 0;
    let runs = in_turn(&subjects, options.rounds(3), |subject| {
        round += 1;
        one_group(subject, &format!("members-{round}"), options.quick)
    })?;
    for (subject, runs) in subjects.iter().zip(&runs) {
        let of = |what: fn(&Grown) -> f64| short(median(runs.iter().map(what).collect()));
        let idle: Vec<Run> = runs.iter().map(|run| run.idle.clone()).collect();
        table.row(&[
            "one group".to_owned(),
            subject.name.to_owned(),
            of(|run| run.converged.as_secs_f64()),
            of(|run| run.heartbeats as f64),
            of(|run| run.cpu.as_secs_f64()),
            short(middle(&idle, Run::cpu_us_per_request)),
            latencies(&idle),
            of(|run| run.paced_us),
            of(|run| run.floor.cpu_us_per_request()),
            of(|run| run.floor_paced_us),
        ]);
    }
    Ok(())
}

/// How a group came to be.
struct Grown {
    converged: Duration,
    heartbeats: usize,
    cpu: Duration,
    idle: Run,
    /// The broker's CPU for a heartbeat when there are few, microseconds.
    paced_us: f64,
    /// What sockets and codec cost: the same with a request that is answered where it is read.
    floor: Run,
    floor_paced_us: f64,
}

fn one_group(subject: &Subject, group: &str, is_quick: bool) -> io::Result<Grown> {
    let mut clients = load::connect(subject, CONNECTIONS)?;
    let mut members: Vec<_> =
        (0..MEMBERS).map(|at| Member { id: format!("{group}-{at:04}"), ..Member::default() }).collect();
    let (cpu, began) = (subject.cpu(), Instant::now());
    let (mut sent, mut settled) = (0, None);
    // A broker that gathers changes before it assigns may have something to say later: it stays so for a while.
    let (at, heartbeats, used) = loop {
        sent += beat(&mut clients, &mut members, group)?;
        let now = (Instant::now(), sent, subject.cpu());
        settled = is_settled(&members).then(|| settled.unwrap_or(now));
        if let Some(settled) = settled.filter(|(since, ..)| since.elapsed() > STAYS) {
            break settled;
        }
        if began.elapsed() > Duration::from_secs(300) {
            return Err(io::Error::other("the group does not settle"));
        }
    };
    let (converged, cpu) = (at - began, used.saturating_sub(cpu));
    let requests: Vec<_> =
        members.iter().map(|member| client::encode(HEARTBEAT, &member.nothing_new(group))).collect();
    let beats = Asked { requests: &requests, answered };
    let whereabouts = client::encode(FIND_COORDINATOR, &whereabouts(group));
    let others = vec![whereabouts; MEMBERS];
    let others = Asked { requests: &others, answered: found };
    let rounds = if is_quick { 20 } else { 100 };
    let idle = back_to_back(subject, &mut clients, beats, rounds)?;
    let paced_us = paced(subject, &mut clients[0], beats)?;
    let floor = back_to_back(subject, &mut clients, others, rounds)?;
    let floor_paced_us = paced(subject, &mut clients[0], others)?;
    Ok(Grown { converged, heartbeats, cpu, idle, paced_us, floor, floor_paced_us })
}

/// Each member heartbeats once; what it hears it follows. Says how many heartbeats that took.
fn beat(clients: &mut [Client], members: &mut [Member], group: &str) -> io::Result<usize> {
    let share = members.len().div_ceil(clients.len());
    let counted = thread::scope(|scope| {
        let loops = clients.iter_mut().zip(members.chunks_mut(share)).map(|(client, members)| {
            scope.spawn(move || {
                for member in members.iter_mut() {
                    patiently(|| {
                        let answer = client.ask(HEARTBEAT, &member.says(group))?;
                        member.hears(answer)
                    })?;
                }
                Ok(vec![members.len()])
            })
        });
        load::join_all(loops.collect())
    })?;
    Ok(counted.iter().sum())
}

/// All in one epoch, with nothing left to say, and each partition owned once.
fn is_settled(members: &[Member]) -> bool {
    let mut owned: Vec<_> = members.iter().flat_map(|member| &member.owned).copied().collect();
    owned.sort_unstable();
    owned == (0..count(MEMBERS)).collect::<Vec<_>>()
        && members.iter().all(|member| member.epoch == members[0].epoch && !member.has_news)
}

/// Requests over each connection, one by one, as fast as they are answered.
fn back_to_back(
    subject: &Subject,
    clients: &mut [Client],
    asked: Asked<'_>,
    rounds: usize,
) -> io::Result<Run> {
    let share = asked.requests.len().div_ceil(clients.len());
    let (cpu, began) = (subject.cpu(), Instant::now());
    let latencies = thread::scope(|scope| {
        let loops = clients.iter_mut().zip(asked.requests.chunks(share)).map(|(client, requests)| {
            scope.spawn(move || {
                let mut latencies = Vec::with_capacity(rounds * requests.len());
                for request in (0..rounds).flat_map(|_| requests) {
                    let since = Instant::now();
                    client.send(request)?;
                    (asked.answered)(client)?;
                    latencies.push(since.elapsed());
                }
                Ok(latencies)
            })
        });
        load::join_all(loops.collect())
    })?;
    let (took, cpu) = (began.elapsed(), subject.cpu().saturating_sub(cpu));
    Ok(load::run(0, latencies, took, cpu))
}

/// Requests as a thousand members send heartbeats that do so every five seconds: 200 a second, one by one.
fn paced(subject: &Subject, client: &mut Client, asked: Asked<'_>) -> io::Result<f64> {
    const EVERY: Duration = Duration::from_millis(5);
    let cpu = subject.cpu();
    let mut due = Instant::now();
    for request in asked.requests {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        client.send(request)?;
        (asked.answered)(client)?;
        due += EVERY;
    }
    Ok(subject.cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / asked.requests.len() as f64)
}

fn answered(client: &mut Client) -> io::Result<()> {
    let answer: ConsumerGroupHeartbeatResponse = client.answer(HEARTBEAT)?;
    refuse(answer.error_code)
}
