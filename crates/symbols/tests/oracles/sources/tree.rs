//! A program to be symbolised.

use std::collections::BTreeMap;

struct Tree<T> {
    nodes: Vec<(T, Option<usize>)>,
}

impl<T: Ord + Copy> Tree<T> {
    #[inline(always)]
    fn depth(&self, mut node: usize) -> usize {
        let mut depth = 0;
        while let Some(parent) = self.nodes[node].1 {
            depth += 1;
            node = parent;
        }
        depth
    }

    #[inline(never)]
    fn deepest(&self) -> Option<(T, usize)> {
        (0..self.nodes.len()).map(|node| (self.nodes[node].0, self.depth(node))).max_by_key(|&(_, depth)| depth)
    }
}

#[inline(never)]
fn histogram(words: &[&str]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    words.iter().for_each(|word| *counts.entry(word.len()).or_default() += 1);
    counts
}

fn main() {
    let extra = std::env::args().count();
    let nodes = (0..extra as u64 + 20).map(|n| (n * 7 % 13, (n > 0).then(|| n as usize / 2))).collect();
    let tree = Tree { nodes };
    println!("{:?} {:?}", tree.deepest(), histogram(&["a", "bb", "cc"]));
}
