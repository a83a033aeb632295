//! Here are the sources of a question one after another, gives you sources that say the same and take less memory.
//!
//! Blocks that are not merged yet have most stacktraces of a fleet again and again, each with its path in a tree of its own. A
//! [`Fold`] keeps a stacktrace once, in the first source that has it, and adds the sums of later ones there; of a later source only
//! the part of its trees and symbols is kept that no one before it had. Stacktraces are told apart by 128-bit fingerprints of their
//! content, so that no name is translated and no node looked up: a node costs one hash, a stacktrace one lookup.
//!
//! Invariants: sums by side, group and content of the stacktrace are those of all sources added, so that every report is the same
//! as without. Filters see whole stacktraces, later. Pure: no I/O, no clock.

mod prune;

use std::{collections::BTreeMap, hash::BuildHasher, sync::Arc};

use decima_store::source::{Symbols, Tree};
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::{
    api::QueryError,
    branch::lost_stacktrace,
    cancel::Cancel,
    evaluate::SourceRead,
    group::GroupTable,
    memory,
    scan::{self, Partial},
    sums::{StackSum, StackSums},
};

/// Memory of a stacktrace that is known, with the free space of its table.
const KNOWN_BYTES: u64 = 60;

/// Sides of a question at most.
const SIDES: usize = 2;

/// What sources were folded into.
pub(crate) struct Fold {
    seed: u64,
    keeps_symbols: bool,
    known: HashMap<u128, Place>,
    kept: Vec<Kept>,
    groups: GroupTable,
    sample_counts: [u64; SIDES],
    saturated: bool,
}

/// Where a stacktrace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Place in [`Fold::kept`].
    source: u32,
    partition: u32,
    stacktrace: u32,
}

/// What is kept of a source.
#[derive(Debug, Default)]
struct Kept {
    symbols: Arc<Symbols>,
    /// By partition.
    trees: HashMap<u32, Arc<Tree>>,
    /// By side, group and partition, in whose order they are reported: an answer is the same each time.
    sums: BTreeMap<(usize, u32, u32), StackSums>,
}

/// Sums of one partition of a source that is added, with their side and group.
type PartitionSums = Vec<(usize, u32, StackSums)>;

impl Fold {
    /// A fold of nothing.
    pub(crate) fn new() -> Self {
        Self {
            // Who sends stacktraces cannot make two that are taken for one.
            seed: std::hash::RandomState::new().hash_one(0),
            keeps_symbols: false,
            known: HashMap::new(),
            kept: Vec::new(),
            groups: GroupTable::default(),
            sample_counts: [0; SIDES],
            saturated: false,
        }
    }

    /// Keeps symbols whole: what was made of them for an earlier question is found again then.
    pub(crate) fn with_whole_symbols(self) -> Self {
        Self { keeps_symbols: true, ..self }
    }

    /// Adds a source that is not symbolised.
    pub(crate) fn add(&mut self, read: SourceRead, cancel: &Cancel) -> Result<(), QueryError> {
        let SourceRead { symbols, trees, partials, .. } = read;
        let by_partition = self.take_sums(partials)?;
        let locations = symbols.location_fingerprints(self.seed);
        self.kept.push(Kept::default());
        let mut own: HashMap<u32, Arc<Tree>> = HashMap::new();
        for (partition, sums) in by_partition {
            cancel.check()?;
            let tree = trees.get(&partition).ok_or_else(|| QueryError::Internal {
                message: format!("partition {partition} has no tree"),
            })?;
            let nodes = node_fingerprints(tree, &locations, self.seed).ok_or_else(|| {
                QueryError::Internal { message: format!("partition {partition} has a node of no location") }
            })?;
            let (places, first_here) = self.place(partition, tree, &nodes, &sums)?;
            if !first_here.is_empty() {
                own.insert(partition, prune::tree(tree, &first_here));
            }
            for (side, group, sums) in sums {
                self.pour(side, group, &sums, &places);
            }
        }
        if own.is_empty() {
            self.kept.pop();
        } else if let Some(kept) = self.kept.last_mut() {
            kept.symbols = if self.keeps_symbols { symbols } else { prune::symbols(symbols, &mut own) };
            kept.trees = own;
        }
        Ok(())
    }

    /// Sums by partition, with groups that hold for all sources.
    fn take_sums(
        &mut self,
        partials: Vec<(usize, Partial)>,
    ) -> Result<BTreeMap<u32, PartitionSums>, QueryError> {
        let mut by_partition: BTreeMap<u32, PartitionSums> = BTreeMap::new();
        for (side, partial) in partials {
            self.saturated |= partial.saturated;
            self.sample_counts[side] += partial.sample_count;
            let groups: Vec<u32> = partial.groups.into_iter().map(|key| self.groups.id(key)).collect();
            if self.groups.keys().len() > scan::GROUPS_MAX {
                return Err(scan::too_many_groups());
            }
            for sums in partial.sums {
                let group = groups[sums.group as usize];
                by_partition.entry(sums.partition).or_default().push((side, group, sums));
            }
        }
        Ok(by_partition)
    }

    /// Where each stacktrace of a partition of the source that was added last is kept, `None` if it has no sum; and those that no
    /// one had before, ascending: they are numbered anew in this order.
    fn place(
        &mut self,
        partition: u32,
        tree: &Tree,
        nodes: &[u128],
        sums: &PartitionSums,
    ) -> Result<(Vec<Option<Place>>, Vec<u32>), QueryError> {
        let mut has_sum = vec![false; tree.leaf.len()];
        let mut lost = None;
        for (_, _, sums) in sums {
            sums.each(|sum| match has_sum.get_mut(sum.stacktrace as usize) {
                Some(has_sum) => *has_sum = true,
                None => lost = Some(sum.stacktrace),
            });
        }
        let source = self.kept.len() as u32 - 1;
        let mut places = vec![None; tree.leaf.len()];
        let mut first_here = Vec::new();
        for (stacktrace, _) in (0..).zip(has_sum).filter(|(_, has_sum)| *has_sum) {
            let at: u32 = stacktrace;
            let Some(&fingerprint) = nodes.get(tree.leaf[at as usize] as usize) else {
                lost = Some(at);
                break;
            };
            let new = Place { source, partition, stacktrace: first_here.len() as u32 };
            let place = *self.known.entry(fingerprint).or_insert(new);
            if place == new {
                first_here.push(at);
            }
            places[at as usize] = Some(place);
        }
        match lost {
            Some(stacktrace) => Err(lost_stacktrace(stacktrace, partition)),
            None => Ok((places, first_here)),
        }
    }

    /// Adds sums where their stacktraces are kept.
    fn pour(&mut self, side: usize, group: u32, sums: &StackSums, places: &[Option<Place>]) {
        let mut moved: HashMap<(u32, u32), Vec<StackSum>> = HashMap::new();
        sums.each(|sum| {
            if let Some(place) = places[sum.stacktrace as usize] {
                let to = moved.entry((place.source, place.partition)).or_default();
                to.push(StackSum { stacktrace: place.stacktrace, ..sum });
            }
        });
        for ((source, partition), moved) in moved {
            let of_source = &mut self.kept[source as usize].sums;
            let into = of_source.entry((side, group, partition));
            let into = into.or_insert_with(|| StackSums::new(group, partition, true));
            self.saturated |= into.add_sums(&moved);
        }
    }

    /// Memory held, and by what is made of it later.
    pub(crate) fn size_bytes(&self) -> u64 {
        let of_kept = |kept: &Kept| {
            let nodes: usize = kept.trees.values().map(|tree| tree.parent.len()).sum();
            let sums: usize = kept.sums.values().map(StackSums::touched_max).sum();
            kept.symbols.query_bytes()
                + memory::NODE_BYTES * nodes as u64
                + memory::STACKTRACE_BYTES * sums as u64
        };
        self.kept.iter().map(of_kept).sum::<u64>() + KNOWN_BYTES * self.known.len() as u64
    }

    /// The sources that are left.
    pub(crate) fn finish(self) -> Vec<SourceRead> {
        let keys = self.groups.into_keys();
        let mut sources: Vec<SourceRead> = Vec::with_capacity(self.kept.len() + 1);
        for Kept { symbols, trees, sums } in self.kept {
            let mut partials = [Partial::default(), Partial::default()];
            let mut numbers: HashMap<(usize, u32), u32> = HashMap::new();
            for ((side, group, _), mut sums) in sums {
                let Partial { groups, sums: of_side, .. } = &mut partials[side];
                sums.group = *numbers.entry((side, group)).or_insert_with(|| {
                    groups.push(keys[group as usize].clone());
                    groups.len() as u32 - 1
                });
                of_side.push(sums);
            }
            let partials = partials.into_iter().enumerate().collect();
            sources.push(SourceRead { symbols, reasons: Arc::default(), trees, partials });
        }
        // Counts are of the whole, whatever source has them.
        let counted = |(side, sample_count)| {
            (side, Partial { sample_count, saturated: self.saturated, ..Partial::default() })
        };
        let counts = self.sample_counts.into_iter().enumerate().map(counted).collect();
        sources.push(SourceRead { partials: counts, ..SourceRead::default() });
        sources
    }
}

/// The fingerprint of each node: of the locations from the root to it. `None` if a location has none.
fn node_fingerprints(tree: &Tree, locations: &[u128], seed: u64) -> Option<Vec<u128>> {
    let mut nodes = vec![0u128; tree.parent.len()];
    for node in 1..nodes.len() {
        let above = nodes[tree.parent[node] as usize];
        let location = locations.get(tree.location[node] as usize)?;
        let mut content = [0u8; 32];
        content[..16].copy_from_slice(&above.to_le_bytes());
        content[16..].copy_from_slice(&location.to_le_bytes());
        nodes[node] = xxh3_128_with_seed(&content, seed);
    }
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use decima_store::source::{Function, Line, NO_MAPPING};

    use super::*;
    use crate::branch::COMPARED;

    /// A source whose locations are these functions, with stacktraces of them (root first) and a value each.
    fn source(functions: &[&str], stacktraces: &[(&[u32], i64)]) -> SourceRead {
        let mut symbols = Symbols { first_line: vec![0], ..Symbols::default() };
        symbols.strings.push("");
        for (at, function) in (0..).zip(functions) {
            let name = symbols.strings.push(function);
            symbols.functions.push(Function { name, ..Function::default() });
            symbols.lines.push(Line { function: at, ..Line::default() });
            symbols.location_mapping.push(NO_MAPPING);
            symbols.location_address.push(0);
            symbols.location_frame_type.push(0);
            symbols.first_line.push(at + 1);
        }
        let mut tree = Tree { parent: vec![0], location: vec![0], ..Tree::default() };
        let mut sums = StackSums::new(0, 7, true);
        for (id, (locations, value)) in (0..).zip(stacktraces) {
            let mut above = 0;
            for &location in *locations {
                tree.parent.push(above);
                tree.location.push(location);
                above = tree.parent.len() as u32 - 1;
            }
            tree.leaf.push(above);
            sums.add(&[id], &[*value]);
        }
        let sample_count = stacktraces.len() as u64;
        let partial = Partial { groups: vec![Vec::new()], sums: vec![sums], sample_count, saturated: false };
        SourceRead {
            symbols: Arc::new(symbols),
            trees: HashMap::from([(7, Arc::new(tree))]),
            partials: vec![(COMPARED, partial)],
            ..SourceRead::default()
        }
    }

    /// Stacktraces of a source with their sums, as texts, and its numbers of locations and nodes.
    fn shown(source: &SourceRead) -> (Vec<(String, i64)>, usize, usize) {
        let name = |location| {
            let line = source.symbols.location_lines(location)[0];
            source.symbols.strings.get(source.symbols.functions[line.function as usize].name)
        };
        let mut stacktraces = Vec::new();
        for sums in source.partials.iter().flat_map(|(_, partial)| &partial.sums) {
            let tree = &source.trees[&sums.partition];
            sums.each(|sum| {
                let (mut node, mut names) = (tree.leaf[sum.stacktrace as usize], Vec::new());
                while node != 0 {
                    names.push(name(tree.location[node as usize]));
                    node = tree.parent[node as usize];
                }
                stacktraces.push((names.join(" < "), sum.value));
            });
        }
        let node_count = source.trees.values().map(|tree| tree.parent.len()).sum();
        (stacktraces, source.symbols.location_count(), node_count)
    }

    #[test]
    fn what_was_there_before_is_added_where_it_is() {
        let mut fold = Fold::new();
        let (_guard, cancel) = Cancel::pair();
        fold.add(source(&["main", "work"], &[(&[0, 1], 3), (&[0], 1)]), &cancel).unwrap();
        // The same in other numbers, one that is new, and locations that nothing new needs.
        let functions = ["idle", "work", "main", "rest"];
        fold.add(source(&functions, &[(&[2], 10), (&[2, 0], 5), (&[2, 1], 20)]), &cancel).unwrap();
        // Nothing new.
        fold.add(source(&["idle", "main"], &[(&[1, 0], 7)]), &cancel).unwrap();
        let sources = fold.finish();
        let named = |pairs: &[(&str, i64)]| -> Vec<(String, i64)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let sums = sources.iter().map(shown).collect::<Vec<_>>();
        assert_eq!(sums[0], (named(&[("work < main", 23), ("main", 11)]), 2, 4));
        assert_eq!(sums[1], (named(&[("idle < main", 12)]), 2, 3));
        assert_eq!(sums[2], (Vec::new(), 0, 0));
        let counts =
            sources.iter().flat_map(|source| &source.partials).map(|(_, partial)| partial.sample_count);
        assert_eq!((sources.len(), counts.sum::<u64>()), (3, 6));
    }

    #[test]
    fn nothing_is_folded_when_nobody_waits() {
        let (guard, cancel) = Cancel::pair();
        let mut fold = Fold::new();
        fold.add(source(&["main"], &[(&[0], 1)]), &cancel).unwrap();
        drop(guard);
        let stopped = fold.add(source(&["main", "work"], &[(&[0, 1], 3)]), &cancel);
        assert!(matches!(stopped, Err(QueryError::DeadlineExceeded)), "{stopped:?}");
    }

    #[test]
    fn sums_of_a_stacktrace_that_is_not_there_are_told() {
        let mut damaged = source(&["main"], &[(&[0], 1)]);
        damaged.partials[0].1.sums[0].add(&[5], &[1]);
        let (_guard, cancel) = Cancel::pair();
        let error = Fold::new().add(damaged, &cancel).unwrap_err();
        assert!(error.to_string().contains("stacktrace 5 of partition 7 has no node"), "{error}");
    }
}
