//! Recorded requests for tests, and what they must add up to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use bytes::Bytes;
use decima_profile::{
    ProfileType, SampleBatch,
    batch::{AttributeValues, SeriesSamples},
};
use serde_json::Value;

pub(crate) fn fixture(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn expected(folder: &str) -> Value {
    serde_json::from_slice(&fixture(&format!("{folder}/expected.json"))).unwrap()
}

/// The Arrow stream of a recorded message, which is its field 1 and nothing else.
pub(crate) fn stream(file: &str) -> Bytes {
    let message = fixture(file);
    let mut reader = decima_profile::wire::Reader::new(&message);
    let (tag, len) = reader.field().unwrap();
    assert_eq!(tag, 1 << 3 | 2);
    Bytes::copy_from_slice(reader.body(len).unwrap().rest())
}

/// What a batch holds, counted the way the recordings were.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) rows: usize,
    stacktraces: BTreeSet<String>,
    locations: BTreeSet<String>,
    unsymbolised: BTreeSet<String>,
    build_ids: BTreeSet<String>,
    files: BTreeSet<String>,
    frames_by_type: BTreeMap<String, usize>,
    /// Rows, sum, periods, durations.
    types: BTreeMap<String, (usize, i64, BTreeSet<i64>, BTreeSet<i64>)>,
    times: BTreeSet<i64>,
    label_sets: BTreeSet<Vec<(String, String)>>,
    pub(crate) values: BTreeMap<String, BTreeSet<String>>,
    depth: usize,
}

fn location(batch: &SampleBatch, id: u32) -> String {
    let text = |id| batch.strings.get(id);
    let l = batch.locations[id as usize];
    let mapping = batch.mappings.get(l.mapping as usize).map(|m| (text(m.file), text(m.build_id)));
    let mut out = format!("{:x} {} {mapping:?}", l.address, text(l.frame_type));
    for line in &batch.lines[l.first_line as usize..(l.first_line + l.line_count) as usize] {
        let f = batch.functions[line.function as usize];
        out +=
            &format!(" {} {}:{}:{}:{}", text(f.name), text(f.filename), f.start_line, line.line, line.column);
    }
    out
}

impl Totals {
    pub(crate) fn add(&mut self, batch: &SampleBatch) {
        for s in &batch.series {
            self.add_series(batch, s);
        }
    }

    fn add_series(&mut self, batch: &SampleBatch, s: &SeriesSamples) {
        let text = |id| batch.strings.get(id);
        assert_eq!(s.profile_type.delta, s.duration_ns != 0);
        assert!(s.labels.is_sorted());
        self.rows += s.values.len();
        let name = ProfileType { delta: false, ..s.profile_type.clone() }.to_string();
        let of_type = self.types.entry(name).or_default();
        of_type.0 += s.values.len();
        of_type.1 += s.values.iter().sum::<i64>();
        of_type.2.insert(s.period);
        of_type.3.insert(s.duration_ns);
        self.times.extend(&s.times_ns);
        for (row, &id) in s.stacktraces.iter().enumerate() {
            let mut labels = s.labels.clone();
            for attribute in &s.attributes {
                let value = match &attribute.values {
                    AttributeValues::Text(ids) => (ids[row] != 0).then(|| text(ids[row]).to_owned()),
                    AttributeValues::Integer { values, .. } => values[row].map(|number| number.to_string()),
                };
                labels.extend(value.map(|value| (text(attribute.name).to_owned(), value)));
            }
            for (name, value) in &labels {
                self.values.entry(name.clone()).or_default().insert(value.clone());
            }
            labels.sort();
            self.label_sets.insert(labels);
            let ids = batch.stacktrace(id);
            self.depth = self.depth.max(ids.len());
            let mut stacktrace = String::new();
            for &id in ids {
                let l = batch.locations[id as usize];
                let rendered = location(batch, id);
                stacktrace += &rendered;
                stacktrace += "\n";
                if l.line_count == 0 {
                    self.unsymbolised.insert(rendered.clone());
                }
                self.locations.insert(rendered);
                *self.frames_by_type.entry(text(l.frame_type).to_owned()).or_default() += 1;
                if let Some(m) = batch.mappings.get(l.mapping as usize) {
                    self.build_ids.insert(text(m.build_id).to_owned());
                    self.files.insert(text(m.file).to_owned());
                }
            }
            self.stacktraces.insert(stacktrace);
        }
    }

    /// Compares with an entry of `expected.json`; names of labels and profiles are brought into ours first.
    pub(crate) fn check(&self, expected: &Value, what: &str, name: impl Fn(&str) -> String) {
        let count = |field: &str, found: usize| {
            assert_eq!(expected[field].as_u64(), Some(found as u64), "{what}: {field}");
        };
        count("rows", self.rows);
        count("distinct_stacks", self.stacktraces.len());
        count("distinct_locations", self.locations.len());
        count("distinct_locations_without_lines", self.unsymbolised.len());
        count("distinct_label_sets", self.label_sets.len());
        count("max_stack_depth", self.depth);
        let texts = |field: &str| -> BTreeSet<String> {
            let values = expected[field].as_array().unwrap();
            values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
        };
        let without_empty = |set: &BTreeSet<String>| -> BTreeSet<String> {
            set.iter().filter(|text| !text.is_empty()).cloned().collect()
        };
        assert_eq!(without_empty(&self.build_ids), texts("build_ids"), "{what}: build ids");
        if expected["mapping_files"].is_array() {
            assert_eq!(without_empty(&self.files), texts("mapping_files"), "{what}: files");
        }
        let mut keys: BTreeSet<String> = texts("label_keys").iter().map(|key| name(key)).collect();
        // Always empty where it was recorded, which is the same as absent.
        keys.remove("container_id");
        assert_eq!(self.values.keys().cloned().collect::<BTreeSet<_>>(), keys, "{what}: labels");
        let numbers = |value: &Value| -> BTreeSet<i64> {
            value.as_array().unwrap().iter().filter_map(Value::as_i64).collect()
        };
        let types: BTreeMap<_, _> = expected["profile_types"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(text, of_type)| {
                let (scope, rest) = text.split_once(':').unwrap();
                let rows = of_type["rows"].as_u64().unwrap() as usize;
                let sum = of_type["value"].as_i64().unwrap();
                let (periods, durations) = (numbers(&of_type["periods"]), numbers(&of_type["durations_ns"]));
                (format!("{}:{rest}", name(scope)), (rows, sum, periods, durations))
            })
            .collect();
        assert_eq!(self.types, types, "{what}: types");
        assert_eq!(self.times.first().copied(), expected["min_timestamp_ns"].as_i64(), "{what}: first time");
        assert_eq!(self.times.last().copied(), expected["max_timestamp_ns"].as_i64(), "{what}: last time");
        let frames: BTreeMap<String, usize> = expected["frames_by_type"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(kind, count)| (kind.clone(), count.as_u64().unwrap() as usize))
            .collect();
        assert_eq!(self.frames_by_type, frames, "{what}: frames by type");
    }
}
