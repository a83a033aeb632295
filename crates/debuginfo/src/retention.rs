//! Which files have to go. No I/O and no clock.

use crate::record::{FileKind, Record, State};

/// How much may be held and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a file stays that nobody needed.
    pub unused_max_ns: i64,
    /// How many bytes may be held.
    pub bytes_max: u64,
}

impl Default for Limits {
    /// A month, as profiles are usually kept; 20 GB, some hundred large programs.
    fn default() -> Self {
        Self { unused_max_ns: 30 * 24 * 3_600 * 1_000_000_000, bytes_max: 20_000_000_000 }
    }
}

/// A file by build ID and kind.
pub type FileName = (String, FileKind);

/// The files to let go, those not used for longest first. Uploads that go on are not touched.
pub fn expired<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    limits: Limits,
    now_ns: i64,
) -> Vec<FileName> {
    let mut held: Vec<_> = records
        .into_iter()
        .filter(|record| !matches!(record.state, State::Uploading(_)))
        .filter_map(|record| Some((record, record.stored()?.size_bytes)))
        .collect();
    held.sort_by_key(|(record, _)| (record.last_used_ns, &record.build_id, record.kind));
    let mut bytes: u64 = held.iter().map(|(_, size)| size).sum();
    let mut gone = Vec::new();
    for (record, size) in held {
        let unused = record.last_used_ns.saturating_add(limits.unused_max_ns) < now_ns;
        if !unused && bytes <= limits.bytes_max {
            break;
        }
        bytes -= size;
        gone.push((record.build_id.clone(), record.kind));
    }
    gone
}

/// Records that mean nothing any more: of uploads that never ended, and of files that went long ago.
pub fn forgotten<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    limits: Limits,
    now_ns: i64,
) -> Vec<FileName> {
    /// An upload is over long before.
    const UPLOAD_MAX_NS: i64 = 24 * 3_600 * 1_000_000_000;
    let is_over = |record: &&Record| {
        let (since_ns, for_ns) = match &record.state {
            State::Uploading(upload) => (upload.started_ns, UPLOAD_MAX_NS),
            State::Purged { at_ns } => (*at_ns, limits.unused_max_ns),
            State::Debuginfod { stored: None, .. } => (record.last_used_ns, limits.unused_max_ns),
            State::Uploaded(_) | State::Debuginfod { .. } => return false,
        };
        since_ns.saturating_add(for_ns) < now_ns
    };
    records.into_iter().filter(is_over).map(|record| (record.build_id.clone(), record.kind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Stored, Upload};

    fn record(build_id: &str, size_bytes: u64, last_used_ns: i64, uploading: bool) -> Record {
        let upload = Upload {
            id: String::new(),
            hash: String::new(),
            announced_bytes: 0,
            started_ns: 0,
            stored: Some(Stored { object: String::new(), size_bytes, checksum: None }),
        };
        Record {
            build_id: build_id.to_owned(),
            kind: FileKind::Debuginfo,
            state: if uploading { State::Uploading(upload) } else { State::Uploaded(upload) },
            quality: None,
            gnu_build_id: None,
            file_hash: None,
            crc32: None,
            linked_crc32: None,
            split_units: crate::record::SplitUnits::default(),
            last_used_ns,
        }
    }

    #[test]
    fn oldest_go_first() {
        let records = [
            record("new", 10, 100, false),
            record("old", 20, 10, false),
            record("older", 30, 5, false),
            record("going on", 40, 0, true),
        ];
        let check = |unused_max_ns, bytes_max, now_ns, expected: &[&str]| {
            let gone = expired(&records, Limits { unused_max_ns, bytes_max }, now_ns);
            assert_eq!(gone.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), expected);
        };
        check(1000, 1000, 100, &[]);
        check(1000, 60, 100, &[]);
        check(1000, 59, 100, &["older"]);
        check(1000, 29, 100, &["older", "old"]);
        check(1000, 0, 100, &["older", "old", "new"]);
        check(90, 1000, 100, &["older"]);
        check(89, 1000, 100, &["older", "old"]);
    }
}
