//! Labels in OTLP requests: attributes of each resource, which go before those of scopes, profiles and samples.
//!
//! Messages are taken apart as far as the keys of a resource's attributes, and put together again byte for byte: text of
//! senders need not be UTF-8, and fields that are not known here stay.

use bytes::{Bytes, BytesMut};
use prost::{DecodeError, Message as _};

use crate::fields::{Fields, put};

/// `ExportProfilesServiceRequest.resource_profiles`.
const RESOURCE_PROFILES: u32 = 1;
/// `ExportProfilesServiceRequest.dictionary`.
const DICTIONARY: u32 = 2;
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
pub(super) fn add(request: &Bytes, labels: &[(String, String)]) -> Result<Bytes, DecodeError> {
    let mut strings = Vec::new();
    for field in Fields(request.clone()) {
        let field = field?;
        let (DICTIONARY, Some(dictionary)) = (field.tag, field.content) else { continue };
        for field in Fields(dictionary) {
            let field = field?;
            if let (STRINGS, Some(text)) = (field.tag, field.content) {
                strings.push(text);
            }
        }
    }
    let mut out = BytesMut::with_capacity(request.len());
    for field in Fields(request.clone()) {
        let field = field?;
        match (field.tag, field.content) {
            (RESOURCE_PROFILES, Some(profiles)) => {
                put(RESOURCE_PROFILES, &with_resource(&profiles, labels, &strings)?, &mut out);
            }
            _ => out.extend_from_slice(&field.whole),
        }
    }
    Ok(out.freeze())
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
