//! Here is an address in a process and the mapping it lies in, gives you the address in the file.

/// A part of a file that is mapped: a program header of type `PT_LOAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The address in the file's own terms (`p_vaddr`).
    pub address: u64,
    /// Size in memory.
    pub size_bytes: u64,
    /// Where in the file it begins.
    pub offset: u64,
    /// Size in the file; 0 in files that hold debug information only.
    pub file_size_bytes: u64,
    /// Whether code is in it.
    pub executable: bool,
}

/// Where a process has mapped a file, as pprof's `Mapping` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub limit: u64,
    /// Where in the file `start` is.
    pub offset: u64,
}

impl Mapping {
    /// Whether addresses in it are those of the file already: a sender that normalises sends no range or an endless one.
    pub fn is_normalized(self) -> bool {
        self.start == 0 && self.offset == 0 && matches!(self.limit, 0 | u64::MAX)
    }
}

/// The address in the file for an address of a process; `None` if it lies outside the mapping or the file.
///
/// `relocatable` says whether the file may be mapped anywhere ([`crate::elf::Elf::is_relocatable`]).
/// Without segments (a sender that strips program headers) the file is taken to be mapped as it lies.
pub fn file_address(address: u64, mapping: Mapping, segments: &[Segment], relocatable: bool) -> Option<u64> {
    if mapping.is_normalized() {
        return Some(address);
    }
    if address < mapping.start || (mapping.limit > mapping.start && address >= mapping.limit) {
        return None;
    }
    if !relocatable {
        return Some(address);
    }
    let offset = (address - mapping.start).checked_add(mapping.offset)?;
    if let Some(code) = only_code_of_debug_information(segments) {
        return Some(address - mapping.start + code.address / PAGE_SIZE * PAGE_SIZE);
    }
    match segment_of(offset, segments) {
        Some(segment) => Some(offset.wrapping_sub(segment.offset).wrapping_add(segment.address)),
        None if segments.is_empty() => Some(offset),
        None => None,
    }
}

/// The kernel maps whole pages, so that what precedes a segment in its first page is there, too.
const PAGE_SIZE: u64 = 4096;

/// The code of a file that holds debug information only, if there is one segment of it. Whoever split the file moved what is
/// left in it, so that offsets mean nothing any more; but what is executable is mapped by this segment.
fn only_code_of_debug_information(segments: &[Segment]) -> Option<&Segment> {
    let mut code = segments.iter().filter(|segment| segment.executable);
    code.next().filter(|only| only.file_size_bytes == 0 && code.next().is_none())
}

/// The segment that a place in the file is mapped by; one of code if several are.
fn segment_of(offset: u64, segments: &[Segment]) -> Option<&Segment> {
    let holds = |segment: &&Segment| {
        // Files with debug information only have no sizes in the file, the sizes in memory are as they were.
        let size = segment.file_size_bytes.max(if segment.executable { segment.size_bytes } else { 0 });
        offset >= segment.offset / PAGE_SIZE * PAGE_SIZE && offset < segment.offset.saturating_add(size)
    };
    let code = segments.iter().filter(|segment| segment.executable);
    code.clone().find(holds).or_else(|| segments.iter().find(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn segment(offset: u64, address: u64, size_bytes: u64, executable: bool) -> Segment {
        Segment { address, size_bytes, offset, file_size_bytes: size_bytes, executable }
    }

    /// As lld lays out: the code's address differs from its place in the file.
    const LLD: [Segment; 3] = [
        segment(0, 0, 0x800, false),
        segment(0x800, 0x1800, 0x700, true),
        segment(0xf00, 0x2f00, 0x100, false),
    ];
    const GNU: [Segment; 2] = [segment(0, 0, 0x600, false), segment(0x1000, 0x1000, 0x500, true)];

    #[test]
    fn addresses() {
        let check = |address, (start, limit, offset), segments: &[Segment], relocatable, expected| {
            let mapping = Mapping { start, limit, offset };
            assert_eq!(file_address(address, mapping, segments, relocatable), expected, "{address:#x}");
        };
        // Normalised by the sender.
        check(0x1234, (0, 0, 0), &LLD, true, Some(0x1234));
        check(0x1234, (0, u64::MAX, 0), &LLD, true, Some(0x1234));
        // Position-dependent: as it is.
        check(0x40_1234, (0x40_1000, 0x40_2000, 0x1000), &[], false, Some(0x40_1234));
        // Position-independent.
        check(0x7f00_0234, (0x7f00_0000, 0x7f00_1000, 0x1000), &GNU, true, Some(0x1234));
        check(0x7f00_0900, (0x7f00_0000, 0x7f00_1000, 0), &LLD, true, Some(0x1900));
        check(0x7f00_0234, (0x7f00_0000, 0x7f00_1000, 0x1000), &[], true, Some(0x1234));
        // Outside.
        check(0x6f00_0000, (0x7f00_0000, 0x7f00_1000, 0x1000), &GNU, true, None);
        check(0x7f00_1000, (0x7f00_0000, 0x7f00_1000, 0x1000), &GNU, true, None);
        check(0x7f00_0800, (0x7f00_0000, 0x7f00_1000, 0x1000), &GNU, true, None);
        check(u64::MAX, (1, 0, u64::MAX), &GNU, true, None);
    }

    #[test]
    fn debug_information_only() {
        let mut stripped = GNU;
        stripped.iter_mut().for_each(|segment| segment.file_size_bytes = 0);
        let mapping = Mapping { start: 0x7f00_0000, limit: 0x7f00_1000, offset: 0x1000 };
        assert_eq!(file_address(0x7f00_0234, mapping, &stripped, true), Some(0x1234));
        // Moved by whoever split the file.
        stripped[1].offset = 0;
        assert_eq!(file_address(0x7f00_0234, mapping, &stripped, true), Some(0x1234));
    }
}
