//! `DebuginfoService`: object files from senders; and `ObjectFileService`: which ones there are.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use decima_debuginfo::{
    Debuginfo, DebuginfoError,
    decision::Proposal,
    record::{FileKind, Record, RecordedQuality, State},
};
use decima_forward::UploadError;
use decima_ingest::push::{Origin, Outcome, Protocol, Refusal, Senders};
use decima_proto::{
    decima::debuginfo::v1alpha1::{
        ListRequest, ListResponse, ObjectFile, Quality, object_file, object_file_service_server,
    },
    parca::debuginfo::v1alpha1::{
        BuildIdType, DebuginfoType, InitiateUploadRequest, InitiateUploadResponse, MarkUploadFinishedRequest,
        MarkUploadFinishedResponse, ShouldInitiateUploadRequest, ShouldInitiateUploadResponse,
        UploadInstructions, UploadRequest, UploadResponse, debuginfo_service_server, upload_instructions,
        upload_request::Data,
    },
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{note_refused, origin};
use crate::{
    shares::{self, Party, Place, Progress, Shares},
    status, time,
};

/// Uploads that are received at once; others wait. An agent sends up to 25 at a time in chunks of 8 MiB, and each holds two
/// parts that are being written beside the chunk.
const UPLOADS: shares::Bounds = shares::Bounds { all: 16, sender: 8, connection: 4 };

/// Where object files are.
#[derive(Clone)]
pub(crate) enum Files {
    /// Here.
    Here(Arc<Debuginfo>),
    /// On their way to the store to which this process sends everything on.
    There(decima_forward::Debuginfo),
}

/// Both services.
#[derive(Clone)]
pub(crate) struct DebuginfoService {
    files: Files,
    /// Noted are uploads, and steps of one that are refused.
    senders: Arc<Senders>,
    uploads: Arc<Shares>,
}

/// A step of an upload that is refused.
struct Refused {
    status: Status,
    /// What its sender's numbers call it; `None` for what agents that are in order hear too, such as that the file is here
    /// already, and for what is noted elsewhere.
    reason: Option<Refusal>,
}

/// Where the bytes of an upload go.
enum Sink<'a> {
    Here(decima_debuginfo::UploadSink<'a>),
    There(decima_forward::UploadSink),
}

impl Sink<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Refused> {
        match self {
            Self::Here(sink) => Ok(sink.write(bytes).await?),
            Self::There(sink) => Ok(sink.write(bytes).await?),
        }
    }

    async fn finish(self) -> Result<u64, Refused> {
        match self {
            Self::Here(sink) => Ok(sink.finish().await?),
            Self::There(sink) => Ok(sink.finish().await?),
        }
    }

    async fn abort(self) {
        match self {
            Self::Here(sink) => sink.abort().await,
            Self::There(sink) => sink.abort().await,
        }
    }
}

impl From<DebuginfoError> for Refused {
    fn from(error: DebuginfoError) -> Self {
        Self { status: status::of_debuginfo(&error), reason: reason_of(&error) }
    }
}

impl From<UploadError> for Refused {
    fn from(error: UploadError) -> Self {
        let reason = match &error {
            UploadError::Refused(error) => reason_of(error),
            UploadError::NoRoom { .. } => None,
            UploadError::Field { .. } => Some(Refusal::Value),
            UploadError::Size { .. } => Some(Refusal::Upload),
            UploadError::Write(_) => Some(Refusal::Store),
            UploadError::Remote(status) => match status.code() {
                Code::FailedPrecondition | Code::AlreadyExists => None,
                Code::InvalidArgument => Some(Refusal::Value),
                Code::NotFound => Some(Refusal::Upload),
                _ => Some(Refusal::Store),
            },
        };
        Self { status: status::of_upload(&error), reason }
    }
}

/// What a sender's numbers call a step that is refused.
fn reason_of(error: &DebuginfoError) -> Option<Refusal> {
    match error {
        DebuginfoError::NotWanted { .. } | DebuginfoError::SameInvalid { .. } => None,
        DebuginfoError::BuildId(_) => Some(Refusal::Value),
        DebuginfoError::HashMissing | DebuginfoError::SizeMissing => Some(Refusal::Missing),
        DebuginfoError::TooLarge { .. } => Some(Refusal::TooLarge),
        DebuginfoError::NotInitiated
        | DebuginfoError::OtherUpload
        | DebuginfoError::Unknown
        | DebuginfoError::OtherFinished
        | DebuginfoError::NothingUploaded => Some(Refusal::Upload),
        DebuginfoError::Store(_) | DebuginfoError::File(_) | DebuginfoError::Record { .. } => {
            Some(Refusal::Store)
        }
    }
}

impl Refused {
    /// What is wrong with a message.
    fn invalid(reason: Refusal, message: impl Into<String>) -> Self {
        Self { status: Status::invalid_argument(message), reason: Some(reason) }
    }

    /// A stream that goes no further: its sender paused for too long, its connection broke, or the codec refused a message,
    /// which is noted elsewhere.
    fn of_stream(status: Status) -> Self {
        let reason = (status.code() == Code::DeadlineExceeded).then_some(Refusal::Stalled);
        Self { status, reason }
    }
}

impl DebuginfoService {
    pub(crate) fn new(files: Files, senders: Arc<Senders>) -> Self {
        Self { files, senders, uploads: Arc::new(Shares::new(UPLOADS)) }
    }

    /// Answers, and notes a refusal as its sender's.
    fn told<T>(&self, origin: &Origin, answer: Result<T, Refused>) -> Result<Response<T>, Status> {
        answer.map(Response::new).map_err(|Refused { status, reason }| {
            if let Some(reason) = reason {
                note_refused(&self.senders, origin, reason, status.message());
            }
            status
        })
    }

    async fn should_initiate(
        &self,
        request: ShouldInitiateUploadRequest,
    ) -> Result<ShouldInitiateUploadResponse, Refused> {
        let debuginfo = match &self.files {
            Files::Here(debuginfo) => debuginfo,
            Files::There(forward) => return Ok(forward.should_initiate_upload(request).await?),
        };
        let kind = kind(request.r#type)?;
        let proposal = Proposal { hash: &request.hash, force: request.force };
        let elsewhere = debuginfod_may_know(request.build_id_type);
        let reason = debuginfo.should_initiate(&request.build_id, kind, proposal, elsewhere).await?;
        Ok(ShouldInitiateUploadResponse {
            should_initiate_upload: reason.wants_upload(),
            reason: reason.as_str().to_owned(),
        })
    }

    async fn initiate(&self, request: InitiateUploadRequest) -> Result<InitiateUploadResponse, Refused> {
        let debuginfo = match &self.files {
            Files::Here(debuginfo) => debuginfo,
            Files::There(forward) => return Ok(forward.initiate_upload(request).await?),
        };
        let kind = kind(request.r#type)?;
        let proposal = Proposal { hash: &request.hash, force: request.force };
        let size_bytes =
            u64::try_from(request.size).map_err(|_| Refused::invalid(Refusal::Value, "size: is below 0"))?;
        let elsewhere = debuginfod_may_know(request.build_id_type);
        let initiated = debuginfo.initiate(&request.build_id, kind, proposal, size_bytes, elsewhere).await?;
        Ok(InitiateUploadResponse {
            upload_instructions: Some(UploadInstructions {
                build_id: request.build_id,
                upload_id: initiated.upload_id,
                upload_strategy: upload_instructions::UploadStrategy::Grpc as i32,
                signed_url: String::new(),
                r#type: request.r#type,
            }),
        })
    }

    async fn receive(
        &self,
        requests: Streaming<UploadRequest>,
        party: Party,
        progress: Progress,
    ) -> Result<UploadResponse, Refused> {
        let within: Duration = match &self.files {
            Files::Here(debuginfo) => debuginfo.upload_max_duration(),
            Files::There(forward) => forward.upload_max_duration(),
        };
        let received = tokio::time::timeout(within, self.keep(requests, party, progress));
        received.await.unwrap_or_else(|_| {
            let time = humantime::format_duration(within);
            let status = Status::deadline_exceeded(format!("the upload took longer than {time}"));
            Err(Refused { status, reason: Some(Refusal::Stalled) })
        })
    }

    async fn keep(
        &self,
        mut requests: Streaming<UploadRequest>,
        party: Party,
        progress: Progress,
    ) -> Result<UploadResponse, Refused> {
        // Until it comes, nothing is held.
        let first = requests.message().await.map_err(Refused::of_stream)?.and_then(|request| request.data);
        let Some(Data::Info(info)) = first else {
            let message = "the first message must be info, which says what follows";
            return Err(Refused::invalid(Refusal::Missing, message));
        };
        let kind = kind(info.r#type)?;
        let place = self.uploads.place(party).await;
        let mut sink = match &self.files {
            Files::Here(files) => Sink::Here(files.upload(&info.build_id, kind, &info.upload_id).await?),
            Files::There(forward) => Sink::There(forward.upload(&info).await?),
        };
        match fill(&mut sink, &mut requests, &place, &progress).await {
            Ok(()) => {
                let size = sink.finish().await?;
                Ok(UploadResponse { build_id: info.build_id, size })
            }
            Err(failure) => {
                sink.abort().await;
                Err(failure)
            }
        }
    }

    async fn finish(
        &self,
        request: MarkUploadFinishedRequest,
    ) -> Result<MarkUploadFinishedResponse, Refused> {
        match &self.files {
            Files::Here(debuginfo) => {
                let MarkUploadFinishedRequest { build_id, upload_id, r#type } = request;
                debuginfo.finish(&build_id, kind(r#type)?, &upload_id).await?;
                Ok(MarkUploadFinishedResponse {})
            }
            Files::There(forward) => Ok(forward.mark_upload_finished(request).await?),
        }
    }
}

/// Receives chunks until the sender has sent all.
async fn fill(
    sink: &mut Sink<'_>,
    requests: &mut Streaming<UploadRequest>,
    place: &Place,
    progress: &Progress,
) -> Result<(), Refused> {
    let mut next = async || place.hold(requests.message(), progress).await.and_then(|next| next);
    while let Some(request) = next().await.map_err(Refused::of_stream)? {
        match request.data {
            Some(Data::ChunkData(chunk)) => sink.write(chunk).await?,
            // An empty chunk is no field at all in some encoders.
            None => {}
            Some(Data::Info(_)) => {
                let message = "info came again; after the first message come chunks";
                return Err(Refused::invalid(Refusal::Malformed, message));
            }
        }
    }
    Ok(())
}

#[tonic::async_trait]
impl debuginfo_service_server::DebuginfoService for DebuginfoService {
    async fn should_initiate_upload(
        &self,
        request: Request<ShouldInitiateUploadRequest>,
    ) -> Result<Response<ShouldInitiateUploadResponse>, Status> {
        let origin = origin(Protocol::Debuginfo, request.extensions());
        self.told(&origin, self.should_initiate(request.into_inner()).await)
    }

    async fn initiate_upload(
        &self,
        request: Request<InitiateUploadRequest>,
    ) -> Result<Response<InitiateUploadResponse>, Status> {
        let origin = origin(Protocol::Debuginfo, request.extensions());
        self.told(&origin, self.initiate(request.into_inner()).await)
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let origin = origin(Protocol::Debuginfo, request.extensions());
        let (party, progress) = (Party::of(request.extensions()), Progress::of(request.extensions()));
        let received = self.receive(request.into_inner(), party, progress).await;
        if received.is_ok() {
            let outcome = Outcome { took: origin.received.elapsed(), ..Outcome::default() };
            self.senders.note("", &origin, outcome);
        }
        self.told(&origin, received)
    }

    async fn mark_upload_finished(
        &self,
        request: Request<MarkUploadFinishedRequest>,
    ) -> Result<Response<MarkUploadFinishedResponse>, Status> {
        let origin = origin(Protocol::Debuginfo, request.extensions());
        self.told(&origin, self.finish(request.into_inner()).await)
    }
}

#[tonic::async_trait]
impl object_file_service_server::ObjectFileService for DebuginfoService {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let Files::Here(debuginfo) = &self.files else {
            return Err(Status::unimplemented(
                "this process forwards object files; ask the store to which it does",
            ));
        };
        let ListRequest { build_id } = request.into_inner();
        let records = if build_id.is_empty() {
            debuginfo.list()
        } else {
            debuginfo.records_of(&build_id).map_err(|error| status::of_debuginfo(&error))?
        };
        let object_files = records.into_iter().map(to_proto).collect();
        Ok(Response::new(ListResponse { object_files }))
    }
}

fn kind(r#type: i32) -> Result<FileKind, Refused> {
    match DebuginfoType::try_from(r#type) {
        Ok(DebuginfoType::DebuginfoUnspecified) => Ok(FileKind::Debuginfo),
        Ok(DebuginfoType::Executable) => Ok(FileKind::Executable),
        Ok(DebuginfoType::Sources) => Ok(FileKind::Sources),
        Ok(DebuginfoType::SourceMap) => Ok(FileKind::SourceMap),
        Err(_) => Err(Refused::invalid(Refusal::Value, format!("type: {} is none of 0 to 3", r#type))),
    }
}

fn type_of(kind: FileKind) -> DebuginfoType {
    match kind {
        FileKind::Debuginfo | FileKind::Fetched => DebuginfoType::DebuginfoUnspecified,
        FileKind::Executable => DebuginfoType::Executable,
        FileKind::Sources => DebuginfoType::Sources,
        FileKind::SourceMap => DebuginfoType::SourceMap,
    }
}

/// debuginfod servers go by what GNU's linker wrote.
fn debuginfod_may_know(build_id_type: i32) -> bool {
    matches!(BuildIdType::try_from(build_id_type), Ok(BuildIdType::Gnu | BuildIdType::UnknownUnspecified))
}

fn to_proto(record: Record) -> ObjectFile {
    let size_bytes = record.stored().map_or(0, |stored| stored.size_bytes);
    let mut file = ObjectFile {
        r#type: type_of(record.kind) as i32,
        size_bytes,
        gnu_build_id: record.gnu_build_id.unwrap_or_default(),
        build_id: record.build_id,
        quality: record.quality.map(quality_to_proto),
        last_used: Some(time::to_proto(record.last_used_ns)),
        ..ObjectFile::default()
    };
    match record.state {
        State::Uploading(upload) => {
            file.set_state(object_file::State::Uploading);
            file.hash = upload.hash;
            file.upload_started = Some(time::to_proto(upload.started_ns));
        }
        State::Uploaded(upload) => {
            file.set_state(object_file::State::Uploaded);
            file.hash = upload.hash;
            file.upload_started = Some(time::to_proto(upload.started_ns));
        }
        State::Purged { .. } => file.set_state(object_file::State::Purged),
        State::Debuginfod { server, .. } => {
            file.set_state(object_file::State::Debuginfod);
            file.debuginfod_server = server;
        }
    }
    file
}

fn quality_to_proto(quality: RecordedQuality) -> Quality {
    let RecordedQuality { not_valid_elf, has_dwarf, has_go_pclntab, has_symtab, has_dynsym } = quality;
    Quality { not_valid_elf, has_dwarf, has_go_pclntab, has_symtab, has_dynsym }
}
