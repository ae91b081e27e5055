//! Features: what the cluster as a whole has agreed to speak, by level.
//!
//! A level is in force once everybody can do it, and clients act on the levels in force: with `transaction.version` 2 they
//! raise their epoch with every transaction. The checks and their sentences are those of Kafka's `FeatureControlManager`
//! (KIP-584, KIP-1022).

use crate::{
    cluster::{Change, CommandError, Image},
    ids::NodeId,
};

/// A feature, and which levels of it this node can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name, which is Kafka's.
    pub name: &'static str,
    /// The lowest level.
    pub min: i16,
    /// The highest level, in force unless another one was asked for.
    pub max: i16,
}

/// Whether groups may speak the consumer protocol (KIP-848): from level 1.
pub const GROUP_VERSION: &str = "group.version";
/// Kafka's level of the metadata. Admin tools read it; nothing here depends on it, and it stays as it is.
pub const METADATA_VERSION: &str = "metadata.version";
/// From level 2 clients raise their epoch with every transaction (KIP-890).
pub const TRANSACTION_VERSION: &str = "transaction.version";

/// All features, by name. The lowest `metadata.version` is Kafka's since 4.0, the highest that of 4.3.
pub const FEATURES: [Feature; 3] = [
    Feature { name: GROUP_VERSION, min: 0, max: 1 },
    Feature { name: METADATA_VERSION, min: 7, max: 30 },
    Feature { name: TRANSACTION_VERSION, min: 0, max: 2 },
];

/// What kind of change is meant, so that nobody loses something by a slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// To the same level or a higher one.
    Upgrade,
    /// To a lower one, if nothing is lost.
    SafeDowngrade,
    /// To a lower one, whatever is lost.
    UnsafeDowngrade,
    /// A kind that does not exist.
    Unknown,
}

/// One change that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The feature's name.
    pub feature: String,
    /// The level that shall be in force.
    pub level: i16,
    /// What kind of change is meant.
    pub upgrade: UpgradeType,
}

impl Image {
    /// The level in force; 0 for what does not exist.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> i16 {
        let known = FEATURES.iter().find(|feature| feature.name == name);
        self.feature_set(name).map_or_else(|| known.map_or(0, |feature| feature.max), |(level, _)| level)
    }

    /// How often levels have changed, ever: whoever has heard of more knows better.
    #[must_use]
    pub fn features_epoch(&self) -> i64 {
        FEATURES
            .iter()
            .filter_map(|feature| self.feature_set(feature.name))
            .map(|(_, epoch)| epoch)
            .max()
            .unwrap_or(0)
    }

    /// All or nothing: the first update that cannot be refuses them all. `node` is who says so.
    pub(crate) fn update_features(
        &self,
        updates: &[FeatureUpdate],
        node: NodeId,
    ) -> Result<Vec<Change>, CommandError> {
        let mut epoch = self.features_epoch();
        let mut changes = Vec::new();
        for update in updates {
            self.check(update, node).map_err(|why| {
                CommandError::Feature(format!(
                    "The update failed for all features since the following feature had an error: {why}"
                ))
            })?;
            // What is so already is written down once more, as it is.
            epoch += i64::from(update.level != self.feature_level(&update.feature));
            changes.push(Change::FeatureSet { name: update.feature.clone(), level: update.level, epoch });
        }
        Ok(changes)
    }

    fn check(&self, update: &FeatureUpdate, node: NodeId) -> Result<(), String> {
        let FeatureUpdate { feature, level, upgrade } = update;
        let invalid = |why: String| format!("Invalid update version {level} for feature {feature}. {why}");
        if *upgrade == UpgradeType::Unknown {
            return Err(invalid("The controller does not support the given upgrade type.".into()));
        }
        if *level < 0 {
            return Err(invalid("A feature version cannot be less than 0.".into()));
        }
        match FEATURES.iter().find(|known| known.name == feature) {
            None if *level == 0 => return Err(invalid(format!("Feature {feature} not found."))),
            None => {
                return Err(invalid(format!("Local controller {node} does not support this feature.")));
            }
            Some(Feature { min, max, .. }) if !(*min..=*max).contains(level) => {
                return Err(invalid(format!("Local controller {node} only supports versions {min}-{max}")));
            }
            Some(_) => (),
        }
        let now = self.feature_level(feature);
        if *level < now && *upgrade == UpgradeType::Upgrade {
            let why = "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.";
            return Err(invalid(why.into()));
        }
        if *level > now && *upgrade != UpgradeType::Upgrade {
            return Err(invalid("Can't downgrade to a newer version.".into()));
        }
        if *level < now && feature == METADATA_VERSION {
            let why = match upgrade {
                UpgradeType::SafeDowngrade => {
                    "Refusing to perform the requested downgrade because it might delete metadata information."
                }
                _ => "Unsafe metadata downgrade is not supported in this version.",
            };
            return Err(format!("Unsupported {METADATA_VERSION} downgrade from {now} to {level}. {why}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(feature: &str, level: i16, upgrade: UpgradeType) -> FeatureUpdate {
        FeatureUpdate { feature: feature.into(), level, upgrade }
    }

    fn asked(image: &mut Image, updates: &[FeatureUpdate]) -> Result<(), String> {
        let changes = image.update_features(updates, NodeId(1)).map_err(|error| error.to_string())?;
        changes.iter().for_each(|change| image.apply(change));
        Ok(())
    }

    #[test]
    fn everything_we_can_do_is_in_force_until_somebody_asks_for_less() {
        let mut image = Image::new("c");
        let levels = |image: &Image| FEATURES.map(|feature| image.feature_level(feature.name));
        assert_eq!((levels(&image), image.features_epoch()), ([1, 30, 2], 0));

        asked(&mut image, &[update(TRANSACTION_VERSION, 1, UpgradeType::SafeDowngrade)]).unwrap();
        assert_eq!((levels(&image), image.features_epoch()), ([1, 30, 1], 1));
        asked(&mut image, &[update(TRANSACTION_VERSION, 1, UpgradeType::SafeDowngrade)]).unwrap();
        assert_eq!(image.features_epoch(), 1, "it was so already");

        let both = [
            update(TRANSACTION_VERSION, 2, UpgradeType::Upgrade),
            update(GROUP_VERSION, 0, UpgradeType::UnsafeDowngrade),
        ];
        asked(&mut image, &both).unwrap();
        assert_eq!((levels(&image), image.features_epoch()), ([0, 30, 2], 3));
    }

    #[test]
    fn one_that_cannot_be_refuses_them_all_and_says_why() {
        use UpgradeType::{SafeDowngrade, Unknown, UnsafeDowngrade, Upgrade};
        let mut image = Image::new("c");
        for (feature, level, upgrade, why) in [
            (GROUP_VERSION, 0, Upgrade, "Can't downgrade the version of this feature without"),
            (GROUP_VERSION, 2, Upgrade, "Local controller 1 only supports versions 0-1"),
            (GROUP_VERSION, -1, SafeDowngrade, "A feature version cannot be less than 0."),
            (GROUP_VERSION, 1, Unknown, "The controller does not support the given upgrade type."),
            (METADATA_VERSION, 31, Upgrade, "only supports versions 7-30"),
            (METADATA_VERSION, 29, SafeDowngrade, "it might delete metadata information."),
            (METADATA_VERSION, 29, UnsafeDowngrade, "Unsafe metadata downgrade is not supported"),
            ("nope.version", 1, Upgrade, "Local controller 1 does not support this feature."),
            ("nope.version", 0, SafeDowngrade, "Feature nope.version not found."),
        ] {
            let good = update(TRANSACTION_VERSION, 1, SafeDowngrade);
            let told = asked(&mut image, &[good, update(feature, level, upgrade)]).unwrap_err();
            assert!(told.starts_with("The update failed for all features since"), "{told}");
            assert!(told.contains(why), "{told}");
            assert_eq!(image.feature_level(TRANSACTION_VERSION), 2, "nothing has changed");
        }
        asked(&mut image, &[update(GROUP_VERSION, 0, SafeDowngrade)]).unwrap();
        let told = asked(&mut image, &[update(GROUP_VERSION, 1, SafeDowngrade)]).unwrap_err();
        assert!(told.contains("Can't downgrade to a newer version."), "{told}");
    }
}
