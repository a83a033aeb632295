//! The framing of Arrow's streaming format: bytes in, messages out, each verified and none of its body read.

use arrow_ipc::MetadataVersion;

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
        /// What the verifier says.
        reason: String,
    },
}

/// Takes messages off a stream.
#[derive(Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
    count: usize,
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
        Self { bytes, at: 0, count: 0 }
    }

    /// The next message; `None` at the end, which is an end marker or simply the end.
    #[expect(clippy::should_implement_trait, reason = "nothing can be read after an error")]
    pub fn next(&mut self) -> Result<Option<Message<'a>>, FramingError> {
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
        let header = arrow_ipc::root_as_message(metadata).map_err(|error| {
            // The verifier tells a whole path over several lines.
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            FramingError::Metadata { offset, reason }
        })?;
        if header.version() < MetadataVersion::V4 {
            return Err(wrong("a message of an Arrow version before 0.8"));
        }
        let length = usize::try_from(header.bodyLength()).map_err(|_| wrong("a body of negative length"))?;
        let body = self.take(length)?;
        Ok(Some(Message { header, metadata, body, offset }))
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
