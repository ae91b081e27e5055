//! Offsets that are part of transactions: a batch of their own in the name of the producer, and the markers that end them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
};

use actix::{AsyncContext, Context, Handler};
use ottla_rules::{
    batch::build::BatchBuilder,
    group::{InTransaction, WriteError, open::OpenTransactions},
    ids::ProducerId,
    partition::{AppendError, Appended, Mark, Patience},
    time::{Deadline, Now},
};

use super::{OffsetsActor, Seat, Staged, Writer, writing::write_error};
use crate::{
    group::TransactionEnded,
    partition::{AppendOffsets, WriteMarker},
    stage::{messages, reply::Reply},
};

/// The transactions that groups of this partition have offsets in.
#[derive(Default)]
pub(super) struct InTransactions {
    open: OpenTransactions,
    /// The batches under way, by the life of a group and its ticket.
    under_way: BTreeMap<(u64, u64), Writer>,
    /// Until when whoever waits for one is answered, one way or the other. The first is due first.
    answer_by: VecDeque<(Deadline, (u64, u64))>,
    /// What waits until what its group has staged before is under way.
    behind: Vec<(InTransaction, Staged)>,
}

/// What became of a batch of a transaction.
struct InTransactionWritten {
    writer: Writer,
    producer: ProducerId,
    result: Result<Appended, AppendError>,
}

/// What became of a marker.
struct Marked {
    mark: Mark,
    result: Result<Appended, AppendError>,
    reply: Reply<Result<Appended, AppendError>>,
}

messages!(InTransactionWritten, Marked);

impl InTransactions {
    /// Those that were found in the log.
    pub(super) fn found(&mut self, open: OpenTransactions) {
        self.open.merge(open);
    }

    /// The lives of groups that have batches under way.
    pub(super) fn under_way(&self) -> impl Iterator<Item = u64> {
        self.under_way.keys().map(|(generation, _)| *generation)
    }

    fn sent(&mut self, writer: &Writer, producer: ProducerId, answer_by: Deadline) {
        self.open.sent(producer, &writer.group);
        self.under_way.insert(key(writer), writer.clone());
        self.answer_by.push_back((answer_by, key(writer)));
    }

    /// When [`InTransactions::late`] has something to say.
    pub(super) fn late_at(&self) -> Option<Deadline> {
        self.answer_by.front().map(|(deadline, _)| *deadline)
    }

    /// Whose batches have taken too long by now.
    pub(super) fn late(&mut self, now: Now) -> Vec<Writer> {
        let mut late = Vec::new();
        while let Some((_, key)) = self.answer_by.pop_front_if(|(deadline, _)| deadline.is_due(now)) {
            late.extend(self.under_way.get(&key).cloned());
        }
        late
    }

    fn arrived(&mut self, writer: &Writer, producer: ProducerId, is_written: bool) {
        self.open.arrived(producer, &writer.group, is_written);
        self.under_way.remove(&key(writer));
    }
}

fn key(writer: &Writer) -> (u64, u64) {
    (writer.generation, writer.ticket)
}

/// What is still held for the coordinator when patience is over is refused by the partition, which is the better answer: it has so
/// long to arrive, in milliseconds.
const REFUSAL_MS: u64 = 100;

impl OffsetsActor {
    /// Appends records of a transaction, but not before what the same group has staged: a deletion that was asked for before would else
    /// take back what was committed after it.
    pub(super) fn stage_in(&mut self, transaction: InTransaction, staged: Staged, ctx: &mut Context<Self>) {
        if self.is_late() {
            return self.refuse(staged.writer, self.charge.shared.now());
        }
        let mut before = self.staged.iter().chain(self.in_transactions.behind.iter().map(|(_, it)| it));
        if before.any(|it| it.writer.generation == staged.writer.generation) {
            return self.in_transactions.behind.push((transaction, staged));
        }
        self.append_in(transaction, staged, ctx);
    }

    /// Appends what has nothing before it any more.
    pub(super) fn append_behind(&mut self, ctx: &mut Context<Self>) {
        if self.in_transactions.behind.is_empty() {
            return;
        }
        let before: BTreeSet<_> = self.staged.iter().map(|staged| staged.writer.generation).collect();
        let is_ready = |(_, it): &mut (_, Staged)| !before.contains(&it.writer.generation);
        let ready: Vec<_> = self.in_transactions.behind.extract_if(.., is_ready).collect();
        for (transaction, staged) in ready {
            // What a life that is over still had to say follows from what is not so.
            if self.is_alive(&staged.writer) {
                self.append_in(transaction, staged, ctx);
            }
        }
    }

    /// Refuses what waits behind what is refused: it was never sent either.
    pub(super) fn refuse_behind(&mut self, now: Now) {
        for (_, staged) in mem::take(&mut self.in_transactions.behind) {
            self.refuse(staged.writer, now);
        }
    }

    fn is_alive(&self, writer: &Writer) -> bool {
        let seat = self.groups.get(&writer.group);
        matches!(seat, Some(Seat::Here { generation, .. }) if *generation == writer.generation)
    }

    /// Appends at once and alone: a batch is of one producer, and may have to wait for the transaction's coordinator, which
    /// the other groups must not.
    fn append_in(&mut self, transaction: InTransaction, staged: Staged, ctx: &mut Context<Self>) {
        let Staged { writer, records, bytes } = staged;
        if bytes > self.charge.batch_bytes_max {
            return self.tell_written(&writer, Err(WriteError::TooLarge));
        }
        let InTransaction { joining, session } = transaction;
        let producer = session.producer;
        let batch = BatchBuilder::new().transactional().producer(producer.0, session.epoch.0, -1);
        let batch = records.into_iter().fold(batch, BatchBuilder::push).parsed();
        let now = self.charge.shared.now();
        self.in_transactions.sent(&writer, producer, now.after(self.patience_ms.saturating_add(REFUSAL_MS)));
        let me = ctx.address();
        let reply = Reply::told(move |result| me.do_send(InTransactionWritten { writer, producer, result }));
        let patience = Patience { held_ms: self.patience_ms, safe_ms: u64::MAX };
        let append = AppendOffsets { batch, patience, transaction: joining, reply };
        self.charge.shared.directory.tell(self.charge.partition, append);
        self.set_alarm(now, ctx);
    }

    fn end_transaction(&mut self, producer: ProducerId, commit: bool) {
        for group in self.in_transactions.open.ended(producer) {
            match self.groups.get_mut(&group) {
                Some(Seat::Here { addr, .. }) => addr.do_send(TransactionEnded { producer, commit }),
                Some(Seat::Reading { ended }) => ended.push((producer, commit)),
                Some(Seat::Offline) | None => (),
            }
        }
    }
}

impl Handler<InTransactionWritten> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, written: InTransactionWritten, ctx: &mut Context<Self>) {
        let InTransactionWritten { writer, producer, result } = written;
        self.in_transactions.arrived(&writer, producer, result.is_ok());
        self.tell_written(&writer, result.map(|appended| appended.base).map_err(write_error));
        self.read_fallen(ctx);
    }
}

impl Handler<WriteMarker> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, marker: WriteMarker, ctx: &mut Context<Self>) {
        // What is being read may or may not have this marker: dropping the reply has it told again, after that.
        if !self.serving {
            return;
        }
        let WriteMarker { mark, reply } = marker;
        let me = ctx.address();
        let reply = Reply::told(move |result| me.do_send(Marked { mark, result, reply }));
        self.charge.shared.directory.tell(self.charge.partition, WriteMarker { mark, reply });
    }
}

impl Handler<Marked> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, Marked { mark, result, reply }: Marked, _: &mut Context<Self>) {
        if result.is_ok() {
            self.end_transaction(mark.producer, mark.marker.commit);
        }
        reply.send(result);
    }
}
