//! Metrics and health over HTTP.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use bytes::BytesMut;

use crate::broker::{Broker, PATIENCE, command, data_dir, eventually, field, run};
use crate::client::{PRODUCE, batch, produce_request};

/// Where a broker that was started with `admin.listener` serves.
pub(crate) fn admin(broker: &Broker) -> SocketAddr {
    let log = broker.log();
    let line = log.lines().rfind(|line| line.contains("metrics and health are served"));
    field(line.expect("a line that says where"), "address").parse().unwrap()
}

/// Status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of one line of `/metrics`.
fn value(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
}

#[test]
fn metrics_tell_what_happened() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["admin.listener=127.0.0.1:0"]);
    let at = admin(&broker);
    assert_eq!(get(at, "/live"), (200, "live\n".into()));
    assert_eq!(get(at, "/ready"), (200, "ready\n".into()));
    assert_eq!(get(at, "/nothing").0, 404);
    let mut client = broker.client();
    client.create("seen", 2, &[]);
    for _ in 0..3 {
        assert_eq!(client.produce("seen", 0, batch(&["x"])).error_code, 0);
    }
    client.produce("seen", 0, BytesMut::from(&[1, 2, 3][..]));
    client.produce("seen", 9, batch(&["x"]));
    client.values("seen", 0, 0);
    // Nobody is told of this one.
    let mut silent = broker.client();
    silent.send(PRODUCE, &produce_request("seen", 9, 0, Some(batch(&["x"]))));
    silent.assert_closed();
    eventually("the connection is gone", || value(&get(at, "/metrics").1, "ottla_connections") == 1);

    let (status, metrics) = get(at, "/metrics");
    assert_eq!(status, 200);
    for (name, wanted) in [
        ("ottla_requests_total{request=\"Produce\"}", 6),
        ("ottla_requests_total{request=\"CreateTopics\"}", 1),
        ("ottla_request_errors_total{request=\"Produce\",error=\"INVALID_RECORD\"}", 1),
        ("ottla_request_errors_total{request=\"Produce\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"}", 2),
        ("ottla_partitions{state=\"leading\"}", 2),
        ("ottla_partitions{state=\"offline\"}", 0),
        ("ottla_connections", 1),
        ("ottla_connections_accepted_total", 2),
        ("ottla_journal_batches_total", 3),
        ("ottla_actor_panics_total", 0),
        ("ottla_disk_full", 0),
        ("ottla_disk_lost", 0),
    ] {
        assert_eq!(value(&metrics, name), wanted, "{name}");
    }
    let one = batch(&["x"]).len() as u64;
    assert_eq!(value(&metrics, "ottla_log_size_bytes{topic=\"seen\"}"), 3 * one);
    assert_eq!(value(&metrics, "ottla_journal_batch_bytes_total"), 3 * one);
    for name in [
        "ottla_journal_syncs_total",
        "ottla_journal_size_bytes",
        "ottla_disk_free_bytes",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        assert!(value(&metrics, name) > 0, "{name}");
    }
    assert!(value(&metrics, "ottla_network_received_bytes_total") > 5 * one);
    assert!(value(&metrics, "ottla_network_sent_bytes_total") > 3 * one);
    // Prometheus wants each name explained once, before its lines.
    let heads: Vec<_> = metrics.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let mut once = heads.clone();
    once.dedup();
    assert_eq!(heads, once);
}

#[test]
fn a_partition_that_is_offline_is_named() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("broken", 2, &[]);
    client.produce("broken", 1, batch(&["what was synced"]));
    broker.stop();
    // Bytes that were synced are gone.
    let segment = dir.join("broken-1/00000000000000000000.log");
    OpenOptions::new().write(true).open(segment).unwrap().set_len(0).unwrap();

    let broker = Broker::start(&dir, &["admin.listener=127.0.0.1:0"]);
    let (_, metrics) = get(admin(&broker), "/metrics");
    let name = "ottla_partition_unavailable{topic=\"broken\",partition=\"1\",state=\"offline\"}";
    assert_eq!(value(&metrics, name), 1);
    assert_eq!(value(&metrics, "ottla_partitions{state=\"leading\"}"), 1);
    assert_eq!(get(admin(&broker), "/ready").0, 200, "the others are served");
}

#[test]
fn a_place_that_is_taken_or_none_is_said_in_one_sentence() {
    let (_around, dir) = data_dir();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let dir = dir.to_str().unwrap();
    let start =
        |admin: &str| run(&mut command(&["--listen", "127.0.0.1:0", "--data-dir", dir, "--admin", admin]));
    let (said, code) = start(&place);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("admin.listener {place}")), "{said}");
    let (said, code) = start("nowhere");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("host:port"), "{said}");
}
