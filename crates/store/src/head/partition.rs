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
/// A node is found by the hash of the fingerprints of the locations from the root to it, not by (parent, location): so the hashes of a
/// stacktrace depend on nothing that is found, and those of its nodes that are there need no ids of their locations. Whether a node is
/// the right one is seen in the tree once for a stacktrace, and not for each of its nodes.
#[derive(Default)]
pub(crate) struct StacktraceIndex {
    hasher: RandomState,
    /// Nodes by the hash of their path.
    nodes: HashTable<Node>,
    /// Stacktraces by fingerprint.
    stacktraces: Ids,
}

/// What is there of a stacktrace that is not, and what is known of the rest of it.
#[derive(Default)]
pub(crate) struct Place {
    /// The innermost of its nodes that is there, or the root.
    node: u32,
    /// Nodes from there to the root.
    depth: usize,
    /// Hashes of the paths to its locations, outermost first.
    paths: Vec<u64>,
}

impl Place {
    /// How many of the innermost locations have no nodes.
    pub(crate) fn new_locations(&self) -> usize {
        self.paths.len() - self.depth
    }
}

impl StacktraceIndex {
    /// The index of an existing tree, which is empty or has a root, given the fingerprints of the locations.
    pub(crate) fn of(tree: &Tree, locations: &[u128]) -> Self {
        let mut index = Self::default();
        let paths = index.paths(tree, locations);
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

    /// The id of the stacktrace with a fingerprint.
    pub(crate) fn get(&self, fingerprint: u128) -> Option<u32> {
        self.stacktraces.get(fingerprint)
    }

    /// Finds the place of a stacktrace, given the fingerprints of its locations, leaf first, and those of all locations, by id.
    pub(crate) fn find_place(&self, tree: &Tree, locations: &[u128], stacktrace: &[u128], place: &mut Place) {
        place.paths.clear();
        place.paths.extend(stacktrace.iter().rev().scan(ROOT_PATH, |path, &location| {
            *path = self.path(*path, location);
            Some(*path)
        }));
        // Mostly few of the innermost are new, and what is above one that is there is there.
        let likely = place.paths.iter().enumerate().rev().find_map(|(depth, &path)| {
            let check = Node::check(path);
            self.nodes.find(path, |n| n.check == check).map(|node| (node.id, depth + 1))
        });
        let (node, depth) = likely.unwrap_or_default();
        (place.node, place.depth) =
            match is_path(tree, locations, node, &stacktrace[stacktrace.len() - depth..]) {
                true => (node, depth),
                false => self.known(tree, locations, stacktrace, &place.paths),
            };
    }

    /// The innermost node of a stacktrace that is there, and how many there are from it to the root, seen node by node.
    fn known(&self, tree: &Tree, locations: &[u128], stacktrace: &[u128], paths: &[u64]) -> (u32, usize) {
        let mut above = 0;
        for (depth, (&path, &location)) in paths.iter().zip(stacktrace.iter().rev()).enumerate() {
            let check = Node::check(path);
            let is = |n: &Node| {
                let node = n.id as usize;
                n.check == check
                    && tree.parent[node] == above
                    && locations[tree.location[node] as usize] == location
            };
            match self.nodes.find(path, is) {
                Some(node) => above = node.id,
                None => return (above, depth),
            }
        }
        (above, paths.len())
    }

    /// Adds a stacktrace, given its place and the ids of those of its locations that have no nodes, leaf first; its id.
    pub(crate) fn add(
        &mut self,
        tree: &mut Arc<Tree>,
        locations: &[u128],
        fingerprint: u128,
        place: &Place,
        new: &[u32],
    ) -> u32 {
        let tree = Arc::make_mut(tree);
        if tree.parent.is_empty() {
            tree.parent.push(0);
            tree.location.push(0);
        }
        let mut node = place.node;
        for (&path, &location) in place.paths[place.depth..].iter().zip(new.iter().rev()) {
            node = self.add_node(tree, locations, node, path, location);
        }
        let stacktrace = tree.leaf.len() as u32;
        tree.leaf.push(node);
        self.stacktraces.insert(fingerprint, stacktrace);
        stacktrace
    }

    fn add_node(
        &mut self,
        tree: &mut Tree,
        locations: &[u128],
        parent: u32,
        path: u64,
        location: u32,
    ) -> u32 {
        if self.nodes.len() == self.nodes.capacity() {
            // The table forgets the hashes, so that a node takes nine bytes of it.
            let paths = self.paths(tree, locations);
            self.nodes.reserve(1, |n| paths[n.id as usize]);
        }
        let node = tree.parent.len() as u32;
        tree.parent.push(parent);
        tree.location.push(location);
        self.nodes.insert_unique(path, Node::of(node, path), |_| path);
        node
    }

    /// The hash of each node's path.
    fn paths(&self, tree: &Tree, locations: &[u128]) -> Vec<u64> {
        let mut paths = Vec::with_capacity(tree.parent.len());
        for (&parent, &location) in tree.parent.iter().zip(&tree.location) {
            // A parent comes before its children; the root is its own.
            paths.push(match paths.get(parent as usize) {
                Some(&above) => self.path(above, locations[location as usize]),
                None => ROOT_PATH,
            });
        }
        paths
    }

    /// The hash of a path, given that of the path above. Half of a fingerprint is enough for that.
    fn path(&self, above: u64, location: u128) -> u64 {
        self.hasher.hash_one((above, location as u64))
    }

    /// Memory of the tables.
    pub(crate) fn size_bytes(&self) -> usize {
        (size_of::<Node>() + 1) * self.nodes.capacity() + self.stacktraces.size_bytes()
    }
}

/// Whether a node is that of a path, given the fingerprints of its locations, innermost first.
fn is_path(tree: &Tree, locations: &[u128], node: u32, path: &[u128]) -> bool {
    let mut node = node as usize;
    for &location in path {
        if node == 0 || locations[tree.location[node] as usize] != location {
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
            let mut place = Place::default();
            for (at, stacktrace) in stacktraces.iter().enumerate() {
                if at == rebuilt_at {
                    index = StacktraceIndex::of(&tree, &locations);
                }
                let of_locations: Vec<u128> = stacktrace.iter().map(|&location| u128::from(location)).collect();
                let found = index.find(std::iter::once(fingerprint(stacktrace)))[0];
                prop_assert_eq!(found, index.get(fingerprint(stacktrace)));
                prop_assert_eq!(found, ids.get(stacktrace).copied());
                let id = found.unwrap_or_else(|| {
                    index.find_place(&tree, &locations, &of_locations, &mut place);
                    let new = &stacktrace[..place.new_locations()];
                    index.add(&mut tree, &locations, fingerprint(stacktrace), &place, new)
                });
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
