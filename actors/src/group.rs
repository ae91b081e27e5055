//! GroupActor: one group of consumers. Its records go to the OffsetsActor that it lives under, which says when they are safe.

use std::{mem, sync::Arc};

use actix::{Actor, ActorContext, Addr, Context, Handler};
use ottla_rules::{
    cluster::Image,
    group::{Ask, Effect, Group, Outcome, Summary, WriteError},
    ids::{Offset, ProducerId},
    records::GroupRecord,
    time::Now,
};

use crate::{
    offsets::{Idle, OffsetsActor, Stage, Summarized, Writer},
    shared::Shared,
    stage::{
        alarm::{Alarm, Wake},
        breath::Breath,
        messages,
        reply::Reply,
    },
};

/// A group with the askers that wait for it.
pub(crate) type Machine = Group<Reply<Outcome>>;
type Effects = Vec<Effect<Reply<Outcome>>>;

/// A request to this group.
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) reply: Reply<Outcome>,
}

/// The records of a ticket are safe, or are not.
pub(crate) struct Written {
    pub(crate) ticket: u64,
    pub(crate) result: Result<Offset, WriteError>,
}

/// The records of a ticket take longer than anybody is to wait.
pub(crate) struct Late {
    pub(crate) ticket: u64,
}

/// A marker has ended the transaction of a producer, and is safe.
pub(crate) struct TransactionEnded {
    pub(crate) producer: ProducerId,
    pub(crate) commit: bool,
}

/// Old offsets go.
pub(crate) struct Expire;

/// Offsets of topics that this image does not know go.
pub(crate) struct ForgetTopics {
    pub(crate) image: Arc<Image>,
}

/// The end: the OffsetsActor above is gone, or nothing is left to remember.
pub(crate) struct Leave;

messages!(Asked, Written, Late, TransactionEnded, Expire, ForgetTopics, Leave);

/// Panics. For tests of what happens then.
#[cfg(feature = "provoke")]
pub(crate) struct ProvokeGroup;
#[cfg(feature = "provoke")]
messages!(ProvokeGroup);

/// What a group's actor is started with.
pub(crate) struct Charge {
    pub(crate) id: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) machine: Machine,
    pub(crate) parent: Addr<OffsetsActor>,
    pub(crate) shared: Arc<Shared>,
}

/// The actor of one group.
pub struct GroupActor {
    charge: Charge,
    alarm: Alarm,
    breath: Breath,
    out: Effects,
    /// What lists say of it.
    summary: Option<Summary>,
    /// Requests taken in: the OffsetsActor lets go of an idle group only when none is on its way.
    taken: u64,
}

impl GroupActor {
    pub(crate) fn new(charge: Charge) -> Self {
        Self {
            charge,
            alarm: Alarm::default(),
            breath: Breath::default(),
            out: Vec::new(),
            summary: None,
            taken: 0,
        }
    }

    /// The only way into the machine: one reading of the clock, then what was decided, in order.
    fn step(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Machine, Now, &mut Effects)) {
        let now = self.charge.shared.now();
        let mut out = mem::take(&mut self.out);
        self.charge.machine.follow(self.charge.shared.directory.image());
        self.charge.machine.tick(now, &mut out);
        input(&mut self.charge.machine, now, &mut out);
        let generation = self.charge.generation;
        let group = || self.charge.id.clone();
        let summary = self.charge.machine.summary();
        if summary != self.summary {
            // Before any answer: whoever was answered and then asks for a list finds it there.
            self.summary.clone_from(&summary);
            self.charge.parent.do_send(Summarized { group: group(), generation, summary });
        }
        for effect in out.drain(..) {
            match effect {
                Effect::Answer { to, with } => to.send(with),
                Effect::Write { ticket, records, transaction } => {
                    let is_ahead = records.iter().any(GroupRecord::is_ahead);
                    let writer = Writer { group: group(), generation, ticket, is_ahead };
                    self.charge.parent.do_send(Stage { writer, records, transaction });
                }
            }
        }
        self.out = out;
        if self.charge.machine.is_over() {
            self.charge.parent.do_send(Idle { group: group(), generation, taken: self.taken });
        }
        self.alarm.set(self.charge.machine.next_deadline(), now, ctx);
        self.breath.take(ctx);
    }
}

impl Actor for GroupActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.step(ctx, |group, now, _| group.loaded(now));
    }
}

impl Handler<Asked> for GroupActor {
    type Result = ();

    fn handle(&mut self, Asked { ask, reply }: Asked, ctx: &mut Context<Self>) {
        self.taken += 1;
        self.step(ctx, |group, now, out| group.ask(ask, reply, now, out));
    }
}

impl Handler<Written> for GroupActor {
    type Result = ();

    fn handle(&mut self, Written { ticket, result }: Written, ctx: &mut Context<Self>) {
        self.step(ctx, |group, now, out| group.written(ticket, result, now, out));
    }
}

impl Handler<Late> for GroupActor {
    type Result = ();

    fn handle(&mut self, Late { ticket }: Late, ctx: &mut Context<Self>) {
        self.step(ctx, |group, now, out| group.late(ticket, now, out));
    }
}

impl Handler<TransactionEnded> for GroupActor {
    type Result = ();

    fn handle(&mut self, ended: TransactionEnded, ctx: &mut Context<Self>) {
        self.step(ctx, |group, _, _| group.ended(ended.producer, ended.commit));
    }
}

impl Handler<Expire> for GroupActor {
    type Result = ();

    fn handle(&mut self, Expire: Expire, ctx: &mut Context<Self>) {
        self.step(ctx, |group, now, out| group.expire(now, out));
    }
}

impl Handler<ForgetTopics> for GroupActor {
    type Result = ();

    fn handle(&mut self, ForgetTopics { image }: ForgetTopics, ctx: &mut Context<Self>) {
        self.step(ctx, |group, _, out| group.forget_topics(&image, out));
    }
}

impl Handler<Wake> for GroupActor {
    type Result = ();

    fn handle(&mut self, Wake: Wake, ctx: &mut Context<Self>) {
        self.alarm.rang();
        self.step(ctx, |_, _, _| ());
    }
}

impl Handler<Leave> for GroupActor {
    type Result = ();

    fn handle(&mut self, Leave: Leave, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(feature = "provoke")]
impl Handler<ProvokeGroup> for GroupActor {
    type Result = ();

    fn handle(&mut self, ProvokeGroup: ProvokeGroup, _: &mut Context<Self>) {
        panic!("provoked");
    }
}
