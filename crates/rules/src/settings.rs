//! Every setting by its Kafka name.
//!
//! A setting is a row in a table: name, type, default, what it means, which values are allowed. Everything else is
//! read from the tables: what a node accepts in its file, what CreateTopics and the Alter APIs check, what
//! DescribeConfigs shows.
//!
//! ```text
//!   topic's own value  >  node (dynamic)  >  cluster (dynamic)  >  node's file  >  default
//!   topic::TABLE          \----------------- BrokerSettings -----------------------------/
//! ```
//!
//! Groups have settings of their own too (`group::TABLE`), under which the same broker settings lie.
//!
//! A topic setting without a value of its own takes the first broker setting among its synonyms that has one.

mod alter;
mod broker;
pub(crate) mod check;
mod coordinators;
mod describe;
pub(crate) mod group;
mod layers;
mod own;
mod running;
pub(crate) mod topic;

pub use alter::{Alter, Op, Scope, alter, check_all, replace};
pub use describe::{
    Described, Synonym, describe_broker, describe_client_metrics, describe_cluster_default, describe_group,
    describe_topic,
};
pub use layers::BrokerSettings;
pub use running::check_broker;

pub use check::Check;

/// How many partitions a topic may be created with: what may become its number is not allowed to be more.
const PARTITIONS_MAX: i64 = 10_000;

/// The type of a value, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Any text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// A decimal number.
    Double,
    /// Texts with commas between them; may be empty.
    List,
    /// The name of a Java class; kept, never loaded.
    Class,
    /// Never shown.
    Password,
}

/// Where a value comes from, as DescribeConfigs numbers it. The first that has a value wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The topic has its own.
    Topic = 1,
    /// Set for this broker while it runs.
    DynamicBroker = 2,
    /// Set for all brokers while they run.
    DynamicDefaultBroker = 3,
    /// The node's file, environment or command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// The group has its own.
    Group = 8,
}

/// Whether a setting does something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What it says is what happens.
    Honoured,
    /// Checked, kept and shown, because tools set it or look for it; nothing follows from it yet.
    Known,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Kafka's name.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// The value when nobody set one; `None` is Kafka's null.
    pub default: Option<&'static str>,
    /// Broker settings that stand in for it, the strongest first. Of a broker setting: those that mean the same in
    /// other units, itself among them; empty when there is only itself.
    pub synonyms: &'static [Unit],
    /// Which values are allowed.
    pub check: Check,
    /// Whether it does something here.
    pub standing: Standing,
    /// Whether it only takes effect at the next start. Topic settings never wait for that.
    pub read_only: bool,
    /// What it means, in our words.
    pub doc: &'static str,
}

/// A synonym, and by how much its value is multiplied to mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The name of the broker setting.
    pub name: &'static str,
    /// 1, or milliseconds in its unit.
    pub factor: i64,
}

const fn unit(name: &'static str, factor: i64) -> Unit {
    Unit { name, factor }
}

/// A setting that waits for the next start.
const fn fixed(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    standing: Standing,
    doc: &'static str,
) -> Definition {
    Definition { name, kind, default: Some(default), synonyms: &[], check, standing, read_only: true, doc }
}

/// A setting that can change while the broker runs.
const fn live(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    check: Check,
    standing: Standing,
    doc: &'static str,
) -> Definition {
    Definition { read_only: false, ..fixed(name, kind, default, check, standing, doc) }
}

/// Why a value or an alteration is refused. The sentences are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// The name or the value is wrong (INVALID_CONFIG).
    #[error("{0}")]
    Invalid(String),
    /// The alteration makes no sense, whatever the names and values (INVALID_REQUEST).
    #[error("{0}")]
    Request(String),
}

impl Kind {
    /// The number in DescribeConfigs answers.
    #[must_use]
    pub fn number(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

impl Definition {
    /// Whether `value` is allowed.
    ///
    /// # Errors
    /// Kafka's sentence: which value, which setting, what is allowed.
    pub fn check(&self, value: &str) -> Result<(), SettingError> {
        check::check(self, value)
    }
}

/// The topic settings, sorted by name.
#[must_use]
pub fn topic_definitions() -> &'static [Definition] {
    topic::TABLE
}

/// The group settings, sorted by name.
#[must_use]
pub fn group_definitions() -> &'static [Definition] {
    group::TABLE
}

/// The group setting of this name.
#[must_use]
pub fn group_definition(name: &str) -> Option<&'static Definition> {
    group::TABLE.iter().find(|definition| definition.name == name)
}

/// The broker settings, Kafka's and our own, in the order of their chapters.
pub fn broker_definitions() -> impl Iterator<Item = &'static Definition> {
    broker::TABLE.iter().chain(coordinators::TABLE).chain(own::TABLE)
}

/// The topic setting of this name.
#[must_use]
pub fn topic_definition(name: &str) -> Option<&'static Definition> {
    topic::TABLE.iter().find(|definition| definition.name == name)
}

/// The broker setting of this name.
#[must_use]
pub fn broker_definition(name: &str) -> Option<&'static Definition> {
    broker_definitions().find(|definition| definition.name == name)
}
