//! `ScrapeService`: what is scraped.

use decima_proto::parca::scrape::v1alpha1::{TargetsRequest, TargetsResponse, scrape_service_server};
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub(crate) struct ScrapeService {}

#[tonic::async_trait]
impl scrape_service_server::ScrapeService for ScrapeService {
    async fn targets(&self, _: Request<TargetsRequest>) -> Result<Response<TargetsResponse>, Status> {
        Ok(Response::new(TargetsResponse::default()))
    }
}
