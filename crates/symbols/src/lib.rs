//! Here are the bytes of an object file and an address, gives you the functions and lines that are there.
//!
//! ```text
//! ObjectFiles (bytes) ─► Symbolizer ─┬─ Go's line table ─┐
//!                        (cache)     ├─ DWARF            ├─► Answer: frames, innermost first, or why there are none
//!                                    └─ symbol tables    ┘
//! ```
//!
//! Constraints: bytes in, frames out; no file system, no network, no clock, no async. What another file holds (split
//! DWARF, dwz) is asked of the caller ([`Companions`]). Bytes are foreign: nothing panics on them, and what is kept of
//! them is bounded by [`Options`]. An address that cannot be resolved is data ([`Unresolved`]), not an error.
//!
//! Addresses are those of the file (what its program headers call virtual); [`normalize`] makes them from those of a
//! process. A return address must be decremented by whoever knows that it is one.
//!
//! Start at [`Symbolizer`].

mod answer;
pub mod build_id;
pub mod demangle;
mod dwarf;
pub mod elf;
pub mod normalize;
mod pclntab;
mod symbolizer;
mod symtab;

pub use answer::{Answer, Frame, Function, Source, Symbols, Unresolved};
pub use build_id::BuildId;
pub use symbolizer::{Companions, ObjectBytes, ObjectFiles, Options, Quality, Symbolizer};
