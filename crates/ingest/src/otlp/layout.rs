//! Which of two layouts the samples of a message have.
//!
//! opentelemetry-proto 1.10 permuted three fields of `Sample`. Writers pack repeated numbers, so that the wire type tells
//! single numbers from lists:
//!
//! ```text
//!                1.8, 1.9              1.10, 1.11
//! field 2        values (list)         attribute indices (list)
//! field 3        attribute indices     link index (number)
//! field 4        link index (number)   values (list)
//! ```
//! A sample with only field 2 has to be an old one if it has no times (a new one would have no value); with times it could be
//! either, and is old if there are not as many numbers as an index could mean, new if they are not as many as the times. What
//! is left in doubt is decided by the other samples of the message, then by what the sender sent before.

use super::profile::{RawProfile, RawSample};

/// How fields 2 to 4 of a sample are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// opentelemetry-proto up to 1.9: values, attributes, link.
    UpTo1_9,
    /// From 1.10: attributes, link, values.
    #[default]
    From1_10,
}

/// What the samples of a message say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Votes {
    up_to_1_9: usize,
    from_1_10: usize,
}

impl Votes {
    pub(super) fn add(&mut self, profile: &RawProfile<'_>, attributes: usize) {
        for sample in &profile.samples {
            match vote(sample, attributes) {
                Some(Layout::UpTo1_9) => self.up_to_1_9 += 1,
                Some(Layout::From1_10) => self.from_1_10 += 1,
                None => {}
            }
        }
    }

    /// The layout that more samples have; none if no sample tells.
    pub(super) fn winner(self) -> Option<Layout> {
        match self.from_1_10.cmp(&self.up_to_1_9) {
            std::cmp::Ordering::Greater => Some(Layout::From1_10),
            std::cmp::Ordering::Less => Some(Layout::UpTo1_9),
            std::cmp::Ordering::Equal => None,
        }
    }
}

fn vote(sample: &RawSample<'_>, attributes: usize) -> Option<Layout> {
    let is_varint = |index: usize| sample.fields.get(index).and_then(|field| field.as_ref()?.is_varint());
    match (is_varint(1), is_varint(2)) {
        (Some(false), Some(false)) | (Some(true), Some(true)) => return None,
        (Some(false), _) | (_, Some(true)) => return Some(Layout::UpTo1_9),
        (Some(true), _) | (_, Some(false)) => return Some(Layout::From1_10),
        (None, None) => {}
    }
    let second = sample.fields.first()?.as_ref()?;
    if sample.time_count == 0 {
        return Some(Layout::UpTo1_9);
    }
    let (mut count, mut largest) = (0, 0);
    second
        .varints(|number| {
            count += 1;
            largest = largest.max(number);
        })
        .ok()?;
    if largest >= attributes as u64 {
        Some(Layout::UpTo1_9)
    } else if count != sample.time_count {
        Some(Layout::From1_10)
    } else {
        None
    }
}
