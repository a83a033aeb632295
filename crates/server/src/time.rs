//! Wire times and durations to nanoseconds and back, and the one look at the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::Status;

const NS_PER_S: i64 = 1_000_000_000;

/// Unix time now. Saturates in 2262.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A wire time as nanoseconds. Refuses what does not fit 64 bits (before 1678 or after 2262), naming `field`.
pub(crate) fn ns_from_proto(field: &str, time: &prost_types::Timestamp) -> Result<i64, Status> {
    to_ns(time.seconds, time.nanos)
        .ok_or_else(|| Status::invalid_argument(format!("{field}: time is outside the years 1678 to 2262")))
}

/// A wire duration as nanoseconds. Refuses negative ones and those that do not fit 64 bits, naming `field`.
pub(crate) fn duration_from_proto(field: &str, duration: &prost_types::Duration) -> Result<i64, Status> {
    match to_ns(duration.seconds, duration.nanos) {
        Some(ns) if ns >= 0 => Ok(ns),
        Some(_) => Err(Status::invalid_argument(format!("{field}: must not be negative"))),
        None => Err(Status::invalid_argument(format!("{field}: longer than 292 years"))),
    }
}

/// Nanoseconds as a wire time.
pub(crate) fn to_proto(time_ns: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time_ns.div_euclid(NS_PER_S),
        // Below 10⁹ by the division.
        nanos: time_ns.rem_euclid(NS_PER_S) as i32,
    }
}

/// A duration for the wire. Saturates beyond 292 years.
pub(crate) fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        // Below 10⁹ by definition.
        nanos: duration.subsec_nanos() as i32,
    }
}

fn to_ns(seconds: i64, nanos: i32) -> Option<i64> {
    let ns = i128::from(seconds) * i128::from(NS_PER_S) + i128::from(nanos);
    i64::try_from(ns).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for ns in [0, 1, -1, NS_PER_S, -NS_PER_S - 1, i64::MAX, i64::MIN] {
            assert_eq!(ns_from_proto("t", &to_proto(ns)).unwrap(), ns);
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let check = |seconds: i64, nanos: i32| {
            let status = ns_from_proto("end", &prost_types::Timestamp { seconds, nanos }).unwrap_err();
            assert!(status.message().starts_with("end: "), "{status:?}");
        };
        check(i64::MAX, i32::MAX);
        check(i64::MIN, i32::MIN);
        check(9_223_372_037, 0);
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        assert!(duration_from_proto("step", &negative).is_err());
    }
}
