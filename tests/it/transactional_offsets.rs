//! Offsets inside transactions: the half of exactly once that is about what was read.

use std::time::Instant;

use ottla_wire::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use ottla_wire::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ottla_wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use ottla_wire::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
};
use ottla_wire::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use ottla_wire::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use crate::broker::{Broker, PATIENCE, data_dir};
use crate::client::Client;
use crate::transactions::{
    COORDINATOR_LOAD_IN_PROGRESS, INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE,
    PRODUCER_FENCED, TRANSACTION_ABORTABLE, UNKNOWN_TOPIC_OR_PARTITION, Writer, see, until_done,
};

const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const UNSTABLE_OFFSET_COMMIT: i16 = 88;

/// The version in which offsets join a transaction by being committed, and the one before.
const V2: i16 = 5;
const V1: i16 = 4;

/// A commit of one offset of `t-0` by nobody of the group.
fn offset(writer: &Writer, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: offset,
        committed_leader_epoch: 7,
        committed_metadata: Some("note".into()),
    };
    TxnOffsetCommitRequest {
        transactional_id: writer.id.into(),
        group_id: "g".into(),
        producer_id: writer.producer,
        producer_epoch: writer.epoch,
        generation_id: -1,
        topics: vec![TxnOffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition] }],
        ..Default::default()
    }
}

fn try_commit(client: &mut Client, version: i16, request: &TxnOffsetCommitRequest) -> i16 {
    let code = |answer: &TxnOffsetCommitResponse| answer.topics[0].partitions[0].error_code;
    code(&until_done(|| client.ask(version, request), code))
}

impl Writer {
    fn commit(&mut self, version: i16, committed: i64) {
        let request = offset(self, committed);
        assert_eq!(try_commit(&mut self.client, version, &request), 0);
    }

    fn add_offsets(&mut self) -> i16 {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.id.into(),
            producer_id: self.producer,
            producer_epoch: self.epoch,
            group_id: "g".into(),
        };
        let code = |answer: &AddOffsetsToTxnResponse| answer.error_code;
        code(&until_done(|| self.client.ask(3, &request), code))
    }
}

/// What is said about `t-0`: the error, and the offset.
fn fetched(client: &mut Client, require_stable: bool) -> (i16, i64) {
    let topic =
        OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let group =
        OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
    let answer: OffsetFetchResponse =
        until_done(|| client.ask(8, &request), |answer: &OffsetFetchResponse| answer.groups[0].error_code);
    assert_eq!(answer.groups[0].error_code, 0);
    let it = &answer.groups[0].topics[0].partitions[0];
    assert!(it.committed_offset < 0 || it.committed_leader_epoch == 7, "it comes back as it was committed");
    (it.error_code, it.committed_offset)
}

/// Waits until whoever wants a stable offset gets this one.
fn settled(client: &mut Client, offset: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = fetched(client, true);
        if got == (0, offset) {
            return;
        }
        assert_eq!(got, (UNSTABLE_OFFSET_COMMIT, -1), "instead of {offset}");
        assert!(Instant::now() < deadline, "unstable for ever");
    }
}

/// A broker with the topic `t` and the coordinator of a group.
fn broker(dir: &std::path::Path) -> (Broker, Client) {
    let broker = Broker::start(dir, &["offsets.topic.num.partitions=3"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    (broker, client)
}

/// Asks for the group's coordinator, which is what has its topic made.
fn find_group(client: &mut Client) {
    use ottla_wire::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    let answer: FindCoordinatorResponse = client.ask(4, &request);
    assert_eq!(answer.coordinators[0].error_code, 0);
}

#[test]
fn offsets_count_when_their_transaction_is_committed() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut writer = Writer::begin(&broker, "etl");

    writer.write("t", 0, "out");
    writer.commit(V2, 5);
    assert_eq!(fetched(&mut client, true), (UNSTABLE_OFFSET_COMMIT, -1));
    assert_eq!(fetched(&mut client, false), (0, -1), "nothing is decided yet");
    writer.end(true);
    settled(&mut client, 5);
    see(&mut client, "t", 0, &["out"]);

    writer.commit(V2, 9);
    writer.end(false);
    settled(&mut client, 5);

    writer.commit(V2, 6);
    writer.commit(V2, 7);
    writer.end(true);
    settled(&mut client, 7);
}

#[test]
fn before_version_2_the_groups_offsets_are_added_first() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    let mut writer = Writer::begin(&broker, "etl");

    assert_eq!(writer.add_offsets(), 0, "and has the topic of the groups made");
    for version in 0..=4 {
        writer.commit(version, 5 + i64::from(version));
    }
    assert_eq!(writer.try_end(4, true).error_code, 0);
    settled(&mut client, 9);

    let request = offset(&writer, 11);
    assert_eq!(try_commit(&mut client, V1, &request), TRANSACTION_ABORTABLE, "every transaction anew");
    assert_eq!(try_commit(&mut client, 3, &request), INVALID_TXN_STATE, "as older clients know it");
    assert_eq!(writer.add_offsets(), 0);
    writer.commit(V1, 12);
    assert_eq!(writer.try_end(4, false).error_code, 0);
    settled(&mut client, 9);
}

#[test]
fn a_zombie_commits_nothing() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut zombie = Writer::begin(&broker, "etl");
    zombie.commit(V2, 5);
    let mut heir = Writer::begin(&broker, "etl");
    settled(&mut client, -1);

    let request = offset(&zombie, 6);
    for version in [0, V1, V2] {
        assert_eq!(try_commit(&mut client, version, &request), INVALID_PRODUCER_EPOCH);
    }
    assert_eq!(zombie.add_offsets(), PRODUCER_FENCED);
    heir.commit(V2, 7);
    heir.end(true);
    settled(&mut client, 7);
}

#[test]
fn what_cannot_be_committed_is_said() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut writer = Writer::begin(&broker, "etl");
    let good = offset(&writer, 5);
    let mut code = |request: TxnOffsetCommitRequest| try_commit(&mut client, V2, &request);

    let member = |id: &str, generation_id| TxnOffsetCommitRequest {
        member_id: id.into(),
        generation_id,
        ..good.clone()
    };
    assert_eq!(code(member("stranger", 3)), ILLEGAL_GENERATION, "of a group that is not there");
    assert_eq!(code(TxnOffsetCommitRequest { group_id: String::new(), ..good.clone() }), INVALID_GROUP_ID);
    assert_eq!(
        code(TxnOffsetCommitRequest { producer_id: 77_777, ..good.clone() }),
        INVALID_PRODUCER_ID_MAPPING
    );
    let mut elsewhere = good.clone();
    elsewhere.topics[0].name = "nowhere".into();
    assert_eq!(code(elsewhere), UNKNOWN_TOPIC_OR_PARTITION);
    let mut wordy = good.clone();
    wordy.topics[0].partitions[0].committed_metadata = Some("x".repeat(5_000));
    assert_eq!(code(wordy), OFFSET_METADATA_TOO_LARGE);
    let mut both = good.clone();
    let other =
        TxnOffsetCommitRequestPartition { partition_index: 9, ..both.topics[0].partitions[0].clone() };
    both.topics[0].partitions.push(other);
    let answer: TxnOffsetCommitResponse = client.ask(V2, &both);
    let codes: Vec<_> = answer.topics[0].partitions.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [0, UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(try_commit(&mut client, V2, &member("stranger", -1)), 0, "a group without members takes all");
    writer.end(true);
    settled(&mut client, 5);
}

#[test]
fn an_offset_that_was_committed_later_is_not_undone_by_a_marker() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut writer = Writer::begin(&broker, "etl");
    writer.commit(V2, 5);
    let partition =
        OffsetCommitRequestPartition { committed_offset: 9, committed_leader_epoch: 7, ..Default::default() };
    let topic =
        OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let answer: OffsetCommitResponse = client.ask(8, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    writer.end(true);
    settled(&mut client, 9);
}

#[test]
fn a_transaction_that_takes_too_long_lets_go_of_the_offsets() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut writer = Writer::begin(&broker, "etl");
    // Time enough to commit in on a busy machine, and then let pass.
    writer.session(3_000);
    writer.commit(V2, 5);
    settled(&mut client, -1);
    assert_eq!(writer.try_end(5, true).error_code, PRODUCER_FENCED);
}

#[test]
fn a_group_goes_with_what_is_pending() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut writer = Writer::begin(&broker, "etl");
    writer.commit(V2, 5);
    let request = DeleteGroupsRequest { groups_names: vec!["g".into()] };
    let answer: DeleteGroupsResponse = client.ask(2, &request);
    assert_eq!(answer.results[0].error_code, 0);
    writer.end(true);
    until_done(
        || writer.state(),
        |state| if state == "CompleteCommit" { 0 } else { COORDINATOR_LOAD_IN_PROGRESS },
    );
    assert_eq!(fetched(&mut client, true), (0, -1));
}

/// What is said about the offset after a kill in each state of its transaction.
#[test]
fn offsets_in_transactions_outlive_a_kill() {
    let (_around, dir) = data_dir();
    let (mut broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut writer = Writer::begin(&broker, "etl");
    let _broker;
    let again = |broker: Broker, writer: &mut Writer| {
        broker.signal("-KILL");
        drop(broker);
        let broker = Broker::start(&dir, &[]);
        writer.client = broker.client();
        let client = broker.client();
        (broker, client)
    };

    writer.commit(V2, 5);
    (broker, client) = again(broker, &mut writer);
    assert_eq!(fetched(&mut client, true), (UNSTABLE_OFFSET_COMMIT, -1), "it is still open");
    assert_eq!(fetched(&mut client, false), (0, -1));
    writer.end(true);
    (broker, client) = again(broker, &mut writer);
    settled(&mut client, 5);

    writer.commit(V2, 6);
    writer.end(true);
    settled(&mut client, 6);
    (broker, client) = again(broker, &mut writer);
    settled(&mut client, 6);

    writer.commit(V2, 7);
    (broker, client) = again(broker, &mut writer);
    assert_eq!(fetched(&mut client, false), (0, 6));
    writer.commit(V2, 8);
    writer.end(false);
    (broker, client) = again(broker, &mut writer);
    settled(&mut client, 6);

    writer.commit(V2, 9);
    (_broker, client) = again(broker, &mut writer);
    writer.session(60_000);
    settled(&mut client, 6);
    writer.commit(V2, 10);
    writer.end(true);
    settled(&mut client, 10);
}

#[test]
fn tools_end_a_hanging_transaction_of_offsets() {
    let (_around, dir) = data_dir();
    let (broker, mut client) = broker(&dir);
    find_group(&mut client);
    let mut writer = Writer::begin(&broker, "etl");
    writer.commit(V2, 5);
    let marker = |partition| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: writer.producer,
            producer_epoch: writer.epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: "__consumer_offsets".into(),
                partition_indexes: vec![partition],
            }],
            coordinator_epoch: 5,
            transaction_version: 0,
        }],
    };
    // "g" has the hash 103: 103 % 3 is 1.
    let mut answer: WriteTxnMarkersResponse = client.ask(1, &marker(1));
    assert_eq!(answer.markers.remove(0).topics.remove(0).partitions.remove(0).error_code, 0);
    assert_eq!(fetched(&mut client, true), (0, -1), "as soon as it is answered");
}

#[test]
fn members_commit_in_their_generation() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["group.initial.rebalance.delay.ms=0"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    find_group(&mut client);
    let member = crate::groups::alone(&mut client);
    let mut writer = Writer::begin(&broker, "etl");
    let by = |id: &str, generation_id, writer: &Writer| TxnOffsetCommitRequest {
        member_id: id.into(),
        generation_id,
        ..offset(writer, 5)
    };
    let request = by("stranger", 1, &writer);
    assert_eq!(try_commit(&mut writer.client, V2, &request), UNKNOWN_MEMBER_ID);
    let request = by(&member, 0, &writer);
    assert_eq!(try_commit(&mut writer.client, V2, &request), ILLEGAL_GENERATION);
    let request = by(&member, 1, &writer);
    assert_eq!(try_commit(&mut writer.client, V2, &request), 0);
    writer.end(true);
    settled(&mut client, 5);
}
