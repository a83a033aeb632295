//! Targets from files.
//!
//! Files are looked at every second rather than watched: notifications do not come from network mounts, and a look costs a
//! `stat` per file. What a file says is taken once two reads a little apart agree, so that one that is being rewritten is
//! not taken half; a file that is gone keeps its targets for one look, so that one that is replaced by removing and writing
//! it anew does not stop them. One that cannot be used keeps what it said before.

mod watched;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use decima_config::FileDiscovery;

use self::watched::Watched;
use super::{Findings, findings::Groups};

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// From one read of a changed file to the read that confirms it.
const SETTLE: Duration = Duration::from_millis(100);
/// Files of one discovery; each is looked at every second.
const FILES_MAX: usize = 1000;

const PATH_LABEL: &str = "__meta_filepath";

/// Looks again and again.
pub(super) async fn run(config: &FileDiscovery, findings: &Findings) {
    let mut files = Files::new(config.clone(), SETTLE);
    let mut ticks = super::refresh_ticks(LOOK_INTERVAL);
    loop {
        ticks.tick().await;
        let looked = tokio::task::spawn_blocking(move || {
            let wrong = files.look(Instant::now());
            (files, wrong)
        });
        // A panic there is a defect, and what was found stays.
        let Ok((looked, wrong)) = looked.await else { return };
        files = looked;
        match FilesError::of(wrong) {
            None => findings.found(files.groups()),
            Some(error) => findings.found_partly(files.groups(), &error),
        }
    }
}

/// What is wrong with the files as they are now, one line each.
pub(crate) fn wrong_files(config: &FileDiscovery) -> Vec<String> {
    Files::new(config.clone(), Duration::ZERO).look(Instant::now())
}

/// Files that cannot be used, or are not there.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{}{}", first, others(*more))]
struct FilesError {
    /// What is wrong with the first of them, in the order of names.
    first: String,
    /// How many others there are.
    more: usize,
}

impl FilesError {
    fn of(wrong: Vec<String>) -> Option<Self> {
        let more = wrong.len().saturating_sub(1);
        wrong.into_iter().next().map(|first| Self { first, more })
    }
}

fn others(more: usize) -> String {
    let mut text = String::new();
    if more > 0 {
        let _ = write!(text, " (and {more} more files)");
    }
    text
}

/// The files of a discovery as they were at the last look.
struct Files {
    config: FileDiscovery,
    settle: Duration,
    watched: BTreeMap<PathBuf, Watched>,
}

impl Files {
    fn new(config: FileDiscovery, settle: Duration) -> Self {
        Self { config, settle, watched: BTreeMap::new() }
    }

    /// Reads what has changed; what is wrong now, in the order of names.
    fn look(&mut self, now: Instant) -> Vec<String> {
        let (paths, mut wrong) = matches(&self.config.files);
        self.watched.retain(|path, watched| paths.contains(path) || watched.miss());
        let mut changed = Vec::new();
        for path in paths {
            let watched = self.watched.entry(path.clone()).or_insert_with(|| Watched::new(&path));
            if watched.is_due(stamp(&path), now, self.config.refresh_interval) {
                match watched::read(&path) {
                    Ok(read) if watched.says(&read) => watched.confirm(now),
                    Ok(read) => changed.push((path, read)),
                    Err(error) => watched.fail(&error),
                }
            }
        }
        if !changed.is_empty() {
            std::thread::sleep(self.settle);
        }
        for (path, first) in changed {
            let Some(watched) = self.watched.get_mut(&path) else { continue };
            match watched::read(&path) {
                Ok(second) if second.is_same(&first) => watched.take(&second, now),
                _ => watched.look_again(),
            }
        }
        wrong.extend(self.watched.values().filter_map(Watched::wrong));
        wrong.sort_unstable();
        wrong
    }

    /// What all files say, by path and place in the file.
    fn groups(&self) -> Groups {
        let mut groups = Groups::new();
        for (path, watched) in &self.watched {
            let path = path.display().to_string();
            for (index, group) in watched.groups().iter().enumerate() {
                let mut group = group.clone();
                group.labels.insert(PATH_LABEL.to_owned(), path.clone());
                groups.insert(format!("{path}:{index:08}"), group);
            }
        }
        groups
    }
}

/// The files that there are, and what is wrong with the patterns.
fn matches(patterns: &[PathBuf]) -> (Vec<PathBuf>, Vec<String>) {
    let (mut paths, mut wrong) = (Vec::new(), Vec::new());
    for pattern in patterns {
        let text = pattern.display().to_string();
        if !text.contains('*') {
            if fs::symlink_metadata(pattern).is_ok() {
                paths.push(pattern.clone());
            } else {
                wrong.push(format!("{text}: is not there"));
            }
            continue;
        }
        match glob::glob(&text) {
            Ok(found) => paths.extend(found.filter_map(Result::ok)),
            Err(error) => wrong.push(format!("{text}: {error}")),
        }
    }
    paths.sort_unstable();
    paths.dedup();
    if paths.len() > FILES_MAX {
        wrong.push(format!("{} files are more than {FILES_MAX}; the last ones are not read", paths.len()));
        paths.truncate(FILES_MAX);
    }
    (paths, wrong)
}

/// What tells one state of a file from another, without reading it; `None` if it is not there.
fn stamp(path: &Path) -> Option<watched::Stamp> {
    fs::metadata(path).ok().map(|metadata| watched::Stamp::of(&metadata, SystemTime::now()))
}
