//! The command line: what a person types becomes settings, and what went wrong becomes one sentence.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use ottla::Sources;

/// The variable that names the configuration file, where `--config` does not.
const CONFIG_VARIABLE: &str = "OTTLA_CONFIG";

/// A Kafka-compatible event-streaming broker.
#[derive(Debug, Parser)]
#[command(
    name = "ottla",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Every setting can also be given by the environment, as OTTLA_ and its name in capitals with _ for \
                  each dot (OTTLA_LOG_RETENTION_MS), and OTTLA_CONFIG names the configuration file. OTTLA_LOG sets what is logged, \
                  for example OTTLA_LOG=debug.\n\nExit codes: 0 stopped in order, 1 could not run, 2 wrong \
                  usage or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker until SIGTERM or SIGINT. This is also what happens without any command.
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// A TOML file with settings, or a Kafka server.properties (by its name: *.properties).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: ottla-data]. Created when it is missing.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where to listen for Kafka clients [default: 127.0.0.1:9092]. Port 0 takes any free port.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What clients are told to connect to [default: the address by which they came].
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where to serve /metrics, /ready and /live over HTTP [default: nowhere].
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Any setting, by Kafka's name. May be repeated; a later one counts more.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What was asked for.
pub(crate) enum Wish {
    /// Run a broker with these settings.
    Serve(Sources),
    /// Print this, and nothing else.
    Tell(String),
}

/// Reads the arguments (the first is the program's name) and the environment.
///
/// # Errors
/// One sentence for the person who typed.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Wish::Tell(error.render().to_string()));
        }
        Err(error) => return Err(sentence(&error)),
    };
    let serve = match cli.command {
        Some(Command::Serve(serve)) => serve,
        None => cli.serve,
    };
    Ok(Wish::Serve(serve.sources(env::vars_os())))
}

/// clap says what is wrong in its first line; usage and tips follow, which `--help` says better.
fn sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    let what = first.strip_prefix("error: ").unwrap_or(first).trim_end_matches(['.', ':']);
    format!("{what}; ottla --help lists what can be said")
}

impl Serve {
    fn sources(self, env: impl Iterator<Item = (OsString, OsString)>) -> Sources {
        // A variable that is no text is none of ours.
        let env: Vec<_> = env
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let named = || env.iter().find(|(name, _)| name == CONFIG_VARIABLE).map(|(_, file)| file.into());
        let file = self.config.or_else(named);
        let mut set = self.set;
        // Behind --set, so that the plain flag wins. log.dirs, because it wins over log.dir wherever that was set.
        set.extend(self.data_dir.map(|dir| format!("log.dirs={dir}")));
        set.extend(self.listen.map(|place| format!("listeners=PLAINTEXT://{place}")));
        set.extend(self.advertise.map(|place| format!("advertised.listeners=PLAINTEXT://{place}")));
        set.extend(self.admin.map(|place| format!("admin.listener={place}")));
        Sources { file, env, set }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<Wish, String> {
        read(line.split(' ').map(OsString::from))
    }

    fn set_by(line: &str) -> Vec<String> {
        match read_line(line) {
            Ok(Wish::Serve(sources)) => sources.set,
            Ok(Wish::Tell(text)) => panic!("{text}"),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_flags_stand_for_settings() {
        for line in
            ["ottla --data-dir d --listen h:1 --set a=b", "ottla serve --data-dir d --listen h:1 --set a=b"]
        {
            assert_eq!(set_by(line), ["a=b", "log.dirs=d", "listeners=PLAINTEXT://h:1"]);
        }
        assert!(set_by("ottla").is_empty());
    }

    #[test]
    fn what_cannot_be_understood_is_said_in_one_line() {
        for line in ["ottla --nonsense", "ottla fly", "ottla --listen", "ottla serve extra"] {
            let Err(error) = read_line(line) else { panic!("{line} was understood") };
            assert!(!error.contains('\n') && error.contains("--help"), "{error}");
        }
        assert!(matches!(read_line("ottla --help"), Ok(Wish::Tell(_))));
        assert!(matches!(read_line("ottla --version"), Ok(Wish::Tell(_))));
    }
}
