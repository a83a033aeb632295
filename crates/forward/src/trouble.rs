//! What the failures of a request say: whether it is in trouble by itself, and when it is given up. Pure.
//!
//! What tells a wrong request from a remote store that is at fault is what becomes of others: a failure counts against a
//! request only if others arrived since its failure before. While nothing arrives, no number of failures loses anything: a
//! proxy that answers everything with an error is a remote store that is away.

/// Attempts of a request that may be at fault itself, if others arrive between any two of them: half a minute.
const DOUBTS_MAX: u32 = 6;
/// As many if more is known, or if many are in doubt.
const DOUBTS_MIN: u32 = 3;

/// What is held against a request.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Requests that had arrived at its last failure.
    arrivals: Option<u64>,
    /// Failures since whose predecessor others arrived.
    passed: u32,
    /// Those of them that may be its own fault.
    passed_in_doubt: u32,
    /// Whether the last failure may be its own fault.
    is_in_doubt: bool,
}

impl Trouble {
    /// It failed, by no fault of its own.
    pub(crate) fn later(&mut self, arrivals: u64) {
        self.passes(arrivals);
        self.is_in_doubt = false;
    }

    /// It failed, and may be at fault.
    pub(crate) fn doubt(&mut self, arrivals: u64) {
        if self.passes(arrivals) {
            self.passed_in_doubt += 1;
        }
        self.is_in_doubt = true;
    }

    fn passes(&mut self, arrivals: u64) -> bool {
        let others_arrived = self.arrivals.replace(arrivals).is_some_and(|before| before != arrivals);
        self.passed += u32::from(others_arrived);
        others_arrived
    }

    /// Whether others should not wait for it: it may be at fault, or fails again and again while others arrive.
    pub(crate) fn is_its_own(&self) -> bool {
        self.is_in_doubt || self.passed >= DOUBTS_MIN
    }

    /// Whether it is given up. Less is needed if the last one of its method was given up and none has arrived since (`known`:
    /// the remote store does not offer the method, or all are wrong in the same way), or if there is no room for more.
    pub(crate) fn is_given_up(&self, known: bool, is_crowded: bool) -> bool {
        let doubts_max = if known || is_crowded { DOUBTS_MIN } else { DOUBTS_MAX };
        self.is_in_doubt && self.passed_in_doubt + 1 >= doubts_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attempt at which a request is given up, others arriving before each if `others_arrive`.
    fn attempts(others_arrive: bool, known: bool, is_crowded: bool) -> Option<u32> {
        let mut trouble = Trouble::default();
        (1..1000).find(|&attempt| {
            trouble.doubt(if others_arrive { u64::from(attempt) } else { 7 });
            trouble.is_given_up(known, is_crowded)
        })
    }

    #[test]
    fn attempts_until_a_request_is_given_up() {
        assert_eq!(attempts(true, false, false), Some(6));
        assert_eq!(attempts(true, false, true), Some(3));
        assert_eq!(attempts(true, true, false), Some(3));
        // Nothing arrives: it may be the remote store.
        assert_eq!(attempts(false, false, false), None);
        assert_eq!(attempts(false, false, true), None);
        assert_eq!(attempts(false, true, true), None);
    }

    #[test]
    fn failures_count_from_when_others_arrive() {
        let mut trouble = Trouble::default();
        for _ in 0..100 {
            trouble.doubt(7);
        }
        for arrivals in 8..12 {
            trouble.doubt(arrivals);
            assert!(!trouble.is_given_up(false, false), "{arrivals}");
        }
        trouble.doubt(12);
        assert!(trouble.is_given_up(false, false));
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
        assert!(trouble.is_its_own() && !trouble.is_given_up(true, true));
        let mut trouble = Trouble::default();
        trouble.doubt(7);
        assert!(trouble.is_its_own());
    }
}
