//! One partition of the head: its stacktraces as a tree, its samples as chunks, its points.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{
    head::{chunk::Chunk, locations::TOGETHER},
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

/// Content → id for the stacktraces of one partition.
///
/// A stacktrace is found by its fingerprint, which is its identity: at 10⁹ stacktraces the chance of one wrong merge is below 10⁻²⁰.
/// A node is found by the hash of the locations from the root to it, not by (parent, location): so the hashes of a stacktrace
/// do not depend on what is found, and the processor waits for the memory of several of its nodes at once.
#[derive(Default)]
pub(crate) struct StacktraceIndex {
    hasher: RandomState,
    /// Nodes by the hash of their path, compared through the tree.
    nodes: HashTable<u32>,
    /// Stacktraces by fingerprint.
    stacktraces: HashTable<Entry>,
}

/// Halves of a fingerprint, since a whole one would be padded.
#[derive(Clone, Copy)]
struct Entry {
    high: u64,
    low: u64,
    stacktrace: u32,
}

impl Entry {
    fn fingerprint(self) -> u128 {
        (u128::from(self.high) << 64) | u128::from(self.low)
    }
}

impl StacktraceIndex {
    /// The index of an existing tree, which is empty or has a root, given the fingerprints of the locations.
    pub(crate) fn of(tree: &Tree, locations: &[u128]) -> Self {
        let mut index = Self::default();
        let paths = index.paths(tree);
        index.nodes.reserve(paths.len(), |_| 0);
        for (node, &path) in paths.iter().enumerate().skip(1) {
            index.nodes.insert_unique(path, node as u32, |&n| paths[n as usize]);
        }
        let mut scratch = Vec::new();
        for (stacktrace, &leaf) in tree.leaf.iter().enumerate() {
            let below = |&node: &u32| Some(tree.parent[node as usize]).filter(|&parent| parent != 0);
            let path = std::iter::successors(Some(leaf).filter(|&leaf| leaf != 0), below);
            let path = path.map(|node| locations[tree.location[node as usize] as usize]);
            let fingerprint = stacktrace_fingerprint(path, &mut scratch);
            index.insert(fingerprint, stacktrace as u32);
        }
        index
    }

    /// The ids of stacktraces with at most [`TOGETHER`] fingerprints; `None` for those that are new.
    pub(crate) fn find(&self, fingerprints: impl Iterator<Item = u128> + Clone) -> [Option<u32>; TOGETHER] {
        let mut found = [None; TOGETHER];
        // The first entry in a slot for a fingerprint is mostly the right one.
        for (found, fingerprint) in found.iter_mut().zip(fingerprints.clone()) {
            *found = self.stacktraces.find(fingerprint as u64, |_| true);
        }
        let mut ids = [None; TOGETHER];
        for ((id, found), fingerprint) in ids.iter_mut().zip(found).zip(fingerprints) {
            *id = found.and_then(|entry| match entry.fingerprint() == fingerprint {
                true => Some(entry.stacktrace),
                false => self.get(fingerprint),
            });
        }
        ids
    }

    fn get(&self, fingerprint: u128) -> Option<u32> {
        let is = |entry: &Entry| entry.fingerprint() == fingerprint;
        self.stacktraces.find(fingerprint as u64, is).map(|entry| entry.stacktrace)
    }

    /// The id of a stacktrace (locations leaf first, head ids), adding it if new.
    pub(crate) fn stacktrace(&mut self, tree: &mut Arc<Tree>, fingerprint: u128, locations: &[u32]) -> u32 {
        if let Some(known) = self.get(fingerprint) {
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
        self.insert(fingerprint, stacktrace);
        stacktrace
    }

    fn insert(&mut self, fingerprint: u128, stacktrace: u32) {
        let (high, low) = ((fingerprint >> 64) as u64, fingerprint as u64);
        self.stacktraces.insert_unique(low, Entry { high, low, stacktrace }, |e| e.low);
    }

    /// The node of a stacktrace, adding those of its path that are new.
    fn leaf(&mut self, tree: &mut Tree, locations: &[u32]) -> u32 {
        let mut node = 0;
        let mut path = ROOT_PATH;
        let mut rest = locations.iter().rev();
        for &location in rest.by_ref() {
            path = self.hasher.hash_one((path, location));
            let found = self
                .nodes
                .find(path, |&n| tree.parent[n as usize] == node && tree.location[n as usize] == location);
            match found {
                Some(&found) => node = found,
                None => {
                    node = self.add_node(tree, node, path, location);
                    break;
                }
            }
        }
        // Nothing is below what was not there.
        for &location in rest {
            path = self.hasher.hash_one((path, location));
            node = self.add_node(tree, node, path, location);
        }
        node
    }

    fn add_node(&mut self, tree: &mut Tree, parent: u32, path: u64, location: u32) -> u32 {
        if self.nodes.len() == self.nodes.capacity() {
            // The table forgets the hashes, so that a node takes five bytes of it.
            let paths = self.paths(tree);
            self.nodes.reserve(1, |&n| paths[n as usize]);
        }
        let node = tree.parent.len() as u32;
        tree.parent.push(parent);
        tree.location.push(location);
        self.nodes.insert_unique(path, node, |_| path);
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
        5 * self.nodes.capacity() + 25 * self.stacktraces.capacity()
    }
}

impl Partition {
    /// Memory of the rows.
    pub(crate) fn tree_size_bytes(&self) -> usize {
        8 * self.tree.parent.capacity() + 4 * self.tree.leaf.capacity()
    }
}
