//! The part of trees and symbols that some stacktraces need.

use std::sync::Arc;

use decima_store::source::{Function, Line, Mapping, NO_MAPPING, Symbols, Tree};
use hashbrown::HashMap;

/// Symbols are kept whole if more than one of so many locations is needed: what would go is not worth the copy.
const WHOLE_RATIO: usize = 2;

/// The part of a tree that these stacktraces (ascending) need, which are numbered anew in this order. Nodes keep their order, so
/// that a tree in preorder stays in it.
pub(super) fn tree(tree: &Arc<Tree>, stacktraces: &[u32]) -> Arc<Tree> {
    if stacktraces.len() == tree.leaf.len() {
        return Arc::clone(tree);
    }
    let mut needed = vec![false; tree.parent.len()];
    needed[0] = true;
    for &stacktrace in stacktraces {
        let mut node = tree.leaf[stacktrace as usize] as usize;
        while !std::mem::replace(&mut needed[node], true) {
            node = tree.parent[node] as usize;
        }
    }
    let mut pruned = Tree::default();
    let mut numbers = vec![0u32; needed.len()];
    for node in (0..needed.len()).filter(|&node| needed[node]) {
        numbers[node] = pruned.parent.len() as u32;
        pruned.parent.push(numbers[tree.parent[node] as usize]);
        pruned.location.push(tree.location[node]);
    }
    let leaf = |&stacktrace: &u32| numbers[tree.leaf[stacktrace as usize] as usize];
    pruned.leaf = stacktraces.iter().map(leaf).collect();
    // A tree that is not in preorder is read another way.
    let _ = pruned.index_preorder();
    Arc::new(pruned)
}

/// The symbols that trees need; if few, the trees are changed to the numbers of a copy that has no others.
pub(super) fn symbols(symbols: Arc<Symbols>, trees: &mut HashMap<u32, Arc<Tree>>) -> Arc<Symbols> {
    let mut needed = vec![false; symbols.location_count()];
    for tree in trees.values() {
        for &location in tree.location.iter().skip(1) {
            if let Some(needed) = needed.get_mut(location as usize) {
                *needed = true;
            }
        }
    }
    let count = needed.iter().filter(|needed| **needed).count();
    if count * WHOLE_RATIO > needed.len() {
        return symbols;
    }
    let mut copy = Copy::new(&symbols);
    let mut numbers = vec![0u32; needed.len()];
    for location in (0..needed.len()).filter(|&location| needed[location]) {
        numbers[location] = copy.location(location);
    }
    for tree in trees.values_mut() {
        let tree = Arc::make_mut(tree);
        for location in tree.location.iter_mut().skip(1) {
            *location = numbers.get(*location as usize).copied().unwrap_or(*location);
        }
    }
    Arc::new(copy.into)
}

/// A copy of some of the locations of symbols.
struct Copy<'a> {
    from: &'a Symbols,
    into: Symbols,
    strings: HashMap<u32, u32>,
    mappings: HashMap<u32, u32>,
    functions: HashMap<u32, u32>,
}

impl<'a> Copy<'a> {
    fn new(from: &'a Symbols) -> Self {
        let mut into = Symbols { first_line: vec![0], ..Symbols::default() };
        into.strings.push("");
        let (mappings, functions) = (HashMap::new(), HashMap::new());
        Self { from, into, strings: HashMap::from([(0, 0)]), mappings, functions }
    }

    fn string(&mut self, id: u32) -> u32 {
        *self.strings.entry(id).or_insert_with(|| self.into.strings.push(self.from.strings.get(id)))
    }

    fn mapping(&mut self, id: u32) -> u32 {
        let Some(&Mapping { file, build_id, start, limit, offset }) = self.from.mappings.get(id as usize)
        else {
            return NO_MAPPING;
        };
        if let Some(&known) = self.mappings.get(&id) {
            return known;
        }
        let (file, build_id) = (self.string(file), self.string(build_id));
        self.into.mappings.push(Mapping { file, build_id, start, limit, offset });
        let copied = self.into.mappings.len() as u32 - 1;
        self.mappings.insert(id, copied);
        copied
    }

    fn function(&mut self, id: u32) -> u32 {
        if let Some(&known) = self.functions.get(&id) {
            return known;
        }
        let function = self.from.functions.get(id as usize).copied().unwrap_or_default();
        let Function { name, system_name, filename, start_line } = function;
        let [name, system_name, filename] = [name, system_name, filename].map(|id| self.string(id));
        self.into.functions.push(Function { name, system_name, filename, start_line });
        let copied = self.into.functions.len() as u32 - 1;
        self.functions.insert(id, copied);
        copied
    }

    fn location(&mut self, location: usize) -> u32 {
        let mapping = self.mapping(self.from.location_mapping[location]);
        let frame_type = self.string(self.from.location_frame_type[location]);
        for line in self.from.location_lines(location as u32) {
            let function = self.function(line.function);
            self.into.lines.push(Line { function, ..*line });
        }
        self.into.location_mapping.push(mapping);
        self.into.location_address.push(self.from.location_address[location]);
        self.into.location_frame_type.push(frame_type);
        self.into.first_line.push(self.into.lines.len() as u32);
        self.into.location_count() as u32 - 1
    }
}
