//! Sending the load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use decima_proto::parca::profilestore::v1alpha1::{
    Label, LabelSet, RawProfileSeries, RawSample, WriteRawRequest,
    profile_store_service_client::ProfileStoreServiceClient,
};
use decima_testkit::fleet::{Fleet, Request};

use crate::{ledger::Ledger, server::Server};

/// What was sent and how long it took.
pub(crate) struct Sent {
    /// What was acknowledged: everything, since a refusal ends the bench.
    pub(crate) ledger: Ledger,
    /// Bytes of the compressed profiles.
    pub(crate) bytes: usize,
    /// Time in which requests were in flight.
    pub(crate) wall: Duration,
    /// Time of each request, sorted.
    latencies: Vec<Duration>,
}

impl Sent {
    /// The time that this share of the requests stayed below.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Sends all profiles, interval by interval: those of one interval are built before they are sent.
pub(crate) async fn send(server: &Server, fleet: &Fleet, concurrency: usize) -> anyhow::Result<Sent> {
    let shape = fleet.shape();
    let mut sent = Sent { ledger: Ledger::default(), bytes: 0, wall: Duration::ZERO, latencies: Vec::new() };
    for interval in 0..shape.profiles_per_service {
        let requests = Arc::new(built(fleet, interval));
        let next = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let senders: Vec<_> = (0..concurrency.max(1))
            .map(|_| tokio::spawn(sender(server.channel(), requests.clone(), next.clone())))
            .collect();
        for sender in senders {
            sent.latencies.extend(sender.await??);
        }
        sent.wall += started.elapsed();
        for request in requests.iter() {
            sent.ledger.enter(request);
            sent.bytes += request.pprof.len();
        }
    }
    sent.latencies.sort_unstable();
    Ok(sent)
}

/// All profiles of one interval, built on two threads.
fn built(fleet: &Fleet, interval: usize) -> Vec<Request> {
    let services = fleet.shape().services;
    let half = services / 2;
    let build = |range: std::ops::Range<usize>| {
        range.map(|service| fleet.request(service, interval)).collect::<Vec<_>>()
    };
    let (mut first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| build(half..services));
        (build(0..half), other.join())
    });
    match second {
        Ok(second) => first.extend(second),
        Err(panic) => std::panic::resume_unwind(panic),
    }
    first
}

async fn sender(
    channel: tonic::transport::Channel,
    requests: Arc<Vec<Request>>,
    next: Arc<AtomicUsize>,
) -> anyhow::Result<Vec<Duration>> {
    let mut client = ProfileStoreServiceClient::new(channel);
    let mut latencies = Vec::new();
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let message = message(request);
        let started = Instant::now();
        client
            .write_raw(message)
            .await
            .with_context(|| format!("service {} was refused", request.service))?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

fn message(request: &Request) -> WriteRawRequest {
    let labels = request
        .labels
        .iter()
        .map(|(name, value)| Label { name: name.clone(), value: value.clone() })
        .collect();
    let sample = RawSample { raw_profile: request.pprof.clone().into(), executable_info: Vec::new() };
    let series = RawProfileSeries { labels: Some(LabelSet { labels }), samples: vec![sample] };
    WriteRawRequest { series: vec![series], ..WriteRawRequest::default() }
}
