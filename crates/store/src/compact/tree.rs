//! The stacktraces of one partition in several blocks become one tree.
//!
//! A node of the merged tree is a path of locations, numbered by content: it is the identity of a stacktrace across blocks.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::source::Tree;

/// Marks a node that no stacktrace ends at.
const NONE: u32 = u32::MAX;

/// A tree that others are added to. Locations are those of the merged symbols.
pub(crate) struct TreeMerger {
    tree: Tree,
    /// Stacktrace that ends at each node.
    ends: Vec<u32>,
    hasher: RandomState,
    nodes: HashTable<u32>,
}

impl TreeMerger {
    pub(crate) fn new() -> Self {
        Self {
            tree: Tree { parent: vec![0], location: vec![0], leaf: Vec::new(), subtree_sizes: Vec::new() },
            ends: vec![NONE],
            hasher: RandomState::default(),
            nodes: HashTable::new(),
        }
    }

    /// Adds a tree, whose locations become what `location` says. Gives the merged stacktrace of each of its stacktraces; `None` if a location
    /// is not known.
    pub(crate) fn add(&mut self, tree: &Tree, location: impl Fn(u32) -> Option<u32>) -> Option<Vec<u32>> {
        let mut merged = vec![0u32; tree.parent.len()];
        for node in 1..merged.len() {
            let parent = merged[tree.parent[node] as usize];
            merged[node] = self.child(parent, location(tree.location[node])?);
        }
        Some(tree.leaf.iter().map(|&leaf| self.stacktrace(merged[leaf as usize])).collect())
    }

    fn stacktrace(&mut self, node: u32) -> u32 {
        let end = &mut self.ends[node as usize];
        if *end == NONE {
            *end = self.tree.leaf.len() as u32;
            self.tree.leaf.push(node);
        }
        *end
    }

    fn child(&mut self, parent: u32, location: u32) -> u32 {
        let Self { tree, ends, hasher, nodes } = self;
        let hash =
            |parent: u32, location: u32| hasher.hash_one((u64::from(parent) << 32) | u64::from(location));
        let is_it =
            |&node: &u32| tree.parent[node as usize] == parent && tree.location[node as usize] == location;
        if let Some(&node) = nodes.find(hash(parent, location), is_it) {
            return node;
        }
        let node = tree.parent.len() as u32;
        tree.parent.push(parent);
        tree.location.push(location);
        ends.push(NONE);
        nodes.insert_unique(hash(parent, location), node, |&n| {
            hash(tree.parent[n as usize], tree.location[n as usize])
        });
        node
    }

    pub(crate) fn finish(self) -> Tree {
        self.tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacktraces_are_the_same_by_their_locations() {
        // Location 0 of the second tree is location 7 of the merged symbols, which is location 1 of the first.
        let first = Tree {
            parent: vec![0, 0, 1],
            location: vec![0, 0, 1],
            leaf: vec![2, 0],
            subtree_sizes: Vec::new(),
        };
        let second = Tree {
            parent: vec![0, 0, 0, 2],
            location: vec![0, 0, 1, 0],
            leaf: vec![3, 1, 2, 0],
            subtree_sizes: Vec::new(),
        };
        let mut merger = TreeMerger::new();
        let add = |merger: &mut TreeMerger, tree: &Tree, locations: &[u32]| {
            merger.add(tree, |location| locations.get(location as usize).copied())
        };
        assert_eq!(add(&mut merger, &first, &[3, 7]), Some(vec![0, 1]));
        assert_eq!(add(&mut merger, &second, &[7, 3]), Some(vec![0, 2, 3, 1]));
        assert_eq!(add(&mut merger, &second, &[7]), None);
        let merged = merger.finish();
        assert_eq!(merged.parent, [0, 0, 1, 0]);
        assert_eq!(merged.location, [0, 3, 7, 7]);
        assert_eq!(merged.leaf, [2, 0, 3, 1]);
    }
}
