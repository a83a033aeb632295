//! Reads the log back into a head.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream};

use crate::{
    error::OpenError,
    head::{HeadView, ListedTexts},
    log::{
        codec::{self, LogPosition, ObjectError, ObjectKind},
        decode::{self, Delta},
        varint::DecodeError,
    },
    storage::Storage,
};

/// Groups of objects read and parsed while one is applied.
const GROUPS_AHEAD: usize = 3;
/// Objects of a group at most: enough that threads seldom wait for each other.
const GROUP_OBJECTS: usize = 32;
/// Bytes that are parsed where they arrive, since another thread would cost more than it saves.
const INLINE_BYTES: usize = 64 << 10;
/// Bytes of a group at most, unless one object has more: what is read ahead is held in memory, several times as large.
const GROUP_BYTES: u64 = 2 << 20;

/// A head out of the log, and what of the log holds it.
#[derive(Default)]
pub(crate) struct ReplayedHead {
    pub(crate) view: HeadView,
    /// (hash, received) of the requests.
    pub(crate) requests: Vec<(u128, i64)>,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    listed_texts: ListedTexts,
}

/// What a replay found.
#[derive(Default)]
pub(crate) struct Replayed {
    /// A head whose flush had begun and not ended, with the first position that is not of it.
    pub(crate) frozen: Option<(ReplayedHead, LogPosition)>,
    pub(crate) head: ReplayedHead,
    /// Newest time of receipt.
    pub(crate) newest_request_ns: i64,
    /// Where the log goes on, if it does in an epoch that there is.
    pub(crate) next: LogPosition,
    /// Highest epoch seen.
    pub(crate) epoch: u64,
}

/// Replays all objects from `floor`.
///
/// A torn last object was never acknowledged and is not there yet. A gap or damage before the end is an error, since what follows
/// depends on what is missing.
pub(crate) async fn replay(storage: &Storage, floor: LogPosition) -> Result<Replayed, OpenError> {
    let all = storage.log_objects().await?;
    let mut out = Replayed { epoch: floor.epoch, ..Replayed::default() };
    if let Some((last, _)) = all.last() {
        out.epoch = out.epoch.max(last.epoch);
    }
    let listed = all.into_iter().filter(|(position, _)| *position >= floor).collect();
    let all = complete(storage, floor, listed).await?;
    out.epoch = all.last().map_or(out.epoch, |(last, _)| out.epoch.max(last.epoch));
    let mut expected = floor;
    let groups = stream::iter(groups(&all)).map(|group| fetch(storage.clone(), group)).buffered(GROUPS_AHEAD);
    let mut objects =
        std::pin::pin!(groups.map_ok(|group| stream::iter(group).map(Ok::<_, OpenError>)).try_flatten());
    for (at, &(position, size_bytes)) in all.iter().enumerate() {
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
        let Some(opened) = objects.next().await.transpose()? else { break };
        let (header, delta) = match opened {
            Err(ObjectError::Torn { .. }) if at + 1 == all.len() => break,
            other => other.map_err(|e| corrupt(e.to_string()))?,
        };
        if header.position != position {
            return Err(corrupt("it is another position's object".to_owned()));
        }
        expected = LogPosition { epoch: position.epoch, seq: position.seq + 1 };
        match header.kind {
            ObjectKind::Seal => {
                expected = LogPosition { epoch: position.epoch + 1, seq: 0 };
            }
            ObjectKind::Delta | ObjectKind::HeadStart => {
                if header.kind == ObjectKind::HeadStart && out.head.objects > 0 {
                    let ended = std::mem::take(&mut out.head);
                    // A head is only frozen when no other is.
                    if out.frozen.replace((ended, position)).is_some() {
                        return Err(corrupt("it begins a third head".to_owned()));
                    }
                }
                let newest_ns = out.head.add(delta, size_bytes).map_err(|e| corrupt(e.to_string()))?;
                out.newest_request_ns = out.newest_request_ns.max(newest_ns);
            }
        }
    }
    out.next = expected;
    Ok(out)
}

/// Adds what a list does not tell of (yet) where it has gaps, and behind its end.
async fn complete(
    storage: &Storage,
    floor: LogPosition,
    listed: Vec<(LogPosition, u64)>,
) -> Result<Vec<(LogPosition, u64)>, OpenError> {
    let mut all = Vec::with_capacity(listed.len());
    let mut expected = floor;
    for (position, size_bytes) in listed {
        if position != expected {
            follow(storage, expected, position, &mut all).await?;
        }
        all.push((position, size_bytes));
        expected = LogPosition { epoch: position.epoch, seq: position.seq + 1 };
    }
    let end = LogPosition { epoch: u64::MAX, seq: 0 };
    follow(storage, expected, end, &mut all).await?;
    Ok(all)
}

/// Adds the objects that are there from a position on, below another one, up to the first that is not.
async fn follow(
    storage: &Storage,
    mut next: LogPosition,
    end: LogPosition,
    all: &mut Vec<(LogPosition, u64)>,
) -> Result<(), OpenError> {
    let size = async |position: LogPosition| {
        let path = Storage::log_path(position);
        let size = storage.size(&path).await;
        size.map_err(|source| OpenError::Storage { object: path.to_string(), source })
    };
    while next < end {
        let next_epoch = LogPosition { epoch: next.epoch + 1, seq: 0 };
        let found = match size(next).await? {
            Some(size_bytes) => Some((next, size_bytes)),
            // Whether the object before was the seal of its epoch is known when it is read.
            None if next_epoch < end => size(next_epoch).await?.map(|size_bytes| (next_epoch, size_bytes)),
            None => None,
        };
        let Some(found) = found else { break };
        next = LogPosition { epoch: found.0.epoch, seq: found.0.seq + 1 };
        all.push(found);
    }
    Ok(())
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
                self.view.summarize(&chunk, &mut self.listed_texts);
                self.view.add_chunk(chunk);
            }
        }
        Ok(newest_ns)
    }
}

/// An object, checked and parsed.
type Opened = Result<(codec::Header, Delta), ObjectError>;

/// Cuts objects, in order, into groups.
fn groups(objects: &[(LogPosition, u64)]) -> Vec<Vec<(LogPosition, u64)>> {
    let mut groups: Vec<Vec<(LogPosition, u64)>> = Vec::new();
    let mut bytes = 0;
    for &(position, size_bytes) in objects {
        match groups.last_mut() {
            Some(group) if group.len() < GROUP_OBJECTS && bytes + size_bytes <= GROUP_BYTES => {
                group.push((position, size_bytes));
                bytes += size_bytes;
            }
            _ => {
                groups.push(vec![(position, size_bytes)]);
                bytes = size_bytes;
            }
        }
    }
    groups
}

/// Reads a group; checks and parses it, on a thread of its own if it is large. Applying, which has to be in order, goes on meanwhile.
async fn fetch(storage: Storage, group: Vec<(LogPosition, u64)>) -> Result<Vec<Opened>, OpenError> {
    let reads = group.into_iter().map(|(position, size_bytes)| get(storage.clone(), position, size_bytes));
    let objects = future::try_join_all(reads).await?;
    if objects.iter().map(Bytes::len).sum::<usize>() <= INLINE_BYTES {
        return Ok(open_all(&objects));
    }
    tokio::task::spawn_blocking(move || open_all(&objects)).await.map_err(|source| OpenError::Storage {
        object: "log".to_owned(),
        source: object_store::Error::JoinError { source },
    })
}

async fn get(storage: Storage, position: LogPosition, size_bytes: u64) -> Result<Bytes, OpenError> {
    let path = Storage::log_path(position);
    let bytes = storage.get_sized(&path, size_bytes).await;
    bytes.map_err(|source| OpenError::Storage { object: path.to_string(), source })
}

fn open_all(objects: &[Bytes]) -> Vec<Opened> {
    let Ok(mut decompressor) = zstd::bulk::Decompressor::new() else {
        return objects.iter().map(|_| Err(ObjectError::Body)).collect();
    };
    objects.iter().map(|bytes| parse(codec::open_with(bytes, &mut decompressor)?)).collect()
}

/// Checks and parses an object.
pub(crate) fn open(bytes: &[u8]) -> Opened {
    parse(codec::open(bytes)?)
}

fn parse((header, raw): (codec::Header, Vec<u8>)) -> Opened {
    let delta = match header.kind {
        ObjectKind::Seal => Delta::default(),
        ObjectKind::Delta | ObjectKind::HeadStart => decode::parse(&raw)?,
    };
    Ok((header, delta))
}
