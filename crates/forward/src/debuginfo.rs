//! Uploads of object files, which go straight through.
//!
//! The remote store decides whether it wants a file, and the sender keeps the file. So nothing is kept here: while the store
//! is away, the sender hears what makes an agent ask again in five minutes, for as long as it takes. (`Unavailable` it tries
//! again for five minutes, and then not before it meets the program anew.) A file passes in chunks, of which a few are
//! held at a time.

use decima_proto::parca::debuginfo::v1alpha1::{
    InitiateUploadRequest, InitiateUploadResponse, MarkUploadFinishedRequest, MarkUploadFinishedResponse,
    ShouldInitiateUploadRequest, ShouldInitiateUploadResponse, UploadRequest, UploadResponse,
    debuginfo_service_client::DebuginfoServiceClient,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status};

use crate::remote::Authorized;

/// The one reason upon which an agent asks again, word for word.
const ASK_AGAIN: &str =
    "A previous upload is still in-progress and not stale yet (only stale uploads can be retried).";

/// Messages of an upload that are held: an agent's have 8 MiB.
const HELD_MAX: usize = 2;

/// The remote store's side of uploads. Clones share its connection.
#[derive(Clone)]
pub struct Debuginfo {
    client: DebuginfoServiceClient<Authorized>,
}

impl Debuginfo {
    pub(crate) fn new(client: DebuginfoServiceClient<Authorized>) -> Self {
        Self { client }
    }

    /// Whether the remote store wants a file; not now while it is away.
    pub async fn should_initiate_upload(
        &self,
        request: ShouldInitiateUploadRequest,
    ) -> Result<ShouldInitiateUploadResponse, Status> {
        match self.client.clone().should_initiate_upload(request).await.map_err(passed_on) {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) if status.code() == Code::Unavailable => Ok(ShouldInitiateUploadResponse {
                should_initiate_upload: false,
                reason: ASK_AGAIN.to_owned(),
            }),
            Err(status) => Err(status),
        }
    }

    /// Where a file is to go. `FailedPrecondition` while the remote store is away, upon which an agent begins anew later.
    pub async fn initiate_upload(
        &self,
        request: InitiateUploadRequest,
    ) -> Result<InitiateUploadResponse, Status> {
        match self.client.clone().initiate_upload(request).await.map_err(passed_on) {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) if status.code() == Code::Unavailable => {
                Err(Status::failed_precondition(status.message()))
            }
            Err(status) => Err(status),
        }
    }

    /// A file. If its sender fails in the middle, so does the upload.
    pub async fn upload(
        &self,
        mut requests: impl Stream<Item = Result<UploadRequest, Status>> + Send + Unpin + 'static,
    ) -> Result<UploadResponse, Status> {
        let (held, stream) = mpsc::channel(HELD_MAX);
        let mut client = self.client.clone();
        // Dropped with the call, which makes the remote store see a stream that was broken off and not one that is complete.
        let upload = client.upload(ReceiverStream::new(stream));
        tokio::pin!(upload);
        loop {
            let request = tokio::select! {
                // A store that does not want more says so before the end.
                answer = &mut upload => return Ok(answer.map_err(passed_on)?.into_inner()),
                request = requests.next() => request,
            };
            let Some(request) = request.transpose()? else { break };
            tokio::select! {
                answer = &mut upload => return Ok(answer.map_err(passed_on)?.into_inner()),
                // Fails when the call has ended, which the next round finds out.
                _ = held.send(request) => {}
            }
        }
        drop(held);
        Ok(upload.await.map_err(passed_on)?.into_inner())
    }

    /// A file is complete.
    pub async fn mark_upload_finished(
        &self,
        request: MarkUploadFinishedRequest,
    ) -> Result<MarkUploadFinishedResponse, Status> {
        Ok(self.client.clone().mark_upload_finished(request).await.map_err(passed_on)?.into_inner())
    }
}

/// The remote store's own words, but for what is between it and this process: a connection that cannot be made, and a token
/// that is not the sender's, are no reason for the sender to give up.
#[expect(clippy::needless_pass_by_value, reason = "has the shape that map_err wants")]
fn passed_on(status: Status) -> Status {
    let transport = std::error::Error::source(&status).is_some();
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => Status::unavailable(format!(
            "the remote store does not let the forwarder in: {}",
            status.message()
        )),
        _ if transport => {
            Status::unavailable(format!("the remote store is away: {}", crate::spool::chain(&status)))
        }
        code => Status::new(code, status.message()),
    }
}
