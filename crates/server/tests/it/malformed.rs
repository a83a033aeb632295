//! Requests that are wrong: refused with what is wrong and where, while good ones are served.

use decima_proto::Encoded;
use futures::StreamExt as _;
use http::{Request as HttpRequest, uri::PathAndQuery};
use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, MethodDescriptor, Value,
};
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};

use crate::harness::{TestServer, header, text};

/// Requests under way at once.
const AT_ONCE: usize = 16;

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).unwrap();
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// Whether messages of a method are not read by the codec but by the service, which repairs text.
fn is_read_by_service(method: &MethodDescriptor) -> bool {
    ["WriteRawRequest", "ExportProfilesServiceRequest", "ReportPanicRequest"].contains(&method.input().name())
}

/// Any answer to one message, as bytes.
async fn call(channel: Channel, method: &MethodDescriptor, message: Vec<u8>) -> Result<(), Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = tonic_prost::ProstCodec::<Encoded, Encoded>::default();
    let message = Encoded(message.into());
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    if !method.is_client_streaming() {
        return client.unary(Request::new(message), path, codec).await.map(|_| ());
    }
    let messages = Request::new(tokio_stream::iter([message]));
    let mut answers = client.streaming(messages, path, codec).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

/// A message with a value in every field, of each `oneof` in that of the `choice`.
fn filled(descriptor: &MessageDescriptor, choice: usize, depth: usize) -> DynamicMessage {
    let value = |kind: Kind| match kind {
        Kind::Double => Some(Value::F64(1.5)),
        Kind::Float => Some(Value::F32(1.5)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Some(Value::I32(300)),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Some(Value::I64(300)),
        Kind::Uint32 | Kind::Fixed32 => Some(Value::U32(300)),
        Kind::Uint64 | Kind::Fixed64 => Some(Value::U64(300)),
        Kind::Bool => Some(Value::Bool(true)),
        Kind::String => Some(Value::String("ab".to_owned())),
        Kind::Bytes => Some(Value::Bytes(vec![1, 2].into())),
        Kind::Enum(_) => Some(Value::EnumNumber(1)),
        Kind::Message(inner) => (depth < 4).then(|| Value::Message(filled(&inner, choice, depth + 1))),
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if let Some(oneof) = field.containing_oneof() {
            let chosen = oneof.fields().nth(choice % oneof.fields().len()).unwrap();
            if chosen != field {
                continue;
            }
        }
        let Some(one) = value(field.kind()) else { continue };
        let whole = if field.is_map() {
            Value::Map([(MapKey::String("k".to_owned()), Value::String("v".to_owned()))].into())
        } else if field.cardinality() == Cardinality::Repeated {
            Value::List(vec![one.clone(), one])
        } else {
            one
        };
        message.set_field(&field, whole);
    }
    message
}

/// Damaged forms of a message: cut short at every byte, one byte changed, and with something behind it that no message has.
fn damaged(message: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..message.len()).map(|end| message[..end].to_vec()).collect();
    for (at, changed) in (0..message.len()).zip([1_u8, 2, 5, 0xff, 0x80].into_iter().cycle()) {
        let mut bytes = message.to_vec();
        bytes[at] ^= changed;
        all.push(bytes);
    }
    for end in [&[0xff; 11][..], &[0x0c], &[0x0f], &[0, 0], &[0xf8; 3], &[0xff, 0xff, 0xff, 0xff, 0x1f, 0]] {
        all.push([message, end].concat());
    }
    all
}

/// Every field of a message with each wire type that is not its own, and the words of its refusal.
fn wrong_wire_types(descriptor: &MessageDescriptor) -> Vec<(Vec<u8>, String)> {
    let mut all = Vec::new();
    for field in descriptor.fields() {
        for wire_type in [0, 1, 2, 5] {
            let is_packed = wire_type == 2 && field.is_list();
            if wire_type == field.kind().wire_type() as u32 || is_packed {
                continue;
            }
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(u64::from(field.number() << 3 | wire_type), &mut bytes);
            bytes.extend([0; 8]);
            let index = if field.is_list() || field.is_map() { "[0]" } else { "" };
            let place = format!("{}.{}{index}", descriptor.name(), field.name());
            all.push((bytes, format!("{place}: wrong wire type at byte 0")));
        }
    }
    all
}

/// The byte that a refusal names.
fn offset(message: &str) -> Option<usize> {
    message.rsplit_once(" at byte ")?.1.parse().ok()
}

#[tokio::test]
async fn damaged_messages_of_every_method() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let mut sent = 0;
    for method in methods() {
        let (input, by_service) = (method.input(), is_read_by_service(&method));
        let mut messages = Vec::new();
        for choice in 0..3 {
            messages.extend(damaged(&filled(&input, choice, 0).encode_to_vec()));
        }
        messages.sort();
        messages.dedup();
        // What is a message all the same gets any answer. Who reads by itself leaves what it does not need.
        messages.retain(|message| match DynamicMessage::decode(input.clone(), &**message) {
            Ok(_) => false,
            Err(_) if by_service => false,
            Err(_) => true,
        });
        let mut expected: Vec<_> = messages.into_iter().map(|message| (message, None)).collect();
        if !by_service {
            let wrong = wrong_wire_types(&input).into_iter();
            expected.extend(wrong.map(|(message, words)| (message, Some(words))));
        }
        sent += expected.len();
        let calls = expected.into_iter().map(|(message, words)| {
            let (channel, method) = (channel.clone(), &method);
            async move { (call(channel, method, message.clone()).await, message, words) }
        });
        let mut answers = futures::stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some((answer, message, words)) = answers.next().await {
            let place = format!("{} {message:x?}", method.full_name());
            let status = answer.expect_err(&place);
            assert_eq!(status.code(), Code::InvalidArgument, "{place}: {status:?}");
            let told = status.message();
            assert!(told.starts_with(input.name()), "{place}: {told}");
            assert!(offset(told).is_some_and(|offset| offset <= message.len()), "{place}: {told}");
            assert!(words.is_none_or(|words| told == words), "{place}: {told}");
        }
    }
    assert!(sent > 1000, "{sent}");
    // Whose mistakes these are is known.
    let metrics = server.get("/metrics").await;
    for protocol in ["write", "write_arrow", "debuginfo"] {
        let refused = format!(
            r#"decima_sender_writes_total{{sender="127.0.0.1",address="127.0.0.1",protocol="{protocol}",outcome="refused",reason="malformed"}}"#
        );
        assert!(text(&metrics).contains(&refused), "{refused} is not in\n{}", text(&metrics));
    }
}

#[tokio::test]
async fn damaged_messages_of_browsers_and_in_json() {
    let server = TestServer::start().await;
    let message = [0x0a, 2, b'a', 0xff];
    let frame = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    let path = "/parca.debuginfo.v1alpha1.DebuginfoService/ShouldInitiateUpload";
    let web = HttpRequest::post(path).header("content-type", "application/grpc-web+proto");
    let response = server.send(web, frame).await;
    let place = "ShouldInitiateUploadRequest.build_id: not UTF-8 at byte 3";
    assert_eq!(header(&response, "grpc-status"), "3");
    assert_eq!(header(&response, "grpc-message").replace("%20", " "), place);
    let json = HttpRequest::post("/api/shouldinitiateupload").header("content-type", "application/json");
    let response = server.send(json, &b"{\"buildId\":\"a\xff\"}"[..]).await;
    assert_eq!(response.status(), 400);
    assert!(text(&response).contains(place), "{}", text(&response));
}
