//! Reading a coordinator's log: it goes on as long as somebody waits for it.

use ottla_rules::{
    batch::{Header, marker::Marker, records::Record},
    ids::ProducerId,
};

use super::*;
use crate::replay::{Source, Take};

struct Nothing;

impl Take for Nothing {
    fn take(&mut self, _: &Record<'_>, _: &Header) {}

    fn take_marker(&mut self, _: ProducerId, _: Marker) {}
}

#[test]
fn a_partition_that_is_gone_is_not_read_for_ever() {
    tell(async |shared, _| {
        let source = Source { shared, partition: ID, image_version: 0 };
        let replay = source.replay(|| Nothing, || true);
        assert!(tokio::time::timeout(Duration::from_secs(60), replay).await.unwrap().is_none());
    });
}

#[test]
fn who_is_not_waited_for_any_more_reads_no_further() {
    tell(async |shared, _| {
        shared.directory.publish(Arc::new(image(&shared, 1)));
        // The partition is there, and nobody has it.
        let replay = async |is_awaited: bool| {
            let source = Source { shared: shared.clone(), partition: ID, image_version: 0 };
            let replay = source.replay(|| Nothing, || is_awaited);
            tokio::time::timeout(Duration::from_secs(60), replay).await
        };
        assert!(replay(true).await.is_err(), "it may come back");
        assert!(replay(false).await.unwrap().is_none());
    });
}
