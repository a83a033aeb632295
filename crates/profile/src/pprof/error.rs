//! Why bytes are refused as a pprof profile.

use decima_base::ErrorKind;

use crate::wire::{Fault, MalformedReason};

/// A profile that was refused. Fields are named by their path in the message, such as `location[17].line[0].function_id`;
/// offsets count bytes of the decompressed message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are something else than a pprof profile.
    #[error("not a pprof profile but {found}")]
    Foreign {
        /// What they are.
        found: Foreign,
    },
    /// The bytes do not follow the protobuf format or the schema.
    #[error("{field}: {reason} at byte {offset}")]
    Malformed {
        /// Where in the message.
        field: String,
        /// What is wrong.
        reason: MalformedReason,
        /// Where in the bytes.
        offset: usize,
    },
    /// A field refers to a row that a table does not have.
    #[error("{field} {found} is out of range ({count} {table}) at byte {offset}")]
    OutOfRange {
        /// The referring field.
        field: String,
        /// Its value: signed for strings, unsigned for ids.
        found: i128,
        /// Rows of the table.
        count: usize,
        /// The table.
        table: &'static str,
        /// Where in the bytes.
        offset: usize,
    },
    /// An id, or a reference that must not be 0, is.
    #[error("{field} is 0 at byte {offset}")]
    Zero {
        /// The referring field.
        field: String,
        /// Where in the bytes.
        offset: usize,
    },
    /// Two rows of a table have the same id.
    #[error("{field} is {found}, which another row has too, at byte {offset}")]
    DuplicateId {
        /// The id field of the second row.
        field: String,
        /// The id.
        found: u64,
        /// Where in the bytes its row starts.
        offset: usize,
    },
    /// String 0 has to be the empty string.
    #[error("string_table[0] is not empty at byte {offset}")]
    FirstString {
        /// Where in the bytes.
        offset: usize,
    },
    /// A sample does not have one value for each sample type.
    #[error("{field} has {found} values for {expected} sample types at byte {offset}")]
    ValueCount {
        /// The sample.
        field: String,
        /// Number of its values.
        found: usize,
        /// Number of sample types.
        expected: usize,
        /// Where in the bytes.
        offset: usize,
    },
    /// There is more of something than is taken.
    #[error("{field}: more than {limit} {what} at byte {offset}")]
    Limit {
        /// Where in the message.
        field: String,
        /// What there is too much of.
        what: &'static str,
        /// How much is taken.
        limit: usize,
        /// Where in the bytes; the length of the message if the limit is on the whole.
        offset: usize,
    },
}

impl DecodeError {
    /// A refused profile is always the sender's to correct.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }

    #[cold]
    pub(super) fn malformed(field: String, fault: Fault) -> Self {
        Self::Malformed { field, reason: fault.reason, offset: fault.offset }
    }
}

/// What senders have been seen to send instead of a pprof profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// The binary CPU format of gperftools, older than pprof's protobuf.
    #[error("the legacy binary CPU format of gperftools (convert it with `pprof -proto`)")]
    LegacyCpu,
    /// Text, such as Go's `/debug/pprof/…?debug=1`.
    #[error("text (the protobuf form is needed: `?debug=0` with Go's /debug/pprof)")]
    Text,
}

impl Foreign {
    /// Recognises what cannot be a pprof profile, from its first bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if is_legacy_cpu::<8>(bytes) || is_legacy_cpu::<4>(bytes) {
            return Some(Self::LegacyCpu);
        }
        // A profile has a control character early: the tags 0x12 and 0x1a, 0x08 as first tag of an inner message, or 0 as
        // length of the first string.
        let start = bytes.get(..bytes.len().min(64)).unwrap_or_default();
        let is_text =
            start.len() >= 8 && start.iter().all(|&b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e));
        is_text.then_some(Self::Text)
    }
}

/// The header is five words: 0, 3 (words that follow), 0 (version), period, 0; of four or eight bytes in either order.
fn is_legacy_cpu<const WORD: usize>(bytes: &[u8]) -> bool {
    let (words, _) = bytes.as_chunks::<WORD>();
    let [first, second, third, _period, fifth, ..] = words else { return false };
    let zero = [0; WORD];
    let mut little = zero;
    let mut big = zero;
    little[0] = 3;
    big[WORD - 1] = 3;
    *first == zero && (*second == little || *second == big) && *third == zero && *fifth == zero
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Option<Foreign>) {
        assert_eq!(Foreign::of(bytes), expected, "{bytes:?}");
    }

    #[test]
    fn foreign_formats_are_recognised() {
        check(b"goroutine profile: total 33\n", Some(Foreign::Text));
        check(b"heap profile: 1: 2 [3: 4] @ heap/1048576\n", Some(Foreign::Text));
        check(b"--- contention:\ncycles/second=1", Some(Foreign::Text));
        check(b"<!DOCTYPE html>", Some(Foreign::Text));
        check(b"", None);
        check(b"\n\x04\x08\x01\x10\x02\x12\x04", None);
        let words = |width: usize, last: bool| -> Vec<u8> {
            [0u64, 3, 0, 10_000, 0, 1]
                .iter()
                .flat_map(|word| match (width, last) {
                    (8, false) => word.to_le_bytes().to_vec(),
                    (8, true) => word.to_be_bytes().to_vec(),
                    (_, false) => (*word as u32).to_le_bytes().to_vec(),
                    (_, true) => (*word as u32).to_be_bytes().to_vec(),
                })
                .collect()
        };
        for width in [4, 8] {
            for big in [false, true] {
                check(&words(width, big), Some(Foreign::LegacyCpu));
                check(&words(width, big)[..width * 4], None);
            }
        }
    }
}
