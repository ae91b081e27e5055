//! What consoles and tools ask: how much is where, what has settings, topics page by page.

use ottla_wire::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ottla_wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use ottla_wire::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use ottla_wire::messages::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::broker::{Broker, data_dir};
use crate::client::{Client, batch};

fn page(
    client: &mut Client,
    names: &[&str],
    limit: i32,
    cursor: Option<Cursor>,
) -> DescribeTopicPartitionsResponse {
    let topics = names.iter().map(|name| TopicRequest { name: (*name).into() }).collect();
    client.ask(0, &DescribeTopicPartitionsRequest { topics, response_partition_limit: limit, cursor })
}

/// Every partition of all pages, one after the other, and how many pages there were.
fn pages(client: &mut Client, names: &[&str], limit: i32) -> (Vec<String>, usize) {
    let (mut found, mut count, mut cursor) = (Vec::new(), 0, None);
    loop {
        let answer = page(client, names, limit, cursor);
        count += 1;
        for topic in answer.topics {
            assert_eq!(topic.error_code, 0);
            let name = topic.name.unwrap();
            found.extend(topic.partitions.iter().map(|it| format!("{name}-{}", it.partition_index)));
        }
        cursor = answer.next_cursor;
        if cursor.is_none() {
            return (found, count);
        }
    }
}

#[test]
fn pages_hold_every_partition_once_whatever_their_size() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    for (name, partitions) in [("b", 3), ("a", 2), ("c", 1)] {
        client.create(name, partitions, &[]);
    }
    let all = ["a-0", "a-1", "b-0", "b-1", "b-2", "c-0"];
    for (limit, expected) in [(-5, 6), (1, 6), (2, 3), (4, 2), (5, 2), (6, 1), (7, 1)] {
        assert_eq!(pages(&mut client, &[], limit), (all.map(String::from).to_vec(), expected), "{limit}");
        assert_eq!(pages(&mut client, &["c", "b", "a", "b"], limit), pages(&mut client, &[], limit));
    }
}

#[test]
fn topics_of_the_broker_itself_are_told_apart() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let names = ["__consumer_offsets", "__transaction_state", "nobody's", "t"];
    let answer = page(&mut client, &names, 10, None);
    let told: Vec<_> = answer.topics.iter().map(|topic| (topic.error_code, topic.is_internal)).collect();
    assert_eq!(told.iter().filter(|(_, is_internal)| *is_internal).count(), 2, "{told:?}");
    assert!(told.contains(&(0, false)), "{told:?}");
    let missing = client.describe("__consumer_offsets");
    assert_eq!((missing.error_code, missing.is_internal), (3, true));
}

#[test]
fn the_broker_has_a_limit_of_its_own() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["max.request.partition.size.limit=2"]);
    let mut client = broker.client();
    client.create("t", 5, &[]);
    assert_eq!(pages(&mut client, &[], 2000).1, 3);
}

#[test]
fn a_cursor_that_leads_nowhere_is_refused() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    let at = |name: &str, partition_index| Some(Cursor { topic_name: name.into(), partition_index });
    for (cursor, code) in [(at("t", -1), 42), (at("u", 0), 42), (at("", 0), 42), (at("t", i32::MAX), 0)] {
        let answer = page(&mut client, &["t"], 10, cursor.clone());
        assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (code, 0), "{cursor:?}");
        assert_eq!(answer.next_cursor, None);
    }
    let answer = page(&mut client, &["a b", "nowhere", "t"], 10, None);
    let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [17, 3, 0]);
}

fn sizes(client: &mut Client, topics: Option<Vec<(&str, Vec<i32>)>>) -> Vec<(String, i32, i64)> {
    let named =
        |(topic, partitions): (&str, Vec<i32>)| DescribableLogDirTopic { topic: topic.into(), partitions };
    let request = DescribeLogDirsRequest { topics: topics.map(|all| all.into_iter().map(named).collect()) };
    let answer: DescribeLogDirsResponse = client.ask(5, &request);
    assert_eq!((answer.error_code, answer.results.len()), (0, 1));
    let topics = answer.results.into_iter().flat_map(|result| result.topics);
    topics
        .flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |it| (name.clone(), it.partition_index, it.partition_size))
        })
        .collect()
}

#[test]
fn a_directory_tells_what_is_in_it() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &[]);
    let mut client = broker.client();
    client.create("t", 2, &[]);
    client.create("u", 1, &[]);
    let records = batch(&["one", "two"]);
    let size = i64::try_from(records.len()).unwrap();
    assert_eq!(client.produce("t", 1, records).error_code, 0);

    let mut all = sizes(&mut client, None);
    all.sort();
    assert_eq!(all, [("t".into(), 0, 0), ("t".into(), 1, size), ("u".into(), 0, 0)]);
    let some = sizes(&mut client, Some(vec![("t", vec![1, 1, 7, -1]), ("nowhere", vec![0]), ("u", vec![])]));
    assert_eq!(some, [("t".into(), 1, size)]);
    assert_eq!(sizes(&mut client, Some(vec![])), []);

    let answer: DescribeLogDirsResponse = client.ask(5, &DescribeLogDirsRequest { topics: None });
    let volume = &answer.results[0];
    assert_eq!((volume.error_code, volume.is_cordoned), (0, false));
    assert_eq!(volume.log_dir, dir.display().to_string());
    assert!(volume.usable_bytes > 0 && volume.total_bytes >= volume.usable_bytes);
}

#[test]
fn what_has_settings_is_listed_by_its_kind() {
    let (_around, dir) = data_dir();
    let broker = Broker::start(&dir, &["node.id=7"]);
    let mut client = broker.client();
    client.create("t", 1, &[]);
    let mut list = |version, kinds: &[i8]| {
        let request = ListConfigResourcesRequest { resource_types: kinds.to_vec() };
        let answer: ListConfigResourcesResponse = client.ask(version, &request);
        let listed = answer.config_resources.into_iter().map(|it| (it.resource_type, it.resource_name));
        (answer.error_code, listed.collect::<Vec<_>>())
    };
    let named = |kind, name: &str| (kind, name.to_owned());
    assert_eq!(list(1, &[]), (0, vec![named(2, "t"), named(4, "7"), named(8, "7")]));
    assert_eq!(list(1, &[2]), (0, vec![named(2, "t")]));
    assert_eq!(list(1, &[16, 32]), (0, vec![]));
    assert_eq!(list(1, &[2, 3]), (35, vec![]));
    assert_eq!(list(0, &[]), (0, vec![]), "version 0 knows client metrics alone");
}

#[test]
fn what_is_listed_is_described() {
    let (_around, dir) = data_dir();
    let broker = Broker::start_telling(&dir, &["node.id=7"], "ottla=warn");
    let mut client = broker.client();
    let mut describe = |resource_type, name: &str, keys: Option<&[&str]>| {
        let configuration_keys = keys.map(|keys| keys.iter().map(|key| (*key).into()).collect());
        let resource =
            DescribeConfigsResource { resource_type, resource_name: name.into(), configuration_keys };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: true,
        };
        let mut answer: DescribeConfigsResponse = client.ask(4, &request);
        let result = answer.results.remove(0);
        assert_eq!((result.resource_type, &*result.resource_name), (resource_type, name));
        (result.error_code, result.error_message.unwrap_or_default(), result.configs)
    };
    let (loggers, metrics) = (8, 16);
    for keys in [None, Some(&[][..]), Some(&["root", "no.such"])] {
        let (code, said, configs) = describe(loggers, "7", keys);
        assert_eq!((code, &*said), (0, ""));
        let level: Vec<_> = configs.iter().map(|it| (&*it.name, it.value.as_deref())).collect();
        assert_eq!(level, [("root", Some("WARN"))]);
        assert!(configs[0].read_only && !configs[0].is_sensitive && configs[0].synonyms.is_empty());
        assert_eq!((configs[0].config_source, configs[0].config_type), (6, 0));
    }
    assert_eq!(describe(loggers, "7", Some(&["no.such"])), (0, String::new(), vec![]));
    let (code, said, configs) = describe(metrics, "anything", None);
    let names: Vec<_> = configs.iter().map(|it| &*it.name).collect();
    assert_eq!((code, &*said, names), (0, "", vec!["interval.ms", "match", "metrics"]));
    for (kind, name, why) in [
        (loggers, "", "Broker id must not be empty"),
        (loggers, "8", "Unexpected broker id, expected 7 but received 8"),
        (loggers, "x", "Broker id must be an integer, but it is: x"),
        (metrics, "", "Client metrics subscription name must not be empty"),
        (3, "7", "Unknown resource type 3"),
    ] {
        assert_eq!(describe(kind, name, None), (42, why.to_owned(), vec![]));
    }
}
