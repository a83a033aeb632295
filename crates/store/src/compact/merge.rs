//! Several blocks become one: series by series in the order that all blocks have, so that each input is read once, from its first
//! row to its last, and nothing but the series is held whole. Locations and the trees of one partition are where there is memory for that; where there is
//! not, they [follow each other](stacktraces) as they are read. Where the block is to be coarser than its inputs, samples become sums on the way.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    CompactError, Progress, Target,
    cursor::{self, Attributes, Cursor, SampleRows},
    locations::{self, Locations, Shared},
    pending::Pending,
    rollup::{self, Rollup},
    stacktraces::{self, StacktraceIds},
};
use crate::{
    block::{
        meta::{BlockMeta, FileMeta},
        read::{BlockReader, BlockSeries},
        upload::Upload,
        write::{BlockBuilder, SeenRequest},
    },
    head::SeriesKey,
    source::{AttributeTable, Point, Series},
    storage::{Storage, TENANT},
};

/// Samples gathered before they are sorted by stacktrace and written.
const PENDING_ROWS: usize = 65_536;

/// A block that is read from.
pub(super) struct Input<'a> {
    pub(super) block: &'a BlockReader,
    pub(super) series: Arc<BlockSeries>,
    samples: Cursor<'a, SampleRows>,
    points: Cursor<'a, Vec<Point>>,
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

/// Merges blocks into one in so much memory beside what each of them takes, and puts its files but for the description.
pub(super) async fn merge(
    blocks: &[BlockReader],
    target: &Target,
    room_bytes: u64,
    requests: &[SeenRequest],
    storage: &Storage,
    progress: &Progress,
) -> Result<BlockMeta, CompactError> {
    let attributes = if target.resolution_ns > 0 { Attributes::Dropped } else { Attributes::Kept };
    let with_attributes = || blocks.iter().filter(|_| attributes == Attributes::Kept);
    let texts = names(with_attributes().flat_map(|b| b.meta.text_attributes.iter().cloned()));
    let mut integers: BTreeMap<String, String> = BTreeMap::new();
    for (name, unit) in with_attributes().flat_map(|b| &b.meta.integer_attributes) {
        integers.entry(name.clone()).or_insert_with(|| unit.clone());
    }
    let mut inputs = Vec::with_capacity(blocks.len());
    for block in blocks {
        let place = |name: &String| texts.binary_search(name).unwrap_or_default();
        let place_integer = |name: &String| integers.keys().position(|n| n == name).unwrap_or_default();
        inputs.push(Input {
            block,
            series: block.block_series().await?,
            samples: cursor::samples(block, attributes).await?,
            points: cursor::points(block).await?,
            texts: block.meta.text_attributes.iter().map(place).collect(),
            integers: block.meta.integer_attributes.keys().map(place_integer).collect(),
        });
    }
    let mut merger = Merger {
        builder: BlockBuilder::new(texts, integers, target.resolution_ns)?,
        storage,
        target,
        room_bytes,
        attributes: AttributeTable::default(),
        series_count: 0,
        progress,
    };
    let mut uploads = Uploads::new();
    let merged = async {
        let partitions = partitions(&inputs);
        let mut locations = merger.locations(&partitions, &inputs, &mut uploads).await?;
        for (name, parts) in &partitions {
            merger.partition(name, parts, &mut inputs, &mut locations, &mut uploads).await?;
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
pub(super) type Uploads = BTreeMap<&'static str, Upload>;

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

/// A block in the making.
pub(super) struct Merger<'a> {
    pub(super) builder: BlockBuilder,
    storage: &'a Storage,
    target: &'a Target,
    /// Memory for locations and trees, a half each.
    room_bytes: u64,
    attributes: AttributeTable,
    series_count: u32,
    progress: &'a Progress,
}

impl Merger<'_> {
    /// Writes the locations that several partitions use.
    async fn locations(
        &mut self,
        partitions: &Partitions,
        inputs: &[Input<'_>],
        uploads: &mut Uploads,
    ) -> Result<Locations, CompactError> {
        let half_bytes = self.room_bytes / 2;
        let parts = || partitions.values().map(Vec::as_slice);
        if locations::fit(inputs, half_bytes) && parts().all(|of| stacktraces::fit(of, inputs, half_bytes)) {
            return locations::whole(inputs, parts(), &mut self.builder).await;
        }
        if locations::shared_fit(inputs, half_bytes) {
            return locations::shared(inputs, &mut self.builder).await;
        }
        let mut of_inputs = Vec::with_capacity(inputs.len());
        for input in inputs {
            let shift = self.builder.location_count();
            let rows = 0..input.block.meta.locations.shared_rows as usize;
            self.copy_locations(input.block, rows, shift as i64, uploads).await?;
            of_inputs.push(Shared::Shifted(shift as u32));
        }
        self.builder.end_shared_locations()?;
        Ok(Locations::Parts { of_inputs, count: self.builder.location_count() as u32 })
    }

    /// Copies rows of locations, whose ids become larger by so much.
    pub(super) async fn copy_locations(
        &mut self,
        block: &BlockReader,
        rows: Range<usize>,
        shift: i64,
        uploads: &mut Uploads,
    ) -> Result<(), CompactError> {
        let mut rows = cursor::locations(block, rows)?;
        while rows.fill_if_any().await? {
            if let Some(batch) = &rows.rows.0 {
                self.builder.copy_locations(batch, shift)?;
                rows.at = batch.num_rows();
            }
            self.put_encoded(uploads).await?;
        }
        Ok(())
    }

    async fn partition(
        &mut self,
        name: &str,
        parts: &[(usize, u32)],
        inputs: &mut [Input<'_>],
        locations: &mut Locations,
        uploads: &mut Uploads,
    ) -> Result<(), CompactError> {
        self.progress.check()?;
        let fit = stacktraces::fit(parts, inputs, self.room_bytes / 2);
        let numbers = match locations {
            Locations::Parts { of_inputs, .. } if !fit => {
                stacktraces::following(name, parts, inputs, of_inputs, self, uploads).await?
            }
            _ => stacktraces::merged(name, parts, inputs, locations, self).await?,
        };
        let ids: BTreeMap<usize, StacktraceIds> = parts.iter().map(|&(at, _)| at).zip(numbers).collect();
        let mut series: BTreeMap<SeriesKey, Vec<Part>> = BTreeMap::new();
        for &(at, partition) in parts {
            // Series are in the order of their partitions.
            let table = &inputs[at].series.table.series;
            let first = table.partition_point(|series| series.partition < partition);
            let own = table[first..].iter().take_while(|series| series.partition == partition);
            for (id, row) in (first as u32..).zip(own) {
                series.entry(key(row)).or_default().push(Part { input: at, series: id });
            }
        }
        let mut profile_type = None;
        for (key, parts) in &series {
            if profile_type != Some(&key.profile_type) {
                profile_type = Some(&key.profile_type);
                let same = series.iter().filter(|(other, _)| other.profile_type == key.profile_type);
                self.begin_profile_type(same.flat_map(|(_, parts)| parts), inputs)?;
            }
            self.samples(parts, inputs, &ids, uploads).await?;
            let points = points(parts, inputs).await?;
            let points = rollup::points(points, self.target.resolution_ns);
            self.builder.write_points(&points)?;
            self.add_attributes(parts, inputs);
            let ranges =
                parts.iter().map(|part| inputs[part.input].series.table.series[part.series as usize].range);
            if let Some(range) = ranges.reduce(|a, b| a.with(b)) {
                self.builder.end_series(key.clone(), range);
            }
            self.series_count += 1;
        }
        self.builder.end_partition();
        self.put_encoded(uploads).await
    }

    /// Begins the series of a profile type, which have these parts.
    fn begin_profile_type<'p>(
        &mut self,
        parts: impl Iterator<Item = &'p Part>,
        inputs: &[Input<'_>],
    ) -> Result<(), CompactError> {
        let counts = parts.fold((0, 0), |(samples, points), part| {
            let rows = inputs[part.input].series.rows[part.series as usize];
            (samples + rows.row_count as u64, points + rows.point_count as u64)
        });
        // How many of them are left by bucket is not known before.
        let (samples, points) = if self.target.resolution_ns > 0 { (0, 0) } else { counts };
        Ok(self.builder.begin_profile_type(samples, points)?)
    }

    /// Writes a series' samples in order of time.
    async fn samples(
        &mut self,
        parts: &[Part],
        inputs: &mut [Input<'_>],
        stacktraces: &BTreeMap<usize, StacktraceIds>,
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
            let Some(ids) = stacktraces.get(input) else { break };
            let input = &mut inputs[*input];
            let samples = &mut input.samples;
            let next = samples.at..samples.rows.times_ns.len().min(samples.at + *rows);
            let taken = samples.rows.times_ns[next.clone()].partition_point(|&t| t <= until_ns).max(1);
            let next = next.start..next.start + taken;
            let stacktrace = |s: u32| ids.get(s);
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
    pub(super) async fn put_encoded(&mut self, uploads: &mut Uploads) -> Result<(), CompactError> {
        for (name, table) in self.builder.tables() {
            let encoded = table.take_encoded();
            if encoded.bytes.is_empty() && encoded.group_ends.is_empty() {
                continue;
            }
            let path = Storage::block_path(&self.target.id).join(name);
            let upload = uploads.entry(name).or_insert_with(|| Upload::new(path));
            upload.add(&*self.storage.objects, encoded).await?;
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
        for (name, file) in encoded.files {
            let path = Storage::block_path(&target.id).join(name);
            let upload = uploads.entry(name).or_insert_with(|| Upload::new(path));
            upload.add(&*storage.objects, file).await?;
            let described: FileMeta = upload.finish(&*storage.objects).await?;
            meta.files.insert(name.to_owned(), described);
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
