//! Labels in OTLP requests: attributes of each resource, which go before those of scopes, profiles and samples.
//!
//! Messages are taken apart as far as the keys of a resource's attributes, and put together again byte for byte: text of
//! senders need not be UTF-8, and fields that are not known here stay.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use decima_proto::opentelemetry::RawExportRequest;
use prost::{
    DecodeError, Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field},
};

/// `ResourceProfiles.resource`.
const RESOURCE: u32 = 1;
/// `Resource.attributes`.
const ATTRIBUTES: u32 = 1;
/// `ProfilesDictionary.string_table`.
const STRINGS: u32 = 5;

/// The key of an attribute, by itself or by its place in the request's table of strings.
#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int32, tag = "3")]
    key_index: i32,
}

/// An attribute whose value is text.
#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Text>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    // An empty value is written too: it takes a sender's value away.
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

/// Adds labels to every resource of a request, in place of attributes of the same names.
pub(super) fn add(request: Bytes, labels: &[(String, String)]) -> Result<Bytes, DecodeError> {
    let mut request = RawExportRequest::decode(request)?;
    let mut strings = Vec::new();
    for dictionary in &request.dictionary {
        for field in Fields(dictionary.clone()) {
            let field = field?;
            if let (STRINGS, Some(text)) = (field.tag, field.content) {
                strings.push(text);
            }
        }
    }
    for resource in &mut request.resource_profiles {
        *resource = with_resource(resource, labels, &strings)?;
    }
    Ok(request.encode_to_vec().into())
}

/// The resource with its profiles, with the labels in its resource.
fn with_resource(
    profiles: &Bytes,
    labels: &[(String, String)],
    strings: &[Bytes],
) -> Result<Bytes, DecodeError> {
    let (mut resource, mut rest) = (BytesMut::new(), BytesMut::new());
    for field in Fields(profiles.clone()) {
        let field = field?;
        match (field.tag, field.content) {
            // Several of them are one, merged.
            (RESOURCE, Some(content)) => without(content, labels, strings, &mut resource)?,
            _ => rest.extend_from_slice(&field.whole),
        }
    }
    for (key, value) in labels {
        let text = Some(Text { text: Some(value.clone()) });
        put(ATTRIBUTES, &Attribute { key: key.clone(), value: text }.encode_to_vec(), &mut resource);
    }
    let mut whole = BytesMut::with_capacity(resource.len() + rest.len() + 8);
    put(RESOURCE, &resource, &mut whole);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// The fields of a resource but for attributes of these names.
fn without(
    resource: Bytes,
    labels: &[(String, String)],
    strings: &[Bytes],
    out: &mut BytesMut,
) -> Result<(), DecodeError> {
    for field in Fields(resource) {
        let field = field?;
        if let (ATTRIBUTES, Some(attribute)) = (field.tag, field.content) {
            let Key { key, key_index } = Key::decode(attribute)?;
            let by_index = usize::try_from(key_index).ok().and_then(|index| strings.get(index));
            let key = if key.is_empty() { by_index.cloned().unwrap_or_default() } else { key };
            if labels.iter().any(|(name, _)| name.as_bytes() == key) {
                continue;
            }
        }
        out.extend_from_slice(&field.whole);
    }
    Ok(())
}

fn put(tag: u32, content: &[u8], out: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.put_slice(content);
}

/// A field of a message.
struct Field {
    tag: u32,
    /// As it came, with its key.
    whole: Bytes,
    /// Of one that has a length.
    content: Option<Bytes>,
}

/// The fields of a message, in order; ends after the first that is wrong.
struct Fields(Bytes);

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
