//! JSON to protobuf in one pass: what is read is written at once, and nothing of the JSON is kept.
//!
//! As a tree, three bytes of JSON are a hundred in memory. Names may be those of the JSON or of the message, unknown ones are
//! passed over, numbers may be texts, bytes are in base64, as in Go's protojson; `null` counts as absent. Text that is not
//! UTF-8 passes as it is: who reads the protobuf repairs it. A field of a message that comes twice is written twice, which is
//! what protobuf takes for merging. Of the well-known types, none is known: no message that is sent to us has any.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, EITHER_PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, EITHER_PADDING);

/// Ids that are in hex in OTLP's JSON, where everybody else's has base64.
const IN_HEX: [&str; 2] = [
    "opentelemetry.proto.profiles.v1development.Link.trace_id",
    "opentelemetry.proto.profiles.v1development.Link.span_id",
];
/// Fields that nobody reads, and whose form in JSON is not agreed on.
const IGNORED: [&str; 2] = [
    "opentelemetry.proto.profiles.v1development.Profile.profile_id",
    "opentelemetry.proto.profiles.v1development.Profile.original_payload",
];

/// The message that a JSON text says, encoded.
pub(crate) fn to_protobuf(message: &MessageDescriptor, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Body { message, out: &mut out }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(out)
}

/// The messages that JSON texts say, one after the other, each encoded; at most so many.
pub(crate) fn all_to_protobuf(
    message: &MessageDescriptor,
    json: &[u8],
    count_max: usize,
) -> Result<Vec<Vec<u8>>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut messages = Vec::new();
    while deserializer.end().is_err() {
        if messages.len() == count_max {
            return Err(serde_json::Error::custom(format_args!("more than {count_max} messages")));
        }
        let mut out = Vec::new();
        Body { message, out: &mut out }.deserialize(&mut deserializer)?;
        messages.push(out);
    }
    Ok(messages)
}

/// Writes the fields of a message.
struct Body<'a> {
    message: &'a MessageDescriptor,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Name(self.message))? {
            match field.filter(|field| !IGNORED.contains(&field.full_name())) {
                Some(field) => map.next_value_seed(Present(Field { field: &field, out: self.out }))?,
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// Finds a field by its name.
struct Name<'a>(&'a MessageDescriptor);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<FieldDescriptor>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<FieldDescriptor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        let name = std::str::from_utf8(name).ok();
        Ok(name
            .and_then(|name| self.0.get_field_by_json_name(name).or_else(|| self.0.get_field_by_name(name))))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        self.visit_bytes(name.as_bytes())
    }
}

/// Passes over `null`.
struct Present<S>(S);

impl<'de, S: DeserializeSeed<'de, Value = ()>> DeserializeSeed<'de> for Present<S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Present<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.deserialize(deserializer)
    }
}

/// Writes a field: one value, or a list or map of them.
struct Field<'a> {
    field: &'a FieldDescriptor,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.field.is_map() {
            deserializer.deserialize_map(self)
        } else if self.field.is_list() {
            deserializer.deserialize_seq(self)
        } else {
            Element { field: self.field, packed: false, out: self.out }.deserialize(deserializer)
        }
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.field.is_map() { "an object" } else { "a list" };
        write!(f, "{what} ({})", self.field.json_name())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { field, out } = self;
        let (packed, start) = (field.is_packed(), out.len());
        while list.next_element_seed(Element { field, packed, out })?.is_some() {}
        if packed && out.len() > start {
            enclose(out, start, field.number());
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { field, out } = self;
        let Kind::Message(entry) = field.kind() else { return Err(A::Error::custom("not a map")) };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        loop {
            let start = out.len();
            if map.next_key_seed(Element { field: &key, packed: false, out })?.is_none() {
                return Ok(());
            }
            map.next_value_seed(Element { field: &value, packed: false, out })?;
            enclose(out, start, field.number());
        }
    }
}

/// Puts tag and length before what was written since `start`.
fn enclose(out: &mut Vec<u8>, start: usize, number: u32) {
    let content = out.len() - start;
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content as u64, out);
    if let Some(field) = out.get_mut(start..) {
        field.rotate_left(content);
    }
}

/// Writes one value of a field, with its tag unless it is packed.
struct Element<'a> {
    field: &'a FieldDescriptor,
    packed: bool,
    out: &'a mut Vec<u8>,
}

impl Element<'_> {
    fn tag(&mut self, wire_type: WireType) {
        if !self.packed {
            encode_key(self.field.number(), wire_type, self.out);
        }
    }

    fn varint(mut self, number: u64) {
        self.tag(WireType::Varint);
        encode_varint(number, self.out);
    }

    fn fixed64(mut self, bits: u64) {
        self.tag(WireType::SixtyFourBit);
        self.out.extend_from_slice(&bits.to_le_bytes());
    }

    fn fixed32(mut self, bits: u32) {
        self.tag(WireType::ThirtyTwoBit);
        self.out.extend_from_slice(&bits.to_le_bytes());
    }

    fn content(mut self, content: &[u8]) {
        self.tag(WireType::LengthDelimited);
        encode_varint(content.len() as u64, self.out);
        self.out.extend_from_slice(content);
    }

    fn wrong<E: Error>(&self, what: &str) -> E {
        E::custom(format_args!("{}: {what}", self.field.json_name()))
    }

    /// A whole number, if its kind of field can hold it.
    fn integer<E: Error>(self, number: i128) -> Result<(), E> {
        let signed = |bits: u32| (-(1_i128 << (bits - 1))..1 << (bits - 1)).contains(&number);
        let unsigned = |bits: u32| (0..1_i128 << bits).contains(&number);
        let zigzag = |number: i64| (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
        match self.field.kind() {
            Kind::Int32 | Kind::Enum(_) if signed(32) => self.varint(number as i64 as u64),
            Kind::Int64 if signed(64) => self.varint(number as u64),
            Kind::Uint32 if unsigned(32) => self.varint(number as u64),
            Kind::Uint64 if unsigned(64) => self.varint(number as u64),
            Kind::Sint32 if signed(32) => self.varint(zigzag(number as i64)),
            Kind::Sint64 if signed(64) => self.varint(zigzag(number as i64)),
            Kind::Fixed32 if unsigned(32) => self.fixed32(number as u32),
            Kind::Sfixed32 if signed(32) => self.fixed32(number as u32),
            Kind::Fixed64 if unsigned(64) => self.fixed64(number as u64),
            Kind::Sfixed64 if signed(64) => self.fixed64(number as u64),
            Kind::Float => self.fixed32((number as f32).to_bits()),
            Kind::Double => self.fixed64((number as f64).to_bits()),
            _ => return Err(self.wrong("a number that does not fit")),
        }
        Ok(())
    }

    fn float<E: Error>(self, number: f64) -> Result<(), E> {
        match self.field.kind() {
            Kind::Float => self.fixed32((number as f32).to_bits()),
            Kind::Double => self.fixed64(number.to_bits()),
            // 1e3 is a whole number too. Beyond this, not all of them are numbers of this kind.
            _ if number.fract() == 0.0 && number.abs() < 9e15 => return self.integer(number as i128),
            _ => return Err(self.wrong("not a whole number")),
        }
        Ok(())
    }

    /// A number in a text, or the name of a value.
    fn text_of_number<E: Error>(self, text: &str) -> Result<(), E> {
        if let Kind::Enum(kind) = self.field.kind()
            && let Some(value) = kind.get_value_by_name(text)
        {
            return self.integer(value.number().into());
        }
        if let Ok(number) = text.parse() {
            return self.integer(number);
        }
        match text {
            "NaN" => self.float(f64::NAN),
            "Infinity" => self.float(f64::INFINITY),
            "-Infinity" => self.float(f64::NEG_INFINITY),
            _ => match text.parse() {
                Ok(number) => self.float(number),
                Err(_) => Err(self.wrong("not a number")),
            },
        }
    }
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.field.kind() {
            Kind::Message(message) => {
                let start = self.out.len();
                Body { message: &message, out: self.out }.deserialize(deserializer)?;
                enclose(self.out, start, self.field.number());
                Ok(())
            }
            // As bytes, text need not be UTF-8.
            Kind::String | Kind::Bytes => deserializer.deserialize_bytes(self),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.kind() {
            Kind::String => "text",
            Kind::Bytes => "bytes as text",
            Kind::Bool => "true or false",
            _ => "a number",
        };
        write!(f, "{what} ({})", self.field.json_name())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind() {
            Kind::Bool => self.varint(value.into()),
            _ => return Err(self.wrong("not a number")),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.integer(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.integer(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.float(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.field.kind() {
            Kind::String | Kind::Bytes => self.visit_bytes(text.as_bytes()),
            _ => self.text_of_number(text),
        }
    }

    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<(), E> {
        if self.field.kind() == Kind::String {
            self.content(text);
            return Ok(());
        }
        let bytes = if IN_HEX.contains(&self.field.full_name()) {
            hex(text).ok_or_else(|| self.wrong("not hex"))?
        } else {
            let bytes = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text));
            bytes.map_err(|_| self.wrong("not base64"))?
        };
        self.content(&bytes);
        Ok(())
    }
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    pairs.iter().map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};

    use super::*;

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).unwrap();
        pool.get_message_by_name(name).unwrap()
    }

    const EXPORT: &str = "opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest";

    /// What the library makes of it, by way of a tree.
    fn by_tree(message: &MessageDescriptor, json: &str) -> Option<DynamicMessage> {
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let read =
            DynamicMessage::deserialize_with_options(message.clone(), &mut deserializer, &options).ok()?;
        // On the wire, an empty list is none.
        Some(DynamicMessage::decode(message.clone(), &*read.encode_to_vec()).unwrap())
    }

    #[test]
    fn the_same_as_by_a_tree() {
        let check = |name: &str, json: &str| {
            let message = descriptor(name);
            let written = to_protobuf(&message, json.as_bytes()).ok();
            let written = written.map(|bytes| DynamicMessage::decode(message.clone(), &*bytes).unwrap());
            // As bytes: NaN is not equal to itself.
            let bytes = |read: DynamicMessage| read.encode_to_vec();
            assert_eq!(written.map(bytes), by_tree(&message, json).map(bytes), "{json}");
        };
        let value = |value: &str| {
            format!(
                r#"{{"resourceProfiles":[{{"resource":{{"attributes":[{{"key":"k","value":{value}}}]}}}}]}}"#
            )
        };
        for json in [
            r#"{}"#,
            r#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{"timeUnixNano":"7","samples":[{"values":[1,"-2"],
                "timestampsUnixNano":["18446744073709551615",3]}]}]}]}],"dictionary":{"stringTable":["","ä\u00e4\n"]}}"#,
            r#"{"resource_profiles":[{"scope_profiles":[]}],"unknown":{"a":[1,{"b":null}]},"dictionary":null}"#,
            r#"{"dictionary":{"attributeTable":[{},{"keyStrindex":1,"value":{"intValue":"-5"}},{"unitStrindex":"2"}]}}"#,
            r#"{"resourceProfiles":7}"#,
            r#"{"resourceProfiles":[7]}"#,
            r#"{"resourceProfiles":{}}"#,
            r#"{"dictionary":{"stringTable":[1]}}"#,
            r#"{"dictionary":{"attributeTable":[{"keyStrindex":2147483648}]}}"#,
            r#"{"dictionary":{"attributeTable":[{"keyStrindex":1.5}]}}"#,
            r#"{"dictionary":{"attributeTable":[{"keyStrindex":1e3}]}}"#,
            r#"{"dictionary":{"attributeTable":[{"keyStrindex":"x"}]}}"#,
            r#"{"dictionary":{"attributeTable":[{"keyStrindex":true}]}}"#,
            "{",
            "[]",
        ] {
            check(EXPORT, json);
        }
        for json in [
            r#"{"boolValue":true}"#,
            r#"{"boolValue":"true"}"#,
            r#"{"doubleValue":0.5}"#,
            r#"{"doubleValue":"NaN"}"#,
            r#"{"doubleValue":"-Infinity"}"#,
            r#"{"doubleValue":3}"#,
            r#"{"intValue":"9223372036854775808"}"#,
            r#"{"stringValue":""}"#,
            r#"{"bytesValue":"/+8="}"#,
            r#"{"bytesValue":"_-8"}"#,
            r#"{"bytesValue":"?"}"#,
            r#"{"arrayValue":{"values":[{"stringValue":"x"},{}]}}"#,
            r#"{"kvlistValue":{"values":[{"key":"x","value":{"intValue":1}}]}}"#,
        ] {
            check(EXPORT, &value(json));
        }
        check(
            "parca.profilestore.v1alpha1.WriteRawRequest",
            r#"{"tenant":"t","normalized":true,"series":[{"labels":{"labels":[{"name":"a","value":"b"}]},"samples":[{"rawProfile":"AQI",
               "executableInfo":[{"elfType":3,"loadSegment":{"offset":"18446744073709551615"}}]}]},{}]}"#,
        );
        check(
            "parca.debuginfo.v1alpha1.InitiateUploadRequest",
            r#"{"size":"5","type":"DEBUGINFO_TYPE_SOURCES","force":false}"#,
        );
        check("parca.debuginfo.v1alpha1.InitiateUploadRequest", r#"{"size":5,"type":2}"#);
        check("parca.telemetry.v1alpha1.ReportPanicRequest", r#"{"stderr":"x","metadata":{"a":"b"}}"#);
    }

    #[test]
    fn ids_are_in_hex() {
        let written = to_protobuf(
            &descriptor(EXPORT),
            br#"{"dictionary":{"linkTable":[{"traceId":"0aFF","spanId":null}]},"resourceProfiles":[{"scopeProfiles":[{"profiles":[{"profileId":"zz"}]}]}]}"#,
        );
        assert_eq!(written.unwrap(), [0x12, 6, 0x22, 4, 0x0a, 2, 0x0a, 0xff, 0x0a, 4, 0x12, 2, 0x12, 0],);
        for wrong in ["0", "0g", "ä"] {
            let json = format!(r#"{{"dictionary":{{"linkTable":[{{"traceId":"{wrong}"}}]}}}}"#);
            let error = to_protobuf(&descriptor(EXPORT), json.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("traceId: not hex at line 1 column "), "{error}");
        }
    }

    #[test]
    fn text_passes_as_it_is() {
        let json = b"{\"dictionary\":{\"stringTable\":[\"a\xffb\"]},\"?\xfe\":\"\xfd\"}";
        assert_eq!(to_protobuf(&descriptor(EXPORT), json).unwrap(), b"\x12\x05\x2a\x03a\xffb");
    }

    #[test]
    fn several_messages() {
        let descriptor = descriptor("parca.profilestore.v1alpha1.WriteRequest");
        let all = |json: &str| all_to_protobuf(&descriptor, json.as_bytes(), 2).map_err(|e| e.to_string());
        let first = vec![0x0a, 1, 0];
        assert_eq!(all(r#"{"record":"AA=="}{} "#), Ok(vec![first.clone(), vec![]]));
        assert_eq!(all("\n{\"record\":\"AA==\"}\n"), Ok(vec![first]));
        assert_eq!(all(""), Ok(vec![]));
        assert_eq!(all("{}{}{}"), Err("more than 2 messages".to_owned()));
        assert!(all("{} {").is_err() && all("{} 7").is_err());
    }

    #[test]
    fn nothing_grows() {
        let json = format!(r#"{{"resourceProfiles":[{{}}{}]}}"#, ",{}".repeat(1000));
        assert_eq!(to_protobuf(&descriptor(EXPORT), json.as_bytes()).unwrap().len(), 2002);
        let value = format!(r#"{}{{}}{}"#, r#"{"arrayValue":{"values":["#.repeat(1000), "]}}".repeat(1000));
        let deep =
            format!(r#"{{"resourceProfiles":[{{"resource":{{"attributes":[{{"value":{value}}}]}}}}]}}"#);
        assert!(to_protobuf(&descriptor(EXPORT), deep.as_bytes()).is_err());
    }
}
