mod busy;
mod late;

use proptest::prelude::*;

use super::{
    Effect, Facts, Protocol, Session, Status, TopicPartition, TransactionError,
    coordinator::{Begin, Bounds, Coordinator, End},
    join::Join,
};
use crate::{
    ids::{ProducerEpoch, ProducerId},
    time::{Deadline, Now},
};

const BOUNDS: Bounds = Bounds { timeout_ms_max: 900_000, id_idle_ms_max: 3_600_000, ids_max: 3 };
const MINUTE: i32 = 60_000;

/// A coordinator with its log, in which a record is safe when the test says so.
struct Stage {
    coordinator: Coordinator<&'static str>,
    log: Vec<(String, Option<Facts>)>,
    unsafe_yet: Vec<(String, Option<Facts>)>,
    answers: Vec<(&'static str, Result<Session, TransactionError>)>,
    markers: Vec<(Session, bool, Vec<TopicPartition>)>,
    next_producer: i64,
    /// Whether the cluster gives out producer ids.
    has_ids: bool,
    now: Now,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            coordinator: Coordinator::new(BOUNDS),
            log: vec![],
            unsafe_yet: vec![],
            answers: vec![],
            markers: vec![],
            next_producer: 100,
            has_ids: true,
            now: Now { mono_ms: 1_000, wall_ms: 1_000_000 },
        };
        stage.step(|coordinator, now, out| coordinator.lead(now, out));
        stage
    }

    fn step(
        &mut self,
        act: impl FnOnce(&mut Coordinator<&'static str>, Now, &mut Vec<Effect<&'static str>>),
    ) {
        let mut out = vec![];
        self.coordinator.tick(self.now, &mut out);
        act(&mut self.coordinator, self.now, &mut out);
        for effect in out {
            match effect {
                Effect::Write { id, facts } => self.unsafe_yet.push((id, facts)),
                Effect::Answer { to, with } => self.answers.push((to, with)),
                Effect::Mark { session, commit, partitions, .. } => {
                    self.markers.push((session, commit, partitions))
                }
                Effect::TakeProducerId if !self.has_ids => self.coordinator.producer_id_taken(None),
                Effect::TakeProducerId => {
                    self.coordinator.producer_id_taken(Some(ProducerId(self.next_producer)));
                    self.next_producer += 1;
                }
            }
        }
    }

    /// Everything written is safe now, and what follows from that too.
    fn settle(&mut self) {
        while !self.unsafe_yet.is_empty() {
            let (id, facts) = self.unsafe_yet.remove(0);
            self.log.push((id.clone(), facts));
            self.step(|coordinator, now, out| coordinator.written(&id, Ok(()), now, out));
        }
    }

    fn refuse(&mut self) {
        let (id, _) = self.unsafe_yet.remove(0);
        let error = TransactionError::NotAvailable;
        self.step(|coordinator, now, out| coordinator.written(&id, Err(error), now, out));
    }

    /// The node dies; what was safe is read again.
    fn restart(&mut self) {
        self.coordinator = Coordinator::new(BOUNDS);
        self.unsafe_yet.clear();
        self.markers.clear();
        for (id, facts) in &self.log {
            self.coordinator.replay(id.clone(), facts.clone());
        }
        self.step(|coordinator, now, out| coordinator.lead(now, out));
    }

    fn begin(&mut self, to: &'static str, had: Option<Session>) {
        let begin = Begin { timeout_ms: MINUTE, had };
        self.step(|coordinator, now, out| coordinator.begin("orders", begin, to, now, out));
    }

    /// A session whose record is safe.
    fn session(&mut self) -> Session {
        self.begin("setup", None);
        self.settle();
        match self.answers.pop() {
            Some(("setup", Ok(session))) => session,
            other => panic!("no session: {other:?}"),
        }
    }

    fn join(&mut self, session: Session, partitions: &[i32], protocol: Protocol) {
        let partitions = partitions.iter().map(|index| partition(*index)).collect();
        let join = Join { session, partitions, protocol };
        self.step(|coordinator, now, out| coordinator.join("orders", join, "join", now, out));
    }

    fn end(&mut self, session: Session, commit: bool, protocol: Protocol) {
        let end = End { session, commit, protocol };
        self.step(|coordinator, now, out| coordinator.end("orders", end, "end", now, out));
    }

    fn mark(&mut self, index: i32) {
        self.step(|coordinator, now, out| coordinator.marked("orders", &partition(index), now, out));
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
        self.step(|_, _, _| ());
    }

    fn status(&self) -> Status {
        self.coordinator.describe("orders").map_or(Status::Dead, |facts| facts.status)
    }

    fn take_answers(&mut self) -> Vec<(&'static str, Result<Session, TransactionError>)> {
        std::mem::take(&mut self.answers)
    }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic: "payments".into(), index }
}

fn session(producer: i64, epoch: i16) -> Session {
    Session { producer: ProducerId(producer), epoch: ProducerEpoch(epoch) }
}

#[test]
fn a_session_is_answered_once_its_record_is_safe() {
    let mut stage = Stage::new();

    stage.begin("alice", None);
    assert_eq!(stage.take_answers(), []);
    stage.begin("bob", None);
    assert_eq!(stage.take_answers(), [("bob", Err(TransactionError::Concurrent))]);
    stage.settle();

    assert_eq!(stage.take_answers(), [("alice", Ok(session(100, 0)))]);
    assert_eq!(stage.session(), session(100, 1), "another session of the id fences the first");
}

#[test]
fn a_transaction_ends_once_every_partition_has_its_marker() {
    let mut stage = Stage::new();
    let mine = stage.session();
    stage.join(mine, &[0, 1], Protocol::V1);
    stage.settle();
    stage.end(mine, true, Protocol::V1);
    assert_eq!(stage.take_answers(), [("join", Ok(mine))], "the end waits for its record");

    stage.settle();
    assert_eq!(stage.take_answers(), [("end", Ok(mine))]);
    assert_eq!(stage.markers, [(mine, true, vec![partition(0), partition(1)])]);
    stage.mark(0);
    stage.settle();
    assert_eq!(stage.status(), Status::PrepareCommit);
    stage.mark(1);
    stage.settle();

    assert_eq!(stage.status(), Status::CompleteCommit);
    stage.end(mine, true, Protocol::V1);
    stage.end(mine, false, Protocol::V1);
    let wrong = TransactionError::InvalidState { from: Status::CompleteCommit, wanted: "aborted" };
    assert_eq!(stage.take_answers(), [("end", Ok(mine)), ("end", Err(wrong))]);
}

#[test]
fn under_version_2_every_end_raises_the_epoch_and_a_retry_is_known_by_that() {
    let mut stage = Stage::new();
    let mine = stage.session();
    stage.join(mine, &[0], Protocol::V2);
    stage.settle();
    stage.end(mine, true, Protocol::V2);
    stage.settle();
    let next = session(100, 1);
    assert_eq!(stage.take_answers(), [("join", Ok(mine)), ("end", Ok(next))]);
    assert_eq!(stage.markers, [(next, true, vec![partition(0)])], "markers have the raised epoch");

    stage.end(mine, true, Protocol::V2);
    assert_eq!(stage.take_answers(), [("end", Err(TransactionError::Concurrent))]);
    stage.mark(0);
    stage.settle();
    stage.end(mine, true, Protocol::V2);
    assert_eq!(stage.take_answers(), [("end", Ok(next))]);

    stage.join(next, &[0], Protocol::V2);
    stage.settle();
    stage.end(mine, true, Protocol::V2);
    let answers = stage.take_answers();
    assert_eq!(
        answers,
        [("join", Ok(next)), ("end", Err(TransactionError::Fenced))],
        "a late end does not end the next transaction"
    );
}

#[test]
fn under_version_2_an_abort_of_nothing_succeeds_and_a_commit_of_nothing_does_not() {
    let mut stage = Stage::new();
    let mine = stage.session();

    stage.end(mine, true, Protocol::V2);
    let wrong = TransactionError::InvalidState { from: Status::Empty, wanted: "committed" };
    assert_eq!(stage.take_answers(), [("end", Err(wrong))]);
    stage.end(mine, false, Protocol::V2);
    stage.settle();

    assert_eq!(stage.take_answers(), [("end", Ok(session(100, 1)))]);
    assert_eq!((stage.status(), stage.markers.len()), (Status::CompleteAbort, 0));
}

#[test]
fn partitions_that_join_at_once_need_two_records() {
    let mut stage = Stage::new();
    let mine = stage.session();
    let before = stage.log.len();
    for index in 0..5 {
        stage.join(mine, &[index], Protocol::V2);
    }
    stage.settle();

    assert_eq!(stage.take_answers(), vec![("join", Ok(mine)); 5]);
    assert_eq!(stage.log.len() - before, 2, "the first, and all that came while it was written");
    assert_eq!(stage.coordinator.describe("orders").map(|facts| facts.partitions.len()), Some(5));
}

#[test]
fn a_partition_that_has_joined_joins_again_without_a_record() {
    let mut stage = Stage::new();
    let mine = stage.session();
    stage.join(mine, &[0], Protocol::V1);
    stage.settle();
    assert_eq!(stage.take_answers(), [("join", Ok(mine))]);

    stage.join(mine, &[0], Protocol::V1);

    assert_eq!(stage.unsafe_yet, []);
    assert_eq!(stage.take_answers(), [("join", Ok(mine))]);
}

#[test]
fn what_was_decided_goes_on_after_a_restart() {
    let mut stage = Stage::new();
    let mine = stage.session();
    stage.join(mine, &[0, 1], Protocol::V1);
    stage.settle();
    stage.end(mine, true, Protocol::V1);
    stage.settle();
    stage.mark(0);

    stage.restart();
    assert_eq!(stage.markers, [(mine, true, vec![partition(0), partition(1)])], "all are told again");
    stage.mark(0);
    stage.mark(1);
    stage.restart();
    assert_eq!(stage.markers.len(), 1, "the end was not safe yet");
    stage.mark(0);
    stage.mark(1);
    stage.settle();
    stage.restart();

    assert_eq!((stage.status(), stage.markers.len()), (Status::CompleteCommit, 0));
}

#[test]
fn a_new_session_aborts_what_the_old_one_began() {
    let mut stage = Stage::new();
    let old = stage.session();
    stage.join(old, &[0], Protocol::V1);
    stage.settle();
    stage.take_answers();

    stage.begin("new", None);
    stage.settle();
    assert_eq!(stage.take_answers(), [("new", Err(TransactionError::Concurrent))]);
    assert_eq!(stage.markers, [(session(100, 1), false, vec![partition(0)])]);
    stage.mark(0);
    stage.settle();
    stage.begin("new", None);
    stage.settle();
    assert_eq!(stage.take_answers(), [("new", Ok(session(100, 2)))]);

    stage.end(old, true, Protocol::V1);
    stage.join(old, &[0], Protocol::V1);
    let fenced = || Err(TransactionError::Fenced);
    assert_eq!(stage.take_answers(), [("end", fenced()), ("join", fenced())]);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut stage = Stage::new();
        let mine = stage.session();
        stage.join(mine, &[0], protocol);
        stage.settle();
        stage.take_answers();
        stage.pass(MINUTE as u64 - 1);
        assert_eq!(stage.unsafe_yet, []);
        stage.restart();
        stage.pass(1);
        stage.settle();
        stage.mark(0);
        stage.settle();

        assert_eq!(stage.markers, [(session(100, 1), false, vec![partition(0)])], "raised once");
        stage.end(mine, true, protocol);
        assert_eq!(stage.take_answers(), [("end", Err(TransactionError::Fenced))]);
        assert_eq!(stage.coordinator.next_deadline(), Some(Deadline(3_601_000 + 60_000 - 1)));
    }
}

#[test]
fn a_producer_goes_on_from_the_session_it_had_and_a_retry_of_that_gives_the_same() {
    let mut stage = Stage::new();
    let first = stage.session();
    stage.begin("raise", Some(first));
    stage.settle();
    stage.begin("retry", Some(first));
    stage.settle();
    stage.begin("stale", Some(session(100, 7)));
    stage.begin("stranger", Some(session(77, 0)));

    let second = session(100, 1);
    let fenced = || Err(TransactionError::Fenced);
    assert_eq!(
        stage.take_answers(),
        [("raise", Ok(second)), ("retry", Ok(second)), ("stale", fenced()), ("stranger", fenced())]
    );
}

/// A producer in the last epoch that a session can have.
fn nearly(status: Status) -> Facts {
    Facts {
        producer: ProducerId(7),
        previous: ProducerId(-1),
        next: ProducerId(-1),
        epoch: ProducerEpoch(i16::MAX - 1),
        timeout_ms: MINUTE,
        status,
        partitions: [partition(0)].into_iter().filter(|_| status == Status::Ongoing).collect(),
        updated_ms: 1_000_000,
        started_ms: 1_000_000,
        protocol: Protocol::V2,
    }
}

#[test]
fn when_the_epochs_run_out_the_producer_gets_a_new_id() {
    let last = session(7, i16::MAX - 1);
    // By a new session.
    let mut stage = Stage::new();
    stage.coordinator.replay("orders".into(), Some(nearly(Status::Empty)));
    stage.begin("next", Some(last));
    stage.settle();
    assert_eq!(stage.take_answers(), [("next", Ok(session(100, 0)))]);
    // By an end, whose retry is known by the id before.
    let mut stage = Stage::new();
    stage.coordinator.replay("orders".into(), Some(nearly(Status::Ongoing)));
    stage.end(last, true, Protocol::V2);
    stage.settle();
    assert_eq!(stage.markers, [(session(7, i16::MAX), true, vec![partition(0)])]);
    stage.mark(0);
    stage.settle();
    stage.end(last, true, Protocol::V2);
    assert_eq!(stage.take_answers(), [("end", Ok(session(100, 0))), ("end", Ok(session(100, 0)))]);
    // By a fence.
    let mut stage = Stage::new();
    stage.coordinator.replay("orders".into(), Some(nearly(Status::Ongoing)));
    stage.begin("new", None);
    stage.settle();
    stage.mark(0);
    stage.settle();
    stage.begin("new", None);
    stage.settle();
    assert_eq!(
        stage.take_answers(),
        [("new", Err(TransactionError::Concurrent)), ("new", Ok(session(100, 1)))]
    );
}

#[test]
fn without_a_new_id_nobody_is_fenced_to_the_last_epoch() {
    let mut stage = Stage::new();
    stage.log.push(("orders".into(), Some(nearly(Status::Ongoing))));
    stage.has_ids = false;
    stage.restart();
    stage.pass(MINUTE as u64);
    stage.begin("new", None);
    assert_eq!(stage.take_answers(), [("new", Err(TransactionError::Loading))]);
    assert_eq!(stage.unsafe_yet, [], "its time is over, and there is no id for what follows");

    stage.has_ids = true;
    stage.pass(1_000);
    stage.pass(1_000);
    stage.settle();
    assert_eq!(stage.markers, [(session(7, i16::MAX), false, vec![partition(0)])], "asked for, then there");
    stage.mark(0);
    stage.settle();
    stage.end(session(7, i16::MAX - 1), false, Protocol::V2);
    assert_eq!(stage.take_answers(), [("end", Ok(session(104, 0)))]);
    // A log that was written before has a producer in that epoch: nobody goes on in it.
    let last = Facts { epoch: ProducerEpoch(i16::MAX), ..nearly(Status::CompleteAbort) };
    stage.coordinator.replay("orders".into(), Some(last));
    stage.end(session(7, i16::MAX - 1), false, Protocol::V2);
    assert_eq!(stage.take_answers(), [("end", Err(TransactionError::Fenced))]);
}

#[test]
fn a_record_that_cannot_be_stored_changes_nothing() {
    let mut stage = Stage::new();
    stage.begin("alice", None);
    stage.refuse();
    assert_eq!(stage.take_answers(), [("alice", Err(TransactionError::NotAvailable))]);
    assert_eq!(stage.coordinator.list().count(), 0);

    let mine = stage.session();
    stage.join(mine, &[0], Protocol::V1);
    stage.settle();
    stage.end(mine, true, Protocol::V1);
    stage.refuse();
    assert_eq!(stage.status(), Status::Ongoing);
    stage.take_answers();
    stage.end(mine, true, Protocol::V1);
    stage.settle();
    stage.mark(0);
    stage.refuse();
    assert_eq!(stage.unsafe_yet, [], "the end is not tried at once");
    stage.pass(1_000);
    stage.settle();

    assert_eq!(stage.take_answers(), [("end", Ok(mine))]);
    assert_eq!(stage.status(), Status::CompleteCommit);
}

#[test]
fn a_partition_is_verified_while_it_is_part_of_the_transaction() {
    let mut stage = Stage::new();
    let mine = stage.session();
    stage.join(mine, &[0], Protocol::V1);
    stage.settle();
    let verify =
        |stage: &Stage, session, index| stage.coordinator.verify("orders", session, &partition(index));

    assert_eq!(verify(&stage, mine, 0), Ok(()));
    assert_eq!(verify(&stage, mine, 1), Err(TransactionError::NotInTransaction));
    assert_eq!(verify(&stage, session(100, 9), 0), Err(TransactionError::Fenced));
    assert_eq!(verify(&stage, session(1, 0), 0), Err(TransactionError::InvalidMapping));
    stage.join(mine, &[1], Protocol::V1);
    assert_eq!(verify(&stage, mine, 0), Ok(()), "another partition is on its way in");
    assert_eq!(verify(&stage, mine, 1), Err(TransactionError::NotInTransaction));
    stage.settle();
    stage.end(mine, false, Protocol::V1);
    assert_eq!(verify(&stage, mine, 0), Ok(()), "nothing is decided before it is safe");
    stage.settle();
    assert_eq!(verify(&stage, mine, 0), Err(TransactionError::Concurrent));
}

#[test]
fn unused_ids_are_forgotten_and_there_is_room_for_so_many_only() {
    let mut stage = Stage::new();
    let begin = Begin { timeout_ms: MINUTE, had: None };
    for id in ["a", "b", "c", "d"] {
        stage.step(|coordinator, now, out| coordinator.begin(id, begin, id, now, out));
    }
    assert_eq!(stage.take_answers(), [("d", Err(TransactionError::NotAvailable))]);
    stage.settle();
    stage.take_answers();

    stage.pass(3_600_000);
    stage.settle();

    assert_eq!(stage.coordinator.list().count(), 0);
    assert_eq!(stage.log.iter().filter(|(_, facts)| facts.is_none()).count(), 3);
    let wrong = Begin { timeout_ms: 900_001, had: None };
    stage.step(|coordinator, now, out| coordinator.begin("a", wrong, "long", now, out));
    let error = TransactionError::InvalidTimeout { got_ms: 900_001, max_ms: 900_000 };
    assert_eq!(stage.take_answers(), [("long", Err(error))]);
}

#[derive(Clone, Debug)]
enum Move {
    Begin { resume: bool },
    Join { index: i32, stale: bool },
    End { commit: bool, stale: bool },
    Settle,
    Refuse,
    Mark { index: i32 },
    Pass { ms: u64 },
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        2 => any::<bool>().prop_map(|resume| Move::Begin { resume }),
        4 => (0..3, prop::bool::weighted(0.1)).prop_map(|(index, stale)| Move::Join { index, stale }),
        3 => (any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(commit, stale)| Move::End { commit, stale }),
        8 => Just(Move::Settle),
        1 => Just(Move::Refuse),
        6 => (0..3).prop_map(|index| Move::Mark { index }),
        1 => (1u64..70_000).prop_map(|ms| Move::Pass { ms }),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..80)
}

proptest! {
    /// Whatever producers do and wherever the node dies: an outcome that is safe stays, every partition hears the same one,
    /// and the log's sessions never go back.
    #[test]
    fn an_outcome_never_changes(moves in moves(), v2: bool) {
        let protocol = if v2 { Protocol::V2 } else { Protocol::V1 };
        let mut stage = Stage::new();
        let (mut mine, mut before) = (session(0, 0), session(0, 0));
        for step in moves {
            let pick = |stale: bool| if stale { before } else { mine };
            match step {
                Move::Begin { resume } => stage.begin("begin", Some(mine).filter(|_| resume && mine.producer.0 > 0)),
                Move::Join { index, stale } => stage.join(pick(stale), &[index], protocol),
                Move::End { commit, stale } => stage.end(pick(stale), commit, protocol),
                Move::Settle => stage.settle(),
                Move::Refuse if !stage.unsafe_yet.is_empty() => stage.refuse(),
                Move::Refuse => (),
                Move::Mark { index } => stage.mark(index),
                Move::Pass { ms } => stage.pass(ms),
                Move::Restart => stage.restart(),
            }
            for (to, answer) in stage.take_answers() {
                if let (true, Ok(next)) = (to != "join", answer) {
                    (before, mine) = (mine, next);
                }
            }
        }
        let mut last: Option<Facts> = None;
        for (_, facts) in &stage.log {
            let Some(facts) = facts else { continue };
            if let Some(last) = &last {
                prop_assert!(facts.producer != last.producer || facts.epoch >= last.epoch, "{last:?} then {facts:?}");
                let allowed: &[Status] = match last.status {
                    Status::PrepareCommit => &[Status::CompleteCommit],
                    Status::PrepareAbort => &[Status::CompleteAbort],
                    Status::Ongoing => &[Status::Ongoing, Status::PrepareCommit, Status::PrepareAbort],
                    _ => &[Status::Empty, Status::Ongoing, Status::PrepareAbort],
                };
                prop_assert!(allowed.contains(&facts.status), "{last:?} then {facts:?}");
            }
            last = Some(facts.clone());
        }
        for (marked, commit, _) in &stage.markers {
            let wanted = if *commit { Status::PrepareCommit } else { Status::PrepareAbort };
            let decided = stage.log.iter().filter_map(|(_, facts)| facts.as_ref());
            prop_assert!(decided.clone().any(|facts| facts.session() == *marked && facts.status == wanted));
        }
    }
}
