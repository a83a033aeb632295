//! Files from the spool to something that answers as a store may.

use std::{path::Path, sync::Arc};

use decima_proto::parca::debuginfo::v1alpha1::{
    MarkUploadFinishedResponse, UploadRequest, UploadResponse,
    debuginfo_service_server::{DebuginfoService, DebuginfoServiceServer},
    upload_request::Data,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Response, Streaming};

use super::*;
use crate::{
    counts::DropReason,
    delivery::Waits,
    settings::{ObjectFiles, Remote as Settings, Trust},
    spool::Directory,
};

/// Far longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(120);
const QUICK: Waits = Waits { min: Duration::from_millis(1), max: Duration::from_millis(8) };
const SIZE_BYTES: usize = (2 << 20) + 17;

/// What to answer: by step, build ID, and how often that was said before.
type Answer = dyn Fn(&str, &str, usize) -> Result<(), Status> + Send + Sync;

/// Build ID and content of a file.
type Arrived = (String, Vec<u8>);

/// A remote store.
#[derive(Clone)]
struct Parca {
    answer: Arc<Answer>,
    /// Steps as they came, with force.
    steps: Arc<Mutex<Vec<String>>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Parca {
    fn step(&self, step: &str, build_id: &str, force: bool) -> Result<(), Status> {
        let words = format!("{step} {build_id}");
        let mut steps = self.steps.lock();
        let before = steps.iter().filter(|step| step.trim_end_matches(" by force") == words).count();
        steps.push(if force { format!("{words} by force") } else { words });
        drop(steps);
        (self.answer)(step, build_id, before)
    }
}

#[tonic::async_trait]
impl DebuginfoService for Parca {
    /// A step that is refused with `Aborted` is answered with its words.
    async fn should_initiate_upload(
        &self,
        request: tonic::Request<ShouldInitiateUploadRequest>,
    ) -> Result<Response<ShouldInitiateUploadResponse>, Status> {
        let ShouldInitiateUploadRequest { build_id, force, hash, build_id_type, .. } = request.into_inner();
        assert!(hash == "h" && build_id_type == 2, "as the sender gave it");
        let (should_initiate_upload, reason) = match self.step("ask", &build_id, force) {
            Ok(()) => (true, "please".to_owned()),
            Err(status) if status.code() == Code::Aborted => (false, status.message().to_owned()),
            Err(status) => return Err(status),
        };
        Ok(Response::new(ShouldInitiateUploadResponse { should_initiate_upload, reason }))
    }

    async fn initiate_upload(
        &self,
        request: tonic::Request<InitiateUploadRequest>,
    ) -> Result<Response<InitiateUploadResponse>, Status> {
        let InitiateUploadRequest { build_id, force, size, .. } = request.into_inner();
        assert_eq!(size, SIZE_BYTES as i64);
        self.step("announce", &build_id, force)?;
        let upload_strategy = UploadStrategy::Grpc as i32;
        let instructions = UploadInstructions { build_id, upload_strategy, ..Default::default() };
        Ok(Response::new(InitiateUploadResponse { upload_instructions: Some(instructions) }))
    }

    async fn upload(
        &self,
        request: tonic::Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let (mut requests, mut content, mut name) = (request.into_inner(), Vec::new(), String::new());
        while let Some(UploadRequest { data }) = requests.message().await? {
            match data {
                Some(Data::Info(UploadInfo { build_id, .. })) => {
                    self.step("upload", &build_id, false)?;
                    name = build_id;
                }
                Some(Data::ChunkData(chunk)) => {
                    assert!(chunk.len() <= 1 << 20);
                    content.extend_from_slice(&chunk);
                }
                None => {}
            }
        }
        let size = content.len() as u64;
        self.arrived.lock().push((name.clone(), content));
        Ok(Response::new(UploadResponse { build_id: name, size }))
    }

    async fn mark_upload_finished(
        &self,
        request: tonic::Request<MarkUploadFinishedRequest>,
    ) -> Result<Response<MarkUploadFinishedResponse>, Status> {
        self.step("finish", &request.into_inner().build_id, false)?;
        Ok(Response::new(MarkUploadFinishedResponse {}))
    }
}

struct Forwarding {
    files: Arc<Files>,
    debuginfo: Debuginfo,
    delivery: Delivery,
    parca: Parca,
}

impl Forwarding {
    async fn start(
        folder: &Path,
        answer: impl Fn(&str, &str, usize) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        let parca = Parca { answer: Arc::new(answer), steps: Arc::default(), arrived: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = Settings {
            origin: format!("http://{}", listener.local_addr().unwrap()).parse().unwrap(),
            trust: Trust::System,
            token: None,
            headers: Vec::new(),
        };
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(DebuginfoServiceServer::new(parca.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        let bounds = ObjectFiles {
            bytes_max: 1 << 30,
            file_bytes_max: 1 << 29,
            upload_max_duration: Duration::from_secs(900),
        };
        let directory = Directory::open(folder).unwrap();
        let files = Files::open(directory, bounds, Duration::from_secs(3600)).await.unwrap();
        let remote = Remote::new(&settings).unwrap();
        let hand_over = HandOver::new(files.clone(), remote.clone(), settings.trust);
        let delivery = Delivery::with_waits(files.clone(), hand_over, QUICK, QUICK);
        Self { debuginfo: Debuginfo::new(files.clone(), remote), files, delivery, parca }
    }

    /// Takes a file as a sender sends it.
    async fn take(&self, build_id: &str) -> Vec<u8> {
        let first = build_id.as_bytes()[0];
        let content: Vec<u8> = (0..SIZE_BYTES).map(|at| (at / 1000) as u8 ^ first).collect();
        let announce = InitiateUploadRequest {
            build_id: build_id.to_owned(),
            size: SIZE_BYTES as i64,
            hash: "h".to_owned(),
            build_id_type: 2,
            ..InitiateUploadRequest::default()
        };
        let answer = self.debuginfo.initiate_upload(announce).await.unwrap();
        let UploadInstructions { upload_id, .. } = answer.upload_instructions.unwrap();
        let build_id = build_id.to_owned();
        let info = UploadInfo { build_id: build_id.clone(), upload_id: upload_id.clone(), r#type: 0 };
        let mut sink = self.debuginfo.upload(&info).await.unwrap();
        sink.write(content.clone().into()).await.unwrap();
        sink.finish().await.unwrap();
        let finish = MarkUploadFinishedRequest { build_id, upload_id, r#type: 0 };
        self.debuginfo.mark_upload_finished(finish).await.unwrap();
        content
    }

    async fn until(&self, what: &str, is_true: impl Fn(&FileCounts) -> bool) {
        let wait = async {
            while !is_true(&self.files.counts()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{what}: {:?} {:?}", self.files.counts(), self.parca.steps.lock());
    }

    fn steps(&self) -> Vec<String> {
        self.parca.steps.lock().clone()
    }
}

fn in_progress() -> Status {
    Status::aborted(Reason::UploadInProgress.as_str())
}

#[tokio::test]
async fn a_file_goes_through_all_steps() {
    let folder = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(folder.path(), |_, _, _| Ok(())).await;
    let content = forwarding.take("aaaa").await;
    forwarding.until("it arrives", |counts| counts.forwarded == 1).await;
    assert_eq!(forwarding.steps(), ["ask aaaa", "announce aaaa", "upload aaaa", "finish aaaa"]);
    assert!(*forwarding.parca.arrived.lock() == [("aaaa".to_owned(), content)]);
    forwarding.until("nothing is left", |counts| counts.waiting == 0 && counts.bytes == 0).await;
    assert_eq!(forwarding.files.counts().forwarded_bytes, SIZE_BYTES as u64);
    forwarding.delivery.stop().await;
}

#[tokio::test]
async fn the_remote_store_may_be_away_for_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let away = |step: &str, _: &str, before: usize| match (step, before) {
        ("ask", 0..20) => Err(Status::unavailable("stopping")),
        ("ask", 20..30) => Err(Status::unauthenticated("no token")),
        ("announce", 0) | ("finish", 0) => Err(Status::unavailable("stopping")),
        _ => Ok(()),
    };
    let forwarding = Forwarding::start(folder.path(), away).await;
    for build_id in ["aaaa", "bbbb", "cccc"] {
        forwarding.take(build_id).await;
    }
    forwarding.until("all arrive", |counts| counts.forwarded == 3 && counts.waiting == 0).await;
    let counts = forwarding.files.counts();
    assert_eq!(counts.dropped.values().sum::<u64>(), 0);
    assert_eq!(counts.failed_attempts[&(Code::Unauthenticated as i32)], 30);
    forwarding.delivery.stop().await;
}

#[tokio::test]
async fn who_has_it_or_gets_it_needs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(folder.path(), |step, build_id, before| match (step, build_id) {
        ("ask", "aaaa") => Err(Status::aborted(Reason::AlreadyExists.as_str())),
        ("announce", "bbbb") => Err(Status::already_exists("the same, and it is of no use")),
        // Somebody else uploads it, and does not come to an end.
        ("ask", "cccc") if before < 5 => Err(in_progress()),
        // Somebody else was faster.
        ("announce", "dddd") => Err(Status::failed_precondition("upload should not have been attempted")),
        ("ask", "dddd") if before > 0 => Err(Status::aborted(Reason::AlreadyExists.as_str())),
        _ => Ok(()),
    });
    let forwarding = forwarding.await;
    for build_id in ["aaaa", "bbbb", "cccc", "dddd"] {
        forwarding.take(build_id).await;
    }
    forwarding.until("all are over", |counts| counts.waiting == 0).await;
    let counts = forwarding.files.counts();
    assert_eq!((counts.not_wanted, counts.forwarded), (3, 1), "{counts:?}");
    assert!(forwarding.steps().iter().all(|step| !step.ends_with("by force")), "{:?}", forwarding.steps());
    forwarding.delivery.stop().await;
}

/// The remote store holds an upload that broke off to be going on.
#[tokio::test]
async fn an_upload_that_breaks_off_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(folder.path(), |step, _, before| match (step, before) {
        ("upload", 0) => Err(Status::unavailable("stopping")),
        ("ask", 1) => Err(in_progress()),
        _ => Ok(()),
    });
    let forwarding = forwarding.await;
    forwarding.take("aaaa").await;
    forwarding.until("it arrives", |counts| counts.forwarded == 1).await;
    let steps = forwarding.steps();
    let anew = ["ask aaaa", "announce aaaa by force", "upload aaaa", "finish aaaa"];
    assert_eq!(steps, [&["ask aaaa", "announce aaaa", "upload aaaa"][..], &anew].concat());
    forwarding.delivery.stop().await;
}

#[tokio::test]
async fn what_is_never_taken_is_dropped_and_what_is_in_doubt_when_others_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(folder.path(), |step, build_id, _| match (step, build_id) {
        ("ask", "refused") | ("announce", "large") => Err(Status::invalid_argument("never")),
        ("finish", "doubtful") => Err(Status::internal("metadata is missing")),
        _ => Ok(()),
    });
    let forwarding = forwarding.await;
    for build_id in ["refused", "large", "doubtful"] {
        forwarding.take(build_id).await;
    }
    let dropped = |counts: &FileCounts| counts.dropped[&DropReason::Refused];
    forwarding.until("two are dropped", |counts| dropped(counts) == 2).await;
    let attempts =
        |forwarding: &Forwarding| forwarding.steps().iter().filter(|step| *step == "finish doubtful").count();
    forwarding.until("attempts", |_| attempts(&forwarding) > 8).await;
    let counts = forwarding.files.counts();
    assert_eq!((dropped(&counts), counts.waiting), (2, 1), "nothing arrives that would tell against it");
    for other in 0..100 {
        forwarding.take(&format!("other-{other}")).await;
        forwarding.until("another arrives", |counts| counts.forwarded > other).await;
        let before = attempts(&forwarding);
        forwarding
            .until("another attempt", |counts| attempts(&forwarding) > before || counts.waiting == 0)
            .await;
        if forwarding.files.counts().waiting == 0 {
            break;
        }
    }
    assert_eq!(dropped(&forwarding.files.counts()), 3);
    forwarding.delivery.stop().await;
}

#[tokio::test]
async fn damage_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(folder.path(), |step, _, before| match (step, before) {
        ("ask", 0..3) => Err(in_progress()),
        _ => Ok(()),
    });
    let forwarding = forwarding.await;
    forwarding.take("aaaa").await;
    let path = folder.path().join("debuginfo-00000000000000000000");
    let mut content = std::fs::read(&path).unwrap();
    content[SIZE_BYTES / 2] ^= 1;
    std::fs::write(&path, content).unwrap();
    forwarding.until("it is found", |counts| counts.dropped[&DropReason::Damaged] == 1).await;
    assert!(forwarding.steps().iter().all(|step| step == "ask aaaa"), "{:?}", forwarding.steps());
    forwarding.delivery.stop().await;
}

#[tokio::test]
async fn what_senders_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let forwarding = Forwarding::start(folder.path(), |step, build_id, before| match (step, build_id) {
        ("ask", "have") => Err(Status::aborted(Reason::AlreadyExists.as_str())),
        ("ask", "none") => Err(Status::invalid_argument("no")),
        ("ask", "away") if before == 0 => Err(Status::internal("the bucket is away")),
        ("finish", _) => Err(Status::unavailable("stopping")),
        _ => Ok(()),
    });
    let forwarding = forwarding.await;
    let ask = async |build_id: &str, force: bool| {
        let (build_id, hash) = (build_id.to_owned(), "h".to_owned());
        let ask = ShouldInitiateUploadRequest { build_id, hash, force, build_id_type: 2, r#type: 0 };
        let answer = forwarding.debuginfo.should_initiate_upload(ask).await;
        answer.map(|answer| (answer.should_initiate_upload, answer.reason))
    };
    let told = |wanted: bool, reason: &str| (wanted, reason.to_owned());
    assert_eq!(ask("want", false).await.unwrap(), told(true, "please"), "the remote store's words");
    assert_eq!(ask("have", false).await.unwrap(), told(false, Reason::AlreadyExists.as_str()));
    assert!(matches!(ask("none", false).await, Err(UploadError::Remote(status)) if status.message() == "no"));
    assert_eq!(ask("ab", false).await.unwrap_err().to_string(), "unexpectedly short input");
    assert!(ask("a/../b", false).await.is_err());
    forwarding.take("wait").await;
    assert_eq!(ask("wait", false).await.unwrap(), told(false, Reason::UploadInProgress.as_str()));
    assert_eq!(ask("wait", true).await.unwrap(), told(true, Reason::UploadInProgressForced.as_str()));
    assert_eq!(ask("away", false).await.unwrap(), told(true, AWAY));
    let asked = forwarding.steps().len();
    assert_eq!(ask("have", false).await.unwrap(), told(true, AWAY), "it is not asked again so soon");
    assert!(forwarding.steps()[asked..].iter().all(|step| step != "ask have"));
    forwarding.delivery.stop().await;
}
