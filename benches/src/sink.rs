//! The limit: what a thread per connection reaches that reads a frame, writes it to a file and answers, and does nothing else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

/// Serves until it is killed.
pub(crate) fn serve(listen: &str, file: &Path) -> io::Result<()> {
    for (number, socket) in TcpListener::bind(listen)?.incoming().enumerate() {
        let (socket, file) = (socket?, File::create(file.with_extension(number.to_string()))?);
        // A client that has gone ends its thread, not the sink.
        thread::spawn(move || drop(swallow(socket, file)));
    }
    Ok(())
}

fn swallow(mut socket: TcpStream, mut file: File) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut frame, mut answer) = (Vec::new(), Vec::new());
    loop {
        let mut length = [0; 4];
        socket.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
        if frame.len() < length {
            frame.resize(length, 0);
        }
        socket.read_exact(&mut frame[..length])?;
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
