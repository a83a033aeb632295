//! Hands one object file to the remote store, once: asks, announces, uploads, finishes.
//!
//! The bytes go by gRPC, or, where a Parca says so, by HTTP to a URL of its bucket. A file whose bytes cannot be read to the
//! end breaks the call off: the remote store must not take a part for the whole.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use decima_debuginfo::decision::{Reason, STALE_GRACE_NS};
use decima_proto::parca::debuginfo::v1alpha1::{
    InitiateUploadRequest, MarkUploadFinishedRequest, ShouldInitiateUploadRequest, UploadInfo,
    UploadInstructions, UploadRequest, debuginfo_service_client::DebuginfoServiceClient,
    upload_instructions::UploadStrategy, upload_request::Data,
};
use futures::{Stream, StreamExt as _};
use reqwest::{Client, Method, Response, StatusCode, Url, header::CONTENT_LENGTH};
use rustls::{ClientConfig, crypto::ring};
use tokio::sync::{OnceCell, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    delivery::Attempts,
    files::{CHUNK_BYTES, Damage, Files, Taken},
};
use crate::{
    remote::{Authorized, Remote, trust},
    settings::Trust,
    verdict::{self, Verdict},
};

/// Time for each step but the upload.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages of an upload that are held.
const HELD_MAX: usize = 2;
/// Time to reach a bucket.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a bucket's answer is told.
const SAID_BYTES_MAX: usize = 256;

/// What became of one attempt.
#[derive(Debug)]
pub(crate) enum Attempted {
    /// The remote store has the file.
    Taken,
    /// It does not want it, for this reason.
    NotWanted(String),
    /// It is being uploaded by somebody else.
    InProgress,
    /// Its bytes here are damaged.
    Damaged(Damage),
    /// The remote store is away, busy, or does not let this process in.
    Away(Status),
    /// The file, or the remote store's way with it, is in doubt.
    InDoubt(Status),
    /// Only this file waits: where its bytes are to go is away.
    Waits(Status),
    /// It will be refused each time.
    Refused(Status),
}

/// What hands files over.
pub(crate) struct HandOver {
    files: Arc<Files>,
    remote: Remote,
    trust: Trust,
    /// For buckets; made when the first is met.
    http: OnceCell<Client>,
}

impl HandOver {
    pub(crate) fn new(files: Arc<Files>, remote: Remote, trust: Trust) -> Self {
        Self { files, remote, trust, http: OnceCell::new() }
    }

    /// Tries once.
    pub(crate) async fn attempt(&self, taken: &mut Taken) -> Attempted {
        match self.steps(taken).await {
            Ok(attempted) | Err(attempted) => attempted,
        }
    }

    async fn steps(&self, taken: &mut Taken) -> Result<Attempted, Attempted> {
        let mut client = self.remote.debuginfo();
        let record = taken.record.clone();
        let (build_id, r#type) = (record.name.build_id.to_string(), record.name.kind as i32);
        let (hash, build_id_type) = (record.hash.clone(), record.build_id_type);
        let ask = ShouldInitiateUploadRequest {
            build_id: build_id.clone(),
            hash: hash.clone(),
            force: record.force,
            r#type,
            build_id_type,
        };
        let said = in_time(client.should_initiate_upload(ask)).await.map_err(asked)?;
        let said = said.into_inner();
        let is_ours = said.reason == Reason::UploadInProgress.as_str() && self.is_going_on(&taken.attempts);
        if !said.should_initiate_upload && !is_ours {
            let in_progress = said.reason == Reason::UploadInProgress.as_str();
            return Ok(if in_progress { Attempted::InProgress } else { Attempted::NotWanted(said.reason) });
        }
        self.files.check(taken.number, &record).await.map_err(Attempted::Damaged)?;
        let size = i64::try_from(record.size_bytes).unwrap_or(i64::MAX);
        // An upload that broke off is begun anew, which takes force until it is stale.
        let force = record.force || is_ours;
        let build = build_id.clone();
        let announce = InitiateUploadRequest { build_id: build, size, hash, force, r#type, build_id_type };
        let instructions = in_time(client.initiate_upload(announce)).await.map_err(announced)?.into_inner();
        taken.attempts.announced = Some(Instant::now());
        let Some(instructions) = instructions.upload_instructions else {
            return Err(Attempted::InDoubt(Status::internal("the remote store gives no instructions")));
        };
        let upload_id = instructions.upload_id.clone();
        self.upload(&mut client, taken, instructions).await?;
        let finish = MarkUploadFinishedRequest { build_id, upload_id, r#type };
        in_time(client.mark_upload_finished(finish)).await.map_err(uploaded)?;
        Ok(Attempted::Taken)
    }

    /// Whether an upload in progress is one that this process began and that broke off.
    fn is_going_on(&self, attempts: &Attempts) -> bool {
        let grace = Duration::from_nanos(STALE_GRACE_NS.unsigned_abs());
        let stale_after = self.files.upload_max_duration().saturating_add(grace);
        attempts.announced.is_some_and(|at| at.elapsed() < stale_after)
    }

    async fn upload(
        &self,
        client: &mut DebuginfoServiceClient<Authorized>,
        taken: &Taken,
        instructions: UploadInstructions,
    ) -> Result<(), Attempted> {
        let within = self.files.upload_max_duration();
        let late = || Attempted::Waits(Status::deadline_exceeded("the upload took too long"));
        let UploadInstructions { build_id, upload_id, upload_strategy, signed_url, r#type } = instructions;
        match UploadStrategy::try_from(upload_strategy) {
            Ok(UploadStrategy::Grpc) => {
                let info = UploadInfo { build_id, upload_id, r#type };
                let sending = self.send(client, taken, info);
                tokio::time::timeout(within, sending).await.map_err(|_| late())?
            }
            Ok(UploadStrategy::SignedUrl) => {
                let putting = self.put(taken, &signed_url);
                tokio::time::timeout(within, putting).await.map_err(|_| late())?
            }
            Ok(UploadStrategy::Unspecified) | Err(_) => {
                let reason = format!(
                    "the remote store wants an upload in a way ({upload_strategy}) that is not known"
                );
                Err(Attempted::InDoubt(Status::internal(reason)))
            }
        }
    }

    /// Sends the bytes by gRPC.
    async fn send(
        &self,
        client: &mut DebuginfoServiceClient<Authorized>,
        taken: &Taken,
        info: UploadInfo,
    ) -> Result<(), Attempted> {
        let size_bytes = taken.record.size_bytes;
        let (held, stream) = mpsc::channel(HELD_MAX);
        // Dropped with the call, which makes the remote store see a stream that was broken off and not one that is complete.
        let upload = client.upload(ReceiverStream::new(stream));
        tokio::pin!(upload);
        let chunks = self.chunks(taken).map(|chunk| chunk.map(Data::ChunkData));
        let messages = futures::stream::iter([Ok(Data::Info(info))]).chain(chunks);
        tokio::pin!(messages);
        let answer = loop {
            let message = tokio::select! {
                // A store that does not want more says so before the end.
                answer = &mut upload => break answer,
                message = messages.next() => message,
            };
            let Some(message) = message else {
                drop(held);
                break upload.await;
            };
            let data = message.map_err(|error| Attempted::Damaged(Damage::Read(error)))?;
            tokio::select! {
                answer = &mut upload => break answer,
                // Fails when the call has ended, which the next round finds out.
                _ = held.send(UploadRequest { data: Some(data) }) => {}
            }
        };
        let arrived = answer.map_err(uploaded)?.into_inner().size;
        if arrived == size_bytes {
            return Ok(());
        }
        let reason = format!("the remote store took {arrived} bytes of {size_bytes}");
        Err(Attempted::InDoubt(Status::internal(reason)))
    }

    /// Sends the bytes to a URL, which needs no credentials but what is in it.
    async fn put(&self, taken: &Taken, url: &str) -> Result<(), Attempted> {
        let in_doubt = |reason: String| Attempted::InDoubt(Status::internal(reason));
        let url: Url = url.parse().map_err(|_| in_doubt("the remote store's URL is none".to_owned()))?;
        let http = self.http.get_or_try_init(async || client(&self.trust)).await.map_err(in_doubt)?;
        let body = reqwest::Body::wrap_stream(self.chunks(taken));
        let request =
            http.request(Method::PUT, url).header(CONTENT_LENGTH, taken.record.size_bytes).body(body);
        let answer = request.send().await.map_err(|error| {
            // Its words have the URL, which is a secret.
            let error = crate::spool::chain(&error.without_url());
            Attempted::Waits(Status::unavailable(format!("the bucket of the remote store: {error}")))
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let said = beginning(answer).await;
        let reason = format!("the bucket of the remote store answers {status}: {said}");
        Err(match status {
            // A signature that has expired, and what is no fault of the file's.
            StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Attempted::Waits(Status::unavailable(reason))
            }
            _ if status.is_server_error() => Attempted::Waits(Status::unavailable(reason)),
            _ => in_doubt(reason),
        })
    }

    fn chunks(&self, taken: &Taken) -> impl Stream<Item = Result<bytes::Bytes, object_store::Error>> + use<> {
        let (files, record, number) = (self.files.clone(), taken.record.clone(), taken.number);
        futures::stream::unfold(0, move |at| {
            let (files, record) = (files.clone(), record.clone());
            async move {
                if at >= record.size_bytes {
                    return None;
                }
                Some((files.read(number, &record, at).await, at + CHUNK_BYTES))
            }
        })
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Status::deadline_exceeded("no answer in half a minute");
    tokio::time::timeout(STEP_TIMEOUT, step).await.map_err(late)?
}

/// What an answer begins with, so far as it arrives.
async fn beginning(mut answer: Response) -> String {
    let mut said = Vec::new();
    while said.len() < SAID_BYTES_MAX
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        let room = SAID_BYTES_MAX - said.len();
        said.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// A question that was not answered.
fn asked(status: Status) -> Attempted {
    match verdict::of(&status) {
        Verdict::Later => Attempted::Away(status),
        Verdict::Doubtful => Attempted::InDoubt(status),
        Verdict::Never => Attempted::Refused(status),
    }
}

/// An announcement that was refused.
fn announced(status: Status) -> Attempted {
    match status.code() {
        // Somebody else was faster: what comes of it is for the next question.
        Code::FailedPrecondition => Attempted::InProgress,
        Code::AlreadyExists => Attempted::NotWanted(status.message().to_owned()),
        _ => asked(status),
    }
}

/// An upload, or its end, that was refused: it had been announced, and may have been replaced since.
fn uploaded(status: Status) -> Attempted {
    match asked(status) {
        Attempted::Refused(status) => Attempted::InDoubt(status),
        other => other,
    }
}

/// A client for buckets, which are trusted as the remote store is, or as the system trusts them.
fn client(to_trust: &Trust) -> Result<Client, String> {
    let words = |error: rustls::Error| error.to_string();
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone());
    let config = config.with_safe_default_protocol_versions().map_err(words)?.dangerous();
    let verifier = trust::verifier(to_trust, provider)?;
    let config = config.with_custom_certificate_verifier(verifier).with_no_client_auth();
    let client = Client::builder()
        .user_agent(concat!("decima/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(config)
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    client.map_err(|error| crate::spool::chain(&error))
}
