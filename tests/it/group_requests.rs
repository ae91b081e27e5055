//! Requests of group members that are answered by what they are, whatever the group is about.

use ottla_wire::messages::offset_commit::OffsetCommitResponse;

use crate::broker::{Broker, data_dir};
use crate::groups::{AT_ONCE, alone, commit_request, committed, found, heartbeat};

/// Clients end their sessions over anything else, and every restart of the broker would make them rebalance.
#[test]
fn a_heartbeat_to_a_coordinator_that_still_loads_is_no_reason_to_rebalance() {
    let (_around, dir) = data_dir();
    let mut broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let member = alone(&mut client);
    // Something to load.
    let sent: Vec<_> = (0..500).map(|offset| client.send(8, &commit_request(&member, 1, offset))).collect();
    for id in sent {
        client.receive::<OffsetCommitResponse>(8, id);
    }
    for _ in 0..3 {
        broker.kill();
        broker = Broker::start(&dir, AT_ONCE);
        let mut client = broker.client();
        for _ in 0..20 {
            assert_eq!(heartbeat(&mut client, &member, 1), 0);
        }
        committed(&mut client);
        assert_eq!(heartbeat(&mut client, &member, 1), 0, "it is a member still");
    }
}
