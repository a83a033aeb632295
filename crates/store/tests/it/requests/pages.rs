//! What a query needs of a block, as the block's files themselves tell: pages that hold rows of a service, and the dictionaries of their
//! columns.

use std::{collections::BTreeMap, ops::Range};

use arrow_array::{Array, Int64Array, StringArray};
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};

async fn file(objects: &dyn ObjectStore, block: &str, name: &str) -> Bytes {
    let path = Path::from(format!("default/blocks/{block}/{name}"));
    objects.get(&path).await.unwrap().bytes().await.unwrap()
}

/// The pages of some columns (none = all) that hold some rows, and the dictionaries before them, in bytes.
fn size_bytes(metadata: &ParquetMetaData, columns: &[&str], rows: &[Range<i64>]) -> u64 {
    let mut size = 0;
    let mut start = 0;
    for (group, index) in metadata.row_groups().iter().zip(metadata.offset_index().unwrap()) {
        let end = start + group.num_rows();
        for (column, index) in group.columns().iter().zip(index) {
            if !columns.is_empty() && !columns.contains(&column.column_path().string().as_str()) {
                continue;
            }
            let pages = index.page_locations();
            let ends = pages.iter().skip(1).map(|page| start + page.first_row_index).chain([end]);
            let is_wanted = |page: &Range<i64>| rows.iter().any(|r| r.start < page.end && page.start < r.end);
            let wanted: Vec<i64> = pages
                .iter()
                .zip(ends)
                .filter(|(page, end)| is_wanted(&(start + page.first_row_index..*end)))
                .map(|(page, _)| i64::from(page.compressed_page_size))
                .collect();
            if !wanted.is_empty() {
                let dictionary = pages[0].offset - column.byte_range().0 as i64;
                size += (wanted.iter().sum::<i64>() + dictionary) as u64;
            }
        }
        start = end;
    }
    size
}

/// Rows of a partition and of its series, in the files of a block.
#[derive(Debug)]
struct Rows(BTreeMap<&'static str, Range<i64>>);

async fn rows(objects: &dyn ObjectStore, block: &str, service: &str) -> Rows {
    let series = file(objects, block, "series.parquet").await;
    let batches = ParquetRecordBatchReaderBuilder::try_new(series).unwrap().build().unwrap();
    let mut rows: BTreeMap<&'static str, Range<i64>> = BTreeMap::new();
    for batch in batches.map(Result::unwrap) {
        let partition = batch.column_by_name("partition").unwrap();
        let partition = partition.as_any().downcast_ref::<StringArray>().unwrap();
        for row in (0..batch.num_rows()).filter(|&row| partition.value(row) == service) {
            let number = |name: &str| {
                batch.column_by_name(name).unwrap().as_any().downcast_ref::<Int64Array>().unwrap().value(row)
            };
            for (file, first, count) in [
                ("samples.parquet", "first_row", "row_count"),
                ("points.parquet", "first_point", "point_count"),
                ("nodes.parquet", "first_node", "node_count"),
                ("stacktraces.parquet", "first_stacktrace", "stacktrace_count"),
                ("locations.parquet", "first_location_row", "location_row_count"),
            ] {
                let new = number(first)..number(first) + number(count);
                let known = rows.entry(file).or_insert_with(|| new.clone());
                *known = known.start.min(new.start)..known.end.max(new.end);
            }
        }
    }
    Rows(rows)
}

/// Size of the pages that a flame graph of a service needs of a block, by file.
pub(crate) async fn of_flame_graph(
    objects: &dyn ObjectStore,
    block: &str,
    service: &str,
) -> BTreeMap<&'static str, u64> {
    let Rows(mut rows) = rows(objects, block, service).await;
    rows.remove("points.parquet");
    let mut sizes = BTreeMap::new();
    for (name, rows) in rows {
        let columns: &[&str] = if name == "samples.parquet" { &["stacktrace", "value"] } else { &[] };
        sizes.insert(name, of(objects, block, name, columns, rows).await);
    }
    sizes
}

/// The same of its values over time.
pub(crate) async fn of_points(
    objects: &dyn ObjectStore,
    block: &str,
    service: &str,
) -> BTreeMap<&'static str, u64> {
    let Rows(rows) = rows(objects, block, service).await;
    let points = rows["points.parquet"].clone();
    BTreeMap::from([("points.parquet", of(objects, block, "points.parquet", &[], points).await)])
}

async fn of(objects: &dyn ObjectStore, block: &str, name: &str, columns: &[&str], rows: Range<i64>) -> u64 {
    let bytes = file(objects, block, name).await;
    let mut reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Required);
    reader.try_parse(&bytes).unwrap();
    size_bytes(&reader.finish().unwrap(), columns, &[rows])
}
