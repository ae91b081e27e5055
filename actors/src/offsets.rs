//! OffsetsActor: one led partition of `__consumer_offsets`, parent and router of the groups that live in it.
//!
//! ```text
//!   loading --(every record replayed)--> serving
//!   AskGroup -> its GroupActor -> Stage --(all that came in meanwhile, one batch, acks=all)--> Written -> the answers
//!                                  Stage in a transaction --(a batch of its own)------------> Written -> the answer
//!   WriteMarker -> the partition --(safe)--> TransactionEnded to the groups that have offsets in it
//! ```
//!
//! The partition tells at once, in the order of its log, what has become of batches and markers: groups hear of them in that
//! order too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler};
use ottla_rules::{
    batch::build::BuildRecord,
    cluster::Image,
    group::{Ask, Group, GroupConfig, GroupError, InTransaction, Outcome, Summary, crowd::Beat},
    ids::{PartitionId, ProducerId},
    records::GroupRecord,
    supervision::{Exit, Patience, Supervision},
    time::{Deadline, Now},
};

use crate::{
    group::{Asked, Charge, Expire, ForgetTopics, GroupActor, Leave, Machine, TransactionEnded},
    replay::Source,
    shared::Shared,
    stage::{
        alarm::{Alarm, Wake},
        breath::Breath,
        messages,
        reply::Reply,
        shards::Shard,
        watched::{ChildDown, ChildName, spawn_watched},
    },
};

mod fallen;
mod load;
mod transactional;
mod writing;

use fallen::Fallen;
use load::{Load, Loaded};
use transactional::InTransactions;
use writing::Writing;

/// Asks a group something.
#[derive(Debug)]
pub struct AskGroup {
    /// Its id.
    pub group: Arc<str>,
    /// What.
    pub ask: Ask,
    /// Whom to answer.
    pub reply: Reply<Outcome>,
}

/// Groups by id.
pub type Listed = Vec<(Arc<str>, Summary)>;

/// Asks which groups there are.
#[derive(Debug)]
pub struct ListGroups {
    /// Whom to answer.
    pub reply: Reply<Result<Listed, GroupError>>,
}

/// Who is told what became of records.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) group: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) ticket: u64,
    /// The group has moved already: if its records are not safe after all, it is what the log says.
    pub(crate) is_ahead: bool,
}

/// Records of a group that are to be safe.
pub(crate) struct Stage {
    pub(crate) writer: Writer,
    pub(crate) records: Vec<GroupRecord>,
    /// The transaction that they are part of.
    pub(crate) transaction: Option<InTransaction>,
}

/// What lists say of a group from now on; none: it is not there.
pub(crate) struct Summarized {
    pub(crate) group: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) summary: Option<Summary>,
}

/// A group has nothing to remember, after so many requests.
pub(crate) struct Idle {
    pub(crate) group: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) taken: u64,
}

/// Topics are gone.
pub(crate) struct TopicsGone {
    pub(crate) image: Arc<Image>,
}

/// The partition is led elsewhere, or in another reign: whoever waits hears it.
pub(crate) struct Resign;

/// Panics a group. For tests of what happens then.
#[cfg(feature = "provoke")]
#[derive(Debug)]
pub struct ProvokeGroupOf(pub Arc<str>);
/// Panics. For tests of what happens then.
#[cfg(feature = "provoke")]
#[derive(Debug)]
pub struct ProvokeOffsets;
#[cfg(feature = "provoke")]
messages!(ProvokeGroupOf, ProvokeOffsets);

/// The log has been read; of some groups only, when they are named.
struct LogRead {
    loaded: Loaded,
    only: Option<Arc<BTreeSet<Arc<str>>>>,
}

messages!(AskGroup, ListGroups, Stage, Summarized, Idle, TopicsGone, Resign, LogRead);

/// What an OffsetsActor is started with.
#[derive(Clone)]
pub(crate) struct OffsetsCharge {
    pub(crate) partition: PartitionId,
    /// The image that made it lead: an earlier one does not know every topic yet.
    pub(crate) image_version: u64,
    /// The partition was made just now: there is nothing to load.
    pub(crate) is_new: bool,
    /// The largest batch that the topic takes.
    pub(crate) batch_bytes_max: usize,
    pub(crate) shared: Arc<Shared>,
    /// Where its groups run: beside it.
    pub(crate) shard: Shard,
}

/// The actor of one led partition of `__consumer_offsets`.
pub struct OffsetsActor {
    charge: OffsetsCharge,
    config: Arc<GroupConfig>,
    /// How long whoever waits for an append is kept waiting.
    patience_ms: u64,
    serving: bool,
    groups: BTreeMap<Arc<str>, Seat>,
    names: BTreeMap<u64, Arc<str>>,
    generation: u64,
    staged: Vec<Staged>,
    /// What is staged will be appended in a moment.
    flushing: bool,
    writing: Option<Writing>,
    in_transactions: InTransactions,
    /// Groups whose actors fell while records of theirs were under way: read again after that.
    fallen: Vec<Fallen>,
    supervision: Supervision<Arc<str>>,
    expiry: Deadline,
    alarm: Alarm,
    breath: Breath,
}

enum Seat {
    Here {
        addr: Addr<GroupActor>,
        generation: u64,
        told: u64,
        summary: Option<Summary>,
        /// When it last had records.
        beat: Beat,
    },
    /// Its actor fell, and what it knew is being read again. Transactions that have ended meanwhile.
    Reading { ended: Vec<(ProducerId, bool)> },
    /// It falls again and again.
    Offline,
}

struct Staged {
    writer: Writer,
    records: Vec<BuildRecord>,
    bytes: usize,
}

/// Bytes that a record takes beside key and value, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

impl OffsetsActor {
    pub(crate) fn new(charge: OffsetsCharge) -> Self {
        let settings = charge.shared.directory.image().settings(charge.shared.node, &charge.shared.given);
        let expiry = charge.shared.now().after(expire_every_ms(&charge.shared));
        Self {
            serving: charge.is_new,
            patience_ms: setting(&charge.shared, "offsets.commit.timeout.ms"),
            charge,
            config: Arc::new(GroupConfig::of(&settings)),
            groups: BTreeMap::new(),
            names: BTreeMap::new(),
            generation: 0,
            staged: Vec::new(),
            flushing: false,
            writing: None,
            in_transactions: InTransactions::default(),
            fallen: Vec::new(),
            supervision: Supervision::new(Patience::default()),
            expiry,
            alarm: Alarm::default(),
            breath: Breath::default(),
        }
    }

    /// Reads the log, beside the actor.
    fn read_log(&self, only: Option<BTreeSet<Arc<str>>>, not_before_ms: u64, ctx: &Context<Self>) {
        let only = only.map(Arc::new);
        let source = Source {
            shared: self.charge.shared.clone(),
            partition: self.charge.partition,
            image_version: self.charge.image_version,
        };
        let load = Load { source, config: self.config.clone(), only: only.clone(), not_before_ms };
        let me = ctx.address();
        actix_rt::spawn(async move {
            if let Some(loaded) = load.run(|| me.connected()).await {
                me.do_send(LogRead { loaded, only });
            }
        });
    }

    fn seat(&mut self, id: &Arc<str>, machine: Machine, ctx: &Context<Self>) -> &mut Seat {
        self.generation += 1;
        let generation = self.generation;
        let (parent, shared) = (ctx.address(), self.charge.shared.clone());
        let charge = Charge { id: id.clone(), generation, machine, parent, shared };
        let make = move |_: &mut Context<GroupActor>| GroupActor::new(charge);
        let child = ChildName::Group(generation);
        let addr = spawn_watched(&self.charge.shard, child, ctx.address().recipient(), make);
        self.names.insert(generation, id.clone());
        self.groups.insert(
            id.clone(),
            Seat::Here { addr, generation, told: 0, summary: None, beat: Beat::default() },
        );
        self.groups.get_mut(id).unwrap_or_else(|| unreachable!("just seated"))
    }

    fn tell_all<M>(&self, make: impl Fn() -> M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        GroupActor: Handler<M>,
    {
        for seat in self.groups.values() {
            if let Seat::Here { addr, .. } = seat {
                addr.do_send(make());
            }
        }
    }

    fn set_alarm(&mut self, now: Now, ctx: &mut Context<Self>) {
        let late = self.late_at().into_iter().chain(self.in_transactions.late_at()).min();
        self.alarm.set(late.into_iter().chain([self.expiry]).min(), now, ctx);
    }
}

fn expire_every_ms(shared: &Shared) -> u64 {
    setting(shared, "offsets.retention.check.interval.ms").max(1)
}

/// A setting in milliseconds.
fn setting(shared: &Shared, name: &str) -> u64 {
    u64::try_from(shared.given.int(name)).unwrap_or(u64::MAX)
}

impl Actor for OffsetsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.serving {
            self.read_log(None, 0, ctx);
        }
        self.set_alarm(self.charge.shared.now(), ctx);
    }
}

/// However it ends, its groups end with it: whoever waits for them is answered, and a successor reads the log.
impl Drop for OffsetsActor {
    fn drop(&mut self) {
        self.tell_all(|| Leave);
    }
}

impl Handler<LogRead> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, LogRead { loaded, only }: LogRead, ctx: &mut Context<Self>) {
        let Loaded { mut groups, open } = loaded;
        groups.retain(|_, group| !group.is_over());
        self.in_transactions.found(open);
        let mut ended = BTreeMap::new();
        for group in only.iter().flat_map(|only| only.iter()) {
            if let Some(Seat::Reading { ended: meanwhile }) = self.groups.remove(group) {
                ended.insert(group, meanwhile);
            }
        }
        self.serving = true;
        let image = self.charge.shared.directory.image();
        if !groups.is_empty() {
            log::info!(partition = self.charge.partition.index, groups = groups.len(); "groups loaded");
        }
        for (id, machine) in groups {
            if let Seat::Here { addr, .. } = self.seat(&id, machine, ctx) {
                for (producer, commit) in ended.get(&id).into_iter().flatten() {
                    addr.do_send(TransactionEnded { producer: *producer, commit: *commit });
                }
                // Topics may have gone while nobody was here to notice.
                addr.do_send(ForgetTopics { image: image.clone() });
            }
        }
    }
}

impl Handler<AskGroup> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, AskGroup { group, ask, reply }: AskGroup, ctx: &mut Context<Self>) {
        self.breath.take(ctx);
        if !self.serving {
            return reply.send(Err(GroupError::Loading));
        }
        let seat = match self.groups.get_mut(&group) {
            Some(seat) => seat,
            None => match Machine::absent(&ask) {
                Some(outcome) => return reply.send(outcome),
                None => {
                    let machine = Group::new(&group, self.config.clone());
                    self.seat(&group, machine, ctx)
                }
            },
        };
        match seat {
            Seat::Here { addr, told, .. } => {
                *told += 1;
                addr.do_send(Asked { ask, reply });
            }
            Seat::Reading { .. } => reply.send(Err(GroupError::Loading)),
            Seat::Offline => reply.send(Err(GroupError::NotAvailable)),
        }
    }
}

impl Handler<ListGroups> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, ListGroups { reply }: ListGroups, _: &mut Context<Self>) {
        if !self.serving {
            return reply.send(Err(GroupError::Loading));
        }
        let listed = self.groups.iter().filter_map(|(id, seat)| match seat {
            Seat::Here { summary: Some(summary), .. } => Some((id.clone(), summary.clone())),
            Seat::Here { .. } | Seat::Reading { .. } | Seat::Offline => None,
        });
        reply.send(Ok(listed.collect()));
    }
}

impl Handler<Stage> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, stage: Stage, ctx: &mut Context<Self>) {
        let Stage { writer, records, transaction } = stage;
        let now = self.charge.shared.now();
        match self.groups.get_mut(&writer.group) {
            Some(Seat::Here { generation: current, beat, .. }) if *current == writer.generation => {
                self.charge.shared.crowd().came(beat, now);
            }
            // What a life that is over still had to say follows from what is not so.
            _ => return,
        }
        let timestamp = now.wall_ms;
        let mut bytes = 0;
        let records: Vec<_> = records
            .iter()
            .map(|record| {
                let (key, value) = record.encode();
                bytes += key.len() + value.as_ref().map_or(0, Vec::len) + RECORD_OVERHEAD_BYTES;
                BuildRecord { timestamp, key: Some(key), value, headers: Vec::new() }
            })
            .collect();
        let staged = Staged { writer, records, bytes };
        match transaction {
            Some(transaction) => self.stage_in(transaction, staged, ctx),
            None => self.stage(staged, now, ctx),
        }
    }
}

impl Handler<Summarized> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, summarized: Summarized, _: &mut Context<Self>) {
        if let Some(Seat::Here { generation, summary, .. }) = self.groups.get_mut(&summarized.group)
            && *generation == summarized.generation
        {
            *summary = summarized.summary;
        }
    }
}

impl Handler<Idle> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, Idle { group, generation: of, taken }: Idle, _: &mut Context<Self>) {
        let Some(Seat::Here { addr, generation, told, .. }) = self.groups.get(&group) else { return };
        // With a request on its way it will say so again.
        if *generation == of && *told == taken {
            addr.do_send(Leave);
            self.groups.remove(&group);
            self.names.remove(&of);
        }
    }
}

impl Handler<TopicsGone> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, TopicsGone { image }: TopicsGone, _: &mut Context<Self>) {
        self.tell_all(|| ForgetTopics { image: image.clone() });
    }
}

impl Handler<ChildDown> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, ChildDown { child, exit }: ChildDown, ctx: &mut Context<Self>) {
        let ChildName::Group(generation) = child else { return };
        let Some(group) = self.names.remove(&generation) else { return };
        if let Exit::Panicked(text) = &exit {
            self.charge.shared.falls.panicked();
            log::error!(group:% = group, panic:% = text; "a group's actor panicked");
        }
        self.group_down(group, generation, &exit, ctx);
    }
}

impl Handler<Resign> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, Resign: Resign, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Wake> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, Wake: Wake, ctx: &mut Context<Self>) {
        self.alarm.rang();
        let now = self.charge.shared.now();
        if self.expiry.is_due(now) {
            self.expiry = now.after(expire_every_ms(&self.charge.shared));
            self.tell_all(|| Expire);
        }
        self.look_for_late(now);
        self.set_alarm(now, ctx);
    }
}

#[cfg(feature = "provoke")]
impl Handler<ProvokeGroupOf> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, ProvokeGroupOf(group): ProvokeGroupOf, _: &mut Context<Self>) {
        if let Some(Seat::Here { addr, .. }) = self.groups.get(&group) {
            addr.do_send(crate::group::ProvokeGroup);
        }
    }
}

#[cfg(feature = "provoke")]
impl Handler<ProvokeOffsets> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, ProvokeOffsets: ProvokeOffsets, _: &mut Context<Self>) {
        panic!("provoked");
    }
}
