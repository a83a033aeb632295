//! The wall clock: the only place of the store that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time now.
pub(crate) fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_nanos()).ok())
        .unwrap_or_default()
}
