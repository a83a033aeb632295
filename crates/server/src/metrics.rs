//! What `/metrics` shows, in Prometheus' text format: requests counted here, the store's and the scraper's own numbers,
//! asked for when somebody looks.

mod forward;
mod store;

use std::{
    fmt::{self, Debug, Formatter},
    fs,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use decima_debuginfo::Debuginfo;
use decima_forward::Forwarder;
use decima_ingest::{
    discovery,
    push::{Counts, Push, SenderCounts, Senders},
    scrape::{JobStatus, Scraper},
};
use decima_query::{Symbolizer, SymbolizerCounts};
use decima_store::Store;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tonic::Code;

use crate::status;

/// What a configuration file is called that is followed ([`Server::follow`](crate::Server::follow)).
pub const CONFIG: &str = "config";

/// Media type of [`Metrics::render`].
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    protocol: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: &'static str,
}

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC or gRPC-Web.
    Grpc,
    /// The REST gateway.
    Rest,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Rest => "rest",
        }
    }
}

/// The numbers. Made once per server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<MethodLabels, Histogram, fn() -> Histogram>,
    refused: Family<ReasonLabels, Counter>,
    reload_good: Family<ReloadLabels, Gauge>,
    reload_failures: Family<ReloadLabels, Counter>,
    reload_success_time: Family<ReloadLabels, Gauge>,
    parca_reload_good: Family<Vec<(String, String)>, Gauge>,
    parca_reload_success_time: Family<Vec<(String, String)>, Gauge>,
    sources: Sources,
    /// Whether the store is open and answers.
    pub(crate) ready: Gauge,
    /// Open connections.
    pub(crate) connections: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations: Family<MethodLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 9)));
        let (ready, connections) = (Gauge::default(), Gauge::default());
        let refused = Family::default();
        let (reload_good, reload_failures) = (Family::default(), Family::default());
        let reload_success_time = Family::default();
        let (parca_reload_good, parca_reload_success_time) = (Family::default(), Family::default());
        let sources = Sources::default();
        let build = Gauge::<i64>::default();
        build.set(1);
        registry.register_collector(Box::new(Process));
        // By Parca's names, for the dashboards that there are.
        registry.register(
            "parca_config_last_reload_successful",
            "1 while the configuration file is right",
            parca_reload_good.clone(),
        );
        registry.register(
            "parca_config_last_reload_success_timestamp_seconds",
            "When the configuration was last taken, as Unix time",
            parca_reload_success_time.clone(),
        );
        let ours = registry.sub_registry_with_prefix("decima");
        ours.register("requests", "Requests by method, way in and outcome", requests.clone());
        ours.register(
            "request_duration_seconds",
            "Time from a request's head to the head of its answer",
            durations.clone(),
        );
        ours.register("ready", "1 once every acknowledged sample can be queried", ready.clone());
        ours.register("requests_not_let_in", "Requests without the right token or origin", refused.clone());
        ours.register("reload_good", "1 while the files that are reloaded are right", reload_good.clone());
        ours.register(
            "reload_failures",
            "Changes of these files that could not be used",
            reload_failures.clone(),
        );
        ours.register(
            "reload_last_success_timestamp_seconds",
            "When these files were last taken, as Unix time",
            reload_success_time.clone(),
        );
        ours.register("connections", "Open connections", connections.clone());
        ours.register_collector(Box::new(sources.clone()));
        ours.sub_registry_with_label(("version".into(), env!("CARGO_PKG_VERSION").into())).register(
            "build_info",
            "The program that runs",
            build,
        );
        Self {
            registry,
            requests,
            durations,
            refused,
            reload_good,
            reload_failures,
            reload_success_time,
            parca_reload_good,
            parca_reload_success_time,
            sources,
            ready,
            connections,
        }
    }

    /// Shows the numbers of a store from now on. Only the first one counts.
    pub(crate) fn show_store(&self, store: Store) {
        let _ = self.sources.store.set(store);
    }

    /// Shows what came in by `push` from now on. Only the first one counts.
    pub(crate) fn show_push(&self, push: Push) {
        let _ = self.sources.push.set(push);
    }

    /// Shows what `forwarder` sends on from now on. Only the first one counts.
    pub(crate) fn show_forwarder(&self, forwarder: Forwarder) {
        let _ = self.sources.forwarder.set(forwarder);
    }

    /// Shows the targets of a scraper from now on. Only the first one counts.
    pub(crate) fn show_scraper(&self, scraper: Scraper) {
        let _ = self.sources.scraper.set(scraper);
    }

    /// Shows what is held of object files from now on. Only the first one counts.
    pub(crate) fn show_debuginfo(&self, debuginfo: Arc<Debuginfo>) {
        let _ = self.sources.debuginfo.set(debuginfo);
    }

    /// Shows what became of addresses from now on. Only the first one counts.
    pub(crate) fn show_symbolizer(&self, symbolizer: Symbolizer) {
        let _ = self.sources.symbolizer.set(symbolizer);
    }

    /// Counts a request. `method` must come from a bounded set.
    pub(crate) fn request(&self, method: &str, protocol: Protocol, code: Code, took: Duration) {
        let labels = RequestLabels {
            method: method.to_owned(),
            protocol: protocol.name(),
            code: status::code_name(code),
        };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&MethodLabels { method: method.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a request that was not let in.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// The files of this name are right.
    pub(crate) fn reloaded(&self, what: &'static str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.reload_good.get_or_create(&ReloadLabels { what }).set(1);
        self.reload_success_time.get_or_create(&ReloadLabels { what }).set(now_s);
        // Shown from the start, so that an increase can be seen.
        let _ = self.reload_failures.get_or_create(&ReloadLabels { what });
        if what == CONFIG {
            self.parca_reload_good.get_or_create(&Vec::new()).set(1);
            self.parca_reload_success_time.get_or_create(&Vec::new()).set(now_s);
        }
    }

    /// The files of this name have changed and cannot be used.
    pub(crate) fn not_reloaded(&self, what: &'static str) {
        self.reload_good.get_or_create(&ReloadLabels { what }).set(0);
        self.reload_failures.get_or_create(&ReloadLabels { what }).inc();
        if what == CONFIG {
            self.parca_reload_good.get_or_create(&Vec::new()).set(0);
        }
    }

    /// All numbers as text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        match text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a string does not fail.
            Err(fmt::Error) => String::new(),
        }
    }
}

/// Parts of the program that keep numbers of their own.
#[derive(Clone, Default)]
struct Sources {
    push: Arc<OnceLock<Push>>,
    store: Arc<OnceLock<Store>>,
    forwarder: Arc<OnceLock<Forwarder>>,
    scraper: Arc<OnceLock<Scraper>>,
    debuginfo: Arc<OnceLock<Arc<Debuginfo>>>,
    symbolizer: Arc<OnceLock<Symbolizer>>,
}

impl Debug for Sources {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        if let Some(push) = self.push.get() {
            encode_push(&mut encoder, &push.counts())?;
            encode_senders(&mut encoder, push.senders())?;
        }
        if let Some(store) = self.store.get() {
            store::encode(&mut encoder, &store.counts())?;
        }
        if let Some(forwarder) = self.forwarder.get() {
            forward::encode(&mut encoder, &forwarder.counts())?;
            encode_senders(&mut encoder, forwarder.senders())?;
        }
        if let Some(scraper) = self.scraper.get() {
            encode_targets(&mut encoder, scraper)?;
        }
        if let Some(debuginfo) = self.debuginfo.get() {
            let sizes = debuginfo.list();
            let sizes: Vec<_> = sizes.iter().filter_map(|record| Some(record.stored()?.size_bytes)).collect();
            encode_gauge(&mut encoder, "object_files", "Object files that are held", sizes.len() as u64)?;
            encode_gauge(&mut encoder, "object_file_bytes", "Size of all object files", sizes.iter().sum())?;
        }
        if let Some(symbolizer) = self.symbolizer.get() {
            encode_symbolizer(&mut encoder, &symbolizer.counts())?;
        }
        Ok(())
    }
}

fn encode_push(encoder: &mut DescriptorEncoder, counts: &Counts) -> Result<(), fmt::Error> {
    let counters = [
        (
            "writes_accepted",
            "Requests that were stored, were repeats, or had no samples",
            counts.accepted_requests,
        ),
        ("writes_duplicate", "Requests that were stored before and added nothing", counts.duplicate_requests),
        ("writes_refused", "Requests refused because they were wrong", counts.refused_requests),
        ("writes_failed", "Requests that the store did not take", counts.failed_requests),
        ("profiles_received", "Profiles decoded", counts.profiles),
        ("profile_bytes_received", "Bytes of these profiles as received", counts.received_bytes),
        ("samples_accepted", "Samples stored", counts.samples),
        ("samples_rejected", "Samples left out because of their time", counts.rejected_samples),
        ("strings_repaired", "Strings with bytes that were not UTF-8, replaced", counts.repaired_strings),
    ];
    encode_counters(encoder, &counters)
}

/// One of a sender's numbers.
type SenderNumber = fn(&SenderCounts) -> u64;

/// What became of each sender's requests, by way in; those without numbers of their own are `others`.
fn encode_senders(encoder: &mut DescriptorEncoder, senders: &Senders) -> Result<(), fmt::Error> {
    let (senders, others) = (senders.all(), senders.others());
    let counted = || {
        let named = senders.iter().filter(|sender| sender.named).flat_map(|sender| {
            let address = sender.address.map(|address| address.to_string()).unwrap_or_default();
            sender.counts.iter().map(move |counted| (sender.id(), address.clone(), counted))
        });
        let others = others.iter().map(|counted| ("others".to_owned(), String::new(), counted));
        named.chain(others).map(|(sender, address, (protocol, counts))| {
            let protocol = protocol.name().to_owned();
            ([("sender", sender), ("address", address), ("protocol", protocol)], counts)
        })
    };
    let mut family =
        encoder.encode_descriptor("sender_writes", "Requests of a sender", None, MetricType::Counter)?;
    for (labels, counts) in counted() {
        let accepted = ("accepted", "", counts.accepted_requests);
        let refused =
            counts.refused_requests.iter().map(|(reason, &count)| ("refused", reason.name(), count));
        for (outcome, reason, count) in refused.chain([accepted]) {
            let [sender, address, protocol] = &labels;
            let labels = [
                (sender.0, sender.1.as_str()),
                (address.0, address.1.as_str()),
                (protocol.0, protocol.1.as_str()),
                ("outcome", outcome),
                ("reason", reason),
            ];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let mut family = encoder.encode_descriptor(
        "sender_profiles_rejected",
        "Profiles left out of requests of a sender that were taken",
        None,
        MetricType::Counter,
    )?;
    for (labels, counts) in counted() {
        for (reason, &count) in &counts.rejected_profiles {
            let [sender, address, protocol] = &labels;
            let labels = [
                (sender.0, sender.1.as_str()),
                (address.0, address.1.as_str()),
                (protocol.0, protocol.1.as_str()),
                ("reason", reason.name()),
            ];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let numbers: [(&str, &str, SenderNumber); 3] = [
        ("sender_samples_accepted", "Samples of a sender that were stored", |counts| counts.samples),
        (
            "sender_samples_rejected",
            "Samples of a sender that were left out because of their time",
            |counts| counts.rejected_samples,
        ),
        (
            "sender_strings_repaired",
            "Strings of a sender with bytes that were not UTF-8, replaced",
            |counts| counts.repaired_strings,
        ),
    ];
    for (name, help, number) in numbers {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, counts) in counted() {
            ConstCounter::new(number(counts)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_symbolizer(encoder: &mut DescriptorEncoder, counts: &SymbolizerCounts) -> Result<(), fmt::Error> {
    encode_gauge(
        encoder,
        "symbolizer_bytes",
        "Memory of what was read of object files",
        counts.memory_bytes,
    )?;
    encode_gauge(
        encoder,
        "symbolizer_kept_bytes",
        "Functions of addresses that are kept on disk",
        counts.kept_bytes,
    )?;
    let mut family = encoder.encode_descriptor(
        "addresses_symbolized",
        "Addresses that queries and flushes asked for, each once for every outcome that it had",
        None,
        MetricType::Counter,
    )?;
    let unresolved = counts.unresolved.iter().map(|(reason, count)| (reason.as_str(), *count));
    for (outcome, count) in unresolved.chain([("resolved", counts.resolved)]) {
        ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
    }
    Ok(())
}

fn encode_targets(encoder: &mut DescriptorEncoder, scraper: &Scraper) -> Result<(), fmt::Error> {
    let jobs = scraper.jobs();
    let sum = |number: fn(&JobStatus) -> usize| jobs.iter().map(number).sum::<usize>() as u64;
    let gauges = [
        ("scrape_targets", "Targets that are scraped", sum(|job| job.good + job.bad + job.unknown)),
        ("scrape_targets_good", "Targets whose last profile was stored", sum(|job| job.good)),
        ("scrape_targets_bad", "Targets whose last profile was not", sum(|job| job.bad)),
        ("scrape_targets_left_out", "Targets beyond the bound of a job", sum(|job| job.left_out)),
    ];
    for (name, help, amount) in gauges {
        encode_gauge(encoder, name, help, amount)?;
    }
    encode_discoveries(encoder, &jobs)
}

/// One of a discovery's numbers.
type DiscoveryNumber = fn(&discovery::Status) -> u64;

/// How discoveries go, by job and by kind and number within the job.
fn encode_discoveries(encoder: &mut DescriptorEncoder, jobs: &[JobStatus]) -> Result<(), fmt::Error> {
    let gauges: [(&str, &str, DiscoveryNumber); 2] = [
        ("discovery_targets", "Targets found, before relabelling", |discovery| discovery.targets as u64),
        ("discovery_good", "1 while a discovery knows everything that there is to know", |discovery| {
            u64::from(discovery.last_error.is_empty() && discovery.last_success.is_some())
        }),
    ];
    let each = || {
        jobs.iter().flat_map(|job| {
            let discoveries = job.discoveries.iter().enumerate();
            discoveries.map(|(index, discovery)| {
                let name = format!("{}/{index}", discovery.kind);
                ([("job", job.job.clone()), ("discovery", name)], discovery)
            })
        })
    };
    for (name, help, number) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, discovery) in each() {
            let amount = i64::try_from(number(discovery)).unwrap_or(i64::MAX);
            ConstGauge::new(amount).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Attempts of a discovery that did not tell everything";
    let mut family = encoder.encode_descriptor("discovery_failures", help, None, MetricType::Counter)?;
    for (labels, discovery) in each() {
        ConstCounter::new(discovery.failures).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_counters(
    encoder: &mut DescriptorEncoder,
    counters: &[(&str, &str, u64)],
) -> Result<(), fmt::Error> {
    for &(name, help, count) in counters {
        let counter = ConstCounter::new(count);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
    }
    Ok(())
}

fn encode_gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    amount: u64,
) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(i64::try_from(amount).unwrap_or(i64::MAX));
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

/// The process, as far as Linux tells.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        match resident_bytes(&status) {
            Some(bytes) => {
                encode_gauge(&mut encoder, "process_resident_memory_bytes", "Memory of the process", bytes)
            }
            None => Ok(()),
        }
    }
}

/// `VmRSS:    1234 kB`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::new();
        metrics.request(
            "parca.query.v1alpha1.QueryService/Query",
            Protocol::Rest,
            Code::NotFound,
            Duration::ZERO,
        );
        let text = metrics.render();
        let expected = [
            r#"decima_requests_total{method="parca.query.v1alpha1.QueryService/Query",protocol="rest",code="NotFound"} 1"#,
            "decima_ready 0",
            "# EOF",
        ];
        for line in expected {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn memory_of_the_process() {
        let check =
            |status: &str, expected: Option<u64>| assert_eq!(resident_bytes(status), expected, "{status}");
        check("VmPeak:\t  20 kB\nVmRSS:\t    10 kB\n", Some(10 * 1024));
        check("VmPeak:\t  20 kB\n", None);
        check("VmRSS: much", None);
    }
}
