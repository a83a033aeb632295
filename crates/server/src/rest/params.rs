//! Query parameters to message fields, as gRPC-Gateway reads them: `merge.query=…`, names of the message or of the JSON,
//! lists by repetition, enums by name or number, times in RFC 3339, durations like `15s`.
//!
//! Unknown parameters are passed over, as there. Beyond it, messages in lists (`filter`) are read as JSON.

use std::collections::HashSet;

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use prost_types::{Duration, Timestamp};
use tonic::Status;

use super::json;

/// Names in one parameter; our deepest message has four.
const DEPTH_MAX: usize = 16;

/// Sets the fields that the parameters name.
pub(super) fn apply(message: &mut DynamicMessage, pairs: &[(String, String)]) -> Result<(), Status> {
    let mut seen = HashSet::new();
    for (name, value) in pairs {
        let Some((parents, field)) = resolve(&message.descriptor(), name)? else { continue };
        if !field.is_list() && !seen.insert(numbers(&parents, &field)) {
            return Err(Status::invalid_argument(format!("{name}: given more than once")));
        }
        let mut target = &mut *message;
        for parent in &parents {
            refuse_second_choice(target, parent, name)?;
            let Some(child) = target.get_field_mut(parent).as_message_mut() else {
                return Err(Status::invalid_argument(format!("{name}: {} has no fields", parent.name())));
            };
            target = child;
        }
        refuse_second_choice(target, &field, name)?;
        let value =
            parse(&field, value).map_err(|reason| Status::invalid_argument(format!("{name}: {reason}")))?;
        match target.get_field_mut(&field) {
            Value::List(list) => list.push(value),
            single => *single = value,
        }
    }
    Ok(())
}

/// The fields along a dotted name; `None` if there is no such field.
fn resolve(
    descriptor: &MessageDescriptor,
    name: &str,
) -> Result<Option<(Vec<FieldDescriptor>, FieldDescriptor)>, Status> {
    let mut parents = Vec::new();
    let mut descriptor = descriptor.clone();
    let mut rest = name;
    loop {
        let (first, further) = match rest.split_once('.') {
            Some((first, further)) => (first, Some(further)),
            None => (rest, None),
        };
        let found = descriptor.get_field_by_name(first).or_else(|| descriptor.get_field_by_json_name(first));
        let Some(field) = found else { return Ok(None) };
        let Some(further) = further else { return Ok(Some((parents, field))) };
        match field.kind() {
            Kind::Message(inner) if !field.is_list() && !field.is_map() => descriptor = inner,
            _ => return Err(Status::invalid_argument(format!("{name}: {first} has no fields"))),
        }
        parents.push(field);
        if parents.len() > DEPTH_MAX {
            return Err(Status::invalid_argument(format!("{name}: more than {DEPTH_MAX} names")));
        }
        rest = further;
    }
}

/// The same field under either name.
fn numbers(parents: &[FieldDescriptor], field: &FieldDescriptor) -> Vec<u32> {
    parents.iter().chain([field]).map(FieldDescriptor::number).collect()
}

/// Refuses a member of a oneof when another one is set: which one was meant cannot be told.
fn refuse_second_choice(message: &DynamicMessage, field: &FieldDescriptor, name: &str) -> Result<(), Status> {
    let Some(oneof) = field.containing_oneof() else { return Ok(()) };
    match oneof.fields().find(|other| other != field && message.has_field(other)) {
        Some(other) => Err(Status::invalid_argument(format!("{name}: excludes {}", other.name()))),
        None => Ok(()),
    }
}

fn parse(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    if field.is_map() {
        return Err("maps cannot be given as parameters".to_owned());
    }
    match field.kind() {
        Kind::Bool => parse_bool(text).map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => number(text).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => number(text).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => number(text).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => number(text).map(Value::U64),
        Kind::Float => number(text).map(Value::F32),
        Kind::Double => number(text).map(Value::F64),
        Kind::String => Ok(Value::String(text.to_owned())),
        Kind::Bytes => BASE64_STANDARD
            .decode(text)
            .or_else(|_| BASE64_URL_SAFE.decode(text))
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|error| format!("not base64: {error}")),
        Kind::Enum(descriptor) => parse_enum(&descriptor, text),
        Kind::Message(descriptor) => parse_message(&descriptor, field.is_list(), text),
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// What Go's `strconv.ParseBool` takes.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn parse_enum(descriptor: &EnumDescriptor, text: &str) -> Result<Value, String> {
    let by_name = descriptor.get_value_by_name(text).map(|value| value.number());
    let by_number = || text.parse().ok().filter(|number| descriptor.get_value(*number).is_some());
    match by_name.or_else(by_number) {
        Some(number) => Ok(Value::EnumNumber(number)),
        None => Err(format!("{text:?} is not a value of {}", descriptor.full_name())),
    }
}

fn parse_message(descriptor: &MessageDescriptor, in_list: bool, text: &str) -> Result<Value, String> {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            let time: Timestamp =
                text.parse().map_err(|_| format!("{text:?} is not a time as in RFC 3339"))?;
            message.transcode_from(&time).map_err(|error| error.to_string())?;
        }
        "google.protobuf.Duration" => {
            let duration =
                parse_duration(text).ok_or_else(|| format!("{text:?} is not a duration such as 15s"))?;
            message.transcode_from(&duration).map_err(|error| error.to_string())?;
        }
        _ if in_list => {
            message = json::read(descriptor.clone(), text.as_bytes())
                .map_err(|status| status.message().to_owned())?;
        }
        _ => return Err("name one of its fields, with a dot between".to_owned()),
    }
    Ok(Value::Message(message))
}

/// `1.5s` as in JSON, or `1m30s` as Go writes it.
fn parse_duration(text: &str) -> Option<Duration> {
    text.parse().ok().or_else(|| humantime::parse_duration(text).ok()?.try_into().ok())
}

#[cfg(test)]
mod tests {
    use decima_proto::parca::query::v1alpha1::{
        DiffProfile, MergeProfile, ProfileDiffSelection, QueryRangeRequest, QueryRequest, filter,
        profile_diff_selection, query_request,
    };
    use prost::Message;
    use prost_reflect::DescriptorPool;

    use super::*;

    fn read<M: Message + Default>(name: &str, query: &[(&str, &str)]) -> Result<M, Status> {
        let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).unwrap();
        let descriptor = pool.get_message_by_name(&format!("parca.query.v1alpha1.{name}")).unwrap();
        let mut message = DynamicMessage::new(descriptor);
        let pairs: Vec<_> = query.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        apply(&mut message, &pairs)?;
        Ok(message.transcode_to().unwrap())
    }

    #[test]
    fn nested_oneofs_and_enums() {
        let merge = MergeProfile { query: "q".to_owned(), start: None, end: None };
        let expected = QueryRequest {
            mode: query_request::Mode::Merge as i32,
            report_type: query_request::ReportType::Top as i32,
            options: Some(query_request::Options::Merge(merge.clone())),
            node_trim_threshold: Some(0.5),
            invert_call_stack: Some(true),
            ..QueryRequest::default()
        };
        for query in [
            [
                ("mode", "MODE_MERGE"),
                ("report_type", "REPORT_TYPE_TOP"),
                ("merge.query", "q"),
                ("node_trim_threshold", "0.5"),
                ("invert_call_stack", "true"),
                ("other", "1"),
            ],
            [
                ("mode", "2"),
                ("reportType", "2"),
                ("merge.query", "q"),
                ("nodeTrimThreshold", "0.5"),
                ("invertCallStack", "1"),
                ("a.b", ""),
            ],
        ] {
            assert_eq!(read::<QueryRequest>("QueryRequest", &query).unwrap(), expected);
        }
        let diff = read::<QueryRequest>(
            "QueryRequest",
            &[("diff.a.mode", "MODE_MERGE"), ("diff.a.merge.query", "q"), ("diff.absolute", "false")],
        );
        let side =
            ProfileDiffSelection { mode: 1, options: Some(profile_diff_selection::Options::Merge(merge)) };
        let expected =
            query_request::Options::Diff(DiffProfile { a: Some(side), b: None, absolute: Some(false) });
        assert_eq!(diff.unwrap().options, Some(expected));
    }

    #[test]
    fn lists_times_and_durations() {
        let check = |step: &str, expected: (i64, i32)| {
            let request: QueryRangeRequest = read(
                "QueryRangeRequest",
                &[
                    ("start", "2026-11-22T19:02:03.5+01:00"),
                    ("step", step),
                    ("sum_by", "a"),
                    ("sumBy", "b"),
                    ("limit", "7"),
                ],
            )
            .unwrap();
            assert_eq!(request.sum_by, ["a", "b"]);
            assert_eq!(request.limit, 7);
            assert_eq!(request.start.unwrap(), Timestamp { seconds: 1_795_370_523, nanos: 500_000_000 });
            let step = request.step.unwrap();
            assert_eq!((step.seconds, step.nanos), expected);
        };
        check("15s", (15, 0));
        check("1.5s", (1, 500_000_000));
        check("1m30s", (90, 0));
        check("250ms", (0, 250_000_000));
    }

    #[test]
    fn filters_as_json() {
        let request: QueryRequest = read(
            "QueryRequest",
            &[
                ("filter", r#"{"stackFilter":{"criteria":{"functionName":{"contains":"gc"}}}}"#),
                ("filter", r#"{"frame_filter":{"criteria":{"address":{"equal":"18446744073709551615"}}}}"#),
            ],
        )
        .unwrap();
        assert_eq!(request.filter.len(), 2);
        assert!(matches!(request.filter[1].filter, Some(filter::Filter::FrameFilter(_))));
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |query: &[(&str, &str)], expected: &str| {
            let status = read::<QueryRequest>("QueryRequest", query).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().starts_with(expected), "{:?}", status.message());
        };
        check(&[("mode", "MODE_X")], "mode: \"MODE_X\" is not a value of ");
        check(&[("mode", "12")], "mode: \"12\" is not a value of ");
        check(&[("mode.x", "1")], "mode.x: mode has no fields");
        check(&[("filter.x", "1")], "filter.x: filter has no fields");
        check(&[("mode", "1"), ("mode", "2")], "mode: given more than once");
        check(&[("reportType", "1"), ("report_type", "2")], "report_type: given more than once");
        check(&[("merge.query", "a"), ("single.query", "b")], "single.query: excludes merge");
        check(&[("merge", "{}")], "merge: name one of its fields");
        check(&[("merge.start", "yesterday")], "merge.start: \"yesterday\" is not a time");
        check(&[("node_trim_threshold", "x")], "node_trim_threshold: \"x\"");
        check(&[("invert_call_stack", "maybe")], "invert_call_stack: \"maybe\" is neither");
        check(&[("filter", "{")], "filter: not the message as JSON");
    }
}
