//! A remembered wake-up, for those who wait for records.

use std::sync::{Arc, Weak};

use ottla_rules::partition::Heard;
use tokio::sync::Notify;

/// Heard by the one task that waits. Rings that nobody has heard yet count as one.
#[derive(Debug, Default)]
pub struct Bell(Arc<Notify>);

/// What the waiting task leaves with whoever may have news. Pulled when the bell is gone it does nothing.
#[derive(Clone, Debug)]
pub struct Pull(Weak<Notify>);

impl Bell {
    /// A bell nobody has rung.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A rope to it.
    #[must_use]
    pub fn pull(&self) -> Pull {
        Pull(Arc::downgrade(&self.0))
    }

    /// Done at the next ring, at once when there was one since the last time. Cancel safe: a ring that was not heard is kept.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

impl Pull {
    /// Wakes who waits, or who will wait next.
    pub fn ring(&self) {
        if let Some(bell) = self.0.upgrade() {
            bell.notify_one();
        }
    }
}

impl Heard for Pull {
    fn is_heard(&self) -> bool {
        self.0.strong_count() > 0
    }
}
