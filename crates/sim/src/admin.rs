//! Whoever makes the topic, deletes it, makes it again under its old name, and deletes records of it.

use std::io;
use std::rc::Rc;

use ottla_rules::ids::TopicId;
use ottla_rules::topic::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use ottla_wire::codes::Code;
use ottla_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use ottla_wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ottla_wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_wire::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use crate::anomaly::Anomaly;
use crate::client::Client;
use crate::plan::between;
use crate::scene::{Scene, TOPIC};

const CREATE_TOPICS: i16 = 7;
const DELETE_TOPICS: i16 = 6;
const DELETE_RECORDS: i16 = 2;
const METADATA: i16 = 12;

/// Makes each topic, keeps it for as long as the plan says, and deletes it, over as many connections as it takes.
pub(crate) async fn administer(scene: Rc<Scene>) -> turmoil::Result {
    let mut made_ms = 0;
    loop {
        if let Ok(mut client) = Client::connect(&scene).await {
            let ended = serve(&scene, &mut client, &mut made_ms).await;
            scene.note(format_args!("the admin is cut off: {:?}", ended.map_err(|error| error.kind())));
        }
        scene.rest(40).await;
    }
}

/// Uses one connection as long as it lasts.
async fn serve(scene: &Scene, client: &mut Client, made_ms: &mut u64) -> io::Result<()> {
    loop {
        let index = (0..scene.plan.topics() - 1).find(|index| !scene.topic(*index).is_gone);
        let index = index.unwrap_or(scene.plan.topics() - 1);
        if scene.topic(index).id.is_none() {
            // First what everybody waits for who waits for the topic.
            create_coordinators(scene, client).await?;
            create(scene, client, index).await?;
            *made_ms = scene.now_ms();
        } else if scene.plan.deleted_after_ms.get(index).is_some_and(|ms| scene.now_ms() > *made_ms + ms) {
            delete(scene, client, index).await?;
        } else if scene.plan.deletes_records && scene.luck.below(4) == 0 {
            delete_records(scene, client, index).await?;
        } else {
            look(scene, client, index).await?;
        }
        scene.rest(60).await;
    }
}

/// Metadata: the topic of this name is the one that was made, as long as it was not deleted.
async fn look(scene: &Scene, client: &mut Client, index: usize) -> io::Result<()> {
    let topic = MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
    let request =
        MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() };
    let answer: MetadataResponse = client.ask(METADATA, &request).await?;
    let found = &answer.topics[0];
    let known = scene.topic(index).id;
    if found.error_code != Code::None.number() {
        if known.is_some() {
            scene.report(Err(Anomaly::Unavailable("the topic is not in the metadata".into())));
        }
        return Ok(());
    }
    match known {
        Some(id) if id == found.topic_id => (),
        Some(_) => scene.report(Err(Anomaly::Undead("another topic has the name".into()))),
        None => came(scene, index, found.topic_id),
    }
    Ok(())
}

/// Somebody was told that a topic is there.
fn came(scene: &Scene, index: usize, id: TopicId) {
    if scene.topics.borrow().iter().any(|topic| topic.id == Some(id)) {
        return scene.report(Err(Anomaly::Undead("a topic that was deleted is there again".into())));
    }
    scene.topics.borrow_mut()[index].id = Some(id);
    scene.note(format_args!("topic {index} is there"));
}

/// Makes the topics of the coordinators, when they are to have settings of their own.
async fn create_coordinators(scene: &Scene, client: &mut Client) -> io::Result<()> {
    if scene.plan.coordinators.is_empty() {
        return Ok(());
    }
    let topic = |name: &str| CreatableTopic {
        name: name.into(),
        num_partitions: 2,
        replication_factor: 1,
        configs: scene.plan.coordinators.iter().map(setting).collect(),
        ..Default::default()
    };
    let topics = vec![topic(CONSUMER_OFFSETS), topic(TRANSACTION_STATE)];
    let request = CreateTopicsRequest { topics, ..Default::default() };
    let answer: CreateTopicsResponse = client.ask(CREATE_TOPICS, &request).await?;
    for made in answer.topics {
        let code = Code::from_number(made.error_code);
        if code == Some(Code::KafkaStorageError) && scene.is_short() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !matches!(code, Some(Code::None | Code::TopicAlreadyExists)) {
            let text = format!("no topic {}: {} {:?}", made.name, made.error_code, made.error_message);
            scene.report(Err(Anomaly::Unavailable(text)));
        }
    }
    Ok(())
}

fn setting((name, value): &(String, String)) -> CreatableTopicConfig {
    CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) }
}

async fn create(scene: &Scene, client: &mut Client, index: usize) -> io::Result<()> {
    let topic = CreatableTopic {
        name: TOPIC.into(),
        num_partitions: i32::try_from(scene.plan.partitions).unwrap_or(i32::MAX),
        replication_factor: 1,
        configs: scene.plan.topic.iter().map(setting).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer: CreateTopicsResponse = client.ask(CREATE_TOPICS, &request).await?;
    let made = &answer.topics[0];
    match Code::from_number(made.error_code) {
        Some(Code::None) => came(scene, index, made.topic_id),
        // An earlier request, whose answer was lost, has made it.
        Some(Code::TopicAlreadyExists) => look(scene, client, index).await?,
        Some(Code::KafkaStorageError) if scene.is_short() => (),
        code => {
            let text = format!("no topic: {code:?} {:?}", made.error_message);
            scene.report(Err(Anomaly::Unavailable(text)));
        }
    }
    Ok(())
}

async fn delete(scene: &Scene, client: &mut Client, index: usize) -> io::Result<()> {
    scene.note(format_args!("topic {index} is to go"));
    let topic_id = scene.topic(index).id.unwrap_or(TopicId::ZERO);
    let was_asked = std::mem::replace(&mut scene.topics.borrow_mut()[index].is_leaving, true);
    let topic = DeleteTopicState { name: None, topic_id };
    let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let answer: DeleteTopicsResponse = client.ask(DELETE_TOPICS, &request).await?;
    match Code::from_number(answer.responses[0].error_code) {
        Some(Code::None) => (),
        // An earlier request, whose answer was lost, has deleted it.
        Some(Code::UnknownTopicId) if was_asked => (),
        Some(Code::KafkaStorageError) if scene.is_short() => return Ok(()),
        code => scene.report(Err(Anomaly::Unavailable(format!("the topic cannot be deleted: {code:?}")))),
    }
    scene.topics.borrow_mut()[index].is_gone = true;
    scene.note(format_args!("topic {index} is gone"));
    Ok(())
}

async fn delete_records(scene: &Scene, client: &mut Client, index: usize) -> io::Result<()> {
    let partitions = scene.plan.partitions_of(index);
    let number = scene.luck.below(partitions.len() as u64);
    let partition = partitions.start + usize::try_from(number).unwrap_or(0);
    let before = {
        let ledger = scene.ledger.borrow();
        let (low, end) = (ledger.low(partition), ledger.told_end(partition));
        let most = u64::try_from(end - low).unwrap_or(0);
        low + i64::try_from(between(&scene.luck, 0, most)).unwrap_or(0)
    };
    scene.note(format_args!("records of {partition} before {before} are to go"));
    scene.ledger.borrow_mut().delete(partition, before);
    let asked =
        DeleteRecordsPartition { partition_index: i32::try_from(number).unwrap_or(i32::MAX), offset: before };
    let topic = DeleteRecordsTopic { name: TOPIC.into(), partitions: vec![asked] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 };
    let answer: DeleteRecordsResponse = client.ask(DELETE_RECORDS, &request).await?;
    let answer = &answer.topics[0].partitions[0];
    match Code::from_number(answer.error_code) {
        Some(Code::None) => {
            scene.note(format_args!("records of {partition} before {} are gone", answer.low_watermark));
            if answer.low_watermark < before {
                let (offset, low) = (answer.low_watermark, before);
                scene.report(Err(Anomaly::Returned { partition, offset, low }));
            }
            scene.ledger.borrow_mut().deleted(partition, before);
        }
        // Out of range: a power cut took what had been told, which only page-cache mode allows.
        Some(Code::OffsetOutOfRange) if scene.plan.page_cache => (),
        Some(Code::NotLeaderOrFollower | Code::KafkaStorageError) => (),
        code => scene.report(Err(Anomaly::Unavailable(format!("records cannot be deleted: {code:?}")))),
    }
    Ok(())
}
