//! What the disk lacks for a while comes and goes.

use ottla_host::Fault;

use crate::plan::{Shortage, Want};
use crate::scene::Scene;

/// How long the node may take to notice that nothing is short any more: a partition that could not be opened is tried again every
/// second.
const GRACE_MS: u64 = 2_000;
/// How long an answer is on its way that is sent before a node is killed.
const ANSWER_MS: u64 = 50;

impl Scene {
    /// Begins and ends what is to begin and end so many milliseconds after the start of a life.
    pub(crate) fn run_short(&self, wants: &[Want], passed_ms: u64) {
        for Want { from_ms, ms, shortage } in wants {
            if passed_ms == *from_ms {
                self.note(format_args!("{shortage:?}"));
                self.begin_shortage(shortage);
                self.short_until_ms.set(self.short_until_ms.get().max(self.now_ms() + ms + GRACE_MS));
            } else if passed_ms == from_ms + ms {
                self.note(format_args!("over: {shortage:?}"));
                self.end_shortage(shortage);
            }
        }
    }

    fn begin_shortage(&self, shortage: &Shortage) {
        let disk = self.world.disk();
        match shortage {
            Shortage::Space { below, bytes } => disk.break_below(below, Fault::NoSpaceAfter(*bytes)),
            Shortage::Facts => self.facts.set_full(true),
            Shortage::Names(left) => disk.break_below("/data", Fault::FailNamesAfter(*left)),
            Shortage::Files(times) => disk.break_below("/data", Fault::NoFiles(*times)),
        }
    }

    fn end_shortage(&self, shortage: &Shortage) {
        let disk = self.world.disk();
        match shortage {
            Shortage::Space { .. } => disk.heal_of(Fault::NoSpaceAfter(0)),
            Shortage::Facts => self.facts.set_full(false),
            Shortage::Names(_) => disk.heal_of(Fault::FailNamesAfter(0)),
            Shortage::Files(_) => disk.heal_of(Fault::NoFiles(0)),
        }
    }

    /// A life begins, and nothing is short.
    pub(crate) fn heal(&self) {
        self.world.disk().heal();
        self.facts.set_full(false);
        // Answers of the life before are still under way.
        self.short_until_ms.set(self.short_until_ms.get().min(self.now_ms() + ANSWER_MS));
    }
}
