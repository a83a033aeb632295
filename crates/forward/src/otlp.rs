//! OTLP requests on their way: text that is not UTF-8 is repaired in place, since a Parca would refuse the message for it. All
//! else stays byte for byte, and a message that needs no repair is not copied. No I/O, no clock. Start at [`repaired`].

use bytes::{Bytes, BytesMut};
use prost::DecodeError;

use crate::fields::{Fields, put};

/// Messages within messages that are looked into, as many as our own decoders take. Beyond that text stays as it is.
const DEPTH_MAX: usize = 100;

/// Messages that have text, or messages that do, by the numbers of opentelemetry-proto 1.10. Those of samples, which are
/// others up to 1.9, have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    ResourceProfiles,
    Resource,
    EntityRef,
    ScopeProfiles,
    Scope,
    Profile,
    Dictionary,
    Attribute,
    KeyValue,
    Value,
    Values,
    KeyValues,
}

/// What a field holds.
enum Content {
    Text,
    Message(Kind),
}

impl Kind {
    /// Of a field, by its number; `None` if there is no text in it.
    fn content(self, number: u32) -> Option<Content> {
        use Content::{Message, Text};
        Some(match (self, number) {
            (Self::Request, 1) => Message(Self::ResourceProfiles),
            (Self::Request, 2) => Message(Self::Dictionary),
            (Self::ResourceProfiles, 1) => Message(Self::Resource),
            (Self::ResourceProfiles, 2) => Message(Self::ScopeProfiles),
            (Self::ScopeProfiles, 1) => Message(Self::Scope),
            (Self::ScopeProfiles, 2) => Message(Self::Profile),
            (Self::Resource, 3) => Message(Self::EntityRef),
            (Self::Dictionary, 6) => Message(Self::Attribute),
            (Self::Resource, 1) | (Self::Scope, 3) | (Self::KeyValues, 1) => Message(Self::KeyValue),
            (Self::Attribute | Self::KeyValue, 2) | (Self::Values, 1) => Message(Self::Value),
            (Self::Value, 5) => Message(Self::Values),
            (Self::Value, 6) => Message(Self::KeyValues),
            // URLs of schemas, name and version of a scope, the format of a profile's original, the table of strings.
            (Self::ResourceProfiles | Self::ScopeProfiles, 3)
            | (Self::EntityRef, 1..=4)
            | (Self::Scope, 1 | 2)
            | (Self::Profile, 9)
            | (Self::Dictionary, 5)
            | (Self::KeyValue | Self::Value, 1) => Text,
            _ => return None,
        })
    }
}

/// The request with its text in UTF-8, each run of bytes that is not replaced by U+FFFD, and how many strings that changed;
/// `None` if that is none, or the request cannot be taken apart.
pub fn repaired(request: &Bytes) -> Option<(Bytes, u64)> {
    let mut strings = 0;
    let repaired = message(request, Kind::Request, 0, &mut strings).ok()??;
    Some((repaired.freeze(), strings))
}

fn message(
    bytes: &Bytes,
    kind: Kind,
    depth: usize,
    strings: &mut u64,
) -> Result<Option<BytesMut>, DecodeError> {
    let (mut out, mut offset): (Option<BytesMut>, usize) = (None, 0);
    for field in Fields(bytes.clone()) {
        let field = field?;
        let repaired = match (kind.content(field.tag), field.content) {
            (Some(Content::Text), Some(text)) => lossy(&text, strings),
            (Some(Content::Message(inner)), Some(content)) if depth < DEPTH_MAX => {
                message(&content, inner, depth + 1, strings)?
            }
            _ => None,
        };
        match (repaired, &mut out) {
            (Some(content), out) => {
                let before = || BytesMut::from(bytes.get(..offset).unwrap_or_default());
                put(field.tag, &content, out.get_or_insert_with(before));
            }
            (None, Some(out)) => out.extend_from_slice(&field.whole),
            (None, None) => {}
        }
        offset += field.whole.len();
    }
    Ok(out)
}

fn lossy(text: &[u8], strings: &mut u64) -> Option<BytesMut> {
    if std::str::from_utf8(text).is_ok() {
        return None;
    }
    *strings += 1;
    Some(BytesMut::from(String::from_utf8_lossy(text).as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use proptest::prelude::*;
    use prost_reflect::{DescriptorPool, DynamicMessage, Kind as Type, MessageDescriptor};

    use super::*;

    /// A field of fields.
    fn field(tag: u32, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put(tag, &parts.concat(), &mut out);
        out.to_vec()
    }

    /// A request with this text wherever text may be.
    fn full_of(text: &[u8]) -> Vec<u8> {
        let value = field(2, &[&field(1, &[text])]);
        let pair = field(1, &[&field(1, &[text]), &value]);
        let list = field(2, &[&field(5, &[&field(1, &[&field(1, &[text])])])]);
        let map = field(2, &[&field(6, &[&pair])]);
        let attributes: Vec<u8> =
            [&value, &list, &map].into_iter().flat_map(|value| field(1, &[value])).collect();
        let entity: Vec<u8> = (1..=4).flat_map(|tag| field(tag, &[text])).collect();
        let resource = field(1, &[&attributes, &pair, &[0x10, 7], &field(3, &[&entity])]);
        let scope = field(1, &[&field(1, &[text]), &field(2, &[text]), &field(3, &[&field(1, &[text])])]);
        let bytes = field(10, &[b"\xff\xfe"]);
        let profile = field(2, &[&field(7, &[b"\xff"]), &field(9, &[text]), &bytes, &[0x58, 1]]);
        let scopes = field(2, &[&scope, &profile, &field(3, &[text])]);
        let resources = field(1, &[&resource, &scopes, &field(3, &[text])]);
        let dictionary = field(2, &[&field(5, &[]), &field(5, &[text]), &field(6, &[&[8, 1], &value])]);
        let unknown = field(99, &[b"\xff"]);
        [resources, dictionary, unknown].concat()
    }

    /// Strings in that.
    const PLACES: u64 = 18;

    #[test]
    fn text_everywhere_is_repaired_and_all_else_stays() {
        let repaired = repaired(&full_of(b"a\xffb").into());
        assert_eq!(repaired, Some((full_of("a\u{fffd}b".as_bytes()).into(), PLACES)));
        let (repaired, _) = repaired.unwrap();
        assert_eq!(super::repaired(&repaired), None);
        assert_eq!(super::repaired(&full_of("é".as_bytes()).into()), None);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |depth: usize, text: &[u8]| {
            let lists = (0..depth).fold(field(1, &[text]), |value, _| field(5, &[&field(1, &[&value])]));
            Bytes::from(field(2, &[&field(6, &[&field(2, &[&lists])])]))
        };
        assert_eq!(repaired(&deep(40, b"\xff")), Some((deep(40, "\u{fffd}".as_bytes()), 1)));
        assert_eq!(repaired(&deep(10_000, b"\xff")), None);
    }

    fn descriptor() -> MessageDescriptor {
        let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).unwrap();
        let package = "opentelemetry.proto.collector.profiles.v1development";
        pool.get_message_by_name(&format!("{package}.ExportProfilesServiceRequest")).unwrap()
    }

    /// Whether there may be text in a message.
    fn has_text(message: &MessageDescriptor, seen: &mut BTreeSet<String>) -> bool {
        seen.insert(message.full_name().to_owned())
            && message.fields().any(|field| match field.kind() {
                Type::String => true,
                Type::Message(inner) => has_text(&inner, seen),
                _ => false,
            })
    }

    fn check_fields(kind: Kind, message: &MessageDescriptor, seen: &mut BTreeSet<String>) {
        if !seen.insert(message.full_name().to_owned()) {
            return;
        }
        for field in message.fields() {
            let name = field.full_name();
            match (field.kind(), kind.content(field.number())) {
                (Type::String, content) => assert!(matches!(content, Some(Content::Text)), "{name}"),
                (Type::Message(inner), Some(Content::Message(kind))) => check_fields(kind, &inner, seen),
                (Type::Message(inner), None) => assert!(!has_text(&inner, &mut BTreeSet::new()), "{name}"),
                (_, content) => assert!(content.is_none(), "{name}"),
            }
        }
    }

    #[test]
    fn all_text_is_known() {
        let mut seen = BTreeSet::new();
        check_fields(Kind::Request, &descriptor(), &mut seen);
        assert!(seen.len() >= 12, "{seen:?}");
    }

    /// A message without the field at the end of this path.
    fn without(message: Bytes, path: &[u32]) -> Bytes {
        let (next, rest) = path.split_first().unwrap();
        let mut out = BytesMut::new();
        for field in Fields(message).map(Result::unwrap) {
            match field.content {
                Some(_) if field.tag == *next && rest.is_empty() => {}
                Some(content) if field.tag == *next => put(field.tag, &without(content, rest), &mut out),
                _ => out.extend_from_slice(&field.whole),
            }
        }
        out.freeze()
    }

    #[test]
    fn recorded_requests() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/otlp-1.9");
        let expected: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let mut counts = Vec::new();
        // It refuses text that is not UTF-8; samples of 1.9 are not those that it knows, and have none.
        let decode = |request| DynamicMessage::decode(descriptor(), without(request, &[1, 2, 2, 2]));
        for message in expected["messages"].as_array().unwrap() {
            let request: Bytes =
                std::fs::read(folder.join(message["file"].as_str().unwrap())).unwrap().into();
            match repaired(&request) {
                None => {
                    decode(request).unwrap();
                    counts.push(0);
                }
                Some((repaired, strings)) => {
                    assert!(decode(request).unwrap_err().to_string().contains("UTF-8"));
                    decode(repaired).unwrap();
                    counts.push(strings);
                }
            }
        }
        assert_eq!(counts, [0, 0, 1, 2, 2, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let _ = repaired(&bytes.into());
        }

        #[test]
        fn any_text(text: Vec<u8>) {
            let expected = String::from_utf8(text.clone()).is_err().then(|| {
                (full_of(String::from_utf8_lossy(&text).as_bytes()).into(), PLACES)
            });
            prop_assert_eq!(repaired(&full_of(&text).into()), expected);
        }
    }
}
