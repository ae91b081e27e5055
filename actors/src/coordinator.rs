//! CoordinatorActor: the root of a node. It decides what the cluster knows, and what follows when an actor dies.
//!
//! ```text
//!   Submit -> decide on the draft -> (one write and flush for all that came in meanwhile) -> Kept
//!          -> ImageChanged to the broker -> Applied -> the askers are answered
//! ```

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler};
use ottla_rules::{
    cluster::{Change, Command, CommandError, Image},
    ids::{PartitionId, ProducerId},
    limits::PRODUCER_IDS_PER_BLOCK,
    supervision::{Exit, Patience, Supervision, Verdict},
    time::Deadline,
};
use ottla_store::{FactsError, facts};

use crate::{
    broker::{BrokerActor, CoordinateAgain, ImageChanged},
    housekeeper::HousekeeperActor,
    observe::{CoordinatorSeen, Observe},
    shared::Shared,
    stage::{
        alarm::{Alarm, Wake},
        messages,
        reply::Reply,
        shards::Shard,
        watched::{ChildDown, ChildName, spawn_watched},
    },
};

/// Has the cluster decide a command.
#[derive(Debug)]
pub struct Submit {
    /// The command.
    pub command: Command,
    /// Answered with what the cluster knows then, once that is safe and this node has carried it out.
    pub reply: Reply<Result<Arc<Image>, CommandError>>,
}

/// Takes a producer id that nobody ever had.
#[derive(Debug)]
pub struct TakeProducerId {
    /// Whom to answer.
    pub reply: Reply<Result<ProducerId, CommandError>>,
}

/// The broker has carried out this version.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) version: u64,
}

/// Changes are in the facts, or could not be put there.
pub(crate) struct Kept {
    pub(crate) decided: Decided,
    pub(crate) result: Result<(), FactsError>,
}

/// The disk had no room for what was decided; there may be some now.
struct KeepAgain(Decided);

/// Changes, and what is known once they are safe.
pub(crate) struct Decided {
    pub(crate) changes: Vec<Change>,
    pub(crate) image: Arc<Image>,
}

messages!(Submit, TakeProducerId, Applied, Kept, KeepAgain);

/// How long changes that found no room on the disk wait before they are tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

type Asker = Reply<Result<Arc<Image>, CommandError>>;

/// The root actor of one node.
pub struct CoordinatorActor {
    shared: Arc<Shared>,
    control: Shard,
    shards: Vec<Shard>,
    /// What will be known when everything decided is safe.
    draft: Image,
    /// Decided, and not yet given to the facts.
    changes: Vec<Change>,
    askers: Vec<Asker>,
    /// Whose changes are on their way into the facts.
    keeping: Option<Vec<Asker>>,
    /// The disk has no room for what is on its way: nothing more is decided.
    is_stuck: bool,
    /// Safe, and not yet carried out: whom to answer once the broker has.
    applying: BTreeMap<u64, (Arc<Image>, Vec<Asker>)>,
    /// The block that producer ids are handed out from: half-open.
    producer_ids: (i64, i64),
    /// Who waits for the next block.
    thirsty: Vec<Reply<Result<ProducerId, CommandError>>>,
    supervision: Supervision<PartitionId>,
    staff: Supervision<ChildName>,
    /// Partitions that begin again later.
    resting: Vec<(Deadline, PartitionId)>,
    /// Partitions of internal topics that are coordinated again later.
    resting_coordinators: Vec<(Deadline, PartitionId)>,
    alarm: Alarm,
}

impl Actor for CoordinatorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.hire_broker(Arc::new(Image::new(self.draft.cluster_id())), ctx);
        self.hire_housekeeper(ctx);
        self.announce(Arc::new(self.draft.clone()), Vec::new());
    }
}

impl CoordinatorActor {
    /// A coordinator that knows what `image` says, all of it safe.
    pub(crate) fn new(shared: Arc<Shared>, control: Shard, shards: Vec<Shard>, image: Image) -> Self {
        Self {
            shared,
            control,
            shards,
            draft: image,
            changes: Vec::new(),
            askers: Vec::new(),
            keeping: None,
            is_stuck: false,
            applying: BTreeMap::new(),
            producer_ids: (0, 0),
            thirsty: Vec::new(),
            supervision: Supervision::new(Patience::default()),
            staff: Supervision::new(Patience::default()),
            resting: Vec::new(),
            resting_coordinators: Vec::new(),
            alarm: Alarm::default(),
        }
    }

    fn hire_broker(&mut self, applied: Arc<Image>, ctx: &mut Context<Self>) {
        let (shared, shards) = (self.shared.clone(), self.shards.clone());
        let (parent, me) = (ctx.address().recipient(), ctx.address().recipient());
        let make = move |_: &mut Context<BrokerActor>| BrokerActor::new(shared, shards, parent, me, applied);
        let addr = spawn_watched(&self.control, ChildName::Broker, ctx.address().recipient(), make);
        self.shared.directory.set_broker(addr);
    }

    fn hire_housekeeper(&mut self, ctx: &mut Context<Self>) {
        let shared = self.shared.clone();
        let make = move |_: &mut Context<HousekeeperActor>| HousekeeperActor::new(shared);
        spawn_watched(&self.control, ChildName::Housekeeper, ctx.address().recipient(), make);
    }

    /// Decides on the draft; whoever asked is answered at once when the answer is no.
    fn decide(&mut self, command: &Command) -> Result<(), CommandError> {
        let settings = self.draft.settings(self.shared.node, &self.shared.given);
        let changes = self.draft.decide(command, &settings)?;
        changes.iter().for_each(|change| self.draft.apply(change));
        self.changes.extend(changes);
        Ok(())
    }

    /// Gives what was decided to the facts, unless they are busy with what was decided before.
    fn keep(&mut self, ctx: &mut Context<Self>) {
        if self.keeping.is_some() || self.changes.is_empty() {
            return;
        }
        self.keeping = Some(mem::take(&mut self.askers));
        let decided = Decided { changes: mem::take(&mut self.changes), image: Arc::new(self.draft.clone()) };
        self.put(decided, ctx);
    }

    fn put(&self, decided: Decided, ctx: &mut Context<Self>) {
        let (shared, me) = (self.shared.clone(), ctx.address());
        self.shared.on_pool(move || {
            let facts = shared.store.facts();
            let result = facts::image::keep(facts, &decided.changes);
            me.do_send(Kept { decided, result });
        });
    }

    /// Changes could not be kept: everyone who asked is told. Only a full disk gets better; until then what was decided
    /// stands, because nobody knows how much of it the facts have.
    fn not_kept(&mut self, error: &FactsError, decided: Decided, ctx: &mut Context<Self>) {
        log::error!(error:% = error; "the metadata could not be kept");
        let refused = CommandError::Storage(error.to_string());
        let all = self.keeping.take().unwrap_or_default().into_iter().chain(self.askers.drain(..));
        all.for_each(|reply| reply.send(Err(refused.clone())));
        match error {
            FactsError::Full(_) => {
                self.keeping = Some(Vec::new());
                self.is_stuck = true;
                ctx.notify_later(KeepAgain(decided), FULL_PAUSE);
            }
            FactsError::Damaged { .. } | FactsError::Failed(_) | FactsError::Unsynced(_) => {
                // A later sync of the same file would succeed and prove nothing.
                self.shared.lose(error);
                // What was decided on top of it cannot stand either: back to what is known to be safe.
                self.changes.clear();
                let safe = self.applying.last_key_value().map(|(_, (image, _))| image.clone());
                self.draft = Image::clone(&safe.unwrap_or_else(|| self.shared.directory.image()));
            }
        }
    }

    /// Why nothing, or nothing of this kind, can be decided now.
    fn cannot(&self, command: &Command) -> Option<CommandError> {
        let is_full = self.is_stuck || (command.takes_space() && self.shared.is_full());
        is_full.then(|| CommandError::Storage("the disk is full".to_owned()))
    }

    /// Has the broker carry out what is safe.
    fn announce(&mut self, image: Arc<Image>, askers: Vec<Asker>) {
        self.applying.insert(image.version(), (image.clone(), askers));
        if let Some(broker) = self.shared.directory.broker() {
            broker.do_send(ImageChanged { image });
        }
    }

    /// Hands out producer ids as far as the block goes, and takes another one when somebody still waits.
    fn pour(&mut self, ctx: &mut Context<Self>) {
        while self.producer_ids.0 < self.producer_ids.1
            && let Some(reply) = self.thirsty.pop()
        {
            reply.send(Ok(ProducerId(self.producer_ids.0)));
            self.producer_ids.0 += 1;
        }
        if self.thirsty.is_empty() {
            return;
        }
        let first = self.draft.next_producer_id().0;
        let take = Command::TakeProducerIds { count: PRODUCER_IDS_PER_BLOCK };
        if let Err(error) = self.cannot(&take).map_or_else(|| self.decide(&take), Err) {
            self.thirsty.drain(..).for_each(|reply| reply.send(Err(error.clone())));
            return;
        }
        let (reply, taken) = Reply::<Result<Arc<Image>, CommandError>>::once();
        self.askers.push(reply);
        self.producer_ids = (first, first);
        let me = ctx.address();
        actix_rt::spawn(async move {
            me.do_send(Block { first, taken: taken.await.map(drop) });
        });
        self.keep(ctx);
    }

    fn partition_down(&mut self, partition: PartitionId, exit: &Exit, ctx: &mut Context<Self>) {
        let now = self.shared.now();
        match self.supervision.down(&partition, exit, now) {
            Verdict::Nothing => (),
            Verdict::RestartNow => self.lead_again(partition, ctx),
            Verdict::RestartAt(deadline) => {
                self.resting.push((deadline, partition));
                self.alarm.set(Some(deadline), now, ctx);
            }
            Verdict::GiveUp => {
                self.shared.falls.gave_up();
                log::error!(partition:% = partition; "the partition's actor dies again and again: the partition stays offline until the node is restarted");
            }
        }
    }

    /// The same node leads again, in a new epoch: the actor is rebuilt from the store.
    fn lead_again(&mut self, partition: PartitionId, ctx: &mut Context<Self>) {
        match self.decide(&Command::LeadAgain { partition }) {
            Ok(()) => self.keep(ctx),
            // The topic was deleted meanwhile.
            Err(error) => log::info!(partition:% = partition, error:% = error; "not started again"),
        }
    }

    /// Who coordinated the groups, or the transactional ids, of a partition fell. `child` is the same for all its actors:
    /// which of them it was does not matter for how often they fall.
    fn coordination_down(
        &mut self,
        child: &ChildName,
        partition: PartitionId,
        exit: &Exit,
        ctx: &mut Context<Self>,
    ) {
        let now = self.shared.now();
        match self.staff.down(child, exit, now) {
            Verdict::Nothing => (),
            Verdict::RestartNow => self.coordinate_again(partition),
            Verdict::RestartAt(deadline) => {
                self.resting_coordinators.push((deadline, partition));
                self.alarm.set(Some(deadline), now, ctx);
            }
            Verdict::GiveUp => {
                self.shared.falls.gave_up();
                log::error!(partition:% = partition; "what coordinates this partition dies again and again: its groups or transactional ids stay offline until the node is restarted");
            }
        }
    }

    fn coordinate_again(&self, partition: PartitionId) {
        if let Some(broker) = self.shared.directory.broker() {
            broker.do_send(CoordinateAgain { partition });
        }
    }

    fn staff_down(&mut self, child: ChildName, exit: &Exit, ctx: &mut Context<Self>) {
        let verdict = self.staff.down(&child, exit, self.shared.now());
        match (child, verdict) {
            (_, Verdict::Nothing) => (),
            (ChildName::Broker, Verdict::RestartNow | Verdict::RestartAt(_)) => {
                // What was published was carried out; what came after it comes again.
                self.hire_broker(self.shared.directory.image(), ctx);
                // Not the draft: what is not safe yet must not be carried out.
                let safe = self.applying.last_key_value().map(|(_, (image, _))| image.clone());
                if let (Some(image), Some(broker)) = (safe, self.shared.directory.broker()) {
                    broker.do_send(ImageChanged { image });
                }
            }
            (ChildName::Housekeeper, Verdict::RestartNow | Verdict::RestartAt(_)) => {
                self.hire_housekeeper(ctx)
            }
            (ChildName::Journal, _) => {
                self.shared.lose(&"the journal is gone");
            }
            (child, verdict) => {
                self.shared.falls.gave_up();
                log::error!(child:? = child, verdict:? = verdict; "stays down until the node is restarted")
            }
        }
    }
}

/// The block of producer ids that begins there is ours, or could not be had.
struct Block {
    first: i64,
    taken: Result<(), CommandError>,
}
messages!(Block);

impl Handler<Block> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Block { first, taken }: Block, ctx: &mut Context<Self>) {
        if let Err(error) = taken {
            return self.thirsty.drain(..).for_each(|reply| reply.send(Err(error.clone())));
        }
        self.producer_ids = (first, first + PRODUCER_IDS_PER_BLOCK);
        self.pour(ctx);
    }
}

impl Handler<Submit> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Submit { command, reply }: Submit, ctx: &mut Context<Self>) {
        if let Some(error) = self.cannot(&command) {
            return reply.send(Err(error));
        }
        match self.decide(&command) {
            Ok(()) => self.askers.push(reply),
            Err(error) => return reply.send(Err(error)),
        }
        self.keep(ctx);
    }
}

impl Handler<TakeProducerId> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, TakeProducerId { reply }: TakeProducerId, ctx: &mut Context<Self>) {
        self.thirsty.push(reply);
        // With others waiting, a block is on its way already.
        if self.thirsty.len() == 1 {
            self.pour(ctx);
        }
    }
}

impl Handler<Kept> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Kept { decided, result }: Kept, ctx: &mut Context<Self>) {
        match result {
            Ok(()) => {
                self.is_stuck = false;
                let askers = self.keeping.take().unwrap_or_default();
                self.announce(decided.image, askers);
            }
            Err(error) => self.not_kept(&error, decided, ctx),
        }
        self.keep(ctx);
    }
}

impl Handler<KeepAgain> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, KeepAgain(decided): KeepAgain, ctx: &mut Context<Self>) {
        self.put(decided, ctx);
    }
}

impl Handler<Applied> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Applied { version }: Applied, _: &mut Context<Self>) {
        let later = self.applying.split_off(&(version + 1));
        for (image, askers) in mem::replace(&mut self.applying, later).into_values() {
            askers.into_iter().for_each(|reply| reply.send(Ok(image.clone())));
        }
    }
}

impl Handler<ChildDown> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, ChildDown { child, exit }: ChildDown, ctx: &mut Context<Self>) {
        if let Exit::Panicked(text) = &exit {
            self.shared.falls.panicked();
            log::error!(child:? = child, panic:% = text; "an actor panicked");
        }
        match child {
            ChildName::Partition(partition, generation) => {
                // One that was replaced, or told to leave, has no seat any more: nothing follows.
                if self.shared.directory.unseat(partition, generation) {
                    self.partition_down(partition, &exit, ctx);
                }
            }
            ChildName::Offsets(partition, generation) => {
                if self.shared.directory.unseat_offsets(partition, generation) {
                    self.coordination_down(&ChildName::Offsets(partition, 0), partition, &exit, ctx);
                }
            }
            ChildName::Transactions(partition, generation) => {
                if self.shared.directory.unseat_transactions(partition, generation) {
                    self.coordination_down(&ChildName::Transactions(partition, 0), partition, &exit, ctx);
                }
            }
            child => self.staff_down(child, &exit, ctx),
        }
    }
}

impl Handler<Wake> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Wake: Wake, ctx: &mut Context<Self>) {
        self.alarm.rang();
        let now = self.shared.now();
        let due: Vec<_> = self.resting.extract_if(.., |(deadline, _)| deadline.is_due(now)).collect();
        due.into_iter().for_each(|(_, partition)| self.lead_again(partition, ctx));
        let due: Vec<_> =
            self.resting_coordinators.extract_if(.., |(deadline, _)| deadline.is_due(now)).collect();
        due.into_iter().for_each(|(_, partition)| self.coordinate_again(partition));
        let resting = self.resting.iter().chain(&self.resting_coordinators);
        self.alarm.set(resting.map(|(deadline, _)| *deadline).min(), now, ctx);
    }
}

impl Handler<Observe<CoordinatorSeen>> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, Observe(reply): Observe<CoordinatorSeen>, _: &mut Context<Self>) {
        reply.send(Ok(self.shared.falls.seen()));
    }
}
