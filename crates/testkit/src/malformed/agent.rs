//! Streams of Parca Agent, sound ones and wrong ones, of both schemas.

use std::sync::Arc;

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

use super::Wrong;

/// Versions of the schemas.
pub const FIRST: &str = "v1";
/// See [`FIRST`].
pub const SECOND: &str = "v2";

/// A column with its name.
pub type Column = (&'static str, ArrayRef);

/// Indices of the locations of all stacktraces: a pattern that is found again in the bytes.
pub const ENTRIES: [u32; 6] = [5, 4, 3, 2, 1, 0];
/// Nanoseconds since 1970 of the first sample.
pub const TIME: i64 = 1_795_366_153_414_640_784;

/// An array as a column.
pub fn array(array: impl arrow_array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}

/// Text behind a dictionary.
pub fn words(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<DictionaryArray<UInt32Type>>())
}

/// Run-end encoded values; ends are exclusive.
pub fn runs(values: &ArrayRef, ends: &[i32]) -> ArrayRef {
    Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(ends.to_vec()), values).unwrap())
}

/// Text behind a dictionary and run ends, a run for each row.
pub fn each(values: &[Option<&str>]) -> ArrayRef {
    let ends: Vec<i32> = (1..=values.len() as i32).collect();
    runs(&words(values), &ends)
}

/// The same text in so many rows.
pub fn text(value: &str, rows: i32) -> ArrayRef {
    runs(&array(StringArray::from(vec![value])), &[rows])
}

/// A column of structs.
pub fn structs(columns: Vec<Column>) -> ArrayRef {
    let fields = columns
        .into_iter()
        .map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
    Arc::new(StructArray::from(fields.collect::<Vec<_>>()))
}

/// Values behind indices.
pub fn dictionary(codes: &[u32], values: ArrayRef) -> ArrayRef {
    Arc::new(DictionaryArray::<UInt32Type>::try_new(UInt32Array::from(codes.to_vec()), values).unwrap())
}

/// A list view: first entry and number of entries of each row.
pub fn views(spans: &[(i32, i32)], entries: ArrayRef) -> ArrayRef {
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

/// Six locations, of two functions.
pub fn locations() -> ArrayRef {
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
pub fn second_columns() -> Vec<Column> {
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

/// A stream of one batch, of the schema of this version.
pub fn encoded(version: &str, columns: Vec<Column>, compression: Option<CompressionType>) -> Vec<u8> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let metadata = [("parca_write_schema_version".to_owned(), version.to_owned())].into();
    let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
    let batch =
        RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// The columns with one in the place of another, or more.
pub fn with(mut columns: Vec<Column>, name: &'static str, array: ArrayRef) -> Vec<Column> {
    for column in &mut columns {
        if column.0 == name {
            column.1 = array;
            return columns;
        }
    }
    columns.push((name, array));
    columns
}

/// The columns but for one.
pub fn without(mut columns: Vec<Column>, name: &str) -> Vec<Column> {
    columns.retain(|(other, _)| *other != name);
    columns
}

/// A stream of the second schema.
pub fn second(columns: Vec<Column>) -> Vec<u8> {
    encoded(SECOND, columns, None)
}

/// Puts other bytes in the place of some, where they are first.
pub fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

/// Numbers as a buffer holds them.
pub fn le(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Streams of the second schema that are wrong.
pub fn second_cases() -> Vec<Wrong> {
    let sound = || second(second_columns());
    let plain = |name, array| second(with(second_columns(), name, array));
    let bomb = {
        let words = vec!["x".repeat(2 << 20)];
        let column = runs(&array(StringArray::from(words)), &[3]);
        encoded(SECOND, with(second_columns(), "producer", column), Some(CompressionType::LZ4_FRAME))
    };
    let deep = dictionary(&vec![0; 10_000], locations());
    let cases = vec![
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
        ("run-ends-short", patched(sound(), &le(&[1, 2, 3]), &le(&[1, 2, 2])), "column labels.comm, row 2: "),
        (
            "deep-stacktrace",
            plain("stacktrace", views(&[(0, 1), (0, 10_000), (0, 1)], deep)),
            "column stacktrace, row 1: 10000 locations in one stacktrace, the limit is 8192",
        ),
    ];
    cases.into_iter().map(|(name, stream, refusal)| Wrong { name, messages: vec![stream], refusal }).collect()
}

/// A stream of the second schema of enough samples for compressed columns, once for each of its frames that is damaged; the
/// times come last.
pub fn damaged_lz4() -> Vec<Vec<u8>> {
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
    let frames = sound.windows(4).enumerate().filter(|(_, bytes)| *bytes == [0x04, 0x22, 0x4d, 0x18]);
    let damaged = frames.map(|(at, _)| {
        let mut damaged = sound.clone();
        damaged[at] = 0;
        damaged
    });
    damaged.collect()
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

/// Text of an agent of the first schema: bytes behind a dictionary and run ends, in three rows.
pub fn binary(value: &str) -> ArrayRef {
    runs(&binary_words(&[value]), &[3])
}

/// Three samples of the first schema, with two stacktraces.
pub fn first_samples() -> Vec<Column> {
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

/// Their locations.
pub fn first_locations() -> Vec<Column> {
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

/// A stream of the first schema.
pub fn first(columns: Vec<Column>) -> Vec<u8> {
    encoded(FIRST, columns, None)
}

/// Exchanges of the first schema that are wrong: samples, then locations.
pub fn first_cases() -> Vec<Wrong> {
    let samples = || first(first_samples());
    let locations = || first(first_locations());
    let ids = |ids: &[&str]| -> Vec<u8> {
        first(with(first_locations(), "stacktrace_id", Arc::new(BinaryArray::from_iter_values(ids))))
    };
    let cases = vec![
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
    ];
    let wrong =
        |(name, samples, locations, refusal)| Wrong { name, messages: vec![samples, locations], refusal };
    cases.into_iter().map(wrong).collect()
}

/// A stream of the second schema with so many labels.
pub fn labels(count: usize) -> Vec<u8> {
    let label = array(StringArray::from(vec![None, None, Some("x")]));
    let columns = (0..count).map(|label_index| {
        (Arc::new(Field::new(format!("l{label_index}"), label.data_type().clone(), true)), label.clone())
    });
    second(with(second_columns(), "labels", array(StructArray::from(columns.collect::<Vec<_>>()))))
}
