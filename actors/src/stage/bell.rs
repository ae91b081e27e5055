//! A remembered wake-up, for those who wait for records.

use std::sync::Arc;

use tokio::sync::Notify;

/// Rung by whoever has news, heard by the one task that waits. A clone is the same bell; rings that nobody has heard
/// yet count as one.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// A bell nobody has rung.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes who waits, or who will wait next.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Done at the next ring, at once when there was one since the last time.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}
