//! What the compatibility page promises, and small answers that the comparison with Kafka brought up.

use ottla_wire::api::SERVED;
use ottla_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ottla_wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use crate::broker::{Broker, data_dir};

#[test]
fn the_page_names_exactly_what_is_served() {
    let page = include_str!("../../docs/compatibility.md");
    let is_row = |line: &&str| line.split('|').nth(2).is_some_and(|key| key.trim().parse::<i16>().is_ok());
    let rows: Vec<&str> = page.lines().filter(is_row).collect();
    for served in SERVED {
        let row =
            format!("| {} | {} | {} to {} |", served.key.name(), served.key.number(), served.min, served.max);
        assert!(rows.iter().any(|line| line.starts_with(&row)), "docs/compatibility.md lacks {row}");
    }
    assert_eq!(rows.len(), SERVED.len(), "docs/compatibility.md names an API that is not served");
}

#[test]
fn no_names_ask_for_every_setting() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut settings = |names: Option<Vec<String>>| {
        let resource = DescribeConfigsResource {
            resource_type: 2,
            resource_name: "t".into(),
            configuration_keys: names,
        };
        let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer: DescribeConfigsResponse = client.ask(4, &request);
        answer.results[0].configs.iter().map(|config| config.name.clone()).collect::<Vec<_>>()
    };
    let all = settings(None);
    assert!(all.len() > 20);
    assert_eq!(settings(Some(Vec::new())), all);
    assert_eq!(settings(Some(vec!["retention.ms".into(), "no.such".into()])), ["retention.ms"]);
}

#[test]
fn a_producer_id_and_its_epoch_come_together() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    for (producer_id, producer_epoch, code) in [(-1, -1, 0), (5, 3, 0), (5, -1, 42), (-1, 3, 42)] {
        let request = InitProducerIdRequest {
            transactional_id: None,
            producer_id,
            producer_epoch,
            ..Default::default()
        };
        let answer: InitProducerIdResponse = client.ask(4, &request);
        assert_eq!(answer.error_code, code, "{producer_id} {producer_epoch}");
    }
}
