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

use super::{
    Progress, Stopped,
    fingerprints::{self, Walk},
};
use crate::{
    block::read::{BlockReader, BlockSeries},
    error::ReadError,
    source::{AttributeRun, Point, SampleRun, ScanRequest, Series, Source, TimeRange},
    tiers,
};

/// Stacktraces whose fingerprints are held whatever the memory: each part of them is a scan of the partition.
const STACKTRACES_MIN: usize = 65_536;

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

    /// Reads a whole block, partition by partition, holding fingerprints of about so many bytes. Of it counts what a block of this
    /// resolution has.
    pub(crate) async fn of(
        block: &BlockReader,
        resolution_ns: i64,
        memory_bytes: u64,
        progress: &Progress,
    ) -> Result<Self, DigestError> {
        let series = block.block_series().await?;
        let shared = fingerprints::of_locations(block, 0..block.meta.locations.shared_rows as usize).await?;
        let mut attributes: Vec<String> = Vec::new();
        if resolution_ns == 0 {
            attributes.clone_from(&block.meta.text_attributes);
            attributes.extend(block.meta.integer_attributes.keys().cloned());
            attributes.sort_unstable();
            attributes.dedup();
        }
        let scope = Scope { resolution_ns, attributes: &attributes };
        let stacktraces_max = (memory_bytes as usize / size_of::<u128>()).max(STACKTRACES_MIN);
        let mut digest = Self::default();
        for partition in 0..series.partitions.len() as u32 {
            let mut walk = Walk::of_partition(block, &series, partition, &shared).await?;
            let mut first = 0;
            // More stacktraces than can be held are gone through a part at a time.
            loop {
                progress.check()?;
                let fingerprints = walk.next(stacktraces_max).await?;
                let part = Stacktraces { first, fingerprints: &fingerprints };
                digest = digest.with(of_partition(block, &series, partition, part, scope).await?);
                first += fingerprints.len();
                if fingerprints.len() < stacktraces_max {
                    break;
                }
            }
        }
        Ok(digest)
    }

    /// Adds sums by bucket.
    fn add_sums(
        &mut self,
        run: &SampleRun<'_>,
        resolution_ns: i64,
        series: u128,
        stacktraces: Stacktraces<'_>,
    ) {
        for (row, &value) in run.values.iter().enumerate() {
            let Some(stacktrace) = stacktraces.get(run.stacktraces[row]) else { continue };
            let start_ns = tiers::bucket_start(run.times_ns.get(row), resolution_ns);
            let mut content = [0u8; 40];
            content[..16].copy_from_slice(&series.to_le_bytes());
            content[16..32].copy_from_slice(&stacktrace.to_le_bytes());
            content[32..].copy_from_slice(&start_ns.to_le_bytes());
            let hash = xxh3_128(&content);
            self.values = self.values.wrapping_add(hash.wrapping_mul(i128::from(value) as u128));
        }
    }

    fn add_run(&mut self, run: &SampleRun<'_>, names: &[u128], series: u128, stacktraces: Stacktraces<'_>) {
        for (row, &value) in run.values.iter().enumerate() {
            let Some(stacktrace) = stacktraces.get(run.stacktraces[row]) else { continue };
            self.sample_count += 1;
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

/// Fingerprints of stacktraces that follow each other in a partition.
#[derive(Clone, Copy)]
struct Stacktraces<'a> {
    first: usize,
    fingerprints: &'a [u128],
}

impl Stacktraces<'_> {
    fn get(&self, stacktrace: u32) -> Option<u128> {
        self.fingerprints.get((stacktrace as usize).checked_sub(self.first)?).copied()
    }
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
    stacktraces: Stacktraces<'_>,
    Scope { resolution_ns, attributes }: Scope<'_>,
) -> Result<Digest, ReadError> {
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
                digest.add_run(&run, &names, series, stacktraces);
            } else {
                digest.add_sums(&run, resolution_ns, series, stacktraces);
            }
        })
        .await?;
    if stacktraces.first == 0 {
        block.points(&request, &mut |id, points| digest.add_points(resolution_ns, hash(id), points)).await?;
    }
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
pub(super) fn add_text(state: &mut Xxh3, text: &str) {
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

#[cfg(test)]
mod tests {
    use decima_profile::SampleBatch;
    use decima_testkit::batch::{self, Row};
    use object_store::memory::InMemory;

    use super::*;
    use crate::{
        block::{encode::encode_head, read},
        head::Head,
        storage::{Storage, TENANT},
    };

    fn batch(service: &str, period: i64, rows: &[Row<'_>]) -> SampleBatch {
        let mut batch = batch::batch(service, rows);
        batch.series[0].period = period;
        batch
    }

    async fn digest(batches: &[SampleBatch]) -> Digest {
        let mut head = Head::new(vec!["job".to_owned()].into());
        for batch in batches {
            let mut mark = head.mark();
            let chunks = head.intern(&batch.clone().into(), &mut mark);
            head.apply(chunks);
        }
        let objects = Arc::new(InMemory::new());
        let storage = Storage { objects: objects.clone(), log: objects, read_cache: None };
        let block = encode_head("block".to_owned(), TENANT, &head.view, &[]).unwrap();
        let (_, meta) = storage.put_block(block, 0).await.unwrap();
        let cache = Arc::new(read::cache(1 << 20));
        let block = BlockReader::new(meta, Storage::block_path("block"), storage.objects.clone(), cache);
        Digest::of(&block, 0, 0, &Progress::default()).await.unwrap()
    }

    const ROWS: [Row<'static>; 3] =
        [(&["a", "b"], 5, 3, "/x"), (&["b"], 6, -2, ""), (&["a", "b"], 6, 4, "/x")];

    #[tokio::test]
    async fn it_is_of_content_and_adds_up() {
        let (one, other) = (batch("s", 1, &ROWS), batch("t", 1, &ROWS));
        let whole = digest(&[one.clone(), other.clone(), one.clone()]).await;
        let parts = digest(std::slice::from_ref(&one)).await.with(digest(&[other, one]).await);
        assert_eq!(parts, whole);

        let of = async |rows: &[Row<'_>]| digest(&[batch("s", 1, rows)]).await;
        let expected = of(&ROWS).await;
        let changed: [(&str, [Row<'_>; 3]); 5] = [
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
