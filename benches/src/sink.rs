//! The limit: what a thread per connection reaches that reads a frame, writes it to a file and answers, and does nothing else. A
//! Fetch it answers from a file of its own, whatever was asked for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;

use bytes::Bytes;
use ottla_wire::header::RequestHeader;
use ottla_wire::messages::fetch::FetchRequest;
use ottla_wire::{Decode as _, Reader};

use crate::client;

const FETCH: [u8; 2] = [0, 1];

/// What all connections are served from: more than the caches of a processor hold, in whole batches.
const SOURCE_BYTES: u64 = 512 << 20;

/// Batches that a Fetch is answered with, made when the first one comes.
struct Source {
    path: PathBuf,
    made: OnceLock<io::Result<(File, u64)>>,
}

impl Source {
    /// The file, and the size of one batch in it.
    fn get(&self) -> io::Result<(&File, u64)> {
        let made = self.made.get_or_init(|| {
            let batch = client::batch(63, 1014);
            let mut file =
                File::options().create(true).truncate(true).read(true).write(true).open(&self.path)?;
            for _ in 0..SOURCE_BYTES / batch.len() as u64 {
                file.write_all(&batch)?;
            }
            Ok((file, batch.len() as u64))
        });
        made.as_ref().map(|(file, batch)| (file, *batch)).map_err(|error| error.kind().into())
    }
}

/// Serves until it is killed.
pub(crate) fn serve(listen: &str, file: &Path) -> io::Result<()> {
    let source = Arc::new(Source { path: file.with_extension("fetch"), made: OnceLock::new() });
    for (number, socket) in TcpListener::bind(listen)?.incoming().enumerate() {
        let (socket, file) = (socket?, File::create(file.with_extension(number.to_string()))?);
        let source = Arc::clone(&source);
        // A client that has gone ends its thread, not the sink.
        thread::spawn(move || drop(swallow(socket, file, &source, number as u64)));
    }
    Ok(())
}

fn swallow(mut socket: TcpStream, mut file: File, source: &Source, number: u64) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut frame, mut answer) = (Vec::new(), Vec::new());
    // Each connection reads in another place.
    let mut at = number * (SOURCE_BYTES / 8);
    loop {
        let mut length = [0; 4];
        socket.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
        if frame.len() < length {
            frame.resize(length, 0);
        }
        socket.read_exact(&mut frame[..length])?;
        if frame.starts_with(&FETCH) {
            at = send_batches(&mut socket, &frame[..length], source, at)?;
            continue;
        }
        file.write_all(&frame[..length])?;
        acknowledge(&frame[..length], &mut answer);
        socket.write_all(&answer)?;
    }
}

/// The answer to a Produce of version 7 to one partition: no error, offset 0.
fn acknowledge(request: &[u8], answer: &mut Vec<u8>) {
    let text = |at: usize| at + 2 + usize::from(u16::from_be_bytes([request[at], request[at + 1]]));
    // Key, version, correlation id, client id; transactional id, acks, timeout, count; then topic, count and index.
    let topic = text(8) + 2 + 2 + 4 + 4;
    let topic_end = text(topic);
    let index = topic_end + 4;
    answer.clear();
    answer.extend([0; 4]);
    answer.extend(&request[4..8]);
    answer.extend(1_i32.to_be_bytes());
    answer.extend(&request[topic..topic_end]);
    answer.extend(1_i32.to_be_bytes());
    answer.extend(&request[index..index + 4]);
    // Error, base offset, append time, log start; throttle time.
    answer.extend(0_i16.to_be_bytes());
    answer.extend(0_i64.to_be_bytes());
    answer.extend((-1_i64).to_be_bytes());
    answer.extend(0_i64.to_be_bytes());
    answer.extend(0_i32.to_be_bytes());
    let length = u32::try_from(answer.len() - 4).unwrap_or(0);
    answer[..4].copy_from_slice(&length.to_be_bytes());
}

/// The answer to a Fetch of version 4: for each partition as many whole batches as it may have, which leave by `sendfile`, from
/// this place in the source on. Where the next answer goes on.
fn send_batches(socket: &mut TcpStream, request: &[u8], source: &Source, mut at: u64) -> io::Result<u64> {
    let (file, batch) = source.get()?;
    let request = Bytes::copy_from_slice(request);
    let mut reader = Reader::new(&request);
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
    let header = RequestHeader::decode(&mut reader).map_err(wrong)?;
    let asked = FetchRequest::decode(&mut reader, header.version).map_err(wrong)?;
    let Some(topic) = asked.topics.first() else { return Err(io::ErrorKind::InvalidData.into()) };
    let bytes_of = |bytes_max: i32| u64::from(bytes_max.unsigned_abs()) / batch * batch;

    let mut head = Vec::from(header.correlation_id.to_be_bytes());
    head.extend([0; 4]);
    head.extend(1_i32.to_be_bytes());
    head.extend(client::count(topic.topic.len()).to_be_bytes()[2..].iter());
    head.extend(topic.topic.as_bytes());
    head.extend(client::count(topic.partitions.len()).to_be_bytes());
    // Number, error, high watermark, stable offset, aborted transactions, bytes.
    const PARTITION_BYTES: u64 = 4 + 2 + 8 + 8 + 4 + 4;
    let partitions = topic.partitions.iter().map(|one| PARTITION_BYTES + bytes_of(one.partition_max_bytes));
    let length = head.len() as u64 + partitions.sum::<u64>();
    head.splice(0..0, u32::try_from(length).unwrap_or(0).to_be_bytes());
    for one in &topic.partitions {
        let bytes = bytes_of(one.partition_max_bytes);
        head.extend(one.partition.to_be_bytes());
        head.extend([0; 2 + 8 + 8 + 4]);
        head.extend(u32::try_from(bytes).unwrap_or(0).to_be_bytes());
        socket.write_all(&head)?;
        head.clear();
        let end_of_all = SOURCE_BYTES / batch * batch;
        at = at % end_of_all / batch * batch;
        if at + bytes > end_of_all {
            at = 0;
        }
        let end = at + bytes;
        while at < end {
            // Fits: it is at most what one partition may have.
            let left = (end - at) as usize;
            rustix::fs::sendfile(&*socket, file, Some(&mut at), left)?;
        }
    }
    Ok(at)
}
