//! The protobuf wire format, as far as reading needs it: tags, varints, lengths, skipping.
//!
//! A [`Reader`] walks a slice that ends where its message ends, but starts where the whole input starts: positions are
//! byte offsets of the input, so that every fault says where it is without anything being passed along.

/// Wire type of a varint.
pub(super) const VARINT: u8 = 0;
/// Wire type of bytes with a length before them.
pub(super) const BYTES: u8 = 2;

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
pub(super) struct Fault {
    pub(super) reason: MalformedReason,
    pub(super) offset: usize,
}

/// Reads one message. See the module.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    /// The input up to the end of this message.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Byte offset in the input of what is read next.
    #[inline]
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Bytes left in this message.
    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[cold]
    fn fault(&self, reason: MalformedReason) -> Fault {
        Fault { reason, offset: self.at }
    }

    /// A tag as it is on the wire: field number times 8 plus wire type.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<u32, Fault> {
        let start = self.at;
        let tag = self.varint()?;
        if !(8..1 << 32).contains(&tag) {
            return Err(Fault { reason: MalformedReason::FieldNumber, offset: start });
        }
        Ok(tag as u32)
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.wide_varint(),
        }
    }

    /// A varint of two to eight bytes, from one load; anything else byte by byte.
    #[inline]
    fn wide_varint(&mut self) -> Result<u64, Fault> {
        const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
        if let Some(chunk) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*chunk);
            let stops = !word & HIGH_BITS;
            if stops != 0 {
                self.at += (stops.trailing_zeros() / 8 + 1) as usize;
                return Ok(join_septets(word & (stops ^ (stops - 1))));
            }
        }
        self.long_varint()
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

    /// The message or packed values behind a length; this reader goes on after them.
    #[inline]
    pub(super) fn nested(&mut self) -> Result<Reader<'a>, Fault> {
        let start = self.at;
        let len = self.varint()?;
        if len > self.remaining() as u64 {
            return Err(Fault { reason: MalformedReason::CutShort, offset: start });
        }
        let end = self.at + len as usize;
        let inner = Reader { bytes: self.bytes.get(..end).unwrap_or_default(), at: self.at };
        self.at = end;
        Ok(inner)
    }

    /// Skips the field of `tag`, which the caller does not know: a number above `last_known`.
    ///
    /// A known number here means that its wire type was not the expected one.
    #[cold]
    pub(super) fn skip_unknown(&mut self, tag: u32, last_known: u32) -> Result<(), Fault> {
        if tag >> 3 <= last_known {
            return Err(self.fault(MalformedReason::WrongWireType));
        }
        self.skip((tag & 7) as u8)
    }

    /// Skips a value of a wire type.
    pub(super) fn skip(&mut self, wire_type: u8) -> Result<(), Fault> {
        let width = match wire_type {
            VARINT => return self.varint().map(|_| ()),
            BYTES => return self.nested().map(|_| ()),
            1 => 8,
            5 => 4,
            _ => return Err(self.fault(MalformedReason::UnknownWireType)),
        };
        if self.remaining() < width {
            return Err(self.fault(MalformedReason::CutShort));
        }
        self.at += width;
        Ok(())
    }
}

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
    fn lengths_stay_inside_the_message() {
        let mut outer = Reader::new(&[3, 2, 1, 1, 9]);
        let mut inner = outer.nested().unwrap();
        assert_eq!((inner.remaining(), outer.remaining()), (3, 1));
        assert_eq!(inner.nested().unwrap().rest(), [1, 1]);
        assert!(inner.is_done());
        assert_eq!(outer.nested().err(), Some(Fault { reason: MalformedReason::CutShort, offset: 4 }));
    }

    #[test]
    fn tags_and_skips() {
        assert_eq!(Reader::new(&[0x07]).tag().err().map(|f| f.reason), Some(MalformedReason::FieldNumber));
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).tag().map(|_| ()), Err(Fault { reason: MalformedReason::FieldNumber, offset: 0 }));
        for (wire_type, bytes, left) in [(0u8, &[0x80u8, 1, 5][..], 1), (1, &[0; 9], 1), (2, &[1, 0, 7], 1), (5, &[0; 5], 1)] {
            let mut reader = Reader::new(bytes);
            reader.skip(wire_type).unwrap();
            assert_eq!(reader.remaining(), left);
        }
        for (wire_type, reason) in [
            (1, MalformedReason::CutShort),
            (3, MalformedReason::UnknownWireType),
            (4, MalformedReason::UnknownWireType),
            (5, MalformedReason::CutShort),
            (7, MalformedReason::UnknownWireType),
        ] {
            assert_eq!(Reader::new(&[0]).skip(wire_type), Err(Fault { reason, offset: 0 }));
        }
        assert_eq!(
            Reader::new(&[0]).skip_unknown(3 << 3, 3),
            Err(Fault { reason: MalformedReason::WrongWireType, offset: 0 })
        );
    }
}
