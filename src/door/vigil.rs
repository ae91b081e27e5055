//! A shard that stays awake for a moment: it looks at its sockets some more times before it sleeps, where that is worth it.
//!
//! The vigil is a task of its own, one a shard and only while it lasts. It yields, so that it has its turn after each look of the
//! shard and behind everybody whom that look found something for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ottla_rules::vigil::Vigils;

use super::tally::Counter;

/// The vigils of one shard. Only the shard itself comes here: nobody waits for the lock.
#[derive(Debug, Default)]
pub(super) struct Vigil(Mutex<Vigils>);

impl Vigil {
    fn rule(&self) -> MutexGuard<'_, Vigils> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection of this shard rests, the only one of this number: see [`Vigils::rests`].
pub(super) fn rests(shard: &Counter, who: u64, at_once: bool) {
    if shard.vigil.rule().rests(who, at_once) {
        drop(actix_rt::spawn(keep(shard.clone())));
    }
}

async fn keep(shard: Counter) {
    let mut seen = shard.bytes_in();
    loop {
        tokio::task::yield_now().await;
        let came = shard.bytes_in();
        if !shard.vigil.rule().looked(came != seen) {
            return;
        }
        seen = came;
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, yield_now};

    use super::super::tally::Tally;
    use super::*;

    const RESTS: usize = 100;

    #[test]
    fn a_shard_keeps_its_vigil_without_a_sleep_and_then_it_is_over() {
        let shard = Counter { tallies: [Tally::default()].into(), shard: 0 };
        let mut over = Vigils::default();
        assert_eq!((0..RESTS).filter(|_| over.rests(1, true)).count(), 1);
        while over.looked(false) {}
        LocalSet::new().block_on(&ottla_host::runtime().unwrap(), async {
            let slept = ottla_host::sleeps();
            (0..RESTS).for_each(|_| rests(&shard, 1, true));
            for _ in 0..RESTS {
                yield_now().await;
            }
            assert_eq!(*shard.vigil.rule(), over);
            assert_eq!(ottla_host::sleeps(), slept);
        });
    }
}
