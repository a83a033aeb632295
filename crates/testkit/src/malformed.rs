//! Messages that are wrong in every way that we could think of, and sound ones that they are made from.

#![expect(clippy::unwrap_used, reason = "what is made here is known to be sound, or wrong as it should be")]

pub mod agent;
pub mod otlp;

/// Decompressed bytes that readers of these messages are to take; a bomb holds more.
pub const PLAIN_BYTES_MAX: usize = 1 << 20;

/// A wrong request.
#[derive(Debug, Clone)]
pub struct Wrong {
    /// A name for files.
    pub name: &'static str,
    /// Its messages.
    pub messages: Vec<Vec<u8>>,
    /// Is in the words of the refusal.
    pub refusal: &'static str,
}
