//! Reads the log back into a head.

use std::sync::Arc;

use futures::{StreamExt, stream};

use crate::{
    error::OpenError,
    head::{HeadView, chunk::Chunk},
    log::{
        codec::{self, LogPosition, ObjectError, ObjectKind},
        decode::{self, Delta},
        varint::DecodeError,
    },
    storage::Storage,
};

/// Objects read ahead of the one that is decoded.
const READ_AHEAD: usize = 16;

/// A head out of the log, and what of the log holds it.
#[derive(Default)]
pub(crate) struct ReplayedHead {
    pub(crate) view: HeadView,
    /// (hash, received) of the requests.
    pub(crate) requests: Vec<(u128, i64)>,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// What a replay found.
#[derive(Default)]
pub(crate) struct Replayed {
    /// A head whose flush had begun and not ended, with the first position that is not of it.
    pub(crate) frozen: Option<(ReplayedHead, LogPosition)>,
    pub(crate) head: ReplayedHead,
    /// Newest time of receipt.
    pub(crate) newest_request_ns: i64,
    /// Where the log ends, if its last epoch has no seal yet.
    pub(crate) unsealed: Option<LogPosition>,
    /// Highest epoch seen.
    pub(crate) epoch: u64,
}

/// Replays all objects from `floor`.
///
/// A torn last object was never acknowledged: it is deleted. A gap or damage before the end is an error, since what follows depends
/// on what is missing.
pub(crate) async fn replay(storage: &Storage, floor: LogPosition) -> Result<Replayed, OpenError> {
    let all = storage.log_positions().await?;
    let unsealed = (floor.epoch > 0).then_some(floor);
    let mut out = Replayed { epoch: floor.epoch, unsealed, ..Replayed::default() };
    if let Some(last) = all.last() {
        out.epoch = out.epoch.max(last.epoch);
    }
    let positions: Vec<LogPosition> = all.into_iter().filter(|p| *p >= floor).collect();
    let mut expected = floor;
    let mut objects = std::pin::pin!(
        stream::iter(positions.clone()).map(|position| fetch(storage, position)).buffered(READ_AHEAD)
    );
    for (at, &position) in positions.iter().enumerate() {
        let path = Storage::log_path(position);
        let corrupt = |reason: String| OpenError::Corrupt { object: path.to_string(), reason };
        // A seal ends an epoch; the next one that was written to begins at 0.
        let next_epoch = position.epoch > expected.epoch && position.seq == 0 && expected.seq == 0;
        if position != expected && !next_epoch {
            return Err(corrupt(format!(
                "the object before it, epoch {} sequence {}, is missing",
                expected.epoch, expected.seq
            )));
        }
        let Some((size_bytes, opened)) = objects.next().await.transpose()? else { break };
        let (header, delta) = match opened {
            Err(ObjectError::Torn { .. }) if at + 1 == positions.len() => {
                storage
                    .delete(&path)
                    .await
                    .map_err(|source| OpenError::Storage { object: path.to_string(), source })?;
                break;
            }
            other => other.map_err(|e| corrupt(e.to_string()))?,
        };
        if header.position != position {
            return Err(corrupt("it is another position's object".to_owned()));
        }
        expected = LogPosition { epoch: position.epoch, seq: position.seq + 1 };
        match header.kind {
            ObjectKind::Seal => {
                expected = LogPosition { epoch: position.epoch + 1, seq: 0 };
                out.unsealed = None;
            }
            ObjectKind::Delta | ObjectKind::HeadStart => {
                if header.kind == ObjectKind::HeadStart && out.head.objects > 0 {
                    let ended = std::mem::take(&mut out.head);
                    // A head is only frozen when no other is.
                    if out.frozen.replace((ended, position)).is_some() {
                        return Err(corrupt("it begins a third head".to_owned()));
                    }
                }
                out.unsealed = Some(expected);
                let newest_ns = out.head.add(delta, size_bytes).map_err(|e| corrupt(e.to_string()))?;
                out.newest_request_ns = out.newest_request_ns.max(newest_ns);
            }
        }
    }
    Ok(out)
}

impl ReplayedHead {
    /// Applies an object and gives its newest time of receipt.
    fn add(&mut self, delta: Delta, size_bytes: u64) -> Result<i64, DecodeError> {
        self.objects += 1;
        self.bytes += size_bytes;
        let mut newest_ns = 0;
        for request in decode::apply(&mut self.view, delta)? {
            newest_ns = newest_ns.max(request.received_ns);
            self.requests.extend(request.hash.map(|hash| (hash, request.received_ns)));
            for chunk in request.chunks {
                add(&mut self.view, chunk);
            }
        }
        Ok(newest_ns)
    }
}

/// Reads, checks and parses an object on a thread of its own; applying, which has to be in order, goes on meanwhile.
async fn fetch(
    storage: &Storage,
    position: LogPosition,
) -> Result<(u64, Result<(codec::Header, Delta), ObjectError>), OpenError> {
    let path = Storage::log_path(position);
    let failed = |source| OpenError::Storage { object: path.to_string(), source };
    let bytes = storage.get(&path).await.map_err(failed)?;
    let size_bytes = bytes.len() as u64;
    let opened = tokio::task::spawn_blocking(move || open(&bytes))
        .await
        .map_err(|source| failed(object_store::Error::JoinError { source }))?;
    Ok((size_bytes, opened))
}

/// Checks and parses an object.
pub(crate) fn open(bytes: &[u8]) -> Result<(codec::Header, Delta), ObjectError> {
    let (header, raw) = codec::open(bytes)?;
    let delta = match header.kind {
        ObjectKind::Seal => Delta::default(),
        ObjectKind::Delta | ObjectKind::HeadStart => decode::parse(&raw)?,
    };
    Ok((header, delta))
}

fn add(view: &mut HeadView, chunk: Arc<Chunk>) {
    view.summarize(&chunk);
    view.add_chunk(chunk);
}
