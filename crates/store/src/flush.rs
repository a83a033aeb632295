//! When the head becomes a block. Pure: a decision from numbers.

use std::time::Duration;

use crate::source::TimeRange;

/// A head is flushed at the latest after this, so that a restart replays minutes and not hours.
const AGE_MAX: Duration = Duration::from_secs(600);
/// Samples of a head at most: what one block is meant to hold.
const SAMPLES_MAX: u64 = 8_000_000;
/// Size of the log at most: what a restart has to read.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Objects of the log at most: what a restart has to open.
const LOG_OBJECTS_MAX: u64 = 2_000;

/// How far behind the newest sample a sample is late. Late samples get a block of their own, so that an upload of old files does not
/// stretch the block of what is current over days.
const LATE_NS: i64 = 2 * 3_600_000_000_000;

/// The ranges of times that become blocks of their own, for a head with samples in `range`.
pub(crate) fn slices(range: TimeRange) -> Vec<TimeRange> {
    let first_current = range.end_ns.saturating_sub(LATE_NS);
    if range.start_ns >= first_current {
        return vec![range];
    }
    vec![
        TimeRange { start_ns: range.start_ns, end_ns: first_current - 1 },
        TimeRange { start_ns: first_current, end_ns: range.end_ns },
    ]
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
    }
}
