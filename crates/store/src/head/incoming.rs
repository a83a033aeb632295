//! A batch on its way into the head, with the fingerprints of its locations and stacktraces.
//!
//! Fingerprints take nothing but the batch, so they are made where it was decoded, in parallel and while its rows are still in the
//! processor's caches, and not by the one thread that interns.

use decima_profile::{SampleBatch, batch::Location};

use super::locations::seed;
use crate::source::{Contents, stacktrace_fingerprint};

/// See the module.
pub(crate) struct Incoming {
    /// Samples may be taken out of it; its tables stay.
    pub(crate) batch: SampleBatch,
    /// Of each location.
    pub(super) locations: Vec<u128>,
    /// Of each stacktrace.
    pub(super) stacktraces: Vec<u128>,
}

impl Incoming {
    /// The fingerprints of a stacktrace's locations, leaf first.
    pub(super) fn location_fingerprints(&self, stacktrace: u32) -> impl Iterator<Item = u128> {
        self.batch.stacktrace(stacktrace).iter().map(|&location| self.locations[location as usize])
    }
}

impl From<SampleBatch> for Incoming {
    fn from(batch: SampleBatch) -> Self {
        let texts = (0..batch.strings.len() as u32).map(|id| batch.strings.bytes(id));
        let mut contents = Contents::new(seed(), texts, &batch.mappings, &batch.functions);
        let of = |l: &Location| {
            let lines = &batch.lines[l.first_line as usize..][..l.line_count as usize];
            contents.location(l.mapping, l.address, l.frame_type, lines)
        };
        let locations: Vec<u128> = batch.locations.iter().map(of).collect();
        let mut scratch = Vec::new();
        let stacktraces = batch
            .stacktrace_offsets
            .windows(2)
            .map(|ends| {
                let ids = &batch.stacktrace_locations[ends[0] as usize..ends[1] as usize];
                stacktrace_fingerprint(ids.iter().map(|&id| locations[id as usize]), &mut scratch)
            })
            .collect();
        Self { batch, locations, stacktraces }
    }
}
