//! `ScrapeService`: what is scraped.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use decima_config::labels::Labels;
use decima_ingest::scrape::{Scraper, TargetHealth, TargetState, TargetStatus};
use decima_proto::parca::{
    profilestore::v1alpha1::{Label, LabelSet},
    scrape::v1alpha1::{
        Target, Targets, TargetsRequest, TargetsResponse, scrape_service_server, target::Health,
        targets_request::State,
    },
};
use tonic::{Request, Response, Status};

use crate::time;

/// The service.
#[derive(Clone)]
pub(crate) struct ScrapeService {
    scraper: Option<Scraper>,
}

impl ScrapeService {
    /// Tells about the targets of a scraper, or that there are none.
    pub(crate) fn new(scraper: Option<Scraper>) -> Self {
        Self { scraper }
    }
}

#[tonic::async_trait]
impl scrape_service_server::ScrapeService for ScrapeService {
    async fn targets(&self, request: Request<TargetsRequest>) -> Result<Response<TargetsResponse>, Status> {
        let state = from_proto(&request.into_inner())?;
        let statuses = self.scraper.as_ref().map(|scraper| scraper.targets(state)).unwrap_or_default();
        Ok(Response::new(to_proto(statuses)))
    }
}

fn from_proto(request: &TargetsRequest) -> Result<TargetState, Status> {
    match State::try_from(request.state) {
        Ok(State::AnyUnspecified) => Ok(TargetState::Any),
        Ok(State::Active) => Ok(TargetState::Active),
        Ok(State::Dropped) => Ok(TargetState::Dropped),
        Err(_) => Err(Status::invalid_argument(format!("state: {} is not known", request.state))),
    }
}

fn to_proto(statuses: Vec<TargetStatus>) -> TargetsResponse {
    let mut targets: HashMap<String, Targets> = HashMap::new();
    for status in statuses {
        targets.entry(status.job.clone()).or_default().targets.push(target(status));
    }
    TargetsResponse { targets }
}

fn target(status: TargetStatus) -> Target {
    let health = match status.health {
        TargetHealth::Unknown => Health::UnknownUnspecified,
        TargetHealth::Good => Health::Good,
        TargetHealth::Bad => Health::Bad,
    };
    Target {
        discovered_labels: Some(label_set(status.discovered_labels)),
        labels: Some(label_set(status.labels)),
        last_error: status.last_error,
        last_scrape: status.last_scrape.map(unix_time),
        last_scrape_duration: status
            .last_scrape
            .map(|_| time::duration_to_proto(status.last_scrape_duration)),
        url: status.url,
        health: health as i32,
    }
}

fn label_set(labels: Labels) -> LabelSet {
    LabelSet { labels: labels.into_iter().map(|(name, value)| Label { name, value }).collect() }
}

fn unix_time(time: SystemTime) -> prost_types::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    time::to_proto(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(job: &str) -> TargetStatus {
        TargetStatus {
            job: job.to_owned(),
            discovered_labels: Labels::new(),
            labels: Labels::from([("job".to_owned(), job.to_owned())]),
            active: true,
            url: "http://x/debug/pprof/heap".to_owned(),
            health: TargetHealth::Unknown,
            last_error: String::new(),
            last_scrape: None,
            last_scrape_duration: Duration::ZERO,
        }
    }

    #[test]
    fn targets_by_job() {
        let scraped = TargetStatus {
            last_scrape: Some(UNIX_EPOCH + Duration::from_millis(1500)),
            last_scrape_duration: Duration::from_millis(20),
            health: TargetHealth::Bad,
            last_error: "no".to_owned(),
            ..status("a")
        };
        let targets = to_proto(vec![status("a"), status("b"), scraped]).targets;
        assert_eq!(targets["a"].targets.len(), 2);
        assert_eq!(targets["b"].targets.len(), 1);
        let (first, last) = (&targets["a"].targets[0], &targets["a"].targets[1]);
        assert_eq!((first.last_scrape, first.last_scrape_duration), (None, None));
        assert_eq!(last.last_scrape, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
        assert_eq!((last.health(), last.last_error.as_str()), (Health::Bad, "no"));
    }

    #[test]
    fn unknown_states_are_refused() {
        assert_eq!(from_proto(&TargetsRequest { state: 1 }).unwrap(), TargetState::Active);
        assert_eq!(
            from_proto(&TargetsRequest { state: 7 }).unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }
}
