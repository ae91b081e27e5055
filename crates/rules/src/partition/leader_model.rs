//! The leader against a naive log that keeps everything in lists and searches them from the beginning. After every
//! step, in any order that the disk and the clock allow, both want exactly the same done.

use proptest::prelude::*;

use super::*;
use crate::{
    batch::build::BatchBuilder,
    partition::{ReadAsk, ReadError},
};

const EPOCH: LeaderEpoch = LeaderEpoch(2);

/// What the builder stores batches with.
const RECORD_TIME: i64 = 10;

type Out = Vec<Effect<u32, u32>>;

#[derive(Clone, Debug)]
enum Step {
    /// `who`: an idempotent producer; `again`: it sends its last batch once more.
    Append {
        n: usize,
        acks: Acks,
        patience_ms: u64,
        who: Option<i64>,
        again: bool,
    },
    Written {
        batches: usize,
    },
    WriteFailed {
        keep: usize,
    },
    Persisted {
        share: f64,
    },
    Pass {
        ms: u64,
    },
    Watch {
        from: i64,
    },
    Delete {
        upto: Option<i64>,
    },
    Read {
        from: i64,
    },
    Configure {
        flush_messages: u64,
    },
    PersistFailed,
    Retire,
}

fn step() -> impl Strategy<Value = Step> {
    let acks = prop_oneof![Just(Acks::None), Just(Acks::Leader), Just(Acks::All)];
    prop_oneof![
        60 => (1..4usize, acks, 0..200u64, prop::option::of(0..3i64), any::<bool>())
            .prop_map(|(n, acks, patience_ms, who, again)| Step::Append { n, acks, patience_ms, who, again }),
        60 => (0..4usize).prop_map(|batches| Step::Written { batches }),
        10 => (0..3usize).prop_map(|keep| Step::WriteFailed { keep }),
        60 => (0.0..=1.0f64).prop_map(|share| Step::Persisted { share }),
        30 => (0..100u64).prop_map(|ms| Step::Pass { ms }),
        30 => (-3..3i64).prop_map(|from| Step::Watch { from }),
        10 => prop::option::of(-3..3i64).prop_map(|upto| Step::Delete { upto }),
        20 => (-4..4i64).prop_map(|from| Step::Read { from }),
        5 => prop_oneof![Just(1), Just(5), Just(u64::MAX)].prop_map(|flush_messages| Step::Configure { flush_messages }),
        1 => Just(Step::PersistFailed),
        1 => Just(Step::Retire),
    ]
}

#[derive(Clone, Debug)]
struct Logged {
    base: i64,
    end: i64,
    producer: Option<(i64, i32)>,
}

#[derive(Clone, Debug)]
struct Waiting {
    until: i64,
    deadline: u64,
    quiet: bool,
    to: u32,
    base: i64,
    time: i64,
}

#[derive(Debug)]
struct Naive {
    flush_messages: u64,
    gone: Option<AppendError>,
    now: Now,
    batches: Vec<Logged>,
    written: i64,
    persisted: i64,
    high_watermark: i64,
    start: i64,
    asked: i64,
    /// Not journaled before everything below is synced.
    mark: Option<i64>,
    waiting: Vec<Waiting>,
    bells: Vec<(i64, u32)>,
    began: bool,
}

fn config(flush_messages: u64) -> Arc<TopicConfig> {
    Arc::new(TopicConfig {
        flush_messages,
        flush_ms: u64::MAX,
        min_insync_replicas: 1,
        ..TopicConfig::default()
    })
}

fn builder(n: usize, producer: Option<(i64, i32)>) -> BatchBuilder {
    let builder = (0..n).fold(BatchBuilder::new(), |builder, _| builder.value("x", RECORD_TIME));
    match producer {
        Some((id, sequence)) => builder.producer(id, 0, sequence),
        None => builder,
    }
}

impl Naive {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |last| last.end)
    }

    fn durable(&self) -> bool {
        self.flush_messages == 1
    }

    fn answer(&self, waiting: &Waiting, with: Option<AppendError>) -> Effect<u32, u32> {
        let fine =
            Appended { base: Offset(waiting.base), append_time: waiting.time, log_start: Offset(self.start) };
        Effect::Answer { to: waiting.to, with: with.map_or(Ok(fine), Err) }
    }

    /// Everything that time and progress bring about.
    fn settle(&mut self) -> Out {
        let mut out = vec![];
        if self.gone.is_some() {
            return out;
        }
        if self.durable() {
            if let Some(mark) = self.mark
                && self.written >= mark
                && self.asked < mark
            {
                self.asked = mark;
                out.push(Effect::Sync { upto: Offset(mark) });
            }
            self.mark = self.mark.filter(|mark| self.persisted < *mark);
            if self.mark.is_none() && self.asked < self.written {
                self.asked = self.written;
                out.push(Effect::Harden { upto: Offset(self.written) });
            }
        } else if (self.written - self.asked) as u64 >= self.flush_messages {
            self.asked = self.written;
            out.push(Effect::Sync { upto: Offset(self.written) });
        }
        let safe = if self.durable() { self.persisted } else { self.written };
        self.high_watermark = self.high_watermark.max(safe);
        out.extend(self.answer_all(|naive, waiting| (waiting.until <= naive.high_watermark).then_some(None)));
        let rung = self.bells.iter().filter(|(from, ..)| *from < self.high_watermark);
        out.extend(rung.map(|(.., bell)| Effect::Ring { bell: *bell }));
        self.bells.retain(|(from, ..)| *from >= self.high_watermark);
        out
    }

    /// Answers those of whom `with` says how, by offset.
    fn answer_all(&mut self, with: impl Fn(&Self, &Waiting) -> Option<Option<AppendError>>) -> Out {
        self.waiting.sort_by_key(|waiting| waiting.until);
        let all = std::mem::take(&mut self.waiting);
        let mut out = vec![];
        for waiting in all {
            match with(self, &waiting) {
                Some(with) => out.push(self.answer(&waiting, with)),
                None => self.waiting.push(waiting),
            }
        }
        out
    }

    fn append(
        &mut self,
        n: usize,
        acks: Acks,
        patience_ms: u64,
        producer: Option<(i64, i32)>,
        to: u32,
    ) -> Out {
        if let Some(gone) = self.gone.clone() {
            return vec![Effect::Answer { to, with: Err(gone) }];
        }
        let twin =
            self.batches.iter().find(|logged| producer.is_some() && logged.producer == producer).cloned();
        // Only who waits for the other replica has a say in it.
        let patience_ms = if acks == Acks::All { patience_ms } else { patience_ms.max(30_000) };
        let deadline = self.now.after(patience_ms).0;
        let quiet = acks == Acks::None;
        if let Some(Logged { base, end, .. }) = twin {
            self.waiting.push(Waiting { until: end, deadline, quiet, to, base, time: RECORD_TIME });
            return self.settle();
        }
        let base = self.end();
        let mut out = vec![];
        if !self.began {
            self.began = true;
            out.push(Effect::RememberEpoch { epoch: EPOCH, start: Offset(base) });
        }
        let batch = builder(n, producer).stamped(Offset(base), EPOCH);
        let end = batch.end.0;
        self.batches.push(Logged { base, end, producer });
        self.waiting.push(Waiting { until: end, deadline, quiet, to, base, time: -1 });
        out.push(Effect::Write { batch });
        out
    }

    fn fail(&mut self, from: i64) -> Out {
        self.batches.retain(|logged| logged.end <= from);
        let out = self.answer_all(|_, waiting| (waiting.until > from).then_some(Some(AppendError::Storage)));
        if self.gone.is_none() {
            self.mark = self.mark.map(|mark| mark.min(from));
        }
        [out, self.settle()].concat()
    }

    fn pass(&mut self, ms: u64) -> Out {
        self.now = at(self.now.mono_ms + ms);
        let now = self.now;
        self.answer_all(|_, waiting| {
            let late = if waiting.quiet { None } else { Some(AppendError::TimedOut) };
            Deadline(waiting.deadline).is_due(now).then_some(late)
        })
    }

    fn watch(&mut self, from: i64, bell: u32) -> Out {
        if self.gone.is_some() || from < self.high_watermark {
            return vec![Effect::Ring { bell }];
        }
        self.bells.push((from, bell));
        vec![]
    }

    fn leave(&mut self, with: AppendError) -> Out {
        self.gone = Some(with.clone());
        let mut out = self.answer_all(|_, _| Some(Some(with.clone())));
        out.extend(self.bells.drain(..).map(|(.., bell)| Effect::Ring { bell }));
        out
    }

    fn delete(&mut self, upto: Option<i64>) -> Out {
        let to = upto.unwrap_or(self.high_watermark);
        if self.gone.is_some() || to > self.high_watermark || to <= self.start {
            return vec![];
        }
        self.start = to;
        vec![Effect::MoveStart { to: Offset(to) }]
    }

    fn read(&self, from: i64) -> Result<i64, ()> {
        let inside = self.gone.is_none() && from >= self.start && from <= self.written;
        if inside { Ok(self.high_watermark.max(from)) } else { Err(()) }
    }

    /// The sequence that the producer sends next, or that of its last batch.
    fn sequence(&self, who: i64, again: bool) -> (i32, Option<usize>) {
        let last = self.batches.iter().rev().find(|logged| logged.producer.is_some_and(|(id, _)| id == who));
        let Some(Logged { base, end, producer: Some((_, sequence)) }) = last else { return (0, None) };
        let n = (end - base) as usize;
        if again { (*sequence, Some(n)) } else { (*sequence + n as i32, None) }
    }
}

fn at(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: ms as i64 }
}

fn run(flush_messages: u64, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let start = Start {
        epoch: EPOCH,
        log_start: Offset::ZERO,
        end: Offset::ZERO,
        producers: Producers::new(10),
        epochs: EpochHistory::new(),
    };
    let limits = Arc::new(Limits { parked_max: 10_000, watchers_max: 10_000, ..Limits::default() });
    let mut leader: Leader<u32, u32> = Leader::new(start, config(flush_messages), limits, 2);
    let mut naive = Naive {
        flush_messages,
        gone: None,
        now: at(0),
        batches: vec![],
        written: 0,
        persisted: 0,
        high_watermark: 0,
        start: 0,
        asked: 0,
        mark: None,
        waiting: vec![],
        bells: vec![],
        began: false,
    };
    for (token, step) in (0..).zip(steps) {
        let said = format!("{step:?}");
        let mut out = vec![];
        let expected = take(&mut leader, &mut naive, step, token, &mut out)?;
        prop_assert_eq!(out, expected, "{}", said);
        prop_assert_eq!(leader.end().0, naive.end());
        prop_assert_eq!(leader.high_watermark().0, naive.high_watermark);
        prop_assert_eq!(leader.waiting(), (naive.waiting.len(), naive.bells.len()));
        let next = naive.waiting.iter().map(|waiting| waiting.deadline).min();
        let alarm = leader.next_deadline().map(|deadline| deadline.0);
        prop_assert!(next.is_none() == alarm.is_none() && alarm <= next, "alarm {:?}, due {:?}", alarm, next);
    }
    Ok(())
}

/// One step for both; what the naive log wants done.
fn take(
    leader: &mut Leader<u32, u32>,
    naive: &mut Naive,
    step: Step,
    token: u32,
    out: &mut Out,
) -> Result<Out, TestCaseError> {
    let now = naive.now;
    let expected = match step {
        Step::Append { n, acks, patience_ms, who, again } => {
            let (sequence, same) = who.map_or((0, None), |who| naive.sequence(who, again));
            let (n, producer) = (same.unwrap_or(n), who.map(|who| (who, sequence)));
            leader.append(builder(n, producer).parsed(), acks, patience_ms, token, now, out);
            naive.append(n, acks, patience_ms, producer, token)
        }
        Step::Written { batches } => {
            let unwritten = naive.batches.iter().filter(|logged| logged.base >= naive.written);
            naive.written = unwritten.take(batches).last().map_or(naive.written, |last| last.end);
            leader.written(Offset(naive.written), now, out);
            naive.settle()
        }
        Step::WriteFailed { keep } => {
            let unwritten: Vec<_> =
                naive.batches.iter().filter(|logged| logged.base >= naive.written).collect();
            let from = unwritten.get(keep).map_or(naive.end(), |logged| logged.base);
            leader.write_failed(Offset(from), now, out);
            naive.fail(from)
        }
        Step::Persisted { share } => {
            // Only what was asked for is ever reported.
            let more = (naive.asked - naive.persisted) as f64 * share;
            naive.persisted = naive.persisted.max(naive.persisted + more as i64);
            leader.persisted(Offset(naive.persisted), now, out);
            naive.settle()
        }
        Step::Pass { ms } => {
            let expected = naive.pass(ms);
            leader.tick(naive.now, out);
            expected
        }
        Step::Watch { .. } | Step::Delete { .. } | Step::Read { .. } => {
            take_readers(leader, naive, step, token, out)?
        }
        Step::Configure { flush_messages } => {
            let was_durable = naive.durable();
            naive.flush_messages = flush_messages;
            if was_durable != naive.durable() {
                naive.mark = (!was_durable && naive.persisted < naive.end()).then(|| naive.end());
            }
            leader.configure(config(flush_messages), now, out);
            naive.settle()
        }
        Step::PersistFailed if naive.gone.is_some() => vec![],
        Step::PersistFailed => {
            leader.persist_failed(now, out);
            naive.leave(AppendError::Storage)
        }
        Step::Retire => {
            leader.retire(out);
            if naive.gone == Some(AppendError::NotHere) { vec![] } else { naive.leave(AppendError::NotHere) }
        }
    };
    Ok(expected)
}

/// What readers ask, and DeleteRecords.
fn take_readers(
    leader: &mut Leader<u32, u32>,
    naive: &mut Naive,
    step: Step,
    token: u32,
    out: &mut Out,
) -> Result<Out, TestCaseError> {
    let now = naive.now;
    let expected = match step {
        Step::Watch { from } => {
            let from = naive.high_watermark + from;
            prop_assert_eq!(leader.watch(token, Offset(from), false, out), Ok(()));
            naive.watch(from, token)
        }
        Step::Delete { upto } => {
            let upto = upto.map(|by| naive.high_watermark + by);
            let fine = naive.gone.is_none() && upto.is_none_or(|to| (0..=naive.high_watermark).contains(&to));
            let deleted = leader.delete_before(upto.map(Offset), now, out);
            let expected = naive.delete(upto);
            prop_assert_eq!(deleted.ok(), fine.then_some(Offset(naive.start)));
            expected
        }
        Step::Read { from } => {
            let from = naive.written + from;
            let ask = ReadAsk {
                from: Offset(from),
                current_epoch: None,
                last_fetched_epoch: None,
                committed_only: false,
            };
            let upto = leader.plan_read(ask).map(|bounds| bounds.upto.0);
            prop_assert_eq!(upto.map_err(|_: ReadError| ()), naive.read(from));
            vec![]
        }
        other => unreachable!("{other:?} is not a reader's step"),
    };
    Ok(expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_leader_does_what_a_naive_log_does(
        flush_messages in prop_oneof![Just(1), Just(4), Just(u64::MAX)],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        run(flush_messages, steps)?;
    }
}
