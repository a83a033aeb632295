//! Here is a Go program, gives you the functions at an address by the table that Go's own runtime uses.
//!
//! It is in every Go program, stripped or not, and has what was inlined. Names are as Go's profiler writes them, so that
//! samples taken from outside merge with those that the program took of itself.
//!
//! Read are the layouts of Go 1.18 and 1.19 and of Go 1.20 and later. What was inlined is kept beside the table:
//! [`module`] finds it.

mod module;
mod table;

use std::ops::Range;

use self::table::{Inlined, Table};
use crate::elf::Elf;

/// More functions than are ever inlined into each other: bounds the walk through a damaged tree.
const DEPTH_MAX: usize = 256;

/// Where in a Go program the tables are. Looked up with the same bytes that it was found in.
#[derive(Debug)]
pub(crate) struct GoLineTable {
    /// The table's place in the file.
    table: Range<usize>,
    little_endian: bool,
    /// Addresses of Go's code; functions are counted from its start.
    text: Range<u64>,
    /// The inline trees' place in the file.
    inline_trees: Option<Range<usize>>,
}

/// A function at an address, with names that lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoFrame<'data> {
    pub(crate) name: &'data [u8],
    pub(crate) filename: &'data [u8],
    pub(crate) line: u32,
    pub(crate) start_line: u32,
}

impl GoLineTable {
    /// Looks for the tables; `None` if this is no Go program, or one whose code cannot be located.
    pub(crate) fn find(elf: &Elf<'_>) -> Option<Self> {
        module::find(elf)
    }

    /// Whether it knows what was inlined; without, only the outermost function of an address can be told.
    pub(crate) fn has_inlining(&self) -> bool {
        self.inline_trees.is_some()
    }

    /// The functions at an address, innermost first; empty if it is none of Go's.
    pub(crate) fn frames<'data>(&self, address: u64, data: &'data [u8]) -> Vec<GoFrame<'data>> {
        self.try_frames(address, data).unwrap_or_default()
    }

    fn try_frames<'data>(&self, address: u64, data: &'data [u8]) -> Option<Vec<GoFrame<'data>>> {
        if !self.text.contains(&address) {
            return None;
        }
        let table = Table::parse(data.get(self.table.clone())?, self.little_endian)?;
        let trees = self.inline_trees.clone().and_then(|range| data.get(range)).unwrap_or_default();
        let routine = table.routine(address - self.text.start)?;
        let mut pc = address - self.text.start;
        let mut frames = Vec::with_capacity(4);
        while frames.len() < DEPTH_MAX {
            // An address without a line is behind the function's last instruction.
            let line = table.line(&routine, pc)?;
            let filename = table.filename(&routine, pc).unwrap_or_default();
            let inlined = table.inlined(&routine, pc, trees);
            let (name, start_line) = match inlined {
                Some(Inlined { name, start_line, .. }) => (name, start_line),
                None => (routine.name, routine.start_line),
            };
            frames.push(GoFrame { name: table.name(name)?, filename, line, start_line });
            match inlined {
                // The call lies before what was inlined for it, or around; an instruction of the same function anyway.
                Some(Inlined { call_pc, .. }) => pc = routine.entry.checked_add(u64::from(call_pc))?,
                None => break,
            }
        }
        Some(frames)
    }
}
