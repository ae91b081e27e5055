//! Clients that do not take what they asked for, or do not end what they began: others are served on.

use std::io::Write;
use std::net::TcpStream;

use ottla_wire::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use ottla_wire::messages::fetch::{FetchPartition, FetchResponse};
use ottla_wire::messages::metadata::{MetadataRequest, MetadataResponse};
use ottla_wire::messages::produce::ProduceResponse;

use crate::broker::{Broker, data_dir, eventually};
use crate::client::{Client, FETCH, PRODUCE, batch, encode, fetch_request, produce_request, records_in};

const ROOM: &str = "queued.max.request.bytes=1048576";

#[test]
fn answers_that_nobody_takes_are_not_held_in_memory() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[ROOM]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    let long = "y".repeat(200_000);
    for _ in 0..30 {
        assert_eq!(bystander.produce("t", 0, batch(&[&long])).error_code, 0);
    }

    // Each asks, many times over, for more than the node has room for, and takes none of it.
    let mut greedy: Vec<_> = (0..8).map(|_| broker.client()).collect();
    let mut fetch = fetch_request("t", 0, 0, 0);
    fetch.max_bytes = 20_000_000;
    fetch.topics[0].partitions[0].partition_max_bytes = 20_000_000;
    for client in &mut greedy {
        for id in 0..20 {
            client.send_bytes(&encode(id, FETCH, &fetch));
        }
    }

    for _ in 0..10 {
        assert_eq!(bystander.produce("t", 0, batch(&[&long])).error_code, 0);
    }
    // And what they asked for is there when they take it after all.
    for client in &mut greedy {
        for id in 0..20 {
            assert_eq!(client.fetched(id).error_code, 0);
        }
    }
}

#[test]
fn many_small_ranges_that_nobody_takes_leave_room_for_requests() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[ROOM]);
    let mut bystander = broker.client();
    bystander.create("t", 128, &[]);
    let some = "y".repeat(60_000);
    for partition in 0..128 {
        assert_eq!(bystander.produce("t", partition, batch(&[&some])).error_code, 0);
    }

    // 7.5 MB each, none of which is large enough to leave by `sendfile` for its own sake.
    let mut fetch = fetch_request("t", 0, 0, 0);
    fetch.max_bytes = 20_000_000;
    let one = fetch.topics[0].partitions[0].clone();
    fetch.topics[0].partitions =
        (0..128).map(|partition| FetchPartition { partition, ..one.clone() }).collect();
    let mut frozen: Vec<_> = (0..8).map(|_| broker.client()).collect();
    let ids: Vec<_> = frozen.iter_mut().map(|client| client.send(FETCH, &fetch)).collect();

    for _ in 0..10 {
        assert_eq!(bystander.produce("t", 0, batch(&[&some, &some, &some])).error_code, 0);
    }
    for (client, id) in frozen.iter_mut().zip(ids) {
        let answer: FetchResponse = client.receive(FETCH, id);
        assert_eq!(answer.responses[0].partitions.len(), 128);
        for data in &answer.responses[0].partitions {
            assert!(records_in(data).iter().any(|(_, value)| *value == some), "{}", data.partition_index);
        }
    }
}

#[test]
fn who_takes_no_answers_gives_the_room_back_that_others_wait_for() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[ROOM]);
    let mut bystander = broker.client();
    let topics: Vec<_> = (0..100).map(|n| format!("t{n}")).collect();
    topics.iter().for_each(|name| drop(bystander.create(name, 1, &[])));

    // More than a MB of explanations each.
    let resource = |name: &String| DescribeConfigsResource {
        resource_type: 2,
        resource_name: name.clone(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: topics.iter().map(resource).collect(),
        include_synonyms: true,
        include_documentation: true,
    };
    let mut deaf: Vec<_> = (0..4).map(|_| broker.client()).collect();
    for client in &mut deaf {
        for _ in 0..4 {
            client.send(4, &request);
        }
    }
    let long = "y".repeat(200_000);
    for _ in 0..3 {
        assert_eq!(bystander.produce("t0", 0, batch(&[&long])).error_code, 0);
    }
}

#[test]
fn a_large_request_behind_a_long_poll_takes_no_room_until_its_turn() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[ROOM]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    bystander.create("silent", 1, &[]);
    let long = "y".repeat(400_000);
    let mut pollers: Vec<_> = (0..4).map(|_| broker.client()).collect();
    for client in &mut pollers {
        client.send_bytes(&encode(1, FETCH, &fetch_request("silent", 0, 0, i32::MAX)));
        client.send_bytes(&encode(2, PRODUCE, &produce_request("t", 0, -1, Some(batch(&[&long])))));
    }

    for _ in 0..5 {
        assert_eq!(bystander.produce("t", 0, batch(&[&long])).error_code, 0);
    }
    // Once the polls are over, their requests have their turn.
    assert_eq!(bystander.produce("silent", 0, batch(&["now"])).error_code, 0);
    for client in &mut pollers {
        assert_eq!(records_in(&client.fetched(1)), [(0, "now".to_owned())]);
        assert_eq!(client.produced(2).error_code, 0);
    }
}

#[test]
fn requests_that_never_end_give_their_room_back() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[ROOM]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    let long = "y".repeat(400_000);
    let whole = encode(1, PRODUCE, &produce_request("t", 0, -1, Some(batch(&[&long]))));
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let stream = TcpStream::connect(broker.address).unwrap();
        (&stream).write_all(&whole[..whole.len() - 1]).unwrap();
        stalled.push(stream);
    }

    // Small requests pass at once, a large one as soon as the others are given up.
    let _: MetadataResponse = bystander.ask(12, &MetadataRequest::default());
    assert_eq!(bystander.produce("t", 0, batch(&[&long])).error_code, 0);
}

#[test]
fn a_crowd_that_announces_much_and_sends_little_holds_up_nobody_for_long() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[ROOM]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let stream = TcpStream::connect(broker.address).unwrap();
        (&stream).write_all(&50_000_000_i32.to_be_bytes()).unwrap();
        (&stream).write_all(&[0; 20_000]).unwrap();
        crowd.push(stream);
    }

    // Behind one of them at most, not behind forty.
    let began = std::time::Instant::now();
    let long = "y".repeat(400_000);
    assert_eq!(bystander.produce("t", 0, batch(&[&long])).error_code, 0);
    assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
}

#[test]
fn a_crowd_of_large_requests_that_have_begun_is_answered_to_the_last() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["queued.max.request.bytes=900000"]);
    let mut holder = broker.client();
    holder.create("t", 1, &[]);
    let frame = |bytes: usize| {
        encode(1, PRODUCE, &produce_request("t", 0, -1, Some(batch(&["y".repeat(bytes).as_str()]))))
    };
    // One has taken all the credit, and the beginnings of the others are together more than there is.
    let (large, whole) = (frame(1_000_000), frame(200_000));
    holder.send_bytes(&large[..large.len() - 1]);
    let mut crowd: Vec<_> = (0..100).map(|_| broker.client()).collect();
    crowd.iter_mut().for_each(|client| client.send_bytes(&whole[..20_000]));
    // Answered behind all of these beginnings, as far as they have been read.
    let _: MetadataResponse = broker.client().ask(12, &MetadataRequest::default());
    holder.send_bytes(&large[large.len() - 1..]);
    assert_eq!(holder.produced(1).error_code, 0);

    std::thread::scope(|scope| {
        for client in &mut crowd {
            scope.spawn(|| {
                client.send_bytes(&whole[20_000..]);
                assert_eq!(client.produced(1).error_code, 0);
            });
        }
    });
}

/// Its end is no reason to throw away what it has sent: as in Kafka, and whether it asks for an answer or not.
#[test]
fn who_has_sent_a_whole_request_and_goes_while_there_is_no_room_is_served() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["queued.max.request.bytes=900000"]);
    let mut holder = broker.client();
    holder.create("t", 1, &[]);
    let frame = |bytes: usize, acks| {
        encode(1, PRODUCE, &produce_request("t", 0, acks, Some(batch(&["y".repeat(bytes).as_str()]))))
    };
    let large = frame(1_000_000, -1);
    holder.send_bytes(&large[..large.len() - 1]);
    let (mut asks, mut does_not) = (broker.client(), broker.client());
    asks.send_bytes(&frame(60_000, -1));
    asks.end();
    does_not.send_bytes(&frame(60_000, 0));
    drop(does_not);
    // Answered behind what has been read of them.
    let _: MetadataResponse = broker.client().ask(12, &MetadataRequest::default());

    holder.send_bytes(&large[large.len() - 1..]);

    assert_eq!((holder.produced(1).error_code, asks.produced(1).error_code), (0, 0));
    let mut reader = broker.client();
    eventually("all three are there", || reader.offset_at("t", 0, -1).offset == 3);
}

/// Beside somebody who asks one by one, who floods is served in turns with a rest between them.
#[test]
fn a_flood_is_answered_to_its_last_request_also_by_a_client_that_has_stopped_sending() {
    const REQUESTS: i32 = 500;
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    // Connections go to the shards in turn: one for each where there are two.
    let mut bystanders = [broker.client(), broker.client()];
    bystanders[0].create("t", 1, &[]);
    let flood = || {
        let bytes = |each: &dyn Fn(i32) -> Vec<u8>| (0..REQUESTS).flat_map(each).collect::<Vec<_>>();
        for _ in 0..10 {
            let (mut questions, mut batches) = (broker.client(), broker.client());
            questions.send_bytes(&bytes(&|id| encode(id, 12, &MetadataRequest::default()).into()));
            let small = || produce_request("t", 0, -1, Some(batch(&["x"])));
            batches.send_bytes(&bytes(&|id| encode(id, PRODUCE, &small()).into()));
            questions.end();
            batches.end();
            for id in 0..REQUESTS {
                let _: MetadataResponse = questions.receive(12, id);
                let answer: ProduceResponse = batches.receive(PRODUCE, id);
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
            }
            questions.assert_closed();
            batches.assert_closed();
        }
    };
    std::thread::scope(|threads| {
        let flood = threads.spawn(flood);
        while !flood.is_finished() {
            for bystander in &mut bystanders {
                let _: MetadataResponse = bystander.ask(12, &MetadataRequest::default());
            }
        }
    });
}

/// So many requests with a batch of 40,000 bytes to the first partition of "t", which they send without waiting for answers.
fn much(requests: i32) -> Vec<u8> {
    let long = "y".repeat(40_000);
    let one = |id| encode(id, PRODUCE, &produce_request("t", 0, -1, Some(batch(&[&long]))));
    (0..requests).flat_map(one).collect()
}

/// Somebody who appends little to the first partition of "t", one by one, as long as `goes_on`: how many it were.
fn appends_little(client: &mut Client, goes_on: impl Fn() -> bool) -> i64 {
    let mut appended = 0;
    while goes_on() {
        assert_eq!(client.produce("t", 0, batch(&["x"])).error_code, 0);
        appended += 1;
    }
    appended
}

/// What comes in front of somebody who appends little is appended in portions, with a rest between them.
#[test]
fn portions_are_answered_to_the_last_also_to_a_client_that_has_stopped_sending() {
    const REQUESTS: i32 = 300;
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    let saturating = || {
        let mut client = broker.client();
        client.send_bytes(&much(REQUESTS));
        client.end();
        let offsets: Vec<_> = (0..REQUESTS).map(|id| client.produced(id).base_offset).collect();
        assert!(offsets.windows(2).all(|two| two[0] < two[1]), "{offsets:?}");
        client.assert_closed();
    };
    let appended = std::thread::scope(|threads| {
        let saturating = threads.spawn(saturating);
        appends_little(&mut bystander, || !saturating.is_finished())
    });
    assert_eq!(bystander.offset_at("t", 0, -1).offset, i64::from(REQUESTS) + appended);
}

#[test]
fn a_node_that_stops_while_portions_rest_has_stored_what_it_acknowledged() {
    const REQUESTS: i32 = 300;
    let (_around, dir) = data_dir();
    let mut broker = Broker::start(&dir, &[]);
    let mut bystander = broker.client();
    bystander.create("t", 1, &[]);
    let mut client = broker.client();
    let (acknowledged, appended) = std::thread::scope(|threads| {
        let saturating = threads.spawn(move || {
            client.send_bytes(&much(REQUESTS));
            (0..REQUESTS / 10).for_each(|id| assert_eq!(client.produced(id).error_code, 0));
            client
        });
        let appended = appends_little(&mut bystander, || !saturating.is_finished());
        broker.signal("-TERM");
        let mut client = saturating.join().unwrap();
        let mut acknowledged = REQUESTS / 10;
        while let Some(answer) = client.produced_or_closed(acknowledged) {
            assert_eq!(answer.error_code, 0);
            acknowledged += 1;
        }
        (i64::from(acknowledged), appended)
    });
    assert!(broker.wait().success());

    let broker = Broker::start(&dir, &[]);
    let stored = broker.client().offset_at("t", 0, -1).offset;
    assert_eq!(stored, acknowledged + appended);
}
