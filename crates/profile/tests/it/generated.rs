//! Generated profiles come back as they were built, and no bytes make the decoder panic or hand out a bad index.

use decima_profile::{
    SampleBatch,
    batch::{AttributeValues, Function, Line, Mapping, NO_MAPPING},
    compression::decompress,
    pprof::{Label, LabelValue, Limits, ProfileBuilder, decode},
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// What the store relies on without checking.
pub(crate) fn assert_sound(batch: &SampleBatch) {
    let strings = batch.strings.len() as u32;
    for id in 0..strings {
        assert!(std::str::from_utf8(batch.strings.bytes(id)).is_ok());
    }
    assert_eq!(batch.strings.get(0), "");
    for m in &batch.mappings {
        assert!(m.file < strings && m.build_id < strings);
    }
    for f in &batch.functions {
        assert!(f.name < strings && f.system_name < strings && f.filename < strings);
    }
    assert!(batch.lines.iter().all(|l| (l.function as usize) < batch.functions.len()));
    for l in &batch.locations {
        assert!(l.mapping == NO_MAPPING || (l.mapping as usize) < batch.mappings.len());
        assert!((l.first_line + l.line_count) as usize <= batch.lines.len());
    }
    assert_eq!(batch.stacktrace_offsets.first(), Some(&0));
    assert!(batch.stacktrace_offsets.is_sorted());
    assert_eq!(batch.stacktrace_offsets.last().map(|&o| o as usize), Some(batch.stacktrace_locations.len()));
    assert!(batch.stacktrace_locations.iter().all(|&l| (l as usize) < batch.locations.len()));
    let stacktraces = batch.stacktrace_offsets.len() - 1;
    for series in &batch.series {
        assert!(!series.values.is_empty());
        assert!(series.values.iter().all(|&value| value != 0));
        assert_eq!(series.values.len(), series.stacktraces.len());
        assert!(series.stacktraces.iter().all(|&id| (id as usize) < stacktraces));
        assert!(series.times_ns.len() == 1 || series.times_ns.len() == series.values.len());
        let mut names = std::collections::HashSet::new();
        for attribute in &series.attributes {
            assert!(attribute.name < strings && names.insert(batch.strings.get(attribute.name)));
            match &attribute.values {
                AttributeValues::Text(ids) => {
                    assert_eq!(ids.len(), series.values.len());
                    assert!(ids.iter().all(|&id| id < strings));
                }
                AttributeValues::Integer { unit, values } => {
                    assert_eq!(values.len(), series.values.len());
                    assert!(*unit < strings);
                }
            }
        }
    }
}

/// A profile as text and numbers, to compare by.
#[derive(Debug, Clone, PartialEq)]
struct Plain {
    sample_types: Vec<(String, String)>,
    mappings: Vec<(u64, u64, u64, String, String)>,
    functions: Vec<(String, String, String, i64)>,
    /// Mapping, address, lines.
    locations: Vec<(Option<usize>, u64, Vec<PlainLine>)>,
    samples: Vec<PlainSample>,
    period: (String, String, i64),
    time_ns: i64,
    duration_ns: i64,
}

/// Function, line, column.
type PlainLine = (usize, i64, i64);

#[derive(Debug, Clone, PartialEq)]
struct PlainSample {
    stacktrace: Vec<usize>,
    values: Vec<i64>,
    /// Under the key `text`; empty = absent.
    text: String,
    /// Under the key `number`, in bytes.
    number: Option<i64>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z]{1,6}", "\\PC{0,12}", "[a-z:<>]{120,300}"]
}

fn value() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 3 => 1..1000i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

fn plain() -> impl Strategy<Value = Plain> {
    let tables = (
        vec((text(), text()), 1..4),
        vec((any::<u64>(), any::<u64>(), any::<u64>(), text(), text()), 0..4),
        vec((text(), text(), text(), any::<i64>()), 1..300),
    );
    tables.prop_flat_map(|(sample_types, mappings, functions)| {
        let lines = vec((0..functions.len(), any::<i64>(), any::<i64>()), 0..4);
        let mapping = proptest::option::of(0..mappings.len().max(1));
        let has_mappings = !mappings.is_empty();
        let locations =
            vec((mapping.prop_map(move |m| m.filter(|_| has_mappings)), any::<u64>(), lines), 1..300);
        let width = sample_types.len();
        (Just(sample_types), Just(mappings), Just(functions), locations).prop_flat_map(
            move |(sample_types, mappings, functions, locations)| {
                let sample = (
                    vec(0..locations.len(), 0..20),
                    vec(value(), width),
                    text(),
                    proptest::option::of(any::<i64>()),
                )
                    .prop_map(|(stacktrace, values, text, number)| PlainSample {
                        stacktrace,
                        values,
                        text,
                        number,
                    });
                let header = (text(), text(), any::<i64>());
                (vec(sample, 0..20), header, any::<i64>(), any::<i64>()).prop_map(
                    move |(samples, period, time_ns, duration_ns)| Plain {
                        sample_types: sample_types.clone(),
                        mappings: mappings.clone(),
                        functions: functions.clone(),
                        locations: locations.clone(),
                        samples,
                        period,
                        time_ns,
                        duration_ns,
                    },
                )
            },
        )
    })
}

fn encoded(plain: &Plain) -> Vec<u8> {
    let mut builder = ProfileBuilder::new();
    for (sample_type, unit) in &plain.sample_types {
        builder.sample_type(sample_type, unit);
    }
    for (start, limit, offset, file, build_id) in &plain.mappings {
        let (file, build_id) = (builder.string(file), builder.string(build_id));
        builder.mapping(&Mapping { start: *start, limit: *limit, offset: *offset, file, build_id });
    }
    for (name, system_name, filename, start_line) in &plain.functions {
        let [name, system_name, filename] = [name, system_name, filename].map(|text| builder.string(text));
        builder.function(&Function { name, system_name, filename, start_line: *start_line });
    }
    for (mapping, address, lines) in &plain.locations {
        let lines: Vec<Line> = lines
            .iter()
            .map(|&(function, line, column)| Line { function: function as u32, line, column })
            .collect();
        builder.location(mapping.map_or(NO_MAPPING, |m| m as u32), *address, &lines);
    }
    let [text_key, number_key, bytes] = ["text", "number", "bytes"].map(|text| builder.string(text));
    for sample in &plain.samples {
        let mut labels = vec![];
        if !sample.text.is_empty() {
            labels.push(Label { key: text_key, value: LabelValue::Text(builder.string(&sample.text)) });
        }
        if let Some(value) = sample.number {
            labels.push(Label { key: number_key, value: LabelValue::Integer { value, unit: bytes } });
        }
        let stacktrace: Vec<u32> = sample.stacktrace.iter().map(|&id| id as u32).collect();
        builder.sample(&stacktrace, &sample.values, &labels);
    }
    builder.period(&plain.period.0, &plain.period.1, plain.period.2);
    builder.time(plain.time_ns, plain.duration_ns);
    builder.comment("generated");
    builder.encode()
}

/// What decoding must give: without zeros, and with names for the nameless.
fn check_round_trip(plain: &Plain) {
    let profile = decode(encoded(plain), &Limits::default()).unwrap();
    let batch = &profile.batch;
    assert_sound(batch);
    let text = |id| batch.strings.get(id);
    assert_eq!(profile.time_ns, plain.time_ns);
    assert_eq!(profile.repaired_strings, 0);
    assert_eq!(batch.mappings.len(), plain.mappings.len());
    for (m, plain) in batch.mappings.iter().zip(&plain.mappings) {
        assert_eq!((m.start, m.limit, m.offset, text(m.file).into(), text(m.build_id).into()), *plain);
    }
    assert_eq!(batch.functions.len(), plain.functions.len());
    for (f, (name, system_name, filename, start_line)) in batch.functions.iter().zip(&plain.functions) {
        let name = if name.is_empty() { system_name } else { name };
        assert_eq!((text(f.name), text(f.system_name)), (name.as_str(), system_name.as_str()));
        assert_eq!((text(f.filename), f.start_line), (filename.as_str(), *start_line));
    }
    assert_eq!(batch.locations.len(), plain.locations.len());
    for (l, (mapping, address, lines)) in batch.locations.iter().zip(&plain.locations) {
        assert_eq!((l.mapping, l.address), (mapping.map_or(NO_MAPPING, |m| m as u32), *address));
        let range = l.first_line as usize..(l.first_line + l.line_count) as usize;
        let found: Vec<_> =
            batch.lines[range].iter().map(|l| (l.function as usize, l.line, l.column)).collect();
        assert_eq!(found, *lines);
    }
    let mut series = batch.series.iter();
    for (index, sample_type) in plain.sample_types.iter().enumerate() {
        let samples: Vec<&PlainSample> = plain.samples.iter().filter(|s| s.values[index] != 0).collect();
        if samples.is_empty() {
            continue;
        }
        let series = series.next().unwrap();
        let profile_type = &series.profile_type;
        assert_eq!((&profile_type.sample_type, &profile_type.sample_unit), (&sample_type.0, &sample_type.1));
        assert_eq!(
            (&profile_type.period_type, &profile_type.period_unit),
            (&plain.period.0, &plain.period.1)
        );
        assert_eq!((series.period, series.duration_ns), (plain.period.2, plain.duration_ns));
        assert_eq!(profile_type.delta, plain.duration_ns != 0);
        let found: Vec<PlainSample> = (0..series.values.len())
            .map(|row| {
                let mut sample = PlainSample {
                    stacktrace: batch
                        .stacktrace(series.stacktraces[row])
                        .iter()
                        .map(|&id| id as usize)
                        .collect(),
                    values: vec![series.values[row]],
                    text: String::new(),
                    number: None,
                };
                for attribute in &series.attributes {
                    match (text(attribute.name), &attribute.values) {
                        ("text", AttributeValues::Text(ids)) => sample.text = text(ids[row]).to_owned(),
                        ("number", AttributeValues::Integer { unit, values }) => {
                            assert_eq!(text(*unit), "bytes");
                            sample.number = values[row];
                        }
                        other => panic!("{other:?}"),
                    }
                }
                sample
            })
            .collect();
        let expected: Vec<PlainSample> =
            samples.into_iter().map(|s| PlainSample { values: vec![s.values[index]], ..s.clone() }).collect();
        assert_eq!(found, expected);
    }
    assert!(series.next().is_none());
}

/// Decoding must give sound tables or an error with a message.
pub(crate) fn check_any(bytes: Vec<u8>) {
    match decode(bytes, &Limits::default()) {
        Ok(profile) => assert_sound(&profile.batch),
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn built_profiles_come_back(plain in plain()) {
        check_round_trip(&plain);
    }

    #[test]
    fn appended_batches_keep_their_references(plains in vec(plain(), 1..4)) {
        let mut merged = SampleBatch::default();
        let mut rendered = vec![];
        for plain in &plains {
            let batch = decode(encoded(plain), &Limits::default()).unwrap().batch;
            rendered.extend(rendered_samples(&batch));
            merged.append(batch);
        }
        assert_sound(&merged);
        assert_eq!(rendered_samples(&merged), rendered);
    }

    #[test]
    fn damaged_profiles_do_not_panic(
        plain in plain(),
        damage in vec((any::<Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut bytes = encoded(&plain);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check_any(bytes);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in vec(any::<u8>(), 0..300)) {
        check_any(bytes);
    }

    #[test]
    fn arbitrary_compressed_bytes_do_not_panic(magic in 0..3usize, bytes in vec(any::<u8>(), 0..300)) {
        let magics: [&[u8]; 3] = [&[0x1f, 0x8b, 8, 0], &[0x28, 0xb5, 0x2f, 0xfd], &[]];
        let bytes = [magics[magic], &bytes].concat();
        if let Ok(plain) = decompress(&bytes, 1000) {
            assert!(plain.len() <= 1000);
        }
    }
}

/// Every sample with everything that it refers to, as text.
fn rendered_samples(batch: &SampleBatch) -> Vec<String> {
    let text = |id| batch.strings.get(id);
    let location = |&id: &u32| {
        let l = batch.locations[id as usize];
        let mapping =
            batch.mappings.get(l.mapping as usize).map(|m| (m.start, text(m.file), text(m.build_id)));
        let lines = &batch.lines[l.first_line as usize..(l.first_line + l.line_count) as usize];
        let functions = lines.iter().map(|l| (text(batch.functions[l.function as usize].name), l.line));
        format!("{mapping:?} {} {:?}", l.address, functions.collect::<Vec<_>>())
    };
    let mut out = vec![];
    for s in &batch.series {
        for row in 0..s.values.len() {
            let stacktrace: Vec<String> = batch.stacktrace(s.stacktraces[row]).iter().map(location).collect();
            let attributes = s.attributes.iter().map(|a| match &a.values {
                AttributeValues::Text(ids) => format!("{}={}", text(a.name), text(ids[row])),
                AttributeValues::Integer { unit, values } => {
                    format!("{}={:?}{}", text(a.name), values[row], text(*unit))
                }
            });
            let attributes: Vec<String> = attributes.collect();
            out.push(format!("{:?} {} {stacktrace:?} {attributes:?}", s.profile_type, s.values[row]));
        }
    }
    out
}
