//! Messages that are wrong in every way that we could think of: refused with column and row, and nothing worse.
//!
//! The same messages, and a sound one, are the corpora of the fuzz targets; `cargo xtask bless` writes them anew.

mod growth;

use std::{path::PathBuf, sync::Arc};

use arrow_array::{
    Array as _, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray,
    ListViewArray, RecordBatch, RunArray, StringArray, StringViewArray, StructArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
    types::{Int32Type, UInt32Type},
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_ipc::{
    CompressionType,
    writer::{IpcWriteOptions, StreamWriter},
};
use arrow_schema::{Field, Schema};

use super::*;

type Column = (&'static str, ArrayRef);

/// Indices of the locations of all stacktraces: a pattern that is found again in the bytes.
const ENTRIES: [u32; 6] = [5, 4, 3, 2, 1, 0];
const TIME: i64 = 1_795_366_153_414_640_784;

fn array(array: impl arrow_array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}

fn words(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<DictionaryArray<UInt32Type>>())
}

fn runs(values: &ArrayRef, ends: &[i32]) -> ArrayRef {
    Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(ends.to_vec()), values).unwrap())
}

fn each(values: &[Option<&str>]) -> ArrayRef {
    let ends: Vec<i32> = (1..=values.len() as i32).collect();
    runs(&words(values), &ends)
}

fn text(value: &str, rows: i32) -> ArrayRef {
    runs(&array(StringArray::from(vec![value])), &[rows])
}

fn structs(columns: Vec<Column>) -> ArrayRef {
    let fields = columns
        .into_iter()
        .map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
    Arc::new(StructArray::from(fields.collect::<Vec<_>>()))
}

fn dictionary(codes: &[u32], values: ArrayRef) -> ArrayRef {
    Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(codes.to_vec()), values).unwrap())
}

fn views(spans: &[(i32, i32)], entries: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", entries.data_type().clone(), true));
    let (offsets, sizes): (Vec<i32>, Vec<i32>) = spans.iter().copied().unzip();
    Arc::new(ListViewArray::try_new(field, offsets.into(), sizes.into(), entries, None).unwrap())
}

fn functions() -> ArrayRef {
    structs(vec![
        ("system_name", Arc::new(StringViewArray::from(vec!["main", "a name of more than twelve bytes"]))),
        ("filename", words(&[Some("main.go"), None])),
        ("start_line", Arc::new(UInt64Array::from(vec![1, 2]))),
    ])
}

fn locations() -> ArrayRef {
    let lines = structs(vec![
        ("line", Arc::new(UInt64Array::from(vec![7, 8, 9]))),
        ("column", Arc::new(UInt64Array::from(vec![0, 0, 1]))),
        ("function", dictionary(&[1, 0, 1], functions())),
    ]);
    structs(vec![
        ("address", Arc::new(UInt64Array::from(vec![1, 2, 3, 4, 5, u64::MAX]))),
        ("frame_type", words(&[Some("native"), Some("kernel"), None, None, None, Some("native")])),
        ("mapping_file", words(&[Some("app"), Some("app"), None, None, Some("lib"), None])),
        ("mapping_build_id", words(&[Some("ab"), Some("ab"), None, None, None, Some("cd")])),
        ("lines", views(&[(0, 2), (1, 2), (0, 0), (0, 0), (2, 1), (0, 0)], lines)),
    ])
}

fn stacktraces(spans: &[(i32, i32)]) -> ArrayRef {
    views(spans, dictionary(&ENTRIES, locations()))
}

/// Three samples; two stacktraces share entries.
fn second_columns() -> Vec<Column> {
    vec![
        (
            "labels",
            structs(vec![
                ("comm", each(&[Some("app"), Some("app"), Some("other")])),
                ("node", each(&[Some("n"), Some("n"), Some("n")])),
                ("thread_id", each(&[Some("1"), Some("2"), None])),
            ]),
        ),
        ("stacktrace", stacktraces(&[(0, 4), (2, 4), (0, 4)])),
        ("value", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("producer", text("parca_agent", 3)),
        ("sample_type", text("samples", 3)),
        ("sample_unit", text("count", 3)),
        ("period_type", text("cpu", 3)),
        ("period_unit", text("nanoseconds", 3)),
        ("period", runs(&array(Int64Array::from(vec![52_631_578])), &[3])),
        ("duration", runs(&array(UInt64Array::from(vec![1_000_000_000])), &[3])),
        (
            "timestamp",
            Arc::new(TimestampNanosecondArray::from(vec![TIME, TIME + 1, TIME + 2]).with_timezone("UTC")),
        ),
    ]
}

fn encoded(version: &str, columns: Vec<Column>, compression: Option<CompressionType>) -> Vec<u8> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let metadata = [(VERSION_KEY.to_owned(), version.to_owned())].into();
    let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
    let batch =
        RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn with(mut columns: Vec<Column>, name: &'static str, array: ArrayRef) -> Vec<Column> {
    for column in &mut columns {
        if column.0 == name {
            column.1 = array;
            return columns;
        }
    }
    columns.push((name, array));
    columns
}

fn without(mut columns: Vec<Column>, name: &str) -> Vec<Column> {
    columns.retain(|(other, _)| *other != name);
    columns
}

fn second(columns: Vec<Column>) -> Vec<u8> {
    encoded(SECOND, columns, None)
}

/// Puts other bytes in the place of some, where they are first.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

fn le(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Small, so that what is beyond them is small too.
fn limits() -> Limits {
    Limits { profile_bytes_max: 1 << 20, ..Limits::default() }
}

/// Names of files, messages, and what their refusals say.
fn second_cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let sound = || second(second_columns());
    let plain = |name, array| second(with(second_columns(), name, array));
    let bomb = {
        let words = vec!["x".repeat(2 << 20)];
        let column = runs(&array(StringArray::from(words)), &[3]);
        encoded(SECOND, with(second_columns(), "producer", column), Some(CompressionType::LZ4_FRAME))
    };
    let deep = dictionary(&vec![0; 10_000], locations());
    vec![
        ("not-arrow", b"neither here nor there".to_vec(), "not a readable Arrow stream: "),
        ("file-format", b"ARROW1\0\0".to_vec(), "not a readable Arrow stream: this is Arrow's file format"),
        ("no-schema", sound()[2000..].to_vec(), "not a readable Arrow stream: "),
        (
            "cut-short",
            sound()[..sound().len() - 400].to_vec(),
            "not a readable Arrow stream: the stream is cut short",
        ),
        (
            "other-schema",
            encoded(FIRST, second_columns(), None),
            "column (schema): parca_write_schema_version is \"v1\" instead of \"v2\"",
        ),
        ("no-value", second(without(second_columns(), "value")), "column value: missing"),
        ("no-stacktrace", second(without(second_columns(), "stacktrace")), "column stacktrace: missing"),
        ("no-timestamp", second(without(second_columns(), "timestamp")), "column timestamp: missing"),
        ("no-producer", second(without(second_columns(), "producer")), "column producer: missing"),
        ("no-period", second(without(second_columns(), "period")), "column period: missing"),
        ("value-of-text", plain("value", text("1", 3)), "column value: has the type text instead of integer"),
        (
            "producer-of-numbers",
            plain("producer", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            "column producer: has the type integer instead of text",
        ),
        (
            "stacktrace-of-numbers",
            plain("stacktrace", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            "column stacktrace: has the type integer instead of list",
        ),
        (
            "locations-of-numbers",
            plain("stacktrace", views(&[(0, 1), (0, 1), (1, 1)], Arc::new(Int64Array::from(vec![1, 2])))),
            "column stacktrace: has the type integer instead of struct of a location",
        ),
        (
            "label-of-numbers",
            plain("labels", structs(vec![("comm", Arc::new(Int64Array::from(vec![1, 2, 3])))])),
            "column labels.comm: has the type integer instead of text",
        ),
        ("empty-producer", plain("producer", text("", 3)), "column producer, row 0: is empty"),
        (
            "colon",
            plain("sample_unit", runs(&array(StringArray::from(vec!["a", "b:c"])), &[2, 3])),
            "column sample_unit, row 2: \"b:c\" contains ':'",
        ),
        (
            "label-name",
            plain("labels", structs(vec![("__name__", each(&[Some("a"), None, None]))])),
            "column labels.__name__: invalid label name: __name__",
        ),
        (
            "long-label",
            plain("labels", structs(vec![("comm", each(&[Some("a"), Some(&"x".repeat(5000)), None]))])),
            "column labels.comm, row 1: 5000 bytes of text, the limit is 4096",
        ),
        (
            "location-out-of-range",
            patched(sound(), &le(&ENTRIES), &le(&[5, 4, 3, 99])),
            "column stacktrace, row 3: dictionary index 99 is out of range (6)",
        ),
        (
            "function-out-of-range",
            patched(sound(), &le(&[1, 0, 1]), &le(&[1, 0, 9])),
            "column stacktrace.lines.function, row 2: dictionary index 9 is out of range (2)",
        ),
        (
            "list-out-of-range",
            patched(sound(), &le(&[4, 4, 4]), &le(&[4, 5, 4])),
            "column stacktrace, row 1: end of a list, 7 is out of range (6)",
        ),
        (
            "run-ends-fall",
            patched(sound(), &le(&[1, 2, 3]), &le(&[1, 1, 3])),
            "column labels.comm, row 1: run ends must be positive and grow",
        ),
        ("bomb", bomb, "column producer, row 0: 2097"),
        (
            "damaged-lz4",
            damaged_lz4().pop().unwrap(),
            "column timestamp, rows 0 to 99: buffer 1 (values) is damaged: it is no LZ4 frame",
        ),
        (
            "run-ends-short",
            patched(sound(), &le(&[1, 2, 3]), &le(&[1, 2, 2])),
            "column labels.comm, row 2: ",
        ),
        (
            "deep-stacktrace",
            plain("stacktrace", views(&[(0, 1), (0, 10_000), (0, 1)], deep)),
            "column stacktrace, row 1: 10000 locations in one stacktrace, the limit is 8192",
        ),
    ]
}

/// Enough samples for compressed columns, with one frame after the other damaged; the times come last.
fn damaged_lz4() -> Vec<Vec<u8>> {
    const ROWS: usize = 100;
    let columns = without(second_columns(), "labels").into_iter().map(|(name, _)| {
        let longer: ArrayRef = match name {
            "stacktrace" => stacktraces(&[(0, 4); ROWS]),
            "value" => array(Int64Array::from(vec![1; ROWS])),
            "timestamp" => array(TimestampNanosecondArray::from(vec![TIME; ROWS]).with_timezone("UTC")),
            "period" => runs(&array(Int64Array::from(vec![52_631_578])), &[ROWS as i32]),
            "duration" => runs(&array(UInt64Array::from(vec![1_000_000_000])), &[ROWS as i32]),
            _ => text("x", ROWS as i32),
        };
        (name, longer)
    });
    let sound = encoded(SECOND, columns.collect(), Some(CompressionType::LZ4_FRAME));
    assert_eq!(batch_of(&sound, &limits()).unwrap().sample_count(), ROWS);
    let frames = sound.windows(4).enumerate().filter(|(_, bytes)| *bytes == [0x04, 0x22, 0x4d, 0x18]);
    let damaged = frames.map(|(at, _)| {
        let mut damaged = sound.clone();
        damaged[at] = 0;
        damaged
    });
    damaged.collect()
}

#[test]
fn damaged_frames_name_their_rows() {
    let damaged = damaged_lz4();
    assert!(damaged.len() >= 4, "{}", damaged.len());
    for stream in damaged {
        let refusal = refusal(&stream);
        assert!(refusal.contains(", row") && refusal.contains(") is damaged: it is no LZ4 frame"), "{refusal}");
    }
}

fn refusal(stream: &[u8]) -> String {
    match batch_of(stream, &limits()) {
        Ok(batch) => panic!("{} samples instead of a refusal", batch.sample_count()),
        Err(error) => {
            assert_eq!(error.kind(), decima_base::ErrorKind::InvalidArgument);
            error.to_string()
        }
    }
}

#[test]
fn sound_messages_are_read() {
    for compression in [None, Some(CompressionType::LZ4_FRAME)] {
        let unknown =
            with(second_columns(), "unknown", Arc::new(BooleanArray::from(vec![true, false, true])));
        let columns = with(unknown, "temporality", words(&[Some("delta"), None, None]));
        let batch = batch_of(&encoded(SECOND, columns, compression), &limits()).unwrap();
        assert_eq!(batch.series.len(), 2);
        let [app, other] = batch.series.as_slice() else { panic!() };
        assert_eq!((&*app.values, &*app.times_ns), (&[1, 2][..], &[TIME, TIME + 1][..]));
        assert_eq!(other.values, [3]);
        assert_eq!(app.labels, [("comm".to_owned(), "app".to_owned()), ("node".to_owned(), "n".to_owned())]);
        assert_eq!((app.attributes.len(), other.attributes.len()), (1, 0));
        assert_eq!(app.profile_type.to_string(), "parca_agent:samples:count:cpu:nanoseconds:delta");
        // The first and the third sample have the same stacktrace.
        assert_eq!(batch.stacktrace_offsets, [0, 4, 8]);
        assert_eq!(batch.stacktrace(app.stacktraces[1]), [3, 2, 1, 0]);
        let address = |id: u32| batch.locations[batch.stacktrace(other.stacktraces[0])[id as usize] as usize];
        assert_eq!(address(0).address, u64::MAX);
        assert_eq!((batch.locations[1].line_count, batch.locations[2].line_count), (2, 0));
        assert_eq!(batch.strings.get(batch.functions[1].name), "a name of more than twelve bytes");
        assert_eq!(batch.mappings.len(), 3);
    }
}

#[test]
fn labels_are_not_required() {
    let batch = batch_of(&second(without(second_columns(), "labels")), &limits()).unwrap();
    assert_eq!((batch.series.len(), batch.series[0].labels.len()), (1, 0));
}

#[test]
fn samples_of_nothing_are_left_out() {
    let column = Arc::new(Int64Array::from(vec![0, 0, 3]));
    let batch = batch_of(&second(with(second_columns(), "value", column)), &limits()).unwrap();
    assert_eq!((batch.series.len(), batch.sample_count()), (1, 1));
}

#[test]
fn text_that_is_not_utf8_is_repaired() {
    let column = runs(&array(BinaryArray::from(vec![&b"parca\xff"[..]])), &[3]);
    let stream = second(with(second_columns(), "producer", column));
    let known = super::sample_labels();
    let decoded =
        super::second::decode(&stream, Context { limits: &limits(), sample_labels: &known }).unwrap();
    assert_eq!(decoded.repaired_strings, 1);
    assert_eq!(decoded.batch.series[0].profile_type.name, "parca\u{fffd}");
}

#[test]
fn wrong_messages_of_the_second_schema() {
    for (name, stream, expected) in second_cases() {
        let refusal = refusal(&stream);
        assert!(refusal.contains(expected), "{name}: {refusal}");
    }
}

#[test]
fn a_hundred_thousand_labels() {
    let label = each(&[None, None, Some("x")]);
    let columns: Vec<(Arc<Field>, ArrayRef)> = (0..100_000)
        .map(|i| (Arc::new(Field::new(format!("l{i}"), label.data_type().clone(), true)), label.clone()))
        .collect();
    let labels = Arc::new(StructArray::from(columns[..100].to_vec()));
    let refused = refusal(&second(with(second_columns(), "labels", labels)));
    assert_eq!(refused, "column labels: 100 labels, the limit is 64");
    let labels = Arc::new(StructArray::from(columns));
    let refused = refusal(&second(with(second_columns(), "labels", labels)));
    assert!(refused.contains("columns, the limit is 4096") || refused.contains("metadata"), "{refused}");
}

#[test]
fn damage_anywhere_is_survived() {
    for compression in [None, Some(CompressionType::LZ4_FRAME)] {
        let sound = encoded(SECOND, second_columns(), compression);
        // Every place takes a minute; the fuzzer does not stop at every seventh.
        for at in (0..sound.len()).step_by(7) {
            let _ = batch_of(&sound[..at], &limits());
            let mut damaged = sound.clone();
            damaged[at] ^= if at % 2 == 0 { 0x81 } else { 0xff };
            let _ = batch_of(&damaged, &limits());
        }
    }
}

fn list(offsets: &[i32], entries: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", entries.data_type().clone(), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets.to_vec()));
    Arc::new(ListArray::try_new(field, offsets, entries, None).unwrap())
}

fn binary_words(values: &[&str]) -> ArrayRef {
    let words: ArrayRef = Arc::new(BinaryArray::from_iter_values(values));
    dictionary(&(0..values.len() as u32).collect::<Vec<_>>(), words)
}

fn binary(value: &str) -> ArrayRef {
    runs(&binary_words(&[value]), &[3])
}

fn first_samples() -> Vec<Column> {
    vec![
        ("labels.comm", binary("app")),
        ("stacktrace_id", runs(&binary_words(&["id-1", "id-2"]), &[2, 3])),
        ("value", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("producer", binary("parca_agent")),
        ("sample_type", binary("samples")),
        ("sample_unit", binary("count")),
        ("period_type", binary("cpu")),
        ("period_unit", binary("nanoseconds")),
        ("temporality", binary("delta")),
        ("period", runs(&array(Int64Array::from(vec![52_631_578])), &[3])),
        ("duration", runs(&array(Int64Array::from(vec![1_000_000_000])), &[3])),
        ("timestamp", runs(&array(Int64Array::from(vec![TIME, TIME + 1])), &[1, 3])),
    ]
}

fn first_locations() -> Vec<Column> {
    let lines = structs(vec![
        ("line", Arc::new(Int64Array::from(vec![7]))),
        ("column", Arc::new(UInt64Array::from(vec![0]))),
        ("function_name", binary_words(&["main"])),
        ("function_system_name", binary_words(&["_main"])),
        ("function_filename", runs(&binary_words(&["main.c"]), &[1])),
        ("function_start_line", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let zeros = || runs(&array(UInt64Array::from(vec![0])), &[3]);
    let locations = structs(vec![
        ("address", Arc::new(UInt64Array::from(vec![1, 2, 3]))),
        ("frame_type", runs(&binary_words(&["native", "kernel"]), &[2, 3])),
        ("mapping_start", zeros()),
        ("mapping_limit", zeros()),
        ("mapping_offset", zeros()),
        ("mapping_file", runs(&binary_words(&["app"]), &[3])),
        ("mapping_build_id", runs(&binary_words(&["ab"]), &[3])),
        ("lines", list(&[0, 0, 0, 1], lines)),
    ]);
    vec![
        ("stacktrace_id", Arc::new(BinaryArray::from_iter_values(["id-2", "id-1"]))),
        ("is_complete", Arc::new(BooleanArray::from(vec![true, false]))),
        ("locations", list(&[0, 1, 3], locations)),
    ]
}

fn first(columns: Vec<Column>) -> Vec<u8> {
    encoded(FIRST, columns, None)
}

/// Names of files, both messages, and what the refusal says.
fn first_cases() -> Vec<(&'static str, Vec<u8>, Vec<u8>, &'static str)> {
    let samples = || first(first_samples());
    let locations = || first(first_locations());
    let ids = |ids: &[&str]| -> Vec<u8> {
        first(with(first_locations(), "stacktrace_id", Arc::new(BinaryArray::from_iter_values(ids))))
    };
    vec![
        (
            "samples-without-ids",
            first(without(first_samples(), "stacktrace_id")),
            locations(),
            "column stacktrace_id: missing",
        ),
        (
            "ids-of-numbers",
            first(with(first_samples(), "stacktrace_id", Arc::new(Int64Array::from(vec![1, 2, 3])))),
            locations(),
            "column stacktrace_id: has the type integer instead of text",
        ),
        (
            "unknown-id",
            samples(),
            ids(&["id-1", "other"]),
            "column stacktrace_id, row 2: the locations of 69642d32 (number 1) are missing",
        ),
        (
            "no-locations",
            samples(),
            first(without(first_locations(), "locations")),
            "column locations: missing",
        ),
        (
            "no-ids",
            samples(),
            first(without(first_locations(), "stacktrace_id")),
            "column stacktrace_id: missing",
        ),
        ("locations-cut-short", samples(), locations()[..1500].to_vec(), "the stream is cut short"),
        ("samples-twice", samples(), samples(), "column locations: missing"),
        (
            "nothing",
            samples(),
            Vec::new(),
            "column stacktrace_id, row 0: the locations of 69642d31 (number 0) are missing",
        ),
        (
            "other-schema",
            encoded(SECOND, first_samples(), None),
            locations(),
            "parca_write_schema_version is \"v2\" instead of \"v1\"",
        ),
    ]
}

#[test]
fn a_sound_exchange_is_read() {
    let batch = batch_of_exchange(&first(first_samples()), &first(first_locations()), &limits()).unwrap();
    let [series] = batch.series.as_slice() else { panic!() };
    assert_eq!((&*series.values, &*series.times_ns), (&[1, 2, 3][..], &[TIME, TIME + 1, TIME + 1][..]));
    assert_eq!(series.stacktraces, [1, 1, 0]);
    assert_eq!((batch.stacktrace(0), batch.stacktrace(1)), (&[0][..], &[1, 2][..]));
    assert_eq!(series.labels, [("comm".to_owned(), "app".to_owned())]);
    assert_eq!((batch.strings.get(batch.functions[0].name), batch.locations[2].line_count), ("main", 1));
}

#[test]
fn wrong_messages_of_the_first_schema() {
    for (name, samples, locations, expected) in first_cases() {
        let refusal = batch_of_exchange(&samples, &locations, &limits()).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{name}: {refusal}");
    }
}

/// The generated messages are what fuzzing starts from.
#[test]
fn corpora() {
    let exchange =
        |samples: &[u8], locations: &[u8]| [&le(&[samples.len() as u32])[..], samples, locations].concat();
    let mut files = vec![
        ("agent_second", "sound".to_owned(), second(second_columns())),
        (
            "agent_second",
            "sound-lz4".to_owned(),
            encoded(SECOND, second_columns(), Some(CompressionType::LZ4_FRAME)),
        ),
        ("agent_first", "sound".to_owned(), exchange(&first(first_samples()), &first(first_locations()))),
    ];
    files.extend(
        second_cases().into_iter().map(|(name, stream, _)| ("agent_second", name.to_owned(), stream)),
    );
    files.extend(first_cases().into_iter().map(|(name, samples, locations, _)| {
        ("agent_first", name.to_owned(), exchange(&samples, &locations))
    }));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus");
    for (folder, name, bytes) in files {
        // Large ones say nothing more to a fuzzer.
        if bytes.len() > 16 << 10 {
            continue;
        }
        let path = root.join(folder).join(name);
        if std::env::var_os("DECIMA_BLESS").is_some() {
            std::fs::create_dir_all(root.join(folder)).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        // A map in the schema's metadata has one entry, so that the bytes are always the same.
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{} is not what the test makes: cargo xtask bless", path.display());
    }
}
