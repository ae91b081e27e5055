//! Packing and unpacking of records. Unpacking is a stream: a bomb costs its packed bytes and one block.

use std::io::{self, Read, Write};

use super::{BatchError, Codec, Packing, unpackable};

/// What xerial's Java library writes before its blocks: a magic number, a version and the lowest version that can read it.
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// No Snappy element yields more than this for each byte it takes, so a longer promise is a lie.
const SNAPPY_RATIO_MAX: usize = 64;

/// What Java's xerial stream puts into one block.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// What a member of a gzip stream begins with; anything else behind the last one is not looked at, as in Java.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A reader of what `packed` unpacks to. No single allocation follows a promise beyond `bytes_max` bytes:
/// an error of kind [`io::ErrorKind::FileTooLarge`] then comes from reading.
pub(super) fn unpack<'a>(
    codec: Codec,
    packed: &'a [u8],
    bytes_max: usize,
) -> Result<Box<dyn Read + 'a>, BatchError> {
    if packed.is_empty() && matches!(codec, Codec::Snappy | Codec::Lz4) {
        return Err(unpackable(codec, "there is nothing to unpack"));
    }
    Ok(match codec {
        // Kafka's reader of zstd takes nothing for an empty stream, those of the others do not.
        Codec::Zstd if packed.is_empty() => Box::new(packed),
        Codec::None => Box::new(packed),
        Codec::Gzip => Box::new(Gzip(flate2::bufread::GzDecoder::new(packed))),
        Codec::Snappy => Box::new(Snappy::new(packed, bytes_max)),
        Codec::Lz4 => {
            let frame = lz4_frame(packed).ok_or_else(|| unpackable(codec, "the frame ends too early"))?;
            Box::new(lz4_flex::frame::FrameDecoder::new(frame))
        }
        Codec::Zstd => Box::new(zstd_reader(packed, bytes_max).map_err(|error| unpackable(codec, error))?),
    })
}

/// Members that follow each other are one stream, as Java's GZIPInputStream reads them.
struct Gzip<'a>(flate2::bufread::GzDecoder<&'a [u8]>);

impl Read for Gzip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.0.read(out)?;
            let rest = *self.0.get_ref();
            if n > 0 || out.is_empty() || !rest.starts_with(&GZIP_MAGIC) {
                return Ok(n);
            }
            self.0 = flate2::bufread::GzDecoder::new(rest);
        }
    }
}

/// The one frame that Java's reader takes, to its end mark: what follows is not looked at, and without the mark it is
/// broken. (The decoder would take a missing mark for an end.)
fn lz4_frame(packed: &[u8]) -> Option<&[u8]> {
    const BLOCK_CHECKSUMS: u8 = 1 << 4;
    const CONTENT_SIZE: u8 = 1 << 3;
    const CONTENT_CHECKSUM: u8 = 1 << 2;
    const DICTIONARY: u8 = 1;
    let flags = *packed.get(4)?;
    let optional = |flag, bytes| if flags & flag == 0 { 0 } else { bytes };
    // Magic, flags, block descriptor; the header's checksum.
    let mut at = 6 + optional(CONTENT_SIZE, 8) + optional(DICTIONARY, 4) + 1;
    loop {
        let size = packed.get(at..)?.first_chunk::<4>()?;
        at += 4;
        // The highest bit says that a block is not packed.
        match u32::from_le_bytes(*size) & !(1 << 31) {
            0 => return packed.get(..at + optional(CONTENT_CHECKSUM, 4)),
            size => at = at.checked_add(size as usize)?.checked_add(optional(BLOCK_CHECKSUMS, 4))?,
        }
    }
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

/// What takes records and leaves them packed in `into`, as Java's producer packs them; [`Packer::finish`] ends it.
pub(super) enum Packer<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Snappy { into: W, block: Vec<u8> },
    Lz4(lz4_flex::frame::FrameEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Packer<W> {
    /// # Errors
    /// When zstd gets no memory, or `into` fails.
    pub(super) fn new(packing: Packing, mut into: W) -> io::Result<Self> {
        let Packing { codec, level } = packing;
        Ok(match codec {
            Codec::None => Self::None(into),
            Codec::Gzip => {
                let level =
                    u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
                Self::Gzip(flate2::write::GzEncoder::new(into, level))
            }
            Codec::Snappy => {
                into.write_all(&XERIAL_MAGIC)?;
                into.write_all(&[0, 0, 0, 1, 0, 0, 0, 1])?;
                Self::Snappy { into, block: Vec::with_capacity(XERIAL_BLOCK_BYTES) }
            }
            Codec::Lz4 => {
                let frame = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
                Self::Lz4(lz4_flex::frame::FrameEncoder::with_frame_info(frame, into))
            }
            Codec::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(into, level)?),
        })
    }

    /// Takes more.
    pub(super) fn put(&mut self, mut records: &[u8]) -> io::Result<()> {
        match self {
            Self::None(into) => into.write_all(records),
            Self::Gzip(gzip) => gzip.write_all(records),
            Self::Snappy { into, block } => {
                while !records.is_empty() {
                    let n = records.len().min(XERIAL_BLOCK_BYTES - block.len());
                    block.extend_from_slice(&records[..n]);
                    records = &records[n..];
                    if block.len() == XERIAL_BLOCK_BYTES {
                        put_xerial(block, into)?;
                    }
                }
                Ok(())
            }
            Self::Lz4(lz4) => lz4.write_all(records),
            Self::Zstd(zstd) => zstd.write_all(records),
        }
    }

    /// Writes what is still held back.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(into) => Ok(into),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Snappy { mut into, mut block } => {
                put_xerial(&mut block, &mut into)?;
                Ok(into)
            }
            Self::Lz4(lz4) => lz4.finish().map_err(io::Error::other),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}

/// Packs records as Java's producer does.
///
/// # Errors
/// When zstd gets no memory.
pub(super) fn pack(codec: Codec, records: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = Packer::new(Packing::of(codec), Vec::new())?;
    packer.put(records)?;
    packer.finish()
}

/// Writes one block, if there is anything in it.
fn put_xerial(block: &mut Vec<u8>, into: &mut impl Write) -> io::Result<()> {
    if block.is_empty() {
        return Ok(());
    }
    let packed = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
    block.clear();
    // At most a sixth longer than the block of 32 KiB.
    into.write_all(&(packed.len() as u32).to_be_bytes())?;
    into.write_all(&packed)
}
