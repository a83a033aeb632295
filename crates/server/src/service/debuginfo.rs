//! `DebuginfoService`: object files from senders; and `ObjectFileService`: which ones there are.

use std::{sync::Arc, time::Duration};

use decima_debuginfo::{
    Debuginfo, UploadSink,
    decision::Proposal,
    record::{FileKind, Record, RecordedQuality, State},
};
use decima_proto::{
    decima::debuginfo::v1alpha1::{
        ListRequest, ListResponse, ObjectFile, Quality, object_file, object_file_service_server,
    },
    parca::debuginfo::v1alpha1::{
        BuildIdType, DebuginfoType, InitiateUploadRequest, InitiateUploadResponse, MarkUploadFinishedRequest,
        MarkUploadFinishedResponse, ShouldInitiateUploadRequest, ShouldInitiateUploadResponse, UploadInfo,
        UploadInstructions, UploadRequest, UploadResponse, debuginfo_service_server, upload_instructions,
        upload_request::Data,
    },
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use crate::{status, time};

/// Uploads that are received at once; others wait. An agent sends up to 25 at a time in chunks of 8 MiB, and each holds two
/// parts that are being written beside the chunk.
const UPLOADS_MAX: usize = 16;

/// Where object files are.
#[derive(Clone)]
pub(crate) enum Files {
    /// Here.
    Here(Arc<Debuginfo>),
    /// In the store to which this process sends everything on.
    There(decima_forward::Debuginfo),
}

/// Both services.
#[derive(Clone)]
pub(crate) struct DebuginfoService {
    files: Files,
    uploads: Arc<Semaphore>,
}

impl DebuginfoService {
    pub(crate) fn new(files: Files) -> Self {
        Self { files, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }

    async fn receive(
        &self,
        debuginfo: &Debuginfo,
        mut requests: Streaming<UploadRequest>,
    ) -> Result<UploadResponse, Status> {
        let first = requests.message().await?.and_then(|request| request.data);
        let Some(Data::Info(UploadInfo { build_id, upload_id, r#type })) = first else {
            return Err(Status::invalid_argument("the first message must be info, which says what follows"));
        };
        let kind = kind(r#type)?;
        let stopping = |_| Status::unavailable("the server is stopping");
        let _upload = self.uploads.acquire().await.map_err(stopping)?;
        let mut sink = debuginfo.upload(&build_id, kind, &upload_id).await.map_err(refused)?;
        match fill(&mut sink, &mut requests).await {
            Ok(()) => {
                let size = sink.finish().await.map_err(refused)?;
                Ok(UploadResponse { build_id, size })
            }
            Err(failure) => {
                sink.abort().await;
                Err(failure)
            }
        }
    }
}

/// Receives chunks until the sender has sent all.
async fn fill(sink: &mut UploadSink<'_>, requests: &mut Streaming<UploadRequest>) -> Result<(), Status> {
    while let Some(request) = requests.message().await? {
        match request.data {
            Some(Data::ChunkData(chunk)) => sink.write(chunk).await.map_err(refused)?,
            // An empty chunk is no field at all in some encoders.
            None => {}
            Some(Data::Info(_)) => {
                return Err(Status::invalid_argument("info came again; after the first message come chunks"));
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
        let debuginfo = match &self.files {
            Files::Here(debuginfo) => debuginfo,
            Files::There(remote) => {
                return remote.should_initiate_upload(request.into_inner()).await.map(Response::new);
            }
        };
        let request = request.into_inner();
        let proposal = Proposal { hash: &request.hash, force: request.force };
        let reason = debuginfo
            .should_initiate(
                &request.build_id,
                kind(request.r#type)?,
                proposal,
                debuginfod_may_know(request.build_id_type),
            )
            .await
            .map_err(refused)?;
        Ok(Response::new(ShouldInitiateUploadResponse {
            should_initiate_upload: reason.wants_upload(),
            reason: reason.as_str().to_owned(),
        }))
    }

    async fn initiate_upload(
        &self,
        request: Request<InitiateUploadRequest>,
    ) -> Result<Response<InitiateUploadResponse>, Status> {
        let debuginfo = match &self.files {
            Files::Here(debuginfo) => debuginfo,
            Files::There(remote) => {
                return remote.initiate_upload(request.into_inner()).await.map(Response::new);
            }
        };
        let request = request.into_inner();
        let proposal = Proposal { hash: &request.hash, force: request.force };
        let size_bytes =
            u64::try_from(request.size).map_err(|_| Status::invalid_argument("size: is below 0"))?;
        let initiated = debuginfo
            .initiate(
                &request.build_id,
                kind(request.r#type)?,
                proposal,
                size_bytes,
                debuginfod_may_know(request.build_id_type),
            )
            .await
            .map_err(refused)?;
        Ok(Response::new(InitiateUploadResponse {
            upload_instructions: Some(UploadInstructions {
                build_id: request.build_id,
                upload_id: initiated.upload_id,
                upload_strategy: upload_instructions::UploadStrategy::Grpc as i32,
                signed_url: String::new(),
                r#type: request.r#type,
            }),
        }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<UploadRequest>>,
    ) -> Result<Response<UploadResponse>, Status> {
        let debuginfo = match &self.files {
            Files::Here(debuginfo) => debuginfo,
            Files::There(remote) => {
                let stopping = |_| Status::unavailable("the server is stopping");
                let _upload = self.uploads.acquire().await.map_err(stopping)?;
                return remote.upload(request.into_inner()).await.map(Response::new);
            }
        };
        let within: Duration = debuginfo.upload_max_duration();
        match tokio::time::timeout(within, self.receive(debuginfo, request.into_inner())).await {
            Ok(received) => received.map(Response::new),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "the upload took longer than {}",
                humantime::format_duration(within)
            ))),
        }
    }

    async fn mark_upload_finished(
        &self,
        request: Request<MarkUploadFinishedRequest>,
    ) -> Result<Response<MarkUploadFinishedResponse>, Status> {
        let debuginfo = match &self.files {
            Files::Here(debuginfo) => debuginfo,
            Files::There(remote) => {
                return remote.mark_upload_finished(request.into_inner()).await.map(Response::new);
            }
        };
        let MarkUploadFinishedRequest { build_id, upload_id, r#type } = request.into_inner();
        debuginfo.finish(&build_id, kind(r#type)?, &upload_id).await.map_err(refused)?;
        Ok(Response::new(MarkUploadFinishedResponse {}))
    }
}

#[tonic::async_trait]
impl object_file_service_server::ObjectFileService for DebuginfoService {
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let Files::Here(debuginfo) = &self.files else {
            return Err(Status::unimplemented("this process forwards object files and keeps none"));
        };
        let ListRequest { build_id } = request.into_inner();
        let records = if build_id.is_empty() {
            debuginfo.list()
        } else {
            debuginfo.records_of(&build_id).map_err(refused)?
        };
        let object_files = records.into_iter().map(to_proto).collect();
        Ok(Response::new(ListResponse { object_files }))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "has the shape that map_err wants")]
fn refused(error: decima_debuginfo::DebuginfoError) -> Status {
    status::of_debuginfo(&error)
}

fn kind(r#type: i32) -> Result<FileKind, Status> {
    match DebuginfoType::try_from(r#type) {
        Ok(DebuginfoType::DebuginfoUnspecified) => Ok(FileKind::Debuginfo),
        Ok(DebuginfoType::Executable) => Ok(FileKind::Executable),
        Ok(DebuginfoType::Sources) => Ok(FileKind::Sources),
        Ok(DebuginfoType::SourceMap) => Ok(FileKind::SourceMap),
        Err(_) => Err(Status::invalid_argument(format!("type: {} is none of 0 to 3", r#type))),
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
