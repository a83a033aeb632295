//! Recorded requests of Parca's scraper and hand-made ones, decoded and stored.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
};

use decima_profile::{
    ProfileType, SampleBatch,
    batch::{AttributeValues, Function, Line, NO_MAPPING, SeriesSamples},
    compression::gzip,
    pprof::{Label, LabelValue, ProfileBuilder},
};
use decima_store::source::{ScanRequest, TimeRange};
use serde_json::Value;

use super::*;

fn fixture(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Fields of a protobuf message: numbers with their bytes. Enough for `WriteRawRequest`, which holds no numbers that matter.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = vec![];
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        let mut body = &[][..];
        if tag & 7 == 2 {
            (body, message) = message.split_at(value as usize);
        }
        fields.push((tag >> 3, body));
    }
    fields
}

fn of_number(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |(n, _)| *n == number).map(|(_, body)| body)
}

/// A recorded `WriteRawRequest`: 2 series { 1 labels { 1 label { 1 name, 2 value } }, 2 sample { 1 raw_profile } }.
fn recorded(file: &str) -> Vec<RawSeries> {
    let message = fixture(&format!("scraper/{file}"));
    let text = |message: &[u8], number| {
        String::from_utf8(of_number(message, number).next().unwrap_or_default().to_vec()).unwrap()
    };
    let series = of_number(&message, 2).map(|series| RawSeries {
        labels: of_number(series, 1)
            .flat_map(|set| of_number(set, 1).collect::<Vec<_>>())
            .map(|label| (text(label, 1), text(label, 2)))
            .collect(),
        profiles: of_number(series, 2)
            .map(|sample| Bytes::copy_from_slice(of_number(sample, 1).next().unwrap()))
            .collect(),
        keep: Vec::new(),
    });
    series.collect()
}

fn five_parts(profile_type: &ProfileType) -> String {
    ProfileType { delta: false, ..profile_type.clone() }.to_string()
}

/// A stacktrace with everything in it, for counting distinct ones.
fn rendered(batch: &SampleBatch, stacktrace: u32) -> String {
    let mut out = String::new();
    for &id in batch.stacktrace(stacktrace) {
        let l = batch.locations[id as usize];
        let mapping = batch.mappings.get(l.mapping as usize).map(|m| batch.strings.get(m.build_id));
        out += &format!("{:x} {mapping:?}", l.address);
        for line in &batch.lines[l.first_line as usize..(l.first_line + l.line_count) as usize] {
            let f = batch.functions[line.function as usize];
            out += &format!(" {} {}:{}", batch.strings.get(f.name), batch.strings.get(f.filename), line.line);
        }
        out += "\n";
    }
    out
}

#[derive(Default)]
struct Totals {
    rows: usize,
    stacktraces: BTreeSet<String>,
    /// Rows, sum, periods, durations.
    types: BTreeMap<String, (usize, i64, BTreeSet<i64>, BTreeSet<i64>)>,
    times: BTreeSet<i64>,
    label_keys: BTreeSet<String>,
    depth: usize,
}

impl Totals {
    fn add(&mut self, batch: &SampleBatch) {
        for s in &batch.series {
            assert_eq!(s.profile_type.delta, s.duration_ns != 0);
            self.rows += s.values.len();
            let of_type = self.types.entry(five_parts(&s.profile_type)).or_default();
            of_type.0 += s.values.len();
            of_type.1 += s.values.iter().sum::<i64>();
            of_type.2.insert(s.period);
            of_type.3.insert(s.duration_ns);
            self.times.extend(&s.times_ns);
            self.label_keys.extend(s.labels.iter().map(|(name, _)| name.clone()));
            for &id in &s.stacktraces {
                self.stacktraces.insert(rendered(batch, id));
                self.depth = self.depth.max(batch.stacktrace(id).len());
            }
        }
    }

    fn check(&self, expected: &Value, what: &str) {
        let numbers = |value: &Value| -> BTreeSet<i64> {
            value.as_array().unwrap().iter().filter_map(Value::as_i64).collect()
        };
        assert_eq!(Some(self.rows as u64), expected["rows"].as_u64(), "{what}: rows");
        assert_eq!(
            Some(self.stacktraces.len() as u64),
            expected["distinct_stacks"].as_u64(),
            "{what}: stacktraces"
        );
        let types: BTreeMap<_, _> = expected["profile_types"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, of_type)| {
                let rows = of_type["rows"].as_u64().unwrap() as usize;
                let sum = of_type["value"].as_i64().unwrap();
                (name.clone(), (rows, sum, numbers(&of_type["periods"]), numbers(&of_type["durations_ns"])))
            })
            .collect();
        assert_eq!(self.types, types, "{what}: types");
        if self.rows > 0 {
            assert_eq!(
                self.times.first().copied(),
                expected["min_timestamp_ns"].as_i64(),
                "{what}: first time"
            );
            assert_eq!(
                self.times.last().copied(),
                expected["max_timestamp_ns"].as_i64(),
                "{what}: last time"
            );
            let keys: BTreeSet<String> = expected["label_keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key.as_str().unwrap().to_owned())
                .collect();
            assert_eq!(self.label_keys, keys, "{what}: labels");
            assert_eq!(Some(self.depth as u64), expected["max_stack_depth"].as_u64(), "{what}: depth");
        }
    }
}

#[test]
fn recorded_requests_have_the_totals_that_another_implementation_read() {
    let expected: Value = serde_json::from_slice(&fixture("scraper/expected.json")).unwrap();
    let mut all = Totals::default();
    let messages = expected["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 36);
    for message in messages {
        let file = message["file"].as_str().unwrap();
        let series = recorded(file);
        assert_eq!(series.len(), 1, "{file}");
        let decoded = batch_of(&series, &Limits::default(), 1).unwrap();
        assert_eq!((decoded.profiles, decoded.repaired_strings), (1, 0), "{file}");
        let mut totals = Totals::default();
        totals.add(&decoded.batch);
        totals.check(&message["expected"], file);
        all.add(&decoded.batch);
    }
    all.check(&expected["total"], "total");
}

#[test]
fn many_series_in_one_request_are_the_same_as_one_by_one() {
    let expected: Value = serde_json::from_slice(&fixture("scraper/expected.json")).unwrap();
    let files = expected["messages"].as_array().unwrap().iter().map(|m| m["file"].as_str().unwrap());
    let series: Vec<RawSeries> = files.flat_map(recorded).collect();
    let decoded = batch_of(&series, &Limits::default(), 1).unwrap();
    assert_eq!(decoded.profiles, 36);
    let mut totals = Totals::default();
    totals.add(&decoded.batch);
    totals.check(&expected["total"], "total");
}

/// Text, or a number with its unit.
type LabelText = Result<&'static str, (i64, &'static str)>;

/// One value per sample type, and labels.
struct Sample {
    values: Vec<i64>,
    labels: Vec<(&'static str, LabelText)>,
}

fn sample(value: i64, labels: &[(&'static str, LabelText)]) -> Sample {
    Sample { values: vec![value], labels: labels.to_vec() }
}

fn profile_of(sample_types: &[&str], time_ns: i64, samples: &[Sample]) -> Vec<u8> {
    let mut builder = ProfileBuilder::new();
    for sample_type in sample_types {
        builder.sample_type(sample_type, "count");
    }
    let name = builder.string("main");
    let function = builder.function(&Function { system_name: name, ..Function::default() });
    let location = builder.location(NO_MAPPING, 16, &[Line { function, line: 3, column: 0 }]);
    for sample in samples {
        let labels: Vec<Label> = sample
            .labels
            .iter()
            .map(|(key, value)| {
                let key = builder.string(key);
                let value = match value {
                    Ok(text) => LabelValue::Text(builder.string(text)),
                    Err((value, unit)) => LabelValue::Integer { value: *value, unit: builder.string(unit) },
                };
                Label { key, value }
            })
            .collect();
        builder.sample(&[location], &sample.values, &labels);
    }
    builder.period("cpu", "nanoseconds", 10);
    builder.time(time_ns, 5);
    builder.encode()
}

fn series(labels: &[(&str, &str)], profiles: &[Vec<u8>]) -> RawSeries {
    RawSeries {
        keep: Vec::new(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        profiles: profiles.iter().cloned().map(Bytes::from).collect(),
    }
}

/// `name=value` of all attributes at a row.
fn attributes(batch: &SampleBatch, series: &SeriesSamples, row: usize) -> Vec<String> {
    let text = |id| batch.strings.get(id);
    let rendered = series.attributes.iter().filter_map(|attribute| match &attribute.values {
        AttributeValues::Text(ids) => {
            (ids[row] != 0).then(|| format!("{}={}", text(attribute.name), text(ids[row])))
        }
        AttributeValues::Integer { unit, values } => {
            values[row].map(|value| format!("{}={value}{}", text(attribute.name), text(*unit)))
        }
    });
    rendered.collect()
}

#[test]
fn sample_labels_become_attributes() {
    let samples = [
        sample(1, &[("route", Ok("/a")), ("job", Ok("x")), ("bytes", Err((8, "bytes")))]),
        sample(0, &[("route", Ok("/zero"))]),
        sample(2, &[("thread id", Err((7, ""))), ("bytes", Err((9, "kilobytes")))]),
        sample(3, &[("thread_id", Ok("main")), ("thread id", Err((0, "")))]),
        sample(4, &[("route", Ok("/a")), ("route", Ok("/b"))]),
        sample(5, &[]),
    ];
    let request = [series(
        &[("__name__", "x"), ("job", "j"), ("exported_route", "r")],
        &[profile_of(&["cpu"], 1, &samples)],
    )];
    let batch = batch_of(&request, &Limits::default(), 1).unwrap().batch;
    let [only] = batch.series.as_slice() else { panic!("{} series", batch.series.len()) };
    assert_eq!(only.values, [1, 2, 3, 4, 5]);
    let found: Vec<Vec<String>> = (0..5).map(|row| attributes(&batch, only, row)).collect();
    let expected: [&[&str]; 5] = [
        &["route=/a", "exported_job=x", "bytes=8bytes"],
        &["thread_id=7", "exported_bytes=9kilobytes"],
        &["thread_id=0", "exported_thread_id=main"],
        &["route=/a", "exported_exported_route=/b"],
        &[],
    ];
    assert_eq!(found, expected);
    let labels =
        [("exported_route", "r"), ("job", "j")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(only.labels, labels);
}

#[test]
fn profiles_become_series_by_sample_type() {
    let samples = [
        Sample { values: vec![1, 0, i64::MIN], labels: vec![] },
        Sample { values: vec![0, 0, i64::MAX], labels: vec![] },
    ];
    let profile = profile_of(&["cpu-time", "never", "a.b"], 0, &samples);
    let request = [series(&[("__name__", "process-cpu")], &[profile.clone(), gzip(&profile)])];
    let batch = batch_of(&request, &Limits::default(), 77).unwrap().batch;
    let found: Vec<_> = batch.series.iter().map(|s| (s.profile_type.to_string(), s.values.clone())).collect();
    let one = |name: &str, values: &[i64]| {
        (format!("process-cpu:{name}:count:cpu:nanoseconds:delta"), values.to_vec())
    };
    let once = [one("cpu-time", &[1]), one("a.b", &[i64::MIN, i64::MAX])];
    assert_eq!(found, [once.clone(), once].concat());
    assert!(batch.series.iter().all(|s| s.times_ns == [77] && s.period == 10 && s.duration_ns == 5));
    let function = batch.functions[0];
    assert_eq!(batch.strings.get(function.name), "main", "the system name, since there is no other");
}

fn check_refusal(request: &[RawSeries], limits: &Limits, expected: &str) {
    match batch_of(request, limits, 1) {
        Err(refusal) => {
            assert_eq!(refusal.to_string(), expected);
            assert_eq!(refusal.kind(), ErrorKind::InvalidArgument);
        }
        Ok(decoded) => panic!("{} profiles instead of {expected:?}", decoded.profiles),
    }
}

#[test]
fn refusals_name_series_sample_and_field() {
    let limits = Limits { stack_depth_max: 0, ..Limits::default() };
    let sound = profile_of(&["cpu"], 1, &[sample(1, &[])]);
    let name = ("__name__", "x");
    let good = series(&[name], std::slice::from_ref(&sound));
    let check =
        |bad: RawSeries, expected: &str| check_refusal(&[good.clone(), bad], &Limits::default(), expected);
    check(series(&[], &[]), "series 1: missing __name__ label");
    check(series(&[name, ("a", "1"), ("a", "2")], &[]), "series 1: duplicate label name: a");
    let broken = fixture("corpus/pprof/function-out-of-range.pb");
    check(
        series(&[name], &[sound.clone(), broken]),
        "series 1, sample 1: invalid profile: location[1].line[1].function_id 999 is out of range (2 functions) at byte 43",
    );
    check(
        series(&[name], &[fixture("pprof/gperftools-cpu-legacy.prof")]),
        "series 1, sample 0: invalid profile: not a pprof profile but the legacy binary CPU format of gperftools \
         (convert it with `pprof -proto`)",
    );
    check(
        series(&[name], &[profile_of(&["a:b"], 1, &[sample(1, &[])])]),
        "series 1, sample 0: invalid profile: sample_type.type \"a:b\" contains ':', which separates the parts of a profile type",
    );
    let cut = gzip(&sound);
    let cut = cut[..cut.len() - 9].to_vec();
    let refusal = batch_of(&[series(&[name], &[cut])], &Limits::default(), 1).unwrap_err().to_string();
    assert!(
        refusal.starts_with("series 0, sample 0: raw_profile: gzip data is damaged or cut short"),
        "{refusal}"
    );
    check_refusal(
        &[good],
        &limits,
        "series 0, sample 0: invalid profile: sample[0]: more than 0 locations in a stacktrace at byte 8",
    );
    let long = profile_of(&["cpu"], 1, &[sample(1, &[("key", Ok("value"))])]);
    check_refusal(
        &[series(&[name], std::slice::from_ref(&long))],
        &Limits { label_value_bytes_max: 4, ..Limits::default() },
        "series 0, sample 0: invalid profile: sample[].label[].str: more than 4 bytes at byte 16",
    );
    check_refusal(
        &[series(&[name], &[long])],
        &Limits { profile_bytes_max: 30, ..Limits::default() },
        "series 0, sample 0: raw_profile: not compressed data holds more than 30 bytes",
    );
}

#[test]
fn profiles_without_samples_are_accepted() {
    let empty = [vec![], profile_of(&["cpu"], 1, &[]), profile_of(&["cpu"], 1, &[sample(0, &[])])];
    let request = [series(&[("__name__", "x")], &empty), series(&[("__name__", "y")], &[])];
    let decoded = batch_of(&request, &Limits::default(), 1).unwrap();
    assert_eq!((decoded.profiles, decoded.batch.series.len()), (3, 0));
}

async fn store(path: &std::path::Path) -> Store {
    let settings = decima_store::Settings {
        path: path.to_owned(),
        head_memory_bytes: 64 << 20,
        retention: None,
        tiers: decima_store::Tiers::default(),
        storage_max_bytes: None,
        ahead_max: std::time::Duration::from_secs(u32::MAX.into()),
        partition_labels: vec!["job".to_owned()],
        cache_bytes: 1 << 20,
        compaction_memory_bytes: 0,
    };
    Store::open(settings).await.unwrap()
}

/// Sums of everything stored, by profile type.
async fn stored_sums(store: &Store) -> HashMap<String, i64> {
    let mut sums = HashMap::new();
    for source in store.snapshot().sources {
        let table = source.series().await.unwrap();
        let request = ScanRequest {
            series: (0..table.series.len() as u32).collect(),
            range: TimeRange::ALL,
            attributes: vec![],
            with_times: false,
        };
        let mut add = |run: decima_store::source::SampleRun<'_>| {
            let name = five_parts(&table.series[run.series as usize].profile_type);
            *sums.entry(name).or_default() += run.values.iter().sum::<i64>();
        };
        source.scan(&request, &mut add).await.unwrap();
    }
    sums
}

#[tokio::test]
async fn recorded_requests_are_stored_and_read_back() {
    let expected: Value = serde_json::from_slice(&fixture("scraper/expected.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let push = Push::new(store(folder.path()).await, Limits::default());
    for (index, message) in expected["messages"].as_array().unwrap().iter().enumerate() {
        let series = recorded(message["file"].as_str().unwrap());
        let appended = push.write_raw(series, 1, Some(index as u128)).await.unwrap();
        assert_eq!(Some(appended.samples), message["expected"]["rows"].as_u64());
    }
    let repeat = push.write_raw(recorded("00002-s1-client.bin"), 1, Some(0)).await.unwrap();
    assert!(repeat.duplicate);
    let total = &expected["total"];
    let sums: HashMap<String, i64> = total["profile_types"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, of_type)| (name.clone(), of_type["value"].as_i64().unwrap()))
        .collect();
    assert_eq!(stored_sums(&push.store).await, sums);
    let counts = push.counts();
    assert_eq!((counts.accepted_requests, counts.duplicate_requests, counts.profiles), (37, 1, 37));
    assert_eq!(Some(counts.samples), total["rows"].as_u64());
    push.store.close().await.unwrap();
}

#[tokio::test]
async fn one_bad_series_stores_nothing_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let push = Push::new(store(folder.path()).await, Limits::default());
    let good = series(&[("__name__", "x")], &[profile_of(&["cpu"], 1, &[sample(1, &[])])]);
    let bad = series(&[("__name__", "x")], &[b"\xff".to_vec()]);
    let refusal = push.write_raw(vec![good.clone(), bad], 1, Some(1)).await.unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::InvalidArgument);
    assert!(stored_sums(&push.store).await.is_empty());
    let appended = push.write_raw(vec![good], 1, Some(2)).await.unwrap();
    assert_eq!(appended.samples, 1);
    let empty = push.write_raw(vec![series(&[("__name__", "x")], &[vec![]])], 1, Some(3)).await.unwrap();
    assert_eq!(empty, Appended::default());
    let counts = push.counts();
    assert_eq!((counts.accepted_requests, counts.refused_requests, counts.failed_requests), (2, 1, 0));
    push.store.close().await.unwrap();
}

#[tokio::test]
async fn refusals_are_those_of_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let push = Push::new(store(folder.path()).await, Limits::default());
    let origin = Origin {
        protocol: Protocol::WriteRaw,
        address: Some([10, 0, 0, 1].into()),
        received: std::time::Instant::now(),
        received_ns: 1,
    };
    let message = request::tests::series(&[(b"__name__", b"x"), (b"node", b"n\xff")], &[b"no profile"]);
    let refusal = push.push_raw(message.into(), &origin).await.unwrap_err();
    assert!(refusal.to_string().starts_with("series 0, sample 0: "), "{refusal}");
    let senders = push.senders().all();
    let [sender] = &senders[..] else { panic!("{senders:?}") };
    assert_eq!((sender.node.as_str(), sender.error.as_str()), ("n\u{fffd}", &*refusal.to_string()));
    push.store.close().await.unwrap();
}

#[tokio::test]
async fn text_of_labels_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let push = Push::new(store(folder.path()).await, Limits::default());
    let origin = Origin {
        protocol: Protocol::WriteRaw,
        address: None,
        received: std::time::Instant::now(),
        received_ns: 1,
    };
    let profile = profile_of(&["cpu"], 1, &[sample(1, &[])]);
    let message = request::tests::series(&[(b"__name__", b"x"), (b"jo\xffb", b"\xfe")], &[&profile]);
    let appended = push.push_raw(Bytes::from(message.clone()), &origin).await.unwrap();
    assert_eq!((appended.samples, push.counts().repaired_strings), (1, 2));
    // The same again is recognised.
    assert!(push.push_raw(message.into(), &origin).await.unwrap().duplicate);
    push.store.close().await.unwrap();
}

#[tokio::test]
async fn large_requests_are_decoded_on_another_thread() {
    let folder = tempfile::tempdir().unwrap();
    let push = Push::new(store(folder.path()).await, Limits::default());
    let samples: Vec<Sample> = (0..40_000).map(|_| sample(1, &[])).collect();
    let profile = profile_of(&["cpu"], 1, &samples);
    assert!(profile.len() > INLINE_BYTES_MAX);
    let appended = push.write_raw(vec![series(&[("__name__", "x")], &[profile])], 1, None).await.unwrap();
    assert_eq!(appended.samples, 40_000);
    push.store.close().await.unwrap();
}
