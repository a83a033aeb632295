//! One partition of the head: its stacktraces as a tree, its samples as chunks, its points.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    head::chunk::Chunk,
    source::{Point, Tree},
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

/// Content → id for the stacktraces of one partition.
#[derive(Default)]
pub(crate) struct StacktraceIndex {
    hasher: RandomState,
    /// Nodes by (parent, location), compared through the tree.
    nodes: HashTable<u32>,
    /// Stacktraces by the fingerprint of their locations.
    stacktraces: HashTable<Entry>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Entry {
    high: u64,
    low: u64,
    stacktrace: u32,
}

impl StacktraceIndex {
    /// The index of an existing tree, which is empty or has a root.
    pub(crate) fn of(tree: &Tree) -> Self {
        let mut index = Self::default();
        let hasher = index.hasher.clone();
        index.nodes.reserve(tree.parent.len(), |_| 0);
        for node in 1..tree.parent.len() as u32 {
            index.nodes.insert_unique(node_hash(&hasher, tree, node), node, |&n| node_hash(&hasher, tree, n));
        }
        for (stacktrace, &leaf) in tree.leaf.iter().enumerate() {
            index.scratch.clear();
            let mut node = leaf;
            while node != 0 {
                index.scratch.extend_from_slice(&tree.location[node as usize].to_le_bytes());
                node = tree.parent[node as usize];
            }
            let fingerprint = xxh3_128(&index.scratch);
            index.insert(fingerprint, stacktrace as u32);
        }
        index
    }

    /// The id of a stacktrace (locations leaf first, head ids), adding it if new.
    ///
    /// Identity is the 128-bit fingerprint of the locations' ids, which are exact: at 10⁹ stacktraces the chance of one
    /// wrong merge is below 10⁻²⁰.
    pub(crate) fn stacktrace(&mut self, tree: &mut Arc<Tree>, locations: &[u32]) -> u32 {
        self.scratch.clear();
        for location in locations {
            self.scratch.extend_from_slice(&location.to_le_bytes());
        }
        let fingerprint = xxh3_128(&self.scratch);
        let (high, low) = ((fingerprint >> 64) as u64, fingerprint as u64);
        if let Some(entry) = self.stacktraces.find(low, |e| e.low == low && e.high == high) {
            return entry.stacktrace;
        }
        let tree = Arc::make_mut(tree);
        if tree.parent.is_empty() {
            tree.parent.push(0);
            tree.location.push(0);
        }
        let mut node = 0u32;
        for &location in locations.iter().rev() {
            node = self.child(tree, node, location);
        }
        let stacktrace = tree.leaf.len() as u32;
        tree.leaf.push(node);
        self.insert(fingerprint, stacktrace);
        stacktrace
    }

    fn insert(&mut self, fingerprint: u128, stacktrace: u32) {
        let (high, low) = ((fingerprint >> 64) as u64, fingerprint as u64);
        self.stacktraces.insert_unique(low, Entry { high, low, stacktrace }, |e| e.low);
    }

    fn child(&mut self, tree: &mut Tree, parent: u32, location: u32) -> u32 {
        let hasher = &self.hasher;
        let hash = hasher.hash_one((u64::from(parent) << 32) | u64::from(location));
        let found = self
            .nodes
            .find(hash, |&n| tree.parent[n as usize] == parent && tree.location[n as usize] == location);
        if let Some(&node) = found {
            return node;
        }
        let node = tree.parent.len() as u32;
        tree.parent.push(parent);
        tree.location.push(location);
        self.nodes.insert_unique(hash, node, |&n| node_hash(hasher, tree, n));
        node
    }

    /// Memory of the tables.
    pub(crate) fn size_bytes(&self) -> usize {
        5 * self.nodes.capacity() + 25 * self.stacktraces.capacity()
    }
}

fn node_hash(hasher: &RandomState, tree: &Tree, node: u32) -> u64 {
    let n = node as usize;
    hasher.hash_one((u64::from(tree.parent[n]) << 32) | u64::from(tree.location[n]))
}

impl Partition {
    /// Memory of the rows.
    pub(crate) fn tree_size_bytes(&self) -> usize {
        8 * self.tree.parent.capacity() + 4 * self.tree.leaf.capacity()
    }
}
