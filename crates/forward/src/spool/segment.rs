//! One object of the spool: the requests that came while the one before was being written.
//!
//! ```text
//! segment = magic "DECSPOOL", version u8 = 1, frame*
//! frame   = length u32, checksum u64 (XXH3 of the record), record          numbers little-endian
//! ```
//! The records of a segment that is cut short or damaged are read up to there. No I/O.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::record::Record;

const MAGIC: &[u8; 9] = b"DECSPOOL\x01";
const FRAME_HEAD_BYTES: usize = 12;

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) records: Vec<Record>,
    /// Where reading ended before the end.
    pub(crate) damaged_at: Option<usize>,
}

/// Encodes records that are encoded themselves.
pub(crate) fn encode(records: &[Bytes]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(size_bytes(records.iter().map(Bytes::len)));
    segment.extend_from_slice(MAGIC);
    for record in records {
        // Records are made of messages, which are bounded far below this.
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        segment.extend_from_slice(&length.to_le_bytes());
        segment.extend_from_slice(&xxh3_64(record).to_le_bytes());
        segment.extend_from_slice(record);
    }
    segment
}

/// Bytes of a segment of records of these sizes.
pub(crate) fn size_bytes(records: impl IntoIterator<Item = usize>) -> usize {
    MAGIC.len() + records.into_iter().map(|size| FRAME_HEAD_BYTES + size).sum::<usize>()
}

/// Reads all records, or those before the damage. Records do not keep the segment in memory.
pub(crate) fn decode(segment: &[u8]) -> Decoded {
    let mut records = Vec::new();
    let Some(mut rest) = segment.strip_prefix(MAGIC) else {
        return Decoded { records, damaged_at: Some(0) };
    };
    while !rest.is_empty() {
        match frame(rest) {
            Some((record, after)) => {
                records.push(record);
                rest = after;
            }
            None => return Decoded { records, damaged_at: Some(segment.len() - rest.len()) },
        }
    }
    Decoded { records, damaged_at: None }
}

fn frame(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    let (checksum, bytes) = bytes.split_first_chunk::<8>()?;
    let (record, rest) = bytes.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    if xxh3_64(record) != u64::from_le_bytes(*checksum) {
        return None;
    }
    Some((Record::decode(Bytes::copy_from_slice(record)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Method;

    fn record(content: &[u8]) -> Record {
        let parts = vec![Bytes::copy_from_slice(content)];
        Record { method: Method::WriteArrow, sender: 7, received_ms: 5, parts }
    }

    fn encoded(records: &[Record]) -> Vec<u8> {
        encode(&records.iter().cloned().map(Record::encode).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn round_trip(contents: Vec<Vec<u8>>) {
            let records: Vec<_> = contents.iter().map(|content| record(content)).collect();
            let segment = encoded(&records);
            prop_assert_eq!(segment.len(), size_bytes(records.iter().map(|r| r.clone().encode().len())));
            prop_assert_eq!(decode(&segment), Decoded { records, damaged_at: None });
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let mut segment = MAGIC.to_vec();
            segment.extend(&bytes);
            prop_assert!(bytes.is_empty() == decode(&segment).damaged_at.is_none());
        }
    }

    #[test]
    fn every_prefix_gives_the_records_within_it() {
        let records = [record(b"one"), record(b""), record(b"three")];
        let segment = encoded(&records);
        let ends: Vec<_> = (0..=3).map(|count| encoded(&records[..count]).len()).collect();
        for cut in 0..segment.len() {
            let whole = ends.iter().rposition(|&end| end <= cut);
            let expected = Decoded {
                records: records[..whole.unwrap_or_default()].to_vec(),
                damaged_at: match whole {
                    None => Some(0),
                    Some(count) => (ends[count] != cut).then_some(ends[count]),
                },
            };
            assert_eq!(decode(&segment[..cut]), expected, "{cut}");
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let segment = encoded(&[record(b"one"), record(b"two")]);
        for at in 0..segment.len() {
            let mut damaged = segment.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).damaged_at.is_some(), "byte {at}");
        }
    }
}
