//! Here are a build ID and addresses, gives you functions by a deadline: opens files, keeps those that are asked for,
//! and stays below a bound of memory.
//!
//! Nothing here fails: an address that cannot be resolved says why. What was not reached by the deadline goes on in the
//! background as far as it was begun, so that the next question finds it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Instant,
};

use decima_symbols::{Answer, BuildId, ObjectFiles, Options, Symbolizer, Unresolved, demangle::Mode};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{Debuginfo, ObjectFile};

/// Bounds and manner.
#[derive(Debug, Clone, Copy)]
pub struct ResolverOptions {
    /// How names are shown.
    pub mode: Mode,
    /// Memory for all files that are open, in bytes, besides the files themselves, which are mapped.
    pub memory_max_bytes: usize,
    /// Files read at one time.
    pub concurrent_max: usize,
}

impl Default for ResolverOptions {
    /// Half of what one large file may need would not do; two cores leave one for the rest.
    fn default() -> Self {
        Self { mode: Mode::default(), memory_max_bytes: 1 << 30, concurrent_max: 1 }
    }
}

/// A file that is open.
struct Open {
    symbolizer: Arc<Symbolizer>,
    /// The object that it was opened from.
    object: String,
    last_use: u64,
}

/// What is known of a build ID.
enum Known {
    File(Open),
    /// Nothing can be had, as of this version of the store and this moment.
    Nothing {
        reason: Unresolved,
        version: u64,
        at: Instant,
    },
}

#[derive(Default)]
struct Files {
    known: HashMap<BuildId, Known>,
    uses: u64,
}

/// Resolves addresses. One for the whole program.
pub struct Resolver {
    debuginfo: Arc<Debuginfo>,
    options: ResolverOptions,
    files: Mutex<Files>,
    permits: Arc<Semaphore>,
    /// Held while a file is fetched, by build ID; several share one.
    opening: [tokio::sync::Mutex<()>; OPENING],
}

/// Files that can be fetched at one time.
const OPENING: usize = 16;
/// How long "there is no file" is believed: a debuginfod server may have it later, which no version tells.
const NOTHING_FOR: std::time::Duration = std::time::Duration::from_secs(60);
/// Build IDs that are remembered to have nothing.
const KNOWN_MAX: usize = 16_384;

impl Resolver {
    /// Resolves from what this store holds and can get.
    pub fn new(debuginfo: Arc<Debuginfo>, options: ResolverOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.concurrent_max.max(1)));
        Self { debuginfo, options, files: Mutex::default(), permits, opening: Default::default() }
    }

    /// Grows whenever what could not be resolved may be worth another question.
    pub fn version(&self) -> u64 {
        self.debuginfo.version()
    }

    /// Functions at addresses of a file, in their order: file addresses, as `decima_symbols::normalize` makes them.
    ///
    /// Waits for debuginfod, for the disk and for its turn, but never longer than until the deadline.
    pub async fn resolve(
        self: &Arc<Self>,
        build_id: &str,
        addresses: &[u64],
        deadline: Instant,
    ) -> Vec<Answer> {
        let all = |reason| vec![Answer::Unresolved(reason); addresses.len()];
        let Ok(build_id) = BuildId::parse(build_id) else { return all(Unresolved::NoBuildId) };
        if let Some(answers) = self.cached(&build_id, addresses) {
            return answers;
        }
        let this = Arc::clone(self);
        let owned = addresses.to_vec();
        // A task of its own: fetching a file goes on behind the deadline.
        let task = tokio::spawn(async move { this.resolve_file(build_id, owned, deadline).await });
        match tokio::time::timeout_at(deadline.into(), task).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                tracing::error!(%error, "reading debug information panicked");
                all(Unresolved::Damaged)
            }
            Err(_) => all(Unresolved::Deadline),
        }
    }

    /// Answers without waiting, if every address was asked for before or none can be resolved.
    pub fn cached(&self, build_id: &BuildId, addresses: &[u64]) -> Option<Vec<Answer>> {
        let symbolizer = {
            let mut files = self.files.lock();
            files.uses += 1;
            let uses = files.uses;
            match files.known.get_mut(build_id)? {
                Known::File(open) => {
                    open.last_use = uses;
                    Arc::clone(&open.symbolizer)
                }
                Known::Nothing { reason, version, at } => {
                    let fresh = *version == self.debuginfo.version() && at.elapsed() < NOTHING_FOR;
                    return fresh.then(|| vec![Answer::Unresolved(*reason); addresses.len()]);
                }
            }
        };
        addresses.iter().map(|&address| symbolizer.cached(address)).collect()
    }

    async fn resolve_file(
        self: Arc<Self>,
        build_id: BuildId,
        addresses: Vec<u64>,
        deadline: Instant,
    ) -> Vec<Answer> {
        let count = addresses.len();
        let all = move |reason| vec![Answer::Unresolved(reason); count];
        let symbolizer = match self.open(&build_id).await {
            Ok(symbolizer) => symbolizer,
            Err(reason) => return all(reason),
        };
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return all(Unresolved::Deadline);
        };
        let this = Arc::clone(&self);
        let reading = tokio::task::spawn_blocking(move || {
            let answers = symbolizer.symbolize_all(&addresses, &|| Instant::now() < deadline);
            drop(permit);
            this.make_room();
            answers
        });
        match reading.await {
            Ok(answers) => answers,
            Err(error) => {
                // A fault of a reader that this file brings out: not again.
                tracing::error!(%build_id, %error, "reading debug information panicked");
                self.nothing(&build_id, Unresolved::Damaged);
                all(Unresolved::Damaged)
            }
        }
    }

    async fn open(&self, build_id: &BuildId) -> Result<Arc<Symbolizer>, Unresolved> {
        // A file is fetched once, however many ask for it at one time.
        let mut hasher = DefaultHasher::new();
        build_id.hash(&mut hasher);
        let _opening = self.opening[hasher.finish() as usize % OPENING].lock().await;
        if let Some(Known::Nothing { reason, version, at }) = self.files.lock().known.get(build_id)
            && *version == self.debuginfo.version()
            && at.elapsed() < NOTHING_FOR
        {
            return Err(*reason);
        }
        let version = self.debuginfo.version();
        let (object, bytes) = match self.debuginfo.object_file(build_id).await {
            Ok(ObjectFile::Held { object, bytes }) => (object, bytes),
            Ok(ObjectFile::Missing(reason)) => {
                self.nothing_as_of(build_id, reason, version);
                return Err(reason);
            }
            Err(error) => {
                tracing::warn!(%build_id, error = &error as &dyn std::error::Error, "debuginfo cannot be read");
                return Err(Unresolved::NoDebuginfo);
            }
        };
        let mut files = self.files.lock();
        files.uses += 1;
        let uses = files.uses;
        if let Some(Known::File(open)) = files.known.get_mut(build_id)
            && open.object == object
        {
            open.last_use = uses;
            return Ok(Arc::clone(&open.symbolizer));
        }
        let share = self.options.memory_max_bytes / 2;
        let options =
            Options { mode: self.options.mode, memory_max_bytes: share, cache_max_bytes: share / 8 };
        let parts =
            ObjectFiles { object: bytes, debuginfo: None, alternate: None, package: None, companions: None };
        let Ok(symbolizer) = Symbolizer::open(parts, options) else {
            drop(files);
            self.nothing_as_of(build_id, Unresolved::NotAnObject, version);
            return Err(Unresolved::NotAnObject);
        };
        let symbolizer = Arc::new(symbolizer);
        let open = Open { symbolizer: Arc::clone(&symbolizer), object, last_use: uses };
        files.known.insert(build_id.clone(), Known::File(open));
        Ok(symbolizer)
    }

    fn nothing(&self, build_id: &BuildId, reason: Unresolved) {
        self.nothing_as_of(build_id, reason, self.debuginfo.version());
    }

    fn nothing_as_of(&self, build_id: &BuildId, reason: Unresolved, version: u64) {
        let mut files = self.files.lock();
        if files.known.len() >= KNOWN_MAX {
            files.known.retain(|_, known| matches!(known, Known::File(_)));
        }
        files.known.insert(build_id.clone(), Known::Nothing { reason, version, at: Instant::now() });
    }

    /// Closes files, those not used for longest first, until what is left is within bounds.
    fn make_room(&self) {
        let mut open: Vec<_> = {
            let files = self.files.lock();
            let open = files.known.iter().filter_map(|(build_id, known)| match known {
                Known::File(open) => Some((open.last_use, build_id.clone(), Arc::clone(&open.symbolizer))),
                Known::Nothing { .. } => None,
            });
            open.collect()
        };
        // Counted without the lock: a file that is being read is waited for.
        open.sort_by_key(|(last_use, ..)| *last_use);
        let sizes: Vec<_> = open.iter().map(|(.., symbolizer)| symbolizer.memory_bytes()).collect();
        let mut held: usize = sizes.iter().sum();
        for ((_, build_id, _), size) in open.iter().zip(sizes) {
            if held <= self.options.memory_max_bytes {
                break;
            }
            held -= size;
            self.files.lock().known.remove(build_id);
        }
    }
}
