//! Stories of fetch sessions, and a client against a naive model.

use proptest::prelude::*;

use super::*;

fn now(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 0 }
}

fn key(index: i32) -> PartitionKey {
    PartitionKey { topic: TopicKey::Name("t".into()), index }
}

fn wish(fetch_offset: i64) -> Wish {
    Wish { fetch_offset, bytes_max: 1, current_leader_epoch: -1, last_fetched_epoch: -1 }
}

fn quiet(high_watermark: i64) -> Answer {
    Answer { high_watermark, ..Answer::default() }
}

fn records(high_watermark: i64) -> Answer {
    Answer { has_records: true, ..quiet(high_watermark) }
}

fn ask(id: i32, epoch: i32, wishes: &[(i32, i64)], forgotten: &[i32]) -> Asked {
    let wishes = wishes.iter().map(|(index, offset)| (key(*index), wish(*offset))).collect();
    Asked { id, epoch, by_id: false, wishes, forgotten: forgotten.iter().map(|index| key(*index)).collect() }
}

/// A session of `n` partitions, all at high watermark 5.
fn begin(sessions: &mut FetchSessions, id: i32, n: i32, at: u64) -> i32 {
    let all = (0..n).map(|index| (key(index), wish(0), quiet(5)));
    sessions.create(false, all, || id, now(at))
}

/// The partitions of an incremental request, in their order.
fn looked_at(opened: Result<Opened, SessionError>) -> Vec<i32> {
    let Ok(Opened::Incremental { wishes, .. }) = opened else { panic!("{opened:?}") };
    wishes.into_iter().map(|(key, _)| key.index).collect()
}

#[test]
fn what_is_not_new_is_not_told() {
    let mut sessions = FetchSessions::new(10);
    assert_eq!(sessions.open(ask(0, 0, &[(0, 0)], &[]), now(0)).map(|_| ()), Ok(()));
    assert_eq!(begin(&mut sessions, 7, 4, 0), 7);
    assert_eq!(looked_at(sessions.open(ask(7, 1, &[], &[]), now(1))), [0, 1, 2, 3]);

    let error = Answer { is_urgent: true, high_watermark: -1, log_start: -1, ..Answer::default() };
    let answers = [(key(0), quiet(5)), (key(1), quiet(6)), (key(2), records(5)), (key(3), error)];
    assert_eq!(sessions.news(7, 2, &answers), Ok(vec![false, true, true, true]));

    // Whoever had records waits behind the others; an error is told again, and so is its end.
    assert_eq!(looked_at(sessions.open(ask(7, 2, &[], &[]), now(2))), [0, 1, 3, 2]);
    let answers = [(key(0), quiet(5)), (key(1), quiet(6)), (key(3), error), (key(2), quiet(5))];
    assert_eq!(sessions.news(7, 3, &answers), Ok(vec![false, false, true, false]));
    assert_eq!(sessions.news(7, 3, &[(key(3), quiet(5))]), Ok(vec![true]));
    let moved = Answer { log_start: 3, ..quiet(5) };
    assert_eq!(sessions.news(7, 3, &[(key(0), moved)]), Ok(vec![true]));
}

#[test]
fn what_is_listed_changes_the_session() {
    let mut sessions = FetchSessions::new(10);
    begin(&mut sessions, 7, 3, 0);
    let opened = sessions.open(ask(7, 1, &[(1, 40), (9, 50)], &[0, 77]), now(1));
    let wishes = vec![(key(1), wish(40)), (key(2), wish(0)), (key(9), wish(50))];
    assert_eq!(opened, Ok(Opened::Incremental { id: 7, epoch: 2, wishes }));
    // Nobody was told of a partition just added, so whatever it says is news.
    assert_eq!(sessions.news(7, 2, &[(key(9), quiet(0)), (key(1), quiet(5))]), Ok(vec![true, false]));
    // One that is emptied is over.
    let opened = sessions.open(ask(7, 2, &[], &[1, 2, 9]), now(2));
    assert_eq!(opened, Ok(Opened::Sessionless(vec![])));
    assert_eq!((sessions.count(), sessions.bytes), (0, 0));
}

#[test]
fn a_request_that_is_not_the_next_is_refused() {
    let mut sessions = FetchSessions::new(10);
    begin(&mut sessions, 7, 1, 0);
    assert_eq!(sessions.open(ask(8, 1, &[], &[]), now(0)), Err(SessionError::NotFound));
    assert_eq!(sessions.open(ask(0, 5, &[], &[]), now(0)), Err(SessionError::NotFound));
    for epoch in [2, -2, i32::MAX] {
        assert_eq!(sessions.open(ask(7, epoch, &[], &[]), now(0)), Err(SessionError::Epoch), "{epoch}");
    }
    let by_id = Asked { by_id: true, ..ask(7, 1, &[], &[]) };
    assert_eq!(sessions.open(by_id, now(0)), Err(SessionError::TopicIds));
    assert_eq!(looked_at(sessions.open(ask(7, 1, &[], &[]), now(0))), [0]);
    // A second one has gone on before the first was answered.
    assert_eq!(looked_at(sessions.open(ask(7, 2, &[], &[]), now(0))), [0]);
    assert_eq!(sessions.news(7, 2, &[]), Err(SessionError::Epoch));
    assert_eq!(sessions.news(7, 3, &[]), Ok(vec![]));
}

#[test]
fn a_session_ends_by_either_of_two_epochs() {
    let mut sessions = FetchSessions::new(10);
    for (epoch, full) in [(0, true), (-1, false)] {
        begin(&mut sessions, 7, 1, 0);
        let wishes = vec![(key(3), wish(3))];
        let opened = if full { Opened::Full(wishes) } else { Opened::Sessionless(wishes) };
        assert_eq!(sessions.open(ask(7, epoch, &[(3, 3)], &[]), now(0)), Ok(opened));
        assert_eq!(sessions.count(), 0);
    }
}

#[test]
fn epochs_go_round_without_the_two_that_mean_something() {
    assert_eq!([next_epoch(0), next_epoch(1), next_epoch(i32::MAX)], [1, 2, 1]);
}

#[test]
fn a_new_session_takes_the_place_of_a_stale_or_smaller_one() {
    let mut sessions = FetchSessions::new(2);
    begin(&mut sessions, 1, 3, 0);
    begin(&mut sessions, 2, 5, 0);
    assert_eq!(begin(&mut sessions, 3, 9, 120_000), NO_SESSION, "both are young and in use");
    // The first goes on, the second is unused for more than two minutes.
    sessions.open(ask(1, 1, &[], &[]), now(120_000)).unwrap();
    assert_eq!(begin(&mut sessions, 3, 1, 120_001), 3);
    assert_eq!(sessions.sessions.keys().collect::<Vec<_>>(), [&1, &3]);
    // Then the first is the only one that is old: a larger one may take its place, a smaller one may not.
    assert_eq!(begin(&mut sessions, 4, 2, 120_002), NO_SESSION);
    assert_eq!(begin(&mut sessions, 4, 3, 120_002), 4);
    assert_eq!(sessions.sessions.keys().collect::<Vec<_>>(), [&3, &4]);
    assert_eq!(sessions.evicted(), 2);
    assert_eq!(begin(&mut FetchSessions::new(0), 1, 1, 0), NO_SESSION);
}

#[test]
fn ids_are_positive_and_not_taken() {
    let mut sessions = FetchSessions::new(10);
    let mut drawn = [0, -1, i32::MAX, 5].into_iter();
    let mut create = |sessions: &mut FetchSessions| {
        sessions.create(false, [(key(0), wish(0), quiet(0))], || drawn.next().unwrap(), now(0))
    };
    assert_eq!(create(&mut sessions), i32::MAX, "0 is none, and the sign falls away");
    assert_eq!(create(&mut sessions), 5, "the other is taken");
}

#[test]
fn together_they_remember_only_so_much() {
    let mut sessions = FetchSessions { bytes_max: 10 * (PARTITION_BYTES + 1), ..FetchSessions::new(10) };
    assert_eq!(begin(&mut sessions, 1, 6, 0), 1);
    assert_eq!(begin(&mut sessions, 2, 5, 0), NO_SESSION);
    assert_eq!(begin(&mut sessions, 2, 4, 0), 2);
    // One that grows beyond is dropped, and its client begins anew.
    assert_eq!(sessions.open(ask(2, 1, &[(9, 0)], &[]), now(0)), Err(SessionError::NotFound));
    assert_eq!((sessions.count(), sessions.n_partitions(), sessions.evicted()), (1, 6, 1));
}

#[test]
fn what_stale_sessions_remember_is_room_for_others() {
    let old = FETCH_SESSION_EVICTION_MS + 1;
    let mut sessions = FetchSessions { bytes_max: 10 * (PARTITION_BYTES + 1), ..FetchSessions::new(10) };
    assert_eq!((begin(&mut sessions, 1, 4, 0), begin(&mut sessions, 2, 4, 5)), (1, 2));
    assert_eq!(begin(&mut sessions, 3, 3, old - 1), NO_SESSION, "they may be used yet");
    assert_eq!(begin(&mut sessions, 3, 11, old), NO_SESSION, "it would have no room alone");
    assert_eq!(begin(&mut sessions, 3, 3, old), 3, "the first of them goes, the other is younger");
    assert_eq!((sessions.count(), sessions.evicted()), (2, 1));
    // And one that grows has what the next stale one leaves.
    let grown: Vec<_> = (0..8).map(|index| (index, 0)).collect();
    assert_eq!(looked_at(sessions.open(ask(3, 1, &grown, &[]), now(old + 5))).len(), 8);
    assert_eq!((sessions.count(), sessions.n_partitions(), sessions.evicted()), (1, 8, 2));
}

/// What one client does between two answers.
#[derive(Clone, Debug)]
struct Step {
    add: Vec<(i32, i64)>,
    forget: Vec<i32>,
    /// The world: partition, its high watermark, whether it gives records now.
    world: Vec<(i32, i64, bool)>,
}

fn any_step() -> impl Strategy<Value = Step> {
    let parts = || 0..6i32;
    (
        prop::collection::vec((parts(), 0..9i64), 0..4),
        prop::collection::vec(parts(), 0..3),
        prop::collection::vec((parts(), 0..9i64, any::<bool>()), 0..4),
    )
        .prop_map(|(add, forget, world)| Step { add, forget, world })
}

proptest! {
    /// A client that keeps what it was told knows, after each answer, what a full fetch would have told it; and everything it
    /// wants is looked at.
    #[test]
    fn a_client_of_a_session_knows_what_one_without_knows(steps in prop::collection::vec(any_step(), 1..30)) {
        let mut sessions = FetchSessions::new(1);
        let mut wanted = BTreeMap::from([(0, 0), (1, 0)]);
        let mut world: BTreeMap<i32, i64> = BTreeMap::new();
        let mut told: BTreeMap<i32, i64> = BTreeMap::from([(0, 0), (1, 0)]);
        let first = [0, 1].map(|index| (key(index), wish(0), quiet(0)));
        let id = sessions.create(false, first, || 9, now(0));
        for (epoch, step) in (1..).zip(steps) {
            wanted.extend(step.add.iter().copied());
            wanted.retain(|index, _| !step.forget.contains(index));
            told.retain(|index, _| wanted.contains_key(index));
            let giving: BTreeMap<_, _> = step.world.iter().map(|(index, _, gives)| (*index, *gives)).collect();
            world.extend(step.world.iter().map(|(index, high_watermark, _)| (*index, *high_watermark)));

            let opened = sessions.open(ask(id, epoch, &step.add, &step.forget), now(0)).unwrap();
            let Opened::Incremental { epoch, wishes, .. } = opened else {
                prop_assert!(wanted.is_empty(), "only an empty session ends");
                break;
            };
            let looked: BTreeMap<_, _> = wishes.iter().map(|(key, wish)| (key.index, wish.fetch_offset)).collect();
            prop_assert_eq!(&looked, &wanted);
            prop_assert_eq!(wishes.len(), wanted.len());

            let answers: Vec<_> = wishes.iter().map(|(key, _)| {
                let high_watermark = world.get(&key.index).copied().unwrap_or(0);
                let has_records = giving.get(&key.index).copied().unwrap_or(false);
                (key.clone(), Answer { has_records, ..quiet(high_watermark) })
            }).collect();
            let news = sessions.news(id, epoch, &answers).unwrap();
            for ((key, answer), is_news) in answers.iter().zip(news) {
                prop_assert!(is_news || !answer.has_records);
                if is_news {
                    told.insert(key.index, answer.high_watermark);
                }
            }
            let truth = wanted.keys().map(|index| (*index, world.get(index).copied().unwrap_or(0))).collect();
            prop_assert_eq!(&told, &truth);
            let bytes: usize = sessions.sessions.values().map(|session| session.parts.keys().map(bytes_of).sum::<usize>()).sum();
            prop_assert_eq!(sessions.bytes, bytes);
        }
    }
}
