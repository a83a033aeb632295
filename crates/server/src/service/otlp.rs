//! `ProfilesService`: OpenTelemetry's way in, over gRPC.

use std::sync::Arc;

use bytes::Bytes;
use decima_ingest::{
    otlp::Layout,
    push::{Exported, Origin, Protocol},
};
use decima_proto::{
    Encoded,
    opentelemetry::v1development::{
        ExportProfilesPartialSuccess, ExportProfilesServiceResponse, profiles_service_server,
    },
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Request, Response, Status};
use xxhash_rust::xxh3::Xxh3;

use super::{Way, origin};
use crate::status;

/// The service.
#[derive(Clone)]
pub(crate) struct ProfilesService {
    way: Way,
    permits: Arc<Semaphore>,
}

impl ProfilesService {
    /// As many writes are worked on at once as there are `permits`.
    pub(crate) fn new(way: Way, permits: Arc<Semaphore>) -> Self {
        Self { way, permits }
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.permits.acquire().await.map_err(|_| Status::unavailable("the server is stopping"))
    }

    /// Stores an encoded request, or sends it on. `layout` is known if it was JSON.
    pub(crate) async fn store(
        &self,
        message: Bytes,
        layout: Option<Layout>,
        origin: &Origin,
    ) -> Result<ExportProfilesServiceResponse, Status> {
        let push = match &self.way {
            Way::Store(push) => push,
            Way::Forward(forwarder) => {
                let _permit = self.permit().await?;
                forwarder
                    .export(message, layout, origin)
                    .await
                    .map_err(|error| status::of_forward(&error))?;
                return Ok(ExportProfilesServiceResponse::default());
            }
        };
        let mut hash = Xxh3::new();
        hash.update(b"opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export");
        hash.update(&message);
        let _permit = self.permit().await?;
        let exported = push
            .export(message, layout, origin, Some(hash.digest128()))
            .await
            .map_err(|error| status::of_push(&error))?;
        Ok(to_proto(&exported))
    }
}

#[tonic::async_trait]
impl profiles_service_server::ProfilesService for ProfilesService {
    async fn export(
        &self,
        request: Request<Encoded>,
    ) -> Result<Response<ExportProfilesServiceResponse>, Status> {
        let origin = origin(Protocol::OtlpGrpc, request.extensions());
        let Encoded(message) = request.into_inner();
        Ok(Response::new(self.store(message, None, &origin).await?))
    }
}

/// Says what was left out, if anything was. Samples are told in words: the message counts profiles.
fn to_proto(exported: &Exported) -> ExportProfilesServiceResponse {
    let rejected_samples = exported.appended.rejected;
    let mut error_message = exported.rejection.clone();
    if rejected_samples > 0 {
        if !error_message.is_empty() {
            error_message.push_str("; ");
        }
        error_message.push_str(&format!("{rejected_samples} samples are too old or too far in the future"));
    }
    let rejected_profiles = i64::try_from(exported.rejected_profiles).unwrap_or(i64::MAX);
    let partial_success = (rejected_profiles > 0 || !error_message.is_empty())
        .then_some(ExportProfilesPartialSuccess { rejected_profiles, error_message });
    ExportProfilesServiceResponse { partial_success }
}
