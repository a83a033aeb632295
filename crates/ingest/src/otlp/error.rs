//! Why a message, or a profile in it, is refused; and reading fields with their place in hand.

use decima_profile::wire::{BYTES, Fault, Reader, VARINT};

use crate::push::Refusal;

/// What is wrong, and where in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct OtlpError {
    /// Path of the field, such as `resource_profiles[0].scope_profiles[0].profiles[2].samples[17]`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// Kind of it.
    pub reason: Refusal,
}

impl OtlpError {
    #[cold]
    pub(crate) fn new(place: impl Into<String>, reason: Refusal, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), reason }
    }

    #[cold]
    pub(crate) fn out_of_range(place: impl Into<String>, table: &str, found: u64, count: usize) -> Self {
        Self::new(place, Refusal::OutOfRange, format!("{table} index {found} is out of range ({count})"))
    }

    #[cold]
    pub(crate) fn limit(place: impl Into<String>, what: &str, found: usize, limit: usize) -> Self {
        Self::new(place, Refusal::TooLarge, format!("{found} {what}, the limit is {limit}"))
    }

    #[cold]
    pub(crate) fn malformed(place: &str, fault: Fault) -> Self {
        Self::new(place, Refusal::Malformed, format!("{} at byte {}", fault.reason, fault.offset))
    }
}

/// The value of a field.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    wire_type: u8,
    number: u64,
    body: Reader<'a>,
}

/// A field has another wire type than the schema says.
pub(crate) struct WrongType {
    offset: usize,
}

/// What reading a field can end with.
pub(crate) enum FieldError {
    WrongType(WrongType),
    Other(OtlpError),
}

impl From<WrongType> for FieldError {
    fn from(error: WrongType) -> Self {
        Self::WrongType(error)
    }
}

impl From<OtlpError> for FieldError {
    fn from(error: OtlpError) -> Self {
        Self::Other(error)
    }
}

impl<'a> Value<'a> {
    fn wrong<T>(&self) -> Result<T, WrongType> {
        Err(WrongType { offset: self.body.offset() })
    }

    /// A message, text or bytes.
    pub(crate) fn message(&self) -> Result<Reader<'a>, WrongType> {
        if self.wire_type == BYTES { Ok(self.body) } else { self.wrong() }
    }

    /// A varint.
    pub(crate) fn varint(&self) -> Result<u64, WrongType> {
        if self.wire_type == VARINT { Ok(self.number) } else { self.wrong() }
    }

    /// A 64-bit number of fixed width.
    pub(crate) fn fixed64(&self) -> Result<u64, WrongType> {
        match (self.wire_type, self.body.rest().first_chunk::<8>()) {
            (1, Some(bytes)) => Ok(u64::from_le_bytes(*bytes)),
            _ => self.wrong(),
        }
    }

    /// Whether it is a varint rather than bytes; `None` if it is neither.
    pub(crate) fn is_varint(&self) -> Option<bool> {
        match self.wire_type {
            VARINT => Some(true),
            BYTES => Some(false),
            _ => None,
        }
    }

    /// Adds one varint, or several that are packed.
    pub(crate) fn varints(&self, mut each: impl FnMut(u64)) -> Result<(), WrongType> {
        if self.wire_type == VARINT {
            each(self.number);
            return Ok(());
        }
        let mut packed = self.message()?;
        while !packed.is_done() {
            match packed.varint() {
                Ok(number) => each(number),
                Err(_) => return self.wrong(),
            }
        }
        Ok(())
    }

    /// Adds one 64-bit number of fixed width, or several that are packed.
    pub(crate) fn fixed64s(&self, mut each: impl FnMut(u64)) -> Result<(), WrongType> {
        if self.wire_type == 1 {
            each(self.fixed64()?);
            return Ok(());
        }
        let (numbers, []) = self.message()?.rest().as_chunks::<8>() else { return self.wrong() };
        numbers.iter().for_each(|bytes| each(u64::from_le_bytes(*bytes)));
        Ok(())
    }
}

/// Hands every field of a message to `take`, with its number. Fields that `take` does not know, it leaves. `names` are those of
/// the fields that it knows, by number from 1.
pub(crate) fn each_field<'a>(
    mut message: Reader<'a>,
    place: &str,
    names: &[&str],
    mut take: impl FnMut(u32, Value<'a>) -> Result<(), FieldError>,
) -> Result<(), OtlpError> {
    while !message.is_done() {
        let malformed = |fault| OtlpError::malformed(place, fault);
        let (tag, number) = message.field().map_err(malformed)?;
        let wire_type = (tag & 7) as u8;
        let len = match wire_type {
            VARINT => 0,
            BYTES => number,
            1 => 8,
            5 => 4,
            _ => {
                message.skip((tag, number)).map_err(malformed)?;
                continue;
            }
        };
        let body = message.body(len).map_err(malformed)?;
        take(tag >> 3, Value { wire_type, number, body }).map_err(|error| match error {
            FieldError::Other(error) => error,
            FieldError::WrongType(WrongType { offset }) => {
                let name = names.get((tag >> 3) as usize - 1).copied().unwrap_or("a field");
                let message = format!("{name} has the wrong wire type or is cut short at byte {offset}");
                OtlpError::new(place, Refusal::WrongType, message)
            }
        })?;
    }
    Ok(())
}
