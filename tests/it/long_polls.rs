//! Long polls in a crowd: whoever asked the same is told the same, and whoever asked for more waits on.

use ottla_wire::messages::fetch::{FetchRequest, FetchResponse};

use crate::broker::{Broker, data_dir};
use crate::client::{Client, FETCH, batch, fetch_request, records_in};

/// Longer than any test waits: only records can answer it.
const FOR_EVER_MS: i32 = 600_000;
const READ_COMMITTED: i8 = 1;

/// A client that waits for what comes from offset 1 on.
fn waiting(broker: &Broker, change: impl FnOnce(&mut FetchRequest)) -> (Client, i32) {
    let mut client = broker.client();
    let mut request = fetch_request("t", 0, 1, FOR_EVER_MS);
    change(&mut request);
    let id = client.send(FETCH, &request);
    // Whether it waits already nobody can tell; who comes late is told the same, at once.
    (client, id)
}

/// What the first partition of the answer has.
fn told((client, id): &mut (Client, i32)) -> Vec<(i64, String)> {
    let answer: FetchResponse = client.receive(FETCH, *id);
    let data = &answer.responses[0].partitions[0];
    assert_eq!((data.error_code, data.log_start_offset), (0, 0));
    records_in(data)
}

#[test]
fn a_crowd_is_told_what_each_of_them_asked_for() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut writer = broker.client();
    writer.create("t", 2, &[]);
    writer.produce("t", 0, batch(&["old"]));
    let one = (1, "one".to_owned());
    let two = (2, "two".to_owned());
    let mut alike: Vec<_> = (0..40).map(|_| waiting(&broker, |_| ())).collect();
    let mut committed: Vec<_> =
        (0..40).map(|_| waiting(&broker, |asked| asked.isolation_level = READ_COMMITTED)).collect();
    let mut of_two = waiting(&broker, |asked| {
        let other = asked.topics[0].partitions[0].clone();
        asked.topics[0].partitions.push(other);
        asked.topics[0].partitions[1].partition = 1;
        asked.topics[0].partitions[1].fetch_offset = 0;
    });
    // Another question, because it has less room; the first batch is told whatever its size.
    let mut small = waiting(&broker, |asked| asked.topics[0].partitions[0].partition_max_bytes = 1);
    // One batch is not enough for it.
    let size = i32::try_from(batch(&["one"]).len()).unwrap();
    let mut patient = waiting(&broker, |asked| asked.min_bytes = size + 1);

    writer.produce("t", 0, batch(&["one"]));

    for client in alike.iter_mut().chain(&mut committed).chain([&mut of_two, &mut small]) {
        assert_eq!(told(client), std::slice::from_ref(&one));
    }
    writer.produce("t", 0, batch(&["two"]));
    assert_eq!(told(&mut patient), [one, two]);
}

#[test]
fn a_large_batch_is_told_to_a_crowd_too() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut writer = broker.client();
    writer.create("t", 1, &[]);
    writer.produce("t", 0, batch(&["old"]));
    let mut crowd: Vec<_> = (0..40).map(|_| waiting(&broker, |_| ())).collect();
    // Beyond what is read into memory to be sent.
    let large = "0123456789".repeat(30_000);

    writer.produce("t", 0, batch(&[&large]));

    for client in &mut crowd {
        assert_eq!(told(client), [(1, large.clone())]);
    }
}
