//! Where actors run: threads of their own, or one local task set in a simulation.
//!
//! ```text
//!   control   coordinator, broker, housekeeper, accept loops
//!   shard i   partitions and connections; nothing here blocks for more than half a millisecond
//!   journal   may block on the disk
//! ```

use std::{io, thread};

use actix_rt::{Arbiter, ArbiterHandle};

/// A thread that runs actors and tasks, or the local task set that stands for all of them. Cloning names the same one.
#[derive(Clone, Debug)]
pub struct Shard(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Arbiter(ArbiterHandle),
    Local,
}

/// The threads of one node.
#[derive(Debug)]
pub struct Shards {
    control: Shard,
    shards: Vec<Shard>,
    journal: Shard,
    threads: Vec<Arbiter>,
}

impl Shard {
    /// The local task set of whoever calls its methods.
    #[must_use]
    pub fn local() -> Self {
        Self(Kind::Local)
    }

    /// Runs `make` there, and the task that it returns. What a shard that has ended is given is dropped.
    ///
    /// # Panics
    /// On the local shard, outside of a tokio `LocalSet`.
    pub fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        match &self.0 {
            Kind::Arbiter(arbiter) => {
                arbiter.spawn_fn(move || drop(actix_rt::spawn(make())));
            }
            Kind::Local => drop(actix_rt::spawn(make())),
        }
    }
}

impl Shards {
    /// `count` shards (at least one), control and journal, each a thread with a runtime of the host's making.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be started.
    ///
    /// # Panics
    /// Outside of an actix system.
    pub fn arbiters(count: usize) -> io::Result<Self> {
        let threads = (0..count.max(1) + 2)
            .map(|_| Arbiter::try_with_tokio_rt(ottla_host::runtime))
            .collect::<io::Result<Vec<_>>>()?;
        let mut handles = threads.iter().map(|arbiter| Shard(Kind::Arbiter(arbiter.handle())));
        let (Some(control), Some(journal)) = (handles.next(), handles.next()) else {
            unreachable!("at least three threads were made")
        };
        let shards = handles.collect();
        Ok(Self { control, shards, journal, threads })
    }

    /// Everything on the caller's local task set: for simulations and tests.
    #[must_use]
    pub fn local() -> Self {
        Self {
            control: Shard::local(),
            shards: vec![Shard::local()],
            journal: Shard::local(),
            threads: vec![],
        }
    }

    /// Where those run that there is one of.
    #[must_use]
    pub fn control(&self) -> &Shard {
        &self.control
    }

    /// Where the journal runs.
    #[must_use]
    pub fn journal(&self) -> &Shard {
        &self.journal
    }

    /// The shard of this number, counted around.
    #[must_use]
    pub fn shard(&self, index: usize) -> &Shard {
        &self.shards[index % self.shards.len()]
    }

    /// How many shards there are; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.len()
    }

    /// All shards, in order.
    #[must_use]
    pub fn all(&self) -> &[Shard] {
        &self.shards
    }

    /// Ends the threads and waits for them. What they still ran is dropped. Blocks.
    pub fn join(self) {
        for arbiter in &self.threads {
            arbiter.stop();
        }
        for arbiter in self.threads {
            if arbiter.join().is_err() && !thread::panicking() {
                log::error!("a shard's thread panicked");
            }
        }
    }
}
