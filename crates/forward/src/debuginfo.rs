//! Object files: taken from senders as a store takes them, kept in the spool, and sent on when the remote store is there.
//!
//! ```text
//! sender ─► ask ─► remote store, if it answers in time ─► its answer, else: wanted
//!        ─► announce, upload, finish ─► files on disk ─► delivery: ask, announce, upload, finish ─► remote store
//! ```
//! Constraints: a sender speaks to this process alone, in Parca's words, since agents compare them: whatever makes it wait is
//! an upload in progress, upon which it asks again in five minutes. Invariants: what was finished is durable; the remote
//! store decides whether it wants a file, at the latest when the file is sent on; files have their own share of the disk and
//! their own way on, so that they neither drive out profiles nor hold them up, and are not held up by them.
//! Deliberately absent: what is in a file. A Parca takes any.

mod counts;
mod delivery;
mod files;
mod hand_over;
mod record;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use decima_debuginfo::{DebuginfoError, decision::Reason};
use decima_proto::parca::debuginfo::v1alpha1::{
    DebuginfoType, InitiateUploadRequest, InitiateUploadResponse, MarkUploadFinishedRequest,
    MarkUploadFinishedResponse, ShouldInitiateUploadRequest, ShouldInitiateUploadResponse, UploadInfo,
    UploadInstructions, upload_instructions::UploadStrategy,
};
use decima_symbols::{BuildId, build_id::BuildIdError};
use parking_lot::Mutex;
use tonic::Status;

pub use self::{counts::FileCounts, files::UploadSink};
pub(crate) use self::{delivery::Delivery, files::Files, hand_over::HandOver};
use self::{files::Announcement, record::Name};
use crate::{
    remote::Remote,
    verdict::{self, Verdict},
};

/// How long the remote store may take to say whether it wants a file: its sender waits for that.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it is not asked on behalf of senders after it did not answer.
const AWAY_FOR: Duration = Duration::from_secs(5);
/// Longest hash: SHA-512 in hexadecimal is 128.
const HASH_BYTES_MAX: usize = 256;
/// Why a file is wanted although the remote store was not asked.
const AWAY: &str =
    "The remote store is away and says later whether it needs the debuginfo, therefore please upload!";
/// Why a file is dropped that waited for too long.
const TOO_OLD: &str = "older than --spool-max-age";

/// A step of an upload that was refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// As a store refuses it.
    #[error(transparent)]
    Refused(#[from] DebuginfoError),
    /// A field that no store would take.
    #[error("{field}: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It does not fit now; it may later.
    #[error("the spool has no room for {size_bytes} bytes, {room_bytes} are left: ask again later")]
    NoRoom {
        /// As announced.
        size_bytes: u64,
        /// How many fit.
        room_bytes: u64,
    },
    /// What arrived is not what was announced.
    #[error("{arrived_bytes} bytes have arrived, and {announced_bytes} were announced")]
    Size {
        /// So far.
        arrived_bytes: u64,
        /// By the sender.
        announced_bytes: u64,
    },
    /// The disk does not take it.
    #[error("the spool cannot be written")]
    Write(#[from] object_store::Error),
    /// The remote store refuses it, in its words.
    #[error("{}", .0.message())]
    Remote(Status),
}

impl From<BuildIdError> for UploadError {
    fn from(error: BuildIdError) -> Self {
        Self::Refused(error.into())
    }
}

/// The side of uploads that senders see. Clones share it.
#[derive(Clone)]
pub struct Debuginfo {
    shared: Arc<Shared>,
}

struct Shared {
    files: Arc<Files>,
    remote: Remote,
    /// Until when the remote store is not asked.
    away_until: Mutex<Option<Instant>>,
}

impl Debuginfo {
    pub(crate) fn new(files: Arc<Files>, remote: Remote) -> Self {
        Self { shared: Arc::new(Shared { files, remote, away_until: Mutex::default() }) }
    }

    /// How long an upload may take.
    pub fn upload_max_duration(&self) -> Duration {
        self.shared.files.upload_max_duration()
    }

    pub(crate) fn counts(&self) -> FileCounts {
        self.shared.files.counts()
    }

    /// Whether a file is wanted: not if it is here or coming; else as the remote store says, and while that is away it is.
    ///
    /// # Errors
    /// If the build ID is none, or the remote store says so.
    pub async fn should_initiate_upload(
        &self,
        request: ShouldInitiateUploadRequest,
    ) -> Result<ShouldInitiateUploadResponse, UploadError> {
        let name = name(&request.build_id, request.r#type)?;
        check_hash(&request.hash)?;
        if let Some(reason) = self.shared.files.known(&name, request.force) {
            return Ok(answer(reason));
        }
        let said = match self.ask(request).await {
            Some(said) => said.map_err(UploadError::Remote)?,
            None => ShouldInitiateUploadResponse { should_initiate_upload: true, reason: AWAY.to_owned() },
        };
        if said.should_initiate_upload && !self.shared.files.has_room() {
            return Ok(answer(Reason::UploadInProgress));
        }
        Ok(said)
    }

    /// Sets room aside for a file.
    ///
    /// # Errors
    /// If something is missing or wrong, the file is here or coming, too large, or there is no room.
    pub async fn initiate_upload(
        &self,
        request: InitiateUploadRequest,
    ) -> Result<InitiateUploadResponse, UploadError> {
        let InitiateUploadRequest { build_id, size, hash, force, r#type, build_id_type } = request;
        let name = name(&build_id, r#type)?;
        check_hash(&hash)?;
        let below = |_| UploadError::Field { field: "size", reason: "is below 0".to_owned() };
        let size_bytes = u64::try_from(size).map_err(below)?;
        if hash.is_empty() {
            return Err(DebuginfoError::HashMissing.into());
        }
        if size_bytes == 0 {
            return Err(DebuginfoError::SizeMissing.into());
        }
        let announcement = Announcement { build_id_type, hash, force, size_bytes };
        let upload_id = self.shared.files.announce(name, announcement).await?;
        let upload_strategy = UploadStrategy::Grpc as i32;
        let signed_url = String::new();
        let instructions = UploadInstructions { build_id, upload_id, upload_strategy, signed_url, r#type };
        Ok(InitiateUploadResponse { upload_instructions: Some(instructions) })
    }

    /// Takes the bytes of a file that was announced.
    ///
    /// # Errors
    /// If it was not, or the disk does not take them.
    pub async fn upload(&self, info: &UploadInfo) -> Result<UploadSink, UploadError> {
        let name = name(&info.build_id, info.r#type)?;
        self.shared.files.receive(name, &info.upload_id).await
    }

    /// A file is complete. When this returns it survives whatever happens to the process.
    ///
    /// # Errors
    /// If it is not, or the disk does not take it.
    pub async fn mark_upload_finished(
        &self,
        request: MarkUploadFinishedRequest,
    ) -> Result<MarkUploadFinishedResponse, UploadError> {
        let name = name(&request.build_id, request.r#type)?;
        self.shared.files.complete(&name, &request.upload_id).await?;
        Ok(MarkUploadFinishedResponse {})
    }

    /// What the remote store says; `None` if that is nothing, or nothing about the file.
    async fn ask(
        &self,
        request: ShouldInitiateUploadRequest,
    ) -> Option<Result<ShouldInitiateUploadResponse, Status>> {
        if self.shared.away_until.lock().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let mut client = self.shared.remote.debuginfo();
        let asked = tokio::time::timeout(ASK_TIMEOUT, client.should_initiate_upload(request)).await;
        match asked {
            Ok(Ok(said)) => return Some(Ok(said.into_inner())),
            Ok(Err(status)) if verdict::of(&status) == Verdict::Never => {
                return Some(Err(Status::new(status.code(), status.message())));
            }
            Ok(Err(_)) | Err(_) => {}
        }
        *self.shared.away_until.lock() = Some(Instant::now() + AWAY_FOR);
        None
    }
}

fn answer(reason: Reason) -> ShouldInitiateUploadResponse {
    ShouldInitiateUploadResponse {
        should_initiate_upload: reason.wants_upload(),
        reason: reason.as_str().to_owned(),
    }
}

fn name(build_id: &str, kind: i32) -> Result<Name, UploadError> {
    let build_id = BuildId::parse(build_id)?;
    let unknown = |_| UploadError::Field { field: "type", reason: format!("{kind} is none of 0 to 3") };
    Ok(Name { build_id, kind: DebuginfoType::try_from(kind).map_err(unknown)? })
}

fn check_hash(hash: &str) -> Result<(), UploadError> {
    if hash.len() <= HASH_BYTES_MAX {
        return Ok(());
    }
    let reason = format!("has {} bytes; at most {HASH_BYTES_MAX} are allowed", hash.len());
    Err(UploadError::Field { field: "hash", reason })
}

#[cfg(test)]
mod tests;
