//! One connection, and the few requests that the measurements need.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ottla_rules::batch::build::BatchBuilder;
use ottla_wire::header::{RequestHeader, decode_response_header};
use ottla_wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use ottla_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ottla_wire::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_wire::{DecodeError, Message, Reader, frame};

/// The last versions before the flexible ones: the fields that are looked at have fixed places in them.
const PRODUCE: i16 = 7;
const FETCH: i16 = 4;
const CREATE_TOPICS: i16 = 4;
const LIST_OFFSETS: i16 = 2;
const LATEST: i64 = -1;

/// A connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    frame: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> io::Result<Client> {
        Client::over(TcpStream::connect(address)?)
    }

    /// Connects as soon as somebody listens.
    pub(crate) fn patiently(address: &str) -> io::Result<Client> {
        Client::over(crate::broker::connect_patiently(address)?)
    }

    fn over(stream: TcpStream) -> io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { stream: BufReader::with_capacity(16 * 1024, stream), frame: Vec::new() })
    }

    /// The same connection once more, for a second thread.
    pub(crate) fn writer(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(request)
    }

    /// The next answer, without its length.
    pub(crate) fn receive(&mut self) -> io::Result<&[u8]> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
        if self.frame.len() < length {
            self.frame.resize(length, 0);
        }
        self.stream.read_exact(&mut self.frame[..length])?;
        Ok(&self.frame[..length])
    }

    /// Whether an answer has come that no read call is needed for.
    pub(crate) fn has_more(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// One answer to a Produce of one partition.
    pub(crate) fn acknowledged(&mut self) -> io::Result<()> {
        let answer = self.receive()?;
        // Correlation id, count, name, count, index; then the error.
        let name = usize::from(u16::from_be_bytes([answer[8], answer[9]]));
        let at = 4 + 4 + 2 + name + 4 + 4;
        refuse(i16::from_be_bytes([answer[at], answer[at + 1]]))
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask<Q: Message, A: Message>(&mut self, version: i16, request: &Q) -> io::Result<A> {
        self.send(&encode(version, request))?;
        self.answer(version)
    }

    /// The next answer, to a request of this version.
    pub(crate) fn answer<A: Message>(&mut self, version: i16) -> io::Result<A> {
        let answer = Bytes::copy_from_slice(self.receive()?);
        let mut reader = Reader::new(&answer);
        let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
        decode_response_header(&mut reader, A::KEY, version).map_err(wrong)?;
        A::decode(&mut reader, version).map_err(wrong)
    }

    /// Asks for the versions, as every client does first.
    pub(crate) fn greet(&mut self) -> io::Result<()> {
        self.ask::<_, ApiVersionsResponse>(0, &ApiVersionsRequest::default()).map(drop)
    }

    /// Makes a topic; one that is there already will do.
    pub(crate) fn create(&mut self, topic: &str, partitions: usize) -> io::Result<()> {
        let topic = CreatableTopic {
            name: topic.into(),
            num_partitions: count(partitions),
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
        let answer: CreateTopicsResponse = self.ask(CREATE_TOPICS, &request)?;
        const ALREADY_THERE: i16 = 36;
        answer
            .topics
            .iter()
            .map(|topic| topic.error_code)
            .filter(|code| *code != ALREADY_THERE)
            .try_for_each(refuse)
    }

    /// The ends of the first `partitions` partitions, as soon as all of them are led.
    pub(crate) fn ends(&mut self, topic: &str, partitions: usize) -> io::Result<Vec<i64>> {
        let asked = (0..count(partitions)).map(|partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: LATEST,
            ..Default::default()
        });
        let topic = ListOffsetsTopic { name: topic.into(), partitions: asked.collect() };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let answer: ListOffsetsResponse = self.ask(LIST_OFFSETS, &request)?;
            let mut rows: Vec<_> = answer.topics.into_iter().flat_map(|topic| topic.partitions).collect();
            let wrong = rows.iter().map(|row| row.error_code).find(|code| *code != 0);
            if wrong.is_none() {
                rows.sort_unstable_by_key(|row| row.partition_index);
                return Ok(rows.into_iter().map(|row| row.offset).collect());
            }
            if Instant::now() > deadline {
                return refuse(wrong.unwrap_or_default()).map(|()| Vec::new());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Makes a topic and waits until it is led.
    pub(crate) fn topic(&mut self, topic: &str, partitions: usize) -> io::Result<()> {
        self.create(topic, partitions)?;
        self.ends(topic, partitions).map(drop)
    }
}

/// An error, unless the code says that there is none.
pub(crate) fn refuse(code: i16) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::other(format!("the broker answered error {code}"))) }
}

/// A number as it goes over the wire.
pub(crate) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A whole frame.
pub(crate) fn encode<Q: Message>(version: i16, request: &Q) -> Bytes {
    let header =
        RequestHeader { key: Q::KEY, version, correlation_id: 0, client_id: Some("ottla-bench".into()) };
    frame::request(&header, request)
}

/// A batch of `records` records with values of `value_bytes` bytes that no compression would shorten much.
pub(crate) fn batch(records: usize, value_bytes: usize) -> BytesMut {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(wall.as_millis()).unwrap_or(0);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut value = vec![0; value_bytes];
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        for byte in &mut value {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed.to_le_bytes()[4];
        }
        builder = builder.value(&value, now);
    }
    builder.build()
}

/// A Produce of one batch to one partition, acks=all.
pub(crate) fn produce(topic: &str, partition: usize, records: &[u8]) -> Bytes {
    let data = PartitionProduceData { index: count(partition), records: Some(BytesMut::from(records)) };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    encode(
        PRODUCE,
        &ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topic_data: vec![topic] },
    )
}

/// A Fetch of some partitions from where the reader stands, waiting up to `wait_ms` for the first byte.
pub(crate) fn fetch(topic: &str, wanted: &[(usize, i64)], partition_bytes_max: usize, wait_ms: i32) -> Bytes {
    let partitions = wanted.iter().map(|(partition, offset)| FetchPartition {
        partition: count(*partition),
        fetch_offset: *offset,
        partition_max_bytes: count(partition_bytes_max),
        ..Default::default()
    });
    let topic = FetchTopic { topic: topic.into(), partitions: partitions.collect(), ..Default::default() };
    let request = FetchRequest {
        replica_id: -1,
        max_wait_ms: wait_ms,
        min_bytes: 1,
        max_bytes: i32::MAX,
        topics: vec![topic],
        ..Default::default()
    };
    encode(FETCH, &request)
}

/// Calls `see` with partition, first offset, next offset and size of every whole batch in a Fetch answer.
pub(crate) fn each_batch(answer: &[u8], mut see: impl FnMut(usize, i64, i64, usize)) -> io::Result<()> {
    let mut reader = Reader::over(answer);
    let short = |_: DecodeError| io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut walk = || -> Result<io::Result<()>, DecodeError> {
        let (_id, _throttled) = (reader.i32()?, reader.i32()?);
        for _ in 0..reader.i32()? {
            reader.nullable_string(false)?;
            for _ in 0..reader.i32()? {
                let (partition, code) = (reader.i32()?, reader.i16()?);
                let (_high_watermark, _stable) = (reader.i64()?, reader.i64()?);
                let aborted = usize::try_from(reader.i32()?).unwrap_or(0);
                reader.take(aborted * 16)?;
                let size = usize::try_from(reader.i32()?).unwrap_or(0);
                let mut records = reader.take(size)?;
                if code != 0 {
                    return Ok(refuse(code));
                }
                while let Some(((base, next), size)) = span(records) {
                    see(usize::try_from(partition).unwrap_or(0), base, next, size);
                    records = &records[size..];
                }
            }
        }
        Ok(Ok(()))
    };
    walk().map_err(short)?
}

/// First and next offset of the batch that begins here, and its size, if it is here whole.
fn span(records: &[u8]) -> Option<((i64, i64), usize)> {
    let base = i64::from_be_bytes(*records.first_chunk()?);
    let length = i32::from_be_bytes(*records.get(8..)?.first_chunk()?);
    let last = i32::from_be_bytes(*records.get(23..)?.first_chunk()?);
    let size = usize::try_from(length).ok()? + 12;
    (records.len() >= size).then_some(((base, base + i64::from(last) + 1), size))
}
