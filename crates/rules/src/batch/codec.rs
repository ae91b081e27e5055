//! Packing and unpacking of records. Unpacking is a stream: a bomb costs its packed bytes and one block.

use std::io::{self, Read, Write};

use super::{BatchError, Codec, invalid};

/// What xerial's Java library writes before its blocks: a magic number, a version and the lowest version that can read it.
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// No Snappy element yields more than this for each byte it takes, so a longer promise is a lie.
const SNAPPY_RATIO_MAX: usize = 64;

/// What Java's xerial stream puts into one block.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// A reader of what `packed` unpacks to. No single allocation follows a promise beyond `bytes_max` bytes:
/// an error of kind [`io::ErrorKind::FileTooLarge`] then comes from reading.
pub(super) fn unpack<'a>(
    codec: Codec,
    packed: &'a [u8],
    bytes_max: usize,
) -> Result<Box<dyn Read + 'a>, BatchError> {
    Ok(match codec {
        Codec::None => Box::new(packed),
        // Java's GZIPInputStream reads members that follow each other as one stream.
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Codec::Snappy => Box::new(Snappy::new(packed, bytes_max)),
        Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
        Codec::Zstd => Box::new(zstd_reader(packed, bytes_max).map_err(|error| invalid(error.to_string()))?),
    })
}

fn zstd_reader(packed: &[u8], bytes_max: usize) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(packed)?;
    // The window is memory that a frame of a few bytes can ask for: it need not be larger than what may come out. But 8 MiB
    // is what every reader has to bear (RFC 8878, 3.1.1.1.2), and a Java producer asks for 2 MiB however little it sends.
    // 27 is what zstd allows without being asked twice.
    let window_log = bytes_max.checked_next_power_of_two().map_or(27, usize::ilog2).clamp(23, 27);
    reader.window_log_max(window_log)?;
    Ok(reader)
}

/// Unpacks Snappy in both shapes that clients send: xerial's framing (Java, and those that follow it) and one raw block
/// (librdkafka and others).
struct Snappy<'a> {
    packed: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    at: usize,
    bytes_max: usize,
}

impl<'a> Snappy<'a> {
    fn new(packed: &'a [u8], bytes_max: usize) -> Self {
        let framed = packed.len() >= XERIAL_HEADER_BYTES && packed.starts_with(&XERIAL_MAGIC);
        Self { packed, framed, block: Vec::new(), at: 0, bytes_max }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let packed = if self.framed { self.take_framed()? } else { std::mem::take(&mut self.packed) };
        self.block.clear();
        self.at = 0;
        if packed.is_empty() {
            return Ok(());
        }
        let bytes = snap::raw::decompress_len(packed).map_err(io::Error::other)?;
        if bytes > packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(io::Error::other("a Snappy block promises more than it can hold"));
        }
        if bytes > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.block.resize(bytes, 0);
        snap::raw::Decoder::new().decompress(packed, &mut self.block).map_err(io::Error::other)?;
        Ok(())
    }

    fn take_framed(&mut self) -> io::Result<&'a [u8]> {
        // Streams may follow each other; xerial skips each header.
        while self.packed.starts_with(&XERIAL_MAGIC) {
            self.packed = self.packed.get(XERIAL_HEADER_BYTES..).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        if self.packed.is_empty() {
            return Ok(&[]);
        }
        let (length, rest) = self.packed.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.packed = rest;
        Ok(block)
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if self.packed.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

/// Packs records as Java's producer does.
///
/// # Errors
/// When zstd gets no memory.
pub(super) fn pack(codec: Codec, records: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(records.to_vec()),
        Codec::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(records)?;
            gzip.finish()
        }
        Codec::Snappy => pack_xerial(records),
        Codec::Lz4 => {
            let frame = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
            lz4.write_all(records)?;
            lz4.finish().map_err(io::Error::other)
        }
        Codec::Zstd => zstd::stream::encode_all(records, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}

fn pack_xerial(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = XERIAL_MAGIC.to_vec();
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    for block in records.chunks(XERIAL_BLOCK_BYTES) {
        let packed = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
        // At most a sixth longer than the block of 32 KiB.
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}
