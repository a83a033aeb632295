//! The target for OTLP requests that a forwarder repairs.

use std::sync::LazyLock;

use decima_forward::otlp::repaired;
use prost::{Message as _, bytes::Bytes};
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, ReflectMessage as _, Value,
    prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
        field_descriptor_proto::{Label, Type},
    },
};

const REQUEST: &str = "opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest";
/// What a sample is differs between versions, and has no text: left out, it is unknown, and any reader takes it.
const PROFILE: &str = "Profile";
const SAMPLES: i32 = 2;
/// What we do not read of a resource has text too, which others refuse.
const RESOURCE: &str = "Resource";
const ENTITY_REFS: i32 = 3;

/// Readers of requests: one that refuses text that is not UTF-8, as gRPC for Go does, and one to which text is bytes.
static STRICT: LazyLock<DescriptorPool> = LazyLock::new(|| pool(Type::String));
static LENIENT: LazyLock<DescriptorPool> = LazyLock::new(|| pool(Type::Bytes));

/// The services' descriptors, with text of this type.
fn pool(text: Type) -> DescriptorPool {
    let mut files = FileDescriptorSet::decode(decima_proto::DESCRIPTORS).expect("descriptors");
    for file in &mut files.file {
        file.message_type.iter_mut().for_each(|message| change(message, text));
    }
    DescriptorPool::from_file_descriptor_set(files).expect("descriptors")
}

fn change(message: &mut DescriptorProto, text: Type) {
    if message.name() == PROFILE {
        message.field.retain(|field| field.number() != SAMPLES);
    }
    if message.name() == RESOURCE {
        add_entity_refs(message);
    }
    for field in message.field.iter_mut().filter(|field| field.r#type() == Type::String) {
        field.set_type(text);
    }
    message.nested_type.iter_mut().for_each(|nested| change(nested, text));
}

/// URL of a schema and type, then names of attributes that identify, and others.
fn add_entity_refs(resource: &mut DescriptorProto) {
    const NAME: &str = "EntityRef";
    let field = |number: i32, label: Label, kind: Type| FieldDescriptorProto {
        name: Some(format!("entity_{number}")),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let text =
        |number| field(number, if number < 3 { Label::Optional } else { Label::Repeated }, Type::String);
    resource.nested_type.push(DescriptorProto {
        name: Some(NAME.to_owned()),
        field: (1..=4).map(text).collect(),
        ..DescriptorProto::default()
    });
    let mut refs = field(ENTITY_REFS, Label::Repeated, Type::Message);
    refs.type_name = Some(format!("{RESOURCE}.{NAME}"));
    resource.field.push(refs);
}

fn read(pool: &DescriptorPool, request: &Bytes) -> Result<DynamicMessage, prost::DecodeError> {
    let descriptor = pool.get_message_by_name(REQUEST).expect("the request is declared");
    DynamicMessage::decode(descriptor, request.clone())
}

/// A request of which text is to be repaired: once is enough; whoever takes it but for its text takes what comes of it, and finds
/// there what was before, with that text repaired.
pub fn otlp_repair(input: &[u8]) {
    let request = Bytes::copy_from_slice(input);
    let mended = repaired(&request);
    if let Some((mended, strings)) = &mended {
        assert!(*strings > 0 && *mended != request);
        assert_eq!(repaired(mended), None, "once is enough");
    }
    let Ok(mut before) = read(&LENIENT, &request) else { return };
    let is_strict = read(&STRICT, &request).is_ok();
    assert_eq!(is_strict, mended.is_none(), "what needs it is repaired, and nothing else");
    make_lossy(&mut before);
    let request = mended.map_or(request, |(mended, _)| mended);
    let after = read(&LENIENT, &request).expect("it is read as before");
    assert!(after.encode_to_vec() == before.encode_to_vec(), "all but text stays");
    read(&STRICT, &request).expect("all text is UTF-8");
}

/// Repairs the text of what was read.
fn make_lossy(message: &mut DynamicMessage) {
    let strict = STRICT.get_message_by_name(message.descriptor().full_name()).expect("in both");
    for (field, value) in message.fields_mut() {
        let is_text = strict.get_field(field.number()).is_some_and(|field| field.kind() == Kind::String);
        make_value_lossy(value, is_text);
    }
}

fn make_value_lossy(value: &mut Value, is_text: bool) {
    match value {
        Value::Bytes(text) if is_text => *text = String::from_utf8_lossy(text).into_owned().into(),
        Value::Message(message) => make_lossy(message),
        Value::List(values) => values.iter_mut().for_each(|value| make_value_lossy(value, is_text)),
        _ => {}
    }
}
