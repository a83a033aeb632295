//! Files of a directory that an object store does not show: those with names that it takes for its own unfinished writes, those with
//! names that no object can have, and what is no file. Nothing of the program is among them, and they are listed for whoever wonders.

use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use crate::storage::{self, TENANT};

/// So many are told: who has more has another problem.
const NAMES_MAX: usize = 1_000;
/// Folders are looked into so deep.
const DEPTH_MAX: usize = 16;

/// Their names below the directory, in its order. What cannot be looked into is left out, and so are folders beside the store's,
/// which a listing shows.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let is_looked_into =
        |entry: &DirEntry| entry.depth() != 1 || !entry.file_type().is_dir() || entry.file_name() == TENANT;
    let entries = WalkDir::new(directory).min_depth(1).max_depth(DEPTH_MAX).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(is_looked_into).filter_map(Result::ok);
    let hidden = entries.filter_map(|entry| {
        let below = entry.path().strip_prefix(directory).unwrap_or(entry.path());
        is_hidden(&entry, below).then(|| below.to_string_lossy().into_owned())
    });
    hidden.take(NAMES_MAX).collect()
}

fn is_hidden(entry: &DirEntry, below: &Path) -> bool {
    let kind = entry.file_type();
    match below.to_str() {
        None => entry.file_name().to_str().is_none(),
        Some(_) if !(kind.is_file() || kind.is_dir()) => true,
        Some(name) => unfinished(name).is_some_and(|of| !storage::is_known(&of.into())),
    }
}

/// The name of the object that a file with this one would be the unfinished write of: `name#number`.
fn unfinished(name: &str) -> Option<&str> {
    let (of, number) = name.rsplit_once('#')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(of)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};

    use super::*;

    #[test]
    fn what_no_object_can_be() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &std::ffi::OsStr| std::fs::write(directory.path().join(name), "x").unwrap();
        std::fs::create_dir_all(directory.path().join("default/deep")).unwrap();
        std::fs::create_dir_all(directory.path().join("default/manifest")).unwrap();
        std::fs::create_dir_all(directory.path().join("others")).unwrap();
        let shown = ["plain", "number#", "a#b", "others/x#1"];
        // The store's own, while it is written.
        let own = "default/manifest/00000000000000000007.json#1";
        for name in shown.iter().chain(&["report#2", "default/my#3", own]) {
            write(name.as_ref());
        }
        write(std::ffi::OsStr::from_bytes(b"default/deep/\xff"));
        symlink("nowhere", directory.path().join("default/link")).unwrap();
        let expected = ["default/deep/\u{fffd}", "default/link", "default/my#3", "report#2"];
        assert_eq!(names(directory.path()), expected);
        assert!(names(&directory.path().join("absent")).is_empty());
    }
}
