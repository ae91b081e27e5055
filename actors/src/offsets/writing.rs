//! What groups say on its way into the log: all that came in meanwhile is one batch, and one batch is under way.
//!
//! An append has no deadline, for the end of somebody's patience is no outcome: the batch is in the log, or is being made safe.
//! Answers have one. When it is over the groups tell whoever waits, and until the outcome is known nothing more is taken: what would only
//! be staged behind a disk that hangs is refused at once, and was never sent.

use std::{mem, time::Duration};

use actix::{AsyncContext, Context, Handler, Message};
use ottla_rules::{
    batch::build::BatchBuilder,
    floods::Manner,
    group::WriteError,
    ids::Offset,
    partition::{Acks, AppendError, Appended},
    time::{Deadline, Now},
    transaction::TransactionError,
};

use super::{OffsetsActor, Seat, Staged, Writer};
use crate::{
    group::{GroupActor, Late, Written},
    partition::Append,
    stage::{messages, reply::Reply},
};

/// The batch under way.
pub(super) struct Writing {
    /// Whose records it has, and how many are before them.
    writers: Vec<(Writer, i64)>,
    /// Until then whoever waits is answered, one way or the other.
    answer_by: Deadline,
    /// They were told that it takes too long.
    is_late: bool,
}

/// The mailbox is drained: append what was staged.
pub(super) struct Flush;

/// The records of the batch under way are safe, or are not.
struct BatchWritten(Result<Appended, AppendError>);

messages!(Flush, BatchWritten);

impl Writing {
    /// The lives of groups that have records in it.
    pub(super) fn generations(&self) -> impl Iterator<Item = u64> {
        self.writers.iter().map(|(writer, _)| writer.generation)
    }
}

impl OffsetsActor {
    /// Takes in records for the next batch.
    pub(super) fn stage(&mut self, staged: Staged, now: Now, ctx: &mut Context<Self>) {
        if self.is_late() {
            return self.refuse(staged.writer, now);
        }
        self.staged.push(staged);
        self.flush_soon(now, ctx);
    }

    /// What is staged is appended once the mailbox is drained; where a crowd commits, on its next beat.
    fn flush_soon(&mut self, now: Now, ctx: &mut Context<Self>) {
        if self.writing.is_some() || self.staged.is_empty() || self.flushing {
            return;
        }
        self.flushing = true;
        match self.charge.shared.crowd().appends_at(now) {
            None => ctx.notify(Flush),
            Some(beat) => {
                let after = Duration::from_millis(beat.0.saturating_sub(now.mono_ms));
                ctx.notify_later(Flush, after);
            }
        }
    }

    /// Appends everything staged, as far as it fits into one batch, unless a batch is under way.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        if self.writing.is_some() {
            return;
        }
        // Here everything before it has been reported.
        let now = self.charge.shared.now();
        while self.staged.first().is_some_and(|staged| staged.bytes > self.charge.batch_bytes_max) {
            let Staged { writer, .. } = self.staged.remove(0);
            self.tell_written(&writer, Err(WriteError::TooLarge));
            self.read_again_if_ahead(writer, now);
        }
        self.read_fallen(ctx);
        if self.staged.is_empty() {
            return;
        }
        let mut room = self.charge.batch_bytes_max;
        let fits = |staged: &&Staged| {
            let fits = staged.bytes <= room;
            room = room.saturating_sub(staged.bytes);
            fits
        };
        let count = self.staged.iter().take_while(fits).count();
        let mut batch = BatchBuilder::new();
        let (mut writers, mut before) = (Vec::with_capacity(count), 0);
        for Staged { writer, records, .. } in self.staged.drain(..count) {
            writers.push((writer, before));
            before += records.len() as i64;
            batch = records.into_iter().fold(batch, BatchBuilder::push);
        }
        let me = ctx.address();
        let reply = Reply::told(move |result| me.do_send(BatchWritten(result)));
        let append = Append {
            batch: batch.parsed(),
            acks: Acks::All,
            patience_ms: u64::MAX,
            transaction: None,
            manner: Manner::OneByOne,
            reply,
        };
        let answer_by = now.after(self.patience_ms);
        self.writing = Some(Writing { writers, answer_by, is_late: false });
        self.charge.shared.directory.tell(self.charge.partition, append);
        self.set_alarm(now, ctx);
    }

    /// Whether the batch under way takes too long: nothing more is begun meanwhile.
    pub(super) fn is_late(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.is_late)
    }

    /// When whoever waits for the batch under way is to be told that it takes too long.
    pub(super) fn late_at(&self) -> Option<Deadline> {
        self.writing.as_ref().filter(|writing| !writing.is_late).map(|writing| writing.answer_by)
    }

    /// Tells those whose records take too long. What is staged behind them was never sent.
    pub(super) fn look_for_late(&mut self, now: Now) {
        for writer in self.in_transactions.late(now) {
            self.tell(&writer, Late { ticket: writer.ticket });
        }
        let Some(writing) = self.writing.as_mut().filter(|writing| writing.answer_by.is_due(now)) else {
            return;
        };
        if mem::replace(&mut writing.is_late, true) {
            return;
        }
        log::warn!(
            partition = self.charge.partition.index, groups = writing.writers.len();
            "what groups have written takes longer than offsets.commit.timeout.ms: they take no more until it is safe"
        );
        let writers: Vec<_> = writing.writers.iter().map(|(writer, _)| writer.clone()).collect();
        for writer in writers {
            self.tell(&writer, Late { ticket: writer.ticket });
        }
        for staged in mem::take(&mut self.staged) {
            self.refuse(staged.writer, now);
        }
        self.refuse_behind(now);
    }

    /// Records that were never sent.
    pub(super) fn refuse(&mut self, writer: Writer, now: Now) {
        self.tell_written(&writer, Err(WriteError::NotAvailable));
        self.read_again_if_ahead(writer, now);
    }

    pub(super) fn tell_written(&self, writer: &Writer, result: Result<Offset, WriteError>) {
        self.tell(writer, Written { ticket: writer.ticket, result });
    }

    fn tell<M>(&self, writer: &Writer, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        GroupActor: Handler<M>,
    {
        if let Some(Seat::Here { addr, generation, .. }) = self.groups.get(&writer.group)
            && *generation == writer.generation
        {
            addr.do_send(message);
        }
    }
}

impl Handler<Flush> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, Flush: Flush, ctx: &mut Context<Self>) {
        self.flushing = false;
        self.flush(ctx);
        self.append_behind(ctx);
    }
}

impl Handler<BatchWritten> for OffsetsActor {
    type Result = ();

    fn handle(&mut self, BatchWritten(result): BatchWritten, ctx: &mut Context<Self>) {
        let (result, now) = (result.map_err(write_error), self.charge.shared.now());
        for (writer, before) in self.writing.take().map(|writing| writing.writers).unwrap_or_default() {
            let first = result.as_ref().map(|appended| appended.base.plus(before));
            self.tell_written(&writer, first.map_err(|error| *error));
            if result.is_err() {
                self.read_again_if_ahead(writer, now);
            }
        }
        self.read_fallen(ctx);
        self.flush_soon(now, ctx);
        self.append_behind(ctx);
    }
}

/// What a group is told of records that are not in the log.
pub(super) fn write_error(error: AppendError) -> WriteError {
    match error {
        AppendError::TimedOut | AppendError::TooManyParked | AppendError::NotEnoughReplicas { .. } => {
            WriteError::NotAvailable
        }
        AppendError::NotJoined(error) => WriteError::Refused(error),
        AppendError::Fenced { .. } => WriteError::Refused(TransactionError::Fenced),
        AppendError::InvalidTransaction(_) => WriteError::TransactionOver,
        AppendError::NotHere
        | AppendError::Storage
        | AppendError::OutOfOrder { .. }
        | AppendError::Invalid(_)
        | AppendError::CoordinatorFenced { .. } => WriteError::NotHere,
    }
}
