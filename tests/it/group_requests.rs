//! Requests of group members that are answered by what they are, whatever the group is about.

use ottla_wire::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ottla_wire::messages::offset_commit::OffsetCommitResponse;
use ottla_wire::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};
use ottla_wire::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use crate::broker::{Broker, data_dir};
use crate::groups::{AT_ONCE, LOADING, alone, commit_request, committed, found, heartbeat, sync_request};

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
    let beat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: member.clone(),
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup { group_id: "g".into(), ..Default::default() };
    let offsets = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let mut has_met_it_loading = false;
    for _ in 0..20 {
        broker.kill();
        broker = Broker::start(&dir, AT_ONCE);
        let mut client = broker.client();
        // Each beside a question that is answered otherwise while there is something to load.
        let asked: Vec<_> = (0..10).map(|_| (client.send(4, &beat), client.send(8, &offsets))).collect();
        for (beat, offsets) in asked {
            assert_eq!(client.receive::<HeartbeatResponse>(4, beat).error_code, 0);
            let answer: OffsetFetchResponse = client.receive(8, offsets);
            has_met_it_loading |= answer.groups[0].error_code == LOADING;
        }
        committed(&mut client);
        assert_eq!(heartbeat(&mut client, &member, 1), 0, "it is a member still");
        if has_met_it_loading {
            return;
        }
    }
    panic!("it is loaded before anybody can ask");
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
