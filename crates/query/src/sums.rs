//! Sums over the stacktraces of one partition, in one group.
//!
//! Dense arrays by stacktrace id where many stacktraces occur: an addition costs a nanosecond where a hash map costs ten.
//! Where groups divide a partition finely (a thread, a pod of thousands), each has few stacktraces, and a dense array for each
//! would fill memory: those start as a map and turn dense once that is smaller.

use hashbrown::HashMap;

/// A map entry with its free space takes as much memory as this many array slots.
const SLOTS_PER_ENTRY: usize = 5;

/// Adds, stopping at the ends of the type; returns whether it had to.
pub(crate) fn add_saturating(sum: &mut i64, value: i64) -> bool {
    let (added, overflowed) = sum.overflowing_add(value);
    *sum = if overflowed { sum.saturating_add(value) } else { added };
    overflowed
}

/// What a reader is told when a sum did not fit.
pub(crate) const SATURATED: &str = "a sum is larger than a 64-bit integer holds and was cut there";

/// Sums of one group in one partition.
#[derive(Debug)]
pub(crate) struct StackSums {
    pub(crate) group: u32,
    pub(crate) partition: u32,
    cells: Cells,
    /// Whether a value was negative: then a sum of 0 does not mean that nothing was there.
    negative: bool,
}

#[derive(Debug)]
enum Cells {
    Sparse {
        /// Sum and sum of absolute values.
        sums: HashMap<u32, (i64, u64)>,
        /// One more than the largest stacktrace id.
        end: usize,
    },
    Dense {
        values: Vec<i64>,
        /// Sums of absolute values, once one is negative.
        weights: Option<Vec<u64>>,
    },
}

/// A stacktrace with its sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StackSum {
    pub(crate) stacktrace: u32,
    pub(crate) value: i64,
    /// Sum of absolute values; never 0.
    pub(crate) weight: u64,
}

impl StackSums {
    /// Empty sums. `sparse` if few of the partition's stacktraces are expected.
    pub(crate) fn new(group: u32, partition: u32, sparse: bool) -> Self {
        let cells = if sparse {
            Cells::Sparse { sums: HashMap::new(), end: 0 }
        } else {
            Cells::Dense { values: Vec::new(), weights: None }
        };
        Self { group, partition, cells, negative: false }
    }

    /// Memory held, about.
    pub(crate) fn size_bytes(&self) -> u64 {
        let slots = match &self.cells {
            // A key, two sums and a byte of the table.
            Cells::Sparse { sums, .. } => sums.capacity() * 25,
            Cells::Dense { values, weights } => 8 * (values.len() + weights.as_ref().map_or(0, Vec::len)),
        };
        (size_of::<Self>() + slots) as u64
    }

    /// Whether a value was negative.
    pub(crate) fn has_negative(&self) -> bool {
        self.negative
    }

    /// Adds values to stacktraces, one each; returns whether a sum did not fit.
    pub(crate) fn add(&mut self, stacktraces: &[u32], values: &[i64]) -> bool {
        let end = stacktraces.iter().max().map_or(0, |&max| max as usize + 1);
        if values.iter().fold(0, |all, v| all | v) < 0 {
            self.expect_negative();
        }
        self.expect(end);
        match &mut self.cells {
            Cells::Sparse { sums, .. } => add_sparse(sums, stacktraces, values),
            Cells::Dense { values: sums, weights } => {
                if let Some(weights) = weights {
                    for (&stacktrace, &value) in stacktraces.iter().zip(values) {
                        let weight = &mut weights[stacktrace as usize];
                        *weight = weight.saturating_add(value.unsigned_abs());
                    }
                }
                let mut saturated = false;
                for (&stacktrace, &value) in stacktraces.iter().zip(values) {
                    saturated |= add_saturating(&mut sums[stacktrace as usize], value);
                }
                saturated
            }
        }
    }

    /// Adds sums, each to its stacktrace; returns whether one did not fit.
    pub(crate) fn add_sums(&mut self, added: &[StackSum]) -> bool {
        let end = added.iter().map(|sum| sum.stacktrace as usize + 1).max().unwrap_or_default();
        // A value that was cut at the end of its type has the weight of what it would be.
        if added.iter().any(|sum| sum.value < 0 || sum.weight != sum.value as u64) {
            self.expect_negative();
        }
        self.expect(end);
        let mut saturated = false;
        match &mut self.cells {
            Cells::Sparse { sums, .. } => {
                for &StackSum { stacktrace, value, weight } in added {
                    let (sum, all) = sums.entry(stacktrace).or_default();
                    saturated |= add_saturating(sum, value);
                    *all = all.saturating_add(weight);
                }
            }
            Cells::Dense { values, weights } => {
                for &StackSum { stacktrace, value, weight } in added {
                    saturated |= add_saturating(&mut values[stacktrace as usize], value);
                    if let Some(weights) = weights {
                        let all = &mut weights[stacktrace as usize];
                        *all = all.saturating_add(weight);
                    }
                }
            }
        }
        saturated
    }

    fn expect_negative(&mut self) {
        self.negative = true;
        if let Cells::Dense { values, weights } = &mut self.cells {
            weights.get_or_insert_with(|| values.iter().map(|v| v.unsigned_abs()).collect());
        }
    }

    /// Makes room for stacktraces below `end`.
    fn expect(&mut self, needed: usize) {
        match &mut self.cells {
            Cells::Sparse { sums, end } => {
                *end = needed.max(*end);
                if sums.len() * SLOTS_PER_ENTRY > *end {
                    self.turn_dense();
                    self.expect(needed);
                }
            }
            Cells::Dense { values, weights } => {
                if needed > values.len() {
                    values.resize(needed, 0);
                    if let Some(weights) = weights {
                        weights.resize(needed, 0);
                    }
                }
            }
        }
    }

    fn turn_dense(&mut self) {
        if let Cells::Sparse { sums, end } = &self.cells {
            let mut values = vec![0; *end];
            let mut weights = vec![0; if self.negative { *end } else { 0 }];
            for (&stacktrace, &(value, weight)) in sums {
                values[stacktrace as usize] = value;
                if self.negative {
                    weights[stacktrace as usize] = weight;
                }
            }
            self.cells = Cells::Dense { values, weights: self.negative.then_some(weights) };
        }
    }

    /// Number of stacktraces below which all sums are; what `each` goes through.
    pub(crate) fn touched_max(&self) -> usize {
        match &self.cells {
            Cells::Sparse { sums, .. } => sums.len(),
            Cells::Dense { values, .. } => values.len(),
        }
    }

    /// All stacktraces that have a value, ascending.
    pub(crate) fn each(&self, mut visit: impl FnMut(StackSum)) {
        match &self.cells {
            Cells::Sparse { sums, .. } => {
                let mut sorted: Vec<StackSum> = sums
                    .iter()
                    .map(|(&stacktrace, &(value, weight))| StackSum { stacktrace, value, weight })
                    .collect();
                sorted.sort_unstable_by_key(|sum| sum.stacktrace);
                sorted.into_iter().filter(|sum| sum.weight != 0).for_each(visit);
            }
            Cells::Dense { values, weights } => {
                for (stacktrace, &value) in values.iter().enumerate() {
                    let weight = weights.as_ref().map_or(value as u64, |weights| weights[stacktrace]);
                    if weight != 0 {
                        visit(StackSum { stacktrace: stacktrace as u32, value, weight });
                    }
                }
            }
        }
    }
}

fn add_sparse(sums: &mut HashMap<u32, (i64, u64)>, stacktraces: &[u32], values: &[i64]) -> bool {
    let mut saturated = false;
    for (&stacktrace, &value) in stacktraces.iter().zip(values) {
        let (sum, weight) = sums.entry(stacktrace).or_default();
        saturated |= add_saturating(sum, value);
        *weight = weight.saturating_add(value.unsigned_abs());
    }
    saturated
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sparse_and_dense_are_the_same(runs in proptest::collection::vec(
            proptest::collection::vec((0u32..60, -3i64..9), 0..20), 0..10)) {
            let mut expected: BTreeMap<u32, (i64, u64)> = BTreeMap::new();
            let (mut sparse, mut dense) = (StackSums::new(0, 0, true), StackSums::new(0, 0, false));
            for run in &runs {
                let (stacktraces, values): (Vec<u32>, Vec<i64>) = run.iter().copied().unzip();
                prop_assert!(!sparse.add(&stacktraces, &values));
                prop_assert!(!dense.add(&stacktraces, &values));
                for &(stacktrace, value) in run {
                    let entry = expected.entry(stacktrace).or_default();
                    *entry = (entry.0 + value, entry.1 + value.unsigned_abs());
                }
            }
            expected.retain(|_, (_, weight)| *weight != 0);
            for sums in [sparse, dense] {
                let mut got = BTreeMap::new();
                sums.each(|sum| { got.insert(sum.stacktrace, (sum.value, sum.weight)); });
                prop_assert_eq!(&got, &expected);
                prop_assert_eq!(sums.has_negative(), runs.iter().flatten().any(|(_, value)| *value < 0));
            }
        }
    }

    #[test]
    fn sums_saturate() {
        for sparse in [true, false] {
            let mut sums = StackSums::new(0, 0, sparse);
            assert!(!sums.add(&[3], &[i64::MAX]));
            assert!(sums.add(&[3, 3], &[1, 0]));
            let mut got = Vec::new();
            sums.each(|sum| got.push((sum.stacktrace, sum.value)));
            assert_eq!(got, [(3, i64::MAX)]);
        }
    }
}
