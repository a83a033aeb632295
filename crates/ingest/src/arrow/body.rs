//! Buffers of a message's body, decompressed when somebody asks for them.

use std::{
    cell::{Cell, RefCell},
    ops::Deref,
};

use super::{error::Fault, lz4};

/// How the buffers of a message are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Lz4,
    Zstd,
}

/// What decompressing the buffers of a stream may take, and has taken: a limit of bytes, and memory that is used again.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    left: Cell<usize>,
    /// Memory of buffers that have been read. A request has some fifty of them, one read after the other, and memory that is
    /// fresh costs as much as decompressing into it.
    spare: RefCell<Vec<Vec<u8>>>,
}

/// Pieces of memory that wait to be used again.
const SPARE_MAX: usize = 4;

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: Cell::new(limit), spare: RefCell::default() }
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

    /// Memory that a buffer was in, with what is left of that, or none.
    fn used(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn give_back(&self, memory: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            spare.push(memory);
        }
    }
}

/// The bytes of a buffer.
#[derive(Debug)]
pub(super) enum Bytes<'a, 'b> {
    /// As they came.
    Borrowed(&'a [u8]),
    /// Decompressed, in memory that goes back to the budget.
    Plain { bytes: Vec<u8>, budget: &'b Budget },
}

impl Deref for Bytes<'_, '_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Plain { bytes, .. } => bytes,
        }
    }
}

impl Drop for Bytes<'_, '_> {
    fn drop(&mut self) {
        if let Self::Plain { bytes, budget } = self {
            budget.give_back(std::mem::take(bytes));
        }
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
    pub(super) fn read<'b>(&self, budget: &'b Budget) -> Result<Bytes<'a, 'b>, Unread> {
        if self.codec == Codec::None || self.bytes.is_empty() {
            return Ok(Bytes::Borrowed(self.bytes));
        }
        let Some((len, frame)) = self.bytes.split_first_chunk::<8>() else {
            return Err(Unread::Damaged("it is cut short".to_owned()));
        };
        let len = i64::from_le_bytes(*len);
        if len == NOT_COMPRESSED {
            return Ok(Bytes::Borrowed(frame));
        }
        let len =
            usize::try_from(len).map_err(|_| Unread::Damaged(format!("it claims to hold {len} bytes")))?;
        budget.take(len).map_err(Unread::TooLarge)?;
        let plain = match self.codec {
            Codec::Lz4 => lz4::decompress(frame, len, budget.used()),
            Codec::Zstd => unzstd(frame, len),
            Codec::None => return Ok(Bytes::Borrowed(self.bytes)),
        };
        let bytes = plain.map_err(Unread::Damaged)?;
        Ok(Bytes::Plain { bytes, budget })
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
