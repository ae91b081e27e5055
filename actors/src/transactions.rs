//! TransactionActor: one led partition of `__transaction_state`, the coordinator of the transactional ids in it.
//!
//! ```text
//!   loading --(every record replayed)--> serving
//!   request -> machine -> staged --(all that came in meanwhile, one batch, acks=all)--> written -> answers
//!                                                                             '-> markers to partitions -> marked
//! ```

use std::{mem, sync::Arc};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use ottla_rules::{
    batch::{
        Header,
        build::{BatchBuilder, BuildRecord},
        marker::Marker,
        records::Record,
    },
    floods::Manner,
    ids::{LeaderEpoch, PartitionId, ProducerId},
    partition::{Acks, AppendError, Appended},
    records::transaction::{decode, encode_key, encode_value},
    transaction::{
        Effect, Facts, Protocol, Session, TopicPartition, TransactionError,
        coordinator::{Begin, Bounds, Coordinator, End},
        join::Join,
    },
};

use crate::{
    coordinator::TakeProducerId,
    partition::Append,
    replay::{Source, Take},
    shared::Shared,
    stage::{
        alarm::{Alarm, Wake},
        breath::Breath,
        messages,
        reply::Reply,
    },
};

mod markers;

use markers::{Marked, Markers};

/// Whom to answer with a session.
pub type SessionReply = Reply<Result<Session, TransactionError>>;

/// Begins a session of a transactional id (InitProducerId).
#[derive(Debug)]
pub struct BeginSession {
    /// The transactional id.
    pub id: Arc<str>,
    /// What the producer asks for.
    pub begin: Begin,
    /// Whom to answer.
    pub reply: SessionReply,
}

/// Has partitions join a transaction (AddPartitionsToTxn, AddOffsetsToTxn, and the first write of a transaction).
#[derive(Debug)]
pub struct JoinTransaction {
    /// The transactional id.
    pub id: Arc<str>,
    /// Who, and which partitions.
    pub join: Join,
    /// Whom to answer.
    pub reply: SessionReply,
}

/// Asks whether a partition is part of a transaction.
#[derive(Debug)]
pub struct VerifyTransaction {
    /// The transactional id.
    pub id: Arc<str>,
    /// The producer's session.
    pub session: Session,
    /// The partition.
    pub partition: TopicPartition,
    /// Whom to answer.
    pub reply: SessionReply,
}

/// Ends a transaction (EndTxn).
#[derive(Debug)]
pub struct EndTransaction {
    /// The transactional id.
    pub id: Arc<str>,
    /// Who, and how.
    pub end: End,
    /// Whom to answer.
    pub reply: SessionReply,
}

/// Asks where a transactional id stands; none when it is not known.
#[derive(Debug)]
pub struct DescribeTransaction {
    /// The transactional id.
    pub id: Arc<str>,
    /// Whom to answer.
    pub reply: Reply<Result<Option<Facts>, TransactionError>>,
}

/// Asks which transactional ids there are.
#[derive(Debug)]
pub struct ListTransactions {
    /// Whom to answer.
    pub reply: Reply<Result<Vec<(String, Facts)>, TransactionError>>,
}

/// The partition is led elsewhere, or in another reign: whoever waits hears it.
pub(crate) struct Resign;

/// The mailbox is drained: append what was staged.
struct Flush;

/// The records of the batch under way are safe, or are not.
struct BatchWritten(Result<Appended, AppendError>);

/// A producer id came, or none.
struct ProducerIdTaken(Option<ProducerId>);

/// The log has been read.
struct LogRead(Machine);

messages!(
    BeginSession,
    JoinTransaction,
    VerifyTransaction,
    EndTransaction,
    DescribeTransaction,
    ListTransactions,
    Resign,
    Flush,
    BatchWritten,
    ProducerIdTaken,
    LogRead
);

type Machine = Coordinator<SessionReply>;

/// Ids that one partition of `__transaction_state` holds.
const IDS_MAX: usize = 100_000;

/// What a TransactionActor is started with.
#[derive(Clone)]
pub(crate) struct TransactionCharge {
    pub(crate) partition: PartitionId,
    /// The reign: partitions take no markers of an older one.
    pub(crate) epoch: LeaderEpoch,
    /// The image that made it lead.
    pub(crate) image_version: u64,
    /// The largest batch that the topic takes.
    pub(crate) batch_bytes_max: usize,
    pub(crate) shared: Arc<Shared>,
}

/// The actor of one led partition of `__transaction_state`.
pub struct TransactionActor {
    charge: TransactionCharge,
    /// None while the log is being read.
    machine: Option<Machine>,
    staged: Vec<(String, BuildRecord)>,
    /// The batch under way: whose records it has.
    writing: Option<Vec<String>>,
    markers: Markers,
    alarm: Alarm,
    breath: Breath,
}

impl JoinTransaction {
    /// The first write of a transaction to a partition (KIP-890 part 2).
    pub(crate) fn implicit(
        id: Arc<str>,
        session: Session,
        partition: TopicPartition,
        reply: SessionReply,
    ) -> Self {
        let join = Join { session, partitions: vec![partition], protocol: Protocol::V2 };
        Self { id, join, reply }
    }
}

impl TransactionActor {
    pub(crate) fn new(charge: TransactionCharge) -> Self {
        let markers = Markers::new(charge.shared.clone(), charge.epoch);
        Self {
            charge,
            machine: None,
            staged: Vec::new(),
            writing: None,
            markers,
            alarm: Alarm::default(),
            breath: Breath::default(),
        }
    }

    /// The only way into the machine, as in `PartitionActor::step`.
    fn step(
        &mut self,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut Machine, ottla_rules::time::Now, &mut Vec<Effect<SessionReply>>),
    ) {
        let Some(machine) = &mut self.machine else { return };
        let now = self.charge.shared.now();
        let mut out = Vec::new();
        machine.tick(now, &mut out);
        input(machine, now, &mut out);
        let deadline = machine.next_deadline();
        for effect in out {
            self.perform(effect, ctx);
        }
        let next = deadline.into_iter().chain(self.markers.next_deadline()).min();
        self.alarm.set(next, now, ctx);
        self.breath.take(ctx);
    }

    fn perform(&mut self, effect: Effect<SessionReply>, ctx: &mut Context<Self>) {
        match effect {
            Effect::Answer { to, with } => to.send(with),
            Effect::Write { id, facts } => {
                let timestamp = self.charge.shared.now().wall_ms;
                let (key, value) = (Some(encode_key(&id)), facts.as_ref().map(encode_value));
                self.staged.push((id, BuildRecord { timestamp, key, value, headers: Vec::new() }));
                if self.staged.len() == 1 {
                    ctx.notify(Flush);
                }
            }
            Effect::Mark { id, session, protocol, commit, partitions } => {
                self.markers.write(&id, session, protocol, commit, partitions, ctx);
            }
            Effect::TakeProducerId => {
                let (reply, answer) = Reply::once();
                if let Some(coordinator) = self.charge.shared.directory.coordinator() {
                    coordinator.do_send(TakeProducerId { reply });
                }
                let me = ctx.address();
                actix_rt::spawn(async move { me.do_send(ProducerIdTaken(answer.await.ok())) });
            }
        }
    }

    /// Appends everything staged, as far as it fits into one batch, unless a batch is under way.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        if self.writing.is_some() || self.staged.is_empty() {
            return;
        }
        let mut room = self.charge.batch_bytes_max;
        let fits = |staged: &&(String, BuildRecord)| {
            let bytes = bytes_of(&staged.1);
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        };
        // One that is larger than any batch is tried alone, and refused by the partition as any other would be.
        let count = self.staged.iter().take_while(fits).count().max(1);
        let mut batch = BatchBuilder::new();
        let mut writers = Vec::with_capacity(count);
        for (id, record) in self.staged.drain(..count) {
            batch = batch.push(record);
            writers.push(id);
        }
        let me = ctx.address();
        let reply = Reply::told(move |result| me.do_send(BatchWritten(result)));
        // No deadline: its end would be no outcome. The machine has one for whoever waits.
        let append = Append {
            batch: batch.parsed(),
            acks: Acks::All,
            patience_ms: u64::MAX,
            transaction: None,
            manner: Manner::OneByOne,
            reply,
        };
        self.writing = Some(writers);
        self.charge.shared.directory.tell(self.charge.partition, append);
    }

    fn bounds(&self) -> Bounds {
        let given = |name| self.charge.shared.given.int(name);
        Bounds {
            timeout_ms_max: i32::try_from(given("transaction.max.timeout.ms")).unwrap_or(i32::MAX),
            id_idle_ms_max: u64::try_from(given("transactional.id.expiration.ms")).unwrap_or(u64::MAX),
            ids_max: IDS_MAX,
        }
    }
}

/// Bytes of a record beside key and value, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

fn bytes_of(record: &BuildRecord) -> usize {
    let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    len(&record.key) + len(&record.value) + RECORD_OVERHEAD_BYTES
}

impl Take for Machine {
    fn take(&mut self, record: &Record<'_>, _: &Header) {
        let Some(key) = record.key else { return };
        match decode(key, record.value) {
            Ok(Some((id, facts))) => self.replay(id, facts),
            Ok(None) => (),
            Err(error) => log::error!(error:% = error; "a record of a transaction is lost"),
        }
    }

    /// The log of coordinators is not written in transactions.
    fn take_marker(&mut self, _: ProducerId, _: Marker) {}
}

impl Actor for TransactionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let source = Source {
            shared: self.charge.shared.clone(),
            partition: self.charge.partition,
            image_version: self.charge.image_version,
        };
        let (me, bounds) = (ctx.address(), self.bounds());
        actix_rt::spawn(async move {
            if let Some(machine) = source.replay(|| Machine::new(bounds), || me.connected()).await {
                me.do_send(LogRead(machine));
            }
        });
    }
}

impl Handler<LogRead> for TransactionActor {
    type Result = ();

    fn handle(&mut self, LogRead(machine): LogRead, ctx: &mut Context<Self>) {
        self.machine = Some(machine);
        self.step(ctx, |machine, now, out| machine.lead(now, out));
    }
}

impl Handler<BeginSession> for TransactionActor {
    type Result = ();

    fn handle(&mut self, BeginSession { id, begin, reply }: BeginSession, ctx: &mut Context<Self>) {
        match self.machine {
            None => reply.send(Err(TransactionError::Loading)),
            Some(_) => self.step(ctx, |machine, now, out| machine.begin(&id, begin, reply, now, out)),
        }
    }
}

impl Handler<JoinTransaction> for TransactionActor {
    type Result = ();

    fn handle(&mut self, JoinTransaction { id, join, reply }: JoinTransaction, ctx: &mut Context<Self>) {
        match self.machine {
            None => reply.send(Err(TransactionError::Loading)),
            Some(_) => self.step(ctx, |machine, now, out| machine.join(&id, join, reply, now, out)),
        }
    }
}

impl Handler<VerifyTransaction> for TransactionActor {
    type Result = ();

    fn handle(&mut self, verify: VerifyTransaction, _: &mut Context<Self>) {
        let VerifyTransaction { id, session, partition, reply } = verify;
        let verified = match &self.machine {
            None => Err(TransactionError::Loading),
            Some(machine) => machine.verify(&id, session, &partition).map(|()| session),
        };
        reply.send(verified);
    }
}

impl Handler<EndTransaction> for TransactionActor {
    type Result = ();

    fn handle(&mut self, EndTransaction { id, end, reply }: EndTransaction, ctx: &mut Context<Self>) {
        match self.machine {
            None => reply.send(Err(TransactionError::Loading)),
            Some(_) => self.step(ctx, |machine, now, out| machine.end(&id, end, reply, now, out)),
        }
    }
}

impl Handler<DescribeTransaction> for TransactionActor {
    type Result = ();

    fn handle(&mut self, DescribeTransaction { id, reply }: DescribeTransaction, _: &mut Context<Self>) {
        let machine = self.machine.as_ref().ok_or(TransactionError::Loading);
        reply.send(machine.map(|machine| machine.describe(&id).cloned()));
    }
}

impl Handler<ListTransactions> for TransactionActor {
    type Result = ();

    fn handle(&mut self, ListTransactions { reply }: ListTransactions, _: &mut Context<Self>) {
        let machine = self.machine.as_ref().ok_or(TransactionError::Loading);
        reply.send(
            machine.map(|machine| machine.list().map(|(id, facts)| (id.to_owned(), facts.clone())).collect()),
        );
    }
}

impl Handler<Flush> for TransactionActor {
    type Result = ();

    fn handle(&mut self, Flush: Flush, ctx: &mut Context<Self>) {
        self.flush(ctx);
    }
}

impl Handler<BatchWritten> for TransactionActor {
    type Result = ();

    fn handle(&mut self, BatchWritten(result): BatchWritten, ctx: &mut Context<Self>) {
        let result = result.map(|_| ()).map_err(|error| match error {
            AppendError::NotHere | AppendError::Storage => TransactionError::NotHere,
            _ => TransactionError::NotAvailable,
        });
        for id in mem::take(&mut self.writing).unwrap_or_default() {
            self.step(ctx, |machine, now, out| machine.written(&id, result, now, out));
        }
        self.flush(ctx);
    }
}

impl Handler<ProducerIdTaken> for TransactionActor {
    type Result = ();

    fn handle(&mut self, ProducerIdTaken(producer): ProducerIdTaken, ctx: &mut Context<Self>) {
        self.step(ctx, |machine, _, _| machine.producer_id_taken(producer));
    }
}

impl Handler<Marked> for TransactionActor {
    type Result = ();

    fn handle(&mut self, Marked { id, partition, result }: Marked, ctx: &mut Context<Self>) {
        if self.markers.is_done(&id, &partition, result, self.charge.shared.now()) {
            return self.step(ctx, |machine, now, out| machine.marked(&id, &partition, now, out));
        }
        self.step(ctx, |_, _, _| ());
    }
}

impl Handler<Wake> for TransactionActor {
    type Result = ();

    fn handle(&mut self, Wake: Wake, ctx: &mut Context<Self>) {
        self.alarm.rang();
        self.markers.again(self.charge.shared.now(), ctx);
        self.step(ctx, |_, _, _| ());
    }
}

impl Handler<Resign> for TransactionActor {
    type Result = ();

    fn handle(&mut self, Resign: Resign, ctx: &mut Context<Self>) {
        self.step(ctx, |machine, _, out| machine.retire(out));
        ctx.stop();
    }
}
