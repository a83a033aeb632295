//! Variable-length integers: seven bits a byte, low bits first; signed ones in zigzag order.

/// A read that does not fit the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
pub(crate) struct DecodeError {
    /// Offset in the decoded body.
    pub(crate) offset: usize,
    /// What does not fit.
    pub(crate) reason: &'static str,
}

/// Appends an unsigned number.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the `put` functions wrote.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn error(&self, reason: &'static str) -> DecodeError {
        DecodeError { offset: self.at, reason }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    pub(crate) fn unsigned(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(self.error("the body ends inside a number"));
            };
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(self.error("a number has more than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        let v = self.unsigned()?;
        Ok(((v >> 1) as i64) ^ -((v & 1) as i64))
    }

    #[inline]
    pub(crate) fn id(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.unsigned()?).map_err(|_| self.error("an id has more than 32 bits"))
    }

    /// A number of rows that follow; each takes at least one byte, so that a damaged count cannot ask for more memory than
    /// a multiple of the body.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let n = self.unsigned()?;
        if n > (self.bytes.len() - self.at) as u64 {
            return Err(self.error("a count is larger than the rest of the body"));
        }
        Ok(n as usize)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some(slice) = self.at.checked_add(len).and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.error("the body ends inside a text"));
        };
        self.at += len;
        Ok(slice)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let len = self.count()?;
        let at = self.at;
        std::str::from_utf8(self.slice(len)?)
            .map_err(|_| DecodeError { offset: at, reason: "a text is not valid UTF-8" })
    }
}
