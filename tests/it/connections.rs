//! Connections: how many, for how long, and where clients are told to go.

use std::time::Instant;

use ottla_wire::messages::metadata::{MetadataRequest, MetadataResponse};
use ottla_wire::messages::produce::ProduceResponse;

use crate::broker::{Broker, PATIENCE, data_dir};
use crate::client::{Client, FETCH, PRODUCE, batch, encode, fetch_request, produce_request};

#[test]
fn one_connection_too_many_is_closed_and_the_others_are_served() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["max.connections=5"]);
    let mut clients: Vec<Client> = (0..5).map(|_| broker.client()).collect();
    for client in &mut clients {
        let _: MetadataResponse = client.ask(12, &MetadataRequest::default());
    }
    for _ in 0..20 {
        broker.client().assert_closed();
    }
    for client in &mut clients {
        let _: MetadataResponse = client.ask(12, &MetadataRequest::default());
    }
}

#[test]
fn a_request_larger_than_a_connection_may_hold_is_let_in_alone() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["connection.bytes.max=1024"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    for bytes in [900, 3_000, 100_000, 400_000] {
        let value = "v".repeat(bytes);
        let ids =
            [(); 3].map(|()| client.send(PRODUCE, &produce_request("t", 0, -1, Some(batch(&[&value])))));
        for id in ids {
            let answer: ProduceResponse = client.receive(PRODUCE, id);
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{bytes}");
        }
    }
}

#[test]
fn one_address_may_not_take_everything() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["max.connections.per.ip=2"]);
    let (mut first, second) = (broker.client(), broker.client());
    let _: MetadataResponse = first.ask(12, &MetadataRequest::default());
    broker.client().assert_closed();
    drop(second);
    // Whoever leaves makes room; when that is noticed is the broker's affair.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut third = broker.client();
        third.send(12, &MetadataRequest::default());
        if third.next_frame().is_some() {
            break;
        }
        assert!(Instant::now() < deadline, "nobody is let in");
    }
}

#[test]
fn a_client_that_goes_while_it_waits_leaves_its_place_at_once() {
    // Behind its long poll it has sent nothing, a request, or more than is read ahead (and less than the kernel takes).
    for behind in [0, 1, 2_000] {
        let (_around, dir) = data_dir();
        let broker = Broker::start(&dir, &["max.connections=2"]);
        let mut stays = broker.client();
        stays.create("t", 1, &[]);
        let mut goes = broker.client();
        goes.send(FETCH, &fetch_request("t", 0, 0, 600_000));
        for _ in 0..behind {
            goes.send(12, &MetadataRequest::default());
        }
        drop(goes);
        // Far shorter than the poll: only who has left makes room.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut next = broker.client();
            next.send(12, &MetadataRequest::default());
            if next.next_frame().is_some() {
                break;
            }
            assert!(Instant::now() < deadline, "the place of a client that is gone stays taken ({behind})");
        }
    }
}

#[test]
fn a_connection_that_is_silent_is_closed() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["connections.max.idle.ms=50"]);
    let mut client = broker.client();
    let _: MetadataResponse = client.ask(12, &MetadataRequest::default());
    client.assert_closed();
}

#[test]
fn clients_are_told_the_address_by_which_they_came_or_the_advertised_one() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let answer: MetadataResponse = broker.client().ask(12, &MetadataRequest::default());
    assert_eq!(answer.brokers[0].host, "127.0.0.1");
    assert_eq!(answer.brokers[0].port, i32::from(broker.address.port()));
    broker.stop();
    let broker = Broker::start(&dir, &["advertised.listeners=PLAINTEXT://broker.example:1234"]);
    let answer: MetadataResponse = broker.client().ask(12, &MetadataRequest::default());
    assert_eq!((answer.brokers[0].host.as_str(), answer.brokers[0].port), ("broker.example", 1234));
}

#[test]
fn many_producers_at_once_keep_their_own_order() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    broker.client().create("t", 1, &[]);
    let mut clients: Vec<Client> = (0..30).map(|_| broker.client()).collect();
    for round in 0..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            let records = batch(&[&format!("{number}:{round}")]);
            client.send_bytes(&encode(round, PRODUCE, &produce_request("t", 0, -1, Some(records))));
        }
    }
    for client in &mut clients {
        for round in 0..5 {
            assert_eq!(client.produced(round).error_code, 0);
        }
    }
    let values = broker.client().values("t", 0, 0);
    assert_eq!(values.len(), 150);
    for number in 0..30 {
        let mine: Vec<_> =
            values.iter().filter_map(|value| value.strip_prefix(&format!("{number}:"))).collect();
        assert_eq!(mine, ["0", "1", "2", "3", "4"]);
    }
}

#[test]
fn a_connection_moves_to_the_partition_it_produces_to_and_nobody_notices() {
    let (_around, dir) = data_dir();
    let broker = Broker::start_telling(&dir, &["shard.threads=2"], "ottla=debug");
    // One on each shard; the partition is on one of them.
    let mut clients = [broker.client(), broker.client()];
    clients[0].create("t", 1, &[]);
    let sent = clients.each_mut().map(|client| {
        let send = |at| client.send(PRODUCE, &produce_request("t", 0, -1, Some(batch(&[&format!("{at}")]))));
        let ids: Vec<i32> = (0..200).map(send).collect();
        client.end();
        ids
    });

    for (client, ids) in clients.iter_mut().zip(sent) {
        let offsets: Vec<i64> = ids.into_iter().map(|id| client.produced(id).base_offset).collect();
        assert!(offsets.is_sorted(), "appended in another order than sent: {offsets:?}");
        client.assert_closed();
    }
    assert_eq!(broker.client().values("t", 0, 0).len(), 400);
    let log = broker.log();
    assert_eq!(log.matches("connection moved").count(), 1, "{log}");
}
