//! Buffers of a message's body, decompressed when somebody asks for them.

use std::{borrow::Cow, cell::Cell};

use super::{error::Fault, lz4};

/// How the buffers of a message are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Lz4,
    Zstd,
}

/// Decompressed bytes that a stream may still bring.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    left: Cell<usize>,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: Cell::new(limit) }
    }

    /// Takes so many bytes, or says that there are not enough left.
    pub(super) fn take(&self, len: usize) -> Result<(), Fault> {
        let Some(left) = self.left.get().checked_sub(len) else {
            let found = len.saturating_add(self.limit - self.left.get());
            return Err(Fault::Limit { what: "decompressed bytes", found, limit: self.limit });
        };
        self.left.set(left);
        Ok(())
    }
}

/// A buffer as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) codec: Codec,
}

/// Why a buffer cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// What is wrong with it.
    Damaged(String),
    /// It holds more than the stream may still bring.
    TooLarge(Fault),
}

/// Length before a compressed buffer that says that it is not compressed.
const NOT_COMPRESSED: i64 = -1;

impl<'a> Buffer<'a> {
    /// The bytes themselves.
    pub(super) fn read(&self, budget: &Budget) -> Result<Cow<'a, [u8]>, Unread> {
        if self.codec == Codec::None || self.bytes.is_empty() {
            return Ok(Cow::Borrowed(self.bytes));
        }
        let Some((len, frame)) = self.bytes.split_first_chunk::<8>() else {
            return Err(Unread::Damaged("it is cut short".to_owned()));
        };
        let len = i64::from_le_bytes(*len);
        if len == NOT_COMPRESSED {
            return Ok(Cow::Borrowed(frame));
        }
        let len =
            usize::try_from(len).map_err(|_| Unread::Damaged(format!("it claims to hold {len} bytes")))?;
        budget.take(len).map_err(Unread::TooLarge)?;
        let plain = match self.codec {
            Codec::Lz4 => lz4::decompress(frame, len),
            Codec::Zstd => unzstd(frame, len),
            Codec::None => return Ok(Cow::Borrowed(self.bytes)),
        };
        plain.map(Cow::Owned).map_err(Unread::Damaged)
    }
}

fn unzstd(frame: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let plain = zstd::bulk::decompress(frame, len).map_err(|e| e.to_string())?;
    if plain.len() == len {
        Ok(plain)
    } else {
        Err(format!("it holds {} bytes instead of {len}", plain.len()))
    }
}
