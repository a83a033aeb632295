//! What a store holds, and whether it is whole: for `decima inspect`, beside a running store.
//!
//! Reads only, takes no lock, and changes nothing. What it cannot read is a finding and not an error.

use std::{collections::BTreeMap, sync::Arc};

use object_store::{ObjectStore, ObjectStoreExt};

use crate::{
    block::{
        columns,
        meta::{BLOCK_FORMAT, BlockMeta, FileMeta},
        read::{self, BlockReader},
    },
    clock::now_ns,
    compact::plan::{self, CompactionSettings},
    error::{OpenError, ReadError},
    head::{HeadView, ListedTexts},
    log::{
        codec::{self, LogPosition, ObjectKind},
        decode, replay,
    },
    manifest::BlockEntry,
    place::Place,
    source::{ScanRequest, SeriesTable, Source, TimeRange},
    storage::{self, Storage},
    tiers::Tiers,
};

/// Memory for decoded parts while inspecting.
const CACHE_BYTES: u64 = 64 << 20;

/// What a store holds.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Version of the manifest; 0 if there is none.
    pub manifest_version: u64,
    /// First log object that the blocks do not hold.
    pub log_floor: LogPosition,
    /// Blocks, oldest first.
    pub blocks: Vec<BlockInventory>,
    /// Blocks that are due to be merged now, if memory is no bound.
    pub compaction_backlog_blocks: u64,
    /// Log objects at and above the floor.
    pub log_objects: u64,
    /// Their size.
    pub log_bytes: u64,
    /// Samples in the log; `None` if it was not read.
    pub log_samples: Option<u64>,
    /// Names of objects that nothing refers to.
    pub unknown: Vec<String>,
    /// What is not as it should be, one line each.
    pub findings: Vec<String>,
}

/// One block.
#[derive(Debug, Clone, Default)]
pub struct BlockInventory {
    /// Name.
    pub id: String,
    /// Time of the first sample.
    pub min_time_ns: i64,
    /// Time of the last sample.
    pub max_time_ns: i64,
    /// How its samples were merged: 0 = the block of a head, 1 = within two hours, 2 = of a day.
    pub level: u8,
    /// 0: samples are as they came. Else they are sums over buckets of so many nanoseconds.
    pub resolution_ns: i64,
    /// Samples, or sums.
    pub samples: u64,
    /// Series.
    pub series: u64,
    /// Partitions.
    pub partitions: u64,
    /// Distinct stacktraces.
    pub stacktraces: u64,
    /// Nodes of the stacktrace trees.
    pub nodes: u64,
    /// Size by file name, `block.json` included.
    pub file_bytes: BTreeMap<String, u64>,
}

/// Lists a store; with `verify` also reads everything, checks all checksums and recomputes all sums.
pub async fn inspect(place: &Place, verify: bool) -> Result<Inventory, OpenError> {
    let storage = place.storage();
    let objects = storage.objects.clone();
    let manifest = storage.manifest().await?;
    let mut inventory = Inventory {
        manifest_version: manifest.version,
        log_floor: manifest.log_floor,
        compaction_backlog_blocks: plan::plans(
            &manifest,
            CompactionSettings { memory_bytes: u64::MAX, tiers: Tiers::default() },
            now_ns(),
        )
        .iter()
        .map(|plan| plan.inputs.len() as u64)
        .sum(),
        ..Inventory::default()
    };
    let cache = Arc::new(read::cache(CACHE_BYTES));
    for entry in &manifest.blocks {
        let mut findings = Vec::new();
        let block = match storage.block_meta(entry).await {
            Ok(meta) => {
                let path = Storage::block_path(&entry.id);
                let reader = BlockReader::new(meta, path, objects.clone(), cache.clone());
                if verify {
                    verify_block(&reader, &mut findings).await;
                }
                block_inventory(entry, &reader)
            }
            Err(e) => {
                findings.push(e.to_string());
                listed_only(entry)
            }
        };
        // It may have been merged meanwhile, and be gone.
        if findings.is_empty() || storage.manifest().await?.blocks.iter().any(|b| b.id == entry.id) {
            inventory.findings.extend(findings);
            inventory.blocks.push(block);
        }
    }
    if verify {
        inventory.findings.extend(storage.damaged_manifests().await?);
    }
    match storage.block_sizes().await {
        Ok(sizes) => {
            let is_listed = |id: &String| manifest.blocks.iter().any(|block| block.id == *id);
            let unlisted = sizes.into_keys().filter(|id| !is_listed(id));
            inventory.unknown.extend(unlisted.map(|id| Storage::block_path(&id).to_string()));
        }
        Err(e) => inventory.findings.push(e.to_string()),
    }
    inventory.unknown.extend(storage.unknown().await?);
    inventory.unknown.extend(place.hidden());
    inspect_log(&storage, manifest.log_floor, verify, &mut inventory).await?;
    Ok(inventory)
}

/// The series of each block, oldest block first, by its name; or why they cannot be read.
pub async fn series(place: &Place) -> Result<Vec<(String, Result<SeriesTable, ReadError>)>, OpenError> {
    let storage = place.storage();
    let cache = Arc::new(read::cache(CACHE_BYTES));
    let mut all = Vec::new();
    for entry in &storage.manifest().await?.blocks {
        let table = match storage.block_meta(entry).await {
            Ok(meta) => {
                let path = Storage::block_path(&entry.id);
                let block = BlockReader::new(meta, path, storage.objects.clone(), cache.clone());
                block.series().await.map(|table| (*table).clone())
            }
            Err(error) => Err(error),
        };
        // It may have been merged meanwhile, and be gone.
        if table.is_ok() || storage.manifest().await?.blocks.iter().any(|block| block.id == entry.id) {
            all.push((entry.id.clone(), table));
        }
    }
    Ok(all)
}

fn listed_only(entry: &BlockEntry) -> BlockInventory {
    BlockInventory {
        id: entry.id.clone(),
        min_time_ns: entry.min_time_ns,
        max_time_ns: entry.max_time_ns,
        level: entry.level,
        resolution_ns: entry.resolution_ns,
        samples: entry.samples,
        ..BlockInventory::default()
    }
}

fn block_inventory(entry: &BlockEntry, reader: &BlockReader) -> BlockInventory {
    let meta = &reader.meta;
    let mut file_bytes: BTreeMap<String, u64> =
        meta.files.iter().map(|(name, f)| (name.clone(), f.size_bytes)).collect();
    file_bytes.insert(columns::META.to_owned(), entry.size_bytes - meta.size_bytes());
    BlockInventory {
        series: meta.series,
        partitions: meta.partitions,
        stacktraces: meta.stacktraces,
        nodes: meta.nodes,
        file_bytes,
        ..listed_only(entry)
    }
}

/// Reads every byte and compares samples, points and the series' own sums.
async fn verify_block(block: &BlockReader, findings: &mut Vec<String>) {
    for name in columns::FILES {
        let whole = match block.file(name) {
            Ok(file) => file.read_all().await.map(|_| ()),
            Err(e) => Err(e),
        };
        if let Err(e) = whole {
            findings.push(e.to_string());
        }
    }
    if let Err(e) = verify_sums(block, findings).await {
        findings.push(e.to_string());
    }
}

async fn verify_sums(block: &BlockReader, findings: &mut Vec<String>) -> Result<(), ReadError> {
    let series = block.block_series().await?;
    let count = series.table.series.len();
    let request = ScanRequest {
        series: (0..count as u32).collect(),
        range: TimeRange::ALL,
        attributes: Vec::new(),
        with_times: true,
    };
    let (mut sums, mut rows, mut points) = (vec![0i128; count], vec![0u64; count], vec![0i128; count]);
    let mut point_rows = vec![0u64; count];
    let partitions: Vec<u32> = (0..series.partitions.len() as u32).collect();
    block.trees(&partitions, 0..partitions.len()).await?;
    block.symbols(&partitions).await?;
    for &partition in &partitions {
        block.trees(&[partition], 0..1).await?;
        block.symbols(&[partition]).await?;
    }
    block
        .scan(&request, &mut |run| {
            let at = run.series as usize;
            rows[at] += run.values.len() as u64;
            sums[at] += run.values.iter().map(|&value| i128::from(value)).sum::<i128>();
        })
        .await?;
    block
        .points(&request, &mut |id, all| {
            let at = id as usize;
            for point in all {
                points[at] += i128::from(point.sum);
                point_rows[at] += point.count;
            }
        })
        .await?;
    for (at, expected) in series.rows.iter().enumerate() {
        // Points of a coarse block count what its rows are sums of.
        let is_counted = block.meta.resolution_ns > 0 || point_rows[at] == expected.row_count as u64;
        let is_whole = columns::stored_sum(sums[at]) == expected.sum
            && points[at] == sums[at]
            && rows[at] == expected.row_count as u64
            && is_counted;
        if !is_whole {
            findings.push(format!(
                "block {}: series {at}: the sum is {} by series.parquet, {} by samples.parquet and {} by points.parquet; rows {}, {} and {}",
                block.id, expected.sum, sums[at], points[at], expected.row_count, rows[at], point_rows[at]
            ));
        }
    }
    let total: u64 = rows.iter().sum();
    if total != block.meta.samples {
        findings.push(format!("block {}: {total} samples, block.json says {}", block.id, block.meta.samples));
    }
    Ok(())
}

/// Reads the body of a log object that begins a log, decompressed, and returns the number of its samples.
pub fn check_log_body(raw: &[u8]) -> Result<u64, String> {
    let mut view = HeadView::default();
    let requests =
        decode::parse(raw).and_then(|delta| decode::apply(&mut view, delta)).map_err(|e| e.to_string())?;
    let mut samples = 0;
    let mut listed = ListedTexts::default();
    for chunk in requests.into_iter().flat_map(|r| r.chunks) {
        samples += chunk.values.len() as u64;
        view.summarize(&chunk, &mut listed);
        view.add_chunk(chunk);
    }
    Ok(samples)
}

/// Reads a log object that begins a log, as it is stored, and returns the number of its samples.
pub fn check_log_object(bytes: &[u8]) -> Result<u64, String> {
    let (_, raw) = codec::open(bytes).map_err(|e| e.to_string())?;
    if raw.is_empty() { Ok(0) } else { check_log_body(&raw) }
}

/// Reads all parts of a block from its files by name, in memory, and returns what is wrong with it, one line each.
pub async fn check_block(files: &BTreeMap<&'static str, Vec<u8>>) -> Vec<String> {
    let objects: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let directory = Storage::block_path("block");
    let mut findings = Vec::new();
    for (name, bytes) in files {
        if let Err(e) = objects.put(&directory.clone().join(*name), bytes.clone().into()).await {
            findings.push(e.to_string());
        }
    }
    let meta = BlockMeta {
        format: BLOCK_FORMAT,
        id: "block".to_owned(),
        min_time_ns: i64::MIN,
        max_time_ns: i64::MAX,
        files: files.iter().map(|(name, bytes)| ((*name).to_owned(), FileMeta::of(bytes, &[]))).collect(),
        ..BlockMeta::default()
    };
    let block = BlockReader::new(meta, directory, objects, Arc::new(read::cache(CACHE_BYTES)));
    findings.extend(block.requests().await.err().map(|e| e.to_string()));
    if let Err(e) = verify_sums(&block, &mut findings).await {
        findings.push(e.to_string());
    }
    findings
}

async fn inspect_log(
    storage: &Storage,
    floor: LogPosition,
    verify: bool,
    inventory: &mut Inventory,
) -> Result<(), OpenError> {
    let mut view = HeadView::default();
    let mut samples = 0;
    let positions = storage.log_positions().await?;
    let left_over = storage::left_over(&positions, floor).into_iter().map(Storage::log_path);
    inventory.unknown.extend(left_over.map(String::from));
    for position in positions.into_iter().filter(|position| *position >= floor) {
        let path = Storage::log_path(position);
        let bytes = match storage.get(&path).await {
            Ok(bytes) => bytes,
            Err(e) => {
                inventory.findings.push(format!("{path}: cannot be read: {e}"));
                continue;
            }
        };
        inventory.log_objects += 1;
        inventory.log_bytes += bytes.len() as u64;
        if !verify {
            continue;
        }
        let decoded = replay::open(&bytes).map_err(|e| e.to_string()).and_then(|(header, delta)| {
            if header.position != position {
                return Err("it is another position's object".to_owned());
            }
            if header.kind == ObjectKind::HeadStart {
                view = HeadView::default();
            }
            let requests = decode::apply(&mut view, delta).map_err(|e| e.to_string())?;
            Ok(requests.iter().flat_map(|r| &r.chunks).map(|c| c.values.len() as u64).sum::<u64>())
        });
        match decoded {
            Ok(count) => samples += count,
            Err(reason) => {
                inventory.findings.push(format!("{path}: {reason}"));
                // What follows builds on what could not be read.
                break;
            }
        }
    }
    inventory.log_samples = verify.then_some(samples);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by a fuzzer: a page that goes on beyond the end of its column, which parquet panics of.
    #[tokio::test]
    async fn pages_beyond_their_column_are_told() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus/block_file/page-beyond-column");
        let files = BTreeMap::from([("requests.parquet", std::fs::read(file).unwrap())]);
        let findings = check_block(&files).await;
        assert!(
            findings.iter().any(|finding| finding.contains("its pages do not hold together")),
            "{findings:?}"
        );
    }
}
