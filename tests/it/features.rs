//! Features: which levels are in force, and what that means for clients.

use ottla_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use ottla_wire::messages::update_features::{
    FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use crate::broker::{Broker, data_dir};
use crate::client::Client;

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_UPDATE_VERSION: i16 = 95;

fn update(client: &mut Client, feature: &str, level: i16, upgrade_type: i8) -> i16 {
    let update = FeatureUpdateKey {
        feature: feature.into(),
        max_version_level: level,
        upgrade_type,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
    let answer: UpdateFeaturesResponse = client.ask(2, &request);
    answer.error_code
}

/// The levels in force, by name, and their epoch.
fn in_force(client: &mut Client) -> (Vec<(String, i16)>, i64) {
    let request =
        ApiVersionsRequest { client_software_name: "story".into(), client_software_version: "1".into() };
    let answer: ApiVersionsResponse = client.ask(4, &request);
    let levels = answer.finalized_features.into_iter();
    (
        levels.map(|feature| (feature.name, feature.max_version_level)).collect(),
        answer.finalized_features_epoch,
    )
}

fn beat(client: &mut Client) -> i16 {
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        rebalance_timeout_ms: 1000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(vec![]),
        ..Default::default()
    };
    let answer: ConsumerGroupHeartbeatResponse = client.ask(1, &request);
    answer.error_code
}

#[test]
fn a_level_that_was_taken_back_is_out_of_force_also_after_a_restart() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    let all = [("group.version", 1), ("metadata.version", 30), ("transaction.version", 2)];
    let all = all.map(|(name, level)| (name.to_owned(), level)).to_vec();
    assert_eq!(in_force(&mut client), (all.clone(), 0));

    assert_eq!(update(&mut client, "group.version", 0, UPGRADE), INVALID_UPDATE_VERSION);
    assert_eq!(in_force(&mut client), (all.clone(), 0));
    assert_eq!(update(&mut client, "group.version", 0, SAFE_DOWNGRADE), 0);
    assert_eq!(in_force(&mut client), (all[1..].to_vec(), 1));
    assert_eq!(beat(&mut client), UNSUPPORTED_VERSION);
    broker.stop();

    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    assert_eq!(in_force(&mut client), (all[1..].to_vec(), 1));
    assert_eq!(beat(&mut client), UNSUPPORTED_VERSION);
    assert_eq!(update(&mut client, "group.version", 1, UPGRADE), 0);
    assert_eq!(in_force(&mut client), (all, 2));
    assert_ne!(beat(&mut client), UNSUPPORTED_VERSION);
}
