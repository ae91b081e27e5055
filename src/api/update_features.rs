//! UpdateFeatures (key 57), versions 0 to 2 (KIP-584).
//!
//! Promises: all changes or none; they are safe when this is answered, and ApiVersions tells of them from then on. `timeout_ms` is
//! not looked at, as in Kafka.
//! Versions: 0 upgrades only: its `allow_downgrade` is not looked at, as in Kafka. 1 the kind of change, `validate_only`. 2 one answer for all (KIP-1022).

use std::future::Future;

use ottla_rules::cluster::Command;
use ottla_rules::cluster::features::{FeatureUpdate, UpgradeType};
use ottla_rules::rights::{Operation, ResourceKind};
use ottla_wire::codes::Code;
use ottla_wire::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use super::{CLUSTER, Call};

/// Changes which levels of features are in force. The command is with the coordinator when this returns.
pub(crate) fn update_features(
    call: &Call,
    asked: UpdateFeaturesRequest,
) -> impl Future<Output = UpdateFeaturesResponse> + use<> {
    let names: Vec<_> = asked.feature_updates.iter().map(|update| update.feature.clone()).collect();
    let updates: Vec<_> = asked.feature_updates.into_iter().map(read).collect();
    let is_allowed = call.may(Operation::Alter, ResourceKind::Cluster, CLUSTER);
    let answer = (is_allowed && !updates.is_empty()).then(|| {
        let command = Command::UpdateFeatures { updates, node: call.server.node };
        call.server.submit_or_check(command, asked.validate_only)
    });
    async move {
        match answer {
            None if !is_allowed => refused(Code::ClusterAuthorizationFailed, None),
            // Nothing asked, nothing changed.
            None => done(names),
            Some(answer) => match answer.await {
                Ok(_) => done(names),
                Err(error) => refused(Code::from(&error), Some(error.to_string())),
            },
        }
    }
}

fn read(update: FeatureUpdateKey) -> FeatureUpdate {
    let upgrade = match update.upgrade_type {
        1 => UpgradeType::Upgrade,
        2 => UpgradeType::SafeDowngrade,
        3 => UpgradeType::UnsafeDowngrade,
        _ => UpgradeType::Unknown,
    };
    FeatureUpdate { feature: update.feature, level: update.max_version_level, upgrade }
}

fn done(names: Vec<String>) -> UpdateFeaturesResponse {
    let result = |feature| UpdatableFeatureResult {
        feature,
        error_code: Code::None.into(),
        // So says Kafka.
        error_message: Some(Code::None.name().to_owned()),
    };
    let results = names.into_iter().map(result).collect();
    UpdateFeaturesResponse { results, error_message: None, ..Default::default() }
}

fn refused(code: Code, message: Option<String>) -> UpdateFeaturesResponse {
    let error_message = message.or_else(|| Some(code.message().to_owned()));
    UpdateFeaturesResponse { error_code: code.into(), error_message, ..Default::default() }
}
