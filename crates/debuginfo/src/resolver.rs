//! Here are a build ID and addresses, gives you functions by a deadline: opens files, keeps those that are asked for,
//! and stays below a bound of memory.
//!
//! Nothing here fails: an address that cannot be resolved says why. What was not reached by the deadline is read in the
//! background, so that a later question finds it. Nobody waits for the network: what a debuginfod server may have is asked for
//! in the background too, and [`Resolver::version`] tells when another question is worth it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, Instant},
};

use decima_base::ErrorKind;
use decima_symbols::{Answer, BuildId, Options, Unresolved, demangle::Mode, normalize::Mapping};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{
    Debuginfo, HeldFiles, ObjectFile,
    answer_cache::{AnswerCache, AnswersName},
    reader::Reader,
    split_dwarf::SplitDwarf,
};

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

/// An address with the mapping that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// In the process, or in the file if the mapping says nothing.
    pub address: u64,
    /// Where the process has the file.
    pub mapping: Mapping,
}

/// A file that is open.
struct Open {
    reader: Arc<Reader>,
    /// The objects that it was opened from.
    objects: String,
    /// As of which version of the store this is the file.
    version: u64,
    last_use: u64,
}

/// What is known of a build ID.
enum Known {
    File(Open),
    /// A debuginfod server is being asked.
    Fetching,
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
    /// Build IDs that debuginfod was asked for although something is here, and when.
    asked_for: HashMap<BuildId, Instant>,
    uses: u64,
}

/// Resolves addresses. One for the whole program.
pub struct Resolver {
    debuginfo: Arc<Debuginfo>,
    options: ResolverOptions,
    answers: Option<Arc<AnswerCache>>,
    files: Mutex<Files>,
    permits: Arc<Semaphore>,
    /// Held while a file is opened, by build ID; several share one.
    opening: [tokio::sync::Mutex<()>; OPENING],
    /// Held by what is read although nobody waits for it any more.
    late: Arc<Semaphore>,
}

/// Files that can be opened at one time.
const OPENING: usize = 16;
/// How long a file is read that nobody waits for any more.
const LATE_FOR: Duration = Duration::from_secs(120);
/// Such files at one time; each waits for its turn to be read.
const LATE_MAX: usize = 8;
/// Files that are being asked for at debuginfod at one time; others are when they are asked for again.
const FETCHING_MAX: usize = 64;
/// How long "there is no file" is believed: a debuginfod server may have it later, which no version tells.
const NOTHING_FOR: Duration = Duration::from_secs(60);
/// Build IDs that are remembered to have nothing.
const KNOWN_MAX: usize = 16_384;

impl Resolver {
    /// Resolves from what this store holds and can get.
    pub fn new(debuginfo: Arc<Debuginfo>, options: ResolverOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.concurrent_max.max(1)));
        let late = Arc::new(Semaphore::new(LATE_MAX));
        Self {
            debuginfo,
            options,
            answers: None,
            files: Mutex::default(),
            permits,
            opening: Default::default(),
            late,
        }
    }

    /// Keeps answers there as well, for other processes after this one.
    #[must_use]
    pub fn with_answers(self, answers: AnswerCache) -> Self {
        Self { answers: Some(Arc::new(answers)), ..self }
    }

    /// Size of the answers that are kept on disk.
    pub fn kept_bytes(&self) -> u64 {
        self.answers.as_ref().map_or(0, |answers| answers.size_bytes())
    }

    /// Memory for all files that are open, in bytes, besides the files themselves. Never waits.
    pub fn memory_bytes(&self) -> usize {
        self.open_files().iter().map(|(.., reader)| reader.memory_bytes()).sum()
    }

    /// Grows whenever what could not be resolved may be worth another question.
    pub fn version(&self) -> u64 {
        self.debuginfo.version()
    }

    /// Whether a file that is here tells lines of a build ID: then what has no more than a name is worth a question. Never waits.
    pub fn has_lines(&self, build_id: &str) -> bool {
        BuildId::parse(build_id).is_ok_and(|build_id| self.debuginfo.has_lines(&build_id))
    }

    /// Functions at addresses of a file, in their order.
    ///
    /// Waits for the disk and for its turn, but never longer than until the deadline, and never for the network.
    pub async fn resolve(
        self: &Arc<Self>,
        build_id: &str,
        addresses: &[Address],
        deadline: Instant,
    ) -> Vec<Answer> {
        let all = |reason| vec![Answer::Unresolved(reason); addresses.len()];
        let Ok(build_id) = BuildId::parse(build_id) else { return all(Unresolved::NoBuildId) };
        if let Some(answers) = self.cached(&build_id, addresses) {
            return answers;
        }
        let addresses: Arc<[Address]> = addresses.into();
        let task =
            tokio::spawn(Arc::clone(self).resolve_file(build_id.clone(), Arc::clone(&addresses), deadline));
        let answers = match tokio::time::timeout_at(deadline.into(), task).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                tracing::error!(%build_id, %error, "reading debug information panicked");
                return all(Unresolved::Damaged);
            }
            Err(_) => all(Unresolved::Deadline),
        };
        if answers.contains(&Answer::Unresolved(Unresolved::Deadline)) {
            self.resolve_late(build_id, addresses);
        }
        answers
    }

    /// Reads on behind a deadline, for the next question.
    fn resolve_late(self: &Arc<Self>, build_id: BuildId, addresses: Arc<[Address]>) {
        let Ok(permit) = Arc::clone(&self.late).try_acquire_owned() else { return };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _ = this.resolve_file(build_id, addresses, Instant::now() + LATE_FOR).await;
            drop(permit);
        });
    }

    /// Answers without waiting, if every address was asked for before or none can be resolved.
    fn cached(&self, build_id: &BuildId, addresses: &[Address]) -> Option<Vec<Answer>> {
        let all = |reason| vec![Answer::Unresolved(reason); addresses.len()];
        let reader = {
            let mut files = self.files.lock();
            files.uses += 1;
            let uses = files.uses;
            match files.known.get_mut(build_id)? {
                Known::File(open) => {
                    open.last_use = uses;
                    // Another file may have come for the same build ID.
                    if open.version != self.debuginfo.version() {
                        return None;
                    }
                    Arc::clone(&open.reader)
                }
                Known::Fetching => return Some(all(Unresolved::Fetching)),
                Known::Nothing { reason, version, at } => {
                    let fresh = *version == self.debuginfo.version() && at.elapsed() < NOTHING_FOR;
                    return fresh.then(|| all(*reason));
                }
            }
        };
        if let Some(names) = reader.used() {
            self.debuginfo.note_use(names);
        }
        addresses.iter().map(|address| reader.cached(address)).collect()
    }

    async fn resolve_file(
        self: Arc<Self>,
        build_id: BuildId,
        addresses: Arc<[Address]>,
        deadline: Instant,
    ) -> Vec<Answer> {
        let count = addresses.len();
        let all = move |reason| vec![Answer::Unresolved(reason); count];
        let reader = match self.open(&build_id).await {
            Ok(reader) => reader,
            Err(reason) => return all(reason),
        };
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return all(Unresolved::Deadline);
        };
        let this = Arc::clone(&self);
        let reading = tokio::task::spawn_blocking(move || {
            let answers = reader.resolve(&addresses, deadline);
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

    /// Asks debuginfod, for later questions.
    fn fetch(self: &Arc<Self>, build_id: &BuildId) {
        {
            let mut files = self.files.lock();
            let fetching = files.known.values().filter(|known| matches!(known, Known::Fetching)).count();
            if fetching >= FETCHING_MAX {
                return;
            }
            files.known.insert(build_id.clone(), Known::Fetching);
        }
        let (this, build_id) = (Arc::clone(self), build_id.clone());
        tokio::spawn(async move {
            let fetched = this.debuginfo.fetch(&build_id).await;
            // The next question opens what is here now.
            this.files.lock().known.remove(&build_id);
            match fetched {
                Ok(None) => {}
                Ok(Some(reason)) => this.nothing(&build_id, reason),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%build_id, error, "debuginfo cannot be kept");
                    this.nothing(&build_id, Unresolved::DebuginfodFailed);
                }
            }
        });
    }

    /// Asks debuginfod for a file that tells more than those that are here.
    fn fetch_more(self: &Arc<Self>, build_id: BuildId) {
        {
            let mut files = self.files.lock();
            files.asked_for.retain(|_, at| at.elapsed() < NOTHING_FOR);
            if files.asked_for.len() >= FETCHING_MAX || files.asked_for.contains_key(&build_id) {
                return;
            }
            files.asked_for.insert(build_id.clone(), Instant::now());
        }
        let debuginfo = Arc::clone(&self.debuginfo);
        tokio::spawn(async move {
            if let Err(error) = debuginfo.fetch(&build_id).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%build_id, error, "debuginfo cannot be kept");
            }
        });
    }

    async fn open(self: &Arc<Self>, build_id: &BuildId) -> Result<Arc<Reader>, Unresolved> {
        // A file is opened once, however many ask for it at one time.
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
        let HeldFiles { objects, names, files, wanted } = match self.debuginfo.object_file(build_id).await {
            Ok(ObjectFile::Held(held)) => held,
            Ok(ObjectFile::Missing(reason)) => {
                self.nothing_as_of(build_id, reason, version);
                return Err(reason);
            }
            Ok(ObjectFile::Elsewhere) => {
                self.fetch(build_id);
                return Err(Unresolved::Fetching);
            }
            // It was told of where it was found.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.nothing_as_of(build_id, Unresolved::Damaged, version);
                return Err(Unresolved::Damaged);
            }
            Err(error) => {
                tracing::warn!(%build_id, error = &error as &dyn std::error::Error, "debuginfo cannot be read");
                return Err(Unresolved::NoDebuginfo);
            }
        };
        for wanted in wanted {
            self.fetch_more(wanted);
        }
        if let Some(reader) = self.still_open(build_id, &objects, version) {
            return Ok(reader);
        }
        let share = self.options.memory_max_bytes / 2;
        let mode = self.options.mode;
        let options = Options { mode, memory_max_bytes: share, cache_max_bytes: share / 8 };
        let split = Arc::new(SplitDwarf::new(Arc::clone(&self.debuginfo)));
        let kept = self.answers.clone().map(|cache| (cache, AnswersName::new(build_id, &objects, mode)));
        let opening = tokio::task::spawn_blocking(move || Reader::open(names, files, options, split, kept));
        let Ok(Ok(reader)) = opening.await else {
            self.nothing_as_of(build_id, Unresolved::NotAnObject, version);
            return Err(Unresolved::NotAnObject);
        };
        let reader = Arc::new(reader);
        let mut files = self.files.lock();
        files.uses += 1;
        let open = Open { reader: Arc::clone(&reader), objects, version, last_use: files.uses };
        files.known.insert(build_id.clone(), Known::File(open));
        Ok(reader)
    }

    /// What is open already, if that is still what there is.
    fn still_open(&self, build_id: &BuildId, objects: &str, version: u64) -> Option<Arc<Reader>> {
        let mut files = self.files.lock();
        files.uses += 1;
        let uses = files.uses;
        match files.known.get_mut(build_id) {
            Some(Known::File(open)) if open.objects == objects && !open.reader.is_outdated() => {
                (open.last_use, open.version) = (uses, version);
                Some(Arc::clone(&open.reader))
            }
            _ => None,
        }
    }

    fn nothing(&self, build_id: &BuildId, reason: Unresolved) {
        self.nothing_as_of(build_id, reason, self.debuginfo.version());
    }

    fn nothing_as_of(&self, build_id: &BuildId, reason: Unresolved, version: u64) {
        let mut files = self.files.lock();
        if files.known.len() >= KNOWN_MAX {
            files.known.retain(|_, known| !matches!(known, Known::Nothing { .. }));
        }
        files.known.insert(build_id.clone(), Known::Nothing { reason, version, at: Instant::now() });
    }

    fn open_files(&self) -> Vec<(u64, BuildId, Arc<Reader>)> {
        let files = self.files.lock();
        let open = files.known.iter().filter_map(|(build_id, known)| match known {
            Known::File(open) => Some((open.last_use, build_id.clone(), Arc::clone(&open.reader))),
            Known::Nothing { .. } | Known::Fetching => None,
        });
        open.collect()
    }

    /// Closes files, those not used for longest first, until what is left is within bounds.
    fn make_room(&self) {
        let mut open = self.open_files();
        open.sort_by_key(|(last_use, ..)| *last_use);
        let sizes: Vec<_> = open.iter().map(|(.., reader)| reader.memory_bytes()).collect();
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
