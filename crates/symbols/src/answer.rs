//! What is at an address, or why that is not known.

use std::{fmt, sync::Arc};

/// A function as debug information names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Function {
    /// The name to show, demangled as [`crate::Options`] says.
    pub name: String,
    /// The name in the file, mangled if its language mangles.
    pub system_name: String,
    /// The source file, empty if unknown.
    pub filename: String,
    /// The line on which the function begins, 0 if unknown.
    pub start_line: u32,
}

/// One function at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which function.
    pub function: Arc<Function>,
    /// The line of the address, or of the call if another function is inlined there; 0 if unknown.
    pub line: u32,
    /// The column of that line, 0 if unknown.
    pub column: u32,
}

/// Which part of the file told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// DWARF debug information.
    Dwarf,
    /// Go's own line table, `.gopclntab`.
    GoLineTable,
    /// A symbol table: function names, no lines, nothing inlined.
    SymbolTable,
}

/// The functions at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbols {
    /// Innermost first: each but the last was inlined into the next. Never empty.
    pub frames: Vec<Frame>,
    /// What told.
    pub source: Source,
}

/// Why there is no function for an address.
///
/// Not all of these are known here: they are one vocabulary for everything between a sample and its symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unresolved {
    /// The mapping has no build ID, so no file can be found for it.
    NoBuildId,
    /// Nobody has the debug information of this build ID (yet).
    NoDebuginfo,
    /// Nobody uploaded it, and no debuginfod server has it.
    AbsentAtDebuginfod,
    /// Nobody uploaded it, and no debuginfod server answered that has it.
    DebuginfodFailed,
    /// A debuginfod server may have it and is being asked.
    Fetching,
    /// Its upload was begun and has not ended.
    Uploading,
    /// What we hold under the build ID is not an ELF file that can be read.
    NotAnObject,
    /// The file has neither DWARF nor a Go line table nor symbols.
    NoSymbols,
    /// The address lies outside its mapping, or the mapping outside the file.
    Unmapped,
    /// The file has symbols, and the address lies in none of its functions.
    InNoFunction,
    /// What the file says of this address cannot be read.
    Damaged,
    /// Reading it would take more memory than is allowed.
    TooLarge,
    /// It was not reached in time; a later question may be answered.
    Deadline,
}

impl Unresolved {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 13] = [
        Self::NoBuildId,
        Self::NoDebuginfo,
        Self::AbsentAtDebuginfod,
        Self::DebuginfodFailed,
        Self::Fetching,
        Self::Uploading,
        Self::NotAnObject,
        Self::NoSymbols,
        Self::Unmapped,
        Self::InNoFunction,
        Self::Damaged,
        Self::TooLarge,
        Self::Deadline,
    ];

    /// A word for metrics and stored files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoBuildId => "no_build_id",
            Self::NoDebuginfo => "no_debuginfo",
            Self::AbsentAtDebuginfod => "absent_at_debuginfod",
            Self::DebuginfodFailed => "debuginfod_failed",
            Self::Fetching => "fetching",
            Self::Uploading => "uploading",
            Self::NotAnObject => "not_an_object",
            Self::NoSymbols => "no_symbols",
            Self::Unmapped => "unmapped",
            Self::InNoFunction => "in_no_function",
            Self::Damaged => "damaged",
            Self::TooLarge => "too_large",
            Self::Deadline => "deadline",
        }
    }

    /// Whether the same file would say the same again, so that the answer may be kept with the file.
    pub fn is_final(self) -> bool {
        matches!(self, Self::NotAnObject | Self::NoSymbols | Self::InNoFunction | Self::Damaged)
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoBuildId => "the mapping has no build ID",
            Self::NoDebuginfo => "no debuginfo for this build ID",
            Self::AbsentAtDebuginfod => "no debuginfo for this build ID, also not at debuginfod",
            Self::DebuginfodFailed => "no debuginfo for this build ID, and debuginfod does not answer",
            Self::Fetching => "the debuginfo is being asked for at debuginfod",
            Self::Uploading => "the debuginfo is being uploaded",
            Self::NotAnObject => "the debuginfo is not a readable ELF file",
            Self::NoSymbols => "the debuginfo has no symbols",
            Self::Unmapped => "outside the mapping or the file",
            Self::InNoFunction => "in no function of the debuginfo",
            Self::Damaged => "the debuginfo is damaged",
            Self::TooLarge => "the debuginfo is too large to be read",
            Self::Deadline => "not resolved in time",
        })
    }
}

/// What a [`crate::Symbolizer`] says of an address. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These functions.
    Resolved(Arc<Symbols>),
    /// None, and why.
    Unresolved(Unresolved),
}

impl Answer {
    /// The frames, innermost first; none if unresolved.
    pub fn frames(&self) -> &[Frame] {
        match self {
            Self::Resolved(symbols) => &symbols.frames,
            Self::Unresolved(_) => &[],
        }
    }

    /// Memory held by this answer alone, in bytes, counting each function as if it were not shared.
    pub(crate) fn size_bytes(&self) -> usize {
        let frame = |frame: &Frame| {
            let function = &frame.function;
            size_of::<Frame>()
                + size_of::<Function>()
                + function.name.len()
                + function.system_name.len()
                + function.filename.len()
        };
        size_of::<Self>() + self.frames().iter().map(frame).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct() {
        let mut words: Vec<_> = Unresolved::ALL.iter().map(|reason| reason.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Unresolved::ALL.len());
    }
}
