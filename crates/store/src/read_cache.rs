//! Parts of blocks on a disk of this machine, so that a bucket is asked for each once.
//!
//! ```text
//! <directory>/lock                              held by the process that uses it
//! <directory>/<2 hex digits>/<32 hex digits>    the bytes of a part
//! ```
//! A part is what one checksum of a block covers (32 KiB at most), its name the xxh3-128 of the object's path and the part's number. Blocks
//! never change, so nothing here is ever out of date. A part is kept only if its checksum fits, and compared with it again whenever it is
//! read: what is damaged, torn or gone comes from the bucket again. So files are not synced, and the directory may be deleted at any
//! time, under a running process too.
//!
//! Invariant: the files together take at most the bytes that it was opened with, since each has an entry in a bounded index, and an entry
//! that goes takes its file along. Absent: what merging blocks reads, which is read once.

use std::{
    fmt,
    fs::{self, File},
    io,
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use object_store::path::Path;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{block::meta::PART_BYTES, error::OpenError, place::lock};

/// What a file takes of a disk is a multiple of this.
const DISK_BLOCK_BYTES: u64 = 4096;
/// Name of the file that is locked.
const LOCK: &str = "lock";

/// Bytes on the disk by the name of the part.
type Index = quick_cache::sync::Cache<u128, u64, Weighter, quick_cache::DefaultHashBuilder, Evicted>;

#[derive(Clone)]
struct Weighter;

impl quick_cache::Weighter<u128, u64> for Weighter {
    fn weight(&self, _: &u128, disk_bytes: &u64) -> u64 {
        *disk_bytes
    }
}

/// Collects the names of entries that go.
#[derive(Clone)]
struct Evicted;

impl quick_cache::Lifecycle<u128, u64> for Evicted {
    type RequestState = Vec<u128>;

    fn on_evict(&self, names: &mut Vec<u128>, name: u128, _: u64) {
        names.push(name);
    }
}

/// A part of a block's file.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    name: u128,
    /// Its bytes in the file.
    pub(crate) range: Range<u64>,
    /// xxh3-64 of them.
    checksum: u64,
}

impl Part {
    /// The part of a file with this number.
    pub(crate) fn new(path: &Path, number: usize, range: Range<u64>, checksum: u64) -> Self {
        Self { name: xxh3_128(format!("{path}#{number}").as_bytes()), range, checksum }
    }

    fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.range.end - self.range.start && xxh3_64(bytes) == self.checksum
    }
}

/// What became of reads through the cache; parts since the start unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadCacheCounts {
    /// Found on the disk.
    pub hits: u64,
    /// Read from the bucket.
    pub misses: u64,
    /// Of these, those whose file was damaged.
    pub damaged: u64,
    /// Parts that could not be written.
    pub write_failures: u64,
    /// What the files take now.
    pub size_bytes: u64,
    /// Whether what earlier processes left has been found: until then no parts are kept.
    pub is_indexed: bool,
}

/// Parts on a disk, bounded.
pub(crate) struct ReadCache {
    directory: PathBuf,
    index: Index,
    /// Whether the index knows of everything in the directory.
    is_indexed: AtomicBool,
    /// Makes names of files in the making differ.
    staged: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    write_failures: AtomicU64,
    /// Held for the life of the cache: one process per directory.
    _lock: File,
}

impl fmt::Debug for ReadCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadCache({})", self.directory.display())
    }
}

impl ReadCache {
    /// Locks a directory, which is made. Until [`index`](Self::index) has run, parts are found and none are kept.
    pub(crate) fn open(directory: &FilePath, bytes_max: u64) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Directory { path: directory.display().to_string(), source };
        fs::create_dir_all(directory).map_err(unusable)?;
        let lock = lock(directory, LOCK)?;
        let entries = usize::try_from(bytes_max / PART_BYTES).unwrap_or(usize::MAX).max(1);
        let hashes = quick_cache::DefaultHashBuilder::default();
        Ok(Self {
            directory: directory.to_owned(),
            index: Index::with(entries, bytes_max, Weighter, hashes, Evicted),
            is_indexed: AtomicBool::new(false),
            staged: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            write_failures: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Finds what earlier processes left, and deletes what is beyond the bound or was never finished.
    pub(crate) fn index(&self) -> io::Result<()> {
        for folder in 0..=u8::MAX {
            let entries = match fs::read_dir(self.directory.join(format!("{folder:02x}"))) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            for entry in entries {
                let entry = entry?;
                let found = match entry.file_name().to_str().and_then(parse) {
                    Some(name) => entry.metadata().map(|meta| self.keep(name, meta.len())),
                    None => fs::remove_file(entry.path()),
                };
                match found {
                    // A query has met it damaged meanwhile.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    found => found?,
                }
            }
        }
        self.is_indexed.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn counts(&self) -> ReadCacheCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReadCacheCounts {
            hits: get(&self.hits),
            misses: get(&self.misses),
            damaged: get(&self.damaged),
            write_failures: get(&self.write_failures),
            size_bytes: self.index.weight(),
            is_indexed: self.is_indexed.load(Ordering::Acquire),
        }
    }

    /// The bytes of each part that is here. Blocks.
    pub(crate) fn get(&self, parts: &[Part]) -> Vec<Option<Bytes>> {
        let found: Vec<_> = parts.iter().map(|part| self.get_one(part)).collect();
        let hits = found.iter().flatten().count() as u64;
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(parts.len() as u64 - hits, Ordering::Relaxed);
        found
    }

    fn get_one(&self, part: &Part) -> Option<Bytes> {
        if self.index.get(&part.name).is_none() && self.is_indexed.load(Ordering::Acquire) {
            return None;
        }
        match fs::read(self.path(part.name)) {
            Ok(bytes) if part.is(&bytes) => return Some(bytes.into()),
            Ok(_) => {
                self.damaged.fetch_add(1, Ordering::Relaxed);
            }
            // Deleted, or on a disk that fails: the bucket has it.
            Err(_) => {}
        }
        self.index.remove(&part.name);
        self.delete(part.name);
        None
    }

    /// Keeps parts whose bytes have been checked. Blocks. A disk that is full fails no query: it is counted, and told once.
    pub(crate) fn put(&self, parts: &[(Part, Bytes)]) {
        if !self.is_indexed.load(Ordering::Acquire) {
            return;
        }
        for (at, (part, bytes)) in parts.iter().enumerate() {
            if let Err(error) = self.put_one(part, bytes) {
                let left = (parts.len() - at) as u64;
                if self.write_failures.fetch_add(left, Ordering::Relaxed) == 0 {
                    tracing::warn!(directory = %self.directory.display(), %error, "parts of blocks are not kept on disk");
                }
                return;
            }
        }
    }

    fn put_one(&self, part: &Part, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(part.name);
        let staging = path.with_extension(self.staged.fetch_add(1, Ordering::Relaxed).to_string());
        let written = fs::write(&staging, bytes).or_else(|e| match (e.kind(), path.parent()) {
            (io::ErrorKind::NotFound, Some(folder)) => {
                fs::create_dir_all(folder)?;
                fs::write(&staging, bytes)
            }
            _ => Err(e),
        });
        if let Err(e) = written.and_then(|()| fs::rename(&staging, &path)) {
            let _ = fs::remove_file(&staging);
            return Err(e);
        }
        self.keep(part.name, bytes.len() as u64);
        Ok(())
    }

    /// Enters a file, and deletes those that have to go for it.
    fn keep(&self, name: u128, bytes: u64) {
        let disk_bytes = bytes.max(1).next_multiple_of(DISK_BLOCK_BYTES);
        let mut evicted = Vec::new();
        self.index.insert_with_lifecycle(name, disk_bytes, &mut evicted);
        for evicted in evicted {
            // The entry that this one replaces is of the same file.
            if !self.index.contains_key(&evicted) {
                self.delete(evicted);
            }
        }
    }

    /// Deletes a file; one that stays is found by the next start.
    fn delete(&self, name: u128) {
        let _ = fs::remove_file(self.path(name));
    }

    fn path(&self, name: u128) -> PathBuf {
        let name = format!("{name:032x}");
        self.directory.join(&name[..2]).join(name)
    }
}

/// Finds what is in the directory without keeping anybody waiting.
pub(crate) fn index_beside(cache: &Arc<ReadCache>) -> io::Result<()> {
    let cache = Arc::downgrade(cache);
    std::thread::Builder::new().name("decima-cache".to_owned()).spawn(move || {
        if let Some(cache) = cache.upgrade()
            && let Err(error) = cache.index()
        {
            tracing::warn!(directory = %cache.directory.display(), %error, "the read cache cannot be used");
        }
    })?;
    Ok(())
}

fn parse(name: &str) -> Option<u128> {
    if name.len() == 32 { u128::from_str_radix(name, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, bytes: &[u8]) -> Part {
        let range = number * PART_BYTES..number * PART_BYTES + bytes.len() as u64;
        Part::new(&Path::from("file"), number as usize, range, xxh3_64(bytes))
    }

    fn bytes(number: u64) -> Bytes {
        Bytes::from(vec![number as u8; PART_BYTES as usize])
    }

    fn opened(directory: &FilePath, bytes_max: u64) -> ReadCache {
        let cache = ReadCache::open(directory, bytes_max).unwrap();
        cache.index().unwrap();
        cache
    }

    fn disk_bytes(directory: &FilePath) -> u64 {
        let files = |entry: io::Result<fs::DirEntry>| -> u64 {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                return 0;
            }
            fs::read_dir(path).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
        };
        fs::read_dir(directory).unwrap().map(files).sum()
    }

    #[test]
    fn what_is_kept_is_found_after_a_restart_and_only_as_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (first, short) = (part(1, &bytes(1)), part(2, b"short"));
        let cache = opened(directory.path(), 1 << 20);
        assert_eq!(cache.get(&[first.clone(), short.clone()]), [None, None]);
        cache.put(&[(first.clone(), bytes(1)), (short.clone(), Bytes::from_static(b"short"))]);
        cache.put(&[(first.clone(), bytes(1))]);
        assert_eq!(cache.counts().size_bytes, PART_BYTES + DISK_BLOCK_BYTES);
        drop(cache);
        let cache = opened(directory.path(), 1 << 20);
        let found = cache.get(&[first, short, part(1, &bytes(7)), part(3, &bytes(3))]);
        assert_eq!(found, [Some(bytes(1)), Some(Bytes::from_static(b"short")), None, None]);
        let counts = cache.counts();
        assert_eq!((counts.hits, counts.misses, counts.damaged), (2, 2, 1), "bytes of another block's part");
    }

    #[test]
    fn the_bound_holds_and_holds_again_when_it_is_less() {
        let directory = tempfile::tempdir().unwrap();
        let cache = opened(directory.path(), 40 * PART_BYTES);
        for number in 0..200 {
            cache.put(&[(part(number, &bytes(number)), bytes(number))]);
            assert!(disk_bytes(directory.path()) <= 40 * PART_BYTES, "after {number}");
        }
        assert!(disk_bytes(directory.path()) >= 20 * PART_BYTES, "and is made use of");
        assert_eq!(cache.counts().size_bytes, disk_bytes(directory.path()));
        drop(cache);
        // What a killed process was writing.
        fs::create_dir_all(directory.path().join("00")).unwrap();
        fs::write(directory.path().join("00").join(format!("{:032x}.5", 1)), "half").unwrap();
        let cache = opened(directory.path(), 8 * PART_BYTES);
        assert!(disk_bytes(directory.path()) <= 8 * PART_BYTES);
        assert_eq!(cache.counts().size_bytes, disk_bytes(directory.path()));
    }

    #[test]
    fn a_directory_that_is_gone_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = opened(directory.path(), 1 << 20);
        let one = part(1, &bytes(1));
        cache.put(&[(one.clone(), bytes(1))]);
        fs::remove_dir_all(directory.path()).unwrap();
        assert_eq!(cache.get(std::slice::from_ref(&one)), [None]);
        cache.put(&[(one.clone(), bytes(1))]);
        assert_eq!(cache.get(&[one]), [Some(bytes(1))]);
        assert_eq!(cache.counts().write_failures, 0);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let cache = opened(directory.path(), 1 << 20);
        fs::remove_dir_all(directory.path()).unwrap();
        fs::write(directory.path(), "no directory").unwrap();
        cache.put(&[(part(1, &bytes(1)), bytes(1)), (part(2, &bytes(2)), bytes(2))]);
        assert_eq!(
            cache.counts(),
            ReadCacheCounts { write_failures: 2, is_indexed: true, ..ReadCacheCounts::default() }
        );
        fs::remove_file(directory.path()).unwrap();
    }

    #[test]
    fn one_process_uses_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = opened(directory.path(), 1 << 20);
        let second = ReadCache::open(directory.path(), 1 << 20);
        assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
        drop(cache);
        opened(directory.path(), 1 << 20);
    }
}
