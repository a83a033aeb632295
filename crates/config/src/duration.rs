//! Durations as Prometheus and Parca write them: `15d`, `1h30m`, `250ms`.

use std::time::Duration;

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDurationError {
    /// Nothing was given.
    #[error("empty duration string")]
    Empty,
    /// It does not have the form of a duration.
    #[error("not a valid duration string: {text:?}")]
    Malformed {
        /// The text as given.
        text: String,
    },
    /// It is longer than what 64 bits of nanoseconds hold (292 years).
    #[error("duration out of range: {text:?}")]
    OutOfRange {
        /// The text as given.
        text: String,
    },
}

/// Reads whole numbers with units `y`, `w`, `d`, `h`, `m`, `s`, `ms`, largest first, each at most once; or `0`.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    if text.is_empty() {
        return Err(ParseDurationError::Empty);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let malformed = || ParseDurationError::Malformed { text: text.to_owned() };
    let out_of_range = || ParseDurationError::OutOfRange { text: text.to_owned() };
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let &(_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        if number.is_empty() {
            return Err(malformed());
        }
        let number: u64 = number.parse().map_err(|_| out_of_range())?;
        let part_ms = number.checked_mul(unit_ms).ok_or_else(out_of_range)?;
        total_ms = total_ms.checked_add(part_ms).ok_or_else(out_of_range)?;
        rest = after;
    }
    // The same bound as Prometheus, so that nanoseconds fit a signed 64-bit number everywhere.
    if total_ms > i64::MAX as u64 / 1_000_000 {
        return Err(out_of_range());
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration as [`parse_duration`] reads it, to the millisecond, without years and weeks: `1h30m`, `15d`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, unit_ms) in &UNITS[2..] {
        let number = rest / unit_ms;
        if number > 0 {
            text.push_str(&format!("{number}{unit}"));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<u64, &str>) {
        let got = parse_duration(text).map(|d| d.as_millis() as u64).map_err(|e| e.to_string());
        assert_eq!(got.as_ref().map_err(String::as_str), expected.as_ref().map_err(|e| *e), "{text}");
    }

    #[test]
    fn parse() {
        check("0", Ok(0));
        check("0s", Ok(0));
        check("15d", Ok(15 * 86_400_000));
        check("1h30m", Ok(5_400_000));
        check("250ms", Ok(250));
        check("1y2w3d4h5m6s7ms", Ok(365 * 86_400_000 + 17 * 86_400_000 + 4 * 3_600_000 + 306_007));
        check("", Err("empty duration string"));
        check("10", Err("not a valid duration string: \"10\""));
        check("1", Err("not a valid duration string: \"1\""));
        check("s", Err("not a valid duration string: \"s\""));
        check("1m1h", Err("not a valid duration string: \"1m1h\""));
        check("1s1s", Err("not a valid duration string: \"1s1s\""));
        check("1.5h", Err("not a valid duration string: \"1.5h\""));
        check("-1s", Err("not a valid duration string: \"-1s\""));
        check("1 s", Err("not a valid duration string: \"1 s\""));
        check("10ü", Err("not a valid duration string: \"10ü\""));
        check("300y", Err("duration out of range: \"300y\""));
        check("99999999999999999999s", Err("duration out of range: \"99999999999999999999s\""));
    }

    #[test]
    fn format_is_read_back() {
        for text in ["0s", "13s", "1h30m", "15d", "250ms", "1d1ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
