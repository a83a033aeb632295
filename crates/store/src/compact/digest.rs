//! What a compaction must conserve, as one number of fixed size: read from its inputs, then from the block it wrote.
//!
//! Every sample adds the hash of its content (series, stacktrace, time, duration, attributes), and that hash times its value, so
//! that equal digests mean equal rows and equal sums of each series, stacktrace and time, whatever their order and numbers. Sums of
//! points are added likewise. Stacktraces are hashed by fingerprints that are derived from the content of their locations.
//!
//! What becomes coarser conserves sums of each series, stacktrace and bucket: its digest has the bucket for the time, and neither
//! durations, attributes nor the number of rows.

use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{Progress, Stopped};
use crate::{
    block::read::{BlockReader, BlockSeries},
    error::ReadError,
    source::{
        AttributeRun, Mapping, NO_MAPPING, Point, SampleRun, ScanRequest, Series, Source, Symbols, TimeRange,
        Tree,
    },
    tiers,
};

/// The digest of the samples and points of blocks. Those of several blocks add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    sample_count: u64,
    samples: u128,
    values: u128,
    points: u128,
    point_counts: u128,
}

impl Digest {
    /// Of both.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            sample_count: self.sample_count.wrapping_add(other.sample_count),
            samples: self.samples.wrapping_add(other.samples),
            values: self.values.wrapping_add(other.values),
            points: self.points.wrapping_add(other.points),
            point_counts: self.point_counts.wrapping_add(other.point_counts),
        }
    }

    /// Reads a whole block, partition by partition. Of it counts what a block of this resolution has.
    pub(crate) async fn of(
        block: &BlockReader,
        resolution_ns: i64,
        progress: &Progress,
    ) -> Result<Self, DigestError> {
        let series = block.block_series().await?;
        let locations = {
            let whole = crate::block::locations::LocationPart::whole(block.meta.locations);
            location_fingerprints(&block.locations(&whole).await?)
        };
        let mut attributes: Vec<String> = Vec::new();
        if resolution_ns == 0 {
            attributes.clone_from(&block.meta.text_attributes);
            attributes.extend(block.meta.integer_attributes.keys().cloned());
            attributes.sort_unstable();
            attributes.dedup();
        }
        let scope = Scope { resolution_ns, attributes: &attributes };
        let mut digest = Self::default();
        for partition in 0..series.partitions.len() as u32 {
            progress.check()?;
            digest = digest.with(of_partition(block, &series, partition, &locations, scope).await?);
        }
        Ok(digest)
    }

    /// Adds sums by bucket.
    fn add_sums(&mut self, run: &SampleRun<'_>, resolution_ns: i64, series: u128, stacktraces: &[u128]) {
        for (row, &value) in run.values.iter().enumerate() {
            let stacktrace = stacktraces[run.stacktraces[row] as usize];
            let start_ns = tiers::bucket_start(run.times_ns.get(row), resolution_ns);
            let mut content = [0u8; 40];
            content[..16].copy_from_slice(&series.to_le_bytes());
            content[16..32].copy_from_slice(&stacktrace.to_le_bytes());
            content[32..].copy_from_slice(&start_ns.to_le_bytes());
            let hash = xxh3_128(&content);
            self.values = self.values.wrapping_add(hash.wrapping_mul(i128::from(value) as u128));
        }
    }

    fn add_run(&mut self, run: &SampleRun<'_>, names: &[u128], series: u128, stacktraces: &[u128]) {
        self.sample_count += run.values.len() as u64;
        for (row, &value) in run.values.iter().enumerate() {
            let stacktrace = stacktraces[run.stacktraces[row] as usize];
            let mut content = [0u8; 48];
            content[..16].copy_from_slice(&series.to_le_bytes());
            content[16..32].copy_from_slice(&stacktrace.to_le_bytes());
            content[32..40].copy_from_slice(&run.times_ns.get(row).to_le_bytes());
            content[40..].copy_from_slice(&run.durations_ns.get(row).to_le_bytes());
            let mut hash = xxh3_128(&content);
            for (name, attribute) in names.iter().zip(run.attributes) {
                hash ^= attribute.map_or(0, |attribute| attribute_hash(*name, &attribute, row));
            }
            self.samples = self.samples.wrapping_add(hash);
            self.values = self.values.wrapping_add(hash.wrapping_mul(i128::from(value) as u128));
        }
    }

    fn add_points(&mut self, resolution_ns: i64, series: u128, points: &[Point]) {
        for point in points {
            let start_ns = tiers::bucket_start(point.time_ns, resolution_ns);
            let bucket_ns = if resolution_ns == 0 { point.bucket_ns } else { resolution_ns };
            let mut content = [0u8; 32];
            content[..16].copy_from_slice(&series.to_le_bytes());
            content[16..24].copy_from_slice(&start_ns.to_le_bytes());
            content[24..].copy_from_slice(&bucket_ns.to_le_bytes());
            let hash = xxh3_128(&content);
            self.points = self.points.wrapping_add(hash.wrapping_mul(i128::from(point.sum) as u128));
            self.point_counts = self.point_counts.wrapping_add(hash.wrapping_mul(u128::from(point.count)));
        }
    }
}

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DigestError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What counts.
#[derive(Clone, Copy)]
struct Scope<'a> {
    resolution_ns: i64,
    attributes: &'a [String],
}

async fn of_partition(
    block: &BlockReader,
    series: &Arc<BlockSeries>,
    partition: u32,
    locations: &[u128],
    Scope { resolution_ns, attributes }: Scope<'_>,
) -> Result<Digest, ReadError> {
    let trees = block.whole_trees(series, &[partition]).await?;
    let stacktraces = trees.first().map_or_else(Vec::new, |tree| stacktrace_fingerprints(tree, locations));
    let of_partition: Vec<u32> = (0..)
        .zip(&series.table.series)
        .filter(|(_, series)| series.partition == partition)
        .map(|(id, _)| id)
        .collect();
    let request = ScanRequest {
        series: of_partition,
        range: TimeRange::ALL,
        attributes: attributes.to_vec(),
        with_times: true,
    };
    let names: Vec<u128> = attributes.iter().map(|name| xxh3_128(name.as_bytes())).collect();
    let hash = |id: u32| series_hash(&series.table.series[id as usize]);
    let mut digest = Digest::default();
    let mut known: Option<(u32, u128)> = None;
    block
        .scan(&request, &mut |run| {
            let series = match known {
                Some((id, hash)) if id == run.series => hash,
                _ => known.insert((run.series, hash(run.series))).1,
            };
            if resolution_ns == 0 {
                digest.add_run(&run, &names, series, &stacktraces);
            } else {
                digest.add_sums(&run, resolution_ns, series, &stacktraces);
            }
        })
        .await?;
    block.points(&request, &mut |id, points| digest.add_points(resolution_ns, hash(id), points)).await?;
    Ok(digest)
}

fn attribute_hash(name: u128, attribute: &AttributeRun<'_>, row: usize) -> u128 {
    let mut state = Xxh3::with_seed(name as u64);
    match attribute {
        AttributeRun::Text { ids, .. } if ids[row] == 0 => return 0,
        AttributeRun::Text { ids, dictionary } => {
            state.update(b"t");
            state.update(dictionary.get(ids[row]).as_bytes());
        }
        AttributeRun::Integer(values) => match values[row] {
            None => return 0,
            Some(value) => {
                state.update(b"i");
                state.update(&value.to_le_bytes());
            }
        },
    }
    state.digest128()
}

/// Hashes texts with their lengths, so that no two sequences are the same bytes.
fn add_text(state: &mut Xxh3, text: &str) {
    state.update(&(text.len() as u64).to_le_bytes());
    state.update(text.as_bytes());
}

fn series_hash(series: &Series) -> u128 {
    let mut state = Xxh3::new();
    let kind = &*series.profile_type;
    for text in [&kind.name, &kind.sample_type, &kind.sample_unit, &kind.period_type, &kind.period_unit] {
        add_text(&mut state, text);
    }
    state.update(&[u8::from(kind.delta)]);
    state.update(&series.period.to_le_bytes());
    state.update(&series.duration_ns.to_le_bytes());
    for (name, value) in series.labels.iter() {
        add_text(&mut state, name);
        add_text(&mut state, value);
    }
    state.digest128()
}

fn location_fingerprints(symbols: &Symbols) -> Vec<u128> {
    let text = |state: &mut Xxh3, id: u32| add_text(state, symbols.strings.get(id));
    let fingerprint = |location: u32| {
        let at = location as usize;
        let mut state = Xxh3::new();
        state.update(&symbols.location_address[at].to_le_bytes());
        text(&mut state, symbols.location_frame_type[at]);
        let mapping = symbols.location_mapping[at];
        if mapping != NO_MAPPING {
            let Mapping { start, limit, offset, file, build_id } = symbols.mappings[mapping as usize];
            for number in [start, limit, offset] {
                state.update(&number.to_le_bytes());
            }
            text(&mut state, file);
            text(&mut state, build_id);
        }
        for line in symbols.location_lines(location) {
            let function = symbols.functions[line.function as usize];
            for id in [function.name, function.system_name, function.filename] {
                text(&mut state, id);
            }
            for number in [function.start_line, line.line, line.column] {
                state.update(&number.to_le_bytes());
            }
        }
        state.digest128()
    };
    (0..symbols.location_count() as u32).map(fingerprint).collect()
}

/// The fingerprint of each stacktrace: of its locations, root first.
fn stacktrace_fingerprints(tree: &Tree, locations: &[u128]) -> Vec<u128> {
    let mut nodes = vec![0u128; tree.parent.len()];
    for node in 1..nodes.len() {
        let mut content = [0u8; 32];
        content[..16].copy_from_slice(&nodes[tree.parent[node] as usize].to_le_bytes());
        content[16..].copy_from_slice(&locations[tree.location[node] as usize].to_le_bytes());
        nodes[node] = xxh3_128(&content);
    }
    tree.leaf.iter().map(|&leaf| nodes[leaf as usize]).collect()
}

#[cfg(test)]
mod tests {
    use decima_profile::{
        ProfileType, SampleBatch,
        batch::{Attribute, AttributeValues, Function, Line, Location, NO_MAPPING, SeriesSamples},
    };
    use object_store::memory::InMemory;

    use super::*;
    use crate::{
        block::{encode::encode_head, read},
        head::Head,
        storage::{Storage, TENANT},
    };

    /// A sample: functions leaf first, time, value, attribute.
    type Row = (&'static [&'static str], i64, i64, &'static str);

    fn batch(service: &str, period: i64, rows: &[Row]) -> SampleBatch {
        let mut batch = SampleBatch { stacktrace_offsets: vec![0], ..SampleBatch::default() };
        let mut routes = Vec::new();
        for (stack, _, _, route) in rows {
            for name in *stack {
                let function = batch.functions.len() as u32;
                let name = batch.strings.push(name);
                batch.functions.push(Function { name, ..Function::default() });
                batch.lines.push(Line { function, line: 1, column: 0 });
                batch.locations.push(Location {
                    mapping: NO_MAPPING,
                    address: 0,
                    frame_type: 0,
                    first_line: function,
                    line_count: 1,
                });
                batch.stacktrace_locations.push(function);
            }
            batch.stacktrace_offsets.push(batch.stacktrace_locations.len() as u32);
            routes.push(if route.is_empty() { 0 } else { batch.strings.push(route) });
        }
        let name = batch.strings.push("route");
        batch.series.push(SeriesSamples {
            profile_type: ProfileType::parse("a:b:c:d:e:delta").unwrap(),
            labels: vec![("job".to_owned(), service.to_owned())],
            period,
            duration_ns: 7,
            times_ns: rows.iter().map(|row| row.1).collect(),
            stacktraces: (0..rows.len() as u32).collect(),
            values: rows.iter().map(|row| row.2).collect(),
            attributes: vec![Attribute { name, values: AttributeValues::Text(routes) }],
        });
        batch
    }

    async fn digest(batches: &[SampleBatch]) -> Digest {
        let mut head = Head::new(vec!["job".to_owned()].into());
        for batch in batches {
            let mut mark = head.mark();
            let chunks = head.intern(batch, &mut mark);
            head.apply(chunks);
        }
        let objects = Arc::new(InMemory::new());
        let storage = Storage { objects: objects.clone(), log: objects, read_cache: None };
        let block = encode_head("block".to_owned(), TENANT, &head.view, &[]).unwrap();
        let (_, meta) = storage.put_block(block, 0).await.unwrap();
        let cache = Arc::new(read::cache(1 << 20));
        let block = BlockReader::new(meta, Storage::block_path("block"), storage.objects.clone(), cache);
        Digest::of(&block, 0, &Progress::default()).await.unwrap()
    }

    const ROWS: [Row; 3] = [(&["a", "b"], 5, 3, "/x"), (&["b"], 6, -2, ""), (&["a", "b"], 6, 4, "/x")];

    #[tokio::test]
    async fn it_is_of_content_and_adds_up() {
        let (one, other) = (batch("s", 1, &ROWS), batch("t", 1, &ROWS));
        let whole = digest(&[one.clone(), other.clone(), one.clone()]).await;
        let parts = digest(std::slice::from_ref(&one)).await.with(digest(&[other, one]).await);
        assert_eq!(parts, whole);

        let of = async |rows: &[Row]| digest(&[batch("s", 1, rows)]).await;
        let expected = of(&ROWS).await;
        let changed: [(&str, [Row; 3]); 5] = [
            ("time", [(&["a", "b"], 5, 3, "/x"), (&["b"], 6, -2, ""), (&["a", "b"], 7, 4, "/x")]),
            ("stacktrace", [(&["a", "b"], 5, 3, "/x"), (&["b"], 6, -2, ""), (&["b", "a"], 6, 4, "/x")]),
            (
                "values that add up the same",
                [(&["a", "b"], 5, 4, "/x"), (&["b"], 6, -2, ""), (&["a", "b"], 6, 3, "/x")],
            ),
            ("attribute", [(&["a", "b"], 5, 3, "/x"), (&["b"], 6, -2, "/x"), (&["a", "b"], 6, 4, "")]),
            (
                "value of an attribute",
                [(&["a", "b"], 5, 3, "/y"), (&["b"], 6, -2, ""), (&["a", "b"], 6, 4, "/x")],
            ),
        ];
        for (what, rows) in changed {
            assert_ne!(of(&rows).await, expected, "{what}");
        }
        assert_ne!(of(&ROWS[..2]).await, expected);
        assert_ne!(digest(&[batch("t", 1, &ROWS)]).await, expected);
        assert_ne!(digest(&[batch("s", 2, &ROWS)]).await, expected);
    }
}
