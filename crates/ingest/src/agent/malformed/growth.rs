//! Streams that are small on the wire and large in memory; names that are repaired; whose a wrong stream is.

use super::*;

/// The same batch so many times in one stream.
fn repeated(columns: Vec<Column>, times: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let schema =
        batch.schema().as_ref().clone().with_metadata([(VERSION_KEY.to_owned(), SECOND.to_owned())].into());
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    let batch = batch.with_schema(Arc::new(schema)).unwrap();
    for _ in 0..times {
        writer.write(&batch).unwrap();
    }
    writer.into_inner().unwrap()
}

/// As many samples, of a stacktrace without locations.
fn of_rows(rows: usize) -> Vec<Column> {
    let ends = [rows as i32];
    let long = |value: &str| runs(&array(StringArray::from(vec![value])), &ends);
    vec![
        ("labels", structs(vec![("comm", long("app"))])),
        ("stacktrace", views(&vec![(0, 0); rows], dictionary(&ENTRIES, locations()))),
        ("value", Arc::new(Int64Array::from(vec![1; rows]))),
        ("producer", long("parca_agent")),
        ("sample_type", long("samples")),
        ("sample_unit", long("count")),
        ("period_type", long("cpu")),
        ("period_unit", long("nanoseconds")),
        ("period", runs(&array(Int64Array::from(vec![1])), &ends)),
        ("duration", runs(&array(Int64Array::from(vec![1])), &ends)),
        ("timestamp", Arc::new(Int64Array::from(vec![TIME; rows]))),
    ]
}

/// What is small on the wire and large in memory: over all batches, and by naming the same bytes again and again.
#[test]
fn streams_that_would_grow() {
    let check = |stream: Vec<u8>, expected: &str| {
        let (limits, known) = (Limits::default(), sample_labels());
        let decoded =
            second::decode(&stream, Context { limits: &limits, sample_labels: &known, schemas: None });
        assert_eq!(decoded.map(|_| ()).map_err(|error| error.to_string()), Err(expected.to_owned()));
    };
    check(
        repeated(second_columns(), BATCHES_MAX + 1),
        "column (all batches): 65 record batches, the limit is 64",
    );
    check(repeated(of_rows(ROWS_MAX / 4), 5), "column (all batches): 1310720 samples, the limit is 1048576");
    let rows = TEXT_BYTES_MAX / 4000 + 1;
    let mut shared = arrow_array::builder::StringViewBuilder::new().with_deduplicate_strings();
    (0..rows).for_each(|_| shared.append_value("x".repeat(4000)));
    let stream = repeated(with(of_rows(rows), "labels", structs(vec![("big", array(shared.finish()))])), 1);
    assert!(stream.len() < 4 << 20, "{}", stream.len());
    check(
        stream,
        "column labels.big, rows 0 to 33554: 134217729 bytes of text or more, the limit is 134217728",
    );
    let label = runs(&array(StringArray::from(vec!["x"])), &[ROWS_MAX as i32 / 2]);
    let names: Vec<String> = (0..33).map(|label| format!("l{label:02}")).collect();
    let labels = names.iter().map(|name| {
        let field = Field::new(name.as_str(), label.data_type().clone(), true);
        (Arc::new(field), Arc::clone(&label))
    });
    let labels: ArrayRef = Arc::new(StructArray::from(labels.collect::<Vec<_>>()));
    check(
        repeated(with(of_rows(ROWS_MAX / 2), "labels", labels), 1),
        "column labels: 17301504 labels of samples, the limit is 16777216",
    );
}

#[test]
fn names_of_labels_are_repaired() {
    let labels = structs(vec![("comm", each(&[Some("app"); 3])), ("bad!name?", each(&[Some("v"); 3]))]);
    let stream = second(with(second_columns(), "labels", labels));
    let stream = patched(stream, b"bad!name?", b"bad\xffname\xe4");
    let (limits, known) = (Limits::default(), sample_labels());
    let decoded =
        second::decode(&stream, Context { limits: &limits, sample_labels: &known, schemas: None }).unwrap();
    assert_eq!(decoded.repaired_strings, 1);
    let labels: Vec<_> = decoded.batch.series[0].labels.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(labels, ["bad\u{fffd}name\u{fffd}", "comm"]);
    // In the first schema, names are those of columns.
    let named = with(first_samples(), "labels.node", binary("n"));
    let stream = encoded(FIRST, with(named, "labels.x!", each(&[Some("v"); 3])), None);
    let stream = patched(stream, b"labels.x!", b"labels.x\xff");
    let pending =
        first::samples(&stream, Context { limits: &limits, sample_labels: &known, schemas: None }).unwrap();
    assert_eq!(pending.node(), "n");
    // What is wrong otherwise is still refused by name.
    let mut damaged = second(second_columns());
    damaged[8..12].fill(0x7f);
    let error = second::decode(&damaged, Context { limits: &limits, sample_labels: &known, schemas: None })
        .unwrap_err();
    assert!(
        error.to_string().starts_with("not a readable Arrow stream: the metadata of the message"),
        "{error}"
    );
}

/// Whose a stream is can be read although something else in it is wrong.
#[test]
fn nodes_of_wrong_streams() {
    let check =
        |stream: Vec<u8>, expected: &str| assert_eq!(node_of_wrong(&stream, &Limits::default()), expected);
    check(second(without(second_columns(), "value")), "n");
    check(second(with(second_columns(), "labels", structs(vec![("comm", each(&[Some("x"); 3]))]))), "");
    check(second(without(second_columns(), "labels")), "");
    let named = with(first_samples(), "labels.node", binary("n"));
    check(encoded(FIRST, without(named, "period"), None), "n");
    check(b"neither here nor there".to_vec(), "");
}
