//! Which blocks become one, or coarser. Pure: a decision from the manifest, settings and a time.
//!
//! Two levels: blocks of heads become one of two hours, those one of a day; windows begin at multiples of their width since 1970. A window
//! is due once it is over and heads that could have samples of it are flushed. A busy store flushes many times before that: blocks of a
//! window of two hours that is not over are merged as soon as there are a few. What is merged within a level is
//! [balanced](is_balanced), so that a sample comes into a block of twice the size each time it is rewritten: there are a few blocks
//! at any time, however many flushes there were, and late ones do not have their whole window written again, nor a day that was merged
//! already. A store that is [quiet](Quiet) merges what its open window has, be it two blocks: queries are fastest over one block, and what
//! others repeat is there once. Blocks that are wider than a day, as uploads of old files make them, become
//! one with others that are and end on the same day.
//! A block whose samples are all past the age of its [tier](crate::tiers) becomes a coarser one, with the others of its day that are: once more
//! for each of two tiers. Blocks of different resolutions are never merged otherwise.

use crate::{
    manifest::{BlockEntry, Manifest},
    tiers::Tiers,
};

/// Width of the windows of each level.
const WINDOWS_NS: [i64; 2] = [2 * HOUR_NS, 24 * HOUR_NS];
const HOUR_NS: i64 = 3_600_000_000_000;
/// How long after its end a window is due: a head is flushed after ten minutes at the latest, unless the disk is full.
const SETTLE_NS: i64 = 15 * 60 * 1_000_000_000;
/// Blocks merged at once at most: each has files open and pages in memory.
const INPUTS_MAX: usize = 64;
/// Blocks that are merged before their window is over, at least.
const EARLY_INPUTS_MIN: usize = 4;

/// How long no head was flushed in a calm store: at least this, and this much for each sample that is merged, three times what that takes.
const CALM_NS_MIN: i64 = 5_000_000_000;
const CALM_NS_PER_SAMPLE: u64 = 1_000;
/// How long nothing came in an idle store, and how many times as long as a calm one it waits after a compaction: so merging takes a tenth of a
/// processor at most where senders come in bursts.
const IDLE_NS: i64 = 2_000_000_000;
const IDLE_WAITS: i64 = 3;

/// What a compaction holds whatever its inputs: row groups and upload parts of the files it writes.
const BASE_BYTES: u64 = 64 << 20;
/// What it holds for each node of the trees that it merges: the merged tree with its index, one input's tree, and both in preorder.
pub(super) const NODE_BYTES: u64 = 68;
/// What it holds for each location of an input that it merges: merged rows, their index, short texts, and the row that is written.
const LOCATION_BYTES: u64 = 320;
/// How often it holds what texts have beyond that: as an input's, as merged, and in the row group that is written.
const TEXT_COPIES: u64 = 3;
/// What it holds for each series of an input: the input's row and the merged one, with short labels.
const SERIES_BYTES: u64 = 1_200;
/// Compressed pages of an input, at most.
const FETCHED_BYTES: u64 = 8 << 20;
/// Decoded rows of an input.
const INPUT_BYTES: u64 = 2 << 20;
/// Footers of an input, decoded: some hundred bytes for each column of some hundred row groups. They are looked at for each partition.
pub(super) const FOOTERS_BYTES: u64 = 2 << 20;
/// Numbers of rows are 32-bit and signed in the files.
const SAMPLES_MAX: u64 = i32::MAX as u64;

/// What decides beside the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompactionSettings {
    /// Memory that one compaction may take.
    pub(crate) memory_bytes: u64,
    /// Ages from which on blocks are coarser.
    pub(crate) tiers: Tiers,
}

/// Blocks that become one, in the order of the manifest; a single one if it becomes coarser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Level of the block that they become.
    pub(crate) level: u8,
    /// Its resolution.
    pub(crate) resolution_ns: i64,
    /// Their names.
    pub(crate) inputs: Vec<String>,
}

/// The compactions that are due at a time, those of recent data and of low levels first, then those of a coarser tier.
pub(crate) fn plans(manifest: &Manifest, settings: CompactionSettings, now_ns: i64) -> Vec<Plan> {
    let mut plans = merges(manifest, settings, now_ns);
    plans.extend(rollups(manifest, settings, now_ns));
    plans
}

/// The resolution that a block is to have, if it is coarser than the one it has.
fn coarser_ns(block: &BlockEntry, tiers: Tiers, now_ns: i64) -> Option<i64> {
    let due_ns = tiers.resolution_ns(block.max_time_ns, now_ns);
    (due_ns > block.resolution_ns).then_some(due_ns)
}

fn rollups(manifest: &Manifest, settings: CompactionSettings, now_ns: i64) -> Vec<Plan> {
    let day = |block: &BlockEntry| block.max_time_ns.div_euclid(24 * HOUR_NS);
    let due = manifest.blocks.iter();
    let mut due: Vec<((i64, i64), &BlockEntry)> = due
        .filter_map(|block| Some(((day(block), coarser_ns(block, settings.tiers, now_ns)?), block)))
        .collect();
    due.sort_by_key(|((day, resolution), block)| (std::cmp::Reverse(*day), *resolution, block.min_time_ns));
    let mut plans = Vec::new();
    for blocks in due.chunk_by(|a, b| a.0 == b.0) {
        let resolution_ns = blocks[0].0.1;
        let level = blocks.iter().map(|(_, block)| block.level).max().unwrap_or_default();
        let blocks: Vec<&BlockEntry> = blocks.iter().map(|(_, block)| *block).collect();
        let runs = fitting(&blocks, settings, 1);
        plans.extend(runs.into_iter().map(|inputs| Plan { level, resolution_ns, inputs }));
    }
    plans
}

fn merges(manifest: &Manifest, settings: CompactionSettings, now_ns: i64) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    for (level, width_ns) in (1u8..).zip(WINDOWS_NS) {
        let is_planned = |id: &str| plans.iter().any(|plan| plan.inputs.iter().any(|input| input == id));
        let mut candidates: Vec<((Window, i64), &BlockEntry)> = manifest
            .blocks
            .iter()
            .filter(|block| block.level < level || level == 2 || is_open(block, now_ns))
            .filter(|block| !is_planned(&block.id))
            .filter(|block| coarser_ns(block, settings.tiers, now_ns).is_none())
            .filter_map(|block| Some(((window(block, width_ns)?, block.resolution_ns), block)))
            .collect();
        candidates.sort_by_key(|((window, resolution), block)| {
            (std::cmp::Reverse(*window), *resolution, block.min_time_ns)
        });
        let mut found = Vec::new();
        for blocks in candidates.chunk_by(|a, b| a.0 == b.0) {
            let resolution_ns = blocks[0].0.1;
            let is_due = is_over(blocks[0].0.0, width_ns, now_ns);
            let mut blocks: Vec<&BlockEntry> = blocks.iter().map(|(_, block)| *block).collect();
            // A day that was merged already is not written again for a few late samples.
            let is_balanced_only = level == 1 || blocks.iter().any(|block| block.level == level);
            if level > 1 && !is_due {
                continue;
            }
            if is_balanced_only {
                blocks = balanced(blocks, if is_due { 2 } else { EARLY_INPUTS_MIN });
            }
            let mut runs = fitting(&blocks, settings, 2);
            if is_balanced_only {
                runs.retain(|run| {
                    is_balanced(blocks.iter().copied().filter(|block| run.contains(&block.id)))
                });
            }
            found.extend(runs.into_iter().map(|inputs| Plan { level, resolution_ns, inputs }));
        }
        plans.extend(found);
    }
    plans
}

/// How long a store has had peace, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quiet {
    /// Since something was stored.
    pub(crate) since_append_ns: i64,
    /// Since a head became a block.
    pub(crate) since_flush_ns: i64,
    /// Since the last compaction.
    pub(crate) since_compaction_ns: i64,
}

impl Quiet {
    /// Whether so many samples may be merged for it: it is calm, as its flushes are rare beside what merging takes, or idle.
    fn suffices(self, samples: u64) -> bool {
        let needed_ns = i64::try_from(samples.saturating_mul(CALM_NS_PER_SAMPLE)).unwrap_or(i64::MAX);
        let is_calm = self.since_flush_ns >= needed_ns.max(CALM_NS_MIN);
        let is_idle = self.since_append_ns >= IDLE_NS
            && self.since_compaction_ns >= needed_ns.saturating_mul(IDLE_WAITS);
        is_calm || is_idle
    }
}

/// What a store merges of its newest open window when it has nothing else to merge and is quiet.
pub(crate) fn quiet_plan(
    manifest: &Manifest,
    settings: CompactionSettings,
    now_ns: i64,
    quiet: Quiet,
) -> Option<Plan> {
    let [width_ns, _] = WINDOWS_NS;
    let of_window = |block: &BlockEntry| {
        let window = window(block, width_ns).filter(|&window| !is_over(window, width_ns, now_ns))?;
        let is_raw = block.resolution_ns == 0 && coarser_ns(block, settings.tiers, now_ns).is_none();
        (is_raw && block.level <= 1).then_some(window)
    };
    let newest = manifest.blocks.iter().filter_map(of_window).max()?;
    let mut blocks: Vec<&BlockEntry> =
        manifest.blocks.iter().filter(|block| of_window(block) == Some(newest)).collect();
    blocks.sort_by_key(|block| block.min_time_ns);
    let inputs = fitting(&blocks, settings, 2).into_iter().next()?;
    let merged = blocks.iter().filter(|block| inputs.contains(&block.id));
    let samples = merged.fold(0u64, |all, block| all.saturating_add(block.samples));
    quiet.suffices(samples).then_some(Plan { level: 1, resolution_ns: 0, inputs })
}

/// A window by number. Blocks that are wider than a day are apart from the others that end in it, which they would widen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Window {
    number: i64,
    is_of_wide: bool,
}

/// The window of a block that is narrower than it, or wider than all.
fn window(block: &BlockEntry, width_ns: i64) -> Option<Window> {
    let [_, day_ns] = WINDOWS_NS;
    let span_ns = i128::from(block.max_time_ns) - i128::from(block.min_time_ns);
    let is_of_wide = width_ns == day_ns && span_ns >= i128::from(day_ns);
    let is_in = is_of_wide || span_ns < i128::from(width_ns);
    is_in.then(|| Window { number: block.max_time_ns.div_euclid(width_ns), is_of_wide })
}

/// Whether no head has samples of a window any more.
fn is_over(window: Window, width_ns: i64, now_ns: i64) -> bool {
    let end_ns = window.number.saturating_add(1).saturating_mul(width_ns);
    end_ns.saturating_add(SETTLE_NS) <= now_ns
}

/// Whether a block of two hours may have others merged into it: the day is not due, which would have it written once more.
fn is_open(block: &BlockEntry, now_ns: i64) -> bool {
    let [_, day_ns] = WINDOWS_NS;
    block.level == 1 && window(block, day_ns).is_some_and(|day| !is_over(day, day_ns, now_ns))
}

/// Whether none of the blocks has more samples than all others together.
fn is_balanced<'a>(blocks: impl Iterator<Item = &'a BlockEntry>) -> bool {
    let (largest, all) = blocks.fold((0u64, 0u64), |(largest, all), block| {
        (largest.max(block.samples), all.saturating_add(block.samples))
    });
    largest <= all - largest
}

/// As many of the blocks as are balanced and at least so many, without the largest ones; in the order that they came in.
fn balanced(mut blocks: Vec<&BlockEntry>, least: usize) -> Vec<&BlockEntry> {
    while blocks.len() >= least {
        if is_balanced(blocks.iter().copied()) {
            return blocks;
        }
        let largest = (0..blocks.len()).max_by_key(|&at| blocks[at].samples);
        blocks.remove(largest.unwrap_or_default());
    }
    Vec::new()
}

/// Cuts blocks, in order of time, into runs of at least so many. A run is as long as all that its blocks have can be merged in memory; where
/// that is too short, as long as half of the memory is left beside what it takes to read them.
fn fitting(blocks: &[&BlockEntry], settings: CompactionSettings, least: usize) -> Vec<Vec<String>> {
    let mut runs = Vec::new();
    let mut run = Run::default();
    let mut end = |run: &mut Run<'_>| {
        let Run { blocks, read_bytes, samples, .. } = std::mem::take(run);
        let fits = BASE_BYTES + read_bytes <= settings.memory_bytes && samples <= SAMPLES_MAX;
        if blocks.len() >= least && fits {
            runs.push(blocks.iter().map(|block| block.id.clone()).collect());
        }
    };
    for &block in blocks {
        if run.blocks.len() >= least && !run.takes(block, settings.memory_bytes) {
            end(&mut run);
        }
        run.add(block);
    }
    end(&mut run);
    runs
}

/// Blocks that are to become one.
#[derive(Default)]
struct Run<'a> {
    blocks: Vec<&'a BlockEntry>,
    /// Memory that it takes to read them.
    read_bytes: u64,
    /// Memory for what is merged of them, if all of it is held.
    merged_bytes: u64,
    samples: u64,
}

impl<'a> Run<'a> {
    fn add(&mut self, block: &'a BlockEntry) {
        self.blocks.push(block);
        self.read_bytes += read_bytes(block);
        self.merged_bytes += merged_bytes(block);
        self.samples = self.samples.saturating_add(block.samples);
    }

    /// Whether one more may be merged with them.
    fn takes(&self, block: &BlockEntry, memory_bytes: u64) -> bool {
        let spare_bytes = memory_bytes.saturating_sub(BASE_BYTES);
        let read_bytes = self.read_bytes + read_bytes(block);
        let fits = read_bytes + self.merged_bytes + merged_bytes(block) <= spare_bytes
            || read_bytes <= spare_bytes / 2;
        fits && self.blocks.len() < INPUTS_MAX && self.samples.saturating_add(block.samples) <= SAMPLES_MAX
    }
}

/// Memory that a compaction of blocks has for what it merges, beside what it takes to read and to write.
pub(super) fn room_bytes(blocks: &[BlockEntry], memory_bytes: u64) -> u64 {
    memory_bytes.saturating_sub(BASE_BYTES + blocks.iter().map(read_bytes).sum::<u64>())
}

/// Memory that it takes to read a block, at most about. Labels and attributes are held once as read, and once as merged.
fn read_bytes(block: &BlockEntry) -> u64 {
    let series_bytes = SERIES_BYTES * block.series + 2 * block.series_bytes;
    INPUT_BYTES + FOOTERS_BYTES + block.size_bytes.min(FETCHED_BYTES) + series_bytes
}

/// Memory for what is merged of a block, if all of it is held.
fn merged_bytes(block: &BlockEntry) -> u64 {
    NODE_BYTES * block.partition_nodes_max + locations_bytes(block.locations, block.location_text_bytes)
}

/// Memory for so many locations with so much text.
pub(super) fn locations_bytes(count: u64, text_bytes: u64) -> u64 {
    LOCATION_BYTES.saturating_mul(count).saturating_add(TEXT_COPIES.saturating_mul(text_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::codec::LogPosition,
        tiers::{self, TEN_SECONDS_NS},
    };

    const MINUTE_NS: i64 = 60 * 1_000_000_000;

    /// A block of some minutes of the day.
    fn block(id: &str, level: u8, from_minute: i64, to_minute: i64) -> BlockEntry {
        BlockEntry {
            id: id.to_owned(),
            min_time_ns: from_minute * MINUTE_NS,
            max_time_ns: to_minute * MINUTE_NS,
            samples: 1000,
            size_bytes: 5000,
            newest_request_ns: 0,
            meta_checksum: String::new(),
            level,
            resolution_ns: 0,
            partition_nodes_max: 1000,
            locations: 100,
            series: 10,
            series_bytes: 0,
            location_text_bytes: 0,
        }
    }

    fn check(blocks: &[BlockEntry], memory_bytes: u64, now_minute: i64, expected: &[(u8, &[&str])]) {
        let manifest = Manifest::empty().with_blocks(blocks.to_vec(), LogPosition::default());
        let settings = CompactionSettings { memory_bytes, tiers: Tiers::default() };
        let found = plans(&manifest, settings, now_minute * MINUTE_NS);
        assert!(found.iter().all(|plan| plan.resolution_ns == 0));
        let found: Vec<(u8, Vec<&str>)> =
            found.iter().map(|p| (p.level, p.inputs.iter().map(String::as_str).collect())).collect();
        let expected: Vec<(u8, Vec<&str>)> = expected.iter().map(|(l, ids)| (*l, ids.to_vec())).collect();
        assert_eq!(found, expected, "at minute {now_minute}");
    }

    const ENOUGH: u64 = 1 << 30;

    #[test]
    fn a_quiet_store_merges_its_open_window() {
        const BUSY: Quiet = Quiet { since_append_ns: 0, since_flush_ns: 0, since_compaction_ns: i64::MAX };
        let calm = |since_flush_ns| Quiet { since_flush_ns, since_compaction_ns: 0, ..BUSY };
        let idle =
            |since_append_ns, since_compaction_ns| Quiet { since_append_ns, since_compaction_ns, ..BUSY };
        let check = |blocks: &[BlockEntry], memory_bytes: u64, quiet: Quiet, expected: Option<&[&str]>| {
            let manifest = Manifest::empty().with_blocks(blocks.to_vec(), LogPosition::default());
            let settings = CompactionSettings { memory_bytes, tiers: Tiers::default() };
            let found = quiet_plan(&manifest, settings, 200 * MINUTE_NS, quiet);
            let found = found.map(|plan| {
                assert_eq!((plan.level, plan.resolution_ns), (1, 0));
                plan.inputs
            });
            let expected = expected.map(|ids| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{quiet:?}");
        };
        let sized = |samples, block| BlockEntry { samples, ..block };
        let few = [block("a", 0, 0, 10), block("b", 0, 150, 160), block("c", 1, 130, 150)];
        check(&few, ENOUGH, BUSY, None);
        check(&few, ENOUGH, calm(CALM_NS_MIN - 1), None);
        check(&few, ENOUGH, calm(CALM_NS_MIN), Some(&["c", "b"]));
        check(&few, 0, calm(CALM_NS_MIN), None);
        check(&few[..2], ENOUGH, calm(i64::MAX), None);
        let many = [sized(9_000_000, block("a", 1, 130, 140)), sized(1_000_000, block("b", 0, 140, 150))];
        check(&many, ENOUGH, calm(10_000_000_000 - 1), None);
        check(&many, ENOUGH, calm(10_000_000_000), Some(&["a", "b"]));
        check(&many, ENOUGH, idle(IDLE_NS - 1, i64::MAX), None);
        check(&many, ENOUGH, idle(IDLE_NS, 30_000_000_000 - 1), None);
        check(&many, ENOUGH, idle(IDLE_NS, 30_000_000_000), Some(&["a", "b"]));
        let coarse = BlockEntry { resolution_ns: TEN_SECONDS_NS, ..block("d", 1, 140, 150) };
        check(&[block("a", 0, 130, 140), coarse], ENOUGH, calm(i64::MAX), None);
        check(&[block("a", 0, 130, 140), block("b", 2, 140, 150)], ENOUGH, calm(i64::MAX), None);
    }

    #[test]
    fn a_window_is_due_when_it_is_over() {
        let blocks = [block("a", 0, 0, 10), block("b", 0, 10, 20), block("c", 0, 115, 125)];
        check(&blocks, ENOUGH, 134, &[]);
        check(&blocks, ENOUGH, 135, &[(1, &["a", "b"])]);
        check(&blocks[..1], ENOUGH, 135, &[]);
    }

    #[test]
    fn newer_windows_first_and_each_block_once() {
        let blocks = [
            block("a", 0, 0, 10),
            block("b", 0, 10, 20),
            block("c", 0, 130, 140),
            block("d", 0, 140, 150),
            BlockEntry { samples: 3000, ..block("e", 1, 300, 400) },
            block("f", 0, 410, 420),
        ];
        check(&blocks, ENOUGH, 600, &[(1, &["c", "d"]), (1, &["a", "b"])]);
        check(&blocks, ENOUGH, 24 * 60 + 15, &[(1, &["c", "d"]), (1, &["a", "b"]), (2, &["e", "f"])]);
    }

    #[test]
    fn a_few_blocks_of_an_open_window_are_merged() {
        let sized = |id, level, samples| BlockEntry { samples, ..block(id, level, 0, 10) };
        let check = |blocks: &[BlockEntry], expected: &[&str]| {
            let expected = [(1, expected)];
            check(blocks, ENOUGH, 20, if expected[0].1.is_empty() { &[] } else { &expected });
        };
        check(&[sized("a", 0, 9), sized("b", 0, 9), sized("c", 0, 9)], &[]);
        check(
            &[sized("a", 0, 9), sized("b", 0, 9), sized("c", 0, 9), sized("d", 0, 9)],
            &["a", "b", "c", "d"],
        );
        let small = || [sized("b", 0, 9), sized("c", 0, 9), sized("d", 0, 9), sized("e", 0, 9)];
        let with = |samples| [vec![sized("a", 1, samples)], small().to_vec()].concat();
        check(&with(36), &["a", "b", "c", "d", "e"]);
        check(&with(37), &["b", "c", "d", "e"]);
        check(&with(37)[..4], &[]);
    }

    #[test]
    fn late_blocks_of_a_merged_day_are_merged_with_each_other_until_they_are_as_large() {
        let now_minute = 3 * 24 * 60;
        let late = |id, level, samples| BlockEntry { samples, ..block(id, level, 100, 700) };
        let day = || late("day", 2, 1000);
        let all = |blocks: &[BlockEntry], expected: &[&str]| {
            let expected = [(2, expected)];
            check(blocks, ENOUGH, now_minute, if expected[0].1.is_empty() { &[] } else { &expected });
        };
        all(&[day(), late("a", 0, 10)], &[]);
        all(&[day(), late("a", 0, 10), late("b", 0, 10)], &["a", "b"]);
        all(&[day(), late("ab", 2, 20), late("c", 0, 10)], &[]);
        all(&[day(), late("ab", 2, 20), late("c", 0, 10), late("d", 0, 10)], &["ab", "c", "d"]);
        all(&[day(), late("many", 2, 990), late("c", 0, 10)], &["day", "many", "c"]);
    }

    #[test]
    fn however_many_flushes_there_are_blocks_are_few_and_samples_seldom_rewritten() {
        let mut blocks: Vec<BlockEntry> = Vec::new();
        let (mut rewritten, mut count_max) = (0, 0);
        const FLUSHES: u64 = 200;
        for flush in 0..FLUSHES {
            blocks.push(BlockEntry { samples: 1, ..block(&format!("{flush:03}"), 0, 0, 10) });
            let manifest = Manifest::empty().with_blocks(blocks.clone(), LogPosition::default());
            let settings = CompactionSettings { memory_bytes: ENOUGH, tiers: Tiers::default() };
            for plan in plans(&manifest, settings, 20 * MINUTE_NS) {
                let is_input = |block: &BlockEntry| plan.inputs.contains(&block.id);
                let samples = blocks.iter().filter(|block| is_input(block)).map(|block| block.samples).sum();
                blocks.retain(|block| !is_input(block));
                blocks.push(BlockEntry { samples, ..block(&plan.inputs[0], 1, 0, 10) });
                rewritten += samples;
            }
            count_max = count_max.max(blocks.len());
        }
        assert!(count_max <= 12, "{count_max} blocks");
        assert!(rewritten <= 6 * FLUSHES, "{rewritten} samples");
    }

    #[test]
    fn what_comes_late_does_not_have_its_window_written_again() {
        let sized = |id, level, samples| BlockEntry { samples, ..block(id, level, 0, 100) };
        check(&[sized("a", 1, 100), sized("b", 0, 10), sized("c", 0, 10)], ENOUGH, 600, &[(1, &["b", "c"])]);
        check(&[sized("a", 1, 100), sized("b", 0, 10)], ENOUGH, 600, &[]);
        check(&[sized("a", 1, 100), sized("b", 0, 100)], ENOUGH, 600, &[(1, &["a", "b"])]);
        check(&[block("a", 2, 0, 1000), block("b", 2, 10, 900)], ENOUGH, 10_000, &[(2, &["a", "b"])]);
        check(&[block("a", 1, 0, 100), block("b", 1, 10, 90)], ENOUGH, 1500, &[(2, &["a", "b"])]);
    }

    #[test]
    fn wide_blocks_are_apart() {
        check(&[block("a", 0, 0, 120), block("b", 0, 10, 100)], ENOUGH, 600, &[]);
        check(&[block("a", 0, -2000, 10), block("b", 0, 10, 100)], ENOUGH, 10_000, &[]);
        let wide = [block("a", 0, -2000, 10), block("b", 0, 10, 100), block("c", 0, -5000, 90)];
        check(&wide, ENOUGH, 10_000, &[(2, &["c", "a"])]);
        check(&wide, ENOUGH, 24 * 60, &[]);
    }

    #[test]
    fn inputs_fit_into_memory() {
        let blocks =
            [block("a", 0, 0, 9), block("b", 0, 9, 19), block("c", 0, 19, 29), block("d", 0, 29, 39)];
        let each = read_bytes(&blocks[0]) + merged_bytes(&blocks[0]);
        check(&blocks, BASE_BYTES + 4 * each, 600, &[(1, &["a", "b", "c", "d"])]);
        check(&blocks, BASE_BYTES + 4 * each - 1, 600, &[(1, &["a", "b", "c"])]);
        check(&blocks, BASE_BYTES + 2 * each, 600, &[(1, &["a", "b"]), (1, &["c", "d"])]);
        check(&blocks, BASE_BYTES + each, 600, &[]);
        let with_attributes = blocks.clone().map(|block| BlockEntry { series_bytes: 4 << 20, ..block });
        check(&with_attributes, BASE_BYTES + 4 * each, 600, &[]);
        check(&with_attributes, BASE_BYTES + 4 * (each + (8 << 20)), 600, &[(1, &["a", "b", "c", "d"])]);
        let with_text = blocks.map(|block| BlockEntry { location_text_bytes: 4 << 20, ..block });
        check(&with_text, BASE_BYTES + 4 * each, 600, &[(1, &["a", "b"]), (1, &["c", "d"])]);
        check(&with_text, BASE_BYTES + 4 * (each + (12 << 20)), 600, &[(1, &["a", "b", "c", "d"])]);
    }

    #[test]
    fn what_does_not_fit_is_read_as_long_as_there_is_memory_for_that() {
        let large = |id, from| BlockEntry {
            partition_nodes_max: 1 << 30,
            locations: 1 << 30,
            size_bytes: 1 << 40,
            ..block(id, 0, from, from + 9)
        };
        let blocks = [large("a", 0), large("b", 9), large("c", 19), large("d", 29)];
        let each = read_bytes(&blocks[0]);
        assert!(each < INPUT_BYTES + FOOTERS_BYTES + FETCHED_BYTES + (1 << 20), "whatever its size");
        check(&blocks, BASE_BYTES + 2 * each - 1, 600, &[]);
        check(&blocks, BASE_BYTES + 2 * each, 600, &[(1, &["a", "b"]), (1, &["c", "d"])]);
        check(&blocks, BASE_BYTES + 8 * each, 600, &[(1, &["a", "b", "c", "d"])]);
        let many = blocks.clone().map(|block| BlockEntry { samples: SAMPLES_MAX / 2, ..block });
        check(&many, BASE_BYTES + 8 * each, 600, &[(1, &["a", "b"]), (1, &["c", "d"])]);
        let [block, ..] = blocks;
        let entries = [block.clone(), block];
        assert_eq!(room_bytes(&entries, BASE_BYTES + 3 * each), each);
        assert_eq!(room_bytes(&entries, BASE_BYTES), 0);
    }

    /// Raw for ten days, then 10 s for ten more; blocks are (name, level, resolution, day).
    fn check_tiers(
        blocks: &[(&str, u8, i64, i64)],
        memory_bytes: u64,
        now_day: i64,
        expected: &[(u8, i64, &[&str])],
    ) {
        const DAY: i64 = 24 * 60;
        let blocks = blocks.iter().map(|&(id, level, resolution_ns, day)| {
            let minutes =
                if level == 2 { day * DAY..day * DAY + DAY - 1 } else { day * DAY + 60..day * DAY + 70 };
            BlockEntry { resolution_ns, ..block(id, level, minutes.start, minutes.end) }
        });
        let manifest = Manifest::empty().with_blocks(blocks, LogPosition::default());
        let days = |days: u64| Some(std::time::Duration::from_secs(days * 86_400));
        let settings =
            CompactionSettings { memory_bytes, tiers: Tiers { raw: days(10), ten_seconds: days(20) } };
        let found = plans(&manifest, settings, now_day * DAY * MINUTE_NS);
        let found: Vec<(u8, i64, Vec<&str>)> = found
            .iter()
            .map(|p| (p.level, p.resolution_ns, p.inputs.iter().map(String::as_str).collect()))
            .collect();
        let expected: Vec<(u8, i64, Vec<&str>)> =
            expected.iter().map(|(l, r, ids)| (*l, *r, ids.to_vec())).collect();
        assert_eq!(found, expected, "on day {now_day}");
    }

    #[test]
    fn old_blocks_become_coarser() {
        let blocks = [("a", 2, 0, 0), ("b", 2, 0, 1)];
        check_tiers(&blocks, ENOUGH, 10, &[]);
        check_tiers(&blocks, ENOUGH, 11, &[(2, TEN_SECONDS_NS, &["a"])]);
        check_tiers(&blocks, ENOUGH, 12, &[(2, TEN_SECONDS_NS, &["b"]), (2, TEN_SECONDS_NS, &["a"])]);
        check_tiers(&blocks, BASE_BYTES, 12, &[]);
        check_tiers(&blocks, ENOUGH, 22, &[(2, tiers::HOUR_NS, &["b"]), (2, tiers::HOUR_NS, &["a"])]);
        let coarse = [("a", 2, TEN_SECONDS_NS, 0), ("b", 2, tiers::HOUR_NS, 0)];
        check_tiers(&coarse, ENOUGH, 15, &[]);
        check_tiers(&coarse, ENOUGH, 22, &[(2, tiers::HOUR_NS, &["a"])]);
    }

    #[test]
    fn late_blocks_become_coarser_with_those_of_their_day_and_are_merged_then() {
        let blocks = [("a", 0, 0, 0), ("b", 0, 0, 0), ("c", 0, 0, 1)];
        check_tiers(&blocks, ENOUGH, 15, &[(0, TEN_SECONDS_NS, &["c"]), (0, TEN_SECONDS_NS, &["a", "b"])]);
        let coarse = [("a", 0, TEN_SECONDS_NS, 0), ("b", 0, TEN_SECONDS_NS, 0), ("c", 0, 0, 0)];
        check_tiers(&coarse, ENOUGH, 15, &[(1, TEN_SECONDS_NS, &["a", "b"]), (0, TEN_SECONDS_NS, &["c"])]);
    }
}
