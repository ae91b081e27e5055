//! What transactions ask of a partition: markers, and the word of their coordinators.

use actix::{AsyncContext, Context, Handler};
use ottla_rules::{
    batch::Batch,
    floods::Manner,
    ids::ProducerId,
    partition::{Acks, AppendError, Appended, Joining, Mark, Patience, ReadError},
    producers::ProducerEntry,
    transaction::{Session, TopicPartition, TransactionError},
};

use super::{PartitionActor, State};
use crate::{
    stage::{messages, reply::Reply},
    transactions::{JoinTransaction, VerifyTransaction},
};

/// Writes the marker that ends a transaction.
#[derive(Debug)]
pub struct WriteMarker {
    /// The marker.
    pub mark: Mark,
    /// Whom to answer.
    pub reply: Reply<Result<Appended, AppendError>>,
}

/// Appends offsets that are part of a transaction, as [`Append`](super::Append) does.
#[derive(Debug)]
pub(crate) struct AppendOffsets {
    /// The batch.
    pub(crate) batch: Batch,
    /// How long it may wait, and for what.
    pub(crate) patience: Patience,
    /// The transaction.
    pub(crate) transaction: Joining,
    /// Whom to answer.
    pub(crate) reply: Reply<Result<Appended, AppendError>>,
}

/// Asks who writes to the partition.
#[derive(Debug)]
pub struct DescribeProducers {
    /// Whom to answer.
    pub reply: Reply<Result<Vec<ProducerEntry>, ReadError>>,
}

/// What the coordinator said.
pub(super) struct Joined {
    producer: ProducerId,
    ask: u64,
    result: Result<(), TransactionError>,
}

messages!(AppendOffsets, WriteMarker, DescribeProducers, Joined);

impl PartitionActor {
    /// Asks whether this partition is part of a transaction, or has it join.
    pub(super) fn ask_coordinator(
        &self,
        ask: u64,
        transaction: &Joining,
        session: Session,
        ctx: &Context<Self>,
    ) {
        let (id, me) = (transaction.id.clone(), ctx.address());
        let place = &self.charge.place;
        let partition = TopicPartition { topic: place.topic.to_string(), index: place.id.index };
        let (reply, answer) = Reply::once();
        let directory = &self.charge.shared.directory;
        if transaction.implicit {
            directory.ask_transaction(&id, JoinTransaction::implicit(id.clone(), session, partition, reply));
        } else {
            directory.ask_transaction(&id, VerifyTransaction { id: id.clone(), session, partition, reply });
        }
        actix_rt::spawn(async move {
            let result = answer.await.map(|_| ());
            me.do_send(Joined { producer: session.producer, ask, result });
        });
    }
}

impl Handler<Joined> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Joined { producer, ask, result }: Joined, ctx: &mut Context<Self>) {
        self.step(ctx, |leader, now, out| leader.joined(producer, ask, result, now, out));
    }
}

impl Handler<AppendOffsets> for PartitionActor {
    type Result = ();

    fn handle(&mut self, append: AppendOffsets, ctx: &mut Context<Self>) {
        let AppendOffsets { batch, patience, transaction, reply } = append;
        self.hardening.came(Manner::OneByOne);
        match self.state {
            // Nobody knows the offsets before the log is there: who coordinates them is still reading it.
            State::Recovering { .. } => (),
            State::Offline => reply.send(Err(AppendError::Storage)),
            State::Leading { .. } if self.charge.shared.is_full() => reply.send(Err(AppendError::Storage)),
            State::Leading { .. } => self.step(ctx, |leader, now, out| {
                leader.append_in(&transaction, batch, Acks::All, patience, reply, now, out);
            }),
        }
    }
}

impl Handler<WriteMarker> for PartitionActor {
    type Result = ();

    fn handle(&mut self, marker: WriteMarker, ctx: &mut Context<Self>) {
        let WriteMarker { mark, reply } = marker;
        match self.state {
            State::Recovering { .. } => (),
            State::Offline => reply.send(Err(AppendError::Storage)),
            State::Leading { .. } if self.charge.shared.is_full() => reply.send(Err(AppendError::Storage)),
            State::Leading { .. } => {
                self.step(ctx, |leader, now, out| leader.mark(mark, reply, now, out));
            }
        }
    }
}

impl Handler<DescribeProducers> for PartitionActor {
    type Result = ();

    fn handle(&mut self, describe: DescribeProducers, _: &mut Context<Self>) {
        match &self.state {
            State::Recovering { .. } => (),
            State::Offline => describe.reply.send(Err(ReadError::Storage)),
            State::Leading { leader, .. } => describe.reply.send(Ok(leader.producers().snapshot())),
        }
    }
}
