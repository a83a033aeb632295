//! `AgentsService`: who has pushed lately.

use std::{sync::Arc, time::Instant};

use decima_ingest::push::Senders;
use decima_proto::parca::profilestore::v1alpha1::{
    Agent, AgentsRequest, AgentsResponse, agents_service_server,
};
use tonic::{Request, Response, Status};

use crate::time;

/// The service.
#[derive(Clone)]
pub(crate) struct AgentsService {
    senders: Arc<Senders>,
}

impl AgentsService {
    pub(crate) fn new(senders: Arc<Senders>) -> Self {
        Self { senders }
    }
}

#[tonic::async_trait]
impl agents_service_server::AgentsService for AgentsService {
    async fn agents(&self, _: Request<AgentsRequest>) -> Result<Response<AgentsResponse>, Status> {
        let agents = self.senders.recent(Instant::now()).into_iter().map(|sender| Agent {
            id: sender.id(),
            last_error: sender.error,
            last_push: Some(time::to_proto(sender.received_ns)),
            last_push_duration: Some(time::duration_to_proto(sender.took)),
        });
        Ok(Response::new(AgentsResponse { agents: agents.collect() }))
    }
}
