//! Counting tests from what their runners print.

use std::{fmt, ops::AddAssign};

/// Tests by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    /// Ran and held.
    pub(crate) passed: u64,
    /// Ran and did not hold, or could not run although they must.
    pub(crate) failed: u64,
    /// Could not run here.
    pub(crate) skipped: u64,
}

impl Tally {
    /// One test that held.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One test that did not.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One test that could not run.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Reads a closing line `N passed, N failed, N skipped`, or that of a Rust test binary. `None` for any other line.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let line = line.trim();
        let counts = match line.strip_prefix("test result: ") {
            Some(rest) => rest.split_once(". ")?.1,
            None => line,
        };
        let mut tally = Self::default();
        let mut seen = 0;
        for part in counts.split([',', ';']) {
            let (number, word) = part.trim().split_once(' ')?;
            let place = match word {
                "passed" => &mut tally.passed,
                "failed" => &mut tally.failed,
                "skipped" | "ignored" => &mut tally.skipped,
                _ if line.starts_with("test result: ") => continue,
                _ => return None,
            };
            *place = number.parse().ok()?;
            seen += 1;
        }
        (seen >= 2).then_some(tally)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines() {
        let check = |line: &str, expected: Option<(u64, u64, u64)>| {
            assert_eq!(Tally::from_line(line).map(|t| (t.passed, t.failed, t.skipped)), expected, "{line}");
        };
        check(
            "test result: ok. 5 passed; 0 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            Some((5, 0, 2)),
        );
        check(
            "test result: FAILED. 5 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            Some((5, 1, 0)),
        );
        check("4 passed, 0 failed", Some((4, 0, 0)));
        check("4 passed, 0 failed, 1 skipped", Some((4, 0, 1)));
        check("test a ... ok", None);
        check("4 passed", None);
        check("", None);
        check("left 3 passed, right", None);
    }
}
