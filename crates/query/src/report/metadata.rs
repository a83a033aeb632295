//! PROFILE_METADATA: which files and labels the samples have.

use super::Forest;
use crate::calls;

/// Distinct mapping files of the samples, sorted.
pub(crate) fn mapping_files(forest: &Forest) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for (at, view) in forest.views.iter().enumerate() {
        let mut strings: Vec<u32> = calls::touched_locations(&forest.branches, &forest.views, at)
            .into_iter()
            .filter_map(|location| view.mapping(location).map(|mapping| mapping.file))
            .collect();
        strings.sort_unstable();
        strings.dedup();
        files.extend(strings.into_iter().map(|string| view.symbols.strings.get(string).to_owned()));
    }
    files.retain(|file| !file.is_empty());
    files.sort_unstable();
    files.dedup();
    files
}
