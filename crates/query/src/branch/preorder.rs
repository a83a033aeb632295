//! A branch over a tree in preorder: running sums over its leaves.
//!
//! The nodes at and under one are a run of numbers, and so the leaves in it are a run too: its value is the difference of two
//! running sums. Nothing is kept or written per node; who comes from the root carries the run of leaves along, so that the run of
//! a child is found by looking on from that of the child before it. Differences are exact, since the sum of all absolute values
//! fits: where it does not, sums have to stop at the ends of the type, and the branch is linked instead.

use std::sync::Arc;

use decima_store::source::Tree;

use super::{Leaf, Subtree};

/// Siblings without a value that are passed one by one, before the one with the next leaf is climbed to from there.
const PASSED_MAX: usize = 8;

/// Running sums over the leaves of a tree.
#[derive(Debug)]
pub(super) struct Preorder {
    tree: Arc<Tree>,
    /// Nodes where stacktraces end, ascending.
    leaves: Vec<u32>,
    /// Sum of the leaves before each, and of all.
    sums: Vec<i64>,
    /// Sum of the absolute values of the leaves before each, and of all, if any value is negative.
    weights: Option<Vec<u64>>,
}

impl Preorder {
    /// `None` if the tree is not known to be in preorder, or if the sum of all absolute values does not fit.
    pub(super) fn new(tree: &Arc<Tree>, leaves: &[Leaf], has_negative: bool) -> Option<Self> {
        if tree.subtree_sizes.len() != tree.parent.len() || tree.parent.is_empty() {
            return None;
        }
        let all = leaves.iter().try_fold(0u64, |all, leaf| all.checked_add(leaf.weight))?;
        i64::try_from(all).ok()?;
        if leaves.is_sorted_by_key(|leaf| leaf.node) {
            return Some(Self::over(tree, leaves, has_negative));
        }
        let mut sorted = leaves.to_vec();
        sorted.sort_unstable_by_key(|leaf| leaf.node);
        Some(Self::over(tree, &sorted, has_negative))
    }

    fn over(tree: &Arc<Tree>, leaves: &[Leaf], has_negative: bool) -> Self {
        fn running<T: Copy + Default + std::ops::Add<Output = T>>(values: impl Iterator<Item = T>) -> Vec<T> {
            let running = values.scan(T::default(), |sum, value| {
                *sum = *sum + value;
                Some(*sum)
            });
            std::iter::once(T::default()).chain(running).collect()
        }
        Self {
            tree: Arc::clone(tree),
            leaves: leaves.iter().map(|leaf| leaf.node).collect(),
            sums: running(leaves.iter().map(|leaf| leaf.value)),
            weights: has_negative.then(|| running(leaves.iter().map(|leaf| leaf.weight))),
        }
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Locations of all nodes with leaves but the root: from each leaf up to where another was before.
    pub(super) fn touched_locations(&self) -> Vec<u32> {
        let mut seen = vec![false; self.tree.parent.len()];
        seen[0] = true;
        let mut locations = Vec::new();
        for &leaf in &self.leaves {
            let mut node = leaf as usize;
            while !std::mem::replace(&mut seen[node], true) {
                locations.push(self.tree.location[node]);
                node = self.tree.parent[node] as usize;
            }
        }
        locations
    }

    /// The root, with all leaves.
    pub(super) fn root(&self) -> Subtree {
        Subtree { node: 0, first_leaf: 0, end_leaf: self.leaves.len() as u32 }
    }

    /// Cumulative value of a subtree and the sum of the absolute values in it.
    pub(super) fn amount(&self, at: Subtree) -> (i64, u64) {
        let (first, end) = (at.first_leaf as usize, at.end_leaf as usize);
        let value = self.sums[end] - self.sums[first];
        let weight = self.weights.as_ref().map_or(value as u64, |weights| weights[end] - weights[first]);
        (value, weight)
    }

    /// First child that has leaves.
    pub(super) fn first_child(&self, parent: Subtree) -> Option<Subtree> {
        // Stacktraces that end at the parent itself come first.
        let first = self.leaves_below(parent.first_leaf, parent.end_leaf, parent.node + 1);
        self.child_from(parent, parent.node + 1, first)
    }

    /// The next child of `parent` after `child` that has leaves.
    pub(super) fn next_sibling(&self, parent: Subtree, child: Subtree) -> Option<Subtree> {
        self.child_from(parent, self.end(child.node), child.end_leaf)
    }

    /// The first child of `parent` from `node` on, which is one of its children or after them, that has leaves. `first_leaf` is
    /// the first leaf from there on.
    fn child_from(&self, parent: Subtree, mut node: u32, first_leaf: u32) -> Option<Subtree> {
        if first_leaf >= parent.end_leaf {
            return None;
        }
        let leaf = self.leaves[first_leaf as usize];
        let mut passed = 0;
        while self.end(node) <= leaf {
            node = self.end(node);
            passed += 1;
            if passed == PASSED_MAX {
                node = self.child_above(parent.node, leaf);
            }
        }
        let end_leaf = self.leaves_below(first_leaf, parent.end_leaf, self.end(node));
        Some(Subtree { node, first_leaf, end_leaf })
    }

    /// The child of `parent` that has `node` at or under it.
    fn child_above(&self, parent: u32, mut node: u32) -> u32 {
        while self.tree.parent[node as usize] > parent {
            node = self.tree.parent[node as usize];
        }
        node
    }

    /// One past the last node under a node.
    fn end(&self, node: u32) -> u32 {
        node + self.tree.subtree_sizes[node as usize]
    }

    /// The first of the leaves `from..to` that is at `node` or after it; `to` if none is.
    fn leaves_below(&self, from: u32, to: u32, node: u32) -> u32 {
        let run = &self.leaves[from as usize..to as usize];
        // Most runs are short: the end is looked for in steps that double.
        let mut bound = 1;
        while bound < run.len() && run[bound] < node {
            bound *= 2;
        }
        let (low, high) = (bound / 2, run.len().min(bound + 1));
        from + (low + run[low..high].partition_point(|&leaf| leaf < node)) as u32
    }
}
