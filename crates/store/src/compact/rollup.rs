//! Samples become sums by bucket and stacktrace: what makes a block coarser. Pure; holds the sums of one bucket.

use std::{collections::HashMap, ops::Range};

use foldhash::fast::FixedState;

use super::{cursor::SampleRows, pending::Pending};
use crate::{source::Point, tiers::bucket_start};

/// Sums that are held at most: of a bucket with more stacktraces, some are there in several rows.
const SUMS_MAX: usize = 1 << 19;

/// Sums of one series, whose samples come in order of time. Sums have the begin of their bucket as time, and its width as duration.
pub(super) struct Rollup {
    resolution_ns: i64,
    start_ns: i64,
    /// By stacktrace of the merged block.
    sums: HashMap<u32, i64, FixedState>,
}

impl Rollup {
    pub(super) fn new(resolution_ns: i64) -> Self {
        Self { resolution_ns, start_ns: i64::MIN, sums: HashMap::default() }
    }

    /// Adds rows of an input; the sums of buckets that are over go to `pending`. Whether all stacktraces are known.
    pub(super) fn add(
        &mut self,
        rows: &SampleRows,
        range: Range<usize>,
        stacktrace: impl Fn(u32) -> Option<u32>,
        pending: &mut Pending,
    ) -> bool {
        for row in range {
            let Some(stacktrace) = stacktrace(rows.stacktraces[row]) else { return false };
            let start_ns = bucket_start(rows.times_ns[row], self.resolution_ns);
            if start_ns != self.start_ns {
                self.drain(pending);
                self.start_ns = start_ns;
            }
            if self.sums.len() == SUMS_MAX {
                self.drain(pending);
            }
            self.add_one(stacktrace, rows.values[row], pending);
        }
        true
    }

    fn add_one(&mut self, stacktrace: u32, value: i64, pending: &mut Pending) {
        let sum = self.sums.entry(stacktrace).or_default();
        match sum.checked_add(value) {
            Some(more) => *sum = more,
            // What does not fit becomes a row of its own.
            None => {
                pending.push(self.start_ns, self.resolution_ns, stacktrace, *sum);
                *sum = value;
            }
        }
    }

    fn drain(&mut self, pending: &mut Pending) {
        for (stacktrace, sum) in self.sums.drain() {
            pending.push(self.start_ns, self.resolution_ns, stacktrace, sum);
        }
    }

    /// Ends the series.
    pub(super) fn end(mut self, pending: &mut Pending) {
        self.drain(pending);
    }
}

/// Points of one series, sorted, one a bucket unless their sum does not fit.
pub(super) fn points(mut points: Vec<Point>, resolution_ns: i64) -> Vec<Point> {
    if resolution_ns == 0 {
        return points;
    }
    for point in &mut points {
        point.time_ns = bucket_start(point.time_ns, resolution_ns);
        point.bucket_ns = resolution_ns;
        point.duration_ns = resolution_ns;
    }
    points.dedup_by(|next, last| {
        match last.sum.checked_add(next.sum).filter(|_| next.time_ns == last.time_ns) {
            Some(sum) => {
                last.sum = sum;
                last.count = last.count.saturating_add(next.count);
                last.instants = last.instants.saturating_add(next.instants);
                true
            }
            None => false,
        }
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time_ns: i64, sum: i64, instants: u64) -> Point {
        Point { time_ns, bucket_ns: 0, sum, count: 2, duration_ns: 1, instants }
    }

    #[test]
    fn points_add_up_by_bucket() {
        let raw =
            vec![point(-1, 1, 1), point(0, 2, 1), point(9, 3, 1), point(10, i64::MAX, 1), point(11, 1, 1)];
        let coarse = points(raw, 10);
        let shown: Vec<_> =
            coarse.iter().map(|p| (p.time_ns, p.bucket_ns, p.sum, p.count, p.instants)).collect();
        assert_eq!(
            shown,
            [(-10, 10, 1, 2, 1), (0, 10, 5, 4, 2), (10, 10, i64::MAX, 2, 1), (10, 10, 1, 2, 1)]
        );
        assert_eq!(
            points(coarse, 20).iter().map(|p| (p.time_ns, p.instants)).collect::<Vec<_>>(),
            [(-20, 1), (0, 2), (0, 1), (0, 1)]
        );
    }
}
