//! Build IDs: what names an object file, and where it is written.
//!
//! A build ID becomes a path of the object store and a part of a URL, so [`BuildId`] is the only way to one.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::elf::{Elf, Note};

/// Shortest build ID that is taken: what a shorter one names is not one file.
pub const LENGTH_MIN: usize = 3;
/// Longest one. SHA-512 in hexadecimal is 128.
pub const LENGTH_MAX: usize = 128;

/// How much of each end of a file counts in its hash.
pub const HASHED_END_BYTES: usize = 4096;
/// Bytes of a hash that are kept.
const HASH_BYTES: usize = 16;

/// The type of the note that GNU's linker writes.
const NT_GNU_BUILD_ID: u32 = 3;
/// The type of the note that Go's linker writes.
const NT_GO_BUILD_ID: u32 = 4;

/// A build ID that is safe as one segment of a path: letters, digits, `-`, `_`, `.`, not beginning with a dot.
///
/// It is what the sender wrote: a GNU build ID in hexadecimal, a hash of the file, a source map's UUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(Box<str>);

/// Why a text is no build ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildIdError {
    /// Too few bytes; the words are what Parca's senders know.
    #[error("unexpectedly short input")]
    Short,
    /// Too many bytes.
    #[error("build ID of {length} bytes; at most {LENGTH_MAX} are allowed")]
    Long {
        /// How many there are.
        length: usize,
    },
    /// A byte that must not be in a path.
    #[error("build ID has {found:?} at byte {offset}; letters, digits, '-', '_' and '.' are allowed")]
    Character {
        /// Where.
        offset: usize,
        /// Which.
        found: char,
    },
}

impl BuildIdError {
    /// What a caller can do: send another one.
    pub fn kind(&self) -> decima_base::ErrorKind {
        decima_base::ErrorKind::InvalidArgument
    }
}

impl BuildId {
    /// Takes a text from outside.
    ///
    /// # Errors
    /// If it is too short, too long, or not fit for a path.
    pub fn parse(text: &str) -> Result<Self, BuildIdError> {
        if text.len() < LENGTH_MIN {
            return Err(BuildIdError::Short);
        }
        if text.len() > LENGTH_MAX {
            return Err(BuildIdError::Long { length: text.len() });
        }
        let allowed = |offset: usize, c: char| {
            c.is_ascii_alphanumeric() || c == '-' || c == '_' || (c == '.' && offset > 0)
        };
        match text.char_indices().find(|&(offset, c)| !allowed(offset, c)) {
            Some((offset, found)) => Err(BuildIdError::Character { offset, found }),
            None => Ok(Self(text.into())),
        }
    }

    /// The GNU build ID of a file in hexadecimal, from whichever of its notes has it.
    pub fn gnu(elf: &Elf<'_>) -> Option<Self> {
        let bytes = elf.note(b"GNU", NT_GNU_BUILD_ID)?;
        Self::parse(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()).ok()
    }

    /// The hash of a whole file, which eBPF profilers name a file by that has no build ID, or none that they find.
    pub fn hash(bytes: &[u8]) -> Self {
        let end = bytes.len().min(HASHED_END_BYTES);
        Self::hash_of_ends(&bytes[..end], &bytes[bytes.len() - end..], bytes.len() as u64)
    }

    /// The same of a file's first and last [`HASHED_END_BYTES`] (all of it twice if it is shorter) and its size: the first half of
    /// the SHA-256 of them, the size as 64 bits, big endian, in hexadecimal.
    pub fn hash_of_ends(first: &[u8], last: &[u8], size_bytes: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(first);
        hash.update(last);
        hash.update(size_bytes.to_be_bytes());
        Self(hash.finalize()[..HASH_BYTES].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether it has the form of [`Self::hash`].
    pub fn is_hash(text: &str) -> bool {
        text.len() == 2 * HASH_BYTES && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The build ID that Go's linker wrote, as `go tool buildid` shows it. It has slashes and names nothing here.
pub fn go_build_id(elf: &Elf<'_>) -> Option<String> {
    elf.note(b"Go", NT_GO_BUILD_ID).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Notes of a section or segment. Stops at the first that does not fit.
pub(crate) fn notes(mut data: &[u8], little_endian: bool) -> impl Iterator<Item = Note<'_>> {
    std::iter::from_fn(move || {
        let word = |at: usize| -> Option<u32> {
            let bytes: [u8; 4] = data.get(at..at + 4)?.try_into().ok()?;
            Some(if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
        };
        let (name_size, size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let name_end = 12usize.checked_add(name_size)?;
        let start = name_end.checked_next_multiple_of(4)?;
        let end = start.checked_add(size)?;
        let note = Note { name: data.get(12..name_end)?, kind, data: data.get(start..end)? };
        data = data.get(end.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some(note)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let check = |text: &str, expected: Result<(), BuildIdError>| {
            assert_eq!(BuildId::parse(text).map(drop), expected, "{text:?}");
        };
        check("ab12", Ok(()));
        check("f3b1e0c2-4b4e-4d9c-8f5e-0d1a2b3c4d5e", Ok(()));
        check("a.b_c", Ok(()));
        check("", Err(BuildIdError::Short));
        check("ab", Err(BuildIdError::Short));
        check(&"a".repeat(128), Ok(()));
        check(&"a".repeat(129), Err(BuildIdError::Long { length: 129 }));
        check("../..", Err(BuildIdError::Character { offset: 0, found: '.' }));
        check("abc/def", Err(BuildIdError::Character { offset: 3, found: '/' }));
        check("abc\0", Err(BuildIdError::Character { offset: 3, found: '\0' }));
        check("abcé", Err(BuildIdError::Character { offset: 3, found: 'é' }));
        check("abc%2f", Err(BuildIdError::Character { offset: 3, found: '%' }));
    }

    /// Expected: `(head -c4096 F; tail -c4096 F; printf SIZE) | sha256sum`, the first 32 digits.
    #[test]
    fn known_hashes() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(BuildId::hash(bytes).as_str(), expected, "{} bytes", bytes.len());
            assert!(BuildId::is_hash(expected));
        };
        check(b"", "af5570f5a1810b7af78caf4bc70a660f");
        check(b"abc", "a7e79e8a85da69bad5c3fea209342ac9");
        let long: Vec<u8> = (0..10_000u32).map(|at| (at % 251) as u8).collect();
        check(&long, "29e3194e821b97b5565d43a5156ad97a");
        for other in
            ["", "abc", "AF5570F5A1810B7AF78CAF4BC70A660F", "6f03384c2e3c38887dd3ba5a24b2e18c17e2f0e0"]
        {
            assert!(!BuildId::is_hash(other), "{other}");
        }
    }

    #[test]
    fn notes_of_a_section() {
        let mut data = Vec::new();
        for (name, kind, body) in [(&b"GNU\0"[..], 1u32, &[1u8, 2, 3][..]), (b"Go\0\0", 4, b"x/y")] {
            data.extend_from_slice(&u32::try_from(name.len()).unwrap().to_le_bytes());
            data.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
            data.extend_from_slice(&kind.to_le_bytes());
            data.extend_from_slice(name);
            data.extend_from_slice(body);
            data.push(0);
        }
        let found: Vec<_> = notes(&data, true).map(|note| (note.kind, note.data.to_vec())).collect();
        assert_eq!(found, [(1, vec![1, 2, 3]), (4, b"x/y".to_vec())]);
        for end in 0..data.len() {
            assert!(notes(&data[..end], true).count() <= 2);
        }
        assert_eq!(notes(&[0xff; 64], true).count(), 0);
    }
}
