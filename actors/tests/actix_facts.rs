//! What this house relies on in actix 0.13, pinned.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::{future::poll_fn, task::Poll, thread, time::Duration};

use actix::prelude::*;

use ottla_actors::stage::breath::Breath;

#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<&'static str>>>);
impl Diary {
    fn note(&self, line: &'static str) {
        self.0.lock().unwrap().push(line)
    }
    fn lines(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

struct Subject {
    diary: Diary,
    polls: Arc<AtomicUsize>,
}
impl Actor for Subject {
    type Context = Context<Self>;
    fn stopped(&mut self, _: &mut Self::Context) {
        self.diary.note(if thread::panicking() { "stopped while unwinding" } else { "stopped" });
    }
}
impl Supervised for Subject {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.diary.note("restarting")
    }
}

macro_rules! message {
    ($name:ident) => {
        #[derive(Message)]
        #[rtype(result = "()")]
        struct $name;
    };
}
message!(Boom);
message!(Note);
message!(Last);
message!(NotifyLast);
message!(SpawnIdle);

impl Handler<Boom> for Subject {
    type Result = ();
    fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("boom")
    }
}
impl Handler<Note> for Subject {
    type Result = ();
    fn handle(&mut self, _: Note, _: &mut Context<Self>) {
        self.diary.note("note")
    }
}
impl Handler<Last> for Subject {
    type Result = ();
    fn handle(&mut self, _: Last, _: &mut Context<Self>) {
        self.diary.note("last")
    }
}
impl Handler<NotifyLast> for Subject {
    type Result = ();
    fn handle(&mut self, _: NotifyLast, ctx: &mut Context<Self>) {
        ctx.notify(Last)
    }
}
impl Handler<SpawnIdle> for Subject {
    type Result = ();
    fn handle(&mut self, _: SpawnIdle, ctx: &mut Context<Self>) {
        let polls = self.polls.clone();
        let idle = poll_fn(move |_| {
            polls.fetch_add(1, SeqCst);
            Poll::<()>::Pending
        });
        ctx.spawn(idle.into_actor(self));
    }
}

fn subject() -> (Subject, Diary, Arc<AtomicUsize>) {
    let (diary, polls) = (Diary::default(), Arc::default());
    (Subject { diary: diary.clone(), polls: Arc::clone(&polls) }, diary, polls)
}

#[actix::test]
async fn supervisor_does_not_restart_after_a_panic_and_stopped_runs_while_unwinding() {
    let (subject, diary, _) = subject();
    let addr = Supervisor::start(|_| subject);
    assert!(addr.send(Boom).await.is_err());
    assert!(addr.send(Note).await.is_err());
    assert!(!addr.connected());
    assert_eq!(diary.lines(), ["stopped while unwinding"]);
}

#[actix::test]
async fn capacity_binds_one_address_but_not_its_clones() {
    let (subject, ..) = subject();
    let addr = Subject::create(|ctx| {
        ctx.set_mailbox_capacity(1);
        subject
    });
    assert!(addr.try_send(Note).is_ok());
    assert!(addr.try_send(Note).is_err());
    for _ in 0..100 {
        assert!(addr.clone().try_send(Note).is_ok())
    }
}

#[actix::test]
async fn every_message_polls_every_spawned_future() {
    let (subject, _, polls) = subject();
    let addr = subject.start();
    for _ in 0..50 {
        addr.send(SpawnIdle).await.unwrap()
    }
    let before = polls.load(SeqCst);
    for _ in 0..10 {
        addr.send(Note).await.unwrap()
    }
    assert!(polls.load(SeqCst) - before >= 50 * 9);
}

#[actix::test]
async fn notify_runs_after_the_mailbox_is_drained() {
    let (subject, diary, _) = subject();
    let addr = subject.start();
    addr.do_send(NotifyLast);
    addr.do_send(Note);
    addr.do_send(Note);
    while diary.lines().len() < 3 {
        tokio::task::yield_now().await
    }
    assert_eq!(diary.lines(), ["note", "note", "last"]);
}

#[actix::test]
async fn dropping_the_request_skips_the_message() {
    let (subject, diary, _) = subject();
    let addr = subject.start();
    drop(addr.send(Note));
    addr.send(NotifyLast).await.unwrap();
    while !diary.lines().contains(&"last") {
        tokio::task::yield_now().await
    }
    assert_eq!(diary.lines(), ["last"]);
}

/// Sends itself the next message from every message: its mailbox is never empty.
struct Busy {
    diary: Diary,
    left: usize,
    breath: Option<Breath>,
}
impl Actor for Busy {
    type Context = Context<Self>;
}
message!(Again);
message!(HoldBack);
impl Handler<Again> for Busy {
    type Result = ();
    fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        if self.left == 0 {
            return self.diary.note("drained");
        }
        self.left -= 1;
        ctx.address().do_send(Again);
        // The timer below is due after this long at the latest.
        thread::sleep(Duration::from_micros(50));
        if let Some(breath) = &mut self.breath {
            breath.take(ctx);
        }
    }
}
impl Handler<HoldBack> for Busy {
    type Result = ();
    fn handle(&mut self, _: HoldBack, ctx: &mut Context<Self>) {
        let diary = self.diary.clone();
        ctx.run_later(Duration::from_millis(1), move |_, _| diary.note("timer"));
        let diary = self.diary.clone();
        let wait = async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            diary.note("waited");
        };
        ctx.wait(wait.into_actor(self));
    }
}

fn busy(breath: Option<Breath>) -> (Addr<Busy>, Diary) {
    let diary = Diary::default();
    let to = diary.clone();
    let addr = Busy::create(|ctx| {
        let timer = to.clone();
        ctx.run_later(Duration::from_millis(1), move |_, _| timer.note("timer"));
        Busy { diary: to, left: 2000, breath }
    });
    (addr, diary)
}

async fn both_lines(diary: &Diary) -> Vec<&'static str> {
    while diary.lines().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    diary.lines()
}

#[actix::test]
async fn a_wait_holds_back_timers() {
    let diary = Diary::default();
    let addr = Busy { diary: diary.clone(), left: 0, breath: None }.start();
    addr.do_send(HoldBack);
    assert_eq!(both_lines(&diary).await, ["waited", "timer"]);
}

#[actix::test]
async fn a_mailbox_that_is_always_fed_starves_the_timer() {
    let (addr, diary) = busy(None);
    // Polled once while nothing is there, so that the timer is armed.
    tokio::task::yield_now().await;
    addr.do_send(Again);
    assert_eq!(both_lines(&diary).await, ["drained", "timer"]);
}

#[actix::test]
async fn a_breath_lets_the_timer_speak() {
    let (addr, diary) = busy(Some(Breath::default()));
    tokio::task::yield_now().await;
    addr.do_send(Again);
    assert_eq!(both_lines(&diary).await, ["timer", "drained"]);
}

#[actix::test]
async fn notify_does_not_wait_for_a_breathing_mailbox_to_drain() {
    let (addr, diary) = busy(Some(Breath::default()));
    addr.do_send(Again);
    addr.do_send(NotifyDiary);
    while !diary.lines().contains(&"notified") {
        tokio::task::yield_now().await;
    }
    assert!(!diary.lines().contains(&"drained"), "{:?}", diary.lines());
}

message!(NotifyDiary);
message!(Notified);
impl Handler<NotifyDiary> for Busy {
    type Result = ();
    fn handle(&mut self, _: NotifyDiary, ctx: &mut Context<Self>) {
        ctx.notify(Notified)
    }
}
impl Handler<Notified> for Busy {
    type Result = ();
    fn handle(&mut self, _: Notified, _: &mut Context<Self>) {
        self.diary.note("notified")
    }
}
