//! Whether a shard that has nothing to do looks at its sockets some more times before it sleeps.
//!
//! ```text
//!   rests(who)   one connection has the shard to itself and was answered at once: it earns a look; with LOOKS_MAX a vigil begins
//!     looked     nothing came: a look is spent; after LOOKS_MAX in a row, or when none is left, the vigil is over
//!                something came: as many looks are earned as a sleep would have cost, and the vigil goes on
//! ```
//!
//! A client that waits for all that it has under way comes again some tens of microseconds after its answers. Who sleeps meanwhile is
//! woken by it, and wakes it in turn: on cores that have nothing else to do that takes longer, on both sides, than the requests.
//! Where there are several clients the requests of one come while another's are worked on, and a moment's sleep gathers more of them.

/// Looks for nothing before the shard sleeps: some tens of microseconds, about as long as a client that sleeps takes to run.
const LOOKS_MAX: u32 = 64;

/// What finding something earns: to sleep and to be woken costs about as much CPU as so many looks. So a client that comes again at
/// once is waited for, and one that takes longer is not, however surely it comes.
const FOUND_EARNS: u32 = 16;

/// No more looks are kept than these: a client that comes again at once may be late so often in a row.
const EARNED_MAX: u32 = 16 * LOOKS_MAX;

/// One shard's vigils. Whatever comes, there is no more than one look a rest, and some for each that found something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vigils {
    /// The connection that rested last.
    who: u64,
    /// The looks that it has earned since it has the shard to itself, and not spent.
    earned: u32,
    /// The looks for nothing in the vigil that is kept, since something came.
    in_vain: Option<u32>,
}

impl Vigils {
    /// The connection `who` has nothing more to do for the time being; `at_once` when everything it asked for was answered, and the
    /// shard did not sleep meanwhile. Whether a vigil begins now.
    pub fn rests(&mut self, who: u64, at_once: bool) -> bool {
        if !at_once || who != self.who {
            *self = Vigils { who, ..Vigils::default() };
        }
        self.earn(u32::from(at_once));
        let begins = self.in_vain.is_none() && self.earned >= LOOKS_MAX;
        if begins {
            self.in_vain = Some(0);
        }
        begins
    }

    /// The shard has looked at its sockets, and something came or nothing. Whether the vigil goes on.
    pub fn looked(&mut self, came: bool) -> bool {
        let Some(in_vain) = self.in_vain else { return false };
        let in_vain = if came {
            self.earn(FOUND_EARNS);
            0
        } else {
            self.earned = self.earned.saturating_sub(1);
            in_vain + 1
        };
        let goes_on = self.earned > 0 && in_vain < LOOKS_MAX;
        self.in_vain = goes_on.then_some(in_vain);
        goes_on
    }

    fn earn(&mut self, looks: u32) {
        self.earned = (self.earned + looks).min(EARNED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alice has had the shard to herself for a while, and a vigil has just begun.
    const ALICE: u64 = 1;
    const BOB: u64 = 2;

    fn alone() -> Vigils {
        let mut vigils = Vigils::default();
        while !vigils.rests(ALICE, true) {}
        vigils
    }

    /// Alice rests so often, and comes again after so many looks: how many looks there were in all, and how often one found her.
    fn kept(vigils: &mut Vigils, rests: u32, comes_after: impl Fn(u32) -> u32) -> (u32, u32) {
        let (mut looks, mut found) = (0, 0);
        for rest in 0..rests {
            vigils.rests(ALICE, true);
            // What is still kept goes on with this rest.
            for look in 1..=LOOKS_MAX {
                if vigils.in_vain.is_none() {
                    break;
                }
                looks += 1;
                let came = look == comes_after(rest);
                vigils.looked(came);
                if came {
                    found += 1;
                    break;
                }
            }
        }
        (looks, found)
    }

    #[test]
    fn as_long_as_something_comes_the_vigil_goes_on() {
        let mut vigils = alone();
        for look in 1..10_000 {
            assert!(vigils.looked(look % FOUND_EARNS == 0), "look {look}");
        }
    }

    #[test]
    fn after_looks_for_nothing_the_shard_sleeps() {
        let mut vigils = alone();
        for _ in 1..LOOKS_MAX {
            assert!(vigils.looked(false));
        }
        assert!(!vigils.looked(false));
        assert!(!vigils.rests(ALICE, true), "and what was earned is spent");
    }

    #[test]
    fn who_came_at_once_for_long_may_be_late_some_times_in_a_row() {
        let mut vigils = alone();
        for _ in 0..1_000 {
            vigils.looked(true);
        }
        for late in 0..15 {
            while vigils.looked(false) {}
            assert!(vigils.rests(ALICE, true), "the next rest has a vigil, late {late} times");
        }
    }

    #[test]
    fn somebody_else_ends_it() {
        let mut vigils = alone();
        assert!(!vigils.rests(BOB, true));
        assert!(!vigils.looked(true));
    }

    #[test]
    fn who_waits_for_a_sync_ends_it_and_begins_none() {
        let mut vigils = alone();
        for _ in 0..10_000 {
            assert!(!vigils.rests(ALICE, false));
            assert!(!vigils.looked(true));
        }
    }

    #[test]
    fn where_clients_take_turns_there_is_none() {
        let mut vigils = Vigils::default();
        for rest in 0..10_000 {
            assert!(!vigils.rests(rest % 2, true));
        }
    }

    #[test]
    fn who_never_comes_again_soon_costs_a_look_a_rest() {
        let (looks, found) = kept(&mut Vigils::default(), 10_000, |_| u32::MAX);
        assert!(looks <= 10_000, "{looks}");
        assert_eq!(found, 0);
    }

    #[test]
    fn who_surely_comes_but_late_costs_hardly_more() {
        let (looks, _) = kept(&mut alone(), 10_000, |_| 50);
        assert!(looks <= 20_000, "{looks}");
    }

    #[test]
    fn who_comes_at_once_but_for_now_and_then_is_nearly_always_found_awake() {
        let (_, found) = kept(&mut alone(), 10_000, |rest| if rest % 10 == 9 { u32::MAX } else { 3 });
        assert_eq!(found, 9_000);
    }

    #[test]
    fn who_comes_at_once_again_is_soon_waited_for_again() {
        let mut vigils = alone();
        kept(&mut vigils, 10_000, |_| u32::MAX);
        kept(&mut vigils, LOOKS_MAX, |_| 3);
        assert_eq!(kept(&mut vigils, 1_000, |_| 3), (3_000, 1_000));
    }
}
