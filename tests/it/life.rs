//! A broker's life: it starts and says so, keeps what it acknowledged, and ends with the right exit code.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::broker::{Broker, command, data_dir, field, run};
use crate::client::{FETCH, batch, fetch_request};

#[test]
fn it_says_when_it_is_ready_and_where() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["node.id=7"]);
    assert!(broker.ready.starts_with("ready kafka=127.0.0.1:"), "{}", broker.ready);
    assert_eq!(field(&broker.ready, "data"), dir.to_str().unwrap());
    assert_eq!(field(&broker.ready, "cluster").len(), 22);
    assert_eq!(field(&broker.ready, "node"), "7");
    assert!(field(&broker.ready, "took_ms").parse::<u64>().is_ok());
}

#[test]
fn what_is_produced_can_be_fetched() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("payments", 2, &[]);
    assert_eq!(client.produce("payments", 1, batch(&["one", "two"])).base_offset, 0);
    assert_eq!(client.produce("payments", 1, batch(&["three"])).base_offset, 2);
    assert_eq!(client.values("payments", 1, 0), ["one", "two", "three"]);
    assert_eq!(client.values("payments", 1, 1), ["two", "three"]);
    assert!(client.values("payments", 0, 0).is_empty());
}

#[test]
fn a_restart_keeps_everything() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let cluster = field(&broker.ready, "cluster").to_owned();
    let mut client = broker.client();
    let id = client.create("kept", 3, &[("retention.ms", "-1")]).topic_id;
    client.produce("kept", 2, batch(&["a", "b"]));
    broker.stop();

    let broker = Broker::start(&dir, &[]);
    assert_eq!(field(&broker.ready, "cluster"), cluster);
    let mut client = broker.client();
    assert_eq!(client.values("kept", 2, 0), ["a", "b"]);
    assert_eq!(client.try_create("kept", 1, &[]).error_code, 36);
    assert_eq!(client.describe("kept").topic_id, id);
    assert_eq!(client.produce("kept", 2, batch(&["c"])).base_offset, 2);
}

#[test]
fn a_kill_keeps_everything_that_was_acknowledged() {
    let (_around, dir) = data_dir();
    let mut expected: Vec<String> = Vec::new();
    let broker = Broker::start(&dir, &[]);
    broker.client().create("kept", 1, &[]);
    broker.kill();
    for round in 0..3 {
        let broker = Broker::start(&dir, &[]);
        let mut client = broker.client();
        client.wait_for_leader("kept", 0);
        assert_eq!(client.values("kept", 0, 0), expected);
        for at in 0..20 {
            let value = format!("{round}-{at}");
            assert_eq!(client.produce("kept", 0, batch(&[&value])).error_code, 0);
            expected.push(value);
        }
        broker.kill();
    }
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.wait_for_leader("kept", 0);
    assert_eq!(client.values("kept", 0, 0), expected);
}

#[test]
fn it_leaves_in_order_when_it_is_told_to() {
    for signal in ["-TERM", "-INT"] {
        let (_around, dir) = data_dir();
        let mut broker = Broker::start(&dir, &[]);
        let mut client = broker.client();
        client.create("waits", 1, &[]);
        // A long poll keeps nobody: its client asks the next broker.
        client.send(FETCH, &fetch_request("waits", 0, 0, 600_000));
        broker.signal(signal);
        assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
        client.assert_closed();
    }
}

/// The program behind another one, which says what SIGHUP does to it: these tests may run behind `nohup` themselves.
#[cfg(target_os = "linux")]
fn behind(outer: &[&str], dir: &Path) -> Broker {
    let inner = command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut behind = Command::new(outer[0]);
    behind.args(&outer[1..]).arg(inner.get_program()).args(inner.get_args());
    Broker::spawn(&mut behind, dir)
}

#[test]
#[cfg(target_os = "linux")]
fn it_leaves_in_order_when_its_terminal_goes_unless_that_was_foreseen() {
    let (_around, dir) = data_dir();
    let mut broker = behind(&["env", "--default-signal=HUP"], &dir);
    broker.client().create("before", 1, &[]);
    // A shell tells its jobs, and then the kernel does.
    broker.signal("-HUP");
    broker.signal("-HUP");
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());

    let mut broker = behind(&["nohup"], &dir);
    broker.signal("-HUP");
    assert_eq!(broker.client().create("after", 1, &[]).error_code, 0);
    broker.signal("-TERM");
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
}

#[test]
fn what_cannot_run_says_why_and_ends_with_1() {
    let (around, dir) = data_dir();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let (said, code) = run(command(&["--listen", &place]).arg("--data-dir").arg(around.path().join("other")));
    assert_eq!(code, Some(1));
    assert_one_sentence(&said, &place);

    let _broker = Broker::start(&dir, &[]);
    let (said, code) = run(command(&["--listen", "127.0.0.1:0"]).arg("--data-dir").arg(&dir));
    assert_eq!(code, Some(1));
    assert_one_sentence(&said, "used by another process");

    let newer = around.path().join("newer");
    fs::create_dir_all(newer.join(".ottla")).unwrap();
    fs::write(newer.join(".ottla/format"), "99\n").unwrap();
    let (said, code) = run(command(&["--listen", "127.0.0.1:0"]).arg("--data-dir").arg(&newer));
    assert_eq!(code, Some(1));
    assert_one_sentence(&said, "format");

    let file = around.path().join("file");
    fs::write(&file, "").unwrap();
    let (said, code) = run(command(&["--listen", "127.0.0.1:0"]).arg("--data-dir").arg(file.join("inside")));
    assert_eq!(code, Some(1));
    assert_one_sentence(&said, "cannot be used");
}

#[test]
fn a_directory_belongs_to_one_node() {
    let (_around, dir) = data_dir();
    Broker::start(&dir, &["node.id=1"]).stop();
    let (said, code) =
        run(command(&["--listen", "127.0.0.1:0", "--set", "node.id=2"]).arg("--data-dir").arg(&dir));
    assert_eq!(code, Some(1));
    assert_one_sentence(&said, "belongs to node 1");
}

#[test]
fn what_cannot_be_meant_ends_with_2() {
    for (arguments, about) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["fly"], "fly"),
        (&["--listen", "nowhere"], "listeners"),
        (&["--set", "no.such.thing=1"], "no.such.thing"),
        (&["--set", "log.retention.ms=soon"], "log.retention.ms"),
        (&["--set", "log.retention.ms"], "name=value"),
        (&["--config", "/no/such/file.toml"], "/no/such/file.toml"),
    ] {
        let (said, code) = run(&mut command(arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert_one_sentence(&said, about);
    }
}

#[test]
fn settings_come_from_the_environment_and_from_a_file() {
    let (around, dir) = data_dir();
    let file = around.path().join("node.toml");
    fs::write(&file, "[log]\nretention.ms = 5\n").unwrap();
    let (said, code) = run(command(&["--config"]).arg(&file).env("OTTLA_NODE_ID", "many"));
    assert_eq!(code, Some(2));
    assert_one_sentence(&said, "OTTLA_NODE_ID");

    let (said, code) =
        run(command(&[]).env("OTTLA_CONFIG", &file).env("OTTLA_LOG_DIRS", &dir).env("OTTLA_LISTENERS", "x"));
    assert_eq!(code, Some(2));
    assert_one_sentence(&said, "OTTLA_LISTENERS");
}

fn assert_one_sentence(said: &str, about: &str) {
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("ottla: ") && last.contains(about), "{said:?} does not tell of {about:?}");
    assert!(!said.contains("panicked"), "{said}");
    let complaints = said.lines().filter(|line| line.starts_with("ottla: ")).count();
    assert_eq!(complaints, 1, "{said}");
}
