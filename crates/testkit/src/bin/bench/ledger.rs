//! What the store acknowledged, and must be able to give back.

use decima_testkit::fleet::Request;

/// Acknowledged profiles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    samples: u64,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    time_ns: i64,
    service: usize,
    value: i64,
}

impl Ledger {
    /// Enters an acknowledged request.
    pub(crate) fn enter(&mut self, request: &Request) {
        self.samples += request.samples;
        self.entries.push(Entry { time_ns: request.time_ns, service: request.service, value: request.value });
    }

    /// Number of profiles.
    pub(crate) fn profiles(&self) -> usize {
        self.entries.len()
    }

    /// Number of samples.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Sum of all values from a time on.
    pub(crate) fn value(&self, start_ns: i64) -> i64 {
        self.since(start_ns).map(|entry| entry.value).sum()
    }

    /// Sum of one service's values from a time on.
    pub(crate) fn service_value(&self, service: usize, start_ns: i64) -> i64 {
        self.since(start_ns).filter(|entry| entry.service == service).map(|entry| entry.value).sum()
    }

    fn since(&self, start_ns: i64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.time_ns >= start_ns)
    }
}
