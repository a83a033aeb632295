//! Answers read back as a client would.

use arrow_array::{
    Array, ArrayRef, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
    cast::AsArray,
    types::{UInt8Type, UInt16Type, UInt32Type},
};
use arrow_ipc::reader::StreamReader;
use decima_query::{ArrowRecord, Engine, QueryError, Report, ReportAnswer, ReportRequest};

use crate::{naive::Node, world::run};

pub(crate) fn answer(engine: &Engine, request: ReportRequest) -> Result<ReportAnswer, QueryError> {
    run(engine.query(request))
}

pub(crate) fn batch(record: &ArrowRecord) -> RecordBatch {
    let mut reader = StreamReader::try_new(record.record.as_slice(), None).unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none(), "one batch");
    batch
}

pub(crate) fn column(batch: &RecordBatch, name: &str) -> ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")).clone()
}

/// Unsigned integers of any width.
pub(crate) fn uints(batch: &RecordBatch, name: &str) -> Vec<Option<u64>> {
    let array = column(batch, name);
    (0..array.len())
        .map(|at| {
            (!array.is_null(at)).then(|| match array.data_type() {
                arrow_schema::DataType::UInt8 => array.as_primitive::<UInt8Type>().value(at).into(),
                arrow_schema::DataType::UInt16 => array.as_primitive::<UInt16Type>().value(at).into(),
                arrow_schema::DataType::UInt32 => array.as_primitive::<UInt32Type>().value(at).into(),
                _ => array.as_any().downcast_ref::<UInt64Array>().unwrap().value(at),
            })
        })
        .collect()
}

/// Signed integers of any width.
pub(crate) fn ints(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    use arrow_array::types::{Int8Type, Int16Type, Int32Type};
    use arrow_schema::DataType;
    let array = column(batch, name);
    (0..array.len())
        .map(|at| {
            (!array.is_null(at)).then(|| match array.data_type() {
                DataType::Int8 => array.as_primitive::<Int8Type>().value(at).into(),
                DataType::Int16 => array.as_primitive::<Int16Type>().value(at).into(),
                DataType::Int32 => array.as_primitive::<Int32Type>().value(at).into(),
                _ => array.as_any().downcast_ref::<Int64Array>().unwrap().value(at),
            })
        })
        .collect()
}

/// Texts of a dictionary of binary or string values.
pub(crate) fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let array = column(batch, name);
    if array.null_count() == array.len() {
        return vec![None; array.len()];
    }
    let dictionary = array.as_any_dictionary();
    let keys = dictionary.normalized_keys();
    let text = |at: usize| {
        let values = dictionary.values();
        match values.as_any().downcast_ref::<BinaryArray>() {
            Some(values) => String::from_utf8(values.value(keys[at]).to_vec()).unwrap(),
            None => values.as_any().downcast_ref::<StringArray>().unwrap().value(keys[at]).to_owned(),
        }
    };
    (0..array.len()).map(|at| (!array.is_null(at)).then(|| text(at))).collect()
}

/// Lists of numbers; empty where null.
pub(crate) fn lists(batch: &RecordBatch, name: &str) -> Vec<Vec<i64>> {
    let array = column(batch, name);
    let lists = array.as_any().downcast_ref::<ListArray>().unwrap();
    (0..lists.len())
        .map(|at| {
            if lists.is_null(at) {
                return Vec::new();
            }
            let list = lists.value(at);
            assert!(!list.is_empty(), "null rather than empty");
            match list.as_any().downcast_ref::<UInt32Array>() {
                Some(list) => list.values().iter().map(|&v| v.into()).collect(),
                None => list.as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec(),
            }
        })
        .collect()
}

/// Keys of the rows of a record, as the naive answers have them.
pub(crate) fn keys(batch: &RecordBatch) -> Vec<String> {
    let (names, files) = (texts(batch, "function_name"), texts(batch, "mapping_file"));
    let ids = texts(batch, "mapping_build_id");
    let addresses = uints(batch, "location_address");
    let key = |at: usize| match &names[at] {
        Some(name) => name.clone(),
        None => {
            let object = ids[at].clone().or(files[at].clone()).unwrap_or_default();
            format!("{:#x}@{object}", addresses[at].unwrap_or_default())
        }
    };
    (0..batch.num_rows()).map(key).collect()
}

pub(crate) fn flamegraph_record(answer: &ReportAnswer) -> &ArrowRecord {
    let Report::FlamegraphArrow(record) = &answer.report else { panic!("not a flame graph") };
    record
}

/// Reads a flame graph, checking that its columns fit together.
pub(crate) fn flamegraph(record: &ArrowRecord) -> Node {
    let batch = batch(record);
    let (parents, children) = (column(&batch, "parent"), lists(&batch, "children"));
    let parents = parents.as_any().downcast_ref::<Int32Array>().unwrap();
    let (cumulative, flat) = (uints(&batch, "cumulative"), uints(&batch, "flat"));
    let (diff, depth, offset) = (ints(&batch, "diff"), uints(&batch, "depth"), uints(&batch, "value_offset"));
    let labels_only = column(&batch, "labels_only");
    let labels_only = labels_only.as_boolean();
    let label_columns: Vec<Vec<Option<String>>> = batch
        .schema()
        .fields()
        .iter()
        .filter(|field| field.name().starts_with("labels."))
        .map(|field| texts(&batch, field.name()))
        .collect();
    let mut keys = keys(&batch);
    for (row, key) in keys.iter_mut().enumerate() {
        if !labels_only.is_null(row) && labels_only.value(row) {
            let labels: Vec<String> = label_columns.iter().filter_map(|column| column[row].clone()).collect();
            *key = format!("labels {labels:?}");
        }
    }
    assert_eq!(parents.value(0), -1);
    assert_eq!((depth[0], offset[0]), (Some(0), Some(0)));
    let height = depth.iter().flatten().max().unwrap() + 1;
    assert_eq!(record.height as u64, height);
    // Breadth-first: children are numbered in the order of their parents.
    let numbered: Vec<i64> = children.iter().flatten().copied().collect();
    assert_eq!(numbered, (1..batch.num_rows() as i64).collect::<Vec<_>>());
    let mut nodes: Vec<Node> = (0..batch.num_rows())
        .map(|row| Node {
            cumulative: cumulative[row].unwrap() as i64,
            flat: flat[row].unwrap() as i64,
            diff: diff[row].unwrap(),
            ..Node::default()
        })
        .collect();
    for row in (0..nodes.len()).rev() {
        let mut at = offset[row].unwrap();
        for &child in &children[row] {
            let child = child as usize;
            assert_eq!(parents.value(child), row as i32);
            assert_eq!(depth[child].unwrap(), depth[row].unwrap() + 1);
            assert_eq!(offset[child].unwrap(), at);
            at += cumulative[child].unwrap();
            let node = std::mem::take(&mut nodes[child]);
            assert!(nodes[row].children.insert(keys[child].clone(), node).is_none(), "siblings differ");
        }
    }
    nodes.swap_remove(0)
}
