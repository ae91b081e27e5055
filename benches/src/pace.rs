//! An open loop: batches are due at fixed times, whether earlier ones are answered or not, and every latency is counted
//! from the moment its batch was due. So a broker that stalls is charged for everything it held up.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Subject;
use crate::client::{self, Client};

/// The pace.
#[derive(Clone, Copy)]
pub(crate) struct Pace<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partitions: usize,
    /// One batch is due every tick, to each partition in turn.
    pub(crate) tick: Duration,
    pub(crate) records_per_batch: usize,
    pub(crate) warm_up: Duration,
    pub(crate) lasts: Duration,
    /// Whether a consumer reads what is produced.
    pub(crate) is_read: bool,
}

/// Latencies from the due time, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paced {
    /// To the acknowledgement.
    pub(crate) ack: Vec<Duration>,
    /// To the arrival at a consumer that polls all partitions.
    pub(crate) end_to_end: Vec<Duration>,
    /// CPU of the broker, in cores.
    pub(crate) cores: f64,
}

/// The latency that this share did not exceed, in microseconds.
pub(crate) fn us(latencies: &[Duration], share: f64) -> f64 {
    let at = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
    latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
}

/// Runs it. The topic's partitions must be written by nobody else.
pub(crate) fn run(subject: &Subject, pace: Pace<'_>) -> io::Result<Paced> {
    let ticks = |time: Duration| (time.as_nanos() / pace.tick.as_nanos()) as usize;
    let (warm_up, all) = (ticks(pace.warm_up), ticks(pace.warm_up + pace.lasts));
    let batch = client::batch(pace.records_per_batch, 90);
    let requests: Vec<_> =
        (0..pace.partitions).map(|partition| client::produce(pace.topic, partition, &batch)).collect();
    let mut producer = Client::connect(&subject.address)?;
    let mut out = producer.writer()?;
    let consumer = pace.is_read.then(|| consumer(subject, pace)).transpose()?;
    let start = Instant::now() + Duration::from_millis(20);
    let due = move |tick: usize| start + pace.tick * u32::try_from(tick).unwrap_or(u32::MAX);

    thread::scope(|scope| {
        let acks = scope.spawn(move || {
            let mut latencies = Vec::with_capacity(all);
            for tick in 0..all {
                producer.acknowledged()?;
                latencies.push((tick, due(tick).elapsed()));
            }
            Ok(latencies)
        });
        let arrivals = scope.spawn(move || match consumer {
            Some((mut consumer, begins)) => arrivals(&mut consumer, pace, &begins, all, due),
            None => Ok(Vec::new()),
        });
        sharpen_timer();
        let mut cpu = subject.cpu();
        for tick in 0..all {
            thread::sleep(due(tick).saturating_duration_since(Instant::now()));
            if tick == warm_up {
                cpu = subject.cpu();
            }
            out.write_all(&requests[tick % pace.partitions])?;
        }
        let counted = |latencies: Vec<(usize, Duration)>| {
            let mut counted: Vec<_> =
                latencies.into_iter().filter(|(tick, _)| *tick >= warm_up).map(|(_, it)| it).collect();
            counted.sort_unstable();
            counted
        };
        let ack = counted(crate::load::join_all(vec![acks])?);
        let end_to_end = counted(crate::load::join_all(vec![arrivals])?);
        let cores = subject.cpu().saturating_sub(cpu).as_secs_f64() / due(warm_up).elapsed().as_secs_f64();
        Ok(Paced { ack, end_to_end, cores })
    })
}

/// Somebody who reads from here on.
fn consumer(subject: &Subject, pace: Pace<'_>) -> io::Result<(Client, Vec<i64>)> {
    let mut consumer = Client::connect(&subject.address)?;
    let begins = consumer.ends(pace.topic, pace.partitions)?;
    Ok((consumer, begins))
}

/// Reads every batch, each once and in order, by long polls over all partitions.
fn arrivals(
    consumer: &mut Client,
    pace: Pace<'_>,
    begins: &[i64],
    all: usize,
    due: impl Fn(usize) -> Instant,
) -> io::Result<Vec<(usize, Duration)>> {
    let mut wanted: Vec<(usize, i64)> = begins.iter().copied().enumerate().collect();
    let mut latencies = Vec::with_capacity(all);
    while latencies.len() < all {
        consumer.send(&client::fetch(pace.topic, &wanted, 1 << 20, 500))?;
        let answer = consumer.receive()?;
        let now = Instant::now();
        let mut lost = None;
        client::each_batch(answer, |partition, base, next, _| {
            let (_, at) = &mut wanted[partition];
            if base != *at {
                lost = Some((partition, *at, base));
            }
            let turn = usize::try_from(base - begins[partition]).unwrap_or(0) / pace.records_per_batch;
            let tick = turn * pace.partitions + partition;
            latencies.push((tick, now.saturating_duration_since(due(tick))));
            *at = next;
        })?;
        if let Some((partition, at, base)) = lost {
            return Err(io::Error::other(format!(
                "partition {partition}: offset {base} came where {at} was due"
            )));
        }
    }
    Ok(latencies)
}

/// Linux lets a sleep end 50 us late unless the thread asks for better.
fn sharpen_timer() {
    // SAFETY: this prctl takes one number and changes nothing but this thread's timer slack.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}
