//! Recorded requests of two layouts, and what another implementation read from them.

use std::collections::BTreeSet;

use decima_profile::attribute_name;

use super::*;
use crate::recorded::{self, Totals};

fn ours(name: &str) -> String {
    if name.contains("ebpf-profiler") {
        return profile::profile_name(name);
    }
    attribute_name::sanitized(name).into_owned()
}

fn check(folder: &str, messages: usize, layout: Layout, repaired: &[u64]) {
    let expected = recorded::expected(folder);
    let mut all = Totals::default();
    let list = expected["messages"].as_array().unwrap();
    assert_eq!(list.len(), messages);
    let mut found = Vec::new();
    for message in list {
        let file = format!("{folder}/{}", message["file"].as_str().unwrap());
        let decoded = decode(&recorded::fixture(&file), &Limits::default(), None, None, 1).unwrap();
        assert_eq!((decoded.rejected_profiles.len(), &decoded.rejection), (0, &None), "{file}");
        assert_eq!(decoded.layout, Some(layout), "{file}");
        found.push(decoded.repaired_strings);
        let mut totals = Totals::default();
        totals.add(&decoded.batch);
        totals.check(&message["expected"], &file, ours);
        all.add(&decoded.batch);
    }
    assert_eq!(found, repaired);
    all.check(&expected["total"], folder, ours);
    let names: BTreeSet<&str> = all.values["thread_name"].iter().map(String::as_str).collect();
    assert!(names.contains("collatz") && names.contains("python3"), "{names:?}");
}

#[test]
fn recorded_requests_of_1_10() {
    check("otlp", 7, Layout::From1_10, &[0; 7]);
}

#[test]
fn recorded_requests_of_1_9_with_text_that_is_not_utf8() {
    check("otlp-1.9", 6, Layout::UpTo1_9, &[0, 0, 1, 2, 2, 1]);
}
