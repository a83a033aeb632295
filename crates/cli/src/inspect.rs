//! `decima inspect`: what a store holds, and whether it is whole.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use anyhow::{Context, bail};
use bytesize::ByteSize;
use chrono::{DateTime, SecondsFormat};
use decima_config::Config;
use decima_store::{
    Place,
    inspect::{self, BlockInventory, Inventory, inspect},
    source::SeriesTable,
    tiers,
};

use crate::{
    args::{Inspect, Remote},
    client::Store,
};

/// Lists the store; an error if anything in it is not as it should be.
pub(crate) async fn run(flags: Inspect) -> anyhow::Result<()> {
    let (place, name) = place(&flags)?;
    let progress = if flags.progress { Some(Progress::ask(&flags.remote).await?) } else { None };
    let mut inventory = inspect(&place, flags.verify).await?;
    let files = decima_debuginfo::inspect(&*place.beside_blocks(), flags.verify).await?;
    inventory.unknown.extend(files.unknown);
    inventory.findings.extend(files.findings);
    let mut stdout = io::stdout().lock();
    stdout.write_all(listing(&inventory).as_bytes())?;
    if let Some(progress) = progress {
        stdout.write_all(progress.listing().as_bytes())?;
    }
    if flags.series {
        for (block, table) in inspect::series(&place).await? {
            match table {
                Ok(table) => stdout.write_all(series_listing(&block, &table).as_bytes())?,
                Err(error) => writeln!(stdout, "series of block {block}: {error}")?,
            }
        }
    }
    if files.files > 0 {
        writeln!(stdout, "{} object files, {}", files.files, shown(files.size_bytes))?;
    }
    for finding in &inventory.findings {
        writeln!(stdout, "FOUND {finding}")?;
    }
    if !inventory.findings.is_empty() {
        bail!("{} findings in {name}", inventory.findings.len());
    }
    if flags.verify {
        writeln!(stdout, "verified: every checksum and every sum is right")?;
    }
    Ok(())
}

/// The store to look at, and what it is called.
fn place(flags: &Inspect) -> anyhow::Result<(Place, String)> {
    if let Some(directory) = &flags.directory {
        return Ok((Place::shared_directory(directory)?, directory.display().to_string()));
    }
    let Some(path) = &flags.config_path else { bail!("a directory or --config-path is needed") };
    let Some(bucket) = Config::load(path)?.object_storage else {
        bail!("{} has no object_storage", path.display());
    };
    Ok((Place::shared_bucket(&bucket)?, bucket.to_string()))
}

/// How far a running store is with merging its blocks, as its metrics tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    backlog_blocks: u64,
    left_out_blocks: u64,
    samples: u64,
    planned_samples: u64,
}

impl Progress {
    async fn ask(remote: &Remote) -> anyhow::Result<Self> {
        let text = Store::connect(remote).await?.text("/metrics").await?;
        Self::of(&text).with_context(|| format!("{} has no metrics of a store", remote.address))
    }

    /// Reads it from metrics as text.
    fn of(metrics: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
            let (_, value) =
                lines.find(|(found, _)| found.strip_prefix("decima_compaction_") == Some(name))?;
            value.parse().ok()
        };
        Some(Self {
            backlog_blocks: value("backlog_blocks")?,
            left_out_blocks: value("left_out_blocks")?,
            samples: value("samples")?,
            planned_samples: value("planned_samples")?,
        })
    }

    fn listing(&self) -> String {
        let Self { backlog_blocks, left_out_blocks, samples, planned_samples } = self;
        let mut text = match planned_samples {
            0 => "the store merges no blocks now".to_owned(),
            _ => format!("the store merges blocks: {samples} of {planned_samples} samples are done"),
        };
        text += &format!(", {backlog_blocks} blocks are due for it");
        if *left_out_blocks > 0 {
            text += &format!(", {left_out_blocks} are left out since they could not be merged");
        }
        text + "\n"
    }
}

fn listing(inventory: &Inventory) -> String {
    let mut text = format!("manifest {}, {} blocks\n", inventory.manifest_version, inventory.blocks.len());
    if inventory.compaction_backlog_blocks > 0 {
        text += &format!(
            "{} blocks could be merged, as far as their times go\n",
            inventory.compaction_backlog_blocks
        );
    }
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for block in &inventory.blocks {
        text += &listed(block);
        for (file, bytes) in &block.file_bytes {
            *sizes.entry(file).or_default() += bytes;
        }
    }
    let samples: u64 = inventory.blocks.iter().map(|block| block.samples).sum();
    if samples > 0 {
        text += "sizes by kind of file:\n";
        for (file, bytes) in &sizes {
            text += &format!(
                "  {file:<20} {:>12}  {:.3} B/sample\n",
                shown(*bytes),
                *bytes as f64 / samples as f64
            );
        }
        let total: u64 = sizes.values().sum();
        text +=
            &format!("  {:<20} {:>12}  {:.3} B/sample\n", "all", shown(total), total as f64 / samples as f64);
    }
    text += &format!(
        "log from {}/{}: {} objects, {}{}\n",
        inventory.log_floor.epoch,
        inventory.log_floor.seq,
        inventory.log_objects,
        shown(inventory.log_bytes),
        inventory.log_samples.map(|samples| format!(", {samples} samples")).unwrap_or_default(),
    );
    for name in &inventory.unknown {
        text += &format!("nothing refers to {name}\n");
    }
    text
}

fn listed(block: &BlockInventory) -> String {
    let bytes: u64 = block.file_bytes.values().sum();
    format!(
        "block {} of level {}, {}\n  {} to {}\n  {} samples, {} series, {} partitions, {} stacktraces, {} nodes, {}\n",
        block.id,
        block.level,
        if block.resolution_ns == 0 {
            "samples as they came".to_owned()
        } else {
            format!("sums of {}", tiers::name(block.resolution_ns))
        },
        moment(block.min_time_ns),
        moment(block.max_time_ns),
        block.samples,
        block.series,
        block.partitions,
        block.stacktraces,
        block.nodes,
        shown(bytes),
    )
}

fn series_listing(block: &str, table: &SeriesTable) -> String {
    let mut text = format!("series of block {block}:\n");
    for series in &table.series {
        let labels: Vec<_> = series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        text += &format!(
            "  {}{{{}}} {} to {}, {} samples\n",
            series.profile_type,
            labels.join(","),
            moment(series.range.start_ns),
            moment(series.range.end_ns),
            series.sample_count,
        );
    }
    text
}

fn shown(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn moment(time_ns: i64) -> String {
    DateTime::from_timestamp_nanos(time_ns).to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings() {
        let block = BlockInventory {
            id: "01A".to_owned(),
            min_time_ns: 1_700_000_000_000_000_000,
            max_time_ns: 1_700_000_001_500_000_000,
            level: 1,
            resolution_ns: 0,
            samples: 1000,
            series: 2,
            partitions: 1,
            stacktraces: 30,
            nodes: 40,
            file_bytes: BTreeMap::from([
                ("samples.parquet".to_owned(), 2048),
                ("nodes.parquet".to_owned(), 500),
            ]),
        };
        let inventory = Inventory {
            manifest_version: 3,
            blocks: vec![block],
            log_bytes: 10,
            log_objects: 1,
            ..Inventory::default()
        };
        let text = listing(&inventory);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "manifest 3, 1 blocks");
        assert_eq!(lines[1], "block 01A of level 1, samples as they came");
        assert_eq!(lines[2], "  2023-11-14T22:13:20.000Z to 2023-11-14T22:13:21.500Z");
        assert_eq!(lines[3], "  1000 samples, 2 series, 1 partitions, 30 stacktraces, 40 nodes, 2.5 KiB");
        assert!(lines.iter().any(|line| line.contains("samples.parquet") && line.contains("2.048 B/sample")));
        assert_eq!(*lines.last().unwrap(), "log from 0/0: 1 objects, 10 B");
    }
    #[test]
    fn progress_is_what_the_metrics_say() {
        let check = |samples: u64, planned: u64, left_out: u64, expected: &str| {
            let metrics = format!(
                "# HELP decima_compaction_samples Samples\ndecima_compaction_backlog_blocks 7\n\
                 decima_compaction_left_out_blocks {left_out}\ndecima_compaction_samples {samples}\n\
                 decima_compaction_planned_samples {planned}\n"
            );
            assert_eq!(Progress::of(&metrics).unwrap().listing(), format!("{expected}\n"));
        };
        check(0, 0, 0, "the store merges no blocks now, 7 blocks are due for it");
        check(
            20,
            50,
            1,
            "the store merges blocks: 20 of 50 samples are done, 7 blocks are due for it, 1 are left out since they could not be merged",
        );
        assert_eq!(Progress::of("up 1\n"), None);
    }
}
