//! Several blocks become one: series by series in the order that all blocks have, so that each input is read once, from its first
//! row to its last, and nothing but the locations, the series and one partition's tree is held whole. Where the block is to be coarser
//! than its inputs, samples become sums on the way.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CompactError, Progress, Target,
    cursor::{self, Attributes, Cursor, SampleRows},
    pending::Pending,
    rollup::{self, Rollup},
    tree::TreeMerger,
};
use crate::{
    block::{
        locations::LocationPart,
        meta::{BlockMeta, FileMeta},
        read::{BlockReader, BlockSeries},
        upload::Upload,
        write::{BlockBuilder, SeenRequest},
    },
    head::{SeriesKey, symbols::SymbolIndex},
    source::{AttributeTable, Point, Series, Symbols},
    storage::{Storage, TENANT},
};

/// Samples gathered before they are sorted by stacktrace and written.
const PENDING_ROWS: usize = 65_536;

/// A block that is read from.
struct Input<'a> {
    block: &'a BlockReader,
    series: Arc<BlockSeries>,
    /// Merged location of each location.
    locations: Vec<u32>,
    samples: Cursor<SampleRows>,
    points: Cursor<Vec<Point>>,
    /// Place of each of its text and integer attributes among those of the merged block.
    texts: Vec<usize>,
    integers: Vec<usize>,
}

/// A series of an input in the partition that is being merged.
#[derive(Clone, Copy)]
struct Part {
    /// Place of the input.
    input: usize,
    /// Id there.
    series: u32,
}

/// Merges blocks into one, and puts its files but for the description.
pub(crate) async fn merge(
    blocks: &[BlockReader],
    target: &Target,
    requests: &[SeenRequest],
    storage: &Storage,
    progress: &Progress,
) -> Result<BlockMeta, CompactError> {
    let mut symbols = Symbols::default();
    let attributes = if target.resolution_ns > 0 { Attributes::Dropped } else { Attributes::Kept };
    let with_attributes = || blocks.iter().filter(|_| attributes == Attributes::Kept);
    let texts = names(with_attributes().flat_map(|b| b.meta.text_attributes.iter().cloned()));
    let mut integers: BTreeMap<String, String> = BTreeMap::new();
    for (name, unit) in with_attributes().flat_map(|b| &b.meta.integer_attributes) {
        integers.entry(name.clone()).or_insert_with(|| unit.clone());
    }
    let mut inputs = Vec::with_capacity(blocks.len());
    let mut index = SymbolIndex::default();
    for block in blocks {
        let own = block.locations(&LocationPart::whole(block.meta.locations)).await?;
        let place = |name: &String| texts.binary_search(name).unwrap_or_default();
        let place_integer = |name: &String| integers.keys().position(|n| n == name).unwrap_or_default();
        inputs.push(Input {
            block,
            series: block.block_series().await?,
            locations: index.map_symbols(&mut symbols, &own),
            samples: cursor::samples(block, attributes).await?,
            points: cursor::points(block).await?,
            texts: block.meta.text_attributes.iter().map(place).collect(),
            integers: block.meta.integer_attributes.keys().map(place_integer).collect(),
        });
    }
    drop(index);
    let partitions = partitions(&inputs);
    let shared = shared_locations(&inputs, &partitions, symbols.location_count());
    let mut merger = Merger {
        builder: BlockBuilder::new(&symbols, shared, texts, integers, target.resolution_ns)?,
        storage,
        target,
        attributes: AttributeTable::default(),
        series_count: 0,
        progress,
    };
    let mut uploads = Uploads::new();
    let merged = async {
        for (name, parts) in &partitions {
            merger.partition(name, parts, &mut inputs, &mut uploads).await?;
        }
        merger.finish(requests, &mut uploads).await
    };
    let merged = merged.await;
    if merged.is_err() {
        for (name, upload) in &mut uploads {
            if let Err(e) = upload.abort().await {
                tracing::warn!(block = target.id, file = name, error = %e, "an upload could not be ended");
            }
        }
    }
    merged
}

/// Files under way, by name.
type Uploads = BTreeMap<&'static str, Upload>;

fn names(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = all.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Partitions by name, each with the inputs that have it and its number there.
type Partitions = BTreeMap<String, Vec<(usize, u32)>>;

fn partitions(inputs: &[Input<'_>]) -> Partitions {
    let mut partitions = Partitions::new();
    for (at, input) in inputs.iter().enumerate() {
        for (partition, name) in (0..).zip(&input.series.partition_names) {
            partitions.entry(name.clone()).or_default().push((at, partition));
        }
    }
    partitions
}

/// Merged locations that several partitions use: in one input, or across them.
fn shared_locations(inputs: &[Input<'_>], partitions: &Partitions, location_count: usize) -> Vec<u32> {
    const NONE: u32 = u32::MAX;
    const SHARED: u32 = u32::MAX - 1;
    let mut user = vec![NONE; location_count];
    for input in inputs {
        let shared = input.block.meta.locations.shared_locations as usize;
        for &location in input.locations.iter().take(shared) {
            user[location as usize] = SHARED;
        }
    }
    for (number, parts) in (0..).zip(partitions.values()) {
        for &(input, partition) in parts {
            let rows = &inputs[input].series.partitions[partition as usize];
            let own = inputs[input].locations.iter().skip(rows.first_location).take(rows.location_count);
            for &location in own {
                let user = &mut user[location as usize];
                *user = if *user == NONE || *user == number { number } else { SHARED };
            }
        }
    }
    (0..).zip(user).filter(|(_, user)| *user == SHARED).map(|(location, _)| location).collect()
}

struct Merger<'a> {
    builder: BlockBuilder<'a>,
    storage: &'a Storage,
    target: &'a Target,
    attributes: AttributeTable,
    series_count: u32,
    progress: &'a Progress,
}

impl Merger<'_> {
    async fn partition(
        &mut self,
        name: &str,
        parts: &[(usize, u32)],
        inputs: &mut [Input<'_>],
        uploads: &mut Uploads,
    ) -> Result<(), CompactError> {
        self.progress.check()?;
        let mut trees = TreeMerger::new();
        // By input: the first stacktrace of the partition there, and the merged number of each.
        let mut stacktraces: BTreeMap<usize, (u32, Vec<u32>)> = BTreeMap::new();
        let mut series: BTreeMap<SeriesKey, Vec<Part>> = BTreeMap::new();
        for &(at, partition) in parts {
            let input = &inputs[at];
            let read = input.block.whole_trees(&input.series, &[partition]).await?;
            let first = input.series.partitions[partition as usize].first_stacktrace as u32;
            let merged = read.first().map_or_else(Vec::new, |tree| trees.add(tree, &input.locations));
            stacktraces.insert(at, (first, merged));
            let own = (0..).zip(&input.series.table.series).filter(|(_, s)| s.partition == partition);
            for (id, row) in own {
                series.entry(key(row)).or_default().push(Part { input: at, series: id });
            }
        }
        let ids = self.builder.begin_partition(name, &trees.finish())?;
        for (_, merged) in stacktraces.values_mut() {
            merged.iter_mut().for_each(|stacktrace| *stacktrace = ids[*stacktrace as usize]);
        }
        for (key, parts) in series {
            self.samples(&parts, inputs, &stacktraces, uploads).await?;
            let points = points(&parts, inputs).await?;
            let points = rollup::points(points, self.target.resolution_ns);
            self.builder.write_points(&points)?;
            self.add_attributes(&parts, inputs);
            let ranges =
                parts.iter().map(|part| inputs[part.input].series.table.series[part.series as usize].range);
            if let Some(range) = ranges.reduce(|a, b| a.with(b)) {
                self.builder.end_series(key, range);
            }
            self.series_count += 1;
        }
        self.builder.end_partition();
        self.put_encoded(uploads).await
    }

    /// Writes a series' samples in order of time.
    async fn samples(
        &mut self,
        parts: &[Part],
        inputs: &mut [Input<'_>],
        stacktraces: &BTreeMap<usize, (u32, Vec<u32>)>,
        uploads: &mut Uploads,
    ) -> Result<(), CompactError> {
        let mut left: Vec<(usize, usize)> = Vec::with_capacity(parts.len());
        for part in parts {
            let input = &inputs[part.input];
            let rows = input.series.rows[part.series as usize];
            input.samples.expect(rows.first_row)?;
            left.push((part.input, rows.row_count));
        }
        let mut pending = Pending::new(&self.builder);
        let mut rollup = (self.target.resolution_ns > 0).then(|| Rollup::new(self.target.resolution_ns));
        loop {
            left.retain(|(_, rows)| *rows > 0);
            // The earliest input, and up to when it is the earliest.
            let mut earliest: Option<(i64, usize)> = None;
            let mut until_ns = i64::MAX;
            for (at, &(input, _)) in left.iter().enumerate() {
                let samples = &mut inputs[input].samples;
                samples.fill().await?;
                let time_ns = samples.rows.times_ns[samples.at];
                match earliest {
                    Some((first_ns, _)) if time_ns >= first_ns => until_ns = until_ns.min(time_ns),
                    Some((first_ns, _)) => {
                        until_ns = first_ns;
                        earliest = Some((time_ns, at));
                    }
                    None => earliest = Some((time_ns, at)),
                }
            }
            let Some((_, at)) = earliest else { break };
            let (input, rows) = &mut left[at];
            let Some((first, ids)) = stacktraces.get(input) else { break };
            let input = &mut inputs[*input];
            let samples = &mut input.samples;
            let next = samples.at..samples.rows.times_ns.len().min(samples.at + *rows);
            let taken = samples.rows.times_ns[next.clone()].partition_point(|&t| t <= until_ns).max(1);
            let next = next.start..next.start + taken;
            let stacktrace = |s: u32| ids.get(s.wrapping_sub(*first) as usize).copied();
            let is_known = match &mut rollup {
                Some(rollup) => rollup.add(&samples.rows, next.clone(), stacktrace, &mut pending),
                None => pending.add(&samples.rows, next.clone(), stacktrace, &input.texts, &input.integers),
            };
            if !is_known {
                return Err(CompactError::Misfit {
                    block: input.block.id.to_string(),
                    reason: "a stacktrace is not in its partition",
                });
            }
            samples.at = next.end;
            *rows -= taken;
            self.progress.advance(taken);
            if pending.len() >= PENDING_ROWS {
                self.write(&mut pending, uploads).await?;
            }
        }
        if let Some(rollup) = rollup {
            rollup.end(&mut pending);
        }
        self.write(&mut pending, uploads).await
    }

    async fn write(&mut self, pending: &mut Pending, uploads: &mut Uploads) -> Result<(), CompactError> {
        self.progress.check()?;
        let empty = Pending::new(&self.builder);
        self.builder.write_samples(std::mem::replace(pending, empty).sorted())?;
        self.put_encoded(uploads).await
    }

    /// Hands what is encoded of the large files to their uploads.
    async fn put_encoded(&mut self, uploads: &mut Uploads) -> Result<(), CompactError> {
        for (name, table) in self.builder.tables() {
            let bytes = table.take_encoded();
            if bytes.is_empty() {
                continue;
            }
            let path = Storage::block_path(&self.target.id).join(name);
            let upload = uploads.entry(name).or_insert_with(|| Upload::new(path));
            upload.add(&*self.storage.objects, bytes).await?;
        }
        Ok(())
    }

    fn add_attributes(&mut self, parts: &[Part], inputs: &[Input<'_>]) {
        let id = self.series_count;
        let mut truncated: Vec<&str> = Vec::new();
        for part in parts {
            for (name, attribute) in inputs[part.input].series.table.attributes.iter() {
                let Some(of) = attribute.of_series(part.series) else { continue };
                let merged = self.attributes.entry(name);
                merged.widen(id, of.range);
                if self.target.resolution_ns > 0 {
                    truncated.push(name);
                    continue;
                }
                for (&value, &range) in &of.values {
                    merged.add(id, attribute.text(value), range);
                }
                if of.truncated {
                    truncated.push(name);
                }
            }
        }
        for name in truncated {
            self.attributes.entry(name).truncate(id);
        }
    }

    async fn finish(
        self,
        requests: &[SeenRequest],
        uploads: &mut Uploads,
    ) -> Result<BlockMeta, CompactError> {
        let Self { builder, storage, target, attributes, series_count, .. } = self;
        let ids: Vec<u32> = (0..series_count).collect();
        let encoded = builder.finish(target.id.clone(), TENANT, &attributes, &ids, requests)?;
        let mut meta = encoded.meta;
        for (name, bytes) in encoded.files {
            let path = Storage::block_path(&target.id).join(name);
            let upload = uploads.entry(name).or_insert_with(|| Upload::new(path));
            upload.add(&*storage.objects, bytes).await?;
            let file: FileMeta = upload.finish(&*storage.objects).await?;
            meta.files.insert(name.to_owned(), file);
        }
        Ok(meta)
    }
}

fn key(series: &Series) -> SeriesKey {
    SeriesKey {
        profile_type: series.profile_type.clone(),
        labels: series.labels.clone(),
        period: series.period,
        duration_ns: series.duration_ns,
    }
}

/// A series' points, sorted, one a time and width unless their sum does not fit.
async fn points(parts: &[Part], inputs: &mut [Input<'_>]) -> Result<Vec<Point>, CompactError> {
    let mut all: Vec<Point> = Vec::new();
    for part in parts {
        let input = &mut inputs[part.input];
        let rows = input.series.rows[part.series as usize];
        input.points.expect(rows.first_point)?;
        let mut left = rows.point_count;
        while left > 0 {
            input.points.fill().await?;
            let from = input.points.at;
            let to = input.points.rows.len().min(from + left);
            all.extend_from_slice(&input.points.rows[from..to]);
            input.points.at = to;
            left -= to - from;
        }
    }
    all.sort_by_key(|p| (p.time_ns, p.bucket_ns));
    all.dedup_by(|next, last| {
        let is_same = (next.time_ns, next.bucket_ns) == (last.time_ns, last.bucket_ns);
        match last.sum.checked_add(next.sum).filter(|_| is_same) {
            Some(sum) => {
                last.sum = sum;
                last.count += next.count;
                last.duration_ns = last.duration_ns.min(next.duration_ns);
                // Points of one time are parts of one state, sums of a bucket are sums of different ones.
                last.instants =
                    if last.bucket_ns == 0 { 1 } else { last.instants.saturating_add(next.instants) };
                true
            }
            None => false,
        }
    });
    Ok(all)
}
