//! From files, variables and flags to what a node is started with.

use std::{collections::BTreeMap, fs, path::PathBuf};

use ottla_config::{Config, Endpoint, Sources, template};
use ottla_rules::{
    ids::NodeId,
    settings::{Standing, broker_definition, broker_definitions},
};

struct Given {
    sources: Sources,
    // Lives as long as the file in it.
    _dir: tempfile::TempDir,
}

fn file(text: &str) -> Given {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    fs::write(&path, text).unwrap();
    Given { sources: Sources { file: Some(path), ..Sources::default() }, _dir: dir }
}

fn complaint(sources: &Sources) -> String {
    Config::load(sources).unwrap_err().to_string()
}

fn set(pairs: &[&str]) -> Sources {
    Sources { set: pairs.iter().map(|pair| (*pair).into()).collect(), ..Sources::default() }
}

#[test]
fn a_node_nobody_configured_is_durable_and_reached_from_its_machine_alone() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.listen[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!(config.advertise, config.listen);
    assert_eq!(config.data_dir, PathBuf::from("ottla-data"));
    assert_eq!(config.node_id, NodeId(1));
    assert_eq!(config.shards, None);
    assert_eq!(config.settings.int("log.flush.interval.messages"), 1);
}

#[test]
fn what_kubernetes_says_of_a_service_of_our_name_keeps_nobody_from_starting() {
    let says = ["OTTLA_PORT", "OTTLA_PORT_9092_TCP_ADDR", "OTTLA_SERVICE_HOST", "OTTLA_SERVICE_PORT_CLIENTS"];
    let env = says.map(|name| (name.to_owned(), "tcp://10.0.0.1:9092".to_owned())).into();
    let config = Config::load(&Sources { env, ..Sources::default() }).unwrap();
    assert_eq!(config.warnings.len(), says.len());
    assert!(config.warnings[0].contains("OTTLA_PORT is what Kubernetes says"), "{:?}", config.warnings);
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let mut given = file("num.partitions = 2\n[log.retention]\nhours = 3\n");
    let n = |sources: &Sources| Config::load(sources).unwrap().settings.int("num.partitions");
    assert_eq!(n(&given.sources), 2);
    given.sources.env = vec![("OTTLA_NUM_PARTITIONS".into(), "4".into()), ("HOME".into(), "/".into())];
    assert_eq!(n(&given.sources), 4);
    given.sources.set = vec!["num.partitions=8".into(), "num.partitions=16".into()];
    assert_eq!(n(&given.sources), 16);
    let config = Config::load(&given.sources).unwrap();
    assert_eq!(config.settings.int("log.retention.ms"), 3 * 3_600_000);
}

#[test]
fn names_may_be_quoted_dotted_or_in_tables_and_lists_may_be_lists() {
    let given = file(
        "\"max.connections\" = 5\n\"max.connections.per.ip\" = 2\nlog.cleanup.policy = [\"delete\", \"compact\"]\n\
         broker.rack = \"west\"\n[shard]\nthreads = 3\n",
    );
    let config = Config::load(&given.sources).unwrap();
    assert_eq!((config.limits.connections_max, config.limits.connections_per_ip_max), (5, 2));
    assert_eq!(config.settings.text("log.cleanup.policy"), "delete,compact");
    assert_eq!((config.rack.as_deref(), config.shards), (Some("west"), Some(3)));
}

#[test]
fn what_is_advertised_belongs_to_a_listener() {
    let config = Config::load(&set(&[
        "listeners=PLAINTEXT://0.0.0.0:0",
        "advertised.listeners=PLAINTEXT://broker.example:9092",
    ]))
    .unwrap();
    let told = Endpoint { name: "PLAINTEXT".into(), host: "broker.example".into(), port: 9092 };
    assert_eq!(config.advertise, [told]);
    assert_eq!(
        complaint(&set(&["advertised.listeners=PLAINTEXT://0.0.0.0:9092"])),
        "the command line sets advertised.listeners wrongly: clients cannot connect to \
         PLAINTEXT://0.0.0.0:9092, it needs a host and a port"
    );
}

#[test]
fn what_no_topic_could_be_created_with_is_refused_at_the_start() {
    let lags = ["log.cleaner.min.compaction.lag.ms=10", "log.cleaner.max.compaction.lag.ms=5"];
    assert_eq!(
        complaint(&set(&lags)),
        "the settings do not go together: log.cleaner.min.compaction.lag.ms (10) is more than \
         log.cleaner.max.compaction.lag.ms (5)"
    );
    assert!(complaint(&set(&["offsets.topic.segment.bytes=1000000"])).ends_with("at least 1048576"));
    assert!(complaint(&set(&["max.connections=0"])).ends_with("at least 1"));
}

#[test]
fn a_typo_is_met_with_the_name_that_was_meant() {
    let given = file("log.retention.hour = 5\n");
    let path = given.sources.file.as_ref().unwrap().display().to_string();
    assert_eq!(
        complaint(&given.sources),
        format!(
            "the configuration file {path} sets \"log.retention.hour\", which is no setting; did you mean \
             \"log.retention.hours\"?"
        )
    );
    let env = Sources { env: vec![("OTTLA_NUM_PARTITION".into(), "5".into())], ..Sources::default() };
    assert!(complaint(&env).contains("the environment variable OTTLA_NUM_PARTITION"));
    assert!(complaint(&env).contains("did you mean \"num.partitions\"?"));
    assert!(complaint(&set(&["favourite.colour=red"])).ends_with("single.toml lists all settings"));
}

#[test]
fn every_complaint_is_one_sentence_that_says_where() {
    assert_eq!(
        complaint(&set(&["num.partitions=0"])),
        "the command line sets num.partitions wrongly: Invalid value 0 for configuration num.partitions: Value \
         must be at least 1"
    );
    assert_eq!(
        complaint(&set(&["num.partitions"])),
        "the command line says --set \"num.partitions\", but it takes name=value"
    );
    assert!(complaint(&set(&["log.dirs=/a,/b"])).contains("exactly one data directory"));
    assert!(complaint(&set(&["listeners=SSL://:1"])).contains("only PLAINTEXT"));
    let broken = complaint(&file("num.partitions = 1\nnum.partitions =\n").sources);
    assert!(broken.contains("is not valid TOML: line 2: ") && !broken.contains('\n'), "{broken}");
    let missing = Sources { file: Some("/no/such/file.toml".into()), ..Sources::default() };
    assert!(complaint(&missing).starts_with("cannot read the configuration file /no/such/file.toml: "));
}

#[test]
fn who_asks_for_encryption_is_refused_wherever_the_two_halves_stand() {
    let why = "OUTSIDE://:9092 would speak SASL_SSL, but only PLAINTEXT listeners are served for now";
    let both =
        complaint(&set(&["listeners=OUTSIDE://:9092", "listener.security.protocol.map=OUTSIDE:SASL_SSL"]));
    assert_eq!(both, format!("the command line sets listener.security.protocol.map wrongly: {why}"));
    let mut given = file("listener.security.protocol.map = \"INSIDE:PLAINTEXT, OUTSIDE:SASL_SSL\"\n");
    given.sources.env = vec![("OTTLA_LISTENERS".into(), "INSIDE://:9091,outside://:9092".into())];
    assert!(complaint(&given.sources).ends_with(why), "{}", complaint(&given.sources));
    given.sources.env = vec![("OTTLA_LISTENERS".into(), "INSIDE://:9091".into())];
    assert_eq!(Config::load(&given.sources).unwrap().listen.len(), 1, "nobody listens there");
}

#[test]
fn the_file_of_a_kafka_node_starts_a_node_here() {
    let mut given = file("");
    let path = given.sources.file.take().unwrap().with_file_name("server.properties");
    let text = "\
# What a Kafka distribution puts into such a file, in our words.
process.roles=broker,controller
node.id=7
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,\\
    SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=3
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
#log.flush.interval.messages=10000
log.retention.hours = 24
log.segment.bytes: 1073741824
log.retention.check.interval.ms=300000
";
    fs::write(&path, text).unwrap();
    given.sources.file = Some(path.clone());
    let config = Config::load(&given.sources).unwrap();
    assert_eq!((config.node_id, config.data_dir), (NodeId(7), PathBuf::from("/tmp/kraft-combined-logs")));
    assert_eq!(config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["PLAINTEXT://:9092"]);
    assert_eq!(config.advertise[0].to_string(), "PLAINTEXT://localhost:9092");
    assert_eq!(config.settings.int("log.retention.ms"), 24 * 3_600_000);
    assert_eq!(config.settings.int("num.partitions"), 3);
    assert_eq!(config.settings.int("log.flush.interval.messages"), 1);
    let place = format!("the configuration file {}: ", path.display());
    assert!(config.warnings.iter().all(|warning| warning.starts_with(&place)));
    let told: Vec<&str> =
        config.warnings.iter().map(|it| it[place.len()..].split(" do").next().unwrap()).collect();
    assert_eq!(
        told,
        [
            "process.roles",
            "controller.quorum.bootstrap.servers",
            "controller.listener.names",
            "inter.broker.listener.name"
        ]
    );
    fs::write(&path, "super.users=User:me\nmax.connections.per.ip.overrides=h:1\nnum.io.threads=3\n")
        .unwrap();
    let warnings = Config::load(&given.sources).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    fs::write(&path, text).unwrap();
    // Stronger sources are as strict as ever, and a wrong value is one here too.
    given.sources.set = vec!["num.partition=3".into()];
    assert!(complaint(&given.sources).contains("did you mean \"num.partitions\"?"));
    fs::write(&path, "num.partitions=none").unwrap();
    given.sources.set.clear();
    assert!(complaint(&given.sources).contains("sets num.partitions wrongly"));
    fs::write(&path, "log.dirs=\\u00").unwrap();
    assert!(complaint(&given.sources).contains("cannot be used: line 1: "));
}

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("single.toml")
}

#[test]
fn the_shipped_file_names_every_setting_that_does_something_with_its_default() {
    let config = Config::load(&Sources { file: Some(shipped()), ..Sources::default() }).unwrap();
    let text = fs::read_to_string(shipped()).unwrap();
    let mut expected = BTreeMap::new();
    for definition in broker_definitions().filter(|definition| definition.standing == Standing::Honoured) {
        match definition.default {
            Some(default) => drop(expected.insert(definition.name.to_owned(), default.to_owned())),
            None => assert!(text.contains(&format!("\n# \"{}\" =", definition.name)), "{}", definition.name),
        }
    }
    assert_eq!(config.settings.given(), &expected);
    assert!(config.settings.given().keys().all(|name| broker_definition(name).is_some()));
    assert_eq!(Config { settings: Config::default().settings, ..config }, Config::default());
}

#[test]
fn the_shipped_file_says_what_the_tables_say() {
    if std::env::var_os("WRITE_TEMPLATE").is_some() {
        fs::write(shipped(), template()).unwrap();
    }
    assert!(
        fs::read_to_string(shipped()).unwrap() == template(),
        "config/single.toml is out of date: write it anew with WRITE_TEMPLATE=1 cargo test -p ottla-config"
    );
}
