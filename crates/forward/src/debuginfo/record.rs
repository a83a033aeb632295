//! What is written down of an object file that waits: the object of its bytes has the same number.
//!
//! ```text
//! record = magic "DECOBJF", version u8 = 1, checksum u64 little-endian (XXH3 of the rest), rest
//! rest   = build_id string #1, type int32 #2, build_id_type int32 #3, hash string #4, force bool #5, size_bytes uint64 #6,
//!          checksum fixed64 #7 (XXH3 of the file), received_ms int64 #8, upload_id string #9          (protobuf)
//! ```
//! No I/O, no clock.

use std::fmt;

use decima_proto::parca::debuginfo::v1alpha1::DebuginfoType;
use decima_symbols::BuildId;
use prost::Message as _;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"DECOBJF\x01";

/// What an object file is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) build_id: BuildId,
    pub(crate) kind: DebuginfoType,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DebuginfoType::DebuginfoUnspecified => "debuginfo",
            DebuginfoType::Executable => "executable",
            DebuginfoType::Sources => "sources",
            DebuginfoType::SourceMap => "sourcemap",
        };
        write!(f, "{} ({kind})", self.build_id)
    }
}

/// An object file that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRecord {
    pub(crate) name: Name,
    /// As its sender gave them.
    pub(crate) build_id_type: i32,
    pub(crate) hash: String,
    pub(crate) force: bool,
    pub(crate) size_bytes: u64,
    /// XXH3 of its bytes.
    pub(crate) checksum: u64,
    /// Unix time at which it was complete.
    pub(crate) received_ms: i64,
    /// Under which it was received.
    pub(crate) upload_id: String,
}

/// Bytes that are no record, or a damaged one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of an object file, or a damaged one")]
pub(crate) struct NoRecord;

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, tag = "1")]
    build_id: String,
    #[prost(int32, tag = "2")]
    r#type: i32,
    #[prost(int32, tag = "3")]
    build_id_type: i32,
    #[prost(string, tag = "4")]
    hash: String,
    #[prost(bool, tag = "5")]
    force: bool,
    #[prost(uint64, tag = "6")]
    size_bytes: u64,
    #[prost(fixed64, tag = "7")]
    checksum: u64,
    #[prost(int64, tag = "8")]
    received_ms: i64,
    #[prost(string, tag = "9")]
    upload_id: String,
}

impl FileRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { name, build_id_type, hash, force, size_bytes, checksum, received_ms, upload_id } = self;
        let wire = Wire {
            build_id: name.build_id.to_string(),
            r#type: name.kind as i32,
            build_id_type: *build_id_type,
            hash: hash.clone(),
            force: *force,
            size_bytes: *size_bytes,
            checksum: *checksum,
            received_ms: *received_ms,
            upload_id: upload_id.clone(),
        };
        let rest = wire.encode_to_vec();
        [&MAGIC[..], &xxh3_64(&rest).to_le_bytes(), &rest].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NoRecord> {
        let bytes = bytes.strip_prefix(MAGIC).ok_or(NoRecord)?;
        let (checksum, rest) = bytes.split_first_chunk::<8>().ok_or(NoRecord)?;
        if xxh3_64(rest) != u64::from_le_bytes(*checksum) {
            return Err(NoRecord);
        }
        let wire = Wire::decode(rest).map_err(|_| NoRecord)?;
        let build_id = BuildId::parse(&wire.build_id).map_err(|_| NoRecord)?;
        let kind = DebuginfoType::try_from(wire.r#type).map_err(|_| NoRecord)?;
        let Wire { build_id_type, hash, force, size_bytes, checksum, received_ms, upload_id, .. } = wire;
        let name = Name { build_id, kind };
        Ok(Self { name, build_id_type, hash, force, size_bytes, checksum, received_ms, upload_id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(hash: String, kind: i32, size_bytes: u64, force: bool) -> FileRecord {
        FileRecord {
            name: Name {
                build_id: BuildId::parse("0123abcd").unwrap(),
                kind: DebuginfoType::try_from(kind).unwrap(),
            },
            build_id_type: 2,
            hash,
            force,
            size_bytes,
            checksum: size_bytes ^ 7,
            received_ms: 5,
            upload_id: "u".to_owned(),
        }
    }

    proptest! {
        #[test]
        fn round_trip(hash: String, kind in 0..4, size_bytes: u64, force: bool) {
            let record = record(hash, kind, size_bytes, force);
            prop_assert_eq!(FileRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            prop_assert_eq!(FileRecord::decode(&bytes), Err(NoRecord));
        }
    }

    #[test]
    fn every_damage_is_noticed() {
        let whole = record("hash".to_owned(), 1, 9, true).encode();
        for at in 0..whole.len() {
            assert_eq!(FileRecord::decode(&whole[..at]), Err(NoRecord), "{at}");
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(FileRecord::decode(&damaged), Err(NoRecord), "{at}");
        }
    }
}
