//! Fields of a message, one by one and byte for byte: what is not known here stays as it is.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};

/// Writes a field with its content.
pub(crate) fn put(tag: u32, content: &[u8], out: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.put_slice(content);
}

/// A field of a message.
pub(crate) struct Field {
    pub(crate) tag: u32,
    /// As it came, with its key.
    pub(crate) whole: Bytes,
    /// Of one that has a length.
    pub(crate) content: Option<Bytes>,
}

/// The fields of a message, in order; ends after the first that is wrong.
pub(crate) struct Fields(pub(crate) Bytes);

impl Fields {
    fn field(&mut self) -> Result<Field, DecodeError> {
        let start = self.0.clone();
        let (tag, wire_type) = decode_key(&mut self.0)?;
        let after_key = self.0.clone();
        skip_field(wire_type, tag, &mut self.0, DecodeContext::default())?;
        let whole = start.slice(..start.len() - self.0.len());
        let mut content = after_key.slice(..after_key.len() - self.0.len());
        let content = match wire_type {
            WireType::LengthDelimited => {
                decode_varint(&mut content)?;
                Some(content)
            }
            _ => None,
        };
        Ok(Field { tag, whole, content })
    }
}

impl Iterator for Fields {
    type Item = Result<Field, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.0.has_remaining() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0.clear();
        }
        Some(field)
    }
}
