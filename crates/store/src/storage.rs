//! Where the store's objects are: the one place that names paths, and the few operations on them.
//!
//! ```text
//! <tenant>/manifest/<version>.json
//! <tenant>/log/<epoch>/<seq>
//! <tenant>/blocks/<ULID>/<file>
//! ```
//! Everything is put once and never changed. The log may be in another object store than the rest.

mod full;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use ulid::Ulid;

use crate::{
    block::{
        columns,
        meta::{BLOCK_FORMAT, BlockMeta, OLDEST_BLOCK_FORMAT},
        write::EncodedBlock,
    },
    error::{OpenError, ReadError},
    log::codec::LogPosition,
    manifest::{self, BlockEntry, Manifest},
    read_cache::ReadCache,
};

/// The tenant of a store that has only one.
pub(crate) const TENANT: &str = "default";
/// How often the newest manifest is looked up while versions come and go.
const MANIFEST_TRIES: u32 = 5;
/// Seals that stay when the log before them is deleted. Without its seal, a process that stood still since could put an object where
/// the seal was, and acknowledge what nobody reads; so it must not stand still while this many others take over.
const SEALS_KEPT: u64 = 100;
/// What this program may keep beside the store in its directory: locks, the name of a log, the cache of object files, the spool of a
/// forwarder.
const BESIDE: [&str; 5] = ["lock", "lock.probe", "id", "debuginfo-cache", "spool"];
/// Folder of what a bucket is tried with.
const PROBE: &str = "probe";
/// Folder of the log.
const LOG: &str = "log";

/// What every version of `block.json` has.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

/// The objects of one tenant.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// Where the log is; mostly the same.
    pub(crate) log: Arc<dyn ObjectStore>,
    /// Parts of blocks on a disk of this machine, for queries.
    pub(crate) read_cache: Option<Arc<ReadCache>>,
}

/// A write that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error("an object with this name exists")]
    Exists,
    #[error("no space left")]
    Full,
    #[error("{0}")]
    Other(Arc<object_store::Error>),
}

impl From<object_store::Error> for PutError {
    fn from(error: object_store::Error) -> Self {
        if matches!(error, object_store::Error::AlreadyExists { .. }) {
            return Self::Exists;
        }
        // A full disk arrives as a generic error with the cause inside.
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(e) = cause {
            if let Some(io) = e.downcast_ref::<std::io::Error>()
                && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            {
                return Self::Full;
            }
            cause = e.source();
        }
        Self::Other(Arc::new(error))
    }
}

impl Storage {
    fn path(parts: &[&str]) -> Path {
        Path::from_iter(std::iter::once(TENANT).chain(parts.iter().copied()))
    }

    /// Path of a log object.
    pub(crate) fn log_path(position: LogPosition) -> Path {
        Self::path(&[LOG, &format!("{:020}", position.epoch), &format!("{:020}", position.seq)])
    }

    /// Path of an object by which a bucket is tried.
    pub(crate) fn probe_path(name: &str) -> Path {
        Self::path(&[PROBE, name])
    }

    fn manifest_path(version: u64) -> Path {
        Self::path(&["manifest", &manifest::file_name(version)])
    }

    /// Path of a block's directory.
    pub(crate) fn block_path(id: &str) -> Path {
        Self::path(&["blocks", id])
    }

    /// The store that an object is in.
    fn of(&self, path: &Path) -> &Arc<dyn ObjectStore> {
        let is_log = path.parts().nth(1).is_some_and(|part| part.as_ref() == LOG);
        if is_log { &self.log } else { &self.objects }
    }

    /// Puts an object that must not exist.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<(), PutError> {
        let options = PutOptions::from(PutMode::Create);
        self.of(path).put_opts(path, PutPayload::from_bytes(bytes), options).await?;
        Ok(())
    }

    /// An object's bytes.
    pub(crate) async fn get(&self, path: &Path) -> Result<Bytes, object_store::Error> {
        self.of(path).get(path).await?.bytes().await
    }

    /// The bytes of an object that is known to have so many.
    ///
    /// On a local disk this is one piece of blocking work, where [`get`](Self::get) takes one to open and one to read.
    pub(crate) async fn get_sized(&self, path: &Path, size_bytes: u64) -> Result<Bytes, object_store::Error> {
        if size_bytes == 0 {
            return self.get(path).await;
        }
        let whole = 0..size_bytes;
        Ok(self.of(path).get_ranges(path, &[whole]).await?.pop().unwrap_or_default())
    }

    /// Size of an object; `None` if there is none.
    pub(crate) async fn size(&self, path: &Path) -> Result<Option<u64>, object_store::Error> {
        match self.of(path).head(path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Deletes an object; one that is gone already is fine.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), object_store::Error> {
        match self.of(path).delete(path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn names(&self, prefix: &Path) -> Result<Vec<Path>, OpenError> {
        Ok(self.metas(prefix).await?.into_iter().map(|meta| meta.location).collect())
    }

    async fn metas(&self, prefix: &Path) -> Result<Vec<ObjectMeta>, OpenError> {
        let listed: Result<Vec<ObjectMeta>, _> = self.of(prefix).list(Some(prefix)).try_collect().await;
        listed.map_err(|source| OpenError::Storage { object: prefix.to_string(), source })
    }

    /// Objects, and what is wrong with the name of a file that no object can have. That hides others: what must not miss any takes
    /// [`metas`](Self::metas).
    async fn list(&self, prefix: &Path) -> Result<(Vec<ObjectMeta>, Vec<String>), OpenError> {
        let (mut metas, mut unnamed) = (Vec::new(), Vec::new());
        let mut listed = self.of(prefix).list(Some(prefix));
        while let Some(meta) = listed.next().await {
            match meta {
                Ok(meta) => metas.push(meta),
                Err(object_store::Error::InvalidPath { source }) => unnamed.push(source.to_string()),
                Err(source) => return Err(OpenError::Storage { object: prefix.to_string(), source }),
            }
        }
        Ok((metas, unnamed))
    }

    /// The newest manifest; the empty one if there is none.
    ///
    /// Those that the list does not tell of yet are found by the version that comes next.
    pub(crate) async fn manifest(&self) -> Result<Manifest, OpenError> {
        self.manifest_from(self.listed_manifest().await?).await
    }

    /// The newest manifest, given one of before.
    async fn manifest_from(&self, mut newest: Manifest) -> Result<Manifest, OpenError> {
        while let Some(newer) = self.manifest_version(newest.version + 1).await? {
            newest = newer;
        }
        Ok(newest)
    }

    async fn listed_manifest(&self) -> Result<Manifest, OpenError> {
        let mut names = self.names(&Self::path(&["manifest"])).await?;
        // One that is listed may be deleted before it is read, and then there is a newer one.
        for _ in 0..MANIFEST_TRIES {
            let newest = names.iter().filter_map(|p| manifest::version_of(p.filename()?)).max();
            let Some(version) = newest else { return Ok(Manifest::empty()) };
            if let Some(manifest) = self.manifest_version(version).await? {
                return Ok(manifest);
            }
            names = self.names(&Self::path(&["manifest"])).await?;
        }
        Err(OpenError::Contended)
    }

    /// What is wrong with older manifests that are still there.
    pub(crate) async fn damaged_manifests(&self) -> Result<Vec<String>, OpenError> {
        let mut damaged = Vec::new();
        for path in self.names(&Self::path(&["manifest"])).await? {
            let Some(version) = path.filename().and_then(manifest::version_of) else { continue };
            match self.manifest_version(version).await {
                Ok(_) => {}
                Err(e @ OpenError::Corrupt { .. }) => damaged.push(e.to_string()),
                Err(e) => return Err(e),
            }
        }
        Ok(damaged)
    }

    /// The newest manifest that counts, and the path of a newer one that does not.
    ///
    /// One that was not written to its end does not count if nothing was done by it: then the one before has everything that was
    /// acknowledged. Stores put whole objects or none; but a disk may lie.
    pub(crate) async fn newest_manifest(&self) -> Result<(Manifest, Option<Path>), OpenError> {
        let names = self.names(&Self::path(&["manifest"])).await?;
        let mut versions: Vec<u64> =
            names.iter().filter_map(|p| manifest::version_of(p.filename()?)).collect();
        versions.sort_unstable();
        let Some(newest) = versions.pop() else { return Ok((self.manifest().await?, None)) };
        let path = Self::manifest_path(newest);
        let is_torn = match self.get(&path).await {
            Ok(bytes) => manifest::is_torn(&bytes),
            Err(object_store::Error::NotFound { .. }) => false,
            Err(source) => return Err(OpenError::Storage { object: path.to_string(), source }),
        };
        // Not listed again: the next list may be further behind than this one.
        if !is_torn && let Some(listed) = self.manifest_version(newest).await? {
            return Ok((self.manifest_from(listed).await?, None));
        }
        if is_torn {
            let before = match versions.pop() {
                Some(version) => self.manifest_version(version).await?.unwrap_or_else(Manifest::empty),
                None => Manifest::empty(),
            };
            if self.is_whole(&before).await? {
                return Ok((before, Some(path)));
            }
        }
        Ok((self.manifest().await?, None))
    }

    /// Deletes the newest manifest if it was not written to its end and does not count.
    pub(crate) async fn drop_torn_manifest(&self) -> Result<(), OpenError> {
        // Another process may have put a whole one there meanwhile.
        let (_, Some(path)) = self.newest_manifest().await? else { return Ok(()) };
        tracing::warn!(
            object = path.as_ref(),
            "the newest manifest was not written to its end: the one before counts"
        );
        let deleted = self.delete(&path).await;
        deleted.map_err(|source| OpenError::Storage { object: path.to_string(), source })
    }

    /// Files and folders beside the store's own that no part of this program keeps there.
    async fn unknown_beside(&self) -> Result<Vec<String>, OpenError> {
        let beside = match self.objects.list_with_delimiter(None).await {
            Ok(beside) => beside,
            // A file with a name that no object can have hides the others.
            Err(object_store::Error::InvalidPath { source }) => return Ok(vec![source.to_string()]),
            Err(source) => return Err(OpenError::Storage { object: "/".to_owned(), source }),
        };
        let files = beside.objects.into_iter().map(|meta| String::from(meta.location));
        let folders = beside.common_prefixes.into_iter().map(String::from);
        Ok(files.chain(folders).filter(|name| name != TENANT && !BESIDE.contains(&name.as_str())).collect())
    }

    /// Whether a manifest's blocks are there, and its log unless no block could have taken that one's place.
    async fn is_whole(&self, manifest: &Manifest) -> Result<bool, OpenError> {
        for entry in &manifest.blocks {
            if self.block_meta(entry).await.is_err() {
                return Ok(false);
            }
        }
        let LogPosition { epoch, seq } = manifest.log_floor;
        let next_epoch = (seq == 0).then_some(LogPosition { epoch: epoch + 1, seq: 0 });
        for first in std::iter::once(manifest.log_floor).chain(next_epoch) {
            let path = Self::log_path(first);
            let unreadable = |source| OpenError::Storage { object: path.to_string(), source };
            if self.size(&path).await.map_err(unreadable)?.is_some() {
                return Ok(true);
            }
        }
        for id in self.block_sizes().await?.into_keys() {
            if manifest.blocks.iter().any(|entry| entry.id == id) {
                continue;
            }
            let path = Self::block_path(&id).join(columns::META);
            match self.get(&path).await {
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(OpenError::Storage { object: path.to_string(), source }),
                Ok(bytes) => {
                    let meta: Option<BlockMeta> = serde_json::from_slice(&bytes).ok();
                    // It may be of a head whose log is gone.
                    if meta.is_some_and(|meta| meta.inputs.is_empty()) {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// One version of the manifest, if it is there.
    pub(crate) async fn manifest_version(&self, version: u64) -> Result<Option<Manifest>, OpenError> {
        let path = Self::manifest_path(version);
        let bytes = match self.get(&path).await {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(OpenError::Storage { object: path.to_string(), source }),
        };
        let corrupt = |reason: String| OpenError::Corrupt { object: path.to_string(), reason };
        let manifest = manifest::decode(&bytes).map_err(corrupt)?;
        if manifest.version != version {
            return Err(corrupt(format!("it says version {}", manifest.version)));
        }
        Ok(Some(manifest))
    }

    /// Puts the next version of the manifest.
    ///
    /// A process that stood still for long may put a version that others had put, passed and deleted; that is told as one
    /// that exists.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), PutError> {
        let path = Self::manifest_path(manifest.version);
        self.create_in_any_case(&path, manifest::encode(manifest).into()).await?;
        let newest = self.manifest().await.map_err(|e| {
            let source = Box::new(e);
            PutError::Other(Arc::new(object_store::Error::Generic { store: "manifest", source }))
        })?;
        if newest.version > manifest.version { Err(PutError::Exists) } else { Ok(()) }
    }

    /// Deletes manifests older than the few that stay.
    pub(crate) async fn prune_manifests(&self, newest: u64) -> Result<(), OpenError> {
        let is_old = |path: &Path| {
            let version = path.filename().and_then(manifest::version_of);
            version.is_some_and(|v| v + manifest::VERSIONS_KEPT <= newest)
        };
        let names = self.names(&Self::path(&["manifest"])).await?;
        self.delete_all(names.into_iter().filter(is_old).collect()).await
    }

    /// Deletes log objects below a position, but for the seals of the last epochs.
    pub(crate) async fn drop_log_below(&self, floor: LogPosition) -> Result<(), OpenError> {
        let below = left_over(&self.log_positions().await?, floor);
        self.delete_all(below.into_iter().map(Self::log_path).collect()).await
    }

    /// Deletes objects, in as few requests as the store allows; those that are gone already are fine.
    async fn delete_all(&self, paths: Vec<Path>) -> Result<(), OpenError> {
        let Some(first) = paths.first().cloned() else { return Ok(()) };
        let named = stream::iter(paths).map(Ok).boxed();
        let mut deleted = self.of(&first).delete_stream(named);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(OpenError::Storage { object: first.to_string(), source }),
            }
        }
        Ok(())
    }

    /// Positions of all log objects, ascending.
    pub(crate) async fn log_positions(&self) -> Result<Vec<LogPosition>, OpenError> {
        Ok(self.log_objects().await?.into_iter().map(|(position, _)| position).collect())
    }

    /// Positions and sizes of all log objects, ascending.
    pub(crate) async fn log_objects(&self) -> Result<Vec<(LogPosition, u64)>, OpenError> {
        let mut objects: Vec<(LogPosition, u64)> = self
            .metas(&Self::path(&[LOG]))
            .await?
            .iter()
            .filter_map(|meta| {
                let mut parts = meta.location.parts().skip(2);
                let (epoch, seq) = (number(parts.next()?.as_ref())?, number(parts.next()?.as_ref())?);
                parts.next().is_none().then_some((LogPosition { epoch, seq }, meta.size))
            })
            .collect();
        objects.sort_unstable();
        Ok(objects)
    }

    /// Puts a block's files, `block.json` last, and gives its entry for the manifest.
    pub(crate) async fn put_block(
        &self,
        block: EncodedBlock,
        newest_request_ns: i64,
    ) -> Result<(BlockEntry, BlockMeta), PutError> {
        let directory = Self::block_path(&block.meta.id);
        for (name, file) in block.files {
            self.create(&directory.clone().join(name), file.bytes.into()).await?;
        }
        let entry = self.put_block_meta(&block.meta, newest_request_ns, 0).await?;
        Ok((entry, block.meta))
    }

    /// Puts a block's `block.json`, after its files, and gives its entry for the manifest.
    pub(crate) async fn put_block_meta(
        &self,
        meta: &BlockMeta,
        newest_request_ns: i64,
        level: u8,
    ) -> Result<BlockEntry, PutError> {
        let json = serde_json::to_vec_pretty(meta).unwrap_or_default();
        let entry = BlockEntry {
            id: meta.id.clone(),
            min_time_ns: meta.min_time_ns,
            max_time_ns: meta.max_time_ns,
            samples: meta.samples,
            size_bytes: meta.size_bytes() + json.len() as u64,
            newest_request_ns,
            meta_checksum: format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&json)),
            level,
            resolution_ns: meta.resolution_ns,
            partition_nodes_max: meta.partition_nodes_max,
            locations: meta.locations.locations,
            series: meta.series,
            series_bytes: meta.series_bytes,
            location_text_bytes: meta.locations.text_bytes,
        };
        self.create(&Self::block_path(&meta.id).join(columns::META), json.into()).await?;
        Ok(entry)
    }

    /// Reads and checks a block's `block.json`.
    pub(crate) async fn block_meta(&self, entry: &BlockEntry) -> Result<BlockMeta, ReadError> {
        let block = entry.id.clone();
        let file = columns::META.to_owned();
        let bytes = match self.get(&Self::block_path(&entry.id).join(columns::META)).await {
            Ok(bytes) => bytes,
            Err(object_store::Error::NotFound { .. }) => return Err(ReadError::Missing { block, file }),
            Err(e) => return Err(ReadError::Unavailable { block, file, source: Arc::new(e) }),
        };
        let corrupt = |reason: String| ReadError::Corrupt {
            block: entry.id.clone(),
            file: columns::META.to_owned(),
            reason,
        };
        if format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes)) != entry.meta_checksum {
            return Err(corrupt("its checksum is not the one in the manifest".to_owned()));
        }
        let not_one = |e: serde_json::Error| corrupt(format!("not a block description: {e}"));
        let Format { format } = serde_json::from_slice(&bytes).map_err(not_one)?;
        if !(OLDEST_BLOCK_FORMAT..=BLOCK_FORMAT).contains(&format) {
            let read = format!("{OLDEST_BLOCK_FORMAT} to {BLOCK_FORMAT}");
            return Err(corrupt(format!("block format {format}, this program reads {read}")));
        }
        serde_json::from_slice(&bytes).map_err(not_one)
    }

    /// Names of block directories, with the size of their files. What is not named like a block is not ours.
    pub(crate) async fn block_sizes(&self) -> Result<BTreeMap<String, u64>, OpenError> {
        let mut sizes = BTreeMap::new();
        for meta in self.metas(&Self::path(&["blocks"])).await? {
            let id = meta.location.parts().nth(2).map(|part| part.as_ref().to_owned());
            if let Some(id) = id.filter(|id| Ulid::from_string(id).is_ok()) {
                *sizes.entry(id).or_default() += meta.size;
            }
        }
        Ok(sizes)
    }

    /// Paths of objects that are not named as this store names any.
    pub(crate) async fn unknown(&self) -> Result<Vec<String>, OpenError> {
        let (mut metas, mut unknown) = self.list(&Self::path(&[])).await?;
        let of_log = self.list(&Self::path(&[LOG])).await?;
        metas.extend(of_log.0);
        unknown.extend(of_log.1);
        // What a bucket was tried with is deleted at once; one that is left is of no use.
        let is_left =
            |path: &Path| !is_known(path) || path.parts().nth(1).is_some_and(|p| p.as_ref() == PROBE);
        let names = metas.into_iter().map(|meta| meta.location);
        unknown.extend(names.filter(is_left).map(String::from));
        unknown.extend(self.unknown_beside().await?);
        unknown.sort_unstable();
        unknown.dedup();
        Ok(unknown)
    }

    /// Deletes a block's files.
    pub(crate) async fn delete_block(&self, id: &str) -> Result<(), OpenError> {
        self.delete_all(self.names(&Self::block_path(id)).await?).await
    }
}

/// A number of a log object's name.
fn number(text: &str) -> Option<u64> {
    let is_number = text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Whether a path is of an object as this store names them.
pub(crate) fn is_known(path: &Path) -> bool {
    let parts: Vec<_> = path.parts().map(|part| part.as_ref().to_owned()).collect();
    match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [TENANT, "manifest", name] => manifest::version_of(name).is_some(),
        [TENANT, LOG, epoch, seq] => number(epoch).is_some() && number(seq).is_some(),
        [TENANT, PROBE, name] => Ulid::from_string(name).is_ok(),
        // Object files are kept beside the store by `debuginfo`, which knows them.
        [TENANT, "debuginfo", ..] => true,
        [TENANT, "blocks", id, file] => {
            let is_file = file == columns::META || columns::FILES.contains(&file);
            Ulid::from_string(id).is_ok() && is_file
        }
        _ => false,
    }
}

/// The log objects, of all in ascending order, that are below a floor and not the seals of the last epochs.
pub(crate) fn left_over(positions: &[LogPosition], floor: LogPosition) -> Vec<LogPosition> {
    // An epoch before that of the floor is sealed, and its last object is the seal.
    let is_seal = |at: usize| {
        let LogPosition { epoch, .. } = positions[at];
        let is_last = positions.get(at + 1).is_none_or(|next| next.epoch != epoch);
        is_last && epoch < floor.epoch && epoch + SEALS_KEPT >= floor.epoch
    };
    let below = (0..positions.len()).filter(|&at| positions[at] < floor && !is_seal(at));
    below.map(|at| positions[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::meta::FileMeta;

    fn check(positions: &[(u64, u64)], floor: (u64, u64), expected: &[(u64, u64)]) {
        let position = |&(epoch, seq): &(u64, u64)| LogPosition { epoch, seq };
        let positions: Vec<_> = positions.iter().map(position).collect();
        let expected: Vec<_> = expected.iter().map(position).collect();
        assert_eq!(left_over(&positions, position(&floor)), expected, "{floor:?}");
    }

    #[test]
    fn seals_of_the_last_epochs_stay() {
        let all = [(1, 0), (1, 1), (2, 0), (3, 0), (3, 1), (3, 2), (4, 0)];
        check(&all, (1, 0), &[]);
        check(&all, (1, 1), &[(1, 0)]);
        check(&all, (3, 2), &[(1, 0), (3, 0), (3, 1)]);
        check(&all, (4, 1), &[(1, 0), (3, 0), (3, 1), (4, 0)]);
        check(&all, (SEALS_KEPT + 3, 0), &[(1, 0), (1, 1), (2, 0), (3, 0), (3, 1)]);
    }

    #[tokio::test]
    async fn blocks_of_known_formats_are_read() {
        let objects = Arc::new(object_store::memory::InMemory::new());
        let storage = Storage { objects: objects.clone(), log: objects, read_cache: None };
        let files = BTreeMap::from([("samples.parquet".to_owned(), FileMeta::of(b"bytes", &[]))]);
        for format in 1..=4 {
            let id = format!("format{format}");
            let meta = BlockMeta { format, id, files: files.clone(), ..BlockMeta::default() };
            let entry = storage.put_block_meta(&meta, 0, 0).await.unwrap();
            match storage.block_meta(&entry).await {
                Ok(read) => assert_eq!((read, [2, 3].contains(&format)), (meta, true)),
                Err(error) => {
                    let refused = format!("block format {format}, this program reads 2 to 3");
                    assert!([1, 4].contains(&format) && error.to_string().contains(&refused), "{error}");
                }
            }
        }
    }
}
