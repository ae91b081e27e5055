//! Offsets that are part of transactions: a batch of their own in the name of the producer, and the markers that end them.

use std::collections::BTreeMap;

use actix::{AsyncContext, Context, Handler};
use ottla_rules::{
    batch::build::BatchBuilder,
    floods::Manner,
    group::{InTransaction, WriteError, open::OpenTransactions},
    ids::ProducerId,
    partition::{Acks, AppendError, Appended, Mark},
};

use super::{OffsetsActor, Seat, Staged, Writer, write_error};
use crate::{
    group::TransactionEnded,
    partition::{Append, WriteMarker},
    stage::{messages, reply::Reply},
};

/// The transactions that groups of this partition have offsets in.
#[derive(Default)]
pub(super) struct InTransactions {
    open: OpenTransactions,
    /// How many batches are under way of each life of a group.
    under_way: BTreeMap<u64, usize>,
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
        self.under_way.keys().copied()
    }

    fn sent(&mut self, writer: &Writer, producer: ProducerId) {
        self.open.sent(producer, &writer.group);
        *self.under_way.entry(writer.generation).or_default() += 1;
    }

    fn arrived(&mut self, writer: &Writer, producer: ProducerId, is_written: bool) {
        self.open.arrived(producer, &writer.group, is_written);
        if let Some(count) = self.under_way.get_mut(&writer.generation) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&writer.generation);
            }
        }
    }
}

impl OffsetsActor {
    /// Appends at once and alone: a batch is of one producer, and may have to wait for the transaction's coordinator, which
    /// the other groups must not.
    pub(super) fn append_in(&mut self, transaction: InTransaction, staged: Staged, ctx: &Context<Self>) {
        let Staged { writer, records, bytes } = staged;
        if bytes > self.charge.batch_bytes_max {
            return self.tell_written(&writer, Err(WriteError::TooLarge));
        }
        let InTransaction { joining, session } = transaction;
        let producer = session.producer;
        let batch = BatchBuilder::new().transactional().producer(producer.0, session.epoch.0, -1);
        let batch = records.into_iter().fold(batch, BatchBuilder::push).parsed();
        self.in_transactions.sent(&writer, producer);
        let me = ctx.address();
        let reply = Reply::told(move |result| me.do_send(InTransactionWritten { writer, producer, result }));
        let patience_ms = self.patience_ms;
        let append = Append {
            batch,
            acks: Acks::All,
            patience_ms,
            transaction: Some(joining),
            manner: Manner::OneByOne,
            reply,
        };
        self.charge.shared.directory.tell(self.charge.partition, append);
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
        let WriteMarker { mark, patience_ms, reply } = marker;
        let me = ctx.address();
        let reply = Reply::told(move |result| me.do_send(Marked { mark, result, reply }));
        self.charge.shared.directory.tell(self.charge.partition, WriteMarker { mark, patience_ms, reply });
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
