//! A disk that does not come back from a sync: it keeps nobody from ending the process.
//!
//! `tests/faults/sync_shim.c` stands between the broker and its syncs; a control file says from when on they hang.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use ottla_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};

use crate::admin::{admin, get};
use crate::broker::{Broker, command, data_dir, end_of, eventually, signal};
use crate::client::{Client, PRODUCE, batch, produce_request};

/// The shim, and what tells it.
struct Shim {
    library: PathBuf,
    control: PathBuf,
}

impl Shim {
    /// Compiles it: there is a C compiler wherever the broker was built.
    fn beside(dir: &Path) -> Shim {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/sync_shim.c");
        let library = dir.with_extension("so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(cc.status().unwrap().success());
        Shim { library, control: dir.with_extension("fault") }
    }

    /// The program behind it.
    fn command(&self) -> Command {
        self.command_at("127.0.0.1:0")
    }

    /// The same, at an address of its own.
    fn command_at(&self, address: &str) -> Command {
        let mut command = command(&["serve", "--listen", address]);
        command.env("LD_PRELOAD", &self.library).env("SYNC_FAULT", &self.control);
        command.env("OTTLA_LOG", "ottla=info");
        command
    }

    /// From now on no sync of a path with `part` comes back.
    fn hang(&self, part: &str) {
        let beside = self.control.with_extension("new");
        fs::write(&beside, format!("hang {part}\n")).unwrap();
        fs::rename(beside, &self.control).unwrap();
    }

    fn wait_until_one_hangs(&self) {
        eventually("no sync hangs", || self.control.with_extension("fault.hung").exists());
    }
}

/// The line of an end that was not in order.
fn last_line(log: &str) -> &str {
    log.lines().last().unwrap_or_default()
}

#[test]
fn a_second_signal_ends_a_stop_that_hangs() {
    let (_around, dir) = data_dir();
    let shim = Shim::beside(&dir);
    let mut broker = Broker::spawn(&mut shim.command(), &dir);
    // Nobody is there but the mark of a clean stop.
    shim.hang("/.ottla/");
    broker.signal("-TERM");
    shim.wait_until_one_hangs();
    broker.signal("-INT");
    assert_eq!(broker.wait().code(), Some(1), "{}", broker.log());
    assert!(last_line(&broker.log()).starts_with("ottla: SIGINT came again"), "{}", broker.log());
}

#[test]
fn a_journal_that_hangs_keeps_nobody_for_longer_than_a_stop_may_take() {
    let (_around, dir) = data_dir();
    let shim = Shim::beside(&dir);
    let mut broker = Broker::spawn(&mut shim.command(), &dir);
    let mut client = broker.client();
    client.create("kept", 1, &[]);
    client.produce("kept", 0, batch(&["safe"]));
    shim.hang(".journal");
    client.send(PRODUCE, &produce_request("kept", 0, -1, Some(batch(&["not acknowledged"]))));
    shim.wait_until_one_hangs();
    broker.signal("-TERM");
    assert_eq!(broker.wait().code(), Some(1), "{}", broker.log());
    let said = last_line(&broker.log()).to_owned();
    assert!(said.contains("not everything is closed yet"), "{}", broker.log());

    fs::remove_file(&shim.control).unwrap();
    let broker = Broker::start(&dir, &[]);
    assert_eq!(broker.client().values("kept", 0, 0)[0], "safe");
    broker.stop();
}

#[test]
fn a_node_tells_how_it_is_while_a_sync_does_not_come_back() {
    let (_around, dir) = data_dir();
    let shim = Shim::beside(&dir);
    let mut command = shim.command();
    command.args(["--set", "admin.listener=127.0.0.1:0"]);
    let mut broker = Broker::spawn(&mut command, &dir);
    let at = admin(&broker);
    let mut client = broker.client();
    client.create("kept", 1, &[]);
    shim.hang(".journal");
    client.send(PRODUCE, &produce_request("kept", 0, -1, Some(batch(&["not acknowledged"]))));
    shim.wait_until_one_hangs();

    assert_eq!(get(at, "/ready").0, 200);
    let hangs_for = || {
        let (status, metrics) = get(at, "/metrics");
        assert_eq!(status, 200);
        let seconds = metrics.lines().find_map(|line| line.strip_prefix("ottla_journal_sync_seconds "));
        seconds.unwrap().parse::<f64>().unwrap()
    };
    eventually("it does not say for how long", || hangs_for() > 0.2);
    broker.signal("-TERM");
    broker.signal("-INT");
    broker.wait();
}

#[test]
fn a_start_that_hangs_can_be_ended() {
    let (_around, dir) = data_dir();
    let shim = Shim::beside(&dir);
    shim.hang("/.ottla/");
    let mut command = shim.command();
    let child =
        command.arg("--data-dir").arg(&dir).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    shim.wait_until_one_hangs();
    signal(&child, "-TERM");
    signal(&child, "-INT");
    let (said, code) = end_of(child);
    assert_eq!(code, Some(1), "{said}");
    assert!(last_line(&said).starts_with("ottla: SIG") && said.contains("came again"), "{said}");
}

#[test]
fn a_topic_that_is_deleted_before_it_is_there_keeps_no_node_from_being_ready() {
    let (_around, dir) = data_dir();
    let shim = Shim::beside(&dir);
    let broker = Broker::spawn(&mut shim.command(), &dir);
    let mut client = broker.client();
    client.create("stuck", 1, &[]);
    client.produce("stuck", 0, batch(&["v"]));
    broker.kill();

    // What the journal has goes into the segment first, and is synced there.
    shim.hang("/stuck-0/");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = shim.command_at(&address.to_string());
    let deleting = thread::spawn(move || {
        shim.wait_until_one_hangs();
        eventually("nobody listens", || TcpStream::connect(address).is_ok());
        let mut client = Client::connect(address);
        let topics = vec![DeleteTopicState { name: Some("stuck".into()), ..Default::default() }];
        client.send(6, &DeleteTopicsRequest { topics, timeout_ms: 60_000, ..Default::default() });
        client
    });
    let broker = Broker::spawn(&mut command, &dir);
    assert!(!broker.log().contains("still not recovered"), "{}", broker.log());
    drop(deleting.join());
}
