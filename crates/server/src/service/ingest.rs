//! `IngestService`: who sends and what is scraped, with all that is known of it.

use std::{cmp::Reverse, sync::Arc, time::UNIX_EPOCH};

use decima_ingest::{
    discovery,
    push::{Sender as Pusher, Senders},
    scrape::{JobStatus, Scraper},
};
use decima_proto::decima::ingest::v1alpha1::{
    Counts, Discovery, Job, JobsRequest, JobsResponse, Refused, Rejected, Sender, SendersRequest,
    SendersResponse, ingest_service_server,
};
use tonic::{Request, Response, Status};

use crate::time;

/// Senders of one answer: more than anybody reads, and a few hundred kilobytes.
const SENDERS_MAX: usize = 1000;

/// The service.
#[derive(Clone)]
pub(crate) struct IngestService {
    senders: Arc<Senders>,
    scraper: Option<Scraper>,
}

impl IngestService {
    pub(crate) fn new(senders: Arc<Senders>, scraper: Option<Scraper>) -> Self {
        Self { senders, scraper }
    }
}

#[tonic::async_trait]
impl ingest_service_server::IngestService for IngestService {
    async fn senders(&self, _: Request<SendersRequest>) -> Result<Response<SendersResponse>, Status> {
        Ok(Response::new(senders(self.senders.all())))
    }

    async fn jobs(&self, _: Request<JobsRequest>) -> Result<Response<JobsResponse>, Status> {
        let jobs = self.scraper.as_ref().map(Scraper::jobs).unwrap_or_default();
        Ok(Response::new(JobsResponse { jobs: jobs.into_iter().map(job).collect() }))
    }
}

/// Those in trouble first, then those that were heard of last.
fn senders(mut senders: Vec<Pusher>) -> SendersResponse {
    let total = senders.len() as u64;
    senders.sort_by_key(|sender| (sender.error.is_empty(), Reverse(sender.received_ns)));
    senders.truncate(SENDERS_MAX);
    SendersResponse { senders: senders.into_iter().map(sender).collect(), total }
}

fn sender(sender: Pusher) -> Sender {
    let counts = sender.counts.iter().map(|(protocol, counts)| Counts {
        protocol: protocol.name().to_owned(),
        accepted_requests: counts.accepted_requests,
        samples: counts.samples,
        rejected_samples: counts.rejected_samples,
        repaired_strings: counts.repaired_strings,
        refused: counts
            .refused_requests
            .iter()
            .map(|(reason, &requests)| Refused { reason: reason.name().to_owned(), requests })
            .collect(),
        rejected_profiles: counts
            .rejected_profiles
            .iter()
            .map(|(reason, &profiles)| Rejected { reason: reason.name().to_owned(), profiles })
            .collect(),
    });
    Sender {
        counts: counts.collect(),
        node: sender.node,
        address: sender.address.map(|address| address.to_string()).unwrap_or_default(),
        last_error: sender.error,
        last_push: Some(time::to_proto(sender.received_ns)),
        last_push_duration: Some(time::duration_to_proto(sender.took)),
    }
}

fn job(status: JobStatus) -> Job {
    Job {
        name: status.job,
        good: status.good as u64,
        bad: status.bad as u64,
        unknown: status.unknown as u64,
        dropped: status.dropped as u64,
        left_out: status.left_out as u64,
        error: status.error,
        discoveries: status.discoveries.into_iter().map(discovery).collect(),
    }
}

fn discovery(status: discovery::Status) -> Discovery {
    let unix_ns = |time: std::time::SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    };
    Discovery {
        kind: status.kind.to_owned(),
        subject: status.subject,
        targets: status.targets as u64,
        last_success: status.last_success.map(|time| time::to_proto(unix_ns(time))),
        last_error: status.last_error,
        failures: status.failures,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, Instant},
    };

    use decima_ingest::push::{Protocol, Refusal, SenderCounts};

    use super::*;

    fn pusher(node: &str, received_ns: i64, error: &str) -> Pusher {
        let counts = SenderCounts {
            accepted_requests: 3,
            samples: 20,
            repaired_strings: 1,
            refused_requests: BTreeMap::from([(Refusal::Malformed, 2)]),
            rejected_profiles: BTreeMap::from([(Refusal::OutOfRange, 5)]),
            ..SenderCounts::default()
        };
        Pusher {
            node: node.to_owned(),
            address: Some([10, 0, 0, 1].into()),
            received: Instant::now(),
            received_ns,
            took: Duration::from_millis(4),
            error: error.to_owned(),
            named: true,
            counts: BTreeMap::from([(Protocol::WriteArrow, counts)]),
        }
    }

    #[test]
    fn those_in_trouble_are_first_and_there_is_a_bound() {
        let mut all =
            vec![pusher("old", 1_000_000_000, ""), pusher("new", 2_000_000_000, ""), pusher("bad", 0, "no")];
        let answer = senders(all.clone());
        let nodes: Vec<_> = answer.senders.iter().map(|sender| sender.node.as_str()).collect();
        assert_eq!((nodes, answer.total), (vec!["bad", "new", "old"], 3));
        let bad = &answer.senders[0];
        assert_eq!((bad.address.as_str(), bad.last_error.as_str()), ("10.0.0.1", "no"));
        let counts = &bad.counts[0];
        assert_eq!(
            (counts.protocol.as_str(), counts.accepted_requests, counts.samples),
            ("write_arrow", 3, 20)
        );
        assert_eq!(counts.refused, [Refused { reason: "malformed".to_owned(), requests: 2 }]);
        assert_eq!(counts.rejected_profiles, [Rejected { reason: "out_of_range".to_owned(), profiles: 5 }]);
        all.resize(SENDERS_MAX + 5, pusher("more", 3, ""));
        let answer = senders(all);
        assert_eq!((answer.senders.len(), answer.total), (SENDERS_MAX, SENDERS_MAX as u64 + 5));
        assert_eq!(answer.senders[0].node, "bad");
    }
}
