//! One log object: what a group of requests added to the head.
//!
//! ```text
//! object   = magic(4: "DCML") version(1: 2) kind(1: 1 delta | 2 seal | 3 head start) reserved(2) epoch(u64) seq(u64) nonce(16)
//!            raw_size(u32) body_size(u32) checksum(u64: xxh3 of all before it, then of the body) body(zstd of raw)
//! raw      = strings mappings functions locations partitions series trees requests
//! strings  = n { text }
//! mappings = n { start limit offset file build_id }
//! functions = n { name system_name filename start_line± }
//! locations = n { mapping+1|0 address frame_type lines: n { function line± column± } }
//! partitions = n { name: text }
//! series   = n { name sample_type sample_unit period_type period_unit: text, delta, period± duration_ns±, partition, labels: n { name value: text } }
//! trees    = n { partition first_node first_stacktrace nodes: n { distance_to_parent } { location− previous ± } leaves: n { leaf − previous ± } }
//! requests = n { kind(1) version(1) tenant: text, received_ns±, hash: 0 | 1 and 16 bytes, chunks: n { chunk } }
//! chunk    = series duration_ns± times: n { time − previous ± } samples: n { stacktrace } divisor { value / divisor ± }
//!            attributes: n { name, 0 { text id } | 1 unit { 0 | 1 value± } }
//! ```
//! Numbers are varints unless a width is given (little endian); `±` = zigzag; text = length and UTF-8. Ids are those of the head: rows are
//! numbered on from the objects before it. A head start is a delta whose ids begin anew: the first object after a head was
//! frozen for its flush, which may not have ended when the process does. A seal has no body and ends its epoch.
//!
//! Invariant: a decoder checks every id and count, and changes nothing unless the checksum fits.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;
use zstd::bulk::{Compressor, Decompressor};

use super::varint::{DecodeError, put, put_bytes, put_signed};
use crate::{
    head::{
        HeadSeries, HeadView, Mark,
        chunk::{Chunk, ChunkAttributeValues},
    },
    source::{NO_MAPPING, Tree},
};

const MAGIC: &[u8; 4] = b"DCML";
const VERSION: u8 = 2;
const HEADER_BYTES: usize = 56;
/// A group is closed at 64 MiB of raw rows at the latest, and one request is at most 64 MiB on the wire, which can grow
/// when it is decompressed; beyond this an object is not ours.
const RAW_BYTES_MAX: usize = 1 << 30;
/// zstd level of the body: higher ones cost more time than the disk they save is worth for data that lives for minutes.
const ZSTD_LEVEL: i32 = 1;

/// Names one object of the log.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
pub struct LogPosition {
    /// Epoch: one per process that wrote the log.
    pub epoch: u64,
    /// Sequence number in the epoch, from 0.
    pub seq: u64,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// Goes on with the head of the object before it.
    Delta,
    /// Ends its epoch.
    Seal,
    /// The first of a head: what came before is frozen.
    HeadStart,
}

/// An object that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ObjectError {
    /// The write did not end; such an object was never acknowledged.
    #[error("it has {found} of {expected} bytes")]
    Torn { found: usize, expected: usize },
    #[error("it does not begin with the magic of a log object")]
    Magic,
    #[error("format version {found}, this program reads {VERSION}")]
    Version { found: u8 },
    #[error("unknown kind {0}")]
    Kind(u8),
    #[error("the checksum does not fit")]
    Checksum,
    #[error("the body cannot be decompressed")]
    Body,
    #[error("body {0}")]
    Decode(#[from] DecodeError),
}

/// A request as the log keeps it beside its chunks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoggedRequest {
    pub(crate) received_ns: i64,
    pub(crate) hash: Option<u128>,
    pub(crate) chunks: Vec<Arc<Chunk>>,
}

/// The header of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: ObjectKind,
    pub(crate) position: LogPosition,
    pub(crate) nonce: u128,
}

/// Encodes an object.
pub(crate) fn encode(
    position: LogPosition,
    nonce: u128,
    kind: ObjectKind,
    raw: &[u8],
) -> std::io::Result<Vec<u8>> {
    Encoder::default().encode(position, nonce, kind, raw)
}

/// [`encode`] for many objects: making a compressor takes as long as using it for a small object.
#[derive(Default)]
pub(crate) struct Encoder {
    compressor: Option<Compressor<'static>>,
}

impl Encoder {
    /// Encodes an object.
    pub(crate) fn encode(
        &mut self,
        position: LogPosition,
        nonce: u128,
        kind: ObjectKind,
        raw: &[u8],
    ) -> std::io::Result<Vec<u8>> {
        let body = if raw.is_empty() { Vec::new() } else { self.compressor()?.compress(raw)? };
        let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.push(match kind {
            ObjectKind::Delta => 1,
            ObjectKind::Seal => 2,
            ObjectKind::HeadStart => 3,
        });
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&position.epoch.to_le_bytes());
        out.extend_from_slice(&position.seq.to_le_bytes());
        out.extend_from_slice(&nonce.to_le_bytes());
        out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        let checksum = checksum(&out, &body);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&body);
        Ok(out)
    }

    fn compressor(&mut self) -> std::io::Result<&mut Compressor<'static>> {
        match &mut self.compressor {
            Some(compressor) => Ok(compressor),
            none => Ok(none.insert(Compressor::new(ZSTD_LEVEL)?)),
        }
    }
}

fn checksum(header: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(header);
    hash.update(body);
    hash.digest()
}

/// Checks an object and gives its header and raw body.
pub(crate) fn open(object: &[u8]) -> Result<(Header, Vec<u8>), ObjectError> {
    let mut decompressor = Decompressor::new().map_err(|_| ObjectError::Body)?;
    open_with(object, &mut decompressor)
}

/// [`open`] for many objects: making a decompressor takes as long as using it for a small object.
pub(crate) fn open_with(
    object: &[u8],
    decompressor: &mut Decompressor<'_>,
) -> Result<(Header, Vec<u8>), ObjectError> {
    if object.len() < HEADER_BYTES {
        return Err(ObjectError::Torn { found: object.len(), expected: HEADER_BYTES });
    }
    let (header, body) = object.split_at(HEADER_BYTES);
    if &header[..4] != MAGIC {
        return Err(ObjectError::Magic);
    }
    if header[4] != VERSION {
        return Err(ObjectError::Version { found: header[4] });
    }
    let body_size = le64(&header[44..48]) as usize;
    if body.len() < body_size {
        // Torn, unless it is whole and its size is what is damaged.
        let mut resized = header.to_vec();
        resized[44..48].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        let (signed, sum) = resized.split_at(HEADER_BYTES - 8);
        if checksum(signed, body) == le64(sum) {
            return Err(ObjectError::Checksum);
        }
        return Err(ObjectError::Torn { found: object.len(), expected: HEADER_BYTES + body_size });
    }
    let (signed, sum) = header.split_at(HEADER_BYTES - 8);
    if checksum(signed, body) != le64(sum) {
        return Err(ObjectError::Checksum);
    }
    let kind = match header[5] {
        1 => ObjectKind::Delta,
        2 => ObjectKind::Seal,
        3 => ObjectKind::HeadStart,
        other => return Err(ObjectError::Kind(other)),
    };
    let raw_size = le64(&header[40..44]) as usize;
    if raw_size > RAW_BYTES_MAX {
        return Err(ObjectError::Body);
    }
    let raw = if raw_size == 0 {
        Vec::new()
    } else {
        decompressor.decompress(body, raw_size).map_err(|_| ObjectError::Body)?
    };
    if raw.len() != raw_size {
        return Err(ObjectError::Body);
    }
    let header = Header {
        kind,
        position: LogPosition { epoch: le64(&header[8..16]), seq: le64(&header[16..24]) },
        nonce: (u128::from(le64(&header[32..40])) << 64) | u128::from(le64(&header[24..32])),
    };
    Ok((header, raw))
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |acc, &b| (acc << 8) | u64::from(b))
}

/// Encodes the growth of the head's tables since `mark`, and the requests.
pub(crate) fn encode_delta(view: &HeadView, mark: &Mark, requests: &[LoggedRequest]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 << 10);
    encode_symbols(view, mark, &mut out);
    put(&mut out, (view.partition_names.len() - mark.partitions) as u64);
    for name in &view.partition_names[mark.partitions..] {
        put_bytes(&mut out, name.as_bytes());
    }
    put(&mut out, (view.series.len() - mark.series) as u64);
    for series in &view.series[mark.series..] {
        encode_series(series, &mut out);
    }
    put(&mut out, mark.trees.len() as u64);
    for (&partition, &(nodes, stacktraces)) in &mark.trees {
        let tree = &view.partitions[partition as usize].tree;
        encode_tree(partition, tree, nodes, stacktraces, &mut out);
    }
    put(&mut out, requests.len() as u64);
    for request in requests {
        out.extend_from_slice(&[1, 1]);
        put_bytes(&mut out, b"");
        put_signed(&mut out, request.received_ns);
        match request.hash {
            None => put(&mut out, 0),
            Some(hash) => {
                put(&mut out, 1);
                out.extend_from_slice(&hash.to_le_bytes());
            }
        }
        put(&mut out, request.chunks.len() as u64);
        for chunk in &request.chunks {
            encode_chunk(chunk, &mut out);
        }
    }
    out
}

fn encode_symbols(view: &HeadView, mark: &Mark, out: &mut Vec<u8>) {
    let symbols = &view.symbols;
    put(out, (symbols.strings.len() - mark.strings) as u64);
    for id in mark.strings..symbols.strings.len() {
        put_bytes(out, symbols.strings.get(id as u32).as_bytes());
    }
    put(out, (symbols.mappings.len() - mark.mappings) as u64);
    for m in &symbols.mappings[mark.mappings..] {
        for v in [m.start, m.limit, m.offset, u64::from(m.file), u64::from(m.build_id)] {
            put(out, v);
        }
    }
    put(out, (symbols.functions.len() - mark.functions) as u64);
    for f in &symbols.functions[mark.functions..] {
        for v in [f.name, f.system_name, f.filename] {
            put(out, u64::from(v));
        }
        put_signed(out, f.start_line);
    }
    put(out, (symbols.location_count() - mark.locations) as u64);
    for l in mark.locations..symbols.location_count() {
        let mapping = symbols.location_mapping[l];
        put(out, if mapping == NO_MAPPING { 0 } else { u64::from(mapping) + 1 });
        put(out, symbols.location_address[l]);
        put(out, u64::from(symbols.location_frame_type[l]));
        let lines = symbols.location_lines(l as u32);
        put(out, lines.len() as u64);
        for line in lines {
            put(out, u64::from(line.function));
            put_signed(out, line.line);
            put_signed(out, line.column);
        }
    }
}

fn encode_series(series: &HeadSeries, out: &mut Vec<u8>) {
    let t = &series.key.profile_type;
    for text in [&t.name, &t.sample_type, &t.sample_unit, &t.period_type, &t.period_unit] {
        put_bytes(out, text.as_bytes());
    }
    put(out, u64::from(t.delta));
    put_signed(out, series.key.period);
    put_signed(out, series.key.duration_ns);
    put(out, u64::from(series.partition));
    put(out, series.key.labels.len() as u64);
    for (name, value) in series.key.labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn encode_tree(partition: u32, tree: &Tree, nodes: usize, stacktraces: usize, out: &mut Vec<u8>) {
    put(out, u64::from(partition));
    put(out, nodes as u64);
    put(out, stacktraces as u64);
    put(out, (tree.parent.len() - nodes) as u64);
    for (node, parent) in tree.parent.iter().enumerate().skip(nodes) {
        put(out, node as u64 - u64::from(*parent));
    }
    let mut previous = 0;
    for &location in &tree.location[nodes..] {
        put_signed(out, i64::from(location) - previous);
        previous = i64::from(location);
    }
    put(out, (tree.leaf.len() - stacktraces) as u64);
    let mut previous = 0;
    for &leaf in &tree.leaf[stacktraces..] {
        put_signed(out, i64::from(leaf) - previous);
        previous = i64::from(leaf);
    }
}

fn encode_chunk(chunk: &Chunk, out: &mut Vec<u8>) {
    put(out, u64::from(chunk.series));
    put_signed(out, chunk.duration_ns);
    put(out, chunk.times_ns.len() as u64);
    let mut previous = 0i64;
    for &time in &chunk.times_ns {
        put_signed(out, time.wrapping_sub(previous));
        previous = time;
    }
    put(out, chunk.values.len() as u64);
    for &stacktrace in &chunk.stacktraces {
        put(out, u64::from(stacktrace));
    }
    // Values are often multiples of a sampling period; dividing it out makes them one byte.
    let divisor = greatest_common_divisor(&chunk.values);
    put(out, divisor);
    for &value in &chunk.values {
        // A divisor of 2⁶³ is i64::MIN as a signed number; only 0 and i64::MIN itself are multiples of it.
        put_signed(out, value.wrapping_div(divisor as i64));
    }
    put(out, chunk.attributes.len() as u64);
    for attribute in &chunk.attributes {
        put(out, u64::from(attribute.name));
        match &attribute.values {
            ChunkAttributeValues::Text(ids) => {
                put(out, 0);
                for &id in ids {
                    put(out, u64::from(id));
                }
            }
            ChunkAttributeValues::Integer { unit, values } => {
                put(out, 1);
                put(out, u64::from(*unit));
                for value in values {
                    put(out, u64::from(value.is_some()));
                    if let Some(value) = value {
                        put_signed(out, *value);
                    }
                }
            }
        }
    }
}

fn greatest_common_divisor(values: &[i64]) -> u64 {
    let mut divisor = 0u64;
    for value in values {
        let (mut a, mut b) = (divisor, value.unsigned_abs());
        if a != 0 && b % a == 0 {
            continue;
        }
        while b != 0 {
            (a, b) = (b, a % b);
        }
        divisor = a;
        if divisor == 1 {
            break;
        }
    }
    // 2⁶³ would not survive the sign; it only occurs when all values are i64::MIN.
    if divisor == 0 || divisor > i64::MAX as u64 { 1 } else { divisor }
}

#[cfg(test)]
mod tests;
