//! When the head becomes a block. Pure: a decision from numbers.

use std::time::Duration;

use crate::source::TimeRange;

/// A head is flushed at the latest after this, so that a restart replays minutes and not hours.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Samples of a head at most: what one block is meant to hold, and what memory holds twice while the next head fills.
const SAMPLES_MAX: u64 = 5_000_000;
/// Size of the log at most: what a restart has to read.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Objects of the log at most: what a restart has to open.
const LOG_OBJECTS_MAX: u64 = 2_000;

/// How far behind the newest sample a sample is late. Late samples get a block of their own, so that an upload of old files does not
/// stretch the block of what is current over days.
const LATE_NS: i64 = 2 * 3_600_000_000_000;

const DAY_NS: i64 = 24 * 3_600_000_000_000;
/// Days before the newest late sample that have a block each: as many as are kept by default, and as many again. What is older has one
/// block altogether.
const LATE_DAYS_MAX: usize = 30;

/// The ranges of times that become blocks of their own, if they have samples, for a head with samples in `range`: what is current, and
/// before that each day, so that a block goes when its day is past the retention.
pub(crate) fn slices(range: TimeRange) -> Vec<TimeRange> {
    let first_current = range.end_ns.saturating_sub(LATE_NS);
    let mut slices = vec![TimeRange { start_ns: range.start_ns.max(first_current), end_ns: range.end_ns }];
    while let Some(later) = slices.last().filter(|later| later.start_ns > range.start_ns) {
        let end_ns = later.start_ns - 1;
        let day_ns = end_ns.div_euclid(DAY_NS).saturating_mul(DAY_NS);
        let is_last = slices.len() > LATE_DAYS_MAX;
        let start_ns = if is_last { range.start_ns } else { day_ns.max(range.start_ns) };
        slices.push(TimeRange { start_ns, end_ns });
    }
    slices.reverse();
    slices
}

/// What a head and its log hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    /// Since the first sample.
    pub(crate) age: Duration,
    pub(crate) samples: u64,
    pub(crate) log_bytes: u64,
    pub(crate) log_objects: u64,
    pub(crate) memory_bytes: u64,
}

/// Whether the head is to be flushed now.
pub(crate) fn is_due(held: Held, head_memory_bytes: u64) -> bool {
    held.samples > 0
        && (held.age >= AGE_MAX
            || held.samples >= SAMPLES_MAX
            || held.log_bytes >= LOG_BYTES_MAX
            || held.log_objects >= LOG_OBJECTS_MAX
            || held.memory_bytes >= head_memory_bytes / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(held: Held, expected: bool) {
        assert_eq!(is_due(held, 1000), expected, "{held:?}");
    }

    #[test]
    fn each_bound_alone() {
        let some = Held { samples: 1, ..Held::default() };
        check(some, false);
        check(Held { age: AGE_MAX, ..some }, true);
        check(Held { age: AGE_MAX, samples: 0, ..some }, false);
        check(Held { samples: SAMPLES_MAX, ..some }, true);
        check(Held { log_bytes: LOG_BYTES_MAX, ..some }, true);
        check(Held { log_objects: LOG_OBJECTS_MAX, ..some }, true);
        check(Held { memory_bytes: 499, ..some }, false);
        check(Held { memory_bytes: 500, ..some }, true);
    }

    #[test]
    fn late_samples_are_apart() {
        let range = |start_ns, end_ns| TimeRange { start_ns, end_ns };
        assert_eq!(slices(range(0, LATE_NS)), [range(0, LATE_NS)]);
        assert_eq!(slices(range(-1, LATE_NS)), [range(-1, -1), range(0, LATE_NS)]);
        let noon = DAY_NS / 2;
        assert_eq!(
            slices(range(-DAY_NS - 5, noon)),
            [
                range(-DAY_NS - 5, -DAY_NS - 1),
                range(-DAY_NS, -1),
                range(0, noon - LATE_NS - 1),
                range(noon - LATE_NS, noon)
            ]
        );
        for start_ns in [i64::MIN, -100 * DAY_NS] {
            let many = slices(range(start_ns, noon));
            assert_eq!(many.len(), LATE_DAYS_MAX + 2);
            assert_eq!(
                (many[0].start_ns, many[1].start_ns),
                (start_ns, -(LATE_DAYS_MAX as i64 - 1) * DAY_NS)
            );
            assert!(many.windows(2).all(|pair| pair[0].end_ns + 1 == pair[1].start_ns));
        }
    }
}
