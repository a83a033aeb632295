//! What a sender is told: whether to upload, and why. No I/O and no clock.
//!
//! Senders compare the reasons as texts, so they are Parca's to the letter.

use crate::record::{FileKind, Record, State};

/// How long after the time for an upload has passed it may still be going on.
pub const STALE_GRACE_NS: i64 = 120 * 1_000_000_000;

/// Why a sender should or should not upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A debuginfod server has it.
    InDebuginfod,
    /// Nobody has it.
    FirstTimeSeen,
    /// An upload was begun and not ended.
    UploadStale,
    /// An upload is going on.
    UploadInProgress,
    /// An upload is going on, and the sender insists.
    UploadInProgressForced,
    /// It is here.
    AlreadyExists,
    /// It is here, and the sender insists.
    AlreadyExistsForced,
    /// What is here is unusable, and the sender has not said what it has.
    Invalid,
    /// What is here is unusable, and the sender has the same.
    InvalidEqual,
    /// What is here is unusable, and the sender has something else.
    InvalidNotEqual,
    /// It was found at debuginfod before.
    DebuginfodSource,
    /// What debuginfod gave is unusable.
    DebuginfodInvalid,
    /// It was here and went by retention.
    Purged,
    /// What is here tells neither lines nor what was inlined, and the sender has something else.
    Stripped,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 14] = [
        Self::InDebuginfod,
        Self::FirstTimeSeen,
        Self::UploadStale,
        Self::UploadInProgress,
        Self::UploadInProgressForced,
        Self::AlreadyExists,
        Self::AlreadyExistsForced,
        Self::Invalid,
        Self::InvalidEqual,
        Self::InvalidNotEqual,
        Self::DebuginfodSource,
        Self::DebuginfodInvalid,
        Self::Purged,
        Self::Stripped,
    ];

    /// The words on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InDebuginfod => "Debuginfo exists in debuginfod, therefore no upload is necessary.",
            Self::FirstTimeSeen => {
                "First time we see this Build ID, and it does not exist in debuginfod, therefore please upload!"
            }
            Self::UploadStale => {
                "A previous upload was started but not finished and is now stale, so it can be retried."
            }
            Self::UploadInProgress => {
                "A previous upload is still in-progress and not stale yet (only stale uploads can be retried)."
            }
            Self::UploadInProgressForced => {
                "A previous upload is in-progress, but accepting restart because it's requested to be forced."
            }
            Self::AlreadyExists => {
                "Debuginfo already exists and is not marked as invalid, therefore no new upload is needed."
            }
            Self::AlreadyExistsForced => {
                "Debuginfo already exists and is not marked as invalid, therefore wouldn't have accepted a new upload, but accepting it because it's requested to be forced."
            }
            Self::Invalid => {
                "Debuginfo already exists but is marked as invalid, therefore a new upload is needed. Hash the debuginfo and initiate the upload."
            }
            Self::InvalidEqual => {
                "Debuginfo already exists and is marked as invalid, but the proposed hash is the same as the one already available, therefore the upload is not accepted as it would result in the same invalid debuginfos."
            }
            Self::InvalidNotEqual => {
                "Debuginfo already exists but is marked as invalid, therefore a new upload will be accepted."
            }
            Self::DebuginfodSource => {
                "Debuginfo is available from debuginfod already and not marked as invalid, therefore no new upload is needed."
            }
            Self::DebuginfodInvalid => {
                "Debuginfo is available from debuginfod already but is marked as invalid, therefore a new upload is needed."
            }
            Self::Purged => "Debuginfo was removed by retention, therefore please upload it again!",
            Self::Stripped => {
                "Debuginfo already exists but is stripped, and the proposed hash is another, therefore a new upload will be accepted."
            }
        }
    }

    /// Whether the sender should upload.
    pub fn wants_upload(self) -> bool {
        match self {
            Self::FirstTimeSeen
            | Self::UploadStale
            | Self::UploadInProgressForced
            | Self::AlreadyExistsForced
            | Self::Invalid
            | Self::InvalidNotEqual
            | Self::DebuginfodInvalid
            | Self::Purged
            | Self::Stripped => true,
            Self::InDebuginfod
            | Self::UploadInProgress
            | Self::AlreadyExists
            | Self::InvalidEqual
            | Self::DebuginfodSource => false,
        }
    }
}

/// What a sender proposes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proposal<'a> {
    /// Hash of what it would upload; empty if it has not computed one.
    pub hash: &'a str,
    /// Whether it insists.
    pub force: bool,
}

/// What to answer for a file that is known. One that is not known is [`Reason::FirstTimeSeen`] unless debuginfod has it.
pub fn decide(record: &Record, proposal: Proposal<'_>, now_ns: i64, upload_max_ns: i64) -> Reason {
    match &record.state {
        State::Uploading(upload) => {
            let stale_ns = upload.started_ns.saturating_add(upload_max_ns).saturating_add(STALE_GRACE_NS);
            match (stale_ns < now_ns, proposal.force) {
                (true, _) => Reason::UploadStale,
                (false, true) => Reason::UploadInProgressForced,
                (false, false) => Reason::UploadInProgress,
            }
        }
        State::Uploaded(upload) => match (record.is_invalid(), proposal) {
            (false, Proposal { force: true, .. }) => Reason::AlreadyExistsForced,
            // Agents propose no hash here: each of them would upload the same stripped program.
            (false, Proposal { hash, .. })
                if is_stripped_debuginfo(record) && !hash.is_empty() && hash != upload.hash =>
            {
                Reason::Stripped
            }
            (false, _) => Reason::AlreadyExists,
            (true, Proposal { hash: "", .. }) => Reason::Invalid,
            (true, Proposal { hash, .. }) if hash == upload.hash => Reason::InvalidEqual,
            (true, _) => Reason::InvalidNotEqual,
        },
        State::Purged { .. } => Reason::Purged,
        State::Debuginfod { .. } if record.is_invalid() => Reason::DebuginfodInvalid,
        State::Debuginfod { .. } => Reason::DebuginfodSource,
    }
}

/// A stripped program in the place of its debug information: whoever has that expects it to be used.
fn is_stripped_debuginfo(record: &Record) -> bool {
    record.kind == FileKind::Debuginfo && record.is_stripped()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordedQuality, Upload};

    const MINUTE_NS: i64 = 60 * 1_000_000_000;
    const UPLOAD_MAX_NS: i64 = 15 * MINUTE_NS;

    fn record(state: State, invalid: bool) -> Record {
        Record {
            build_id: "abcd".to_owned(),
            kind: FileKind::Debuginfo,
            state,
            quality: invalid.then(|| RecordedQuality { not_valid_elf: true, ..RecordedQuality::default() }),
            gnu_build_id: None,
            file_hash: None,
            crc32: None,
            linked_crc32: None,
            split_units: crate::record::SplitUnits::default(),
            last_used_ns: 0,
        }
    }

    fn upload() -> Upload {
        Upload {
            id: "1".to_owned(),
            hash: "same".to_owned(),
            announced_bytes: 2,
            started_ns: 0,
            stored: None,
        }
    }

    #[test]
    fn decisions() {
        let check = |state: &State, invalid, hash, force, minutes: i64, expected: Reason| {
            let record = record(state.clone(), invalid);
            let found = decide(&record, Proposal { hash, force }, minutes * MINUTE_NS, UPLOAD_MAX_NS);
            assert_eq!(found, expected, "{state:?} {invalid} {hash} {force} {minutes}");
        };
        let uploading = State::Uploading(upload());
        check(&uploading, false, "", false, 1, Reason::UploadInProgress);
        check(&uploading, false, "", false, 17, Reason::UploadInProgress);
        check(&uploading, false, "", false, 18, Reason::UploadStale);
        check(&uploading, false, "", true, 18, Reason::UploadStale);
        check(&uploading, false, "", true, 1, Reason::UploadInProgressForced);
        let uploaded = State::Uploaded(upload());
        check(&uploaded, false, "", false, 1, Reason::AlreadyExists);
        check(&uploaded, false, "same", true, 1, Reason::AlreadyExistsForced);
        check(&uploaded, true, "", false, 1, Reason::Invalid);
        check(&uploaded, true, "same", false, 1, Reason::InvalidEqual);
        check(&uploaded, true, "same", true, 1, Reason::InvalidEqual);
        check(&uploaded, true, "other", false, 1, Reason::InvalidNotEqual);
        check(&State::Purged { at_ns: 0 }, false, "", false, 1, Reason::Purged);
        let debuginfod = State::Debuginfod { server: "d".to_owned(), stored: None };
        check(&debuginfod, false, "", true, 1, Reason::DebuginfodSource);
        check(&debuginfod, true, "", false, 1, Reason::DebuginfodInvalid);
    }

    #[test]
    fn debug_information_is_wanted_in_the_place_of_a_stripped_program() {
        let check = |kind, has_dwarf, hash, expected: Reason| {
            let quality = Some(RecordedQuality { has_dwarf, has_symtab: true, ..RecordedQuality::default() });
            let record = Record { kind, quality, ..record(State::Uploaded(upload()), false) };
            let found = decide(&record, Proposal { hash, force: false }, MINUTE_NS, UPLOAD_MAX_NS);
            assert_eq!(found, expected, "{kind:?} {has_dwarf} {hash}");
        };
        check(FileKind::Debuginfo, false, "other", Reason::Stripped);
        check(FileKind::Debuginfo, false, "same", Reason::AlreadyExists);
        check(FileKind::Debuginfo, false, "", Reason::AlreadyExists);
        check(FileKind::Debuginfo, true, "other", Reason::AlreadyExists);
        check(FileKind::Executable, false, "other", Reason::AlreadyExists);
    }

    /// An agent retries in five minutes on exactly this text, and never on another.
    #[test]
    fn words_that_agents_compare() {
        assert_eq!(
            Reason::UploadInProgress.as_str(),
            "A previous upload is still in-progress and not stale yet (only stale uploads can be retried)."
        );
        let mut texts: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Reason::ALL.len());
    }
}
