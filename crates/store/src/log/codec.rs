//! One log object: what a group of requests added to the head.
//!
//! ```text
//! object   = magic(4: "DCML") version(1: 3) kind(1: 1 delta | 2 seal | 3 head start) reserved(2) epoch(u64) seq(u64) nonce(16)
//!            raw_size(u32) body_size(u32) checksum(u64: xxh3 of all before it, then of the body) body(zstd of raw)
//! raw      = strings mappings functions locations partitions series trees requests columns
//! strings  = n { text }
//! mappings = n { start limit offset file build_id }
//! functions = n { name system_name filename start_line± }
//! locations = n { mapping+1|0 address frame_type lines: n { function line± column± } }
//! partitions = n { name: text }
//! series   = n { name sample_type sample_unit period_type period_unit: text, delta, period± duration_ns±, partition, labels: n { name value: text } }
//! trees    = n { partition first_node first_stacktrace nodes leaves }
//! requests = n { kind(1) version(1) tenant: text, received_ns±, hash: 0 | 1 and 16 bytes, chunks: n { chunk } }
//! chunk    = series duration_ns± samples, times: 0 one for all | 1 one each, first time − that of the chunk before ±, divisor
//!            attributes: n { name, 0 distinct | 1 unit }
//! columns  = of all trees:  nodes { distance to parent } nodes { location } leaves { leaf − leaf before, the first − first_node ± }
//!            of all chunks: { time − time before ± } { stacktrace } { value / divisor ± }
//!            of their attributes: { distinct text − text before ± } { which of the distinct } { 0 | 1 value } { value ± }
//! ```
//! Numbers are varints unless a width is given (little endian), and each `{ }` of the columns is one of [`columns`](super::columns);
//! `±` = zigzag; text = length and UTF-8. Texts of an attribute are written once for a chunk, in the order in which they come;
//! if there are as many as samples, which of them it is is not written. Ids are those of the head: rows are
//! numbered on from the objects before it. A head start is a delta whose ids begin anew: the first object after a head was
//! frozen for its flush, which may not have ended when the process does. A seal has no body and ends its epoch.
//!
//! Invariant: a decoder checks every id and count, and changes nothing unless the checksum fits.

use std::{io::Write as _, sync::Arc};

use xxhash_rust::xxh3::Xxh3;
use zstd::{
    bulk::Decompressor,
    zstd_safe::{CCtx, CParameter, compress_bound, get_error_name},
};

use super::{columns::Raw, varint::DecodeError};
use crate::head::chunk::Chunk;

const MAGIC: &[u8; 4] = b"DCML";
const VERSION: u8 = 3;
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
    #[error(
        "format version {found}, this program reads {VERSION}; the program that wrote it leaves none when it is stopped cleanly"
    )]
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
    raw: &Raw,
) -> std::io::Result<Vec<u8>> {
    Encoder::default().encode(position, nonce, kind, raw)
}

/// [`encode`] for many objects: making a compressor takes as long as using it for a small object.
#[derive(Default)]
pub(crate) struct Encoder {
    context: Option<CCtx<'static>>,
}

impl Encoder {
    /// Encodes an object.
    pub(crate) fn encode(
        &mut self,
        position: LogPosition,
        nonce: u128,
        kind: ObjectKind,
        raw: &Raw,
    ) -> std::io::Result<Vec<u8>> {
        let body = if raw.bytes.is_empty() { Vec::new() } else { self.compress(raw)? };
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
        out.extend_from_slice(&(raw.bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        let checksum = checksum(&out, &body);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// One frame, in which each part of the body has blocks of its own.
    fn compress(&mut self, raw: &Raw) -> std::io::Result<Vec<u8>> {
        let context = match &mut self.context {
            Some(context) => context,
            none => {
                let mut context = CCtx::create();
                let level = CParameter::CompressionLevel(ZSTD_LEVEL);
                context.set_parameter(level).map_err(|code| std::io::Error::other(get_error_name(code)))?;
                none.insert(context)
            }
        };
        let out = Vec::with_capacity(compress_bound(raw.bytes.len()));
        let mut frame = zstd::stream::write::Encoder::with_context(out, context);
        frame.set_pledged_src_size(Some(raw.bytes.len() as u64))?;
        for part in raw.parts() {
            frame.write_all(part)?;
            frame.flush()?;
        }
        frame.finish()
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

#[cfg(test)]
mod tests;
