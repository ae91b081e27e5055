//! Settings of a broker that are changed while it runs.

use ottla_wire::messages::alter_configs as legacy;
use ottla_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
};
use ottla_wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use crate::broker::{Broker, data_dir};
use crate::client::{Client, batch};

const BROKER: i8 = 4;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const MESSAGE_TOO_LARGE: i16 = 10;

/// Sets (or, without a value, removes) settings of a broker, or of all: no name.
fn alter(client: &mut Client, name: &str, changes: &[(&str, Option<&str>)], validate_only: bool) -> i16 {
    let configs = changes.iter().map(|(name, value)| AlterableConfig {
        name: (*name).into(),
        config_operation: if value.is_some() { 0 } else { 1 },
        value: value.map(str::to_owned),
    });
    let resource = AlterConfigsResource {
        resource_type: BROKER,
        resource_name: name.into(),
        configs: configs.collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let answer: IncrementalAlterConfigsResponse = client.ask(1, &request);
    answer.responses[0].error_code
}

fn shown(client: &mut Client, resource_type: i8, name: &str, key: &str) -> DescribeConfigsResourceResult {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: Some(vec![key.into()]),
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let mut answer: DescribeConfigsResponse = client.ask(4, &request);
    answer.results.remove(0).configs.remove(0)
}

/// The value of a setting of the broker, and where it comes from: 2 this one, 3 all, 4 the start, 5 nowhere.
fn value(client: &mut Client, key: &str) -> (String, i8) {
    let shown = shown(client, BROKER, "1", key);
    (shown.value.unwrap_or_default(), shown.config_source)
}

#[test]
fn what_counts_is_what_was_set_closest_and_it_outlives_a_kill() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["log.segment.bytes=2000000"]);
    let mut client = broker.client();
    let key = "log.segment.bytes";
    assert_eq!(value(&mut client, key), ("2000000".into(), 4));
    assert_eq!(alter(&mut client, "", &[(key, Some("3000000"))], false), 0);
    assert_eq!(value(&mut client, key), ("3000000".into(), 3));
    assert_eq!(alter(&mut client, "1", &[(key, Some("4000000"))], false), 0);
    assert_eq!(value(&mut client, key), ("4000000".into(), 2));
    let sources: Vec<_> = shown(&mut client, BROKER, "1", key).synonyms.iter().map(|it| it.source).collect();
    assert_eq!(sources, [2, 3, 4, 5]);
    broker.kill();

    let broker = Broker::start(&dir, &["log.segment.bytes=2000000"]);
    let mut client = broker.client();
    assert_eq!(value(&mut client, key), ("4000000".into(), 2));
    assert_eq!(shown(&mut client, BROKER, "", key).value.as_deref(), Some("3000000"));
    assert_eq!(alter(&mut client, "1", &[(key, None)], false), 0);
    assert_eq!(alter(&mut client, "", &[(key, None)], false), 0);
    assert_eq!(value(&mut client, key), ("2000000".into(), 4));
}

#[test]
fn topics_follow_their_broker_at_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let produce = |client: &mut Client| client.produce("t", 0, batch(&["a value"])).error_code;
    assert_eq!(produce(&mut client), 0);
    assert_eq!(alter(&mut client, "", &[("message.max.bytes", Some("10"))], false), 0);
    assert_eq!(produce(&mut client), MESSAGE_TOO_LARGE);
    let topic = shown(&mut client, 2, "t", "max.message.bytes");
    assert_eq!((topic.value.as_deref(), topic.config_source), (Some("10"), 3));
    assert_eq!(alter(&mut client, "1", &[("message.max.bytes", Some("1000"))], false), 0);
    assert_eq!(produce(&mut client), 0);
}

#[test]
fn bounds_follow_at_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    assert_eq!(alter(&mut client, "1", &[("max.connections", Some("1"))], false), 0);
    broker.client().assert_closed();
    assert_eq!(alter(&mut client, "1", &[("max.connections", None)], false), 0);
    assert_eq!(value(&mut broker.client(), "max.connections").1, 5);

    assert_eq!(alter(&mut client, "", &[("connections.max.idle.ms", Some("1000"))], false), 0);
    broker.client().assert_closed();
    // Who was there before has what it came with.
    assert_eq!(value(&mut client, "connections.max.idle.ms"), ("1000".into(), 3));
}

#[test]
fn what_cannot_be_is_refused_and_nothing_of_it_is_kept() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let good = ("max.connections", Some("100"));
    for (bad, code) in [
        (("node.id", Some("5")), INVALID_REQUEST),
        (("listeners", Some("PLAINTEXT://:1")), INVALID_REQUEST),
        (("log.segment.bytes", Some("5")), INVALID_REQUEST),
        (("log.segment.bites", Some("5000000")), INVALID_CONFIG),
    ] {
        for name in ["", "1"] {
            assert_eq!(alter(&mut client, name, &[good, bad], false), code, "{bad:?}");
        }
    }
    assert_eq!(alter(&mut client, "2", &[good], false), INVALID_REQUEST);
    assert_eq!(alter(&mut client, "one", &[good], false), INVALID_REQUEST);
    assert_eq!(alter(&mut client, "1", &[good], true), 0, "only checked");
    assert_eq!(value(&mut client, "max.connections").1, 5);
}

#[test]
fn the_old_way_resets_what_it_does_not_name() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    assert_eq!(alter(&mut client, "1", &[("max.connections", Some("100"))], false), 0);
    let config = legacy::AlterableConfig { name: "message.max.bytes".into(), value: Some("2000".into()) };
    let resource = legacy::AlterConfigsResource {
        resource_type: BROKER,
        resource_name: "1".into(),
        configs: vec![config],
    };
    let request = legacy::AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer: legacy::AlterConfigsResponse = client.ask(2, &request);
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(value(&mut client, "max.connections").1, 5);
    assert_eq!(value(&mut client, "message.max.bytes"), ("2000".into(), 2));
}

#[test]
fn a_broker_that_stands_twice_in_a_request_is_not_changed_at_all() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let change = |value: &str| AlterConfigsResource {
        resource_type: BROKER,
        resource_name: "1".into(),
        configs: vec![AlterableConfig {
            name: "log.segment.bytes".into(),
            value: Some(value.into()),
            ..Default::default()
        }],
    };
    let before = value(&mut client, "log.segment.bytes");
    let request = IncrementalAlterConfigsRequest {
        resources: vec![change("2000000"), change("3000000")],
        ..Default::default()
    };
    let answer: IncrementalAlterConfigsResponse = client.ask(1, &request);
    let codes: Vec<_> = answer.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, INVALID_REQUEST]);
    assert_eq!(value(&mut client, "log.segment.bytes"), before);
    // What would lock everybody out, or stop compaction without a word.
    for name in
        ["max.connections", "max.connections.per.ip", "connections.max.idle.ms", "log.cleaner.threads"]
    {
        for of in ["", "1"] {
            assert_eq!(alter(&mut client, of, &[(name, Some("0"))], false), INVALID_REQUEST, "{name}");
        }
    }
}

#[test]
fn lags_that_no_topic_could_be_created_with_are_refused() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let (min, max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
    assert_eq!(alter(&mut client, "", &[(min, Some("10")), (max, Some("5"))], false), INVALID_REQUEST);
    // Each is fine alone; what counts is what they come to for the broker, whoever set it.
    assert_eq!(alter(&mut client, "1", &[(max, Some("5"))], false), 0);
    assert_eq!(alter(&mut client, "", &[(min, Some("10")), (max, Some("20"))], false), INVALID_REQUEST);
    assert_eq!(alter(&mut client, "1", &[(max, Some("10"))], false), 0);
    assert_eq!(alter(&mut client, "", &[(min, Some("10")), (max, Some("20"))], false), 0);
    assert_eq!(alter(&mut client, "", &[(min, Some("30")), (max, Some("20"))], false), INVALID_REQUEST);
    assert_eq!(alter(&mut client, "", &[(max, None)], false), 0, "the broker's own is there");
    assert_eq!(alter(&mut client, "1", &[(max, None)], false), 0);
    client.create("fine", 1, &[]);
}

#[test]
fn what_is_asked_for_twice_is_answered_once() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let node = DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: "1".to_owned(),
        configuration_keys: None,
    };
    let resources = vec![node; 1_000];
    let answer: DescribeConfigsResponse =
        broker.client().ask(4, &DescribeConfigsRequest { resources, ..Default::default() });
    assert_eq!(answer.results.len(), 1, "or a small request would be an answer of hundreds of megabytes");
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_only_checked_is_not_kept_for_each_entry() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let mut alter_groups = |n: usize, validate_only| {
        let group = |at: usize| AlterConfigsResource {
            resource_type: 32,
            resource_name: format!("group-{at}"),
            configs: vec![AlterableConfig {
                name: "consumer.session.timeout.ms".into(),
                value: Some("50000".into()),
                ..Default::default()
            }],
        };
        let resources = (0..n).map(group).collect();
        let request = IncrementalAlterConfigsRequest { resources, validate_only };
        let answer: IncrementalAlterConfigsResponse = client.ask(1, &request);
        assert!(answer.responses.iter().all(|response| response.error_code == 0));
        assert_eq!(answer.responses.len(), n);
    };
    alter_groups(500, false);
    let before = broker.peak_mib();
    // Some 30 KiB that all groups take in the cluster's facts, times 20,000, would be hundreds of MiB.
    alter_groups(20_000, true);
    let more = broker.peak_mib() - before;
    assert!(more < 150, "{more} MiB");
}

#[test]
fn a_group_with_settings_of_its_own_has_an_id_that_fits_a_page() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let mut code = |bytes: usize| {
        let resource = AlterConfigsResource {
            resource_type: 32,
            resource_name: "g".repeat(bytes),
            configs: vec![AlterableConfig {
                name: "consumer.session.timeout.ms".into(),
                value: Some("50000".into()),
                ..Default::default()
            }],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        client.ask::<_, IncrementalAlterConfigsResponse>(1, &request).responses[0].error_code
    };
    assert_eq!((code(448), code(449)), (0, INVALID_REQUEST));
}

#[test]
fn a_subscription_to_metrics_that_nobody_has_made_shows_the_defaults() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    for (name, value, kind) in [("interval.ms", "300000", 3), ("match", "", 7), ("metrics", "", 7)] {
        let shown = shown(&mut client, 16, "nobody's", name);
        assert_eq!((shown.value.as_deref(), shown.config_source, shown.config_type), (Some(value), 5, kind));
        assert!(!shown.read_only && shown.synonyms.is_empty());
    }
}
