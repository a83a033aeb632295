//! The protobuf wire format, as far as reading needs it: tags, varints, lengths, skipping. For codecs that keep slices of
//! what they read, or must not refuse a message for text that is not UTF-8.
//!
//! A [`Reader`] holds the whole input and the range of its message in it: positions are byte offsets of the input, so that
//! every fault says where it is without anything being passed along, and a varint at the end of a message can be loaded
//! together with bytes behind it.

/// Wire type of a varint.
pub const VARINT: u8 = 0;
/// Wire type of bytes with a length before them.
pub const BYTES: u8 = 2;

/// Why the bytes are no protobuf message of the expected shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReason {
    /// A value or the contents of a field reach beyond the end of the message around it.
    #[error("cut short")]
    CutShort,
    /// A varint has more than 64 bits.
    #[error("varint of more than 64 bits")]
    VarintTooLong,
    /// A tag has the field number 0 or one above 2^29 - 1.
    #[error("impossible field number")]
    FieldNumber,
    /// The wire type is not one of varint, fixed64, bytes and fixed32 (groups are not read).
    #[error("unknown wire type")]
    UnknownWireType,
    /// A known field has another wire type than the schema says.
    #[error("wrong wire type")]
    WrongWireType,
}

/// A [`MalformedReason`] and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub reason: MalformedReason,
    /// Byte offset in the input.
    pub offset: usize,
}

/// Reads one message. See the module.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The whole input.
    bytes: &'a [u8],
    at: usize,
    /// End of this message; not before `at`, not after the end of the input.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads a whole input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() }
    }

    /// Byte offset in the input of what is read next.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    #[inline]
    /// Whether this message is at its end.
    pub fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// Bytes left in this message.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// The bytes that are left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    #[cold]
    fn fault(&self, reason: MalformedReason) -> Fault {
        Fault { reason, offset: self.at }
    }

    /// The tag of the next field (field number times 8 plus wire type) and the varint behind it: the value, or the length
    /// of the [`body`](Self::body). Other wire types have the value 0 here.
    #[inline]
    pub fn field(&mut self) -> Result<(u32, u64), Fault> {
        let start = self.at;
        let tag = self.varint()?;
        if !(8..1 << 32).contains(&tag) {
            return Err(Fault { reason: MalformedReason::FieldNumber, offset: start });
        }
        let value = if matches!((tag & 7) as u8, VARINT | BYTES) { self.varint()? } else { 0 };
        Ok((tag as u32, value))
    }

    /// What [`field`](Self::field) would give, if that is the field of `TAG` (of one byte; varint or bytes) and all is well
    /// with it. Otherwise nothing is read.
    ///
    /// Writers put fields in the order of their numbers. Asking for one after the other costs a third of dispatching on
    /// each tag, since the processor can guess each answer.
    #[inline(always)]
    pub(crate) fn field_if<const TAG: u8>(&mut self) -> Option<u64> {
        const { assert!(TAG >= 8 && TAG < 0x80 && matches!(TAG & 7, VARINT | BYTES)) };
        let word = self.word()?;
        if word as u8 != TAG {
            return None;
        }
        let (value, width) = if word & 0x80_00 == 0 {
            (word >> 8 & 0x7f, 2)
        } else if word & 0x80_00_00 == 0 {
            ((word >> 8 & 0x7f) | (word >> 9 & 0x3f80), 3)
        } else {
            let stops = !word & (HIGH_BITS ^ 0x80_80);
            if stops == 0 {
                return None;
            }
            (join_septets((word & (stops ^ (stops - 1))) >> 8), (stops.trailing_zeros() / 8 + 1) as usize)
        };
        if self.at + width > self.end {
            return None;
        }
        self.at += width;
        Some(value)
    }

    /// The next varint.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, Fault> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.wide_varint(),
        }
    }

    /// A varint of two to eight bytes, from one load; anything else byte by byte.
    #[inline(always)]
    fn wide_varint(&mut self) -> Result<u64, Fault> {
        if let Some(word) = self.word() {
            let stops = !word & HIGH_BITS;
            let end = self.at + (stops.trailing_zeros() / 8 + 1) as usize;
            if stops != 0 && end <= self.end {
                self.at = end;
                return Ok(join_septets(word & (stops ^ (stops - 1))));
            }
        }
        self.long_varint()
    }

    /// The next eight bytes of the input, whether they belong to the message or not.
    #[inline(always)]
    fn word(&self) -> Option<u64> {
        let chunk = self.bytes.get(self.at..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*chunk))
    }

    /// Four varints of one or two bytes each, if that is what comes next: the usual case for ids.
    ///
    /// Lengths of one and two bytes mixed at random are what branch prediction cannot follow, so that this takes half the
    /// time of four calls of [`varint`](Self::varint).
    #[inline(always)]
    pub(crate) fn four_short_varints(&mut self) -> Option<[u32; 4]> {
        let word = self.word()?;
        let continued = word & HIGH_BITS;
        if self.remaining() < 8 || continued & (continued >> 8) != 0 {
            return None;
        }
        let mut stops = continued ^ HIGH_BITS;
        let mut start = 0;
        let values = std::array::from_fn(|_| {
            // The bit behind the varint.
            let end = stops.trailing_zeros() + 1;
            stops &= stops.wrapping_sub(1);
            let bits = (word >> start) as u32 & ((1 << (end - start)) - 1);
            start = end;
            (bits & 0x7f) | (bits >> 1 & 0x3f80)
        });
        self.at += (start / 8) as usize;
        Some(values)
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0u64;
        for (i, &byte) in self.rest().iter().enumerate() {
            if i == 9 && byte > 1 {
                return Err(self.fault(MalformedReason::VarintTooLong));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(self.fault(MalformedReason::CutShort))
    }

    /// The message or packed values of `len` bytes that come next; this reader goes on after them.
    #[inline(always)]
    pub fn body(&mut self, len: u64) -> Result<Reader<'a>, Fault> {
        if len > self.remaining() as u64 {
            return Err(self.fault(MalformedReason::CutShort));
        }
        let end = self.at + len as usize;
        let inner = Reader { bytes: self.bytes, at: self.at, end };
        self.at = end;
        Ok(inner)
    }

    /// Skips the rest of a field that the caller does not know: one with a number above `last_known`.
    ///
    /// A known number here means that its wire type was not the expected one.
    #[cold]
    pub(crate) fn skip_unknown(&mut self, (tag, value): (u32, u64), last_known: u32) -> Result<(), Fault> {
        if tag >> 3 <= last_known {
            return Err(self.fault(MalformedReason::WrongWireType));
        }
        self.skip((tag, value))
    }

    /// Skips the rest of a field.
    pub fn skip(&mut self, (tag, value): (u32, u64)) -> Result<(), Fault> {
        let len = match (tag & 7) as u8 {
            VARINT => 0,
            BYTES => value,
            1 => 8,
            5 => 4,
            _ => return Err(self.fault(MalformedReason::UnknownWireType)),
        };
        self.body(len).map(|_| ())
    }
}

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Moves the low seven bits of each byte together.
#[inline(always)]
fn join_septets(word: u64) -> u64 {
    let word = (word & 0x007f_007f_007f_007f) | ((word & 0x7f00_7f00_7f00_7f00) >> 1);
    let word = (word & 0x0000_3fff_0000_3fff) | ((word & 0x3fff_0000_3fff_0000) >> 2);
    (word & 0x0000_0000_0fff_ffff) | ((word & 0x0fff_ffff_0000_0000) >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    #[test]
    fn varints_of_every_width_alone_and_followed() {
        let mut values: Vec<u64> = vec![0, 1, 127, 128, u64::MAX];
        values.extend((0..64).flat_map(|bit| [1 << bit, (1u64 << bit) - 1, 0x5555_5555_5555_5555 >> bit]));
        for value in values {
            let mut bytes = encoded(value);
            let width = bytes.len();
            for padding in [0, 16] {
                bytes.resize(width + padding, 0xff);
                let mut reader = Reader::new(&bytes);
                assert_eq!(reader.varint(), Ok(value), "{value:#x}");
                assert_eq!(reader.offset(), width);
            }
            for end in 0..width {
                let fault = Reader::new(&bytes[..end]).varint();
                assert_eq!(fault, Err(Fault { reason: MalformedReason::CutShort, offset: 0 }));
            }
        }
    }

    #[test]
    fn varints_that_are_too_long() {
        for bytes in [vec![0xff; 11], [vec![0xff; 9], vec![0x02]].concat(), vec![0x80; 12]] {
            let fault = Reader::new(&bytes).varint();
            assert_eq!(fault, Err(Fault { reason: MalformedReason::VarintTooLong, offset: 0 }));
        }
    }

    #[test]
    fn fields_of_every_width_alone_and_followed() {
        for tag in [8u64, 10, 0x78, 0x7a, 0x80, 0xffff_ffff << 3 & 0xffff_fff8] {
            for value in [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 34, u64::MAX] {
                let mut bytes = [encoded(tag), encoded(value)].concat();
                let width = bytes.len();
                for padding in [0, 16] {
                    bytes.resize(width + padding, 0x85);
                    let mut reader = Reader { end: width, ..Reader::new(&bytes) };
                    assert_eq!(reader.field(), Ok((tag as u32, value)));
                    assert!(reader.is_done());
                }
                for end in 0..width {
                    let mut reader = Reader { end, ..Reader::new(&bytes) };
                    assert_eq!(reader.field().err().map(|f| f.reason), Some(MalformedReason::CutShort));
                }
            }
        }
    }

    #[test]
    fn four_short_varints_are_those_of_the_slow_way() {
        let values = [0u32, 5, 127, 128, 300, 16_383];
        for choice in 0..values.len().pow(4) {
            let four = [0, 1, 2, 3].map(|i| values[choice / values.len().pow(i) % values.len()]);
            let mut bytes: Vec<u8> = four.iter().flat_map(|&value| encoded(value.into())).collect();
            let width = bytes.len();
            bytes.resize(width + 8, 1);
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.four_short_varints(), Some(four));
            assert_eq!(reader.offset(), width);
            assert_eq!(Reader { end: 7, ..Reader::new(&bytes) }.four_short_varints(), None);
        }
        assert_eq!(Reader::new(&[1, 1, 0x80, 0x80, 1, 1, 1, 1, 1]).four_short_varints(), None);
    }

    #[test]
    fn lengths_stay_inside_the_message() {
        let mut outer = Reader::new(&[0x0a, 4, 0x0a, 2, 1, 1, 0x0a, 9]);
        let (_, len) = outer.field().unwrap();
        let mut inner = outer.body(len).unwrap();
        assert_eq!((inner.remaining(), outer.remaining()), (4, 2));
        let (_, len) = inner.field().unwrap();
        assert_eq!(inner.body(len).unwrap().rest(), [1, 1]);
        assert!(inner.is_done());
        let (_, len) = outer.field().unwrap();
        assert_eq!(outer.body(len).err(), Some(Fault { reason: MalformedReason::CutShort, offset: 8 }));
    }

    #[test]
    fn tags_and_skips() {
        for bytes in [&[0x07, 0][..], &[0x80, 0x80, 0x80, 0x80, 0x10, 0], &[0x07, 0, 0, 0, 0, 0, 0, 0, 0]] {
            let fault = Fault { reason: MalformedReason::FieldNumber, offset: 0 };
            assert_eq!(Reader::new(bytes).field(), Err(fault));
        }
        for (wire_type, bytes) in [(0, &[0x80u8, 1][..]), (1, &[0; 8]), (2, &[1, 0]), (5, &[0; 4])] {
            let bytes = [&[100 << 3 & 0x7f | 0x80 | wire_type, 100 >> 4], bytes, &[7]].concat();
            let mut reader = Reader::new(&bytes);
            let field = reader.field().unwrap();
            reader.skip_unknown(field, 99).unwrap();
            assert_eq!(reader.rest(), [7]);
        }
        for (tag, reason) in [
            (4 << 3 | 1, MalformedReason::CutShort),
            (4 << 3 | 3, MalformedReason::UnknownWireType),
            (4 << 3 | 4, MalformedReason::UnknownWireType),
            (4 << 3 | 5, MalformedReason::CutShort),
            (4 << 3 | 7, MalformedReason::UnknownWireType),
            (3 << 3, MalformedReason::WrongWireType),
        ] {
            assert_eq!(Reader::new(&[0]).skip_unknown((tag, 0), 3), Err(Fault { reason, offset: 0 }));
        }
    }
}
