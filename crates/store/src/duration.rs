//! The nominal duration of a series: what its sender was told to measure, without the jitter of each measurement. Pure.

/// From here on durations are whole seconds: the unit in which people set intervals.
const SECOND_NS: u64 = 1_000_000_000;

/// A duration without jitter, to tell series apart by: the nearest whole second from one second up, else the nearest multiple of
/// half the power of ten below it (50 ms from 100 ms on, 5 ms from 10 ms on, …).
///
/// A scraper that is told 10 s measures 10.003 s, then 9.998 s; were each exact value part of the identity, every profile would be a
/// series. Intervals below a second are set in round numbers too, and their jitter is as much smaller as they are. 0 stays 0,
/// and nothing else becomes it: whether values cover a duration at all is part of the profile type.
pub(crate) fn nominal_duration_ns(duration_ns: i64) -> i64 {
    let exact = duration_ns.unsigned_abs();
    let unit = match exact.checked_ilog10() {
        None => return 0,
        Some(_) if exact >= SECOND_NS => SECOND_NS,
        Some(digits) => (10u64.pow(digits) / 2).max(1),
    };
    let rounded = (exact.saturating_add(unit / 2) / unit * unit).min(i64::MAX as u64) as i64;
    if duration_ns < 0 { -rounded } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(duration_ns: i64, nominal_ns: i64) {
        assert_eq!(nominal_duration_ns(duration_ns), nominal_ns, "{duration_ns}");
        assert_eq!(nominal_duration_ns(nominal_ns), nominal_ns, "{nominal_ns} is nominal already");
    }

    #[test]
    fn jitter_goes_and_what_was_asked_for_stays() {
        check(0, 0);
        check(1, 1);
        check(10_003_214_511, 10_000_000_000);
        check(9_998_700_000, 10_000_000_000);
        check(59_512_000_000, 60_000_000_000);
        check(15_000_000_000, 15_000_000_000);
        check(999_000_000, 1_000_000_000);
        check(1_001_000_000, 1_000_000_000);
        check(100_180_000, 100_000_000);
        check(99_400_000, 100_000_000);
        check(251_000_000, 250_000_000);
        check(19_900_000, 20_000_000);
        check(-10_003_214_511, -10_000_000_000);
        check(i64::MAX, i64::MAX);
        check(i64::MIN, -i64::MAX);
    }
}
