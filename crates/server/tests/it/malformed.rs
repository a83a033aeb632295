//! Requests that are wrong: refused with what is wrong and where, while good ones are served.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use decima_ingest::push::Limits;
use decima_proto::{
    Encoded,
    opentelemetry::v1development::profiles_service_client::ProfilesServiceClient,
    parca::{
        profilestore::v1alpha1::{
            WriteArrowRequest, WriteRequest, profile_store_service_client::ProfileStoreServiceClient,
        },
        query::v1alpha1::{HasProfileDataRequest, query_service_client::QueryServiceClient},
    },
};
use decima_server::Settings;
use decima_testkit::malformed::{PLAIN_BYTES_MAX, Wrong, agent, otlp};
use futures::StreamExt as _;
use http::{Request as HttpRequest, uri::PathAndQuery};
use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, MethodDescriptor, Value,
};
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};

use crate::{
    debuginfo::{PROGRAM, chunk, client, finish, info, initiate, send},
    harness::{TestServer, header, text},
    senders::{JSON, exchange},
};

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

/// Refusals that were answered, each checked as it comes.
struct Refusals {
    count: usize,
}

impl Refusals {
    fn check(&mut self, name: &str, status: &Status, words: &str) {
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status:?}");
        assert!(status.message().contains(words), "{name}: {}", status.message());
        self.count += 1;
    }
}

/// Parts of a protobuf message.
fn field(number: u64, body: &[u8]) -> Vec<u8> {
    otlp::bytes(number, body)
}

/// A request of `WriteRaw` with one series.
fn raw_request(labels: usize, profile: &[u8]) -> Encoded {
    let name = field(1, &[field(1, b"__name__"), field(2, b"process_cpu")].concat());
    let others =
        (1..labels).map(|i| field(1, &[field(1, format!("l{i}").as_bytes()), field(2, b"v")].concat()));
    let labels = std::iter::once(name).chain(others).collect::<Vec<_>>().concat();
    Encoded(field(2, &[field(1, &labels), field(2, &field(1, profile))].concat()).into())
}

async fn wrong_arrow(channel: Channel, refusals: &mut Refusals) {
    let mut client = ProfileStoreServiceClient::new(channel).max_encoding_message_size(64 << 20);
    let mut cases = agent::second_cases();
    cases.extend([
        Wrong {
            name: "labels",
            messages: vec![agent::labels(100)],
            refusal: "column labels: 100 labels, the limit is 64",
        },
        Wrong {
            name: "many-labels",
            messages: vec![agent::labels(100_000)],
            refusal: "column labels.l4095: 4097 columns, the limit is 4096",
        },
    ]);
    for wrong in cases {
        let request = WriteArrowRequest { ipc_buffer: wrong.messages[0].clone().into() };
        let status = client.write_arrow(request).await.expect_err(wrong.name);
        refusals.check(wrong.name, &status, wrong.refusal);
    }
}

async fn wrong_exchanges(channel: Channel, refusals: &mut Refusals) {
    let mut client = ProfileStoreServiceClient::new(channel);
    // More often than one sender has places.
    for _ in 0..8 {
        for wrong in agent::first_cases() {
            let [samples, locations] = &wrong.messages[..] else { panic!("{}", wrong.name) };
            let request = |record: &Vec<u8>| WriteRequest { record: record.clone().into() };
            // A stream that is left out is missing; one that is there and empty is told so.
            let words = if locations.is_empty() { "record: missing" } else { wrong.refusal };
            let status = exchange(&mut client, request(samples), Some(request(locations))).await;
            refusals.check(wrong.name, &status.expect_err(wrong.name), words);
        }
    }
}

async fn wrong_otlp(server: &TestServer, channel: Channel, refusals: &mut Refusals) {
    let mut client = ProfilesServiceClient::new(channel).max_encoding_message_size(64 << 20);
    let mut cases: Vec<_> = otlp::cases()
        .into_iter()
        .map(|wrong| (wrong.name, wrong.messages[0].clone(), wrong.refusal))
        .collect();
    cases.push(("attributes", otlp::with_attributes(100_000), "samples[0]: 65 attributes, the limit is 64"));
    for (name, message, words) in cases {
        let status = client.export(Encoded(message.clone().into())).await.expect_err(name);
        refusals.check(name, &status, words);
        let request =
            HttpRequest::post("/v1development/profiles").header("content-type", "application/x-protobuf");
        let response = server.send(request, message).await;
        assert_eq!(response.status(), 400, "{name}");
        assert!(String::from_utf8_lossy(response.body()).contains(words), "{name}: {response:?}");
    }
}

async fn wrong_json(server: &TestServer) {
    let mut cases: Vec<(String, String)> = (0..JSON.len())
        .step_by(97)
        .map(|end| (JSON[..end].to_owned(), "not an OTLP request as JSON: EOF".to_owned()))
        .collect();
    let changed = |from: &str, to: &str| {
        assert!(JSON.contains(from), "{from}");
        JSON.replacen(from, to, 1)
    };
    let many: Vec<String> =
        (0..100_000).map(|i| format!(r#"{{"key":"k{i}","value":{{"intValue":"1"}}}}"#)).collect();
    let deep = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(10_000), "]}}".repeat(10_000));
    let stack = format!(r#"{{"locationIndices": [{}1]}}"#, "1,".repeat(9_999));
    for (json, words) in [
        (changed(r#""attributes": ["#, r#""attributes": 7, "x": ["#), "line 3 column"),
        (changed(r#""values": ["3"]"#, r#""values": ["three"]"#), "values: not a number at line 15 column"),
        (
            changed(r#""intValue": "77""#, r#""intValue": "9223372036854775808""#),
            "intValue: a number that does not fit at line 5 column",
        ),
        (changed("0102030405060708090a0b0c0d0e0f10", "xy"), "traceId: not hex at line"),
        (changed(r#"{"stringValue": "shop"}"#, &deep), "recursion limit exceeded at line 4 column"),
        (
            changed(r#""attributes": ["#, &format!(r#""attributes": [{},"#, many.join(","))),
            "resource_profiles[0]: 1025 attributes, the limit is 1024",
        ),
        (
            changed(r#"{"locationIndices": [1]}"#, &stack),
            "dictionary.stack_table[1]: 8193 locations or more in one stack, the limit is 8192",
        ),
        (
            changed(r#""functionIndex": 1"#, r#""functionIndex": 9"#),
            "dictionary.location_table[1]: function index 9 is out of range (2)",
        ),
        (
            changed(r#""mappingTable": [{}]"#, r#""mappingTable": [{"filenameStrindex": 99}]"#),
            "dictionary.mapping_table[0]: string index 99 is out of range (8)",
        ),
    ] {
        cases.push((json, words.to_owned()));
    }
    for (json, words) in cases {
        let request = HttpRequest::post("/v1development/profiles").header("content-type", "application/json");
        let start = json[..json.len().min(80)].to_owned();
        let response = server.send(request, json).await;
        assert_eq!(response.status(), 400, "{start}");
        assert!(text(&response).contains(&words), "{words}: {start}: {}", text(&response));
    }
}

async fn wrong_raw(channel: Channel, refusals: &mut Refusals) {
    let mut client = ProfileStoreServiceClient::new(channel);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus/pprof");
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (name, bytes) = (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        // What the decoder says of it is tested beside it; here it has to arrive, with the place of the profile.
        let Err(error) =
            decima_profile::pprof::decode(bytes.clone(), &decima_profile::pprof::Limits::default())
        else {
            continue;
        };
        let status = client.write_raw(raw_request(1, &bytes)).await.expect_err(&name);
        refusals.check(&name, &status, &format!("series 0, sample 0: invalid profile: {error}"));
    }
    let zeros = decima_profile::compression::gzip(&vec![0; 2 * PLAIN_BYTES_MAX]);
    let deep: Vec<u8> = vec![1; 10_000];
    for (name, request, words) in [
        (
            "bomb",
            raw_request(1, &zeros),
            "series 0, sample 0: raw_profile: gzip data holds more than 1048576 bytes",
        ),
        ("labels", raw_request(100_000, b""), "series 0: 100000 labels, the limit is 64"),
        ("deep", raw_request(1, &field(2, &field(1, &deep))), "series 0, sample 0: invalid profile: sample["),
    ] {
        let status = client.write_raw(request).await.expect_err(name);
        refusals.check(name, &status, words);
    }
    let Encoded(sound) = raw_request(3, b"");
    for end in 1..sound.len() {
        let status = client.write_raw(Encoded(sound.slice(..end))).await.expect_err("cut short");
        refusals.check("cut short", &status, " at byte ");
    }
}

async fn wrong_uploads(server: &TestServer, refusals: &mut Refusals) {
    let mut client = client(server).await;
    // More often than one sender has places.
    for round in 0..20 {
        let id = format!("abcd{round:02}");
        let status = initiate(&mut client, &format!("../{id}"), "h", 1).await.expect_err("path");
        refusals.check("path", &status, "build ID has '.' at byte 0");
        let status = initiate(&mut client, &id, "h", -1).await.expect_err("size");
        refusals.check("size", &status, "size: is below 0");
        let upload = initiate(&mut client, &id, "h", 5).await.unwrap();
        for (name, requests, words) in [
            ("no info", vec![chunk(b"x")], "the first message must be info, which says what follows"),
            ("nothing", vec![], "the first message must be info, which says what follows"),
            ("other upload", vec![info(&id, "1"), chunk(b"x")], "the upload ID does not match"),
            ("info again", vec![info(&id, &upload), chunk(b"x"), info(&id, &upload)], "info came again"),
        ] {
            let status = send(&mut client, requests).await.expect_err(name);
            refusals.check(name, &status, words);
        }
    }
    let id = initiate(&mut client, "abcd", "h", PROGRAM.len() as i64).await.unwrap();
    send(&mut client, vec![info("abcd", &id), chunk(PROGRAM)]).await.unwrap();
    finish(&mut client, "abcd", &id).await.unwrap();
}

/// Every message of the generated corpora, of every decoder, in the words of its refusal; on other connections good ones are
/// stored and answered meanwhile.
#[tokio::test]
async fn good_requests_are_served_beside_all_wrong_ones() {
    let limits = Limits { profile_bytes_max: PLAIN_BYTES_MAX, ..Limits::default() };
    let server = TestServer::within(Settings::default(), limits).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let good = tokio::spawn({
        let (channel, is_over) = (server.channel().await, Arc::clone(&is_over));
        async move {
            let mut rounds = 0;
            while !is_over.load(Ordering::Relaxed) {
                let mut client = ProfileStoreServiceClient::new(channel.clone());
                let stream = agent::second(agent::second_columns()).into();
                client.write_arrow(WriteArrowRequest { ipc_buffer: stream }).await.unwrap();
                let record = |stream: Vec<u8>| WriteRequest { record: stream.into() };
                let (samples, locations) =
                    (agent::first(agent::first_samples()), agent::first(agent::first_locations()));
                exchange(&mut client, record(samples), Some(record(locations))).await.unwrap();
                let sound = otlp::request(&[otlp::sample(&[4], 1, &[3], &[1001])], &otlp::dictionary_parts());
                ProfilesServiceClient::new(channel.clone()).export(Encoded(sound.into())).await.unwrap();
                let mut queries = QueryServiceClient::new(channel.clone());
                let has = queries.has_profile_data(HasProfileDataRequest {}).await.unwrap();
                assert!(has.into_inner().has_data);
                rounds += 1;
            }
            rounds
        }
    });
    let mut refusals = Refusals { count: 0 };
    wrong_arrow(server.channel().await, &mut refusals).await;
    wrong_exchanges(server.channel().await, &mut refusals).await;
    wrong_otlp(&server, server.channel().await, &mut refusals).await;
    wrong_json(&server).await;
    wrong_raw(server.channel().await, &mut refusals).await;
    wrong_uploads(&server, &mut refusals).await;
    is_over.store(true, Ordering::Relaxed);
    let rounds = good.await.unwrap();
    assert!(rounds > 5, "{rounds} rounds of good requests");
    assert!(refusals.count > 150, "{} refusals", refusals.count);
    server.stop().await.unwrap();
}
