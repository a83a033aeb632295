//! Here is a tree and the sums of its stacktraces, gives you the value of every node and links to its children.
//!
//! A branch is one partition of one source, in one group, on one side of a comparison. Since every parent comes before its
//! children, one pass from the end adds children into parents and links them; nodes that no sample touched are skipped, never
//! linked, and their memory never written. Where a group touches a small part of a tree, the branch holds only that part, with
//! node ids of its own. Flat values are not kept: they are the difference to the children.

use std::sync::Arc;

use decima_store::source::Tree;

use crate::{
    api::QueryError,
    sums::{StackSums, add_saturating},
};

/// What is compared, or the only side.
pub(crate) const COMPARED: usize = 0;
/// What it is compared with.
pub(crate) const BASE: usize = 1;

/// The part of a cell's links that is the first child.
const FIRST_CHILD: u64 = u32::MAX as u64;

/// A branch holds only the nodes it touches if there are this many times more nodes than stacktraces, or if others share the
/// tree: looking for touched nodes one by one costs more than a pass over several times as many in a row.
const COMPACT_RATIO: usize = 64;

/// Touched nodes are sorted if there are this many times more nodes, else found in a pass over all.
const SORT_RATIO: usize = 16;

/// Values of a tree's nodes.
#[derive(Debug)]
pub(crate) struct Branch {
    /// Place of the symbols among the views.
    pub(crate) view: usize,
    /// Query-wide group.
    pub(crate) group: u32,
    /// [`COMPARED`] or [`BASE`].
    pub(crate) side: usize,
    shape: Shape,
    cells: Vec<Cell>,
    /// Cumulative sum of absolute values of each node, if any value is negative.
    weights: Option<Vec<u64>>,
    /// Nodes where stacktraces end, if they were wanted.
    leaves: Vec<Leaf>,
    /// Whether a sum did not fit.
    pub(crate) saturated: bool,
}

/// A node's cumulative value and links, side by side since they are read together: the value, then the first child in the low
/// half and the next sibling in the high half.
///
/// "No link" is not 0, so that a new array is filled rather than taken as zeroed pages: adding to those faults twice a page,
/// once to read and once to write, which took half the time of a fleet.
type Cell = [u64; 2];

/// A cell without value and links.
const EMPTY: Cell = [0, u64::MAX];

/// Which nodes there are.
#[derive(Debug)]
enum Shape {
    /// Those of the tree; with visible parents if frames are hidden.
    Whole { tree: Arc<Tree>, visible_parent: Option<Vec<u32>> },
    /// Those that stacktraces touch, the root first, in the order of the tree.
    Compact { parent: Vec<u32>, location: Vec<u32> },
}

impl Shape {
    fn node_count(&self) -> usize {
        self.parents().len()
    }

    fn parents(&self) -> &[u32] {
        match self {
            Self::Whole { visible_parent: Some(parent), .. } | Self::Compact { parent, .. } => parent,
            Self::Whole { tree, .. } => &tree.parent,
        }
    }

    fn locations(&self) -> &[u32] {
        match self {
            Self::Whole { tree, .. } => &tree.location,
            Self::Compact { location, .. } => location,
        }
    }
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

impl Visibility {
    fn keeps(&self, node: u32) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept[node as usize])
    }

    /// The node where a stacktrace that ends at `node` is seen to end.
    fn end(&self, node: u32) -> u32 {
        let start = self.starts_at.as_ref().map_or(node, |starts| starts[node as usize]);
        self.shown_as.as_ref().map_or(start, |shown| shown[start as usize])
    }

    fn parents(&self, tree: &Tree) -> Option<Vec<u32>> {
        let shown_as = self.shown_as.as_ref()?;
        Some(tree.parent.iter().map(|&parent| shown_as[parent as usize]).collect())
    }
}

/// Builds branches; keeps memory between them.
#[derive(Debug, Default)]
pub(crate) struct BranchBuilder {
    keep_leaves: bool,
    shares_trees: bool,
    /// By node of a tree: its place in a compact branch, else 0.
    places: Vec<u32>,
}

impl BranchBuilder {
    /// `keep_leaves`: walks from the leaves and flat values of functions need to know where stacktraces end.
    pub(crate) fn new(keep_leaves: bool) -> Self {
        Self { keep_leaves, shares_trees: false, places: Vec::new() }
    }

    /// Expects several branches of each tree: then memory goes with what they touch.
    pub(crate) fn share_trees(&mut self) {
        self.shares_trees = true;
    }

    /// Sums up a tree for (view, group, side). Adds what `visibility` drops to `filtered`.
    pub(crate) fn build(
        &mut self,
        (view, group, side): (usize, u32, usize),
        tree: &Arc<Tree>,
        sums: &StackSums,
        visibility: &Visibility,
        filtered: &mut i64,
    ) -> Result<Branch, QueryError> {
        let mut saturated = false;
        let mut leaves = leaves(tree, sums, visibility, filtered, &mut saturated)?;
        let is_compact = self.shares_trees || leaves.len() * COMPACT_RATIO < tree.parent.len();
        let shape = if is_compact {
            self.compact(tree, visibility, &mut leaves)
        } else {
            Shape::Whole { tree: Arc::clone(tree), visible_parent: visibility.parents(tree) }
        };
        let nodes = shape.node_count().max(1);
        let mut branch = Branch {
            view,
            group,
            side,
            shape,
            cells: vec![EMPTY; nodes],
            weights: sums.has_negative().then(|| vec![0; nodes]),
            leaves,
            saturated,
        };
        branch.place_leaves();
        branch.add_up();
        if !self.keep_leaves {
            branch.leaves = Vec::new();
        }
        Ok(branch)
    }

    /// Renumbers the nodes that leaves and their ancestors are.
    fn compact(&mut self, tree: &Tree, visibility: &Visibility, leaves: &mut [Leaf]) -> Shape {
        if self.places.len() < tree.parent.len() {
            self.places.resize(tree.parent.len(), 0);
        }
        let visible_parent = |node: u32| {
            let parent = tree.parent[node as usize];
            visibility.shown_as.as_ref().map_or(parent, |shown| shown[parent as usize])
        };
        let mut touched = vec![0];
        for leaf in leaves.iter() {
            let mut node = leaf.node;
            while node != 0 && self.places[node as usize] == 0 {
                self.places[node as usize] = 1;
                touched.push(node);
                node = visible_parent(node);
            }
        }
        if touched.len() * SORT_RATIO < tree.parent.len() {
            touched.sort_unstable();
        } else {
            touched.truncate(1);
            touched.extend((1..tree.parent.len() as u32).filter(|&node| self.places[node as usize] != 0));
        }
        for (place, &node) in (0..).zip(&touched) {
            self.places[node as usize] = place;
        }
        let parent = touched
            .iter()
            .map(|&node| if node == 0 { 0 } else { self.places[visible_parent(node) as usize] });
        let parent = parent.collect();
        let location = touched.iter().map(|&node| tree.location[node as usize]).collect();
        for leaf in leaves {
            leaf.node = self.places[leaf.node as usize];
        }
        for &node in &touched {
            self.places[node as usize] = 0;
        }
        Shape::Compact { parent, location }
    }
}

/// Where stacktraces are seen to end.
fn leaves(
    tree: &Tree,
    sums: &StackSums,
    visibility: &Visibility,
    filtered: &mut i64,
    saturated: &mut bool,
) -> Result<Vec<Leaf>, QueryError> {
    let mut leaves = Vec::with_capacity(sums.touched_max());
    let mut lost = None;
    sums.each(|sum| match tree.leaf.get(sum.stacktrace as usize) {
        Some(&node) if (node as usize) < tree.parent.len() => {
            if visibility.keeps(node) {
                leaves.push(Leaf { node: visibility.end(node), value: sum.value, weight: sum.weight });
            } else {
                *saturated |= add_saturating(filtered, sum.value);
            }
        }
        _ => lost = Some(sum.stacktrace),
    });
    match lost {
        None => Ok(leaves),
        Some(stacktrace) => Err(QueryError::Internal {
            message: format!("stacktrace {stacktrace} of partition {} has no node", sums.partition),
        }),
    }
}

impl Branch {
    fn place_leaves(&mut self) {
        for leaf in &self.leaves {
            self.saturated |= add_value(&mut self.cells[leaf.node as usize], leaf.value);
            if let Some(weights) = &mut self.weights {
                let weight = &mut weights[leaf.node as usize];
                *weight = weight.saturating_add(leaf.weight);
            }
        }
    }

    fn add_up(&mut self) {
        let parents = self.shape.parents();
        let mut saturated = false;
        for node in (1..self.cells.len()).rev() {
            let value = self.cells[node][0];
            let weight = self.weights.as_ref().map_or(value, |w| w[node]);
            if weight == 0 {
                continue;
            }
            let parent = parents[node] as usize;
            let parent_cell = &mut self.cells[parent];
            saturated |= add_value(parent_cell, value as i64);
            let elder = parent_cell[1] & FIRST_CHILD;
            parent_cell[1] = parent_cell[1] & !FIRST_CHILD | node as u64;
            let links = &mut self.cells[node][1];
            *links = *links & FIRST_CHILD | elder << 32;
            if let Some(weights) = &mut self.weights {
                weights[parent] = weights[parent].saturating_add(weight);
            }
        }
        self.saturated |= saturated;
    }

    /// Cumulative value of a node.
    pub(crate) fn value(&self, node: u32) -> i64 {
        self.cells[node as usize][0] as i64
    }

    /// Cumulative sum of the absolute values of a node.
    pub(crate) fn weight(&self, node: u32) -> u64 {
        match &self.weights {
            Some(weights) => weights[node as usize],
            None => self.cells[node as usize][0],
        }
    }

    /// Location of a node other than the root.
    pub(crate) fn location(&self, node: u32) -> u32 {
        self.shape.locations()[node as usize]
    }

    /// Visible parent of a node.
    pub(crate) fn parent(&self, node: u32) -> u32 {
        self.shape.parents()[node as usize]
    }

    /// Locations of all nodes that have a value; most come many times.
    pub(crate) fn touched_locations(&self) -> impl Iterator<Item = u32> + '_ {
        (1..self.cells.len() as u32).filter(|&node| self.weight(node) != 0).map(|node| self.location(node))
    }

    /// Touched children of a node.
    pub(crate) fn children(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.first_child(node), |&child| self.next_sibling(child))
    }

    /// First touched child.
    pub(crate) fn first_child(&self, node: u32) -> Option<u32> {
        link(self.cells[node as usize][1] as u32)
    }

    /// Next touched sibling.
    pub(crate) fn next_sibling(&self, node: u32) -> Option<u32> {
        link((self.cells[node as usize][1] >> 32) as u32)
    }

    /// Where stacktraces end, if leaves were kept. A node may come more than once.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }
}

fn link(node: u32) -> Option<u32> {
    (node != u32::MAX).then_some(node)
}

fn add_value(cell: &mut Cell, value: i64) -> bool {
    let mut sum = cell[0] as i64;
    let saturated = add_saturating(&mut sum, value);
    cell[0] = sum as u64;
    saturated
}
