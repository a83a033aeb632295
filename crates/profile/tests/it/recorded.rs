//! Files of real senders give the totals that another implementation read from them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use decima_profile::{
    batch::{AttributeValues, NO_MAPPING},
    compression::decompress,
    pprof::{DecodeError, Foreign, Limits, Profile, decode},
};
use serde_json::Value;

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pprof").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn decoded(name: &str) -> Profile {
    let bytes = decompress(&fixture(name), 1 << 24).unwrap();
    decode(bytes, &Limits::default()).unwrap()
}

fn numbers(value: &Value) -> BTreeMap<String, i64> {
    let object = value.as_object().unwrap();
    object.iter().map(|(key, value)| (key.clone(), value.as_i64().unwrap())).collect()
}

/// Sums of values and numbers of samples by `type:unit`, without the types that have none.
fn sums(profile: &Profile) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
    let by_type = |of: fn(&[i64]) -> i64| {
        let series = profile.batch.series.iter();
        series
            .map(|s| {
                (format!("{}:{}", s.profile_type.sample_type, s.profile_type.sample_unit), of(&s.values))
            })
            .collect()
    };
    (by_type(|values| values.iter().sum()), by_type(|values| values.len() as i64))
}

/// Samples with a label, by its name, over all series: (text, numbers).
fn labels(profile: &Profile) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
    let mut rows: [BTreeMap<String, BTreeSet<u32>>; 2] = Default::default();
    for series in &profile.batch.series {
        for attribute in &series.attributes {
            let name = profile.batch.strings.get(attribute.name).to_owned();
            let (kind, present): (usize, Vec<bool>) = match &attribute.values {
                AttributeValues::Text(ids) => (0, ids.iter().map(|&id| id != 0).collect()),
                AttributeValues::Integer { values, .. } => (1, values.iter().map(Option::is_some).collect()),
            };
            assert_eq!(present.len(), series.values.len());
            let stacktraces =
                series.stacktraces.iter().zip(present).filter_map(|(&id, present)| present.then_some(id));
            rows[kind].entry(name).or_default().extend(stacktraces);
        }
    }
    rows.map(|by_name| by_name.into_iter().map(|(name, rows)| (name, rows.len() as i64)).collect()).into()
}

fn top_functions(profile: &Profile, sample_type: &str) -> HashMap<String, i64> {
    let batch = &profile.batch;
    let mut flat = HashMap::new();
    let series = batch
        .series
        .iter()
        .filter(|s| format!("{}:{}", s.profile_type.sample_type, s.profile_type.sample_unit) == sample_type);
    for (&id, value) in series.flat_map(|s| s.stacktraces.iter().zip(&s.values)) {
        let Some(&leaf) = batch.stacktrace(id).first() else { continue };
        let location = batch.locations[leaf as usize];
        if location.line_count > 0 {
            let function = batch.lines[location.first_line as usize].function;
            let name = batch.strings.get(batch.functions[function as usize].name);
            *flat.entry(name.to_owned()).or_default() += value;
        }
    }
    flat
}

fn check(expected: &Value) {
    let file = expected["file"].as_str().unwrap();
    // The repository holds this one only as its sender compressed it.
    let stored = if file == "python-ddtrace.pb" { "python-ddtrace.pb.zst" } else { file };
    let profile = decoded(stored);
    let batch = &profile.batch;

    let (sum, count) = sums(&profile);
    let mut expected_sums = numbers(&expected["sums"]);
    let mut expected_counts = numbers(&expected["samples_with_value_not_zero"]);
    expected_sums.retain(|key, _| expected_counts.get(key).is_some_and(|count| *count != 0));
    expected_counts.retain(|_, count| *count != 0);
    assert_eq!(sum, expected_sums, "{file}: sums");
    assert_eq!(count, expected_counts, "{file}: samples");

    for (table, found) in [
        ("locations", batch.locations.len()),
        ("functions", batch.functions.len()),
        ("mappings", batch.mappings.len()),
        ("locations_with_more_than_one_line", batch.locations.iter().filter(|l| l.line_count > 1).count()),
        ("locations_without_lines", batch.locations.iter().filter(|l| l.line_count == 0).count()),
    ] {
        assert_eq!(Some(found as u64), expected[table].as_u64(), "{file}: {table}");
    }
    // Samples without any value are left out, and with them their depth and labels.
    let samples = expected["samples"].as_u64().unwrap() as usize;
    let kept = batch.stacktrace_offsets.len() - 1;
    assert!(kept <= samples, "{file}: {kept} of {samples} samples");
    let depth = batch.stacktrace_offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
    let (texts, integers) = labels(&profile);
    if kept == samples {
        assert_eq!(Some(u64::from(depth)), expected["max_depth_locations"].as_u64(), "{file}: depth");
        assert_eq!(texts, renamed(&expected["string_labels_on_samples"]), "{file}: text labels");
        assert_eq!(integers, renamed(&expected["number_labels_on_samples"]), "{file}: number labels");
    } else {
        assert!(Some(u64::from(depth)) <= expected["max_depth_locations"].as_u64(), "{file}: depth");
        for (name, count) in renamed(&expected["number_labels_on_samples"]) {
            assert!(integers.get(&name).is_some_and(|&found| found <= count), "{file}: {name}");
        }
    }

    assert_eq!(Some(profile.time_ns), expected["time_nanos"].as_i64(), "{file}: time");
    for series in &batch.series {
        let profile_type = &series.profile_type;
        let period_type = format!("{}:{}", profile_type.period_type, profile_type.period_unit);
        assert_eq!(Some(period_type.as_str()), expected["period_type"].as_str(), "{file}: period type");
        assert_eq!(Some(series.period), expected["period"].as_i64(), "{file}: period");
        assert_eq!(Some(series.duration_ns), expected["duration_nanos"].as_i64(), "{file}: duration");
        assert_eq!(profile_type.delta, series.duration_ns != 0);
        assert_eq!(series.times_ns, [profile.time_ns]);
    }
    let first_type = expected["sample_types"][0].as_str().unwrap();
    let flat = top_functions(&profile, first_type);
    for function in expected["top_functions_flat_first_sample_type"].as_array().unwrap() {
        let name = function["name"].as_str().unwrap();
        let value = function["value"].as_i64();
        assert_eq!(flat.get(name).copied().or(Some(0)), value, "{file}: {name}");
    }
    assert_eq!(profile.repaired_strings, 0);
}

/// Label names as attributes have them.
fn renamed(expected: &Value) -> BTreeMap<String, i64> {
    numbers(expected)
        .into_iter()
        .map(|(name, count)| (decima_profile::attribute_name::sanitized(&name).into_owned(), count))
        .collect()
}

#[test]
fn files_of_real_senders() {
    let expected: Value = serde_json::from_slice(&fixture("expected.json")).unwrap();
    let files = expected.as_array().unwrap();
    assert_eq!(files.len(), 14);
    files.iter().for_each(check);
}

#[test]
fn references_stay_in_range() {
    for name in ["go-labels-cpu.pb.gz", "prometheus-heap.pb.gz", "python-ddtrace.pb.zst", "rust-pprof-rs.pb"]
    {
        crate::generated::assert_sound(&decoded(name).batch);
    }
}

#[test]
fn a_sample_without_locations_is_kept() {
    let batch = decoded("prometheus-threadcreate.pb.gz").batch;
    let empty = batch.series[0].stacktraces.iter().filter(|&&id| batch.stacktrace(id).is_empty()).count();
    assert_eq!(empty, 1);
}

#[test]
fn mappings_are_kept() {
    let batch = decoded("prometheus-cpu.pb.gz").batch;
    let mapping = batch.mappings[0];
    assert_eq!(batch.strings.get(mapping.file), "/usr/bin/prometheus");
    assert_eq!(batch.strings.get(mapping.build_id), "7c70e08457648609a728f201858408269834e0eb");
    assert!(mapping.start < mapping.limit);
    assert!(batch.locations.iter().all(|l| l.mapping == NO_MAPPING || l.address >= mapping.start));
}

#[test]
fn other_formats_are_refused_by_name() {
    for (name, found) in [
        ("gperftools-cpu-legacy.prof", Foreign::LegacyCpu),
        ("prometheus-goroutine-debug1.txt", Foreign::Text),
    ] {
        let refusal = decode(fixture(name), &Limits::default()).unwrap_err();
        assert_eq!(refusal, DecodeError::Foreign { found });
    }
}
