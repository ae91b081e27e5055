//! Fetch sessions over the wire (KIP-227).

use ottla_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};

use crate::broker::{Broker, data_dir};
use crate::client::{Client, FETCH, batch, fetch_request, records_in};

const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;

/// A request of a session: partitions of `t` with their offsets.
fn request(id: i32, epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    let partitions = partitions.iter().map(|(partition, fetch_offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        ..fetch_request("t", 0, 0, 0).topics[0].partitions[0].clone()
    });
    let topic = FetchTopic { topic: "t".into(), partitions: partitions.collect(), ..Default::default() };
    let topics = if topic.partitions.is_empty() { Vec::new() } else { vec![topic] };
    FetchRequest { session_id: id, session_epoch: epoch, topics, ..fetch_request("t", 0, 0, 0) }
}

/// Partition, error, and the values of the records that came.
type Told = Vec<(i32, i16, Vec<String>)>;

fn ask(client: &mut Client, request: &FetchRequest) -> (i16, i32, Told) {
    let answer: FetchResponse = client.ask(FETCH, request);
    let told = answer.responses.iter().flat_map(|topic| &topic.partitions).map(|data| {
        let values = records_in(data).into_iter().map(|(_, value)| value);
        (data.partition_index, data.error_code, values.collect())
    });
    (answer.error_code, answer.session_id, told.collect())
}

#[test]
fn a_session_tells_only_what_is_new() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 3, &[]);
    let (error, id, told) = ask(&mut client, &request(0, 0, &[(0, 0), (1, 0), (2, 0)]));
    assert_eq!((error, told), (0, vec![(0, 0, vec![]), (1, 0, vec![]), (2, 0, vec![])]));
    assert!(id > 0);
    assert_eq!(ask(&mut client, &request(id, 1, &[])), (0, id, vec![]));

    client.produce("t", 1, batch(&["one"]));
    assert_eq!(ask(&mut client, &request(id, 2, &[])), (0, id, vec![(1, 0, vec!["one".into()])]));
    // Another connection may go on with it. Whoever had records stands last.
    let mut client = broker.client();
    client.produce("t", 2, batch(&["two"]));
    let told = vec![(2, 0, vec!["two".into()]), (1, 0, vec!["one".into()])];
    assert_eq!(ask(&mut client, &request(id, 3, &[])), (0, id, told));
    assert_eq!(ask(&mut client, &request(id, 4, &[(1, 1), (2, 1)])), (0, id, vec![]));

    // What does not exist is an error until it is forgotten.
    let (_, _, told) = ask(&mut client, &request(id, 5, &[(7, 0)]));
    assert_eq!(told, [(7, 3, vec![])]);
    assert_eq!(ask(&mut client, &request(id, 6, &[])).2, [(7, 3, vec![])]);
    let forgotten = ForgottenTopic { topic: "t".into(), partitions: vec![7, 1], ..Default::default() };
    let forget = FetchRequest { forgotten_topics_data: vec![forgotten], ..request(id, 7, &[]) };
    assert_eq!(ask(&mut client, &forget), (0, id, vec![]));
    client.produce("t", 1, batch(&["nobody looks"]));
    assert_eq!(ask(&mut client, &request(id, 8, &[])), (0, id, vec![]));

    assert_eq!(ask(&mut client, &request(id, 8, &[])), (INVALID_FETCH_SESSION_EPOCH, 0, vec![]));
    assert_eq!(
        ask(&mut client, &request(id, -1, &[(1, 1)])),
        (0, 0, vec![(1, 0, vec!["nobody looks".into()])])
    );
    assert_eq!(ask(&mut client, &request(id, 9, &[])), (FETCH_SESSION_ID_NOT_FOUND, 0, vec![]));
}

#[test]
fn a_long_poll_of_a_session_is_woken_by_what_it_does_not_name() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut reader = broker.client();
    reader.create("t", 2, &[]);
    let (_, id, _) = ask(&mut reader, &request(0, 0, &[(0, 0), (1, 0)]));
    let waiting = FetchRequest { max_wait_ms: 600_000, min_bytes: 1, ..request(id, 1, &[]) };
    let asked = reader.send(FETCH, &waiting);
    assert_eq!(broker.client().produce("t", 1, batch(&["news"])).error_code, 0);
    let answer: FetchResponse = reader.receive(FETCH, asked);
    let data = &answer.responses[0].partitions;
    assert_eq!((data.len(), records_in(&data[0])), (1, vec![(0, "news".into())]));
}

#[test]
fn without_a_slot_there_is_no_session_and_everything_is_told() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["max.incremental.fetch.session.cache.slots=1"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let (_, first, _) = ask(&mut client, &request(0, 0, &[(0, 0)]));
    assert!(first > 0);
    assert_eq!(ask(&mut client, &request(0, 0, &[(0, 0)])), (0, 0, vec![(0, 0, vec![])]));
    assert_eq!(ask(&mut client, &request(first, 1, &[])), (0, first, vec![]));
}
