//! Where settings are given: file, environment, command line.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use ottla_rules::settings::{broker_definition, broker_definitions};
use toml::{Table, Value};

use crate::{ConfigError, properties};

/// What environment variables of settings begin with.
const PREFIX: &str = "OTTLA_";

/// Variables with our prefix that are no settings: the log filter and the path of the file.
const NOT_SETTINGS: [&str; 2] = ["OTTLA_LOG", "OTTLA_CONFIG"];

/// Everything that was given, not yet looked at.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file: TOML, or with the extension `.properties` Kafka's own `server.properties`.
    pub file: Option<PathBuf>,
    /// The environment, all of it: only what begins with `OTTLA_` counts.
    pub env: Vec<(String, String)>,
    /// `name=value` of each `--set`, and what other flags stand for; a later one counts more.
    pub set: Vec<String>,
}

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file.
    File(PathBuf),
    /// This variable of the environment.
    Variable(String),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(file) => write!(f, "the configuration file {}", file.display()),
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::CommandLine => f.write_str("the command line"),
        }
    }
}

impl Sources {
    /// All values with who gave them; each name is known and each value allowed.
    pub(crate) fn gather(&self) -> Result<Gathered, ConfigError> {
        let (mut given, mut warnings) = (BTreeMap::new(), Vec::new());
        if let Some(file) = &self.file {
            let why = |why| ConfigError::Unreadable { file: file.clone(), why };
            let pairs = if file.extension().is_some_and(|extension| extension == "properties") {
                let wrong = |why| ConfigError::Properties { file: file.clone(), why };
                let read =
                    properties::read(&properties::text(fs::read(file).map_err(why)?)).map_err(wrong)?;
                let place = Origin::File(file.clone());
                warnings.extend(read.warnings.into_iter().map(|warning| format!("{place}: {warning}")));
                read.pairs.into_iter().collect()
            } else {
                flattened(&fs::read_to_string(file).map_err(why)?, file)?
            };
            for (name, value) in pairs {
                take(&mut given, name, value, Origin::File(file.clone()))?;
            }
        }
        for (variable, value) in &self.env {
            if !variable.starts_with(PREFIX) || NOT_SETTINGS.contains(&variable.as_str()) {
                continue;
            }
            let name = name_of(variable);
            if broker_definition(&name).is_none() && is_of_a_service(variable) {
                warnings.push(format!("{variable} is what Kubernetes says of a service, and no setting"));
                continue;
            }
            take(&mut given, name, value.clone(), Origin::Variable(variable.clone()))?;
        }
        for pair in &self.set {
            let (name, value) = pair.split_once('=').ok_or_else(|| ConfigError::NotAPair(pair.clone()))?;
            take(&mut given, name.trim().into(), value.into(), Origin::CommandLine)?;
        }
        Ok(Gathered { given, warnings })
    }
}

/// What all sources say together.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// All values with who gave them.
    pub(crate) given: BTreeMap<String, (String, Origin)>,
    /// What a person should know.
    pub(crate) warnings: Vec<String>,
}

/// Whether Kubernetes puts a variable of this name into every pod beside a service that is called as we are.
fn is_of_a_service(variable: &str) -> bool {
    let rest = &variable[PREFIX.len()..];
    rest == "PORT" || rest.starts_with("PORT_") || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT")
}

/// The setting that a variable stands for; what stands for none becomes a name that is none.
fn name_of(variable: &str) -> String {
    let name = variable[PREFIX.len()..].to_ascii_lowercase();
    let known = broker_definitions().find(|definition| definition.name.replace(['.', '-'], "_") == name);
    known.map_or_else(|| name.replace('_', "."), |definition| definition.name.into())
}

fn take(
    given: &mut BTreeMap<String, (String, Origin)>,
    name: String,
    value: String,
    origin: Origin,
) -> Result<(), ConfigError> {
    let Some(definition) = broker_definition(&name) else {
        let nearest = nearest(&name);
        return Err(ConfigError::Unknown { name, origin, nearest });
    };
    if let Err(why) = definition.check(&value) {
        return Err(ConfigError::Value { name, origin, why: why.to_string() });
    }
    given.insert(name, (value, origin));
    Ok(())
}

fn flattened(text: &str, file: &std::path::Path) -> Result<Vec<(String, String)>, ConfigError> {
    let toml = |why| ConfigError::Toml { file: file.into(), why };
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        // Of the many lines that show the place, a sentence wants the message and where.
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        toml(format!("line {line}: {}", error.message()))
    })?;
    let mut pairs = vec![];
    flatten("", &table, &mut pairs).map_err(toml)?;
    Ok(pairs)
}

fn flatten(prefix: &str, table: &Table, pairs: &mut Vec<(String, String)>) -> Result<(), String> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&name, inner, pairs)?,
            Value::Array(items) => {
                let items: Option<Vec<_>> = items.iter().map(plain).collect();
                let items = items.ok_or_else(|| format!("{name} has a list within a list"))?;
                pairs.push((name, items.join(",")));
            }
            other => {
                let text = plain(other).ok_or_else(|| format!("{name} is a date, which no setting is"))?;
                pairs.push((name, text));
            }
        }
    }
    Ok(())
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(on) => Some(on.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// The setting whose name is closest, if it is close.
fn nearest(name: &str) -> Option<String> {
    if name.len() > 100 {
        return None;
    }
    broker_definitions()
        .map(|definition| (distance(name, definition.name), definition.name))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(4))
        .map(|(_, known)| known.to_owned())
}

/// How many letters must be added, dropped or changed to get from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let changed = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
