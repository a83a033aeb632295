//! Object files that senders upload to a server that forwards.

use std::{collections::BTreeMap, path::Path};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::put};
use decima_debuginfo::decision::Reason;
use decima_proto::{
    decima::debuginfo::v1alpha1::object_file,
    parca::debuginfo::v1alpha1::{
        InitiateUploadRequest, InitiateUploadResponse, MarkUploadFinishedRequest, MarkUploadFinishedResponse,
        ShouldInitiateUploadRequest, ShouldInitiateUploadResponse, UploadInstructions, UploadRequest,
        UploadResponse,
        debuginfo_service_server::{DebuginfoService, DebuginfoServiceServer},
        upload_instructions::UploadStrategy,
    },
};

use super::*;
use crate::{
    debuginfo::{
        Client, PROGRAM, chunk, client_of, finish, info, initiate, list, profile_of_an_address,
        replay_uploads, send, should_initiate,
    },
    harness::UPLOAD_MAX_BYTES,
};

/// All steps of an upload.
async fn upload(client: &mut Client, build_id: &str, content: &[u8]) {
    assert!(should_initiate(client, build_id, "").await.0);
    let id = initiate(client, build_id, "hash", content.len() as i64).await.unwrap();
    let chunks = content.chunks(1 << 20).map(chunk);
    let answer = send(client, std::iter::once(info(build_id, &id)).chain(chunks).collect()).await.unwrap();
    assert_eq!((answer.build_id.as_str(), answer.size), (build_id, content.len() as u64));
    finish(client, build_id, &id).await.unwrap();
}

/// Files of a spool that are neither its lock nor segments.
fn left(spool: &Path) -> Vec<String> {
    let names = fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("debuginfo-")).collect()
}

/// The bytes that a store holds for a build ID.
fn stored(store: &TestServer, build_id: &str) -> Vec<u8> {
    let folder = store.data().join("default/debuginfo").join(build_id);
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files = names.filter(|path| path.extension().is_some_and(|extension| extension != "json"));
    fs::read(files.next().unwrap()).unwrap()
}

/// The functions of all samples.
async fn functions(store: &TestServer) -> Vec<String> {
    let path = "/api/profiles/query?mode=MODE_MERGE&merge.query=process_cpu:samples:count:cpu:nanoseconds:delta&merge.start=2023-11-14T00:00:00Z&merge.end=2023-11-15T00:00:00Z&report_type=REPORT_TYPE_TOP";
    let body: Value = serde_json::from_str(text(&store.get(path).await)).unwrap();
    let list = body["top"]["list"].as_array().cloned().unwrap_or_default();
    list.iter().map(|row| row["meta"]["function"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_file_waits_for_the_store_through_a_crash_and_names_what_was_sent() {
    let (spool, nobody) = (tempfile::tempdir().unwrap(), free_address().await);
    let forwarding = Forwarding::start(spool.path(), nobody, &[]).await;
    let mut client = client_of(forwarding.channel().await);
    upload(&mut client, "abcd", PROGRAM).await;
    // A large one, not of the store's kind, half received when the process ends.
    let id = initiate(&mut client, "half", "hash", 4 << 20).await.unwrap();
    let (messages, stream) = mpsc::channel(4);
    for message in [info("half", &id), chunk(&vec![7; 2 << 20])] {
        messages.send(message).await.unwrap();
    }
    let mut other = client.clone();
    let half = tokio::spawn(async move { other.upload(ReceiverStream::new(stream)).await });
    while left(spool.path()).len() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let label = Label { name: "__name__".into(), value: "process_cpu".into() };
    let sample = RawSample { raw_profile: profile_of_an_address("abcd").into(), ..RawSample::default() };
    let series = RawProfileSeries { labels: Some(LabelSet { labels: vec![label] }), samples: vec![sample] };
    let request = WriteRawRequest { series: vec![series], ..WriteRawRequest::default() };
    forwarding.send(Sending::Raw(request)).await;
    // Who asks for the same file again is told to ask later.
    let in_progress = (false, Reason::UploadInProgress.as_str().to_owned());
    assert_eq!(should_initiate(&mut client, "abcd", "").await, in_progress);
    let status = initiate(&mut client, "abcd", "hash", 5).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    forwarding.kill().await;
    half.abort();
    drop(messages);

    let store = TestServer::start().await;
    let forwarding = Forwarding::start(spool.path(), store.address, &[]).await;
    forwarding.until_empty().await;
    let counts = forwarding.forwarder.counts().object_files;
    assert_eq!((counts.forwarded, counts.dropped.values().sum::<u64>()), (1, 0));
    assert_eq!(left(spool.path()), Vec::<String>::new());
    let files = list(&store, "abcd").await;
    assert_eq!((files[0].state(), files[0].hash.as_str()), (object_file::State::Uploaded, "hash"));
    assert!(stored(&store, "abcd") == PROGRAM, "byte for byte");
    assert_eq!(functions(&store).await, ["_start"]);
    // The same file once more: the remote store's words, since it is there.
    let mut client = client_of(forwarding.channel().await);
    let exists = (false, Reason::AlreadyExists.as_str().to_owned());
    assert_eq!(should_initiate(&mut client, "abcd", "").await, exists);
    let (_, metrics) = forwarding.get("/metrics").await;
    for line in [
        "decima_forward_debuginfo_total 1",
        "decima_forward_debuginfo_spooled_total 0",
        r#"decima_forward_debuginfo_dropped_total{reason="refused"} 0"#,
        "decima_spool_debuginfo_files 0",
        "decima_spool_debuginfo_bytes 0",
        "decima_spool_debuginfo_bytes_limit 268435456",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    let told: Value = serde_json::from_str(&forwarding.get("/api/forwarding").await.1).unwrap();
    assert_eq!((&told["objectFiles"]["forwarded"], &told["objectFiles"]["waiting"]), (&1.into(), &0.into()));
    forwarding.stop().await;
}

/// Two agents meet the same program while the store is away, and both insist.
#[tokio::test]
async fn the_same_file_twice_arrives_once() {
    let (spool, nobody) = (tempfile::tempdir().unwrap(), free_address().await);
    let forwarding = Forwarding::start(spool.path(), nobody, &[]).await;
    let mut client = client_of(forwarding.channel().await);
    upload(&mut client, "abcd", PROGRAM).await;
    let insist = InitiateUploadRequest {
        build_id: "abcd".to_owned(),
        size: PROGRAM.len() as i64,
        hash: "hash".to_owned(),
        force: true,
        ..InitiateUploadRequest::default()
    };
    let answer = client.initiate_upload(insist).await.unwrap().into_inner();
    let id = answer.upload_instructions.unwrap().upload_id;
    send(&mut client, vec![info("abcd", &id), chunk(PROGRAM)]).await.unwrap();
    finish(&mut client, "abcd", &id).await.unwrap();
    finish(&mut client, "abcd", &id).await.unwrap();
    assert_eq!(forwarding.forwarder.counts().object_files.waiting, 1);
    assert_eq!(left(spool.path()).len(), 2);
    forwarding.kill().await;
    let store = TestServer::start().await;
    let forwarding = Forwarding::start(spool.path(), store.address, &[]).await;
    forwarding.until_empty().await;
    assert_eq!(forwarding.forwarder.counts().object_files.forwarded, 1);
    assert_eq!(list(&store, "").await.len(), 1);
    forwarding.stop().await;
}

#[tokio::test]
async fn what_an_agent_uploads_arrives_and_is_answered_as_parca_answers() {
    let store = TestServer::start().await;
    let spool = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(spool.path(), store.address, &[]).await;
    let sizes = replay_uploads(client_of(forwarding.channel().await)).await;
    for sending in recording("agent-v2") {
        forwarding.send(sending).await;
    }
    forwarding.until_empty().await;
    let files = list(&store, "").await;
    let held: BTreeMap<_, _> = files.iter().map(|file| (file.build_id.clone(), file.size_bytes)).collect();
    assert_eq!(held, sizes);
    assert!(files.iter().all(|file| file.state() == object_file::State::Uploaded));
    assert_eq!(forwarding.forwarder.counts().object_files.forwarded, 8);
    check_totals(&store, &expected("agent-v2")["total"], str::to_owned).await;
    forwarding.stop().await;
}

#[tokio::test]
async fn what_the_store_refuses_is_dropped_by_name() {
    let store = TestServer::start().await;
    let spool = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(spool.path(), store.address, &[]).await;
    let mut client = client_of(forwarding.channel().await);
    upload(&mut client, "large", &vec![1; UPLOAD_MAX_BYTES as usize + 1]).await;
    upload(&mut client, "small", PROGRAM).await;
    forwarding.until_empty().await;
    let counts = forwarding.forwarder.counts().object_files;
    assert_eq!((counts.forwarded, counts.dropped[&DropReason::Refused]), (1, 1), "{counts:?}");
    assert_eq!(list(&store, "").await.len(), 1);
    assert_eq!(left(spool.path()), Vec::<String>::new());
    forwarding.stop().await;
}

#[tokio::test]
async fn without_room_senders_are_told_to_ask_again() {
    let (spool, nobody) = (tempfile::tempdir().unwrap(), free_address().await);
    let bounds = ObjectFiles {
        bytes_max: 3 << 20,
        file_bytes_max: 2 << 20,
        upload_max_duration: Duration::from_secs(900),
    };
    let forwarding = Forwarding::with(spool.path(), nobody, &[], bounds).await;
    let mut client = client_of(forwarding.channel().await);
    let status = initiate(&mut client, "large", "hash", (2 << 20) + 1).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "it will never fit: {status:?}");
    upload(&mut client, "first", &vec![1; 2 << 20]).await;
    upload(&mut client, "second", &vec![2; 1 << 19]).await;
    let in_progress = (false, Reason::UploadInProgress.as_str().to_owned());
    assert_eq!(should_initiate(&mut client, "third", "").await, in_progress);
    let status = initiate(&mut client, "third", "hash", 1 << 20).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert!(status.message().contains("no room for 1048576 bytes, 524288 are left"), "{status:?}");
    // Profiles have their own room.
    forwarding.send(recording("scraper").remove(0)).await;
    assert_eq!(forwarding.forwarder.counts().spool_requests, 1);
    let (_, body) = forwarding.get("/api/senders").await;
    assert!(body.contains("debuginfo"), "uploads are their sender's: {body}");
    forwarding.stop().await;
}

#[tokio::test]
async fn half_a_file_leaves_nothing() {
    let (spool, nobody) = (tempfile::tempdir().unwrap(), free_address().await);
    let forwarding = Forwarding::start(spool.path(), nobody, &[]).await;
    let mut client = client_of(forwarding.channel().await);
    let id = initiate(&mut client, "abcd", "hash", PROGRAM.len() as i64).await.unwrap();
    let status = send(&mut client, vec![info("abcd", &id), chunk(&PROGRAM[1..])]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("7319 bytes have arrived, and 7320 were announced"), "{status:?}");
    let more = [PROGRAM, b"more"].concat();
    let status = send(&mut client, vec![info("abcd", &id), chunk(&more)]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let status = finish(&mut client, "abcd", &id).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "nothing was uploaded"));
    for (build_id, id) in [("ab", "x"), ("a/../../b", "x"), ("abcd", "../../x"), ("other", &*id)] {
        let status = send(&mut client, vec![info(build_id, id), chunk(PROGRAM)]).await.unwrap_err();
        assert!(matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition), "{status:?}");
    }
    while !left(spool.path()).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    forwarding.stop().await;
}

/// A Parca whose files are in a bucket, to which senders put them.
#[derive(Clone, Default)]
struct Bucket {
    url: Arc<Mutex<String>>,
    steps: Arc<Mutex<Vec<&'static str>>>,
    put: Arc<Mutex<Vec<u8>>>,
}

#[tonic::async_trait]
impl DebuginfoService for Bucket {
    async fn upload(
        &self,
        _: tonic::Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        Err(Status::unimplemented("signed URL uploads are the only supported upload strategy"))
    }

    async fn should_initiate_upload(
        &self,
        _: tonic::Request<ShouldInitiateUploadRequest>,
    ) -> Result<Response<ShouldInitiateUploadResponse>, Status> {
        self.steps.lock().push("ask");
        let reason = "First time we see this Build ID".to_owned();
        Ok(Response::new(ShouldInitiateUploadResponse { should_initiate_upload: true, reason }))
    }

    async fn initiate_upload(
        &self,
        request: tonic::Request<InitiateUploadRequest>,
    ) -> Result<Response<InitiateUploadResponse>, Status> {
        self.steps.lock().push("announce");
        let InitiateUploadRequest { build_id, r#type, .. } = request.into_inner();
        let instructions = UploadInstructions {
            build_id,
            upload_id: "1".to_owned(),
            upload_strategy: UploadStrategy::SignedUrl as i32,
            signed_url: self.url.lock().clone(),
            r#type,
        };
        Ok(Response::new(InitiateUploadResponse { upload_instructions: Some(instructions) }))
    }

    async fn mark_upload_finished(
        &self,
        request: tonic::Request<MarkUploadFinishedRequest>,
    ) -> Result<Response<MarkUploadFinishedResponse>, Status> {
        self.steps.lock().push("finish");
        assert_eq!(request.into_inner().upload_id, "1");
        Ok(Response::new(MarkUploadFinishedResponse {}))
    }
}

#[tokio::test]
async fn a_parca_may_want_files_in_its_bucket() {
    let parca = Bucket::default();
    let receive = async |State(bucket): State<Bucket>, headers: HeaderMap, body: Bytes| {
        assert_eq!(headers["content-length"], body.len().to_string(), "its length is signed too");
        assert!(!headers.contains_key("authorization") && !headers.contains_key("x-scope"));
        let mut steps = bucket.steps.lock();
        steps.push("put");
        if steps.iter().filter(|step| **step == "put").count() == 1 {
            return (http::StatusCode::SERVICE_UNAVAILABLE, "slow down");
        }
        *bucket.put.lock() = body.to_vec();
        (http::StatusCode::OK, "")
    };
    let router = Router::new().route("/{*object}", put(receive)).with_state(parca.clone());
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *parca.url.lock() = format!("http://{}/abcd/debuginfo?X-Amz-Signature=s", listener.local_addr().unwrap());
    let _bucket = tokio::spawn(async move { axum::serve(listener, router).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = DebuginfoServiceServer::new(parca.clone());
    let server = tonic::transport::Server::builder().add_service(service);
    let _parca = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let spool = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(spool.path(), address, &[]).await;
    let mut client = client_of(forwarding.channel().await);
    let content: Vec<u8> = (0..3_000_001_u32).map(|at| (at / 999) as u8).collect();
    upload(&mut client, "abcd", &content).await;
    forwarding.until_empty().await;
    assert!(*parca.put.lock() == content, "byte for byte");
    let attempt = ["ask", "announce", "put"];
    // What its sender asked came first.
    assert_eq!(*parca.steps.lock(), [&["ask"][..], &attempt, &attempt, &["finish"]].concat());
    assert_eq!(forwarding.forwarder.counts().object_files.forwarded, 1);
    forwarding.stop().await;
}
