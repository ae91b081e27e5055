use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ids::TopicId;

fn there_and_back(record: &GroupRecord) {
    let (key, value) = record.encode();
    assert_eq!(GroupRecord::decode(&key, value.as_deref()), Ok(Some(record.clone())));
}

fn offset(value: Option<OffsetValue>) -> GroupRecord {
    GroupRecord::Offset { group: "g".into(), topic: "t".into(), partition: 3, value }
}

fn committed() -> OffsetValue {
    OffsetValue {
        offset: 5,
        leader_epoch: 2,
        metadata: "m".into(),
        commit_timestamp: 7,
        expire_timestamp: -1,
        topic_id: TopicId::ZERO,
    }
}

#[test]
fn a_committed_offset_is_written_as_kafka_writes_it() {
    let (key, value) = offset(Some(committed())).encode();
    assert_eq!(key, b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
    assert_eq!(value.unwrap(), b"\0\x04\0\0\0\0\0\0\0\x05\0\0\0\x02\x02m\0\0\0\0\0\0\0\x07\0");
}

#[test]
fn what_older_brokers_wrote_is_read() {
    let key = b"\0\0\0\x01g\0\x01t\0\0\0\x03";
    let value = b"\0\x01\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x09";
    let read = GroupRecord::decode(key, Some(value));
    let expected = OffsetValue { leader_epoch: -1, expire_timestamp: 9, ..committed() };
    assert_eq!(read, Ok(Some(offset(Some(expected)))));
}

#[test]
fn what_newer_brokers_write_is_skipped() {
    assert_eq!(GroupRecord::decode(b"\0\x63whatever", Some(b"x")), Ok(None));
    let (key, _) = offset(None).encode();
    assert_eq!(GroupRecord::decode(&key, Some(b"\0\x09whatever")), Ok(None));
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    let parts = vec![TopicPartitions { topic_id: TopicId([7; 16]), partitions: vec![0, 300] }];
    let member = MemberValue {
        member_id: "m".into(),
        instance_id: Some("i".into()),
        client_id: "c".into(),
        client_host: "/::1".into(),
        rebalance_timeout_ms: 5,
        session_timeout_ms: 6,
        subscription: Bytes::from_static(b"sub"),
        assignment: Bytes::from_static(b"ass"),
    };
    let classic = GroupValue {
        protocol_type: "consumer".into(),
        generation: 4,
        protocol: Some("range".into()),
        leader: Some("m".into()),
        state_timestamp: 11,
        members: vec![member.clone(), MemberValue { instance_id: None, ..member }],
    };
    let described = ConsumerMemberValue {
        rack_id: Some("r".into()),
        client_id: "c".into(),
        topic_names: vec!["t".into(), "u".into()],
        topic_regex: Some("a.*".into()),
        rebalance_timeout_ms: 9,
        classic: Some(ClassicMemberValue {
            session_timeout_ms: 1,
            protocols: vec![("range".into(), Bytes::from_static(b"x"))],
        }),
        ..Default::default()
    };
    let current = CurrentAssignment {
        member_epoch: 3,
        previous_epoch: 2,
        state: MemberState::UnrevokedPartitions,
        assigned: vec![Held { topic_id: TopicId([1; 16]), partitions: vec![(0, 1), (2, 3)] }],
        pending_revocation: vec![],
    };
    let regex = RegexValue { topics: vec!["t".into()], version: 5, timestamp: 6 };
    let group = || "g".to_owned();
    let member = || "m".to_owned();
    let expiring = OffsetValue { leader_epoch: -1, expire_timestamp: 99, ..committed() };
    let known = OffsetValue { topic_id: TopicId([9; 16]), ..committed() };
    for record in [
        offset(Some(committed())),
        offset(Some(expiring)),
        offset(Some(known)),
        offset(None),
        GroupRecord::Group { group: group(), value: Some(classic) },
        GroupRecord::Group { group: group(), value: None },
        GroupRecord::ConsumerGroup { group: group(), epoch: Some(7) },
        GroupRecord::ConsumerMember { group: group(), member: member(), value: Some(described) },
        GroupRecord::TargetEpoch { group: group(), epoch: Some(7) },
        GroupRecord::TargetMember { group: group(), member: member(), partitions: Some(parts) },
        GroupRecord::CurrentMember { group: group(), member: member(), value: Some(current) },
        GroupRecord::Regex { group: group(), regex: "a.*".into(), value: Some(regex) },
        GroupRecord::Regex { group: group(), regex: "a.*".into(), value: None },
        GroupRecord::Silence { group: group(), member: member(), since_ms: Some(1_700_000_000_000) },
        GroupRecord::Silence { group: group(), member: member(), since_ms: None },
    ] {
        there_and_back(&record);
        assert_eq!(record.group(), "g");
    }
}

#[test]
fn a_silent_member_is_a_kind_of_our_own() {
    let silence = |since_ms| GroupRecord::Silence { group: "g".into(), member: "m".into(), since_ms };
    let (key, value) = silence(Some(7)).encode();
    let value = value.unwrap();
    assert_eq!((&*key, &*value), (&b"OT\0\x01g\0\x01m"[..], &b"\0\0\0\0\0\0\0\0\0\x07\0"[..]));
    assert!(!silence(None).is_ahead(), "nobody is told anything because of it");
    for cut in 0..value.len() {
        assert!(GroupRecord::decode(&key, Some(&value[..cut])).is_err(), "cut at {cut}");
    }
    for cut in 2..key.len() {
        assert!(GroupRecord::decode(&key[..cut], Some(&value)).is_err(), "key cut at {cut}");
    }
    assert_eq!(GroupRecord::decode(&key, Some(b"\0\x01of a later build")), Ok(None), "skipped");
}

#[test]
fn partitions_without_an_epoch_are_as_old_as_their_member() {
    // As Kafka wrote it before 4.3: version, epochs, state; one topic with partition 4; nothing to give up.
    let topic = [&[7; 16][..], &[2, 0, 0, 0, 4, 0]].concat();
    let value = [&[0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2][..], &topic, &[1, 0]].concat();
    let member = GroupRecord::CurrentMember { group: "g".into(), member: "m".into(), value: None }.encode().0;
    let read = GroupRecord::decode(&member, Some(&value)).unwrap();
    let Some(GroupRecord::CurrentMember { value: Some(current), .. }) = read else { panic!("{read:?}") };
    let held = Held { topic_id: TopicId([7; 16]), partitions: vec![(4, 3)] };
    assert_eq!((current.member_epoch, current.assigned), (3, vec![held]));
}

#[test]
fn a_subscription_is_read_in_every_version() {
    assert_eq!(protocol::subscribed_topics(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"), Some(vec!["t".into()]));
    assert_eq!(protocol::subscribed_topics(b"\0\x09\0\0\0\x01\0\x01t and more"), Some(vec!["t".into()]));
    assert_eq!(protocol::subscribed_topics(b"opaque"), None);
    assert_eq!(protocol::subscribed_topics(b""), None);
}

proptest! {
    /// Garbage is an error or a record, never a panic.
    #[test]
    fn garbage_never_harms(number in prop_oneof![0i16..20, Just(SILENCE)], key: Vec<u8>, value: Option<Vec<u8>>) {
        let key = [&number.to_be_bytes()[..], &key].concat();
        let _ = GroupRecord::decode(&key, value.as_deref());
    }

    #[test]
    fn a_cut_record_is_broken_or_shorter(cut in 0usize..60) {
        let (key, value) = offset(Some(committed())).encode();
        let value = value.unwrap();
        let cut = cut.min(value.len().saturating_sub(1));
        prop_assert!(GroupRecord::decode(&key, Some(&value[..cut])).is_err());
    }
}
