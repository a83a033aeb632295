//! Inputs worth keeping, replayed: those that found a fault once, and one for each way to be wrong.
//!
//! `fixtures/corpus/pprof` is also the starting corpus of the fuzz target. Its files are replayed as they are, and cut
//! at every length if they are small.

use std::path::PathBuf;

use crate::generated::check_any;
use decima_profile::pprof::{Limits, decode};

#[test]
fn corpus_of_profiles() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus/pprof");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        if bytes.len() <= 4096 {
            (0..bytes.len()).for_each(|end| check_any(bytes[..end].to_vec()));
        }
        check_any(bytes);
    }
    assert!(files >= 10, "{files} files in {}", folder.display());
}

/// The message of the refusal, or what was decoded.
fn outcome(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/corpus/pprof")
        .join(name)
        .with_extension("pb");
    match decode(std::fs::read(path).unwrap(), &Limits::default()) {
        Ok(profile) => format!(
            "{} stacktraces, {} series",
            profile.batch.stacktrace_offsets.len() - 1,
            profile.batch.series.len()
        ),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn what_is_wrong_is_said_with_field_and_offset() {
    let check = |name: &str, expected: &str| assert_eq!(outcome(name), expected, "{name}");
    check("empty", "0 stacktraces, 0 series");
    check("extremes", "3 stacktraces, 2 series");
    check("field-zero", "profile: impossible field number at byte 144");
    check("first-string", "string_table[0] is not empty at byte 85");
    check(
        "function-out-of-range",
        "location[1].line[1].function_id 999 is out of range (2 functions) at byte 43",
    );
    check("function-zero", "1 stacktraces, 1 series");
    check("go-labels-cpu", "95 stacktraces, 2 series");
    check("group", "profile: unknown wire type at byte 146");
    check("ids-missing", "function[0].id is 0 at byte 67");
    check("ids-out-of-order", "1 stacktraces, 1 series");
    check("label-key-zero", "sample[0].label[0].key is 0 at byte 16");
    check("labels", "2 stacktraces, 1 series");
    check("length-beyond-end", "profile: cut short at byte 151");
    check(
        "location-huge",
        "sample[0].location_id[1] 18446744073709551615 is out of range (2 locations) at byte 11",
    );
    check("location-out-of-range", "sample[0].location_id[1] 3 is out of range (2 locations) at byte 11");
    check("location-zero", "sample[0].location_id[1] is 0 at byte 11");
    check("mapping-out-of-range", "sample[0].location_id[1] 2 is out of range (1 locations) at byte 11");
    check("no-sample-types", "sample[0] has 1 values for 0 sample types at byte 2");
    check("no-strings", "0 stacktraces, 0 series");
    check("node-datadog-wall-cpu-labels", "71 stacktraces, 3 series");
    check("not-utf8", "1 stacktraces, 1 series");
    check("packed-in-parts", "1 stacktraces, 1 series");
    check("prometheus-mutex", "1 stacktraces, 2 series");
    check("string-negative", "function[0].name -1 is out of range (9 strings) at byte 69");
    check("string-out-of-range", "function[0].name 99 is out of range (9 strings) at byte 69");
    check("strings-first", "1 stacktraces, 1 series");
    check("too-few-values", "sample[0] has 1 values for 2 sample types at byte 14");
    check("uneven-values", "sample[1] has 2 values for 1 sample types at byte 16");
    check("unknown-fields", "1 stacktraces, 1 series");
    check("unpacked", "1 stacktraces, 1 series");
    check("valid", "1 stacktraces, 1 series");
    check("varint-too-long", "profile: varint of more than 64 bits at byte 145");
    check("wrong-wire-type", "profile: wrong wire type at byte 146");
    check("zeros", "0 stacktraces, 0 series");
}
