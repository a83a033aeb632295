//! Which parts of an answer are coarse, and what that means for it: for its reader, who must know.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat};
use decima_store::tiers;

use crate::api::TimeRange;

/// What a plan found of coarse sources.
#[derive(Debug, Default)]
pub(crate) struct Coarse {
    /// Times by resolution: of whole buckets.
    parts: BTreeMap<i64, TimeRange>,
    /// Attributes that matchers ask for: series that have them are left out.
    left_out: BTreeSet<String>,
    /// Attributes by which the answer is grouped.
    left_together: BTreeSet<String>,
}

impl Coarse {
    /// Notes that a coarse source has a series that the question is about.
    pub(crate) fn note(&mut self, resolution_ns: i64, series: TimeRange, wanted: TimeRange) {
        let start_ns = tiers::bucket_start(series.start_ns.max(wanted.start_ns), resolution_ns);
        let last_ns = tiers::bucket_start(series.end_ns.min(wanted.end_ns), resolution_ns);
        self.widen(resolution_ns, TimeRange { start_ns, end_ns: last_ns.saturating_add(resolution_ns) });
    }

    fn widen(&mut self, resolution_ns: i64, part: TimeRange) {
        self.parts.entry(resolution_ns).and_modify(|known| *known = known.with(part)).or_insert(part);
    }

    /// Notes that a matcher on an attribute cannot be answered.
    pub(crate) fn leave_out(&mut self, attribute: &str) {
        self.left_out.insert(attribute.to_owned());
    }

    /// Notes that values of an attribute cannot be told apart.
    pub(crate) fn leave_together(&mut self, attribute: &str) {
        self.left_together.insert(attribute.to_owned());
    }

    /// Adds what another plan or source found.
    pub(crate) fn add(&mut self, other: Self) {
        for (resolution_ns, part) in other.parts {
            self.widen(resolution_ns, part);
        }
        self.left_out.extend(other.left_out);
        self.left_together.extend(other.left_together);
    }

    /// The largest resolution.
    pub(crate) fn coarsest_ns(&self) -> i64 {
        self.parts.keys().next_back().copied().unwrap_or_default()
    }

    /// What a reader must know, finest part first.
    pub(crate) fn notices(&self) -> Vec<String> {
        let part = |(&resolution_ns, part): (&i64, &TimeRange)| {
            format!(
                "{} to {} is kept as sums of {}, which are counted whole",
                moment(part.start_ns),
                moment(part.end_ns),
                tiers::name(resolution_ns)
            )
        };
        let mut notices: Vec<String> = self.parts.iter().map(part).collect();
        let names =
            |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if !self.left_out.is_empty() {
            notices.push(format!(
                "what has the sample attribute {} is left out there: its values are not kept in sums",
                names(&self.left_out)
            ));
        }
        if !self.left_together.is_empty() {
            notices.push(format!(
                "the sample attribute {} is not told apart there: its values are not kept in sums",
                names(&self.left_together)
            ));
        }
        notices
    }
}

/// The mean of states whose sum is known, rounded to the nearest whole number, halves away from 0.
pub(crate) fn mean(sum: i128, states: u64) -> i128 {
    let states = i128::from(states.max(1));
    let half = if sum < 0 { -(states / 2) } else { states / 2 };
    // No larger than the sum.
    sum.saturating_add(half) / states
}

fn moment(time_ns: i64) -> String {
    DateTime::from_timestamp_nanos(time_ns).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: i64 = tiers::HOUR_NS;

    #[test]
    fn means() {
        assert_eq!([7, 8, -7, -8].map(|sum| mean(sum, 5)), [1, 2, -1, -2]);
        let ends = [i128::from(i64::MAX), i128::from(i64::MIN)];
        assert_eq!([mean(ends[0], 1), mean(ends[1], 1), mean(5, 0)], [ends[0], ends[1], 5]);
        assert_eq!(mean(3, 2), 2);
    }

    #[test]
    fn parts_are_whole_buckets() {
        let mut coarse = Coarse::default();
        let range = |start_ns, end_ns| TimeRange { start_ns, end_ns };
        coarse.note(HOUR_NS, range(HOUR_NS + 5, 5 * HOUR_NS + 5), range(2 * HOUR_NS + 7, 9 * HOUR_NS));
        coarse.note(tiers::TEN_SECONDS_NS, range(7 * HOUR_NS, 8 * HOUR_NS), TimeRange::ALL);
        coarse.leave_out("route");
        let mut all = Coarse::default();
        all.leave_out("thread");
        all.add(coarse);
        assert_eq!(all.coarsest_ns(), HOUR_NS);
        assert_eq!(
            all.notices(),
            [
                "1970-01-01T07:00:00Z to 1970-01-01T08:00:10Z is kept as sums of 10s, which are counted whole",
                "1970-01-01T02:00:00Z to 1970-01-01T06:00:00Z is kept as sums of 1h, which are counted whole",
                "what has the sample attribute route, thread is left out there: its values are not kept in sums",
            ]
        );
        assert_eq!(Coarse::default().notices(), Vec::<String>::new());
    }
}
