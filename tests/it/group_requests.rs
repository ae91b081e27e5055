//! Requests of group members that are answered by what they are, whatever the group is about.

use ottla_wire::messages::offset_commit::OffsetCommitResponse;
use ottla_wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use crate::broker::{Broker, data_dir};
use crate::groups::{AT_ONCE, alone, commit_request, committed, found, heartbeat, sync_request};

const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;

/// Clients end their sessions over anything else, and every restart of the broker would make them rebalance.
#[test]
fn a_heartbeat_to_a_coordinator_that_still_loads_is_no_reason_to_rebalance() {
    let (_around, dir) = data_dir();
    let mut broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    client.create("t", 1, &[]);
    let member = alone(&mut client);
    // Something to load, some megabytes of it.
    let commit = |offset| {
        let mut request = commit_request(&member, 1, offset);
        request.topics[0].partitions[0].committed_metadata = Some("note".repeat(1_000));
        client.send(8, &request)
    };
    let sent: Vec<_> = (0..3_000).map(commit).collect();
    for id in sent {
        let answer: OffsetCommitResponse = client.receive(8, id);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
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

#[test]
fn who_does_not_say_of_which_protocol_its_assignment_is_hears_of_that_first() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, AT_ONCE);
    let mut client = found(&broker);
    let member = alone(&mut client);
    let sync = sync_request(&member, 1, &[]);
    let mut check = |version, request: &SyncGroupRequest, code| {
        assert_eq!(client.ask::<_, SyncGroupResponse>(version, request).error_code, code, "{request:?}");
    };
    check(5, &sync, 0);
    let untyped = SyncGroupRequest { protocol_type: None, ..sync.clone() };
    let unnamed = SyncGroupRequest { protocol_name: None, ..sync.clone() };
    check(5, &untyped, INCONSISTENT_GROUP_PROTOCOL);
    check(5, &unnamed, INCONSISTENT_GROUP_PROTOCOL);
    // Versions before do not have them.
    check(4, &unnamed, 0);
    // Before anything is said about the group.
    let nameless = SyncGroupRequest { group_id: String::new(), ..untyped };
    check(5, &nameless, INCONSISTENT_GROUP_PROTOCOL);
    check(4, &nameless, INVALID_GROUP_ID);
}
