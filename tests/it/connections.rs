//! Many connections at once.

use ottla_wire::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::broker::{Broker, data_dir};
use crate::client::{Client, PRODUCE, batch, encode, produce_request};

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
