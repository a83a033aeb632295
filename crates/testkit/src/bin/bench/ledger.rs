//! What the store acknowledged, and must be able to give back.

use decima_testkit::fleet::Request;

/// Sums of acknowledged profiles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    profiles: u64,
    samples: u64,
    by_service: Vec<i64>,
}

impl Ledger {
    /// An empty ledger for so many services.
    pub(crate) fn new(services: usize) -> Self {
        Self { by_service: vec![0; services], ..Self::default() }
    }

    /// Enters an acknowledged request.
    pub(crate) fn enter(&mut self, request: &Request) {
        self.profiles += 1;
        self.samples += request.samples;
        self.by_service[request.service] += request.value;
    }

    /// Number of profiles.
    pub(crate) fn profiles(&self) -> u64 {
        self.profiles
    }

    /// Number of samples.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Sum of all values.
    pub(crate) fn value(&self) -> i64 {
        self.by_service.iter().sum()
    }

    /// Sum of one service's values.
    pub(crate) fn service_value(&self, service: usize) -> i64 {
        self.by_service[service]
    }
}
