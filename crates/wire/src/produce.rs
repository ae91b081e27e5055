//! The Produce request (key 0), versions 3 to 13, by hand: record bytes leave the frame as they came.
//!
//! The frame is read twice: once to find where everything lies, borrowing, and once to cut the records out of it.
//! Each partition's records are then a piece of the frame's own allocation that nobody else can see, so that offsets
//! can be stamped into it in place.
//!
//! Versions: 9 flexible. 13 topic ids instead of names. The answer is [`crate::messages::produce::ProduceResponse`].

use std::ops::Range;

use bytes::BytesMut;
use ottla_rules::ids::TopicId;

use crate::{
    Decode, Encode, Field, Message, Shape,
    api::ApiKey,
    messages::produce::ProduceResponse,
    reader::{DecodeError, Reader},
    writer::Writer,
};

/// Appends batches of records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProduceRequest {
    /// The transactional id; null without transactions.
    pub transactional_id: Option<String>,
    /// Who must have the records before the answer: 0 nobody (there is no answer), 1 the leader, -1 all in-sync replicas.
    pub acks: i16,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
    /// The topics, in the client's order.
    pub topic_data: Vec<TopicProduceData>,
}

/// What goes to one topic.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicProduceData {
    /// The topic's name; empty from version 13 on.
    pub name: String,
    /// The topic's id; zero before version 13.
    pub topic_id: TopicId,
    /// The partitions, in the client's order.
    pub partition_data: Vec<PartitionProduceData>,
}

/// What goes to one partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionProduceData {
    /// The partition's number within its topic.
    pub index: i32,
    /// The records as they came, not looked at; `None` is null.
    pub records: Option<BytesMut>,
}

/// Where the records of each partition lie in the body, in the order of the partitions.
type Places = Vec<Option<Range<usize>>>;

/// What a partition takes in memory while a request is read: itself and its place, in a list that doubles as it grows
/// (for a moment the old half is there too).
const PARTITION_BYTES: usize = size_of::<PartitionProduceData>() + 3 * size_of::<Option<Range<usize>>>();

impl ProduceRequest {
    /// Reads the body of a request (what stands in the frame behind the header). No record byte is copied.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no such request or the version is not 3 to 13.
    pub fn decode(mut body: BytesMut, version: i16) -> Result<Self, DecodeError> {
        let (min, max) = (ProduceResponse::MIN_VERSION, ProduceResponse::MAX_VERSION);
        if !(min..=max).contains(&version) {
            return Err(DecodeError::Version { name: "ProduceRequest", version, min, max });
        }
        let mut places = Places::new();
        let mut request = read_request(&mut Reader::over(&body), version, &mut places)?;
        let partitions = request.topic_data.iter_mut().flat_map(|topic| &mut topic.partition_data);
        let mut cut = 0;
        for (partition, place) in partitions.zip(places) {
            let Some(place) = place else { continue };
            // Places come in the order of the bytes: each begins at or behind the last cut.
            let _between = body.split_to(place.start - cut);
            partition.records = Some(body.split_to(place.len()));
            cut = place.end;
        }
        Ok(request)
    }
}

fn shape(version: i16) -> Shape {
    Shape { version, flexible: version >= ApiKey::Produce.flexible_from(), nullable: false }
}

fn read_request(
    reader: &mut Reader<'_>,
    version: i16,
    places: &mut Places,
) -> Result<ProduceRequest, DecodeError> {
    let shape = shape(version);
    let mut request = ProduceRequest {
        transactional_id: reader.nullable_string(shape.flexible)?,
        acks: reader.i16()?,
        timeout_ms: reader.i32()?,
        topic_data: Vec::new(),
    };
    request.topic_data =
        read_list(reader, shape, size_of::<TopicProduceData>(), |reader| read_topic(reader, shape, places))?;
    end(reader, shape)?;
    Ok(request)
}

fn read_topic(
    reader: &mut Reader<'_>,
    shape: Shape,
    places: &mut Places,
) -> Result<TopicProduceData, DecodeError> {
    let mut topic = TopicProduceData::default();
    if shape.version >= 13 {
        topic.topic_id = reader.uuid()?;
    } else {
        topic.name = String::read(reader, shape)?;
    }
    topic.partition_data =
        read_list(reader, shape, PARTITION_BYTES, |reader| read_partition(reader, shape, places))?;
    end(reader, shape)?;
    Ok(topic)
}

fn read_partition(
    reader: &mut Reader<'_>,
    shape: Shape,
    places: &mut Places,
) -> Result<PartitionProduceData, DecodeError> {
    let index = reader.i32()?;
    let length = reader.bytes_length(shape.flexible)?;
    let at = reader.position();
    reader.take(length.unwrap_or_default())?;
    places.push(length.map(|length| at..at + length));
    end(reader, shape)?;
    Ok(PartitionProduceData { index, records: None })
}

fn read_list<T>(
    reader: &mut Reader<'_>,
    shape: Shape,
    element_bytes: usize,
    mut read: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let at = reader.position();
    let count = reader.count(shape.flexible, element_bytes)?.ok_or(DecodeError::Null { at })?;
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        list.push(read(reader)?);
    }
    Ok(list)
}

fn end(reader: &mut Reader<'_>, shape: Shape) -> Result<(), DecodeError> {
    if shape.flexible { reader.tagged_fields(|_, _| Ok(())) } else { Ok(()) }
}

/// For clients and tests: records are copied in.
impl Encode for ProduceRequest {
    fn encode(&self, writer: &mut Writer, version: i16) {
        let shape = shape(version);
        writer.nullable_string(self.transactional_id.as_deref(), shape.flexible);
        writer.i16(self.acks);
        writer.i32(self.timeout_ms);
        writer.length(Some(self.topic_data.len()), shape.flexible);
        for topic in &self.topic_data {
            if version >= 13 {
                writer.uuid(topic.topic_id);
            } else {
                topic.name.write(writer, shape);
            }
            writer.length(Some(topic.partition_data.len()), shape.flexible);
            for partition in &topic.partition_data {
                writer.i32(partition.index);
                writer.nullable_bytes(partition.records.as_deref(), shape.flexible);
                writer.no_tagged_fields(shape.flexible);
            }
            writer.no_tagged_fields(shape.flexible);
        }
        writer.no_tagged_fields(shape.flexible);
    }
}

/// As every other message; from borrowed bytes, so records are copied. A broker uses [`ProduceRequest::decode`] with the
/// frame itself.
impl Decode for ProduceRequest {
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        let body = reader.take(reader.remaining())?;
        Self::decode(BytesMut::from(body), version)
    }
}

impl Message for ProduceRequest {
    const KEY: ApiKey = ApiKey::Produce;
    const NAME: &'static str = "ProduceRequest";
    const MIN_VERSION: i16 = ProduceResponse::MIN_VERSION;
    const MAX_VERSION: i16 = ProduceResponse::MAX_VERSION;
    const FLEXIBLE_FROM: i16 = ProduceResponse::FLEXIBLE_FROM;
}
