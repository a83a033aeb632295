//! Here are bytes that claim to be an ELF file, gives you its sections, segments, notes and links, all checked.

use std::borrow::Cow;

use decima_base::ErrorKind;
use object::{
    CompressionFormat, File, Object as _, ObjectKind, ObjectSection as _, ObjectSegment as _, SectionFlags,
    SegmentFlags, elf as constants,
};

use crate::{build_id, normalize::Segment};

/// Longest name of a linked file that is reported.
const LINK_NAME_MAX: usize = 4096;

/// Why bytes are no ELF file that can be symbolised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The first bytes are not those of an ELF file.
    #[error("not an ELF file: it begins with {found:02x?} instead of 7f 45 4c 46")]
    Magic {
        /// The first four bytes, or fewer.
        found: Vec<u8>,
    },
    /// A header points out of the file or contradicts itself.
    #[error("ELF file of {size_bytes} bytes has broken headers: {reason}")]
    Headers {
        /// Size of the file.
        size_bytes: usize,
        /// What the reader says.
        reason: String,
    },
    /// It is neither a program nor a shared library nor the debug information of one.
    #[error("ELF file is {found}; a program, a shared library or its debug information is needed")]
    Kind {
        /// What it is.
        found: &'static str,
    },
}

impl ElfError {
    /// What a caller can do: send another file.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Why a section cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SectionError {
    /// Its header or its compressed data is broken.
    #[error("a section is damaged")]
    Damaged,
    /// It would be larger than allowed when decompressed.
    #[error("a section is too large")]
    TooLarge,
}

/// A note of the linker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note<'data> {
    pub(crate) name: &'data [u8],
    pub(crate) kind: u32,
    pub(crate) data: &'data [u8],
}

/// Another file that a file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name: a base name in `.gnu_debuglink`, any path in `.gnu_debugaltlink`. Foreign text; do not open it unchecked.
    pub name: String,
    /// The checksum in `.gnu_debuglink`.
    pub crc32: Option<u32>,
    /// The build ID in `.gnu_debugaltlink`, in hexadecimal.
    pub build_id: Option<String>,
}

/// An ELF file.
pub struct Elf<'data> {
    file: File<'data>,
    data: &'data [u8],
}

impl<'data> Elf<'data> {
    /// Reads the headers.
    ///
    /// # Errors
    /// If it is no ELF file, or neither one that is mapped nor debug information of one.
    pub fn parse(data: &'data [u8]) -> Result<Self, ElfError> {
        let elf = Self::parse_any(data)?;
        let found = match elf.file.kind() {
            ObjectKind::Executable | ObjectKind::Dynamic => return Ok(elf),
            ObjectKind::Relocatable if elf.is_companion() => return Ok(elf),
            ObjectKind::Relocatable => "an object file that was not linked",
            ObjectKind::Core => "a core dump",
            _ => "of an unknown type",
        };
        Err(ElfError::Kind { found })
    }

    /// As [`Self::parse`], and takes object files that were not linked, such as split DWARF.
    pub(crate) fn parse_any(data: &'data [u8]) -> Result<Self, ElfError> {
        if !data.starts_with(&constants::ELFMAG) {
            return Err(ElfError::Magic { found: data.iter().take(4).copied().collect() });
        }
        match File::parse(data) {
            Ok(file) => Ok(Self { file, data }),
            Err(error) => Err(ElfError::Headers { size_bytes: data.len(), reason: error.to_string() }),
        }
    }

    /// Whether it holds debug information of others and nothing else: split DWARF, a package of it, or what several share
    /// (dwz). Such files are not linked.
    fn is_companion(&self) -> bool {
        let has_debug = self.file.sections().any(|section| {
            section.name().is_ok_and(|name| name.starts_with(".debug_") || name.starts_with(".zdebug_"))
        });
        has_debug && !self.file.sections().any(|section| is_code(section.flags()) && section.size() > 0)
    }

    /// Whether it has the same code at the same addresses as another file, as a program and its debug information have.
    pub fn has_code_of(&self, other: &Elf<'_>) -> bool {
        let code = |elf: &Elf<'_>| {
            let sections = elf.file.sections().filter(|section| is_code(section.flags()));
            sections.map(|section| (section.address(), section.size())).collect::<Vec<_>>()
        };
        code(self) == code(other)
    }

    /// Ids of the units of split DWARF in it (`.dwo`, `.dwp`), in order; empty if it is none.
    pub fn split_units(&self) -> Vec<u64> {
        crate::dwarf::split_units(self)
    }

    /// What it was parsed from.
    pub(crate) fn data(&self) -> &'data [u8] {
        self.data
    }

    pub(crate) fn file(&self) -> &File<'data> {
        &self.file
    }

    pub(crate) fn is_little_endian(&self) -> bool {
        self.file.is_little_endian()
    }

    /// Whether it may be mapped anywhere: a shared library or a position-independent program.
    pub fn is_relocatable(&self) -> bool {
        self.file.kind() == ObjectKind::Dynamic
    }

    /// Where the program begins, 0 if nowhere.
    pub(crate) fn entry(&self) -> u64 {
        self.file.entry()
    }

    /// What the file wants mapped.
    pub fn segments(&self) -> Vec<Segment> {
        self.file
            .segments()
            .map(|segment| {
                let (offset, file_size_bytes) = segment.file_range();
                let executable = match segment.flags() {
                    SegmentFlags::Elf { p_flags, .. } => p_flags.0 & constants::PF_X.0 != 0,
                    _ => false,
                };
                Segment {
                    address: segment.address(),
                    size_bytes: segment.size(),
                    offset,
                    file_size_bytes,
                    executable,
                }
            })
            .collect()
    }

    fn find(&self, name: &str) -> Option<object::Section<'data, '_>> {
        // As compressed sections were named before their headers could say that they are.
        let old =
            || self.file.section_by_name(&format!(".z{}", name.strip_prefix(".debug_").map(|_| &name[1..])?));
        self.file.section_by_name(name).or_else(old)
    }

    /// Whether there is a section of this name that has bytes in the file.
    pub(crate) fn has_section(&self, name: &str) -> bool {
        self.find(name).is_some_and(|section| section.file_range().is_some_and(|range| range.1 > 0))
    }

    /// The bytes of a section that is not compressed, and its address.
    pub(crate) fn section(&self, name: &str) -> Option<(u64, &'data [u8])> {
        let section = self.find(name)?;
        let data = section.data().ok()?;
        (!data.is_empty()).then(|| (section.address(), data))
    }

    /// The bytes of a section, decompressed if need be to at most `size_max` bytes. Empty if there is none.
    pub(crate) fn section_decompressed(
        &self,
        name: &str,
        size_max: usize,
    ) -> Result<Cow<'data, [u8]>, SectionError> {
        let Some(section) = self.find(name) else { return Ok(Cow::Borrowed(&[])) };
        let compressed = section.compressed_data().map_err(|_| SectionError::Damaged)?;
        let size = usize::try_from(compressed.uncompressed_size).map_err(|_| SectionError::TooLarge)?;
        if compressed.format == CompressionFormat::None {
            return Ok(Cow::Borrowed(compressed.data));
        }
        if size > size_max {
            return Err(SectionError::TooLarge);
        }
        let bytes = match compressed.format {
            CompressionFormat::Zlib => inflate(compressed.data, size),
            CompressionFormat::Zstandard => zstd::bulk::decompress(compressed.data, size).ok(),
            _ => None,
        };
        match bytes {
            Some(bytes) if bytes.len() == size => Ok(Cow::Owned(bytes)),
            _ => Err(SectionError::Damaged),
        }
    }

    /// The bytes from an address to the end of the section that holds it, if they are in the file.
    pub(crate) fn bytes_at(&self, address: u64) -> Option<&'data [u8]> {
        self.file.sections().find_map(|section| {
            let offset = address.checked_sub(section.address())?;
            if !is_allocated(section.flags()) || offset >= section.size() {
                return None;
            }
            section.data().ok()?.get(usize::try_from(offset).ok()?..).filter(|bytes| !bytes.is_empty())
        })
    }

    /// Sections that are mapped and have bytes in the file: their addresses and bytes.
    pub(crate) fn mapped_sections(&self) -> impl Iterator<Item = (u64, &'data [u8])> {
        self.file.sections().filter_map(|section| {
            let data = section.data().ok()?;
            (is_allocated(section.flags()) && !data.is_empty()).then(|| (section.address(), data))
        })
    }

    /// The first note of this owner and type, of all sections and segments.
    pub(crate) fn note(&self, owner: &[u8], kind: u32) -> Option<&'data [u8]> {
        let little_endian = self.is_little_endian();
        let find = |data: &'data [u8]| {
            build_id::notes(data, little_endian)
                .find(|note| {
                    note.kind == kind && note.name.strip_suffix(&[0]).unwrap_or(note.name).starts_with(owner)
                })
                .map(|note| note.data)
        };
        let of_sections = self.file.sections().find_map(|section| {
            let is_note = section.name().is_ok_and(|name| name.starts_with(".note"));
            if is_note { find(section.data().ok()?) } else { None }
        });
        of_sections.or_else(|| match kind {
            // Without section headers the notes are found by segment; the reader knows only this one.
            3 if owner == b"GNU" => self.file.build_id().ok().flatten(),
            _ => None,
        })
    }

    /// The file with its debug information, as `.gnu_debuglink` names it.
    pub fn debug_link(&self) -> Option<Link> {
        let (name, crc32) = self.file.gnu_debuglink().ok()??;
        Some(Link { name: link_name(name)?, crc32: Some(crc32), build_id: None })
    }

    /// The file that it shares debug information with (dwz), as `.gnu_debugaltlink` names it.
    pub fn alternate_link(&self) -> Option<Link> {
        let (name, build_id) = self.file.gnu_debugaltlink().ok()??;
        let build_id = build_id.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
        Some(Link { name: link_name(name)?, crc32: None, build_id: Some(build_id) })
    }
}

fn link_name(name: &[u8]) -> Option<String> {
    (name.len() <= LINK_NAME_MAX).then(|| String::from_utf8_lossy(name).into_owned())
}

/// `SHF_ALLOC`: in memory when the program runs.
pub(crate) fn is_allocated(flags: SectionFlags) -> bool {
    matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags.0 & constants::SHF_ALLOC.0 != 0)
}

/// `SHF_EXECINSTR`: code.
pub(crate) fn is_code(flags: SectionFlags) -> bool {
    matches!(flags, SectionFlags::Elf { sh_flags, .. } if sh_flags.0 & constants::SHF_EXECINSTR.0 != 0)
}

fn inflate(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).ok()?;
    let mut inflater = flate2::Decompress::new(true);
    inflater.decompress_vec(data, &mut bytes, flate2::FlushDecompress::Finish).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_elf() {
        let check = |data: &[u8], expected: &str| {
            let error = Elf::parse(data).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{error}");
        };
        check(b"", "begins with []");
        check(b"MZ\x90\0", "begins with [4d, 5a, 90, 00]");
        check(b"\x7fELF", "broken headers");
        check(&[b"\x7fELF\x02\x01\x01".as_slice(), &[0xff; 80]].concat(), "broken headers");
    }
}
