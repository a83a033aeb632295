//! Here is a tree and the sums of its stacktraces, gives you the value of every node and links to its children.
//!
//! A branch is one partition of one source, in one group, on one side of a comparison. Since every parent comes before its
//! children, one pass from the end adds children into parents and links them; nodes that no sample touched are skipped, never
//! linked, and their memory never written. Flat values are not kept: they are the difference to the children.

use std::sync::Arc;

use decima_store::source::Tree;

use crate::{
    api::QueryError,
    scan::{StackSums, add_saturating},
};

/// What is compared, or the only side.
pub(crate) const COMPARED: usize = 0;
/// What it is compared with.
pub(crate) const BASE: usize = 1;

/// No node: as a child link, since the root is nobody's child.
const NONE: u32 = 0;

/// Values of a tree's nodes.
#[derive(Debug)]
pub(crate) struct Branch {
    /// Place of the symbols among the views.
    pub(crate) view: usize,
    /// Query-wide group.
    pub(crate) group: u32,
    /// [`COMPARED`] or [`BASE`].
    pub(crate) side: usize,
    tree: Arc<Tree>,
    /// Parents when frames are hidden: the nearest visible ancestor.
    visible_parent: Option<Vec<u32>>,
    /// Cumulative value of each node.
    values: Vec<i64>,
    /// Cumulative sum of absolute values, if any value is negative.
    weights: Option<Vec<u64>>,
    first_child: Vec<u32>,
    next_sibling: Vec<u32>,
    /// Nodes where stacktraces end.
    leaves: Vec<Leaf>,
    /// Whether a sum did not fit.
    pub(crate) saturated: bool,
}

/// Where a stacktrace ends, with its own value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) node: u32,
    pub(crate) value: i64,
    pub(crate) weight: u64,
}

/// Nodes that a filter leaves of a tree.
#[derive(Debug, Default)]
pub(crate) struct Visibility {
    /// Whether stacktraces that end at a node are kept; `None` = all.
    pub(crate) kept: Option<Vec<bool>>,
    /// The node itself or its nearest visible ancestor; `None` = all are visible.
    pub(crate) shown_as: Option<Vec<u32>>,
    /// Where stacktraces that end at a node begin when read from the leaf; `None` = there.
    pub(crate) starts_at: Option<Vec<u32>>,
}

impl Branch {
    /// Sums up a tree. Adds what `visibility` drops to `filtered`. Keeps leaves if asked to (walks from the leaves need them).
    pub(crate) fn build(
        place: (usize, u32, usize),
        tree: Arc<Tree>,
        sums: &StackSums,
        visibility: &Visibility,
        keep_leaves: bool,
        filtered: &mut i64,
    ) -> Result<Self, QueryError> {
        let (view, group, side) = place;
        let nodes = tree.parent.len().max(1);
        let mut branch = Self {
            view,
            group,
            side,
            visible_parent: visible_parents(&tree, visibility),
            values: vec![0; nodes],
            weights: sums.weights.as_ref().map(|_| vec![0; nodes]),
            first_child: vec![NONE; nodes],
            next_sibling: vec![NONE; nodes],
            leaves: Vec::new(),
            saturated: false,
            tree,
        };
        branch.place_stacktraces(sums, visibility, keep_leaves, filtered)?;
        branch.add_up();
        Ok(branch)
    }

    fn place_stacktraces(
        &mut self,
        sums: &StackSums,
        visibility: &Visibility,
        keep_leaves: bool,
        filtered: &mut i64,
    ) -> Result<(), QueryError> {
        for (stacktrace, &value) in sums.values.iter().enumerate() {
            let weight = sums.weights.as_ref().map_or(value as u64, |w| w[stacktrace]);
            if weight == 0 {
                continue;
            }
            let Some(&leaf) = self.tree.leaf.get(stacktrace).filter(|&&n| (n as usize) < self.values.len()) else {
                return Err(QueryError::Internal {
                    message: format!("stacktrace {stacktrace} of partition {} has no node", sums.partition),
                });
            };
            if visibility.kept.as_ref().is_some_and(|kept| !kept[leaf as usize]) {
                self.saturated |= add_saturating(filtered, value);
                continue;
            }
            let start = visibility.starts_at.as_ref().map_or(leaf, |start| start[leaf as usize]);
            let node = visibility.shown_as.as_ref().map_or(start, |shown| shown[start as usize]);
            self.saturated |= add_saturating(&mut self.values[node as usize], value);
            if let Some(weights) = &mut self.weights {
                weights[node as usize] = weights[node as usize].saturating_add(weight);
            }
            if keep_leaves {
                self.leaves.push(Leaf { node, value, weight });
            }
        }
        Ok(())
    }

    fn add_up(&mut self) {
        let parents = self.visible_parent.as_deref().unwrap_or(&self.tree.parent);
        let (values, first_child, next_sibling) = (&mut self.values, &mut self.first_child, &mut self.next_sibling);
        let mut saturated = false;
        for node in (1..values.len()).rev() {
            let value = values[node];
            let weight = self.weights.as_ref().map_or(value as u64, |w| w[node]);
            if weight == 0 {
                continue;
            }
            let parent = parents[node] as usize;
            saturated |= add_saturating(&mut values[parent], value);
            if let Some(weights) = &mut self.weights {
                weights[parent] = weights[parent].saturating_add(weight);
            }
            next_sibling[node] = first_child[parent];
            first_child[parent] = node as u32;
        }
        self.saturated |= saturated;
    }

    /// Cumulative value of a node.
    pub(crate) fn value(&self, node: u32) -> i64 {
        self.values[node as usize]
    }

    /// Cumulative sum of the absolute values of a node.
    pub(crate) fn weight(&self, node: u32) -> u64 {
        match &self.weights {
            Some(weights) => weights[node as usize],
            None => self.values[node as usize] as u64,
        }
    }

    /// Location of a node other than the root.
    pub(crate) fn location(&self, node: u32) -> u32 {
        self.tree.location[node as usize]
    }

    /// Visible parent of a node.
    pub(crate) fn parent(&self, node: u32) -> u32 {
        self.visible_parent.as_deref().unwrap_or(&self.tree.parent)[node as usize]
    }

    /// Locations of all nodes that have a value; most come many times.
    pub(crate) fn touched_locations(&self) -> impl Iterator<Item = u32> + '_ {
        (1..self.values.len() as u32).filter(|&node| self.weight(node) != 0).map(|node| self.location(node))
    }

    /// Touched children of a node.
    pub(crate) fn children(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.first_child[node as usize];
        std::iter::successors((first != NONE).then_some(first), |&child| {
            let next = self.next_sibling[child as usize];
            (next != NONE).then_some(next)
        })
    }

    /// First touched child.
    pub(crate) fn first_child(&self, node: u32) -> Option<u32> {
        let first = self.first_child[node as usize];
        (first != NONE).then_some(first)
    }

    /// Next touched sibling.
    pub(crate) fn next_sibling(&self, node: u32) -> Option<u32> {
        let next = self.next_sibling[node as usize];
        (next != NONE).then_some(next)
    }

    /// Where stacktraces end, if leaves were kept. A node may come more than once.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }
}

fn visible_parents(tree: &Tree, visibility: &Visibility) -> Option<Vec<u32>> {
    let shown_as = visibility.shown_as.as_ref()?;
    Some(tree.parent.iter().map(|&parent| shown_as[parent as usize]).collect())
}
