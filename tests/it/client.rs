//! A client of bytes: one connection, requests out, answers in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use ottla_rules::batch::build::BatchBuilder;
use ottla_rules::batch::records::Records;
use ottla_rules::batch::{Walk, check_stored};
use ottla_wire::api::ApiKey;
use ottla_wire::header::{RequestHeader, decode_response_header};
use ottla_wire::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use ottla_wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic,
};
use ottla_wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use ottla_wire::messages::produce::{PartitionProduceResponse, ProduceResponse};
use ottla_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_wire::{Message, Reader, fetch, frame};

use crate::broker::PATIENCE;

/// 2026-11-14, for records.
pub(crate) const TIME: i64 = 1_794_614_400_000;
/// Versions without topic ids.
pub(crate) const PRODUCE: i16 = 9;
pub(crate) const FETCH: i16 = 12;

const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, next_id: 1 }
    }

    /// Sends a request; its correlation id.
    pub(crate) fn send<Q: Message>(&mut self, version: i16, request: &Q) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        self.send_bytes(&encode(id, version, request));
        id
    }

    /// Sends bytes as they are. A broker that has closed already is no reason to fail: reading will tell.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends nothing more; what was sent is answered still.
    pub(crate) fn end(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer, without its length; `None` when the broker has closed.
    pub(crate) fn next_frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.read_exactly(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.read_exactly(&mut frame)?;
        Some(frame.into())
    }

    fn read_exactly(&mut self, into: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(into) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                None
            }
            Err(error) => panic!("no answer: {error}"),
        }
    }

    /// The answer with this correlation id, which must be the next.
    pub(crate) fn receive<A: Message>(&mut self, version: i16, id: i32) -> A {
        self.receive_or_closed(version, id).expect("the broker closed the connection")
    }

    /// The same; `None` when the broker has closed.
    fn receive_or_closed<A: Message>(&mut self, version: i16, id: i32) -> Option<A> {
        let frame = self.next_frame()?;
        let mut reader = Reader::new(&frame);
        assert_eq!(decode_response_header(&mut reader, A::KEY, version).unwrap(), id);
        let answer = A::decode(&mut reader, version).unwrap();
        assert_eq!(reader.remaining(), 0, "bytes behind the answer");
        Some(answer)
    }

    pub(crate) fn ask<Q: Message, A: Message>(&mut self, version: i16, request: &Q) -> A {
        let id = self.send(version, request);
        self.receive(version, id)
    }

    /// Asserts that the broker closes, without another answer.
    pub(crate) fn assert_closed(&mut self) {
        assert_eq!(self.next_frame(), None);
    }

    /// Creates a topic and waits until its partitions answer.
    pub(crate) fn create(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> CreatableTopicResult {
        let result = self.try_create(name, partitions, configs);
        assert_eq!(result.error_code, 0, "{:?}", result.error_message);
        for partition in 0..partitions {
            self.wait_for_leader(name, partition);
        }
        result
    }

    pub(crate) fn try_create(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> CreatableTopicResult {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let mut answer: CreateTopicsResponse = self.ask(7, &request);
        answer.topics.remove(0)
    }

    /// Waits until somebody leads a partition.
    pub(crate) fn wait_for_leader(&mut self, topic: &str, partition: i32) {
        let deadline = Instant::now() + PATIENCE;
        while self.offset_at(topic, partition, -1).error_code == NOT_LEADER_OR_FOLLOWER {
            assert!(Instant::now() < deadline, "nobody leads {topic}-{partition}");
        }
    }

    /// ListOffsets: the offset for a time (-1 the end, -2 the start).
    pub(crate) fn offset_at(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> ListOffsetsPartitionResponse {
        self.offset_at_in(8, topic, partition, timestamp)
    }

    /// The same, in this version.
    pub(crate) fn offset_at_in(
        &mut self,
        version: i16,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> ListOffsetsPartitionResponse {
        let partition = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let mut answer: ListOffsetsResponse = self.ask(version, &request);
        answer.topics.remove(0).partitions.remove(0)
    }

    /// Metadata of one topic, by its name; creates nothing.
    pub(crate) fn describe(&mut self, name: &str) -> MetadataResponseTopic {
        let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let mut answer: MetadataResponse = self.ask(12, &request);
        answer.topics.remove(0)
    }

    /// Produces to one partition with acks=all.
    pub(crate) fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: BytesMut,
    ) -> PartitionProduceResponse {
        let id = self.send(PRODUCE, &produce_request(topic, partition, -1, Some(records)));
        self.produced(id)
    }

    /// The answer to a Produce of one partition.
    pub(crate) fn produced(&mut self, id: i32) -> PartitionProduceResponse {
        self.produced_or_closed(id).expect("the broker closed the connection")
    }

    /// The same; `None` when the broker has closed.
    pub(crate) fn produced_or_closed(&mut self, id: i32) -> Option<PartitionProduceResponse> {
        let mut answer: ProduceResponse = self.receive_or_closed(PRODUCE, id)?;
        Some(answer.responses.remove(0).partition_responses.remove(0))
    }

    /// Fetches from one partition; answered at once, with what is there.
    pub(crate) fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let id = self.send(FETCH, &fetch_request(topic, partition, offset, 0));
        self.fetched(id)
    }

    /// The answer to a Fetch of one partition.
    pub(crate) fn fetched(&mut self, id: i32) -> PartitionData {
        let mut answer: FetchResponse = self.receive(FETCH, id);
        assert_eq!(answer.error_code, 0);
        answer.responses.remove(0).partitions.remove(0)
    }

    /// Every value of a partition from an offset on, with the offset behind them.
    pub(crate) fn values(&mut self, topic: &str, partition: i32, from: i64) -> Vec<String> {
        let mut values = Vec::new();
        let mut offset = from;
        loop {
            let data = self.fetch(topic, partition, offset);
            assert_eq!(data.error_code, 0);
            if offset >= data.high_watermark {
                return values;
            }
            let before = offset;
            for (at, value) in records_in(&data) {
                if at >= offset {
                    values.push(value);
                    offset = at + 1;
                }
            }
            assert!(offset > before, "nothing from {offset} to {}", data.high_watermark);
        }
    }
}

/// A framed request.
pub(crate) fn encode<Q: Message>(id: i32, version: i16, request: &Q) -> Bytes {
    let header = RequestHeader { key: Q::KEY, version, correlation_id: id, client_id: Some("it".into()) };
    frame::request(&header, request)
}

/// A framed request of any key and version with any body.
pub(crate) fn raw(key: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(id.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    if ApiKey::from_number(key).is_some_and(|key| version >= key.flexible_from()) {
        frame.push(0);
    }
    frame.extend(body);
    let length = i32::try_from(frame.len()).unwrap();
    [&length.to_be_bytes()[..], &frame].concat()
}

pub(crate) fn produce_request(
    topic: &str,
    partition: i32,
    acks: i16,
    records: Option<BytesMut>,
) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { transactional_id: None, acks, timeout_ms: 10_000, topic_data: vec![topic] }
}

pub(crate) fn fetch_request(topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, topics: vec![topic], ..Default::default() }
}

/// A batch of these values.
pub(crate) fn batch(values: &[&str]) -> BytesMut {
    values.iter().fold(BatchBuilder::new(), |batch, value| batch.value(value, TIME)).build()
}

/// The records of a fetch: offset and value.
pub(crate) fn records_in(data: &PartitionData) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    let Some(fetch::Records::Bytes(bytes)) = &data.records else { return found };
    for at in Walk::over(bytes) {
        let (position, header) = at.unwrap();
        let end = position + header.size();
        check_stored(&bytes[position..end]).unwrap();
        let mut records = Records::of(&bytes[position..end], 1 << 24).unwrap();
        while let Some(record) = records.next().unwrap() {
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap();
            found.push((header.base_offset.0 + i64::from(record.offset_delta), value));
        }
    }
    found
}
