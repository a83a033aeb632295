//! One file: what it said when it could last be used, and whether it has to be read again.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    discovery::{
        TargetGroup,
        groups::{self, GroupsError},
    },
    error_chain::error_chain,
};

/// Largest file that is read: a hundred thousand targets with some labels.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// A file that was changed so short a time ago may change again without another time of change: clocks of file systems are
/// coarse.
const RACY: Duration = Duration::from_secs(2);

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("cannot be read")]
    Io(#[from] io::Error),
    #[error("is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether another change could look the same.
    racy: bool,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata, now: SystemTime) -> Self {
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            racy: age.is_none_or(|age| age < RACY),
        }
    }
}

/// The content of a file.
pub(super) struct Read {
    bytes: Vec<u8>,
    hash: u128,
}

impl Read {
    /// Whether both hold the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

pub(super) fn read(path: &Path) -> Result<Read, ReadError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge);
    }
    let hash = xxh3_128(&bytes);
    Ok(Read { bytes, hash })
}

/// A file as it is known.
pub(super) struct Watched {
    path: PathBuf,
    /// At the last look.
    stamp: Option<Stamp>,
    /// Hash of the content that was taken or refused last.
    hash: Option<u128>,
    read_at: Option<Instant>,
    groups: Vec<TargetGroup>,
    /// Why it could not be read; empty if it could.
    unreadable: String,
    /// Why its content was refused; empty if it was not.
    refused: String,
    missed: bool,
}

impl Watched {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            stamp: None,
            hash: None,
            read_at: None,
            groups: Vec::new(),
            unreadable: String::new(),
            refused: String::new(),
            missed: false,
        }
    }

    /// Whether the file has to be read; `stamp` is that of now.
    pub(super) fn is_due(&mut self, stamp: Option<Stamp>, now: Instant, refresh: Duration) -> bool {
        self.missed = false;
        let same = stamp.is_some() && stamp == self.stamp && stamp.is_some_and(|stamp| !stamp.racy);
        self.stamp = stamp;
        !same || self.read_at.is_none_or(|at| now.saturating_duration_since(at) >= refresh)
    }

    /// Notes that the file is not there; whether it was at the look before.
    pub(super) fn miss(&mut self) -> bool {
        !std::mem::replace(&mut self.missed, true)
    }

    /// Whether this content is known.
    pub(super) fn says(&self, read: &Read) -> bool {
        self.hash == Some(read.hash)
    }

    /// The content is what it was.
    pub(super) fn confirm(&mut self, now: Instant) {
        self.read_at = Some(now);
        self.unreadable.clear();
    }

    /// The content is new: its groups are taken, or it is refused and those from before stay.
    pub(super) fn take(&mut self, read: &Read, now: Instant) {
        self.confirm(now);
        self.hash = Some(read.hash);
        match self.parse(&read.bytes) {
            Ok(groups) => {
                self.groups = groups;
                self.refused.clear();
            }
            Err(error) => self.refused = error_chain(&error),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Vec<TargetGroup>, GroupsError> {
        if self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            return groups::from_json(bytes);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => groups::from_yaml(text),
            Err(error) => Err(GroupsError::Yaml { reason: error.to_string() }),
        }
    }

    /// The content changes just now: it is read with the next look.
    pub(super) fn look_again(&mut self) {
        self.stamp = None;
    }

    /// The file could not be read: so it is tried with the next look.
    pub(super) fn fail(&mut self, error: &ReadError) {
        self.stamp = None;
        self.unreadable = error_chain(error);
    }

    /// What it said when it could last be used.
    pub(super) fn groups(&self) -> &[TargetGroup] {
        &self.groups
    }

    /// Why it cannot be used now.
    pub(super) fn wrong(&self) -> Option<String> {
        let reason = [&self.unreadable, &self.refused].into_iter().find(|reason| !reason.is_empty())?;
        Some(format!("{}: {reason}", self.path.display()))
    }
}
