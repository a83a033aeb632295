//! One partition of the head: its stacktraces as a tree, its samples as chunks, its points.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    head::{
        chunk::Chunk,
        ids::{Ids, TOGETHER},
    },
    source::{Point, Tree, stacktrace_fingerprint},
};

/// What queries read of a partition. Clones are cheap: everything behind an [`Arc`] is copied on the next write only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partition {
    /// Stacktraces.
    pub(crate) tree: Arc<Tree>,
    /// Samples.
    pub(crate) chunks: Arc<Vec<Arc<Chunk>>>,
    /// (series, point) in the order of arrival.
    pub(crate) points: Arc<Vec<(u32, Point)>>,
}

/// The hash of no locations.
const ROOT_PATH: u64 = 0;

/// A node with a part of the hash of its path, by which most others in its slot are told from it. In tests most are not.
#[derive(Clone, Copy)]
struct Node {
    id: u32,
    check: u32,
}

impl Node {
    fn of(id: u32, path: u64) -> Self {
        Self { id, check: Self::check(path) }
    }

    fn check(path: u64) -> u32 {
        // The table itself takes the bits above, and some from below.
        let check = (path >> 25) as u32;
        if cfg!(test) { check & 1 } else { check }
    }
}

/// Content → id for the stacktraces of one partition.
///
/// A stacktrace is found by its fingerprint, which is its identity.
/// A node is found by the hash of the locations from the root to it, not by (parent, location): so the hashes of a stacktrace
/// do not depend on what is found, and the processor waits for the memory of several of its nodes at once. Whether a node is the
/// right one is seen in the tree once for a stacktrace, and not for each of its nodes.
#[derive(Default)]
pub(crate) struct StacktraceIndex {
    hasher: RandomState,
    /// Nodes by the hash of their path.
    nodes: HashTable<Node>,
    /// Hashes of the stacktrace at hand.
    scratch_paths: Vec<u64>,
    /// Stacktraces by fingerprint.
    stacktraces: Ids,
}

impl StacktraceIndex {
    /// The index of an existing tree, which is empty or has a root, given the fingerprints of the locations.
    pub(crate) fn of(tree: &Tree, locations: &[u128]) -> Self {
        let mut index = Self::default();
        let paths = index.paths(tree);
        index.nodes.reserve(paths.len(), |_| 0);
        for (node, &path) in paths.iter().enumerate().skip(1) {
            index.nodes.insert_unique(path, Node::of(node as u32, path), |n| paths[n.id as usize]);
        }
        let mut scratch = Vec::new();
        for (stacktrace, &leaf) in tree.leaf.iter().enumerate() {
            let below = |&node: &u32| Some(tree.parent[node as usize]).filter(|&parent| parent != 0);
            let path = std::iter::successors(Some(leaf).filter(|&leaf| leaf != 0), below);
            let path = path.map(|node| locations[tree.location[node as usize] as usize]);
            let fingerprint = stacktrace_fingerprint(path, &mut scratch);
            index.stacktraces.insert(fingerprint, stacktrace as u32);
        }
        index
    }

    /// The ids of stacktraces with at most [`TOGETHER`] fingerprints; `None` for those that are new.
    pub(crate) fn find(&self, fingerprints: impl Iterator<Item = u128> + Clone) -> [Option<u32>; TOGETHER] {
        self.stacktraces.find(fingerprints)
    }

    /// The id of a stacktrace (locations leaf first, head ids), adding it if new.
    pub(crate) fn stacktrace(&mut self, tree: &mut Arc<Tree>, fingerprint: u128, locations: &[u32]) -> u32 {
        if let Some(known) = self.stacktraces.get(fingerprint) {
            return known;
        }
        let tree = Arc::make_mut(tree);
        if tree.parent.is_empty() {
            tree.parent.push(0);
            tree.location.push(0);
        }
        let leaf = self.leaf(tree, locations);
        let stacktrace = tree.leaf.len() as u32;
        tree.leaf.push(leaf);
        self.stacktraces.insert(fingerprint, stacktrace);
        stacktrace
    }

    /// The node of a stacktrace, adding those of its path that are new.
    fn leaf(&mut self, tree: &mut Tree, locations: &[u32]) -> u32 {
        let mut paths = std::mem::take(&mut self.scratch_paths);
        paths.clear();
        paths.extend(locations.iter().rev().scan(ROOT_PATH, |path, location| {
            *path = self.hasher.hash_one((*path, location));
            Some(*path)
        }));
        let likely = self.known(&paths, |_, _, _| true);
        let (mut node, depth) = if is_path(tree, likely, locations) {
            likely
        } else {
            let from_root = |depth: usize| locations[locations.len() - 1 - depth];
            self.known(&paths, |depth, above, node| {
                tree.parent[node as usize] == above && tree.location[node as usize] == from_root(depth)
            })
        };
        // Nothing is below what was not there.
        for (&path, &location) in paths.iter().zip(locations.iter().rev()).skip(depth) {
            node = self.add_node(tree, node, path, location);
        }
        self.scratch_paths = paths;
        node
    }

    /// The last node of a path that is there, and how many nodes below the root it and those above it are. `is` is given the depth of
    /// a node, the one above it, and itself.
    fn known(&self, paths: &[u64], is: impl Fn(usize, u32, u32) -> bool) -> (u32, usize) {
        let mut above = 0;
        for (depth, &path) in paths.iter().enumerate() {
            let check = Node::check(path);
            match self.nodes.find(path, |n| n.check == check && is(depth, above, n.id)) {
                Some(node) => above = node.id,
                None => return (above, depth),
            }
        }
        (above, paths.len())
    }

    fn add_node(&mut self, tree: &mut Tree, parent: u32, path: u64, location: u32) -> u32 {
        if self.nodes.len() == self.nodes.capacity() {
            // The table forgets the hashes, so that a node takes nine bytes of it.
            let paths = self.paths(tree);
            self.nodes.reserve(1, |n| paths[n.id as usize]);
        }
        let node = tree.parent.len() as u32;
        tree.parent.push(parent);
        tree.location.push(location);
        self.nodes.insert_unique(path, Node::of(node, path), |_| path);
        node
    }

    /// The hash of each node's path.
    fn paths(&self, tree: &Tree) -> Vec<u64> {
        let mut paths = Vec::with_capacity(tree.parent.len());
        for (&parent, location) in tree.parent.iter().zip(&tree.location) {
            // A parent comes before its children; the root is its own.
            paths.push(match paths.get(parent as usize) {
                Some(&above) => self.hasher.hash_one((above, *location)),
                None => ROOT_PATH,
            });
        }
        paths
    }

    /// Memory of the tables.
    pub(crate) fn size_bytes(&self) -> usize {
        (size_of::<Node>() + 1) * self.nodes.capacity() + self.stacktraces.size_bytes()
    }
}

/// Whether a node is that of the outermost `depth` locations of a stacktrace.
fn is_path(tree: &Tree, (node, depth): (u32, usize), locations: &[u32]) -> bool {
    let mut node = node as usize;
    for &location in &locations[locations.len() - depth..] {
        if node == 0 || tree.location[node] != location {
            return false;
        }
        node = tree.parent[node] as usize;
    }
    node == 0
}

impl Partition {
    /// Memory of the rows.
    pub(crate) fn tree_size_bytes(&self) -> usize {
        8 * self.tree.parent.capacity() + 4 * self.tree.leaf.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn fingerprint(locations: &[u32]) -> u128 {
        stacktrace_fingerprint(locations.iter().map(|&location| u128::from(location)), &mut Vec::new())
    }

    /// Locations of a stacktrace, leaf first, out of the tree.
    fn path(tree: &Tree, stacktrace: u32) -> Vec<u32> {
        let below = |&node: &u32| Some(tree.parent[node as usize]).filter(|&parent| parent != 0);
        let leaf = Some(tree.leaf[stacktrace as usize]).filter(|&leaf| leaf != 0);
        std::iter::successors(leaf, below).map(|node| tree.location[node as usize]).collect()
    }

    proptest! {
        /// Stacktraces that share much, in any order and with the index rebuilt in between: each has one id, each of their beginnings
        /// one node. Most nodes in a slot cannot be told apart there.
        #[test]
        fn each_stacktrace_and_beginning_is_there_once(
            stacktraces in proptest::collection::vec(proptest::collection::vec(0u32..4, 0..7), 1..200),
            rebuilt_at in 0usize..200,
        ) {
            let mut tree = Arc::new(Tree::default());
            let locations: Vec<u128> = (0..4).collect();
            let mut index = StacktraceIndex::of(&tree, &locations);
            let mut ids: HashMap<Vec<u32>, u32> = HashMap::new();
            for (at, stacktrace) in stacktraces.iter().enumerate() {
                if at == rebuilt_at {
                    index = StacktraceIndex::of(&tree, &locations);
                }
                let found = index.find(std::iter::once(fingerprint(stacktrace)))[0];
                prop_assert_eq!(found, ids.get(stacktrace).copied());
                let id = index.stacktrace(&mut tree, fingerprint(stacktrace), stacktrace);
                prop_assert_eq!(path(&tree, id), stacktrace.clone());
                prop_assert_eq!(*ids.entry(stacktrace.clone()).or_insert(id), id);
            }
            prop_assert_eq!(tree.leaf.len(), ids.len());
            let below = |stacktrace: &Vec<u32>| (0..stacktrace.len()).map(|from| stacktrace[from..].to_vec()).collect::<Vec<_>>();
            let beginnings: std::collections::HashSet<Vec<u32>> = ids.keys().flat_map(below).collect();
            prop_assert_eq!(tree.parent.len(), beginnings.len() + 1);
        }
    }
}
