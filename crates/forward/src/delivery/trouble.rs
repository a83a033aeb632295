//! What the failures of a request say: whether it is in trouble by itself, and when it is given up. Pure.
//!
//! What tells a wrong request from a remote store that is at fault is what becomes of others: a failure counts against a
//! request only if others arrived since its failure before. While nothing arrives, no number of failures loses anything, for
//! [`DOUBT_TIME_MAX`].

use std::time::{Duration, Instant};

/// Attempts of a request that may be at fault itself, if others arrive between any two of them: half a minute.
const DOUBTS_MAX: u32 = 6;
/// As many if more is known, or if many are in doubt.
const DOUBTS_MIN: u32 = 3;
/// Time for such a request if nothing else arrives either, so that it may be the remote store that is at fault.
const DOUBT_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// Why a request was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Others arrived, and it did not.
    OthersArrive,
    /// Nothing has arrived for as long as may be waited for that.
    TimeIsUp,
}

/// What is held against a request.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// Requests that had arrived at its last failure.
    arrivals: Option<u64>,
    /// Failures since whose predecessor others arrived.
    passed: u32,
    /// Those of them that may be its own fault.
    passed_in_doubt: u32,
    /// All failures that may be its own fault.
    doubts: u32,
    /// Since when all failures may be.
    since: Option<Instant>,
}

impl Trouble {
    /// It failed, by no fault of its own: its time begins anew.
    pub(super) fn later(&mut self, arrivals: u64) {
        self.passes(arrivals);
        self.since = None;
    }

    /// It failed, and may be at fault.
    pub(super) fn doubt(&mut self, arrivals: u64, now: Instant) {
        if self.passes(arrivals) {
            self.passed_in_doubt += 1;
        }
        self.doubts += 1;
        self.since.get_or_insert(now);
    }

    fn passes(&mut self, arrivals: u64) -> bool {
        let others_arrived = self.arrivals.replace(arrivals).is_some_and(|before| before != arrivals);
        self.passed += u32::from(others_arrived);
        others_arrived
    }

    /// Whether others should not wait for it: it may be at fault, or fails again and again while others arrive.
    pub(super) fn is_its_own(&self) -> bool {
        self.since.is_some() || self.passed >= DOUBTS_MIN
    }

    /// Why it is given up, if it is. `known` is why the last one of its method was, if none has arrived since: the remote
    /// store does not offer the method, or all are wrong in the same way.
    pub(super) fn given_up(&self, known: Option<Ground>, is_crowded: bool, now: Instant) -> Option<Ground> {
        let since = self.since?;
        let doubts_max = if known.is_some() || is_crowded { DOUBTS_MIN } else { DOUBTS_MAX };
        let time_is_up = now.saturating_duration_since(since) >= DOUBT_TIME_MAX
            // The time was given to others like it.
            || known == Some(Ground::TimeIsUp) && self.doubts >= DOUBTS_MAX;
        if self.passed_in_doubt + 1 >= doubts_max {
            Some(Ground::OthersArrive)
        } else {
            time_is_up.then_some(Ground::TimeIsUp)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attempt at which a request is given up, others arriving before each if `others_arrive`.
    fn attempts(others_arrive: bool, known: Option<Ground>, is_crowded: bool) -> Option<u32> {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        (1..100).find(|&attempt| {
            trouble.doubt(if others_arrive { u64::from(attempt) } else { 7 }, now);
            trouble.given_up(known, is_crowded, now).is_some()
        })
    }

    #[test]
    fn attempts_until_a_request_is_given_up() {
        let (others, time) = (Some(Ground::OthersArrive), Some(Ground::TimeIsUp));
        assert_eq!(attempts(true, None, false), Some(6));
        assert_eq!(attempts(true, None, true), Some(3));
        assert_eq!(attempts(true, others, false), Some(3));
        assert_eq!(attempts(true, time, false), Some(3));
        // Nothing arrives: it may be the remote store.
        assert_eq!(attempts(false, None, false), None);
        assert_eq!(attempts(false, None, true), None);
        assert_eq!(attempts(false, others, true), None);
        assert_eq!(attempts(false, time, false), Some(6));
    }

    #[test]
    fn failures_count_from_when_others_arrive() {
        let (mut trouble, now) = (Trouble::default(), Instant::now());
        for _ in 0..100 {
            trouble.doubt(7, now);
        }
        for arrivals in 8..12 {
            trouble.doubt(arrivals, now);
            assert_eq!(trouble.given_up(None, false, now), None, "{arrivals}");
        }
        trouble.doubt(12, now);
        assert_eq!(trouble.given_up(None, false, now), Some(Ground::OthersArrive));
    }

    #[test]
    fn nothing_is_kept_for_ever_but_while_the_remote_store_is_away() {
        let (mut trouble, start) = (Trouble::default(), Instant::now());
        let (almost, up) = (DOUBT_TIME_MAX - Duration::from_secs(1), DOUBT_TIME_MAX);
        trouble.doubt(0, start);
        assert_eq!(trouble.given_up(None, false, start + almost), None);
        assert_eq!(trouble.given_up(None, false, start + up), Some(Ground::TimeIsUp));
        trouble.later(0);
        assert_eq!(trouble.given_up(None, false, start + up), None);
        trouble.doubt(0, start + up);
        assert_eq!(trouble.given_up(None, false, start + up + almost), None);
        assert_eq!(trouble.given_up(None, false, start + up * 2), Some(Ground::TimeIsUp));
    }

    #[test]
    fn who_is_in_trouble_by_itself() {
        let mut trouble = Trouble::default();
        for _ in 0..100 {
            trouble.later(7);
        }
        assert!(!trouble.is_its_own(), "nothing arrives");
        for arrivals in 8..11 {
            assert!(!trouble.is_its_own(), "{arrivals}");
            trouble.later(arrivals);
        }
        assert!(trouble.is_its_own() && trouble.given_up(None, true, Instant::now()).is_none());
        let mut trouble = Trouble::default();
        trouble.doubt(7, Instant::now());
        assert!(trouble.is_its_own());
    }
}
