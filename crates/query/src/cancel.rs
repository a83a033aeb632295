//! Stops work on a blocking thread when nobody waits for it any more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::api::QueryError;

/// Asked by the work from time to time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

/// Kept by the waiter; dropping it cancels.
#[derive(Debug)]
pub(crate) struct CancelGuard(Cancel);

impl Cancel {
    /// A pair of the waiter's end and the work's end.
    pub(crate) fn pair() -> (CancelGuard, Self) {
        let cancel = Self::default();
        (CancelGuard(cancel.clone()), cancel)
    }

    /// Fails once nobody waits.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        if self.0.load(Ordering::Relaxed) { Err(QueryError::DeadlineExceeded) } else { Ok(()) }
    }
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
