//! In how much detail samples are kept, by their age. Pure.
//!
//! ```text
//! as they came ─► sums of 10 s by series and stacktrace ─► sums of an hour ─► dropped
//! ```
//! A block has one resolution; when all its samples are old enough, a compaction puts a coarser one in its place. Sums are conserved,
//! sample attributes are not: of them, only which series had which is known afterwards. Buckets are multiples of their width since 1970.

use std::time::Duration;

use crate::source::TimeRange;

/// Width of the buckets of the second tier.
pub const TEN_SECONDS_NS: i64 = 10_000_000_000;
/// Width of the buckets of the last tier.
pub const HOUR_NS: i64 = 3_600_000_000_000;

/// Ages from which on samples are kept in less detail. By default they stay as they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tiers {
    /// How long samples stay as they came; `None` = for as long as they are kept.
    pub raw: Option<Duration>,
    /// Age from which on those that do not are sums of an hour instead of 10 s; `None` = never.
    pub ten_seconds: Option<Duration>,
}

impl Tiers {
    /// The resolution that samples are to have at a time, if the newest of them is of `newest_ns`; 0 = as they came.
    pub fn resolution_ns(&self, newest_ns: i64, now_ns: i64) -> i64 {
        let is_past = |age: Option<Duration>| {
            let age_ns = age.and_then(|age| i64::try_from(age.as_nanos()).ok());
            age_ns.is_some_and(|age_ns| newest_ns < now_ns.saturating_sub(age_ns))
        };
        match (is_past(self.raw), is_past(self.ten_seconds)) {
            (false, _) => 0,
            (true, false) => TEN_SECONDS_NS,
            (true, true) => HOUR_NS,
        }
    }
}

/// The begin of the bucket that holds a time; the time itself for resolution 0.
pub fn bucket_start(time_ns: i64, resolution_ns: i64) -> i64 {
    if resolution_ns <= 0 { time_ns } else { time_ns.saturating_sub(time_ns.rem_euclid(resolution_ns)) }
}

/// The times of the buckets that hold those of a range.
pub(crate) fn buckets_of(range: TimeRange, resolution_ns: i64) -> TimeRange {
    if resolution_ns <= 0 {
        return range;
    }
    TimeRange {
        start_ns: bucket_start(range.start_ns, resolution_ns),
        end_ns: bucket_start(range.end_ns, resolution_ns).saturating_add(resolution_ns - 1),
    }
}

/// A resolution in words: `raw`, `10s`, `1h`.
pub fn name(resolution_ns: i64) -> String {
    const SECOND_NS: i64 = 1_000_000_000;
    match resolution_ns {
        0 => "raw".to_owned(),
        hours if hours % HOUR_NS == 0 => format!("{}h", hours / HOUR_NS),
        other => format!("{}s", other / SECOND_NS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_NS: i64 = 100 * HOUR_NS;

    fn check(raw_hours: Option<u64>, ten_seconds_hours: Option<u64>, age_hours: i64, expected_ns: i64) {
        let hours = |hours: Option<u64>| hours.map(|h| Duration::from_secs(3600 * h));
        let tiers = Tiers { raw: hours(raw_hours), ten_seconds: hours(ten_seconds_hours) };
        assert_eq!(
            tiers.resolution_ns(NOW_NS - age_hours * HOUR_NS, NOW_NS),
            expected_ns,
            "{age_hours} hours"
        );
    }

    #[test]
    fn by_age() {
        check(None, None, 99, 0);
        check(None, Some(1), 99, 0);
        check(Some(7), None, 7, 0);
        check(Some(7), None, 8, TEN_SECONDS_NS);
        check(Some(7), Some(30), 30, TEN_SECONDS_NS);
        check(Some(7), Some(30), 31, HOUR_NS);
        check(Some(7), Some(3), 6, 0);
        check(Some(7), Some(3), 8, HOUR_NS);
        check(Some(7), Some(30), -5, 0);
    }

    #[test]
    fn buckets_and_names() {
        assert_eq!(bucket_start(25, 10), 20);
        assert_eq!(bucket_start(-5, 10), -10);
        assert_eq!(bucket_start(25, 0), 25);
        let range = TimeRange { start_ns: -3, end_ns: 20 };
        assert_eq!(buckets_of(range, 10), TimeRange { start_ns: -10, end_ns: 29 });
        assert_eq!(buckets_of(range, 0), range);
        assert_eq!([0, TEN_SECONDS_NS, HOUR_NS].map(name), ["raw", "10s", "1h"]);
    }
}
