//! Fetching one profile, within bounds.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::{Response, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http_client::{HttpClient, HttpError};

/// Bytes of one permit of [`BodyBounds::in_flight`]; a semaphore cannot count single bytes of large budgets.
const PERMIT_BYTES: usize = 4096;

/// A profile that could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The target did not answer as it should.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The target answered with nothing.
    #[error("empty profile")]
    Empty,
    /// The target answered with too much.
    #[error("profile is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

/// Bounds on bodies, shared by all jobs.
#[derive(Clone)]
pub(super) struct BodyBounds {
    /// Bytes of one body.
    body_bytes_max: usize,
    /// Bytes of all bodies that are being received or stored.
    in_flight: Arc<Semaphore>,
}

impl BodyBounds {
    pub(super) fn new(body_bytes_max: usize, in_flight_bytes_max: usize) -> Self {
        // One body must always fit, else it could never be received.
        let bytes = in_flight_bytes_max.max(body_bytes_max);
        let permits = (bytes / PERMIT_BYTES + 1).min(Semaphore::MAX_PERMITS);
        Self { body_bytes_max, in_flight: Arc::new(Semaphore::new(permits)) }
    }
}

/// A profile as received. Its share of the memory for bodies is free again when this is dropped.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Fetches one profile.
pub(super) async fn fetch(client: &HttpClient, url: &Url, bounds: &BodyBounds) -> Result<Body, FetchError> {
    receive(client.get(url.clone()).await?, bounds).await
}

async fn receive(mut response: Response, bounds: &BodyBounds) -> Result<Body, FetchError> {
    let too_large = || FetchError::TooLarge { limit_bytes: bounds.body_bytes_max };
    if response.content_length().is_some_and(|length| length > bounds.body_bytes_max as u64) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = response.chunk().await.map_err(HttpError::Request)? {
        if bytes.len() + chunk.len() > bounds.body_bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
        let needed =
            bytes.len().div_ceil(PERMIT_BYTES) - share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let Ok(more) =
            bounds.in_flight.clone().acquire_many_owned(u32::try_from(needed).unwrap_or(u32::MAX)).await
        {
            match &mut share {
                Some(share) => share.merge(more),
                None => share = Some(more),
            }
        }
    }
    if bytes.is_empty() { Err(FetchError::Empty) } else { Ok(Body { bytes: bytes.freeze(), _share: share }) }
}
