//! What can be set on an Ottla node.
//!
//! Settings go by Kafka's names. The strongest of these counts:
//!
//! ```text
//!   command line (--set name=value)  >  environment (OTTLA_NAME)  >  file  >  default
//! ```
//!
//! A name becomes an environment variable by `OTTLA_`, capitals, and `_` for each dot: `log.retention.ms` is
//! `OTTLA_LOG_RETENTION_MS`. In a file a name may be quoted (`"max.connections" = 10`) or dotted
//! (`log.retention.ms = 5`), or stand in a table (`[log.retention]`, `ms = 5`); lists are TOML arrays or text with
//! commas. `single.toml`, next to this package, names every setting that does something.
//!
//! A file whose name ends in `.properties` is Kafka's own `server.properties`: names that do nothing here are no error
//! there, but [`Config::warnings`].

mod endpoint;
mod error;
mod properties;
mod source;
mod template;

use std::{collections::BTreeMap, path::PathBuf};

use ottla_rules::{ids::NodeId, limits::Limits, settings::BrokerSettings};

pub use endpoint::Endpoint;
pub use error::ConfigError;
pub use source::{Origin, Sources};
pub use template::template;

/// What one node is started with: complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The data directory (`log.dirs`, else `log.dir`).
    pub data_dir: PathBuf,
    /// Where it listens (`listeners`), at least one.
    pub listen: Vec<Endpoint>,
    /// What clients are told (`advertised.listeners`): one for each of `listen`, in its order. Where nothing was set
    /// it is the listener itself, with an empty host for "every address" and port 0 for "any", for whoever binds to
    /// fill in.
    pub advertise: Vec<Endpoint>,
    /// Where metrics and health are served (`admin.listener`); none is nowhere.
    pub admin: Option<Endpoint>,
    /// Its number (`node.id`).
    pub node_id: NodeId,
    /// Its zone (`broker.rack`).
    pub rack: Option<String>,
    /// Threads for connections and partitions (`shard.threads`); none is one for each core but one, at least one.
    pub shards: Option<usize>,
    /// All settings.
    pub settings: BrokerSettings,
    /// The bounds that follow from them.
    pub limits: Limits,
    /// What was given and does nothing here: a sentence each, for whoever starts the node to tell.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// The first thing that is wrong, in one sentence: where, which setting, what is allowed.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let gathered = sources.gather()?;
        Ok(Self { warnings: gathered.warnings, ..Self::of(&gathered.given)? })
    }

    fn of(given: &BTreeMap<String, (String, Origin)>) -> Result<Self, ConfigError> {
        let pairs = given.iter().map(|(name, (value, _))| (name.as_str(), value.as_str()));
        // Names and values were checked one by one, with their origin, when they were gathered.
        let settings = BrokerSettings::new(pairs).map_err(|why| ConfigError::Together(why.to_string()))?;
        let origin = |name: &str| given.get(name).map_or(Origin::Default, |(_, origin)| origin.clone());
        let wrong =
            |name: &str, why: String| ConfigError::Value { name: name.into(), origin: origin(name), why };
        let listen = Endpoint::list(settings.text("listeners")).map_err(|why| wrong("listeners", why))?;
        if listen.is_empty() {
            return Err(wrong("listeners", "a node needs at least one, as PLAINTEXT://host:port".into()));
        }
        endpoint::check_protocols(&listen, settings.text("listener.security.protocol.map"))
            .map_err(|why| wrong("listener.security.protocol.map", why))?;
        let advertised = Endpoint::list(settings.text("advertised.listeners"))
            .map_err(|why| wrong("advertised.listeners", why))?;
        let advertise =
            endpoint::advertise(&listen, &advertised).map_err(|why| wrong("advertised.listeners", why))?;
        let dirs_name = if settings.text("log.dirs").is_empty() { "log.dir" } else { "log.dirs" };
        let mut dirs = settings.text(dirs_name).split(',').map(str::trim).filter(|dir| !dir.is_empty());
        let (Some(dir), None) = (dirs.next(), dirs.next()) else {
            return Err(wrong(dirs_name, "a node has exactly one data directory for now".into()));
        };
        Ok(Self {
            data_dir: dir.into(),
            listen,
            advertise,
            admin: Endpoint::admin(settings.text("admin.listener"))
                .map_err(|why| wrong("admin.listener", why))?,
            // The range of the setting is that of the type.
            node_id: NodeId(i32::try_from(settings.int("node.id")).unwrap_or(i32::MAX)),
            rack: settings.value("broker.rack").map(str::to_owned).filter(|rack| !rack.is_empty()),
            shards: usize::try_from(settings.int("shard.threads")).ok().filter(|threads| *threads > 0),
            limits: Limits::of(&settings),
            settings,
            warnings: Vec::new(),
        })
    }
}

impl Default for Config {
    /// What a node has that nobody configured.
    fn default() -> Self {
        // The defaults are ours: a test loads them.
        Self::of(&BTreeMap::new()).unwrap_or_else(|error| unreachable!("{error}"))
    }
}
