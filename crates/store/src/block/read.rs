//! Answers queries from a block.
//!
//! Footers, series, symbols and trees are decoded once and kept in a cache shared by all blocks and bounded by bytes, as the pages of
//! shared locations are; samples and points are read by row range each time.

use std::{ops::Range, sync::Arc};

use arrow_array::{
    Array, BooleanArray, DictionaryArray, Int32Array, Int64Array, MapArray, RecordBatch, StringArray,
    types::{Int32Type, Int64Type},
};
use async_trait::async_trait;
use bytes::Bytes;
use decima_profile::ProfileType;
use object_store::{ObjectStore, path::Path};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::{
    ahead::Pages,
    columns::{self, SERIES_NUMBERS},
    file::BlockFile,
    locations::{LocationDecoder, LocationPart, Numbering},
    meta::{BlockMeta, LocationCounts},
    rows::Chosen,
    scan,
    write::SeenRequest,
};
use crate::{
    error::ReadError,
    read_cache::ReadCache,
    source::{
        self, AttributeTable, LOCATION_BYTES, NAME_COPIES, PartitionSize, Point, SampleRun, ScanRequest,
        Series, SeriesTable, Source, Symbols, TimeRange, Tree,
    },
};

/// Decoded parts of blocks, bounded by bytes.
pub(crate) type BlockCache = quick_cache::sync::Cache<(Arc<str>, Part), Cached, Weighter>;

/// Which part of a block is cached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Footer(&'static str),
    Series,
    /// Pages of the locations that several partitions use.
    SharedLocations,
    /// Locations of these partitions; `None` = of all.
    Symbols(Option<Arc<[u32]>>),
    /// Tree of a partition, with locations numbered so.
    Tree(u32, Numbering),
}

/// A cached part.
#[derive(Clone)]
pub(crate) enum Cached {
    Footer(ArrowReaderMetadata),
    Series(Arc<BlockSeries>),
    Pages(Arc<Pages>),
    Symbols(Arc<Symbols>),
    Tree(Arc<Tree>),
}

/// Weighs parts by the memory they hold, about.
#[derive(Clone)]
pub(crate) struct Weighter;

impl quick_cache::Weighter<(Arc<str>, Part), Cached> for Weighter {
    fn weight(&self, _key: &(Arc<str>, Part), value: &Cached) -> u64 {
        let bytes = match value {
            Cached::Footer(f) => f.metadata().memory_size(),
            Cached::Series(s) => 600 * s.table.series.len() + s.table.attributes.size_bytes(),
            Cached::Pages(p) => p.size_bytes(),
            Cached::Symbols(s) => crate::head::symbols::symbols_size_bytes(s),
            Cached::Tree(t) => 12 * t.parent.len() + 4 * t.leaf.len(),
        };
        bytes as u64 + 200
    }
}

/// Makes a cache of at most `bytes`.
pub(crate) fn cache(bytes: u64) -> BlockCache {
    // An entry weighs some 100 kB in practice; the estimate only sizes the table.
    let entries = (bytes / 100_000).clamp(64, 100_000) as usize;
    quick_cache::sync::Cache::with_weighter(entries, bytes, Weighter)
}

/// Rows of a series in the block's files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesRows {
    pub(crate) first_row: usize,
    pub(crate) row_count: usize,
    pub(crate) sum: i64,
    pub(crate) first_point: usize,
    pub(crate) point_count: usize,
    pub(crate) partition: u32,
}

/// Rows of a partition in the block's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PartitionRows {
    pub(crate) first_node: usize,
    pub(crate) node_count: usize,
    pub(crate) first_stacktrace: usize,
    pub(crate) stacktrace_count: usize,
    /// Locations that only this partition uses.
    pub(crate) first_location: usize,
    pub(crate) location_count: usize,
    pub(crate) first_location_row: usize,
    pub(crate) location_row_count: usize,
}

/// `series.parquet`, decoded.
#[derive(Debug, Default)]
pub(crate) struct BlockSeries {
    pub(crate) table: Arc<SeriesTable>,
    pub(crate) rows: Vec<SeriesRows>,
    pub(crate) partitions: Vec<PartitionRows>,
    pub(crate) partition_names: Vec<String>,
}

impl BlockSeries {
    /// The locations to read for partitions, ascending.
    pub(crate) fn locations(&self, counts: LocationCounts, partitions: &[u32]) -> LocationPart {
        let own: Vec<PartitionRows> = partitions.iter().map(|&p| self.partitions[p as usize]).collect();
        LocationPart::new(counts, &own)
    }
}

/// A block that can be queried.
#[derive(Clone)]
pub(crate) struct BlockReader {
    pub(crate) id: Arc<str>,
    pub(crate) meta: Arc<BlockMeta>,
    directory: Path,
    store: Arc<dyn ObjectStore>,
    read_cache: Option<Arc<ReadCache>>,
    pub(super) cache: Arc<BlockCache>,
}

impl BlockReader {
    pub(crate) fn new(
        meta: BlockMeta,
        directory: Path,
        store: Arc<dyn ObjectStore>,
        cache: Arc<BlockCache>,
    ) -> Self {
        Self { id: meta.id.as_str().into(), meta: Arc::new(meta), directory, store, read_cache: None, cache }
    }

    /// Reads by way of a cache on disk.
    pub(crate) fn through(self, read_cache: Option<Arc<ReadCache>>) -> Self {
        Self { read_cache, ..self }
    }

    /// The same block, read from somewhere else.
    pub(crate) fn over(&self, store: Arc<dyn ObjectStore>) -> Self {
        Self { store, ..self.clone() }
    }

    /// A file of the block.
    pub(crate) fn file(&self, name: &'static str) -> Result<BlockFile, ReadError> {
        let damaged = |reason: &str| ReadError::Corrupt {
            block: self.id.to_string(),
            file: columns::META.to_owned(),
            reason: format!("{reason} {name}"),
        };
        let meta = self.meta.files.get(name).ok_or_else(|| damaged("there is no entry for"))?;
        let parts = meta.parts().ok_or_else(|| damaged("the checksums do not fit the size of"))?;
        Ok(BlockFile {
            store: self.store.clone(),
            read_cache: self.read_cache.clone(),
            path: self.directory.clone().join(name),
            block: self.id.clone(),
            name,
            size_bytes: meta.size_bytes,
            parts: Arc::new(parts),
        })
    }

    /// Series with their row ranges.
    pub(crate) async fn block_series(&self) -> Result<Arc<BlockSeries>, ReadError> {
        let key = (self.id.clone(), Part::Series);
        if let Some(Cached::Series(series)) = self.cache.get(&key) {
            return Ok(series);
        }
        let mut out = BlockSeries::default();
        let mut table = SeriesTable::default();
        self.rows(columns::SERIES, None, &[], |batch| decode_series(batch, &mut table, &mut out)).await?;
        let size = |rows: &PartitionRows| PartitionSize {
            node_count: rows.node_count as u32,
            stacktrace_count: rows.stacktrace_count as u32,
            location_count: rows.location_count as u32,
        };
        table.partitions = out.partitions.iter().map(size).collect();
        let counts = self.meta.locations;
        table.location_count = counts.locations;
        table.shared_location_count = counts.shared_locations;
        let copies_bytes = (1 + NAME_COPIES).saturating_mul(counts.text_bytes);
        table.location_bytes = LOCATION_BYTES.saturating_mul(counts.locations).saturating_add(copies_bytes);
        let mut attributes = AttributeTable::default();
        let count = table.series.len();
        self.rows(columns::ATTRIBUTES, None, &[], |batch| decode_attributes(batch, count, &mut attributes))
            .await?;
        table.attributes = Arc::new(attributes);
        table.resolution_ns = self.meta.resolution_ns;
        out.table = Arc::new(table);
        let out = Arc::new(out);
        self.cache.insert(key, Cached::Series(out.clone()));
        Ok(out)
    }

    /// Reads locations, past the cache.
    pub(crate) async fn locations(&self, part: &LocationPart) -> Result<Symbols, ReadError> {
        let mut decoder = LocationDecoder::new(part);
        let chosen = self.chosen(columns::LOCATIONS, part.rows().as_deref(), &[]).await?;
        let held = match part.shared_rows() {
            Some(shared) => self.location_pages(&chosen, shared).await?,
            None => Pages::default(),
        };
        chosen.each(held, |batch| decoder.add(batch)).await?;
        decoder.finish().map_err(|reason| ReadError::Corrupt {
            block: self.id.to_string(),
            file: columns::LOCATIONS.to_owned(),
            reason,
        })
    }

    /// Pages of locations, of which those of the shared ones are kept: every query of a few partitions needs them.
    async fn location_pages(&self, chosen: &Chosen, shared: Range<usize>) -> Result<Pages, ReadError> {
        let key = (self.id.clone(), Part::SharedLocations);
        let known = match self.cache.get(&key) {
            Some(Cached::Pages(known)) => Some(known),
            _ => None,
        };
        let mut pages = known.as_deref().cloned().unwrap_or_default();
        let mut missing: Vec<Range<u64>> = chosen.pages().into_iter().flatten().collect();
        missing.retain(|range| pages.get(range).is_none());
        pages.extend(Pages::new(&missing, chosen.file.read(&missing).await?));
        if known.is_none() {
            let shared = self.chosen(columns::LOCATIONS, Some(&[shared]), &[]).await?;
            let ranges: Vec<Range<u64>> = shared.pages().into_iter().flatten().collect();
            // What is kept does not hold what was read with it.
            let copy = |range: &Range<u64>| Bytes::copy_from_slice(&pages.get(range).unwrap_or_default());
            let kept = Pages::new(&ranges, ranges.iter().map(copy).collect());
            self.cache.insert(key, Cached::Pages(Arc::new(kept)));
        }
        Ok(pages)
    }

    /// Reads the trees of partitions, ascending, with the numbers that locations have in the block.
    pub(crate) async fn whole_trees(
        &self,
        series: &BlockSeries,
        partitions: &[u32],
    ) -> Result<Vec<Arc<Tree>>, ReadError> {
        let all: Vec<usize> = (0..partitions.len()).collect();
        scan::trees(self, series, partitions, &all, &LocationPart::whole(self.meta.locations)).await
    }

    /// Hashes of the requests whose samples the block holds.
    pub(crate) async fn requests(&self) -> Result<Vec<SeenRequest>, ReadError> {
        let mut out = Vec::new();
        self.rows(columns::REQUESTS, None, &[], |batch| {
            let received = column::<Int64Array>(batch, "received_ns")?;
            let high = column::<Int64Array>(batch, "hash_high")?;
            let low = column::<Int64Array>(batch, "hash_low")?;
            for row in 0..batch.num_rows() {
                let hash = (u128::from(high.value(row) as u64) << 64) | u128::from(low.value(row) as u64);
                out.push(SeenRequest { hash, received_ns: received.value(row) });
            }
            Ok(())
        })
        .await?;
        Ok(out)
    }
}

/// A column by name and type.
pub(crate) fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A, String> {
    batch
        .column_by_name(name)
        .and_then(|c| c.as_any().downcast_ref::<A>())
        .ok_or_else(|| format!("there is no column {name} of the expected type"))
}

fn decode_attributes(
    batch: &RecordBatch,
    series_count: usize,
    table: &mut AttributeTable,
) -> Result<(), String> {
    let text = |name: &str| -> Result<(&Int32Array, &StringArray), String> {
        let array = column::<DictionaryArray<Int32Type>>(batch, name)?;
        let values = array.values().as_any().downcast_ref::<StringArray>();
        Ok((array.keys(), values.ok_or_else(|| format!("column {name} is not text"))?))
    };
    let (name_keys, names) = text("name")?;
    let (value_keys, values) = text("value")?;
    let series = ids(batch, "series")?;
    let (first, last) = (numbers(batch, "min_time_ns")?, numbers(batch, "max_time_ns")?);
    let truncated = column::<BooleanArray>(batch, "truncated")?;
    for row in 0..batch.num_rows() {
        let id = series[row] as u32;
        if id as usize >= series_count {
            return Err(format!("there is no series {id}"));
        }
        let attribute = table.entry(names.value(name_keys.value(row) as usize));
        let range = TimeRange { start_ns: first[row], end_ns: last[row] };
        if value_keys.is_null(row) {
            attribute.widen(id, range);
        } else {
            attribute.list(id, values.value(value_keys.value(row) as usize), range);
        }
        if truncated.value(row) {
            attribute.truncate(id);
        }
    }
    Ok(())
}

fn decode_series(batch: &RecordBatch, table: &mut SeriesTable, out: &mut BlockSeries) -> Result<(), String> {
    let texts = ["name", "sample_type", "sample_unit", "period_type", "period_unit"];
    let texts: Vec<&StringArray> =
        texts.iter().map(|name| column::<StringArray>(batch, name)).collect::<Result<_, _>>()?;
    let delta = column::<BooleanArray>(batch, "delta")?;
    let period = column::<Int64Array>(batch, "period")?;
    let partition_names = column::<StringArray>(batch, "partition")?;
    let duration = column::<Int64Array>(batch, "duration_ns")?;
    let labels = column::<MapArray>(batch, "labels")?;
    let (keys, values) = (labels.keys(), labels.values());
    let (Some(keys), Some(values)) =
        (keys.as_any().downcast_ref::<StringArray>(), values.as_any().downcast_ref::<StringArray>())
    else {
        return Err("the labels are not text".to_owned());
    };
    let numbers: Vec<&Int64Array> =
        SERIES_NUMBERS.iter().map(|name| column::<Int64Array>(batch, name)).collect::<Result<_, _>>()?;
    for row in 0..batch.num_rows() {
        let number = |at: usize| numbers[at].value(row);
        // Ids in the other files are 32-bit and signed, so no row number can be larger.
        let index = |at: usize| match i32::try_from(number(at)) {
            Ok(n) if n >= 0 => Ok(n as usize),
            _ => Err(format!("{} is {} in row {row}", SERIES_NUMBERS[at], number(at))),
        };
        let entries = labels.value_offsets()[row] as usize..labels.value_offsets()[row + 1] as usize;
        let partition = index(7)?;
        let rows = PartitionRows {
            first_node: index(8)?,
            node_count: index(9)?,
            first_stacktrace: index(10)?,
            stacktrace_count: index(11)?,
            first_location: index(12)?,
            location_count: index(13)?,
            first_location_row: index(14)?,
            location_row_count: index(15)?,
        };
        if partition == out.partitions.len() {
            out.partitions.push(rows);
            out.partition_names.push(partition_names.value(row).to_owned());
        } else if partition + 1 != out.partitions.len() {
            return Err(format!("partition_index is out of order in row {row}"));
        }
        table.series.push(Series {
            profile_type: Arc::new(ProfileType {
                name: texts[0].value(row).to_owned(),
                sample_type: texts[1].value(row).to_owned(),
                sample_unit: texts[2].value(row).to_owned(),
                period_type: texts[3].value(row).to_owned(),
                period_unit: texts[4].value(row).to_owned(),
                delta: delta.value(row),
            }),
            labels: entries.map(|e| (keys.value(e).to_owned(), values.value(e).to_owned())).collect(),
            period: period.value(row),
            duration_ns: duration.value(row),
            partition: partition as u32,
            range: TimeRange { start_ns: number(0), end_ns: number(1) },
            sample_count: number(3).max(0) as u64,
        });
        out.rows.push(SeriesRows {
            first_row: index(2)?,
            row_count: index(3)?,
            sum: number(4),
            first_point: index(5)?,
            point_count: index(6)?,
            partition: partition as u32,
        });
    }
    Ok(())
}

#[async_trait]
impl Source for BlockReader {
    fn name(&self) -> &str {
        &self.id
    }

    fn range(&self) -> TimeRange {
        self.meta.range()
    }

    async fn series(&self) -> Result<Arc<SeriesTable>, ReadError> {
        Ok(self.block_series().await?.table.clone())
    }

    async fn symbols(&self, partitions: &[u32]) -> Result<Arc<Symbols>, ReadError> {
        let part = self.block_series().await?.locations(self.meta.locations, partitions);
        let of = match &part {
            LocationPart::Whole { .. } => None,
            LocationPart::Part { .. } => Some(partitions.into()),
        };
        let key = (self.id.clone(), Part::Symbols(of));
        if let Some(Cached::Symbols(symbols)) = self.cache.get(&key) {
            return Ok(symbols);
        }
        let symbols = Arc::new(self.locations(&part).await?);
        self.cache.insert(key, Cached::Symbols(symbols.clone()));
        Ok(symbols)
    }

    async fn trees(&self, partitions: &[u32], wanted: Range<usize>) -> Result<Vec<Arc<Tree>>, ReadError> {
        let series = self.block_series().await?;
        let part = series.locations(self.meta.locations, partitions);
        let key = |at: usize| (self.id.clone(), Part::Tree(partitions[at], part.numbering(at)));
        let first = wanted.start;
        let mut trees: Vec<Option<Arc<Tree>>> = wanted
            .map(|at| match self.cache.get(&key(at)) {
                Some(Cached::Tree(tree)) => Some(tree),
                _ => None,
            })
            .collect();
        let missing: Vec<usize> =
            (first..).zip(&trees).filter_map(|(at, tree)| tree.is_none().then_some(at)).collect();
        if !missing.is_empty() {
            let read = scan::trees(self, &series, partitions, &missing, &part).await?;
            for (at, tree) in missing.into_iter().zip(read) {
                self.cache.insert(key(at), Cached::Tree(tree.clone()));
                trees[at - first] = Some(tree);
            }
        }
        Ok(trees.into_iter().flatten().collect())
    }

    async fn scan(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError> {
        self.scan_part(request, source::Part::WHOLE, sink).await
    }

    async fn scan_part(
        &self,
        request: &ScanRequest,
        part: source::Part,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError> {
        let series = self.block_series().await?;
        scan::samples(self, &series, request, part, sink).await
    }

    async fn points(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(u32, &'a [Point]) + Send),
    ) -> Result<(), ReadError> {
        let series = self.block_series().await?;
        scan::points(self, &series, request, sink).await
    }
}

/// Numbers of an Int64 column.
pub(crate) fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], String> {
    Ok(column::<arrow_array::PrimitiveArray<Int64Type>>(batch, name)?.values())
}

/// Numbers of an Int32 column.
pub(crate) fn ids<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i32], String> {
    Ok(column::<Int32Array>(batch, name)?.values())
}
