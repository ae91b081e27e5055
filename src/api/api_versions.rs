//! ApiVersions (key 18), versions 0 to 4.
//!
//! Promises: what is listed works in every version of its range; what is missing is not there.
//! Versions: 3 flexible, client name and version, features. 4 supported features with a minimum of 0 (KAFKA-17011).
//! Clients: librdkafka turns compression off unless Produce is advertised from 0 (KAFKA-18659); an unknown version
//! is answered in version 0 with error 35 and our own range, so that the client can step down (KIP-511).

use ottla_rules::cluster::features::FEATURES;
use ottla_wire::api::{self, ApiKey, Served};
use ottla_wire::codes::Code;
use ottla_wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

use super::Call;

/// The version from which features may have a lowest version of 0.
const ZERO_FROM: i16 = 4;
/// What this node can do. Needs no rights: clients ask before they authenticate.
pub(crate) fn api_versions(call: &Call, version: i16, asked: &ApiVersionsRequest) -> ApiVersionsResponse {
    if version >= 3
        && !(is_software(&asked.client_software_name) && is_software(&asked.client_software_version))
    {
        return ApiVersionsResponse { error_code: Code::InvalidRequest.into(), ..Default::default() };
    }
    let image = call.server.image();
    ApiVersionsResponse {
        error_code: Code::None.into(),
        api_keys: api::SERVED.iter().map(range).collect(),
        supported_features: FEATURES
            .iter()
            // A client of an older version takes a lowest version of 0 for an error (KAFKA-17011).
            .filter(|feature| version >= ZERO_FROM || feature.min > 0)
            .map(|feature| SupportedFeatureKey {
                name: feature.name.to_owned(),
                min_version: feature.min,
                max_version: feature.max,
            })
            .collect(),
        finalized_features_epoch: image.features_epoch(),
        finalized_features: FEATURES
            .iter()
            .map(|feature| (feature.name, image.feature_level(feature.name)))
            // A feature at level 0 is not in force.
            .filter(|(_, level)| *level > 0)
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.to_owned(),
                max_version_level: level,
                min_version_level: level,
            })
            .collect(),
        ..Default::default()
    }
}

/// The answer to a version that we do not have, in version 0.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: Code::UnsupportedVersion.into(),
        api_keys: api::served(ApiKey::ApiVersions).map(range).into_iter().collect(),
        ..Default::default()
    }
}

fn range(served: &Served) -> ApiVersion {
    let api_key = served.key.number();
    ApiVersion { api_key, min_version: served.advertised_min, max_version: served.max }
}

/// Kafka's `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`.
fn is_software(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let bytes = text.as_bytes();
    ends(bytes.first().copied())
        && ends(bytes.last().copied())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kafkas_pattern() {
        fn check(text: &str, fits: bool) {
            assert_eq!(is_software(text), fits, "{text:?}");
        }
        check("apache-kafka-java", true);
        check("4.3.1", true);
        check("x", true);
        check("", false);
        check("-x", false);
        check("x.", false);
        check("a b", false);
        check("a_b", false);
    }
}
