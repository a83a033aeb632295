//! `AgentsService`: who has pushed lately.

use std::{sync::Arc, time::Instant};

use decima_proto::parca::profilestore::v1alpha1::{
    Agent, AgentsRequest, AgentsResponse, agents_service_server,
};
use tonic::{Request, Response, Status};

use crate::{agents::Agents, time};

/// The service.
#[derive(Clone)]
pub(crate) struct AgentsService {
    agents: Arc<Agents>,
}

impl AgentsService {
    pub(crate) fn new(agents: Arc<Agents>) -> Self {
        Self { agents }
    }
}

#[tonic::async_trait]
impl agents_service_server::AgentsService for AgentsService {
    async fn agents(&self, _: Request<AgentsRequest>) -> Result<Response<AgentsResponse>, Status> {
        let agents = self.agents.list(Instant::now()).into_iter().map(|agent| Agent {
            id: agent.id,
            last_error: agent.last.error,
            last_push: Some(time::to_proto(agent.last.received_ns)),
            last_push_duration: Some(time::duration_to_proto(agent.last.took)),
        });
        Ok(Response::new(AgentsResponse { agents: agents.collect() }))
    }
}
