//! The framing of Arrow's streaming format: bytes in, messages out, each verified and none of its body read.

use std::ops::Range;

use arrow_ipc::MetadataVersion;
use flatbuffers::InvalidFlatbuffer;

/// Stands for bytes of a name that are no UTF-8 until the name is read: metadata must not change its length.
pub const SUBSTITUTE: char = '\u{1a}';
/// Names of one stream that are repaired. Each one means another look at the whole of the metadata.
const REPAIRED_NAMES_MAX: usize = 256;

const CONTINUATION: [u8; 4] = [0xff; 4];
/// Messages of one stream; an agent sends a dozen.
const MESSAGES_MAX: usize = 10_000;
/// Bytes before the first message of Arrow's file format, which is no stream.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// A stream that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A length or the order of messages is wrong.
    #[error("{what} at byte {offset}")]
    Stream {
        /// What is damaged.
        what: &'static str,
        /// Where in the stream.
        offset: usize,
    },
    /// The metadata of a message is no flatbuffer of the expected shape.
    #[error("the metadata of the message at byte {offset} cannot be read: {reason}")]
    Metadata {
        /// Where in the stream.
        offset: usize,
        /// What is wrong with it, and where in the metadata.
        reason: String,
    },
}

/// Takes messages off a stream.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
    count: usize,
    /// Where the metadata of the last message is.
    metadata: Range<usize>,
}

/// A message whose metadata is verified.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its metadata.
    pub header: arrow_ipc::Message<'a>,
    /// The same as bytes.
    pub metadata: &'a [u8],
    /// What the metadata tells of.
    pub body: &'a [u8],
    /// Where it starts in the stream.
    pub offset: usize,
}

impl<'a> Messages<'a> {
    /// The messages of a stream.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, count: 0, metadata: 0..0 }
    }

    /// The next message; `None` at the end, which is an end marker or simply the end.
    #[expect(clippy::should_implement_trait, reason = "nothing can be read after an error")]
    pub fn next(&mut self) -> Result<Option<Message<'a>>, FramingError> {
        let offset = self.at;
        let wrong = |what| FramingError::Stream { what, offset };
        let Some(metadata) = self.metadata_of_next()? else { return Ok(None) };
        let header = arrow_ipc::root_as_message(metadata)
            .map_err(|error| FramingError::Metadata { offset, reason: words(&error) })?;
        if header.version() < MetadataVersion::V4 {
            return Err(wrong("a message of an Arrow version before 0.8"));
        }
        let length = usize::try_from(header.bodyLength()).map_err(|_| wrong("a body of negative length"))?;
        let body = self.take(length)?;
        Ok(Some(Message { header, metadata, body, offset }))
    }

    /// Goes past the next message, one without a body, if something is known of its metadata, and gives what is. The metadata is not
    /// verified. Goes nowhere otherwise.
    pub(super) fn next_if<T>(&mut self, known: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let mut after = self.clone();
        let known = known(after.metadata_of_next().ok().flatten()?)?;
        *self = after;
        Some(known)
    }

    /// The metadata of the next message; `None` at the end. What follows is its body.
    fn metadata_of_next(&mut self) -> Result<Option<&'a [u8]>, FramingError> {
        let offset = self.at;
        let wrong = |what| FramingError::Stream { what, offset };
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        if offset == 0 && self.bytes.starts_with(FILE_MAGIC) {
            return Err(wrong("this is Arrow's file format, not the streaming format"));
        }
        let mut word = self.take(4)?;
        // Before version 0.15 there was no marker.
        if word == CONTINUATION {
            word = self.take(4)?;
        }
        let length = word.first_chunk::<4>().map_or(0, |word| i32::from_le_bytes(*word));
        if length == 0 {
            self.at = self.bytes.len();
            return Ok(None);
        }
        self.count += 1;
        if self.count > MESSAGES_MAX {
            return Err(wrong("more than 10000 messages"));
        }
        let length = usize::try_from(length).map_err(|_| wrong("a message of negative length"))?;
        let metadata = self.take(length)?;
        self.metadata = self.at - length..self.at;
        Ok(Some(metadata))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], FramingError> {
        let end = self.at.checked_add(length);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(FramingError::Stream { what: "the stream is cut short", offset: self.bytes.len() });
        };
        self.at += length;
        Ok(taken)
    }
}

/// What the verifier says, without the path of tables that it adds.
fn words(error: &InvalidFlatbuffer) -> String {
    match error {
        InvalidFlatbuffer::MissingRequiredField { required, .. } => {
            format!("the field {required} is missing")
        }
        InvalidFlatbuffer::InconsistentUnion { field, .. } => format!("the union {field} is incomplete"),
        InvalidFlatbuffer::Utf8Error { range, .. } => format!("text at byte {} is not UTF-8", range.start),
        InvalidFlatbuffer::MissingNullTerminator { range, .. } => {
            format!("text at byte {} does not end", range.start)
        }
        InvalidFlatbuffer::Unaligned { position, .. } => format!("byte {position} is not aligned"),
        InvalidFlatbuffer::RangeOutOfBounds { range, .. } => {
            format!("bytes {} to {} are beyond its end", range.start, range.end)
        }
        InvalidFlatbuffer::SignedOffsetOutOfBounds { position, .. } => {
            format!("the offset at byte {position} leads beyond its end")
        }
        InvalidFlatbuffer::TooManyTables => "too many tables".to_owned(),
        InvalidFlatbuffer::ApparentSizeTooLarge => "the same bytes are used too often".to_owned(),
        InvalidFlatbuffer::DepthLimitReached => "tables are nested too deep".to_owned(),
    }
}

/// A stream whose schema has names that are not UTF-8, with a substitute in place of each bad byte, and how many names that
/// are; `None` if there are none, or the stream is wrong in another way.
///
/// The verifier refuses such a schema whole, and with it what a sender has to say, for a label that somebody else has named.
pub fn with_repaired_names(stream: &[u8]) -> Option<(Vec<u8>, u64)> {
    let mut messages = Messages::new(stream);
    let Err(FramingError::Metadata { offset: 0, .. }) = messages.next() else { return None };
    // What was taken last is the metadata.
    let metadata = messages.metadata.clone();
    let mut stream = stream.to_vec();
    for repaired in 0..=REPAIRED_NAMES_MAX {
        match arrow_ipc::root_as_message(stream.get(metadata.clone())?) {
            Ok(_) => return Some((stream, repaired as u64)),
            Err(InvalidFlatbuffer::Utf8Error { range, .. }) => {
                substitute(stream.get_mut(metadata.clone())?.get_mut(range)?);
            }
            Err(_) => return None,
        }
    }
    None
}

fn substitute(mut text: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(text) {
        let bad = error.error_len().unwrap_or(text.len() - error.valid_up_to());
        let (bad, rest) = std::mem::take(&mut text).split_at_mut(error.valid_up_to() + bad);
        let start = error.valid_up_to();
        bad.get_mut(start..).unwrap_or_default().fill(SUBSTITUTE as u8);
        text = rest;
    }
}
