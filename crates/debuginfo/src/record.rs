//! What is known of one file of a build ID. Stored as JSON ([`codec`]) beside the files.

pub mod codec;

use std::{fmt::Write as _, sync::Arc};

use decima_symbols::{BuildId, Quality, elf::Elf};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What kind of file was uploaded for a build ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Debug information, or the whole file.
    Debuginfo,
    /// The program as it runs.
    Executable,
    /// Its source files.
    Sources,
    /// A source map.
    SourceMap,
    /// Debug information that a debuginfod server gave beside an upload that has less.
    Fetched,
}

impl FileKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Debuginfo, Self::Executable, Self::Sources, Self::SourceMap, Self::Fetched];

    /// Its name in paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debuginfo => "debuginfo",
            Self::Executable => "executable",
            Self::Sources => "sources",
            Self::SourceMap => "sourcemap",
            Self::Fetched => "fetched",
        }
    }

    /// Whether it must be ELF.
    pub fn is_elf(self) -> bool {
        matches!(self, Self::Debuginfo | Self::Executable | Self::Fetched)
    }
}

/// Where a file came from, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// A sender said that it would upload.
    Uploading(Upload),
    /// A sender said that it is done.
    Uploaded(Upload),
    /// It was held and went by retention.
    Purged {
        /// When, Unix time.
        at_ns: i64,
    },
    /// A debuginfod server has it.
    Debuginfod {
        /// Which.
        server: String,
        /// Our copy, if we have one.
        stored: Option<Stored>,
    },
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Given to the sender.
    pub id: String,
    /// What the sender says is the file's hash.
    pub hash: String,
    /// What the sender says is the file's size.
    pub announced_bytes: u64,
    /// When it began, Unix time.
    pub started_ns: i64,
    /// The bytes, once all arrived.
    pub stored: Option<Stored>,
}

/// Bytes that are held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Name of the object, below the build ID.
    pub object: String,
    /// How many.
    pub size_bytes: u64,
    /// Their xxh3-64 in hexadecimal; programs before did not write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// The form in which checksums of files are written down.
pub(crate) fn checksum_text(xxh3: u64) -> String {
    format!("{xxh3:016x}")
}

/// What a file can tell of, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedQuality {
    /// It is no ELF file.
    pub not_valid_elf: bool,
    /// It has DWARF.
    pub has_dwarf: bool,
    /// It has Go's line table.
    pub has_go_pclntab: bool,
    /// It has a symbol table.
    pub has_symtab: bool,
    /// It has a table of dynamic symbols.
    pub has_dynsym: bool,
}

impl RecordedQuality {
    /// Whether it lacks the lines and inlined functions that its debug information would have.
    pub fn is_stripped(self) -> bool {
        !self.has_dwarf && !self.has_go_pclntab
    }
}

/// What is found in a file when it is looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) quality: RecordedQuality,
    pub(crate) gnu_build_id: Option<BuildId>,
    pub(crate) file_hash: Option<BuildId>,
    pub(crate) crc32: Option<u32>,
    pub(crate) linked_crc32: Option<u32>,
    pub(crate) split_units: SplitUnits,
}

impl Contents {
    /// Reads all of a file.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let Ok(elf) = Elf::parse(bytes) else { return Self::unreadable() };
        let Quality { has_dwarf, has_go_pclntab, has_symtab, has_dynsym } = Quality::of(&elf);
        let split_units = SplitUnits(elf.split_units().into());
        let has_dwarf = has_dwarf || !split_units.0.is_empty();
        Self {
            quality: RecordedQuality {
                not_valid_elf: false,
                has_dwarf,
                has_go_pclntab,
                has_symtab,
                has_dynsym,
            },
            gnu_build_id: BuildId::gnu(&elf),
            file_hash: Some(BuildId::hash(bytes)),
            crc32: Some(crc32fast::hash(bytes)),
            linked_crc32: elf.debug_link().and_then(|link| link.crc32),
            split_units,
        }
    }

    /// Those of what is no ELF file.
    pub(crate) fn unreadable() -> Self {
        Self {
            quality: RecordedQuality { not_valid_elf: true, ..RecordedQuality::default() },
            ..Self::default()
        }
    }
}

/// Ids of units of split DWARF in order, as one text of 16 hexadecimal digits each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SplitUnits(pub Arc<[u64]>);

impl SplitUnits {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for SplitUnits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len() * 16);
        for id in &*self.0 {
            // Writing into a string does not fail.
            let _ = write!(text, "{id:016x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for SplitUnits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let ids: Option<Arc<[u64]>> = text.as_bytes().chunks(16).map(id).collect();
        ids.map(Self).ok_or_else(|| D::Error::custom("an id of split DWARF is not hexadecimal"))
    }
}

/// All that is known of one file of a build ID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The build ID that it was first seen under.
    pub build_id: String,
    /// What kind of file.
    pub kind: FileKind,
    /// How far it is.
    #[serde(flatten)]
    pub state: State,
    /// What is in it, once it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<RecordedQuality>,
    /// Its GNU build ID where that is another: one file under two names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gnu_build_id: Option<String>,
    /// Its hash, where that is another: what agents name it by that find no GNU build ID in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_hash: Option<String>,
    /// Checksum of the file, by which `.gnu_debuglink` of another may name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<u32>,
    /// The checksum that `.gnu_debuglink` in it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_crc32: Option<u32>,
    /// Split DWARF in it.
    #[serde(default, skip_serializing_if = "SplitUnits::is_empty")]
    pub split_units: SplitUnits,
    /// When it was last needed, Unix time.
    pub last_used_ns: i64,
}

impl Record {
    /// The bytes that are held.
    pub fn stored(&self) -> Option<&Stored> {
        match &self.state {
            State::Uploading(upload) | State::Uploaded(upload) => upload.stored.as_ref(),
            State::Debuginfod { stored, .. } => stored.as_ref(),
            State::Purged { .. } => None,
        }
    }

    /// What else the file is known by. An agent uploads a part of the program, and says the hash of all of it.
    pub fn other_names(&self) -> impl Iterator<Item = &str> {
        let said = match &self.state {
            State::Uploading(upload) | State::Uploaded(upload) => {
                Some(upload.hash.as_str()).filter(|hash| BuildId::is_hash(hash))
            }
            State::Purged { .. } | State::Debuginfod { .. } => None,
        };
        let names = [self.gnu_build_id.as_deref(), self.file_hash.as_deref(), said].into_iter().flatten();
        names.filter(|name| *name != self.build_id)
    }

    /// Whether it was looked at and has neither lines nor inlined functions.
    pub fn is_stripped(&self) -> bool {
        self.quality.is_some_and(RecordedQuality::is_stripped)
    }

    /// Whether it was looked at and is not what it must be.
    pub fn is_invalid(&self) -> bool {
        self.quality.is_some_and(|quality| quality.not_valid_elf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_form() {
        let record = Record {
            build_id: "ab12".to_owned(),
            kind: FileKind::Debuginfo,
            state: State::Uploading(Upload {
                id: "u1".to_owned(),
                hash: "h".to_owned(),
                announced_bytes: 7,
                started_ns: 5,
                stored: None,
            }),
            quality: None,
            gnu_build_id: None,
            file_hash: None,
            crc32: None,
            linked_crc32: None,
            split_units: SplitUnits::default(),
            last_used_ns: 9,
        };
        let json = String::from_utf8(codec::encode(&record).unwrap()).unwrap();
        let fields = r#""build_id":"ab12","kind":"debuginfo","state":"uploading","id":"u1","hash":"h","announced_bytes":7,"started_ns":5,"stored":null,"last_used_ns":9"#;
        let signed = format!("{{\"format\":1,{fields}");
        let checksum = xxhash_rust::xxh3::xxh3_64(signed.as_bytes());
        assert_eq!(json, format!("{signed},\"checksum\":\"{checksum:016x}\"}}"));
        assert_eq!(codec::decode(json.as_bytes()).unwrap(), record);
        assert_eq!(codec::decode(format!("{{{fields}}}").as_bytes()).unwrap(), record, "without a checksum");
        let split_units = SplitUnits([1, u64::MAX].into());
        let split = Record { split_units, crc32: Some(3), linked_crc32: Some(4), ..record };
        let bytes = codec::encode(&split).unwrap();
        let json = String::from_utf8(bytes.clone()).unwrap();
        assert!(
            json.contains(r#""crc32":3,"linked_crc32":4,"split_units":"0000000000000001ffffffffffffffff""#),
            "{json}"
        );
        assert_eq!(codec::decode(&bytes).unwrap(), split);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(codec::decode(&damaged).is_err(), "bit {bit}: {}", String::from_utf8_lossy(&damaged));
        }
        for end in 0..bytes.len() {
            assert!(codec::decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        let newer = json.replace("{\"format\":1,", "{\"format\":7,");
        let refused = codec::decode(newer.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused, "it has format 7, and this program reads up to 1");
    }
}
