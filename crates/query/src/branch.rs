//! Here is a tree and the sums of its stacktraces, gives you the value of every node and its children.
//!
//! A branch is one partition of one source, in one group, on one side of a comparison. Flat values are not kept: they are the
//! difference to the children. A branch is held in one of two ways:
//!
//! - [`preorder`]: the tree is in preorder, as those of blocks are. Then what is under a node is a run of leaves, and a value is
//!   the difference of two sums: memory and time go with the stacktraces, not with the nodes.
//! - [`linked`]: any other tree, or one with hidden frames. Values of children are added into parents, node by node.

use std::sync::Arc;

use decima_store::source::Tree;

use crate::{
    api::QueryError,
    sums::{StackSums, add_saturating},
};
use linked::{Linked, Linker};
use preorder::Preorder;

mod linked;
mod preorder;

/// What is compared, or the only side.
pub(crate) const COMPARED: usize = 0;
/// What it is compared with.
pub(crate) const BASE: usize = 1;

/// Values of a tree's nodes.
#[derive(Debug)]
pub(crate) struct Branch {
    /// Place of the symbols among the views.
    pub(crate) view: usize,
    /// Query-wide group.
    pub(crate) group: u32,
    /// [`COMPARED`] or [`BASE`].
    pub(crate) side: usize,
    nodes: Nodes,
    /// Where stacktraces end, if that was wanted. A node may come more than once.
    leaves: Vec<Leaf>,
    /// Whether a sum did not fit.
    pub(crate) saturated: bool,
}

#[derive(Debug)]
enum Nodes {
    Preorder(Preorder),
    Linked(Linked),
}

/// A node that has a value, as it is come to from the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subtree {
    pub(crate) node: u32,
    /// Leaves at and under it, of a branch in preorder.
    first_leaf: u32,
    end_leaf: u32,
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
    linker: Linker,
}

impl BranchBuilder {
    /// `keep_leaves`: walks from the leaves and flat values of functions need to know where stacktraces end.
    pub(crate) fn new(keep_leaves: bool) -> Self {
        Self { keep_leaves, linker: Linker::default() }
    }

    /// Expects several branches of each tree: then memory goes with what they touch.
    pub(crate) fn share_trees(&mut self) {
        self.linker.share_trees();
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
        let shows_all = visibility.shown_as.is_none();
        let preorder = shows_all.then(|| Preorder::new(tree, &leaves, sums.has_negative())).flatten();
        let nodes = match preorder {
            Some(preorder) => Nodes::Preorder(preorder),
            None => {
                let linked = self.linker.link(tree, &mut leaves, visibility, sums.has_negative());
                saturated |= linked.saturated;
                Nodes::Linked(linked)
            }
        };
        if !self.keep_leaves {
            leaves = Vec::new();
        }
        Ok(Branch { view, group, side, nodes, leaves, saturated })
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
        Some(stacktrace) => Err(lost_stacktrace(stacktrace, sums.partition)),
    }
}

/// What is wrong where a source has samples of a stacktrace that its trees do not have.
pub(crate) fn lost_stacktrace(stacktrace: u32, partition: u32) -> QueryError {
    QueryError::Internal { message: format!("stacktrace {stacktrace} of partition {partition} has no node") }
}

impl Branch {
    /// The root, which comes even without a value.
    pub(crate) fn root(&self) -> Subtree {
        match &self.nodes {
            Nodes::Preorder(nodes) => nodes.root(),
            Nodes::Linked(_) => Linked::at(0),
        }
    }

    /// Cumulative value of a subtree and the sum of the absolute values in it.
    pub(crate) fn amount(&self, at: Subtree) -> (i64, u64) {
        match &self.nodes {
            Nodes::Preorder(nodes) => nodes.amount(at),
            Nodes::Linked(nodes) => nodes.amount(at.node),
        }
    }

    /// Location of a node other than the root.
    pub(crate) fn location(&self, node: u32) -> u32 {
        match &self.nodes {
            Nodes::Preorder(nodes) => nodes.tree().location[node as usize],
            Nodes::Linked(nodes) => nodes.location(node),
        }
    }

    /// Visible parent of a node.
    pub(crate) fn parent(&self, node: u32) -> u32 {
        match &self.nodes {
            Nodes::Preorder(nodes) => nodes.tree().parent[node as usize],
            Nodes::Linked(nodes) => nodes.parent(node),
        }
    }

    /// Locations of all nodes that have a value; most come many times.
    pub(crate) fn touched_locations(&self) -> Vec<u32> {
        if let Nodes::Preorder(nodes) = &self.nodes {
            return nodes.touched_locations();
        }
        let mut locations = Vec::new();
        let mut open = vec![self.root()];
        while let Some(at) = open.pop() {
            for child in self.children(at) {
                locations.push(self.location(child.node));
                open.push(child);
            }
        }
        locations
    }

    /// Children of a subtree that have a value.
    pub(crate) fn children(&self, parent: Subtree) -> impl Iterator<Item = Subtree> + '_ {
        std::iter::successors(self.first_child(parent), move |&child| self.next_sibling(parent, child))
    }

    /// First child that has a value.
    pub(crate) fn first_child(&self, parent: Subtree) -> Option<Subtree> {
        match &self.nodes {
            Nodes::Preorder(nodes) => nodes.first_child(parent),
            Nodes::Linked(nodes) => nodes.first_child(parent.node).map(Linked::at),
        }
    }

    /// The next child of `parent` after `child` that has a value.
    pub(crate) fn next_sibling(&self, parent: Subtree, child: Subtree) -> Option<Subtree> {
        match &self.nodes {
            Nodes::Preorder(nodes) => nodes.next_sibling(parent, child),
            Nodes::Linked(nodes) => nodes.next_sibling(child.node).map(Linked::at),
        }
    }

    /// Where stacktraces end, if leaves were kept. A node may come more than once.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tree in preorder: each node goes `up` some levels from the one before it.
    fn tree(ups: &[usize], leaf: Vec<u32>) -> Tree {
        let mut path = vec![0u32];
        let mut parent = vec![0u32];
        for &up in ups {
            path.truncate(path.len().saturating_sub(up).max(1));
            parent.push(path[path.len() - 1]);
            path.push(parent.len() as u32 - 1);
        }
        Tree { location: (0..parent.len() as u32).collect(), parent, leaf, subtree_sizes: Vec::new() }
    }

    /// Every node with a value: (depth, location, value, weight), children in the order of the branch.
    fn walk(branch: &Branch) -> Vec<(usize, u32, i64, u64)> {
        fn visit(branch: &Branch, at: Subtree, depth: usize, out: &mut Vec<(usize, u32, i64, u64)>) {
            let (value, weight) = branch.amount(at);
            out.push((depth, branch.location(at.node), value, weight));
            for child in branch.children(at) {
                assert!(branch.parent(child.node) == at.node && child.node != 0);
                visit(branch, child, depth + 1, out);
            }
        }
        let mut out = Vec::new();
        visit(branch, branch.root(), 0, &mut out);
        out
    }

    fn branch(tree: &Arc<Tree>, sums: &StackSums, visibility: &Visibility, shares: bool) -> (Branch, i64) {
        let mut filtered = 0;
        let mut builder = BranchBuilder::new(false);
        if shares {
            builder.share_trees();
        }
        let branch = builder.build((0, 0, COMPARED), tree, sums, visibility, &mut filtered).unwrap();
        (branch, filtered)
    }

    fn is_preorder(branch: &Branch) -> bool {
        matches!(branch.nodes, Nodes::Preorder(_))
    }

    proptest! {
        #[test]
        fn a_branch_is_the_same_however_it_is_held(
            ups in proptest::collection::vec(0usize..4, 0..60),
            leaves in proptest::collection::vec((any::<prop::sample::Index>(), -3i64..9), 0..12),
            dropped in proptest::collection::vec(any::<bool>(), 61),
            wide in any::<bool>(),
        ) {
            // A wide tree has siblings to pass without a value.
            let ups: Vec<usize> = ups.iter().map(|&up| if wide { up.max(1) } else { up }).collect();
            let nodes = ups.len() + 1;
            let mut leaf: Vec<u32> = leaves.iter().map(|(index, _)| index.index(nodes) as u32).collect();
            leaf.sort_unstable();
            let plain = tree(&ups, leaf);
            let mut indexed = plain.clone();
            indexed.index_preorder().unwrap();
            let mut sums = StackSums::new(0, 0, false);
            let (ids, values): (Vec<u32>, Vec<i64>) =
                leaves.iter().enumerate().map(|(id, (_, value))| (id as u32, *value)).unzip();
            sums.add(&ids, &values);
            let kept = wide.then(|| dropped[..nodes].to_vec());
            let visibility = Visibility { kept, ..Visibility::default() };
            let (plain, indexed) = (Arc::new(plain), Arc::new(indexed));
            let (preorder, filtered) = branch(&indexed, &sums, &visibility, false);
            prop_assert!(is_preorder(&preorder));
            for shares in [false, true] {
                let (linked, linked_filtered) = branch(&plain, &sums, &visibility, shares);
                prop_assert!(!is_preorder(&linked));
                prop_assert_eq!(walk(&preorder), walk(&linked));
                prop_assert_eq!(filtered, linked_filtered);
                let sorted = |branch: &Branch| {
                    let mut locations = branch.touched_locations();
                    locations.sort_unstable();
                    locations
                };
                prop_assert_eq!(sorted(&preorder), sorted(&linked));
            }
        }
    }

    #[test]
    fn sums_that_do_not_fit_stop_at_the_ends_of_the_type() {
        let mut indexed = tree(&[0, 1], vec![1, 2]);
        indexed.index_preorder().unwrap();
        let mut sums = StackSums::new(0, 0, false);
        sums.add(&[0, 1], &[i64::MAX, 1]);
        let (branch, _) = branch(&Arc::new(indexed), &sums, &Visibility::default(), false);
        assert!(branch.saturated && !is_preorder(&branch));
        assert_eq!(walk(&branch)[0].2, i64::MAX);
    }

    #[test]
    fn a_tree_out_of_preorder_is_told() {
        let check = |parent: Vec<u32>, expected: Result<Vec<u32>, &str>| {
            let mut tree = Tree { parent, ..Tree::default() };
            let indexed = tree.index_preorder();
            assert_eq!(indexed.map(|()| tree.subtree_sizes), expected.map_err(str::to_owned));
        };
        check(vec![0], Ok(vec![1]));
        check(vec![0, 0, 1, 0, 3], Ok(vec![5, 2, 1, 2, 1]));
        check(vec![0, 0, 0, 1], Err("node 3 is not in preorder"));
        check(vec![0, 0, 1, 0, 2], Err("node 4 is not in preorder"));
    }
}
