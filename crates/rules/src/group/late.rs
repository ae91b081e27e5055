//! Records that take long: nobody waits for ever, and yet what becomes of them counts.
//!
//! ```text
//!   parked --late--> whoever waits is told to come again --written--> what the log says counts, and nobody is answered
//! ```
//!
//! The end of somebody's patience is no outcome: the records are in the log, or on their way there, and a group that took them for
//! lost would know something else than its next coordinator.

use super::{Effect, Group, GroupError, Parked, classic};
use crate::time::Now;

impl<R> Group<R> {
    /// The records of a ticket take longer than anybody is to wait: whoever waits for them is told to come again. What has become of
    /// them is still to be reported to [`Group::written`].
    pub fn late(&mut self, ticket: u64, now: Now, out: &mut Vec<Effect<R>>) {
        let Some((_, parked)) = self.parked.iter_mut().find(|(parked, _)| *parked == ticket) else { return };
        let mut waiting = parked.take_waiting();
        let assigned = match parked {
            Parked::Classic(classic::Parked::Assigned { generation }) => Some(*generation),
            _ => None,
        };
        self.late.push(ticket);
        waiting.extend(self.behind.extract_if(.., |(after, ..)| *after == ticket).map(|(_, to, _)| to));
        out.extend(waiting.into_iter().map(|to| Effect::Answer { to, with: Err(GroupError::NotAvailable) }));
        if let Some(generation) = assigned {
            self.in_classic(now, out, |classic, desk| classic.assigned_late(generation, desk));
        }
    }
}

impl<R> Parked<R> {
    /// Takes whoever waits for it: it goes on without them.
    fn take_waiting(&mut self) -> Vec<R> {
        match self {
            Self::Commit { to, .. }
            | Self::DeleteOffsets { to, .. }
            | Self::Delete { to, .. }
            | Self::Said { to, .. } => to.take().into_iter().collect(),
            Self::Expire { .. } | Self::Quiet | Self::Noted => Vec::new(),
            Self::Classic(parked) => parked.take_waiting(),
        }
    }
}
