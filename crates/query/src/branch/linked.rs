//! A branch whose nodes hold their values and links to their children.
//!
//! Since every parent comes before its children, one pass from the end adds children into parents and links them; nodes that no
//! sample touched are skipped, never linked, and their memory never written. Where a group touches a small part of a tree, only
//! that part is held, with node ids of its own.

use std::sync::Arc;

use decima_store::source::Tree;

use super::{Leaf, Subtree, Visibility};
use crate::sums::add_saturating;

/// The part of a cell's links that is the first child.
const FIRST_CHILD: u64 = u32::MAX as u64;

/// Only the nodes that are touched are held if there are this many times more nodes than stacktraces, or if others share the
/// tree: looking for touched nodes one by one costs more than a pass over several times as many in a row.
const COMPACT_RATIO: usize = 64;

/// Touched nodes are sorted if there are this many times more nodes, else found in a pass over all.
const SORT_RATIO: usize = 16;

/// A node's cumulative value and links, side by side since they are read together: the value, then the first child in the low
/// half and the next sibling in the high half.
///
/// "No link" is not 0, so that a new array is filled rather than taken as zeroed pages: adding to those faults twice a page,
/// once to read and once to write, which took half the time of a fleet.
type Cell = [u64; 2];

/// A cell without value and links.
const EMPTY: Cell = [0, u64::MAX];

/// Nodes with values and links.
#[derive(Debug)]
pub(super) struct Linked {
    shape: Shape,
    cells: Vec<Cell>,
    /// Cumulative sum of absolute values of each node, if any value is negative.
    weights: Option<Vec<u64>>,
    /// Whether a sum did not fit.
    pub(super) saturated: bool,
}

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

/// Links trees; keeps memory between them.
#[derive(Debug, Default)]
pub(super) struct Linker {
    shares_trees: bool,
    /// By node of a tree: its place among the touched ones, else 0.
    places: Vec<u32>,
}

impl Linker {
    /// Expects several branches of each tree: then memory goes with what they touch.
    pub(super) fn share_trees(&mut self) {
        self.shares_trees = true;
    }

    /// Sums up a tree. Nodes of `leaves` become those of the branch.
    pub(super) fn link(
        &mut self,
        tree: &Arc<Tree>,
        leaves: &mut [Leaf],
        visibility: &Visibility,
        has_negative: bool,
    ) -> Linked {
        let is_compact = self.shares_trees || leaves.len() * COMPACT_RATIO < tree.parent.len();
        let shape = if is_compact {
            self.compact(tree, visibility, leaves)
        } else {
            Shape::Whole { tree: Arc::clone(tree), visible_parent: visibility.parents(tree) }
        };
        let nodes = shape.node_count().max(1);
        let weights = has_negative.then(|| vec![0; nodes]);
        let mut linked = Linked { shape, cells: vec![EMPTY; nodes], weights, saturated: false };
        linked.place(leaves);
        linked.add_up();
        linked
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

impl Linked {
    /// A node of a linked branch, which needs no more than its number.
    pub(super) fn at(node: u32) -> Subtree {
        Subtree { node, first_leaf: 0, end_leaf: 0 }
    }

    fn place(&mut self, leaves: &[Leaf]) {
        for leaf in leaves {
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

    /// Cumulative value and sum of the absolute values of a node.
    pub(super) fn amount(&self, node: u32) -> (i64, u64) {
        let value = self.cells[node as usize][0];
        (value as i64, self.weights.as_ref().map_or(value, |weights| weights[node as usize]))
    }

    /// Location of a node other than the root.
    pub(super) fn location(&self, node: u32) -> u32 {
        self.shape.locations()[node as usize]
    }

    /// Visible parent of a node.
    pub(super) fn parent(&self, node: u32) -> u32 {
        self.shape.parents()[node as usize]
    }

    /// First touched child.
    pub(super) fn first_child(&self, node: u32) -> Option<u32> {
        link(self.cells[node as usize][1] as u32)
    }

    /// Next touched sibling.
    pub(super) fn next_sibling(&self, node: u32) -> Option<u32> {
        link((self.cells[node as usize][1] >> 32) as u32)
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
