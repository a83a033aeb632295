//! Until when a request wants its answer.

use std::time::Duration;

use http::HeaderMap;

/// Header of gRPC and of the REST gateway.
const HEADER: &str = "grpc-timeout";

/// Digits that the header may have.
const DIGITS_MAX: usize = 8;

/// Time for a request: what it says, at most `timeout_max`. What cannot be read counts as absent.
pub(crate) fn of(headers: &HeaderMap, timeout_max: Duration) -> Duration {
    given(headers).unwrap_or(timeout_max).min(timeout_max)
}

/// Time for a request as it says itself. What cannot be read counts as absent.
pub(crate) fn given(headers: &HeaderMap) -> Option<Duration> {
    headers.get(HEADER).and_then(|value| parse(value.to_str().ok()?))
}

/// `grpc-timeout`: up to eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn reads_the_header() {
        let check = |text: &'static str, expected: Duration| {
            let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), HeaderValue::from_static(text))]);
            assert_eq!(of(&headers, Duration::from_secs(60)), expected, "{text}");
        };
        check("5000m", Duration::from_secs(5));
        check("1S", Duration::from_secs(1));
        check("100u", Duration::from_micros(100));
        check("7n", Duration::from_nanos(7));
        check("99999999H", Duration::from_secs(60));
        for unreadable in ["", "S", "123456789S", "-1S", "1s", "1.5S"] {
            check(unreadable, Duration::from_secs(60));
        }
    }
}
