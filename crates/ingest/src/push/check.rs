//! Requests decoded as the store does it, for who sends them on: what is wrong with them, and whose they are. No I/O, no clock.

use bytes::Bytes;
use decima_profile::SampleBatch;

use super::{Limits, PushError, RawRequest, batch_of};
use crate::{
    agent,
    otlp::{self, Layout},
};

/// What is known of a request.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Its `node` label, if that much could be read; empty if it has none.
    pub node: String,
    /// Samples.
    pub samples: u64,
    /// Strings that are not UTF-8.
    pub repaired_strings: u64,
    /// Why a store would refuse it.
    pub wrong: Option<PushError>,
}

impl Checked {
    fn of(node: String, batch: &SampleBatch, repaired_strings: u64) -> Self {
        let samples = batch.series.iter().map(|series| series.values.len() as u64).sum();
        Self { node, samples, repaired_strings, wrong: None }
    }

    fn wrong(node: String, error: impl Into<PushError>) -> Self {
        Self { node, wrong: Some(error.into()), ..Self::default() }
    }
}

/// An encoded request of `WriteRaw`.
pub fn raw(message: &Bytes, limits: &Limits, received_ns: i64) -> Checked {
    let request = match RawRequest::read(message, limits) {
        Ok(request) => request,
        Err(error) => return Checked::wrong(String::new(), error),
    };
    let node = request.node().to_owned();
    match batch_of(&request.series, limits, received_ns) {
        Ok(decoded) => Checked::of(node, &decoded.batch, decoded.repaired_strings + request.repaired_strings),
        Err(error) => Checked::wrong(node, error),
    }
}

/// A stream in the agent's second schema.
pub fn arrow(stream: &[u8], limits: &Limits) -> Checked {
    let sample_labels = agent::sample_labels();
    match agent::second::decode(
        stream,
        agent::Context { limits, sample_labels: &sample_labels, schemas: None },
    ) {
        Ok(decoded) => Checked::of(decoded.node, &decoded.batch, decoded.repaired_strings),
        Err(error) => Checked::wrong(agent::node_of_wrong(stream, limits), error),
    }
}

/// Both streams of an exchange in the agent's first schema.
pub fn exchange(samples: &[u8], locations: &[u8], limits: &Limits) -> Checked {
    let sample_labels = agent::sample_labels();
    let context = agent::Context { limits, sample_labels: &sample_labels, schemas: None };
    let pending = match agent::first::samples(samples, context) {
        Ok(pending) => pending,
        Err(error) => return Checked::wrong(agent::node_of_wrong(samples, limits), error),
    };
    let node = pending.node();
    match pending.with_locations(locations, context) {
        Ok(decoded) => Checked::of(node, &decoded.batch, decoded.repaired_strings),
        Err(error) => Checked::wrong(node, error),
    }
}

/// An encoded OTLP request, whose layout is known if it was JSON. One that could be of either layout is taken for right: who
/// stores it knows what its sender sent before.
pub fn export(message: &[u8], layout: Option<Layout>, limits: &Limits, received_ns: i64) -> Checked {
    match otlp::decode(message, limits, layout, None, received_ns) {
        Ok(decoded) => match decoded.rejection {
            Some(error) if decoded.profiles == 0 && decoded.layout.is_some() => {
                Checked::wrong(decoded.node, error)
            }
            _ => Checked::of(decoded.node, &decoded.batch, decoded.repaired_strings),
        },
        Err(error) => Checked::wrong(otlp::node_of_wrong(message), error),
    }
}
