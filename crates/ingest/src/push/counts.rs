//! What came in, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use decima_base::ErrorKind;
use decima_store::Appended;

use super::{Decoded, PushError};

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that were stored, were repeats, or had no samples.
    pub accepted_requests: u64,
    /// Requests that were stored before.
    pub duplicate_requests: u64,
    /// Requests refused because they were wrong.
    pub refused_requests: u64,
    /// Requests that the store did not take.
    pub failed_requests: u64,
    /// Profiles decoded.
    pub profiles: u64,
    /// Bytes of these profiles as received.
    pub received_bytes: u64,
    /// Samples stored.
    pub samples: u64,
    /// Samples left out for their time.
    pub rejected_samples: u64,
    /// Strings with bytes that were not UTF-8, replaced by U+FFFD.
    pub repaired_strings: u64,
}

/// [`Counts`] as they grow. Each is exact; together they are not one moment's.
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted_requests: AtomicU64,
    duplicate_requests: AtomicU64,
    refused_requests: AtomicU64,
    failed_requests: AtomicU64,
    profiles: AtomicU64,
    received_bytes: AtomicU64,
    samples: AtomicU64,
    rejected_samples: AtomicU64,
    repaired_strings: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        Counts {
            accepted_requests: self.accepted_requests.load(Relaxed),
            duplicate_requests: self.duplicate_requests.load(Relaxed),
            refused_requests: self.refused_requests.load(Relaxed),
            failed_requests: self.failed_requests.load(Relaxed),
            profiles: self.profiles.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            samples: self.samples.load(Relaxed),
            rejected_samples: self.rejected_samples.load(Relaxed),
            repaired_strings: self.repaired_strings.load(Relaxed),
        }
    }

    pub(super) fn note_decoded(&self, decoded: &Decoded) {
        self.profiles.fetch_add(decoded.profiles, Relaxed);
        self.received_bytes.fetch_add(decoded.received_bytes, Relaxed);
        self.repaired_strings.fetch_add(decoded.repaired_strings, Relaxed);
    }

    pub(super) fn note(&self, outcome: &Result<Appended, PushError>) {
        match outcome {
            Ok(appended) => {
                self.accepted_requests.fetch_add(1, Relaxed);
                self.duplicate_requests.fetch_add(appended.duplicate.into(), Relaxed);
                self.samples.fetch_add(appended.samples, Relaxed);
                self.rejected_samples.fetch_add(appended.rejected, Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                self.refused_requests.fetch_add(1, Relaxed);
                self.rejected_samples.fetch_add(error.rejected_samples(), Relaxed);
            }
            Err(_) => _ = self.failed_requests.fetch_add(1, Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use decima_store::AppendError;

    use super::*;

    #[test]
    fn samples_of_a_request_that_is_refused_for_their_times_are_rejected_ones() {
        let check = |outcome: Result<Appended, AppendError>, expected: [u64; 4]| {
            let counters = Counters::default();
            counters.note(&outcome.map_err(PushError::from));
            let counts = counters.read();
            let found = [
                counts.accepted_requests,
                counts.refused_requests,
                counts.failed_requests,
                counts.rejected_samples,
            ];
            assert_eq!(found, expected);
        };
        check(Ok(Appended { samples: 5, rejected: 2, duplicate: false }), [1, 0, 0, 2]);
        check(Err(AppendError::AllOutsideTimes { rejected: 3, oldest_ns: 0, newest_ns: 9 }), [0, 1, 0, 3]);
        check(Err(AppendError::StorageFull), [0, 0, 1, 0]);
    }
}
