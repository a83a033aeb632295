//! How much single queries ask of the bucket that the blocks are in: each request costs money and a round trip.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::counted::RequestCounts;

/// Ranges of a distribution; the last one has no end.
const RANGES: usize = 11;
/// Most requests in each range.
const GETS: [u64; RANGES] = [0, 1, 2, 4, 8, 16, 32, 64, 256, 1024, u64::MAX];
/// Most bytes in each range.
const READ_BYTES: [u64; RANGES] =
    [0, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30, 4 << 30, u64::MAX];

/// How many queries asked for how much, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Distribution {
    /// The most that a query in this range asked for (`u64::MAX`: without end), ascending, and the number of those that did and are in
    /// none before.
    pub ranges: [(u64, u64); RANGES],
    /// What all asked for together.
    pub sum: u64,
}

impl Distribution {
    /// Number of queries.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(_, count)| count).sum()
    }
}

#[derive(Debug, Default)]
struct Observed {
    counts: [AtomicU64; RANGES],
    sum: AtomicU64,
}

impl Observed {
    fn add(&self, most: &[u64; RANGES], amount: u64) {
        let at = most.partition_point(|&most| most < amount);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(amount, Ordering::Relaxed);
    }

    fn read(&self, most: [u64; RANGES]) -> Distribution {
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Distribution {
            ranges: std::array::from_fn(|at| (most[at], counts[at])),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What queries that have ended asked for.
#[derive(Debug, Default)]
pub(crate) struct QueryCosts {
    gets: Observed,
    read_bytes: Observed,
}

impl QueryCosts {
    /// Adds one query.
    pub(crate) fn add(&self, asked: RequestCounts) {
        tracing::debug!(gets = asked.gets, read_bytes = asked.read_bytes, "a query asked this of the bucket");
        self.gets.add(&GETS, asked.gets);
        self.read_bytes.add(&READ_BYTES, asked.read_bytes);
    }

    /// Distributions of requests and of bytes.
    pub(crate) fn read(&self) -> (Distribution, Distribution) {
        (self.gets.read(GETS), self.read_bytes.read(READ_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_in_the_first_range_that_holds_it() {
        let costs = QueryCosts::default();
        for (gets, read_bytes) in [(0, 0), (3, 65_536), (4, 65_537), (2_000, u64::MAX / 2)] {
            costs.add(RequestCounts { gets, read_bytes, ..RequestCounts::default() });
        }
        let (gets, read_bytes) = costs.read();
        let taken = |distribution: Distribution| {
            distribution.ranges.into_iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>()
        };
        assert_eq!(taken(gets), [(0, 1), (4, 2), (u64::MAX, 1)]);
        assert_eq!(taken(read_bytes), [(0, 1), (65_536, 1), (262_144, 1), (u64::MAX, 1)]);
        assert_eq!((gets.sum, gets.count()), (2_007, 4));
    }
}
