//! Groups whose actors fell, or that are ahead of the log: what they knew is read again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::Context;
use ottla_rules::{
    supervision::{Exit, Verdict},
    time::Now,
};

use super::{OffsetsActor, Seat, Writer, Writing};
use crate::group::Leave;

/// How long to wait before a group is read again whose records could not be written.
const READ_AGAIN_MS: u64 = 100;

/// A group that is to be read again.
pub(super) struct Fallen {
    pub(super) group: Arc<str>,
    pub(super) generation: u64,
    pub(super) not_before_ms: u64,
}

impl OffsetsActor {
    /// Members of the consumer protocol move before their records are safe, and what others are told follows from it. When the
    /// records are not safe after all, such a group is what the log says. It is read by [`OffsetsActor::read_fallen`], with all others.
    pub(super) fn read_again_if_ahead(&mut self, writer: Writer, now: Now) {
        let Writer { group, generation: of, is_ahead, .. } = writer;
        let Some(Seat::Here { addr, generation, .. }) = self.groups.get(&group) else { return };
        if *generation != of || !is_ahead {
            return;
        }
        addr.do_send(Leave);
        self.names.remove(&of);
        self.staged.retain(|staged| staged.writer.generation != of);
        let not_before_ms = now.after(READ_AGAIN_MS).0;
        self.read_again(Fallen { group, generation: of, not_before_ms });
    }

    fn read_again(&mut self, fallen: Fallen) {
        self.groups.insert(fallen.group.clone(), Seat::Reading { ended: Vec::new() });
        self.fallen.push(fallen);
    }

    /// Reads groups again once what they wrote last has arrived: only then is the log all that they said. Those that may be read at the
    /// same time are read at once, for the log may be long.
    pub(super) fn read_fallen(&mut self, ctx: &Context<Self>) {
        // They would only wait beside each other for what the disk does not take.
        if self.is_late() {
            return;
        }
        let writing = self.writing.iter().flat_map(Writing::generations);
        let under_way: BTreeSet<_> = writing.chain(self.in_transactions.under_way()).collect();
        let ready: Vec<_> =
            self.fallen.extract_if(.., |fallen| !under_way.contains(&fallen.generation)).collect();
        let mut together: BTreeMap<u64, BTreeSet<Arc<str>>> = BTreeMap::new();
        for Fallen { group, not_before_ms, .. } in ready {
            together.entry(not_before_ms).or_default().insert(group);
        }
        for (not_before_ms, groups) in together {
            self.read_log(Some(groups), not_before_ms, ctx);
        }
    }

    pub(super) fn group_down(&mut self, group: Arc<str>, generation: u64, exit: &Exit, ctx: &Context<Self>) {
        match self.groups.get(&group) {
            Some(Seat::Here { generation: current, .. }) if *current == generation => (),
            // It was replaced, or told to leave.
            _ => return,
        }
        let now = self.charge.shared.now();
        self.staged.retain(|staged| staged.writer.generation != generation);
        let not_before_ms = match self.supervision.down(&group, exit, now) {
            Verdict::Nothing => return drop(self.groups.remove(&group)),
            Verdict::RestartNow => now.mono_ms,
            Verdict::RestartAt(deadline) => deadline.0,
            Verdict::GiveUp => {
                self.charge.shared.falls.gave_up();
                log::error!(group:% = group; "the group's actor dies again and again: it stays offline until the node is restarted");
                self.groups.insert(group, Seat::Offline);
                return;
            }
        };
        self.read_again(Fallen { group, generation, not_before_ms });
        self.read_fallen(ctx);
    }
}
