//! The table itself: header, functions, values by program counter, names.
//!
//! Counters (`pc`) are offsets from the start of Go's code.

/// The layout differs in what a function and an inlined call carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Go 1.18 and 1.19.
    Go118,
    /// Go 1.20 and later.
    Go120,
}

/// Size of the fixed part of the header before the words.
const HEADER_FIXED: usize = 8;
/// Index of the inline tree among a function's values by counter and among its other data.
const PCDATA_INLINE_TREE: usize = 2;
const FUNCDATA_INLINE_TREE: usize = 3;
/// Longest name of a function or file.
const NAME_MAX: usize = 64 << 10;

/// A table whose header makes sense.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'data> {
    data: &'data [u8],
    little_endian: bool,
    pub(super) version: Version,
    quantum: u32,
    pub(super) word_size: usize,
    pub(super) functions: usize,
    /// What the header says of where the code starts; 0 since Go 1.26.
    pub(super) text_start: u64,
    names: &'data [u8],
    units: &'data [u8],
    files: &'data [u8],
    values: &'data [u8],
    routines: &'data [u8],
}

/// A function's entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routine {
    pub(super) entry: u64,
    pub(super) name: u32,
    pub(super) start_line: u32,
    file_values: u32,
    line_values: u32,
    unit: u32,
    inline_values: u32,
    inline_tree: u32,
}

/// A call that was replaced by the function's body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inlined {
    pub(super) name: u32,
    pub(super) start_line: u32,
    /// The call's place, counted from the function's entry.
    pub(super) call_pc: u32,
}

impl<'data> Table<'data> {
    /// Reads the header; `None` if it is of no known layout or points out of the table.
    pub(super) fn parse(data: &'data [u8], little_endian: bool) -> Option<Self> {
        let magic = u32_at(data, 0, little_endian)?;
        let version = match magic {
            0xffff_fff0 => Version::Go118,
            0xffff_fff1 => Version::Go120,
            _ => return None,
        };
        let &[_, _, _, _, 0, 0, quantum @ (1 | 2 | 4), word_size @ (4 | 8), ..] = data else { return None };
        let word_size = usize::from(word_size);
        let word = |index: usize| -> Option<u64> {
            let at = HEADER_FIXED + index * word_size;
            match word_size {
                4 => u32_at(data, at, little_endian).map(u64::from),
                _ => u64_at(data, at, little_endian),
            }
        };
        let part = |index: usize| data.get(usize::try_from(word(index)?).ok()?..);
        let functions = usize::try_from(word(0)?).ok()?;
        let routines = part(7)?;
        // Each function has an entry of two numbers, and one more ends them.
        if functions.checked_mul(8)?.checked_add(4)? > routines.len() {
            return None;
        }
        Some(Self {
            data,
            little_endian,
            version,
            quantum: quantum.into(),
            word_size,
            functions,
            text_start: word(2)?,
            names: part(3)?,
            units: part(4)?,
            files: part(5)?,
            values: part(6)?,
            routines,
        })
    }

    pub(super) fn names_offset(&self) -> usize {
        self.data.len() - self.names.len()
    }

    /// The counter after the last function.
    pub(super) fn end(&self) -> u64 {
        self.u32(self.routines, self.functions * 8).unwrap_or_default().into()
    }

    fn entry(&self, index: usize) -> Option<u32> {
        self.u32(self.routines, index * 8)
    }

    /// The function that holds a counter.
    pub(super) fn routine(&self, pc: u64) -> Option<Routine> {
        if pc >= self.end() {
            return None;
        }
        let (mut low, mut high) = (0, self.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            if u64::from(self.entry(middle)?) <= pc {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1)?;
        let at = usize::try_from(self.u32(self.routines, index * 8 + 4)?).ok()?;
        let function = self.routines.get(at..)?;
        let field = |index: usize| self.u32(function, index * 4);
        let (start_line, fixed) = match self.version {
            Version::Go118 => (0, 40),
            Version::Go120 => (field(9)?, 44),
        };
        let values = usize::try_from(field(7)?).ok()?;
        let others = usize::from(*function.get(fixed - 1)?);
        let inline_values =
            if values > PCDATA_INLINE_TREE { self.u32(function, fixed + 4 * PCDATA_INLINE_TREE)? } else { 0 };
        let inline_tree = if others > FUNCDATA_INLINE_TREE {
            let at = values.checked_add(FUNCDATA_INLINE_TREE)?.checked_mul(4)?.checked_add(fixed)?;
            self.u32(function, at)?
        } else {
            u32::MAX
        };
        Some(Routine {
            entry: self.entry(index)?.into(),
            name: field(1)?,
            start_line,
            file_values: field(5)?,
            line_values: field(6)?,
            unit: field(8)?,
            inline_values,
            inline_tree,
        })
    }

    pub(super) fn line(&self, routine: &Routine, pc: u64) -> Option<u32> {
        u32::try_from(self.value(routine.line_values, routine.entry, pc)?).ok()
    }

    pub(super) fn filename(&self, routine: &Routine, pc: u64) -> Option<&'data [u8]> {
        let file = u32::try_from(self.value(routine.file_values, routine.entry, pc)?).ok()?;
        let index = usize::try_from(routine.unit.checked_add(file)?).ok()?;
        let at = self.u32(self.units, index.checked_mul(4)?)?;
        text_at(self.files, at).filter(|name| !name.is_empty())
    }

    /// The name at a place among the names.
    pub(super) fn name(&self, at: u32) -> Option<&'data [u8]> {
        text_at(self.names, at).filter(|name| !name.is_empty())
    }

    /// The innermost call inlined at a counter; `trees` are what Go calls `go:func.*`.
    pub(super) fn inlined(&self, routine: &Routine, pc: u64, trees: &[u8]) -> Option<Inlined> {
        if routine.inline_tree == u32::MAX || trees.is_empty() {
            return None;
        }
        let index = usize::try_from(self.value(routine.inline_values, routine.entry, pc)?).ok()?;
        self.inlined_at(routine, index, trees)
    }

    fn inlined_at(&self, routine: &Routine, index: usize, trees: &[u8]) -> Option<Inlined> {
        let size = match self.version {
            Version::Go118 => 20,
            Version::Go120 => 16,
        };
        let at = usize::try_from(routine.inline_tree).ok()?.checked_add(index.checked_mul(size)?)?;
        let call = trees.get(at..at.checked_add(size)?)?;
        let field = |index: usize| self.u32(call, index * 4);
        Some(match self.version {
            Version::Go118 => Inlined { name: field(3)?, start_line: 0, call_pc: field(4)? },
            Version::Go120 => Inlined { name: field(1)?, start_line: field(3)?, call_pc: field(2)? },
        })
    }

    /// The inline trees, if they follow the table: the first place behind it where every tree that is looked at makes sense.
    pub(super) fn trees_behind(&self) -> Option<&'data [u8]> {
        /// Trees that must make sense: each is a name's place, a counter and a line, which noise does not hit twice.
        const TREES: usize = 256;
        /// The linker aligns what follows by less.
        const GAP_MAX: usize = 256;
        if self.version != Version::Go120 || self.text_start != 0 {
            return None;
        }
        let routines: Vec<_> = (0..self.functions)
            .filter_map(|index| {
                let next = u64::from(self.entry(index + 1)?);
                let routine = self.routine(self.entry(index)?.into())?;
                (routine.inline_tree != u32::MAX).then_some((routine, next))
            })
            .take(TREES)
            .collect();
        let last = self.u32(self.routines, self.functions.checked_sub(1)? * 8 + 4)?;
        let start = usize::try_from(last).ok()?.checked_next_multiple_of(4)?;
        (start..start.checked_add(GAP_MAX)?).step_by(4).find_map(|at| {
            let trees = self.routines.get(at..)?;
            let makes_sense = |(routine, next): &(Routine, u64)| {
                let Some(call) = self.inlined_at(routine, 0, trees) else { return false };
                let begins = call.name > 0 && self.names.get(call.name as usize - 1) == Some(&0);
                begins && routine.entry + u64::from(call.call_pc) < *next && call.start_line < 1 << 24
            };
            (routines.len() > 1 && routines.iter().all(makes_sense)).then_some(trees)
        })
    }

    /// The value at a counter of a table of differences; `None` if there is no table or the value is negative.
    fn value(&self, table: u32, entry: u64, pc: u64) -> Option<u64> {
        if table == 0 {
            return None;
        }
        let mut rest = self.values.get(usize::try_from(table).ok()?..)?;
        let mut value = -1i64;
        let mut reached = entry;
        let mut first = true;
        loop {
            let difference = varint(&mut rest)?;
            if difference == 0 && !first {
                return None;
            }
            first = false;
            let sign = -i64::from(difference & 1);
            value = value.checked_add(sign ^ i64::from(difference >> 1))?;
            reached = reached.checked_add(u64::from(varint(&mut rest)?) * u64::from(self.quantum))?;
            if pc < reached {
                return u64::try_from(value).ok();
            }
        }
    }

    fn u32(&self, data: &[u8], at: usize) -> Option<u32> {
        u32_at(data, at, self.little_endian)
    }
}

fn u32_at(data: &[u8], at: usize, little_endian: bool) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
}

pub(super) fn u64_at(data: &[u8], at: usize, little_endian: bool) -> Option<u64> {
    let bytes = data.get(at..at.checked_add(8)?)?.try_into().ok()?;
    Some(if little_endian { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
}

fn text_at(texts: &[u8], at: u32) -> Option<&[u8]> {
    let text = texts.get(usize::try_from(at).ok()?..)?;
    let end = memchr::memchr(0, &text[..text.len().min(NAME_MAX)])?;
    Some(&text[..end])
}

fn varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..32).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints() {
        let check = |bytes: &[u8], expected: Option<u32>| assert_eq!(varint(&mut &bytes[..]), expected);
        check(&[0], Some(0));
        check(&[0x7f], Some(127));
        check(&[0x80, 1], Some(128));
        check(&[0xff, 0xff, 0xff, 0xff, 0x0f], Some(u32::MAX));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 1], None);
        check(&[0x80], None);
    }

    #[test]
    fn headers() {
        let header = |magic: u32, quantum: u8, word_size: u8| {
            [magic.to_le_bytes().as_slice(), &[0, 0, quantum, word_size], &[0; 80]].concat()
        };
        assert!(
            Table::parse(&header(0xffff_fff1, 1, 8), true)
                .is_some_and(|table| table.version == Version::Go120)
        );
        assert!(
            Table::parse(&header(0xffff_fff0, 4, 4), true)
                .is_some_and(|table| table.version == Version::Go118)
        );
        assert!(Table::parse(&header(0xffff_fff1, 1, 8), false).is_none());
        assert!(Table::parse(&header(0xffff_fffa, 1, 8), true).is_none(), "Go 1.16");
        assert!(Table::parse(&header(0xffff_fff1, 3, 8), true).is_none());
        assert!(Table::parse(&header(0xffff_fff1, 1, 16), true).is_none());
        assert!(Table::parse(&header(0xffff_fff1, 1, 8)[..60], true).is_none());
    }
}
