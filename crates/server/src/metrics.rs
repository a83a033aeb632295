//! Counters of the server itself, in Prometheus' text format.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tonic::Code;

use crate::status;

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

/// The counters. Made once per server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<MethodLabels, Histogram, fn() -> Histogram>,
    /// Samples stored.
    pub(crate) samples_accepted: Counter,
    /// Samples outside the accepted times.
    pub(crate) samples_rejected: Counter,
    /// Requests recognised as repeated.
    pub(crate) writes_duplicate: Counter,
    /// Whether the store is open and answers.
    pub(crate) ready: Gauge,
    /// Open connections.
    pub(crate) connections: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("decima");
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 9))),
            samples_accepted: Counter::default(),
            samples_rejected: Counter::default(),
            writes_duplicate: Counter::default(),
            ready: Gauge::default(),
            connections: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests by method, way in and outcome", metrics.requests.clone());
        registry.register(
            "request_duration_seconds",
            "Time from a request's head to the head of its answer",
            metrics.durations.clone(),
        );
        registry.register("samples_accepted", "Samples stored", metrics.samples_accepted.clone());
        registry.register(
            "samples_rejected",
            "Samples left out because their time is outside the accepted range",
            metrics.samples_rejected.clone(),
        );
        registry.register(
            "writes_duplicate",
            "Write requests that were stored before and added nothing",
            metrics.writes_duplicate.clone(),
        );
        registry.register("ready", "1 once every acknowledged sample can be queried", metrics.ready.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        let build = Gauge::<i64>::default();
        build.set(1);
        registry.sub_registry_with_label(("version".into(), env!("CARGO_PKG_VERSION").into())).register(
            "build_info",
            "The program that runs",
            build,
        );
        Self { registry, ..metrics }
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

    /// All counters as text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        match text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(std::fmt::Error) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_counted() {
        let metrics = Metrics::new();
        metrics.request("parca.query.v1alpha1.QueryService/Query", Protocol::Rest, Code::NotFound, Duration::ZERO);
        metrics.samples_accepted.inc_by(3);
        let text = metrics.render();
        let expected = [
            r#"decima_requests_total{method="parca.query.v1alpha1.QueryService/Query",protocol="rest",code="NotFound"} 1"#,
            "decima_samples_accepted_total 3",
            "# EOF",
        ];
        for line in expected {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
