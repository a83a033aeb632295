//! Compressed bodies, decompressed on threads for blocking work, and bounded all together.
//!
//! A body may become a thousand times its size, and senders choose how many of them there are at once. So room for what one
//! may become is taken before it is decompressed, what it does not need is given back after, and the rest when the request
//! ends.

use std::sync::Arc;

use bytes::Bytes;
use decima_ingest::push::Refusal;
use decima_profile::compression::{self, DecompressError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

/// Bytes of all bodies that are decompressed or taken apart at once. The largest that a request may have, JSON included.
const PLAIN_BYTES_MAX: usize = 256 << 20;
/// Room is counted in blocks of so many bytes.
const BLOCK_BYTES: usize = 1 << 10;
/// Deflate makes at most so many bytes of one. Zstandard can make more, of nothing that anybody has to say, which is refused.
const RATIO_MAX: usize = 1032;
/// Bytes that a body may become however small it is.
const SMALL_BYTES: usize = 1 << 20;

/// A body that was not read.
#[derive(Debug)]
pub(crate) struct Unread {
    /// Kind of mistake.
    pub(crate) reason: Refusal,
    /// For the sender.
    pub(crate) status: Status,
}

impl From<Status> for Unread {
    fn from(status: Status) -> Self {
        let reason = match status.code() {
            Code::ResourceExhausted => Refusal::TooLarge,
            _ => Refusal::Malformed,
        };
        Self { reason, status }
    }
}

impl From<DecompressError> for Unread {
    /// Senders try again upon `ResourceExhausted`, which does not help here.
    fn from(error: DecompressError) -> Self {
        let reason = match error {
            DecompressError::TooLarge { .. } => Refusal::TooLarge,
            DecompressError::Damaged { .. } => Refusal::Malformed,
        };
        Self { reason, status: Status::invalid_argument(format!("the message: {error}")) }
    }
}

/// Whether a body is compressed, by the name in `content-encoding` or `grpc-encoding`, in whatever case. How, its first bytes
/// say.
pub(crate) fn is_compressed(name: Option<&str>) -> Result<bool, Status> {
    let name = name.unwrap_or_default().trim();
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    if name.is_empty() || is("identity") {
        Ok(false)
    } else if is("gzip") || is("x-gzip") || is("zstd") {
        Ok(true)
    } else {
        let start: String = name.chars().take(40).collect();
        Err(Status::invalid_argument(format!("content-encoding: {start} is not one of gzip, zstd")))
    }
}

/// Room for bodies. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Inflation {
    blocks: Arc<Semaphore>,
}

/// Room that is taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Room(OwnedSemaphorePermit);

fn blocks(size_bytes: usize) -> u32 {
    size_bytes.min(PLAIN_BYTES_MAX).div_ceil(BLOCK_BYTES) as u32
}

impl Inflation {
    pub(crate) fn new() -> Self {
        Self { blocks: Arc::new(Semaphore::new(PLAIN_BYTES_MAX / BLOCK_BYTES)) }
    }

    /// Waits for room for so many bytes.
    pub(crate) async fn room(&self, size_bytes: usize) -> Result<Room, Status> {
        let room = self.blocks.clone().acquire_many_owned(blocks(size_bytes)).await;
        room.map(Room).map_err(|_| Status::unavailable("the server is stopping"))
    }

    /// Decompresses a body, whose first bytes say how, to at most `limit` bytes. What it takes is held until the room is dropped.
    pub(crate) async fn decompress(&self, body: Bytes, limit: usize) -> Result<(Bytes, Room), Unread> {
        let limit = limit.min(body.len().saturating_mul(RATIO_MAX).max(SMALL_BYTES));
        let room = self.room(limit).await?;
        off_thread(move || {
            let plain = compression::decompress(&body, limit)?;
            Ok((plain.len(), Bytes::from(plain), room))
        })
        .await?
        .map(|(size_bytes, plain, mut room)| {
            let needed = blocks(size_bytes) as usize;
            drop(room.0.split(room.0.num_permits().saturating_sub(needed)));
            (plain, room)
        })
    }
}

/// Does work on a thread for blocking work.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            // A panic fails this request, as it would have without the other thread.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Status::unavailable("the server is stopping")),
        },
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn names_of_encodings() {
        let check = |name: Option<&str>, expected: bool| {
            assert_eq!(is_compressed(name).unwrap(), expected, "{name:?}");
        };
        check(None, false);
        check(Some(" Identity"), false);
        check(Some("GZIP"), true);
        check(Some("x-gzip"), true);
        check(Some("Zstd"), true);
        let refusal = is_compressed(Some("gzip, gzip")).unwrap_err();
        assert_eq!(refusal.message(), "content-encoding: gzip, gzip is not one of gzip, zstd");
    }

    #[tokio::test]
    async fn room_is_taken_before_and_given_back_after() {
        let inflation = Inflation::new();
        let all = PLAIN_BYTES_MAX / BLOCK_BYTES;
        let body = Bytes::from(compression::gzip(&vec![7; 5 << 20]));
        let (plain, room) = inflation.decompress(body.clone(), 64 << 20).await.unwrap();
        assert_eq!((plain.len(), inflation.blocks.available_permits()), (5 << 20, all - (5 << 10)));
        let taken = inflation.room(PLAIN_BYTES_MAX - (5 << 20)).await.unwrap();
        assert!(inflation.decompress(body.clone(), 64 << 20).now_or_never().is_none(), "waits");
        drop(taken);
        let failure = inflation.decompress(body, 1 << 20).await.unwrap_err();
        assert_eq!((failure.reason, failure.status.code()), (Refusal::TooLarge, Code::InvalidArgument));
        let failure = inflation.decompress(Bytes::from_static(&[0x1f, 0x8b, 1]), 1 << 20).await;
        let failure = failure.unwrap_err();
        assert_eq!((failure.reason, failure.status.code()), (Refusal::Malformed, Code::InvalidArgument));
        let zeros = zstd::bulk::compress(&vec![0; 16 << 20], 3).unwrap().into();
        let failure = inflation.decompress(zeros, 64 << 20).await.unwrap_err();
        assert_eq!(failure.reason, Refusal::TooLarge, "{}", failure.status.message());
        drop(room);
        assert_eq!(inflation.blocks.available_permits(), all);
        assert!(inflation.room(usize::MAX).now_or_never().is_some(), "no body wants more than there is");
    }
}
