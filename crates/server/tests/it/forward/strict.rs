//! What a forwarder sends on is taken by a store that is as strict as Parca: recorded requests of every kind go through one
//! that refuses what Parca refuses, and then into a store that adds them up.

use std::{collections::BTreeSet, io::Read as _, sync::LazyLock};

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, RecordBatch, RunArray,
    types::{Int32Type, UInt32Type},
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Schema, TimeUnit};
use decima_testkit::pprof::Profile;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ReflectMessage as _,
    prost_types::{DescriptorProto, FileDescriptorSet},
};

use super::*;

/// What gRPC for Go says of a message with text that is not UTF-8.
const NO_MESSAGE: &str = "grpc: error unmarshalling request: string field contains invalid UTF-8";
const VERSION: &str = "parca_write_schema_version";

/// Parca before a store.
#[derive(Clone)]
struct Strict {
    store: Channel,
    /// Requests that were refused.
    refused: Arc<Mutex<Vec<String>>>,
}

impl Strict {
    /// Notes a refusal, and gives its status.
    fn checked<T>(&self, checked: Result<T, String>) -> Result<T, Status> {
        checked.map_err(|reason| {
            self.refused.lock().push(reason.clone());
            match reason.contains("UTF-8") {
                true => Status::internal(NO_MESSAGE),
                false => Status::invalid_argument(reason),
            }
        })
    }
}

#[tonic::async_trait]
impl ProfileStoreService for Strict {
    async fn write_raw(
        &self,
        request: tonic::Request<Encoded>,
    ) -> Result<Response<WriteRawResponse>, Status> {
        let Encoded(request) = request.into_inner();
        self.checked(check_raw(&request))?;
        ProfileStoreServiceClient::new(self.store.clone()).write_raw(Encoded(request)).await
    }

    type WriteStream = Pin<Box<dyn Stream<Item = Result<WriteResponse, Status>> + Send>>;

    async fn write(
        &self,
        request: tonic::Request<Streaming<WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let (strict, mut requests) = (self.clone(), request.into_inner());
        let (answers, stream) = mpsc::channel(2);
        let mut exchange = async move |answers: &mpsc::Sender<Result<WriteResponse, Status>>| {
            let missing = || Status::invalid_argument("a message is missing");
            let samples = requests.message().await?.ok_or_else(missing)?;
            let ids = strict.checked(check_samples(&samples.record))?;
            let (on, sent) = mpsc::channel(2);
            on.send(samples).await.map_err(|_| missing())?;
            let mut store = ProfileStoreServiceClient::new(strict.store.clone());
            let mut answered = store.write(ReceiverStream::new(sent)).await?.into_inner();
            let question = answered.message().await?.ok_or_else(missing)?;
            answers.send(Ok(question)).await.map_err(|_| missing())?;
            let locations = requests.message().await?.ok_or_else(missing)?;
            strict.checked(check_locations(&locations.record, &ids))?;
            on.send(locations).await.map_err(|_| missing())?;
            answered.message().await.map(drop)
        };
        tokio::spawn(async move {
            if let Err(status) = exchange(&answers).await {
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn write_arrow(
        &self,
        request: tonic::Request<WriteArrowRequest>,
    ) -> Result<Response<WriteArrowResponse>, Status> {
        let request = request.into_inner();
        self.checked(check_second(&request.ipc_buffer))?;
        ProfileStoreServiceClient::new(self.store.clone()).write_arrow(request).await
    }
}

#[tonic::async_trait]
impl ProfilesService for Strict {
    async fn export(
        &self,
        request: tonic::Request<Encoded>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        let Encoded(request) = request.into_inner();
        self.checked(check_export(&request))?;
        ProfilesServiceClient::new(self.store.clone()).export(Encoded(request)).await
    }
}

/// Starts one before a store.
async fn serve(store: &TestServer) -> (Strict, SocketAddr) {
    let strict = Strict { store: store.channel().await, refused: Arc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let raw = ProfileStoreServiceServer::new(strict.clone()).max_decoding_message_size(64 << 20);
    let server = tonic::transport::Server::builder()
        .add_service(raw)
        .add_service(ProfilesServiceServer::new(strict.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (strict, address)
}

fn check(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

#[expect(clippy::needless_pass_by_value, reason = "has the shape that map_err wants")]
fn words(error: impl ToString) -> String {
    error.to_string()
}

/// Labels and profiles of a request.
fn check_raw(request: &[u8]) -> Result<(), String> {
    let request = WriteRawRequest::decode(request).map_err(words)?;
    for series in &request.series {
        let labels = series.labels.as_ref().ok_or("no labels")?;
        let names: BTreeSet<_> = labels.labels.iter().map(|label| &*label.name).collect();
        check(names.len() == labels.labels.len(), || "duplicate label name".to_owned())?;
        check(!names.contains(""), || "invalid label name".to_owned())?;
        let name = labels.labels.iter().find(|label| label.name == "__name__");
        check(name.is_some_and(|name| !name.value.is_empty()), || "missing __name__ label".to_owned())?;
        for sample in &series.samples {
            check_pprof(&sample.raw_profile)?;
        }
    }
    Ok(())
}

fn check_pprof(profile: &[u8]) -> Result<(), String> {
    let mut raw = Vec::new();
    match profile.starts_with(&[0x1f, 0x8b]) {
        true => drop(flate2::read::GzDecoder::new(profile).read_to_end(&mut raw).map_err(words)?),
        false => raw.extend_from_slice(profile),
    }
    let profile = Profile::decode(&*raw).map_err(words)?;
    let strings = profile.string_table.len() as i64;
    let in_order = |ids: Vec<u64>| ids.iter().copied().eq(1..=ids.len() as u64);
    let ids = [
        profile.mapping.iter().map(|mapping| mapping.id).collect(),
        profile.function.iter().map(|function| function.id).collect(),
        profile.location.iter().map(|location| location.id).collect::<Vec<_>>(),
    ];
    check(ids.into_iter().all(in_order), || "ids are not 1 to n".to_owned())?;
    check(profile.string_table.first().is_none_or(String::is_empty), || "string 0 is not empty".to_owned())?;
    let texts = profile.function.iter().flat_map(|it| [it.name, it.system_name, it.filename]);
    let texts = texts.chain(profile.mapping.iter().flat_map(|it| [it.filename, it.build_id]));
    let mut texts = texts.chain(profile.sample_type.iter().flat_map(|it| [it.r#type, it.unit]));
    check(texts.all(|text| (0..strings).contains(&text)), || "a string is out of range".to_owned())?;
    let (mappings, functions) = (profile.mapping.len() as u64, profile.function.len() as u64);
    let are_known = profile.location.iter().all(|location| {
        location.mapping_id <= mappings && location.line.iter().all(|line| line.function_id <= functions)
    });
    check(are_known, || "a mapping or function is out of range".to_owned())?;
    let (locations, types) = (profile.location.len() as u64, profile.sample_type.len());
    let are_known = profile.sample.iter().all(|sample| {
        sample.value.len() == types && sample.location_id.iter().all(|id| (1..=locations).contains(id))
    });
    check(are_known, || "a sample's values or locations do not fit".to_owned())
}

/// The one batch of a stream, or these columns of it, whose buffers are looked through, text included.
fn batch(stream: &[u8], version: &str, columns: Option<Vec<usize>>) -> Result<RecordBatch, String> {
    let mut reader = StreamReader::try_new(stream, columns).map_err(words)?;
    let batch = reader.next().ok_or("no batch")?.map_err(words)?;
    check(reader.next().is_none(), || "more than one batch".to_owned())?;
    check(batch.schema().metadata().get(VERSION).is_some_and(|it| it == version), || {
        format!("{VERSION} is not {version}")
    })?;
    for column in batch.columns() {
        column.to_data().validate_full().map_err(words)?;
    }
    Ok(batch)
}

fn runs_of(values: &DataType, expected: &DataType) -> bool {
    matches!(values, DataType::RunEndEncoded(ends, values)
        if *ends.data_type() == DataType::Int32 && values.data_type() == expected)
}

fn dictionary_of(values: DataType) -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(values))
}

/// Columns, and what their type is to be.
type Typed<'a> = (&'a [&'a str], &'a dyn Fn(&DataType) -> bool);

fn check_columns(schema: &Schema, columns: &[Typed<'_>]) -> Result<(), String> {
    for (names, is_right) in columns {
        for name in *names {
            let field = schema.field_with_name(name).map_err(words)?;
            check(is_right(field.data_type()), || format!("{name} is a {}", field.data_type()))?;
        }
    }
    Ok(())
}

/// The first message of the first schema; gives the stacktraces that it refers to.
fn check_samples(stream: &[u8]) -> Result<BTreeSet<Vec<u8>>, String> {
    let batch = batch(stream, "v1", None)?;
    let text = |it: &DataType| runs_of(it, &dictionary_of(DataType::Binary));
    let schema = batch.schema();
    let texts = ["stacktrace_id", "producer", "sample_type", "sample_unit", "period_type", "period_unit"];
    check_columns(
        &schema,
        &[
            (&texts, &text),
            (&["period", "duration", "timestamp"], &|it| runs_of(it, &DataType::Int64)),
            (&["value"], &|it| *it == DataType::Int64),
        ],
    )?;
    for field in schema.fields().iter().filter(|field| field.name().starts_with("labels.")) {
        check(text(field.data_type()), || format!("{} is a {}", field.name(), field.data_type()))?;
    }
    let ids = batch.column_by_name("stacktrace_id").ok_or("no stacktrace_id")?;
    Ok(distinct(ids))
}

/// What a column of runs of dictionary keys refers to.
fn distinct(column: &ArrayRef) -> BTreeSet<Vec<u8>> {
    let runs = column.as_any().downcast_ref::<RunArray<Int32Type>>().unwrap();
    let dictionary = runs.values().as_any().downcast_ref::<DictionaryArray<UInt32Type>>().unwrap();
    let values = dictionary.values().as_any().downcast_ref::<BinaryArray>().unwrap();
    dictionary.keys().iter().flatten().map(|key| values.value(key as usize).to_vec()).collect()
}

/// The second: every stacktrace of the first is there.
fn check_locations(stream: &[u8], ids: &BTreeSet<Vec<u8>>) -> Result<(), String> {
    let schema = StreamReader::try_new(stream, None).map_err(words)?.schema();
    check(schema.fields().len() == 3, || "there are not three columns".to_owned())?;
    check_columns(
        &schema,
        &[
            (&["stacktrace_id"], &|it| *it == DataType::Binary),
            (&["is_complete"], &|it| *it == DataType::Boolean),
            (&["locations"], &|it| matches!(it, DataType::List(_))),
        ],
    )?;
    // What is in the others passes as it came: agents have nulls there where their schema has none, which is not read here.
    let column = schema.index_of("stacktrace_id").map_err(words)?;
    let batch = batch(stream, "v1", Some(vec![column]))?;
    let known = batch.column_by_name("stacktrace_id").ok_or("no stacktrace_id")?;
    let known = known.as_any().downcast_ref::<BinaryArray>().ok_or("stacktrace_id")?;
    let known: BTreeSet<_> = known.iter().flatten().collect();
    check(ids.iter().all(|id| known.contains(&**id)), || "a stacktrace is missing".to_owned())
}

/// A stream of the second schema.
fn check_second(stream: &[u8]) -> Result<(), String> {
    let batch = batch(stream, "v2", None)?;
    let schema = batch.schema();
    let texts = ["producer", "sample_type", "sample_unit", "period_type", "period_unit"];
    let label = |it: &DataType| runs_of(it, &dictionary_of(DataType::Utf8));
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    check_columns(
        &schema,
        &[
            (
                &["labels"],
                &|it| matches!(it, DataType::Struct(fields) if fields.iter().all(|it| label(it.data_type()))),
            ),
            (&["stacktrace"], &|it| matches!(it, DataType::ListView(_))),
            (&["stacktrace_id"], &|it| *it == DataType::FixedSizeBinary(16)),
            (&["value"], &|it| *it == DataType::Int64),
            (&texts, &|it| runs_of(it, &DataType::Utf8)),
            (&["period"], &|it| runs_of(it, &DataType::Int64)),
            (&["duration"], &|it| runs_of(it, &DataType::UInt64)),
            (&["timestamp"], &|it| *it == time),
        ],
    )?;
    let id = schema.field_with_name("stacktrace_id").map_err(words)?;
    let extension = id.metadata().get("ARROW:extension:name").map(String::as_str);
    check(extension == Some("arrow.uuid"), || format!("stacktrace_id is {extension:?}"))
}

/// Requests but for samples, which are not the same in all versions and have no text.
static EXPORT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    fn without_samples(message: &mut DescriptorProto) {
        if message.name() == "Profile" {
            message.field.retain(|field| field.number() != 2);
        }
        message.nested_type.iter_mut().for_each(without_samples);
    }
    let mut files = FileDescriptorSet::decode(decima_proto::DESCRIPTORS).unwrap();
    files.file.iter_mut().flat_map(|file| &mut file.message_type).for_each(without_samples);
    DescriptorPool::from_file_descriptor_set(files).unwrap()
});

/// All text is UTF-8, and keys of a resource's attributes are there and differ.
fn check_export(request: &[u8]) -> Result<(), String> {
    let name = "opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest";
    let descriptor = EXPORT.get_message_by_name(name).unwrap();
    let request = DynamicMessage::decode(descriptor, request).map_err(words)?;
    let messages = |message: &DynamicMessage, field: &str| -> Vec<DynamicMessage> {
        let values = message.get_field_by_name(field).unwrap_or_else(|| panic!("{field}")).into_owned();
        let values = values.as_list().map(<[_]>::to_vec).unwrap_or_else(|| vec![values]);
        values.iter().filter_map(|value| value.as_message().cloned()).collect()
    };
    let profiles = messages(&request, "resource_profiles");
    check(!profiles.is_empty(), || "no resource profiles".to_owned())?;
    check(request.has_field_by_name("dictionary"), || "no dictionary".to_owned())?;
    for resource in profiles.iter().flat_map(|profiles| messages(profiles, "resource")) {
        assert_eq!(resource.descriptor().name(), "Resource");
        let attributes = messages(&resource, "attributes");
        let key = |it: &DynamicMessage| it.get_field_by_name("key").unwrap().as_str().unwrap().to_owned();
        let keys: BTreeSet<_> = attributes.iter().map(key).collect();
        check(keys.len() == attributes.len() && !keys.contains(""), || format!("keys {keys:?}"))?;
        check(attributes.iter().all(|it| it.has_field_by_name("value")), || "no value".to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn recordings_arrive_exactly_at_a_strict_store() {
    for folder in ["scraper", "agent-v1", "agent-v2", "agent-v2-memory", "otlp", "otlp-1.9"] {
        for labels in [&[][..], &[("region", "eu"), ("größe", "ü")]] {
            let store = TestServer::start().await;
            let (strict, address) = serve(&store).await;
            let spool = tempfile::tempdir().unwrap();
            let forwarding = Forwarding::start(spool.path(), address, labels).await;
            let messages = recording(folder);
            let count = messages.len() as u64;
            for sending in messages {
                forwarding.send(sending).await;
            }
            forwarding.until_empty().await;
            assert_eq!(*strict.refused.lock(), Vec::<String>::new(), "{folder} {labels:?}");
            let counts = forwarding.forwarder.counts();
            assert_eq!(counts.forwarded.values().sum::<u64>(), count, "{folder}");
            assert_eq!((counts.left_out, counts.failed_attempts.len()), (0, 0), "{counts:?}");
            check_totals(&store, &expected(folder)["total"], name(folder)).await;
            if !labels.is_empty() {
                let values = store.get("/api/profiles/labels/region/values").await;
                assert!(text(&values).contains("\"eu\""), "{folder}: {}", text(&values));
            }
            forwarding.stop().await;
        }
    }
}

/// The same requests without a forwarder: it is strict.
#[tokio::test]
async fn without_repair_a_strict_store_refuses_what_parca_was_recorded_to_refuse() {
    let store = TestServer::start().await;
    let (strict, address) = serve(&store).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut statuses = Vec::new();
    for sending in recording("otlp-1.9") {
        let Sending::Export(request) = sending else { panic!("no OTLP") };
        let answer = ProfilesServiceClient::new(channel.clone()).export(request).await;
        statuses.extend(answer.err().map(|status| (status.code(), status.message().to_owned())));
    }
    assert_eq!(statuses, vec![(Code::Internal, NO_MESSAGE.to_owned()); 4]);
    assert_eq!(strict.refused.lock().len(), 4);
    let mut torn = numbered(1, 1).encode_to_vec();
    let at = torn.windows(5).position(|part| part == b"round").unwrap();
    torn[at] = 0xff;
    let status = ProfileStoreServiceClient::new(channel.clone()).write_raw(Encoded(torn.into())).await;
    assert_eq!(status.unwrap_err().message(), NO_MESSAGE);
    let Sending::Arrow(second) = recording("agent-v2").remove(0) else { panic!("no Arrow") };
    let mut damaged = second.ipc_buffer.to_vec();
    let at = damaged.windows(26).position(|part| part == VERSION.as_bytes()).unwrap();
    damaged[at] = b'q';
    let request = WriteArrowRequest { ipc_buffer: damaged.into() };
    let status = ProfileStoreServiceClient::new(channel).write_arrow(request).await.unwrap_err();
    assert!(status.message().contains(VERSION), "{status:?}");
}
