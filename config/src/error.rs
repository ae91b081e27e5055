//! Why a node cannot be configured like this.

use std::path::PathBuf;

use crate::source::Origin;

/// One sentence for a person: where, what, what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {why}; check the path and its permissions", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file {} is not valid TOML: {why}", file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// What and where.
        why: String,
    },
    /// The file is no Java properties, or says what cannot be done.
    #[error("the configuration file {} cannot be used: {why}", file.display())]
    Properties {
        /// The file.
        file: PathBuf,
        /// What and where.
        why: String,
    },
    /// There is no such setting.
    #[error("{origin} sets {name:?}, which is no setting{}", did_you_mean(nearest))]
    Unknown {
        /// The name that was given.
        name: String,
        /// By whom.
        origin: Origin,
        /// The setting that was probably meant.
        nearest: Option<String>,
    },
    /// A value that is not allowed.
    #[error("{origin} sets {name} wrongly: {why}")]
    Value {
        /// The setting.
        name: String,
        /// By whom.
        origin: Origin,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// `--set` without a value.
    #[error("the command line says --set {0:?}, but it takes name=value")]
    NotAPair(String),
    /// Values that do not go together.
    #[error("the settings do not go together: {0}")]
    Together(String),
}

fn did_you_mean(nearest: &Option<String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean {name:?}?"),
        None => "; single.toml lists all settings".into(),
    }
}
