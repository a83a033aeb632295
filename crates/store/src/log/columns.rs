//! Columns of numbers in the body of a log object, as the bytes that they consist of: all lowest bytes, then all second ones.
//!
//! ```text
//! column = form(1: bytes of a number, 1 to 8; and 128 if they are in zigzag order) planes: bytes × { n bytes }
//! ```
//! High bytes are much the same everywhere and compress well; low ones do not, as those of times, and apart from the others
//! they do not stand in their way. Invariant: a number takes at least one byte, so that a damaged count cannot ask for more
//! memory than a multiple of the body.

use super::varint::{DecodeError, Reader};

const ZIGZAG: u8 = 128;
/// What is compressed apart has at least so many bytes: below that it is not worth the table of its own that it needs.
const APART_BYTES_MIN: usize = 256;

/// The raw body of an object, and where its compressor begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Raw {
    pub(crate) bytes: Vec<u8>,
    borders: Vec<usize>,
}

impl Raw {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), borders: Vec::new() }
    }

    /// What follows is distributed in another way than what was written.
    pub(crate) fn border(&mut self) {
        let last = self.borders.last().copied().unwrap_or(0);
        if self.bytes.len() >= last + APART_BYTES_MIN {
            self.borders.push(self.bytes.len());
        }
    }

    /// The parts between the borders.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.borders.iter().copied().chain([self.bytes.len()]);
        let mut first = 0;
        ends.filter_map(move |end| self.bytes.get(std::mem::replace(&mut first, end)..end))
    }

    /// Appends a column.
    pub(crate) fn column(&mut self, numbers: &[u64]) {
        self.planes(numbers, 0);
    }

    /// Appends a column of signed numbers, which are put into zigzag order if one is negative.
    pub(crate) fn signed_column(&mut self, numbers: &mut [u64]) {
        let is_negative = numbers.iter().any(|&number| (number as i64) < 0);
        if is_negative {
            for number in &mut *numbers {
                *number = (*number << 1) ^ ((*number as i64 >> 63) as u64);
            }
        }
        self.planes(numbers, if is_negative { ZIGZAG } else { 0 });
    }

    fn planes(&mut self, numbers: &[u64], order: u8) {
        let all = numbers.iter().fold(0, |all, number| all | number);
        let width = (u64::BITS - all.leading_zeros()).div_ceil(8).max(1);
        self.bytes.push(width as u8 | order);
        for plane in 0..width {
            self.bytes.extend(numbers.iter().map(|number| (number >> (8 * plane)) as u8));
            self.border();
        }
    }
}

/// Reads a column of so many numbers.
pub(crate) fn unsigned(r: &mut Reader<'_>, count: usize) -> Result<Vec<u64>, DecodeError> {
    let planes = Planes::read(r, count)?;
    planes.refuse_zigzag(r)?;
    Ok(planes.numbers(|number| number))
}

/// Reads a column of so many signed numbers.
pub(crate) fn signed(r: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, DecodeError> {
    let planes = Planes::read(r, count)?;
    Ok(match planes.is_zigzag {
        true => planes.numbers(|number| ((number >> 1) as i64) ^ -((number & 1) as i64)),
        false => planes.numbers(|number| number as i64),
    })
}

/// Reads a column of so many ids.
pub(crate) fn ids(r: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, DecodeError> {
    let planes = Planes::read(r, count)?;
    planes.refuse_zigzag(r)?;
    match planes.planes.get(size_of::<u32>()..) {
        Some(high) if high.iter().any(|plane| plane.iter().any(|&byte| byte != 0)) => {
            Err(r.error("an id has more than 32 bits"))
        }
        _ => Ok(planes.numbers(|number| number as u32)),
    }
}

/// The planes of a column, each of as many bytes as there are numbers.
struct Planes<'a> {
    planes: Vec<&'a [u8]>,
    count: usize,
    is_zigzag: bool,
}

impl<'a> Planes<'a> {
    fn read(r: &mut Reader<'a>, count: usize) -> Result<Self, DecodeError> {
        let form = r.slice(1)?.first().copied().unwrap_or_default();
        let width = usize::from(form & !ZIGZAG);
        if !(1..=8).contains(&width) {
            return Err(r.error("numbers have no width"));
        }
        let planes = (0..width).map(|_| r.slice(count)).collect::<Result<_, _>>()?;
        Ok(Self { planes, count, is_zigzag: form & ZIGZAG != 0 })
    }

    fn refuse_zigzag(&self, r: &Reader<'_>) -> Result<(), DecodeError> {
        match self.is_zigzag {
            true => Err(r.error("numbers that have no sign are in zigzag order")),
            false => Ok(()),
        }
    }

    fn numbers<T>(&self, of: impl Fn(u64) -> T) -> Vec<T> {
        let plane =
            |at: usize| self.planes.get(at).copied().unwrap_or_default().iter().copied().map(u64::from);
        // One pass for most columns, whose numbers take few bytes.
        match self.planes.len() {
            1 => plane(0).map(of).collect(),
            2 => plane(0).zip(plane(1)).map(|(a, b)| of(a | b << 8)).collect(),
            3 => plane(0).zip(plane(1)).zip(plane(2)).map(|((a, b), c)| of(a | b << 8 | c << 16)).collect(),
            _ => {
                let mut numbers = vec![0u64; self.count];
                for (at, plane) in self.planes.iter().enumerate() {
                    for (number, &byte) in numbers.iter_mut().zip(*plane) {
                        *number |= u64::from(byte) << (8 * at);
                    }
                }
                numbers.into_iter().map(of).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn columns_are_read_as_written(
            numbers in prop::collection::vec(any::<u64>(), 0..600),
            shift in 0u32..64,
            count in 0usize..700,
        ) {
            let numbers: Vec<u64> = numbers.into_iter().map(|number| number >> shift).collect();
            let mut differences: Vec<u64> = numbers.iter().rev().map(|number| number.wrapping_sub(numbers[0])).collect();
            let ids_only: Vec<u64> = numbers.iter().map(|number| number >> 32).collect();
            let expected: Vec<i64> = differences.iter().map(|&number| number as i64).collect();
            let mut raw = Raw::default();
            raw.column(&numbers);
            raw.signed_column(&mut differences);
            raw.column(&ids_only);
            prop_assert_eq!(raw.parts().collect::<Vec<_>>().concat(), raw.bytes.clone());
            let mut r = Reader::new(&raw.bytes);
            prop_assert_eq!(unsigned(&mut r, numbers.len()).unwrap(), numbers);
            prop_assert_eq!(signed(&mut r, expected.len()).unwrap(), expected);
            let ids_only: Vec<u32> = ids_only.into_iter().map(|id| id as u32).collect();
            prop_assert_eq!(ids(&mut r, ids_only.len()).unwrap(), ids_only);
            prop_assert!(r.is_at_end());
            // Another count gives other numbers, or none.
            let mut r = Reader::new(&raw.bytes);
            if let Ok(read) = signed(&mut r, count) {
                prop_assert_eq!(read.len(), count);
            }
        }
    }

    #[test]
    fn what_cannot_be_a_column() {
        let check = |bytes: &[u8], count, expected: &str| {
            let found = ids(&mut Reader::new(bytes), count).unwrap_err().to_string();
            assert_eq!(found, expected, "{bytes:?}");
        };
        check(&[], 0, "at byte 0: the body ends inside a text");
        check(&[0, 1], 1, "at byte 1: numbers have no width");
        check(&[9, 1], 1, "at byte 1: numbers have no width");
        check(&[1, 1], 2, "at byte 1: the body ends inside a text");
        check(&[129, 1], 1, "at byte 2: numbers that have no sign are in zigzag order");
        check(&[5, 0, 0, 0, 0, 1], 1, "at byte 6: an id has more than 32 bits");
        check(&[8, 1], usize::MAX, "at byte 1: the body ends inside a text");
    }

    #[test]
    fn what_is_small_is_not_compressed_apart() {
        let mut raw = Raw::default();
        raw.column(&[1; APART_BYTES_MIN / 2]);
        raw.column(&[1 << 8; APART_BYTES_MIN / 2]);
        let sizes: Vec<_> = raw.parts().map(<[u8]>::len).collect();
        assert_eq!(sizes, [2 + APART_BYTES_MIN, APART_BYTES_MIN / 2]);
    }
}
