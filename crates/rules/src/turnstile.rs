//! Who of those that move much on a shard waits until it has looked at its sockets, and who goes on then.
//!
//! ```text
//!   spend      what a turn cost; when that is much, all together, the shard is to look
//!     waits    whoever has no light turns, once the budget is spent; beside somebody who asks for little also where others wait
//!   looked     a new budget: light ones go on, and of the others, in their order, as many as it is enough for, or one
//! ```
//!
//! Whoever asks for little waits for what is done between two looks, when its request is read, and again when it is written and answered.
//! A hundred connections that move a quarter of a MiB each, because one sync answered all of them, are some hundred milliseconds;
//! so the budget is for all of a shard together, and who has had little passes by those who wait for theirs.

use std::collections::VecDeque;

/// A turn of more than this is not light: one small request is.
const LIGHT: u64 = 2 * REQUEST;

/// Nor one of more than this of a client that asks one by one: a request with a batch that is small for the journal is.
const LIGHT_ONE_BY_ONE: u64 = 6 * REQUEST;

/// What is spent between two looks beside somebody who asks one by one for little, and what one turn may cost.
const BUDGET_BESIDE_ONE: u64 = 256 * 1024;

/// And where nobody is known to mind: looks cost something as well.
const BUDGET: u64 = 8 * BUDGET_BESIDE_ONE;

/// What a request costs, as if it were so many bytes.
const REQUEST: u64 = 4 * 1024;

/// What so many requests and bytes cost, in bytes.
#[must_use]
pub fn cost(requests: usize, bytes: usize) -> u64 {
    requests as u64 * REQUEST + bytes as u64
}

/// Whether a turn that cost so much is a light one.
#[must_use]
pub fn is_light(cost: u64, is_one_by_one: bool) -> bool {
    cost <= if is_one_by_one { LIGHT_ONE_BY_ONE } else { LIGHT }
}

/// What the next turn of a task is likely to cost, after one that cost so much: to be answered costs less than to be read.
#[must_use]
pub fn expected(before: u64, cost: u64) -> u64 {
    cost.max(before / 2)
}

/// The turns of one shard; `T` stands for whoever waits.
#[derive(Debug)]
pub struct Turnstile<T> {
    light: Vec<T>,
    others: VecDeque<(u64, T)>,
    spent: u64,
}

impl<T> Default for Turnstile<T> {
    fn default() -> Self {
        Self { light: Vec::new(), others: VecDeque::new(), spent: 0 }
    }
}

fn budget(is_beside_one: bool) -> u64 {
    if is_beside_one { BUDGET_BESIDE_ONE } else { BUDGET }
}

impl<T> Turnstile<T> {
    /// A turn has cost so much: whether the shard is to look before long.
    #[must_use]
    pub fn spend(&mut self, cost: u64) -> bool {
        self.spent = self.spent.saturating_add(cost);
        self.spent >= BUDGET_BESIDE_ONE
    }

    /// Whether somebody whose turns are not light waits before it has another. `is_beside_one` says whether somebody asks one by one for
    /// little on this shard, and is asked only where it matters.
    #[must_use]
    pub fn waits(&self, is_beside_one: impl FnOnce() -> bool) -> bool {
        let may_be_in_the_way = self.spent >= BUDGET_BESIDE_ONE || !self.others.is_empty();
        may_be_in_the_way && (self.spent >= BUDGET || is_beside_one())
    }

    /// Somebody waits whose next turn is likely to cost so much, and is light or not.
    pub fn come(&mut self, cost: u64, is_light: bool, one: T) {
        if is_light {
            self.light.push(one);
        } else {
            self.others.push_back((cost, one));
        }
    }

    /// The shard has looked: who goes on now, in this order; and whether that was for anything.
    pub fn looked(&mut self, is_beside_one: bool, mut go_on: impl FnMut(T)) -> bool {
        let had_spent = std::mem::take(&mut self.spent) > 0;
        let mut left = budget(is_beside_one);
        let mut anybody = !self.light.is_empty();
        self.light.drain(..).for_each(&mut go_on);
        while left > 0
            && let Some((cost, one)) = self.others.pop_front()
        {
            left = left.saturating_sub(cost);
            anybody = true;
            go_on(one);
        }
        anybody || had_spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: u64 = BUDGET_BESIDE_ONE;

    fn go_on(shard: &mut Turnstile<u32>, is_beside_one: bool) -> Vec<u32> {
        let mut through = Vec::new();
        let is_any = shard.looked(is_beside_one, |one| through.push(one));
        assert_eq!(is_any, !through.is_empty());
        through
    }

    #[test]
    fn nobody_waits_where_little_was_spent() {
        let mut shard = Turnstile::<u32>::default();
        assert!(!shard.spend(BUDGET_BESIDE_ONE - 1));
        assert!(!shard.waits(|| unreachable!("nobody asks")));
        assert!(shard.spend(1));
    }

    #[test]
    fn once_the_budget_is_spent_there_is_a_wait() {
        let mut shard = Turnstile::<u32>::default();
        assert!(shard.spend(BUDGET_BESIDE_ONE));
        assert!(shard.waits(|| true));
        assert!(!shard.waits(|| false), "nobody is there who minds");
        assert!(shard.spend(BUDGET));
        assert!(shard.waits(|| false));
    }

    #[test]
    fn a_look_is_a_new_budget() {
        let mut shard = Turnstile::<u32>::default();
        assert!(shard.spend(BUDGET));
        assert!(shard.looked(true, |_| unreachable!("nobody waits")), "something was spent");
        assert!(!shard.waits(|| true));
        assert!(!shard.looked(true, |_| unreachable!("nobody waits")), "nothing was");
    }

    #[test]
    fn beside_somebody_whole_turns_are_one_at_a_time_and_small_ones_several() {
        let mut shard = Turnstile::default();
        (0..3).for_each(|who| shard.come(WHOLE, false, who));
        (3..15).for_each(|who| shard.come(WHOLE / 4, false, who));
        assert_eq!(go_on(&mut shard, true), [0]);
        assert_eq!(go_on(&mut shard, true), [1]);
        assert_eq!(go_on(&mut shard, true), [2]);
        assert_eq!(go_on(&mut shard, true), [3, 4, 5, 6]);
        assert_eq!(go_on(&mut shard, false), (7..15).collect::<Vec<_>>());
        assert_eq!(go_on(&mut shard, true), []);
    }

    #[test]
    fn one_goes_on_whatever_it_costs_and_light_ones_all_before_it() {
        let mut shard = Turnstile::default();
        shard.come(u64::MAX, false, 0);
        shard.come(WHOLE, false, 1);
        (2..100).for_each(|who| shard.come(LIGHT, true, who));
        assert_eq!(go_on(&mut shard, true), (2..100).chain([0]).collect::<Vec<_>>());
        assert_eq!(go_on(&mut shard, true), [1]);
    }

    #[test]
    fn beside_somebody_nobody_overtakes_those_who_wait() {
        let mut shard = Turnstile::default();
        shard.come(WHOLE, false, 0);
        assert!(shard.waits(|| true));
        assert!(!shard.waits(|| false), "nobody is there who minds");
    }

    #[test]
    fn who_moves_much_is_not_light_because_it_was_answered_in_between() {
        let read = expected(0, WHOLE);
        let answered = expected(read, 100);
        assert!(!is_light(answered, false));
        let light = (0..10).fold(answered, |before, _| expected(before, 100));
        assert!(is_light(light, false), "but some such turns later it is");
    }

    #[test]
    fn many_requests_cost_as_much_as_many_bytes() {
        assert!(is_light(cost(1, 4 * 1024), false), "one that asks for little");
        assert!(!is_light(cost(1, 16 * 1024), false) && is_light(cost(1, 16 * 1024), true));
        assert!(!is_light(cost(3, 0), false));
        assert_eq!(cost(64, 0), WHOLE);
        assert_eq!(cost(0, 256 * 1024), WHOLE);
    }
}
