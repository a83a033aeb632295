//! A name for a profile whose sender did not give one.
//!
//! The names are those that Parca's scraper gives to the same profiles, so that an uploaded file stands beside scraped ones.

use std::path::Path;

/// The name for a profile with these sample types, read from this file.
pub(crate) fn derived(sample_types: &[&str], file: &Path) -> String {
    let any = |matches: fn(&str) -> bool| sample_types.iter().any(|name| matches(name));
    let stem = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = if any(|name| name.starts_with("alloc_") || name.starts_with("inuse_") || name == "space") {
        "memory"
    } else if any(|name| name == "contentions" || name == "delay") {
        // Go's two profiles of waiting have the same types.
        if stem.contains("block") { "block" } else { "mutex" }
    } else if any(|name| name.starts_with("goroutine")) {
        "goroutine"
    } else if any(|name| name == "cpu" || name.starts_with("cpu-") || name.starts_with("cpu_")) {
        "process_cpu"
    } else if any(|name| name == "wall" || name.starts_with("wall-") || name.starts_with("wall_")) {
        "wall"
    } else {
        return sample_types.first().map_or_else(|| "profile".to_owned(), |name| sanitized(name));
    };
    name.to_owned()
}

/// A name that can be written in a selector without quotes.
fn sanitized(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |types: &[&str], file: &str, expected: &str| {
            assert_eq!(derived(types, Path::new(file)), expected);
        };
        check(&["samples", "cpu"], "profile.pb.gz", "process_cpu");
        check(&["cpu-time", "wall-time"], "x", "process_cpu");
        check(&["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"], "heap", "memory");
        check(&["contentions", "delay"], "/tmp/block.pb.gz", "block");
        check(&["contentions", "delay"], "/tmp/mutex.pb.gz", "mutex");
        check(&["goroutine"], "x", "goroutine");
        check(&["wall"], "x", "wall");
        check(&["page-faults"], "x", "page_faults");
        check(&["9lives"], "x", "_9lives");
        check(&[], "x", "profile");
    }
}
