//! Plans in which members share partitions.

use ottla_host::{Chance, Host, SimWorld};
use ottla_rules::settings::BrokerSettings;

use super::{Life, Plan, Trouble, between, count, life};

/// How the members of a group come to an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The classic protocol: everything is given up before each rebalance.
    Eager,
    /// The classic protocol: only what goes to somebody else is given up.
    Cooperative,
    /// The consumer protocol (KIP-848): the broker assigns.
    Consumer,
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// How it agrees.
    pub protocol: Protocol,
    /// Its members: whether each has a static name.
    pub is_static: Vec<bool>,
    /// After how long a silence a member is out, milliseconds.
    pub session_ms: u64,
    /// How long a member has for giving up what it should, milliseconds.
    pub rebalance_ms: u64,
    /// Members do something that they should not, once in so many steps.
    pub mischief_one_in: u64,
}

/// How often members say that they live, milliseconds, at the latest.
pub(crate) const BEAT_MS: u64 = 30;
/// The network holds messages back for less time than members are patient: what they have given up does not arrive later. A
/// heartbeat that arrives after its successor can say that a partition was given up which was not; that is how the protocol is.
const HOLD_MS_MAX: u64 = 100;

impl Plan {
    /// The plan of a seed in which members of groups share partitions, commit, stall, vanish, leave and come again.
    #[must_use]
    pub fn of_members(seed: u64) -> Self {
        let luck = Host::simulated(&SimWorld::new(seed ^ 0x6d65_6d62)).chance;
        let session_ms = between(&luck, 120, 350);
        let groups: Vec<_> = (0..count(&luck, 1, 2)).map(|_| group(&luck, session_ms)).collect();
        let mut plan = Self {
            partitions: count(&luck, 2, 5),
            deleted_after_ms: vec![],
            lanes: vec![],
            lives: lives(&luck),
            topic: vec![],
            page_cache: false,
            compacted: false,
            last_wants: vec![],
            deletes_records: false,
            groups,
            ..Self::of(seed)
        };
        let mut given = plan.config.settings.given().clone();
        for (name, value) in [
            ("group.min.session.timeout.ms", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", luck.below(60).to_string()),
            ("group.consumer.session.timeout.ms", session_ms.to_string()),
            ("group.consumer.heartbeat.interval.ms", BEAT_MS.to_string()),
            ("offsets.topic.num.partitions", between(&luck, 1, 2).to_string()),
        ] {
            given.insert(name.to_owned(), value);
        }
        plan.config.settings = BrokerSettings::new(given).unwrap_or_default();
        plan.compact_internal_topics(&luck);
        plan
    }

    /// In every other plan the logs of the coordinators are compacted all the time.
    pub(super) fn compact_internal_topics(&mut self, luck: &Chance) {
        if luck.below(2) == 0 {
            return;
        }
        self.coordinators = vec![
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("internal.segment.bytes".to_owned(), between(luck, 2_000, 12_000).to_string()),
            ("min.cleanable.dirty.ratio".to_owned(), format!("0.{}", luck.below(6))),
        ];
        let mut given = self.config.settings.given().clone();
        given.insert("log.cleaner.backoff.ms".to_owned(), between(luck, 5, 80).to_string());
        self.config.settings = BrokerSettings::new(given).unwrap_or_default();
    }
}

fn group(luck: &Chance, session_ms: u64) -> GroupPlan {
    let protocol = match luck.below(4) {
        0 => Protocol::Eager,
        1 => Protocol::Cooperative,
        _ => Protocol::Consumer,
    };
    GroupPlan {
        protocol,
        is_static: (0..count(luck, 2, 4)).map(|_| luck.below(3) == 0).collect(),
        session_ms,
        rebalance_ms: between(luck, 80, 400),
        mischief_one_in: between(luck, 8, 40),
    }
}

fn lives(luck: &Chance) -> Vec<Life> {
    let one = |_| {
        let ms = between(luck, 100, 1200);
        let mut life = life(luck, ms);
        for spell in &mut life.spells {
            if spell.trouble == Trouble::Hold {
                spell.ms = spell.ms.min(HOLD_MS_MAX);
            }
        }
        life
    };
    (0..count(luck, 1, 3)).map(one).collect()
}
