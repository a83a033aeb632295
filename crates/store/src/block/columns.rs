//! Schemas of the block's files and how their columns are encoded: the one place that names columns.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
    schema::types::ColumnPath,
};

pub(crate) const SAMPLES: &str = "samples.parquet";
pub(crate) const POINTS: &str = "points.parquet";
pub(crate) const NODES: &str = "nodes.parquet";
pub(crate) const STACKTRACES: &str = "stacktraces.parquet";
pub(crate) const LOCATIONS: &str = "locations.parquet";
pub(crate) const SERIES: &str = "series.parquet";
pub(crate) const ATTRIBUTES: &str = "attributes.parquet";
pub(crate) const REQUESTS: &str = "requests.parquet";
pub(crate) const META: &str = "block.json";

/// All Parquet files of a block.
pub(crate) const FILES: [&str; 8] =
    [SAMPLES, POINTS, NODES, STACKTRACES, LOCATIONS, SERIES, ATTRIBUTES, REQUESTS];

/// Prefix of the columns of text attributes.
pub(crate) const TEXT_PREFIX: &str = "attribute.";
/// Prefix of the columns of integer attributes.
pub(crate) const INTEGER_PREFIX: &str = "attribute_integer.";

/// Column of points that only coarse blocks have.
pub(crate) const INSTANTS: &str = "instants";

/// Rows of a row group at most: the writer holds one in memory, and its footer stays small.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Rows of a page at most: what one narrow query has to decode beyond what it wants.
pub(crate) const PAGE_ROWS: usize = 20_000;

/// Size of the dictionary of values at most: eight thousand, of the twenty thousand that a row group may be short of. More than that do
/// not repeat enough to be worth one.
const VALUE_DICTIONARY_BYTES: usize = 64 << 10;

/// Rows that have a row group to themselves, if one query reads them and not those beside them: as many as a page, so that a query of
/// fewer gets a row group of at most two pages.
pub(crate) const GROUP_ROWS_MIN: u64 = PAGE_ROWS as u64;

/// Rows of a row group of locations at most: a partition's own ones need the dictionaries of the groups they are in.
const LOCATION_GROUP_ROWS: usize = 16_384;
/// Locations of a partition that have a row group to themselves: some fifty kilobytes, of which the dictionaries and the footer's part of
/// fourteen columns are little.
pub(crate) const LOCATION_GROUP_ROWS_MIN: u64 = 4_096;
/// Rows of a page of locations at most: a partition has some hundreds to thousands of its own.
const LOCATION_PAGE_ROWS: usize = 1_024;

fn zstd(level: i32) -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(level).unwrap_or_default())
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by("decima".to_owned())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(4096)
        .set_compression(zstd(3))
        .set_statistics_enabled(EnabledStatistics::Chunk)
}

trait Columns {
    fn delta(self, column: &str) -> Self;
    fn split(self, column: &str) -> Self;
    /// Without the least and the greatest value of each row group, which would tell nobody what to leave out.
    fn without_statistics(self, columns: &[&str]) -> Self;
}

impl Columns for WriterPropertiesBuilder {
    fn delta(self, column: &str) -> Self {
        let path = ColumnPath::from(column);
        self.set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
    }

    fn split(self, column: &str) -> Self {
        let path = ColumnPath::from(column);
        self.set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
    }

    fn without_statistics(self, columns: &[&str]) -> Self {
        columns.iter().fold(self, |properties, column| {
            properties.set_column_statistics_enabled(ColumnPath::from(*column), EnabledStatistics::None)
        })
    }
}

fn schema(fields: Vec<Field>) -> Arc<Schema> {
    Arc::new(Schema::new(fields))
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// A text column with a dictionary.
pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// `samples.parquet`: one row a sample.
pub(crate) fn samples(
    text_attributes: &[String],
    integer_attributes: &[String],
) -> (Arc<Schema>, WriterProperties) {
    let mut fields = vec![
        required("series", DataType::Int32),
        required("time_ns", DataType::Int64),
        required("duration_ns", DataType::Int64),
        required("stacktrace", DataType::Int32),
        required("value", DataType::Int64),
    ];
    for name in text_attributes {
        fields.push(Field::new(format!("{TEXT_PREFIX}{name}"), dictionary(), true));
    }
    let mut properties = properties()
        .delta("time_ns")
        .delta("stacktrace")
        .without_statistics(&["duration_ns", "stacktrace", "value"])
        .set_column_dictionary_page_size_limit(ColumnPath::from("value"), VALUE_DICTIONARY_BYTES)
        .set_column_encoding(ColumnPath::from("value"), Encoding::DELTA_BINARY_PACKED);
    for name in integer_attributes {
        let column = format!("{INTEGER_PREFIX}{name}");
        // The name is one column, whatever dots it has.
        let path = ColumnPath::new(vec![column.clone()]);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        fields.push(Field::new(column, DataType::Int64, true));
    }
    (schema(fields), properties.build())
}

/// `points.parquet`: sums by series and time; in a coarse block with the number of finer times.
pub(crate) fn points(is_coarse: bool) -> (Arc<Schema>, WriterProperties) {
    let mut fields = vec![
        required("series", DataType::Int32),
        required("time_ns", DataType::Int64),
        required("bucket_ns", DataType::Int64),
        required("sum", DataType::Int64),
        required("count", DataType::Int64),
        required("duration_ns", DataType::Int64),
    ];
    if is_coarse {
        fields.push(required(INSTANTS, DataType::Int64));
    }
    (schema(fields), properties().delta("series").delta("time_ns").build())
}

/// `nodes.parquet`: the stacktrace tree in preorder; the root of each partition has distance 0.
pub(crate) fn nodes() -> (Arc<Schema>, WriterProperties) {
    let fields = vec![required("parent_distance", DataType::Int32), required("location", DataType::Int32)];
    let properties = properties().split("location").without_statistics(&["parent_distance", "location"]);
    (schema(fields), properties.build())
}

/// `stacktraces.parquet`: the leaf node of each stacktrace.
pub(crate) fn stacktraces() -> (Arc<Schema>, WriterProperties) {
    (schema(vec![required("leaf", DataType::Int32)]), properties().delta("leaf").build())
}

/// `locations.parquet`: one row a location and line, innermost first; one row with null function columns if not symbolised.
pub(crate) fn locations() -> (Arc<Schema>, WriterProperties) {
    let fields = vec![
        required("location", DataType::Int32),
        required("address", DataType::Int64),
        required("frame_type", dictionary()),
        Field::new("mapping_start", DataType::Int64, true),
        Field::new("mapping_limit", DataType::Int64, true),
        Field::new("mapping_offset", DataType::Int64, true),
        Field::new("mapping_file", dictionary(), true),
        Field::new("build_id", dictionary(), true),
        Field::new("function_name", dictionary(), true),
        Field::new("function_system_name", dictionary(), true),
        Field::new("function_filename", dictionary(), true),
        Field::new("function_start_line", DataType::Int64, true),
        Field::new("line", DataType::Int64, true),
        Field::new("column", DataType::Int64, true),
    ];
    let properties = properties()
        .delta("location")
        .set_max_row_group_row_count(Some(LOCATION_GROUP_ROWS))
        .set_data_page_row_count_limit(LOCATION_PAGE_ROWS);
    (schema(fields), properties.build())
}

/// `series.parquet`: one row a series, with the ranges of its rows and of its partition.
pub(crate) fn series() -> (Arc<Schema>, WriterProperties) {
    let mut fields: Vec<Field> = ["name", "sample_type", "sample_unit", "period_type", "period_unit"]
        .iter()
        .map(|name| required(name, DataType::Utf8))
        .collect();
    fields.push(required("delta", DataType::Boolean));
    fields.push(required("period", DataType::Int64));
    fields.push(required("duration_ns", DataType::Int64));
    fields.push(Field::new("labels", labels_type(), false));
    for name in SERIES_NUMBERS {
        fields.push(required(name, DataType::Int64));
    }
    fields.push(required("partition", DataType::Utf8));
    (schema(fields), properties().build())
}

/// Whole-number columns of `series.parquet`, in order.
pub(crate) const SERIES_NUMBERS: [&str; 16] = [
    "min_time_ns",
    "max_time_ns",
    "first_row",
    "row_count",
    "sum",
    "first_point",
    "point_count",
    "partition_index",
    "first_node",
    "node_count",
    "first_stacktrace",
    "stacktrace_count",
    "first_location",
    "location_count",
    "first_location_row",
    "location_row_count",
];

/// The type of the label column: a map of text to text.
pub(crate) fn labels_type() -> DataType {
    let entries = DataType::Struct(Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Utf8, true),
    ]));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// `attributes.parquet`: one row an attribute and series, with a null value, then one for each value listed.
pub(crate) fn attributes() -> (Arc<Schema>, WriterProperties) {
    let fields = vec![
        required("name", dictionary()),
        required("series", DataType::Int32),
        Field::new("value", dictionary(), true),
        required("min_time_ns", DataType::Int64),
        required("max_time_ns", DataType::Int64),
        required("truncated", DataType::Boolean),
    ];
    (schema(fields), properties().delta("series").delta("min_time_ns").delta("max_time_ns").build())
}

/// `requests.parquet`: hashes of the requests whose samples these are.
pub(crate) fn requests() -> (Arc<Schema>, WriterProperties) {
    let fields = vec![
        required("received_ns", DataType::Int64),
        required("hash_high", DataType::Int64),
        required("hash_low", DataType::Int64),
    ];
    (schema(fields), properties().delta("received_ns").build())
}

/// The sum of a series as its file has it: cut at the ends of the type.
pub(crate) fn stored_sum(sum: i128) -> i64 {
    sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}
