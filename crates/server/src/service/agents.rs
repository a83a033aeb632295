//! `AgentsService`: who has pushed lately.

use std::time::Instant;

use decima_proto::parca::profilestore::v1alpha1::{
    Agent, AgentsRequest, AgentsResponse, agents_service_server,
};
use tonic::{Request, Response, Status};

use super::Way;
use crate::time;

/// The service.
#[derive(Clone)]
pub(crate) struct AgentsService {
    way: Way,
}

impl AgentsService {
    pub(crate) fn new(way: Way) -> Self {
        Self { way }
    }
}

#[tonic::async_trait]
impl agents_service_server::AgentsService for AgentsService {
    async fn agents(&self, _: Request<AgentsRequest>) -> Result<Response<AgentsResponse>, Status> {
        let senders = match &self.way {
            Way::Store(push) => push.recent_senders(Instant::now()),
            Way::Forward(forwarder) => forwarder.recent_senders(Instant::now()),
        };
        let agents = senders.into_iter().map(|sender| Agent {
            id: sender.id(),
            last_error: sender.error,
            last_push: Some(time::to_proto(sender.received_ns)),
            last_push_duration: Some(time::duration_to_proto(sender.took)),
        });
        Ok(Response::new(AgentsResponse { agents: agents.collect() }))
    }
}
