//! The bytes of a record: its JSON, between the version of the format and a checksum.
//!
//! ```text
//! {"format":1, <fields of the record> ,"checksum":"<xxh3-64 of all before the comma, 16 hex digits>"}
//! ```
//! Records of the programs before had neither, and are read. One flipped bit makes none of the one kind into one of the other: it
//! would have to change both ends.

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::Record;

/// Version of the format that this program writes, and the newest it reads.
pub const RECORD_FORMAT: u32 = 1;

/// What stands before the version.
const BEGIN: &str = "{\"format\":";
/// What stands before the checksum.
const CHECKSUM: &str = ",\"checksum\":\"";
/// What stands behind it.
const END: &str = "\"}";
/// Digits of a checksum.
const DIGITS: usize = 16;

/// Why bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not JSON, or not that of a record.
    #[error("it is not a record")]
    Json(#[from] serde_json::Error),
    /// Another program has written it.
    #[error("it has format {found}, and this program reads up to {RECORD_FORMAT}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It is not what was written.
    #[error("its checksum does not fit")]
    Checksum,
}

/// What every version of the format has.
#[derive(Deserialize)]
struct Format {
    #[serde(default)]
    format: u32,
}

/// The bytes of a record.
pub(crate) fn encode(record: &Record) -> Result<Vec<u8>, RecordError> {
    let fields = serde_json::to_vec(record)?;
    let mut bytes = format!("{BEGIN}{RECORD_FORMAT},").into_bytes();
    bytes.extend_from_slice(&fields[1..fields.len() - 1]);
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(format!("{CHECKSUM}{checksum:016x}{END}").as_bytes());
    Ok(bytes)
}

/// Reads a record, or says what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
    let signed = bytes.len().saturating_sub(CHECKSUM.len() + DIGITS + END.len());
    let (signed, tail) = bytes.split_at(signed);
    if bytes.starts_with(BEGIN.as_bytes()) || tail.starts_with(CHECKSUM.as_bytes()) {
        let Format { format } = serde_json::from_slice(bytes)?;
        if format > RECORD_FORMAT {
            return Err(RecordError::Newer { found: format });
        }
        if tail != format!("{CHECKSUM}{:016x}{END}", xxh3_64(signed)).as_bytes() {
            return Err(RecordError::Checksum);
        }
    }
    Ok(serde_json::from_slice(bytes)?)
}
