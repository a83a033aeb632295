//! What senders send to a server that forwards, and what arrives at the other end: a store, or something that answers as
//! Parca was recorded to.

mod object_files;
mod strict;

use std::{
    collections::VecDeque,
    fs,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use decima_forward::{
    DropReason, Forwarder, OpenError, StartError,
    settings::{ObjectFiles, Remote, Settings as ForwardSettings, Trust},
};
use decima_ingest::push::{Origin, Protocol};
use decima_proto::{
    Encoded,
    opentelemetry::v1development::{
        ExportProfilesServiceResponse,
        profiles_service_client::ProfilesServiceClient,
        profiles_service_server::{ProfilesService, ProfilesServiceServer},
    },
    parca::{
        profilestore::v1alpha1::{
            Label, LabelSet, RawProfileSeries, RawSample, WriteArrowRequest, WriteArrowResponse,
            WriteRawRequest, WriteRawResponse, WriteRequest, WriteResponse,
            profile_store_service_client::ProfileStoreServiceClient,
            profile_store_service_server::{ProfileStoreService, ProfileStoreServiceServer},
        },
        query::v1alpha1::{ProfileTypesRequest, query_service_client::QueryServiceClient},
    },
};
use decima_server::{ServeError, Server, Settings};
use decima_testkit::pprof::ProfileBuilder;
use http::Request;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_stream::{
    Stream, StreamExt as _,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Code, Response, Status, Streaming, transport::Channel};

use crate::{
    harness::{TestServer, text},
    recorded::check_totals,
};

fn fixture(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(path);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn expected(folder: &str) -> Value {
    serde_json::from_slice(&fixture(&format!("{folder}/expected.json"))).unwrap()
}

/// A message of a recording as it is handed over.
enum Sending {
    Raw(WriteRawRequest),
    Arrow(WriteArrowRequest),
    Exchange { samples: WriteRequest, locations: WriteRequest, question: Vec<u8> },
    Export(Encoded),
}

/// The messages of a recording that carry samples, in order.
fn recording(folder: &str) -> Vec<Sending> {
    let expected = expected(folder);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let read = |file: &str| fixture(&format!("{folder}/{file}"));
    let messages = expected["messages"].as_array().unwrap().iter().map(|message| {
        let bytes = read(&text(&message["file"]));
        match folder {
            "scraper" => Sending::Raw(WriteRawRequest::decode(&*bytes).unwrap()),
            "agent-v1" => {
                let locations = text(message["kind"].as_str().map(|_| &message["kind"]).unwrap());
                let locations = locations.rsplit(' ').next().unwrap();
                Sending::Exchange {
                    samples: WriteRequest::decode(&*bytes).unwrap(),
                    locations: WriteRequest::decode(&*read(locations)).unwrap(),
                    question: recorded_question(locations),
                }
            }
            "agent-v2" | "agent-v2-memory" => Sending::Arrow(WriteArrowRequest::decode(&*bytes).unwrap()),
            _ => Sending::Export(Encoded(bytes.into())),
        }
    });
    messages.collect()
}

/// What Parca asked in the call in which an agent then sent these locations.
fn recorded_question(locations: &str) -> Vec<u8> {
    let call = locations.split('-').nth(1).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/agent-v1");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.into_iter().find(|name| name.ends_with(&format!("-{call}-server.bin"))).unwrap();
    WriteResponse::decode(&*fixture(&format!("agent-v1/{name}"))).unwrap().record.to_vec()
}

/// A server that forwards, with its spool.
struct Forwarding {
    address: SocketAddr,
    forwarder: Forwarder,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Forwarding {
    async fn start(spool: &Path, remote: SocketAddr, labels: &[(&str, &str)]) -> Self {
        let object_files = ObjectFiles {
            bytes_max: 256 << 20,
            file_bytes_max: 128 << 20,
            upload_max_duration: Duration::from_secs(900),
        };
        Self::with(spool, remote, labels, object_files).await
    }

    async fn with(
        spool: &Path,
        remote: SocketAddr,
        labels: &[(&str, &str)],
        object_files: ObjectFiles,
    ) -> Self {
        let settings = ForwardSettings {
            object_files,
            remote: Remote {
                origin: format!("http://{remote}").parse().unwrap(),
                trust: Trust::System,
                token: None,
                headers: vec![("x-scope".to_owned(), "edge".to_owned())],
            },
            external_labels: labels
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            spool_path: spool.to_owned(),
            spool_bytes_max: 256 << 20,
            spool_age_max: Duration::from_secs(365 * 86_400),
            profile_bytes_max: 128 << 20,
        };
        let forwarder = loop {
            match Forwarder::start(settings.clone()).await {
                Ok(forwarder) => break forwarder,
                // One that was dropped lets go of its spool a moment later.
                Err(StartError::Spool(OpenError::Locked { .. })) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start([listener.into()], Settings::default()).unwrap();
        let address = server.addresses()[0];
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.forward(forwarder.clone(), async {
            let _ = stopped.await;
        }));
        Self { address, forwarder, stop, served }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        loop {
            // It serves a moment after it listens.
            let channel = endpoint.connect().await.unwrap();
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
            if health.check(tonic_health::pb::HealthCheckRequest::default()).await.is_ok() {
                return channel;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn send(&self, sending: Sending) {
        let mut store = ProfileStoreServiceClient::new(self.channel().await);
        match sending {
            Sending::Raw(request) => drop(store.write_raw(request).await.unwrap()),
            Sending::Arrow(request) => drop(store.write_arrow(request).await.unwrap()),
            Sending::Export(request) => {
                let mut profiles = ProfilesServiceClient::new(self.channel().await);
                assert_eq!(profiles.export(request).await.unwrap().into_inner().partial_success, None);
            }
            Sending::Exchange { samples, locations, .. } => {
                // In lock-step, as the agent does it.
                let (sender, requests) = mpsc::channel(2);
                sender.send(samples).await.unwrap();
                let mut answers = store.write(ReceiverStream::new(requests)).await.unwrap().into_inner();
                let question = answers.message().await.unwrap().unwrap().record;
                assert!(question.len() > 100);
                sender.send(locations).await.unwrap();
                assert!(answers.message().await.unwrap().is_none());
            }
        }
    }

    /// Ends without a stop.
    async fn kill(self) {
        self.served.abort();
        let _ = self.served.await;
    }

    /// Waits until nothing is in the spool.
    async fn until_empty(&self) {
        for _ in 0..3000 {
            let counts = self.forwarder.counts();
            if counts.spool_requests == 0 && counts.object_files.waiting == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not arrive: {:?}", self.forwarder.counts());
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let server = format!("http://{}{path}", self.address);
        let client: hyper_util::client::legacy::Client<_, http_body_util::Full<bytes::Bytes>> =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
        let response = client.request(Request::get(server).body(Default::default()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn stop(self) {
        self.forwarder.stop().await;
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
    }
}

fn name(folder: &str) -> fn(&str) -> String {
    if folder.starts_with("otlp") {
        |_| "go_opentelemetry_io_ebpf_profiler".to_owned()
    } else {
        str::to_owned
    }
}

#[tokio::test]
async fn what_waits_survives_a_restart() {
    let (spool, nobody) = (tempfile::tempdir().unwrap(), free_address().await);
    let forwarding = Forwarding::start(spool.path(), nobody, &[]).await;
    let messages = recording("agent-v2");
    let count = messages.len() as u64;
    for sending in messages {
        forwarding.send(sending).await;
    }
    let counts = forwarding.forwarder.counts();
    assert_eq!((counts.spool_requests, counts.forwarded.len()), (count, 0));
    forwarding.stop().await;
    let store = TestServer::start().await;
    let forwarding = Forwarding::start(spool.path(), store.address, &[]).await;
    forwarding.until_empty().await;
    check_totals(&store, &expected("agent-v2")["total"], str::to_owned).await;
    forwarding.stop().await;
}

/// An address at which nobody listens.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// What answers as Parca was recorded to, and keeps what came.
#[derive(Clone, Default)]
struct Parca {
    raw: Arc<Mutex<Vec<WriteRawRequest>>>,
    arrow: Arc<Mutex<Vec<WriteArrowRequest>>>,
    exchanges: Arc<Mutex<Vec<(WriteRequest, WriteRequest)>>>,
    /// Answers of `Write`, in order.
    questions: Arc<Mutex<VecDeque<Vec<u8>>>>,
    /// Statuses to refuse the next requests of `WriteRaw` with.
    refusals: Arc<Mutex<VecDeque<Status>>>,
}

#[tonic::async_trait]
impl ProfileStoreService for Parca {
    async fn write_raw(
        &self,
        request: tonic::Request<Encoded>,
    ) -> Result<Response<WriteRawResponse>, Status> {
        assert_eq!(request.metadata().get("x-scope").unwrap(), "edge");
        if let Some(refusal) = self.refusals.lock().pop_front() {
            return Err(refusal);
        }
        self.raw.lock().push(WriteRawRequest::decode(request.into_inner().0).unwrap());
        Ok(Response::new(WriteRawResponse {}))
    }

    type WriteStream = Pin<Box<dyn Stream<Item = Result<WriteResponse, Status>> + Send>>;

    async fn write(
        &self,
        request: tonic::Request<Streaming<WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let (mut requests, parca) = (request.into_inner(), self.clone());
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let first = requests.next().await.unwrap().unwrap();
            let question = parca.questions.lock().pop_front().unwrap();
            answers.send(Ok(WriteResponse { record: question.into() })).await.unwrap();
            let second = requests.next().await.unwrap().unwrap();
            parca.exchanges.lock().push((first, second));
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn write_arrow(
        &self,
        request: tonic::Request<WriteArrowRequest>,
    ) -> Result<Response<WriteArrowResponse>, Status> {
        self.arrow.lock().push(request.into_inner());
        Ok(Response::new(WriteArrowResponse {}))
    }
}

#[tonic::async_trait]
impl ProfilesService for Parca {
    async fn export(
        &self,
        _: tonic::Request<Encoded>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        Err(Status::unimplemented("unknown service"))
    }
}

impl Parca {
    async fn serve(&self) -> (SocketAddr, JoinHandle<()>) {
        self.serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn serve_on(&self, listener: TcpListener) -> (SocketAddr, JoinHandle<()>) {
        let address = listener.local_addr().unwrap();
        let parca = self.clone();
        let served = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(
                    ProfileStoreServiceServer::new(parca.clone()).max_decoding_message_size(64 << 20),
                )
                .add_service(ProfilesServiceServer::new(parca))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        (address, served)
    }
}

#[tokio::test]
async fn parca_gets_what_the_sender_sent_byte_for_byte() {
    let parca = Parca::default();
    let (address, _served) = parca.serve().await;
    let spool = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(spool.path(), address, &[]).await;
    let (mut raw, mut arrow, mut exchanges) = (Vec::new(), Vec::new(), Vec::new());
    for folder in ["scraper", "agent-v1", "agent-v2"] {
        for sending in recording(folder) {
            match &sending {
                Sending::Raw(request) => raw.push(request.clone()),
                Sending::Arrow(request) => arrow.push(request.clone()),
                Sending::Exchange { samples, locations, question } => {
                    exchanges.push((samples.clone(), locations.clone()));
                    parca.questions.lock().push_back(question.clone());
                }
                Sending::Export(_) => unreachable!("no OTLP in these"),
            }
            forwarding.send(sending).await;
        }
    }
    forwarding.until_empty().await;
    assert_eq!(*parca.raw.lock(), raw);
    assert_eq!(*parca.arrow.lock(), arrow);
    assert_eq!(*parca.exchanges.lock(), exchanges);
    forwarding.stop().await;
}

#[tokio::test]
async fn what_is_refused_for_good_is_dropped_and_what_is_not_is_tried_again() {
    let parca = Parca::default();
    let (address, _served) = parca.serve().await;
    let spool = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(spool.path(), address, &[]).await;
    let messages = recording("scraper");
    let count = messages.len();
    // The first is wrong, the second is held up by what is not its fault.
    parca.refusals.lock().extend([
        Status::invalid_argument("invalid profile: missing __name__ label"),
        Status::unavailable("shutting down"),
        Status::unauthenticated("the token is being changed"),
    ]);
    for sending in messages {
        forwarding.send(sending).await;
    }
    forwarding.until_empty().await;
    let counts = forwarding.forwarder.counts();
    assert_eq!(parca.raw.lock().len(), count - 1);
    assert_eq!(counts.dropped[&DropReason::Refused], 1);
    assert_eq!(counts.refused.values().sum::<u64>(), 1);
    assert_eq!(counts.failed_attempts.values().sum::<u64>(), 2);
    let sent: Vec<_> = parca.raw.lock().iter().map(|request| request.encode_to_vec()).collect();
    let expected = recording("scraper").into_iter().skip(1).map(|sending| match sending {
        Sending::Raw(request) => request.encode_to_vec(),
        _ => unreachable!("the scraper sends nothing else"),
    });
    assert!(sent.iter().eq(&expected.collect::<Vec<_>>()), "in the order in which they were sent");
    let (_, metrics) = forwarding.get("/metrics").await;
    for line in [
        r#"decima_forward_requests_dropped_total{reason="refused"} 1"#,
        r#"decima_forward_requests_dropped_total{reason="spool_full"} 0"#,
        r#"decima_forward_requests_refused_total{method="write_raw",code="InvalidArgument"} 1"#,
        r#"decima_forward_attempts_failed_total{method="write_raw",code="Unauthenticated"} 1"#,
        &format!(r#"decima_forward_requests_total{{method="write_raw"}} {}"#, count - 1),
        "decima_forward_remote_good 1",
        "decima_spool_requests 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    forwarding.stop().await;
}

/// An hour's requests of some agents, which send every ten seconds, while nobody is at the remote store's address. Only the times of
/// receipt are an hour apart.
#[tokio::test]
async fn an_hour_without_the_remote_store_loses_nothing() {
    const SENDERS: u8 = 5;
    const EVERY_NS: i64 = 10_000_000_000;
    const ROUNDS: i64 = 360;
    let (spool, address) = (tempfile::tempdir().unwrap(), free_address().await);
    let forwarding = Forwarding::start(spool.path(), address, &[]).await;
    let forwarder = &forwarding.forwarder;
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
    let sending = (0..SENDERS).map(|sender| async move {
        for round in 0..ROUNDS {
            let origin = Origin {
                protocol: Protocol::WriteRaw,
                address: Some([127, 0, 0, sender].into()),
                received: Instant::now(),
                received_ns: now_ns - (ROUNDS - round) * EVERY_NS,
            };
            forwarder.write_raw(numbered(sender, round).encode_to_vec().into(), &origin).await.unwrap();
        }
    });
    futures::future::join_all(sending).await;
    let counts = forwarder.counts();
    assert_eq!((counts.spool_requests, counts.forwarded.len()), (ROUNDS as u64 * u64::from(SENDERS), 0));
    let parca = Parca::default();
    let (_, _served) = parca.serve_on(TcpListener::bind(address).await.unwrap());
    forwarding.until_empty().await;
    let counts = forwarding.forwarder.counts();
    assert!(counts.dropped.values().all(|&count| count == 0), "{counts:?}");
    let arrived = parca.raw.lock().clone();
    for sender in 0..SENDERS {
        let of_sender = arrived.iter().filter(|request| node_of(request) == sender.to_string());
        let sent: Vec<_> = (0..ROUNDS).map(|round| numbered(sender, round)).collect();
        assert!(of_sender.eq(&sent), "all of sender {sender}, once, in their order");
    }
    forwarding.stop().await;
}

/// A request that differs from every other.
fn numbered(sender: u8, round: i64) -> WriteRawRequest {
    let label = |name: &str, value: String| Label { name: name.to_owned(), value };
    let mut labels = vec![label("node", sender.to_string()), label("round", round.to_string())];
    labels.push(label("__name__", "cpu".to_owned()));
    let profile = ProfileBuilder::cpu().at(1_795_366_894_000_000_000 + round).sample(&["main"], &[1]).gzip();
    let sample = RawSample { raw_profile: profile.into(), ..RawSample::default() };
    let series = RawProfileSeries { labels: Some(LabelSet { labels }), samples: vec![sample] };
    WriteRawRequest { series: vec![series], ..WriteRawRequest::default() }
}

fn node_of(request: &WriteRawRequest) -> &str {
    &request.series[0].labels.as_ref().unwrap().labels[0].value
}

#[tokio::test]
async fn questions_are_answered_with_where_to_ask() {
    let (spool, nobody) = (tempfile::tempdir().unwrap(), free_address().await);
    let forwarding = Forwarding::start(spool.path(), nobody, &[("region", "eu")]).await;
    let mut query = QueryServiceClient::new(forwarding.channel().await);
    let status = query.profile_types(ProfileTypesRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains(&format!("forwards profiles to http://{nobody}")), "{status:?}");
    let (status, body) = forwarding.get("/api/profiles/types").await;
    assert!(status == 501 && body.contains("this process forwards profiles to"), "{status} {body}");
    for path in ["/ready", "/healthy", "/api/targets", "/api/agents", "/"] {
        assert_eq!(forwarding.get(path).await.0, 200, "{path}");
    }
    assert!(forwarding.get("/").await.1.contains(r#"name="decima-forwards" content="yes""#));
    let (status, body) = forwarding.get("/api/forwarding").await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["address"]), (200, &Value::from(format!("http://{nobody}"))));
    assert_eq!(told["spoolBytesMax"], 256 << 20);
    assert_eq!(told["droppedRequests"]["spool_full"], 0);
    // What a store would refuse is refused at once, and not taken to be dropped later.
    let mut store = ProfileStoreServiceClient::new(forwarding.channel().await);
    let check = |status: Status, words: &str| {
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(words), "{words}: {}", status.message());
    };
    let garbage = WriteArrowRequest { ipc_buffer: vec![7; 100].into() };
    check(store.write_arrow(garbage).await.unwrap_err(), "not a readable Arrow stream");
    check(store.write_arrow(WriteArrowRequest::default()).await.unwrap_err(), "ipc_buffer: missing");
    let mut wrong = numbered(1, 1);
    wrong.series[0].samples[0].raw_profile = vec![1, 2, 3].into();
    check(store.write_raw(wrong.clone()).await.unwrap_err(), "series 0, sample 0: invalid profile");
    wrong.series[0].labels.as_mut().unwrap().labels.pop();
    check(store.write_raw(wrong).await.unwrap_err(), "missing __name__ label");
    let mut profiles = ProfilesServiceClient::new(forwarding.channel().await);
    let wrong = Encoded(vec![0x12, 4, 0x3a, 2, 8, 5].into());
    check(profiles.export(wrong).await.unwrap_err(), "location index 5 is out of range");
    assert_eq!(forwarding.forwarder.counts().spool_requests, 0);
    let senders: Value = serde_json::from_str(&forwarding.get("/api/senders").await.1).unwrap();
    let nodes: Vec<_> = senders["senders"].as_array().unwrap().iter().map(|sender| &sender["node"]).collect();
    assert_eq!(nodes, ["", "1"], "what is wrong is its node's where that can be read");
    forwarding.stop().await;
}
