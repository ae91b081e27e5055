//! Offsets that are part of transactions which have not ended: nobody sees them, and they count once their transaction is
//! committed.

use std::collections::BTreeMap;

use crate::{
    cluster::Image,
    group::offsets::Offsets,
    ids::{Offset, ProducerId},
    records::OffsetValue,
};

/// The offsets of one group that wait for the end of a transaction, by producer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    by_producer: BTreeMap<ProducerId, Offsets>,
}

impl Pending {
    /// An offset whose record stands at `at` waits for the end of its producer's transaction.
    pub(super) fn put(
        &mut self,
        producer: ProducerId,
        topic: &str,
        partition: i32,
        value: OffsetValue,
        at: Offset,
    ) {
        self.by_producer.entry(producer).or_default().put(topic, partition, value, at);
    }

    /// The producer's transaction has ended: what waited for that.
    pub(super) fn end(&mut self, producer: ProducerId) -> Option<Offsets> {
        self.by_producer.remove(&producer)
    }

    /// Forgets what waits for one partition, in every transaction.
    pub(super) fn remove(&mut self, topic: &str, partition: i32) {
        self.by_producer.retain(|_, offsets| {
            offsets.remove(topic, partition);
            !offsets.is_empty()
        });
    }

    /// Every partition that something waits for; more than once when several transactions have an offset of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i32)> {
        self.by_producer.values().flat_map(Offsets::iter)
    }

    /// Those of topics that the image does not know.
    pub(super) fn of_unknown_topics(&self, image: &Image) -> Vec<(String, i32)> {
        self.by_producer.values().flat_map(|offsets| offsets.of_unknown_topics(image)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_producer.is_empty()
    }
}
