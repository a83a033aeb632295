//! Interning of strings, mappings and functions by content.
//!
//! [`SymbolIndex`] maps content to ids; the rows themselves are in [`Symbols`], where queries read them. The index holds ids
//! only and compares through the rows, so that a row costs five bytes of index. It is rebuilt from the rows after a replay,
//! when the first append needs it. Locations have [an index of their own](super::locations).

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::source::{Function, Line, Mapping, Symbols};

/// Content → id, for the rows of one [`Symbols`].
#[derive(Default)]
pub(crate) struct SymbolIndex {
    hasher: RandomState,
    strings: HashTable<u32>,
    mappings: HashTable<u32>,
    functions: HashTable<u32>,
}

impl SymbolIndex {
    /// The index of existing rows.
    pub(crate) fn of(symbols: &Symbols) -> Self {
        let mut index = Self::default();
        let hasher = index.hasher.clone();
        for id in 0..symbols.strings.len() as u32 {
            let hash = hasher.hash_one(symbols.strings.get(id).as_bytes());
            index.strings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.strings.get(i).as_bytes()));
        }
        for id in 0..symbols.mappings.len() as u32 {
            let hash = hasher.hash_one(symbols.mappings[id as usize]);
            index.mappings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.mappings[i as usize]));
        }
        for id in 0..symbols.functions.len() as u32 {
            let hash = hasher.hash_one(symbols.functions[id as usize]);
            index.functions.insert_unique(hash, id, |&i| hasher.hash_one(symbols.functions[i as usize]));
        }
        index
    }

    /// The id of a text, adding it if new.
    pub(crate) fn string(&mut self, symbols: &mut Symbols, text: &str) -> u32 {
        if symbols.strings.is_empty() {
            symbols.strings.push("");
            let hash = self.hasher.hash_one("".as_bytes());
            self.strings.insert_unique(hash, 0, |_| hash);
        }
        let hash = self.hasher.hash_one(text.as_bytes());
        if let Some(&id) = self.strings.find(hash, |&i| symbols.strings.get(i) == text) {
            return id;
        }
        let hasher = &self.hasher;
        let id = symbols.strings.push(text);
        self.strings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.strings.get(i).as_bytes()));
        id
    }

    pub(crate) fn mapping(&mut self, symbols: &mut Symbols, row: Mapping) -> u32 {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(row);
        if let Some(&id) = self.mappings.find(hash, |&i| symbols.mappings[i as usize] == row) {
            return id;
        }
        let id = symbols.mappings.len() as u32;
        symbols.mappings.push(row);
        self.mappings.insert_unique(hash, id, |&i| hasher.hash_one(symbols.mappings[i as usize]));
        id
    }

    pub(crate) fn function(&mut self, symbols: &mut Symbols, row: Function) -> u32 {
        let hasher = &self.hasher;
        let hash = hasher.hash_one(row);
        if let Some(&id) = self.functions.find(hash, |&i| symbols.functions[i as usize] == row) {
            return id;
        }
        let id = symbols.functions.len() as u32;
        symbols.functions.push(row);
        self.functions.insert_unique(hash, id, |&i| hasher.hash_one(symbols.functions[i as usize]));
        id
    }

    /// Memory of the tables.
    pub(crate) fn size_bytes(&self) -> usize {
        5 * (self.strings.capacity() + self.mappings.capacity() + self.functions.capacity())
    }
}

/// Memory of the rows.
pub(crate) fn symbols_size_bytes(symbols: &Symbols) -> usize {
    symbols.strings.size_bytes()
        + symbols.mappings.len() * size_of::<Mapping>()
        + symbols.functions.len() * size_of::<Function>()
        + symbols.lines.len() * size_of::<Line>()
        + symbols.location_count() * 20
}
