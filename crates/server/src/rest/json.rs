//! Messages as JSON, the way Go's protojson writes them for gRPC-Gateway: names in lower camel case, fields without value
//! included (messages as `null`, members of a oneof left out), 64-bit integers as strings, bytes in base64.

use prost_reflect::{
    DeserializeOptions, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
    SerializeOptions, Value,
};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};
use tonic::Status;

use base64::{display::Base64Display, prelude::BASE64_STANDARD};

/// Reads a message. Unknown fields are passed over, names may be those of the JSON or of the message.
pub(super) fn read(descriptor: MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, Status> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, &options);
    message
        .and_then(|message| deserializer.end().map(|()| message))
        .map_err(|error| Status::invalid_argument(format!("not the message as JSON: {error}")))
}

/// Writes a message.
pub(super) fn write(message: &DynamicMessage) -> Result<Vec<u8>, Status> {
    serde_json::to_vec(&Message(message)).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Status::internal("internal error; the server's log says more")
    })
}

struct Message<'a>(&'a DynamicMessage);

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let descriptor = self.0.descriptor();
        if descriptor.package_name() == "google.protobuf" {
            return self.0.serialize_with_options(serializer, &SerializeOptions::new());
        }
        let mut map = serializer.serialize_map(None)?;
        for field in descriptor.fields() {
            if !field.supports_presence() || self.0.has_field(&field) {
                let value = self.0.get_field(&field);
                map.serialize_entry(field.json_name(), &Field { value: &value, kind: &field.kind() })?;
            } else if field.containing_oneof().is_none() {
                map.serialize_entry(field.json_name(), &())?;
            }
        }
        map.end()
    }
}

struct Field<'a> {
    value: &'a Value,
    kind: &'a Kind,
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            Value::I64(value) => serializer.collect_str(value),
            Value::U64(value) => serializer.collect_str(value),
            Value::F32(value) => match special(f64::from(*value)) {
                Some(text) => serializer.serialize_str(text),
                None => serializer.serialize_f32(*value),
            },
            Value::F64(value) => match special(*value) {
                Some(text) => serializer.serialize_str(text),
                None => serializer.serialize_f64(*value),
            },
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.collect_str(&Base64Display::new(value, &BASE64_STANDARD)),
            Value::EnumNumber(number) => match self.kind {
                Kind::Enum(descriptor) => match descriptor.get_value(*number) {
                    Some(value) => serializer.serialize_str(value.name()),
                    None => serializer.serialize_i32(*number),
                },
                _ => serializer.serialize_i32(*number),
            },
            Value::Message(message) => Message(message).serialize(serializer),
            Value::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&Field { value, kind: self.kind })?;
                }
                list.end()
            }
            Value::Map(values) => {
                let value_kind = match self.kind {
                    Kind::Message(entry) => entry.map_entry_value_field().kind(),
                    kind => kind.clone(),
                };
                // Sorted, so that equal answers are equal texts.
                let mut entries: Vec<(String, &Value)> =
                    values.iter().map(|(key, value)| (key_text(key), value)).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key, &Field { value, kind: &value_kind })?;
                }
                map.end()
            }
        }
    }
}

/// How JSON writes numbers that it cannot write.
fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("Infinity")
    } else if value == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use decima_proto::parca::{query::v1alpha1 as query, scrape::v1alpha1 as scrape};
    use prost_reflect::DescriptorPool;

    use super::*;

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).unwrap();
        pool.get_message_by_name(name).unwrap()
    }

    #[track_caller]
    fn check(name: &str, message: &impl prost::Message, expected: &str) {
        let mut dynamic = DynamicMessage::new(descriptor(name));
        dynamic.transcode_from(message).unwrap();
        assert_eq!(String::from_utf8(write(&dynamic).unwrap()).unwrap(), expected);
    }

    #[test]
    fn writes_as_protojson_does() {
        check(
            "parca.query.v1alpha1.HasProfileDataResponse",
            &query::HasProfileDataResponse::default(),
            r#"{"hasData":false}"#,
        );
        check(
            "parca.query.v1alpha1.MetricsSeries",
            &query::MetricsSeries {
                samples: vec![query::MetricsSample {
                    timestamp: Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }),
                    value: i64::MIN,
                    value_per_second: f64::INFINITY,
                    duration: 0,
                    count: 3,
                }],
                ..query::MetricsSeries::default()
            },
            concat!(
                r#"{"labelset":null,"samples":[{"timestamp":"1970-01-01T00:00:01.500Z","value":"-9223372036854775808","#,
                r#""valuePerSecond":"Infinity","duration":"0","count":3}],"periodType":null,"sampleType":null}"#
            ),
        );
        check(
            "parca.query.v1alpha1.QueryResponse",
            &query::QueryResponse {
                report: Some(query::query_response::Report::Pprof(vec![0xff, 0xfe, 0xfd, 0xfc].into())),
                total: 5,
                filtered: 0,
            },
            r#"{"pprof":"//79/A==","total":"5","filtered":"0"}"#,
        );
        check(
            "parca.scrape.v1alpha1.TargetsResponse",
            &scrape::TargetsResponse {
                targets: [(
                    "a".to_owned(),
                    scrape::Targets {
                        targets: vec![scrape::Target {
                            last_scrape_duration: Some(prost_types::Duration {
                                seconds: 3,
                                nanos: 500_000_000,
                            }),
                            health: scrape::target::Health::Good as i32,
                            ..scrape::Target::default()
                        }],
                    },
                )]
                .into(),
            },
            concat!(
                r#"{"targets":{"a":{"targets":[{"discoveredLabels":null,"labels":null,"lastError":"","lastScrape":null,"#,
                r#""lastScrapeDuration":"3.500s","url":"","health":"HEALTH_GOOD"}]}}}"#
            ),
        );
    }

    #[test]
    fn reads_both_kinds_of_names() {
        let read = |json: &str| read(descriptor("parca.query.v1alpha1.MergeProfile"), json.as_bytes());
        let a = read(r#"{"query":"q","start":"1970-01-01T00:00:01Z","later":[1]}"#).unwrap();
        let merge: query::MergeProfile = a.transcode_to().unwrap();
        assert_eq!((merge.query.as_str(), merge.start.unwrap().seconds), ("q", 1));
        for wrong in ["{", r#"{"query":5}"#, "{} {}", r#"{"start":"yesterday"}"#] {
            assert_eq!(read(wrong).unwrap_err().code(), tonic::Code::InvalidArgument, "{wrong}");
        }
    }
}
