//! The object files of a build ID while they are open: what reads them, their split DWARF, and the answers that are kept of them.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use decima_symbols::{Answer, ObjectFiles, Options, Symbolizer, Unresolved, elf::ElfError};
use parking_lot::Mutex;

use crate::{
    Address,
    answer_cache::{AnswerCache, AnswersName},
    retention::FileName,
    split_dwarf::SplitDwarf,
};

/// Object files that are open.
pub(crate) struct Reader {
    symbolizer: Symbolizer,
    split: Arc<SplitDwarf>,
    kept: Option<Kept>,
    /// What the files are kept as, and when it was said last that they are used.
    names: Vec<FileName>,
    use_noted: Mutex<Instant>,
}

/// Answers on disk.
struct Kept {
    cache: Arc<AnswerCache>,
    name: AnswersName,
    /// Addresses whose answers are there: each is kept once.
    addresses: Mutex<HashSet<u64>>,
}

/// Addresses of one program that are kept at most. Of more, those that are not are read again.
const KEPT_MAX: usize = 1 << 20;

/// Much shorter than what retention is measured in.
const USE_NOTED_EVERY: Duration = Duration::from_secs(600);

impl Reader {
    /// Opens files, and takes the answers that are kept of them. Blocks.
    pub(crate) fn open(
        names: Vec<FileName>,
        mut files: ObjectFiles,
        options: Options,
        split: Arc<SplitDwarf>,
        kept: Option<(Arc<AnswerCache>, AnswersName)>,
    ) -> Result<Self, ElfError> {
        files.companions = Some(Arc::clone(&split) as _);
        let symbolizer = Symbolizer::open(files, options)?;
        let kept = kept.map(|(cache, name)| {
            let mut addresses = HashSet::new();
            cache.load(&name, |address, answer| {
                symbolizer.remember(address, answer);
                addresses.insert(address);
            });
            Kept { cache, name, addresses: Mutex::new(addresses) }
        });
        Ok(Self { symbolizer, split, kept, names, use_noted: Mutex::new(Instant::now()) })
    }

    /// The files that answers come from, now and then: who has all answers in memory needs them all the same.
    pub(crate) fn used(&self) -> Option<Vec<FileName>> {
        let mut noted = self.use_noted.try_lock()?;
        if noted.elapsed() < USE_NOTED_EVERY {
            return None;
        }
        *noted = Instant::now();
        Some(self.names.iter().cloned().chain(self.split.names()).collect())
    }

    /// Whether other files that arrived would tell more.
    pub(crate) fn is_outdated(&self) -> bool {
        self.split.would_find_more()
    }

    /// Memory held besides the files, in bytes. Never waits.
    pub(crate) fn memory_bytes(&self) -> usize {
        let addresses = self.kept.as_ref().and_then(|kept| Some(kept.addresses.try_lock()?.capacity()));
        // A hash table has a byte for each place besides what is in it.
        self.symbolizer.memory_bytes() + addresses.unwrap_or_default() * (size_of::<u64>() + 1)
    }

    /// What is known without reading.
    pub(crate) fn cached(&self, address: &Address) -> Option<Answer> {
        match self.symbolizer.file_address(address.address, address.mapping) {
            Some(address) => self.symbolizer.cached(address),
            None => Some(Answer::Unresolved(Unresolved::Unmapped)),
        }
    }

    /// Functions at addresses, in their order, and keeps what is new. Blocks.
    pub(crate) fn resolve(&self, addresses: &[Address], deadline: Instant) -> Vec<Answer> {
        let in_file = |address: &Address| self.symbolizer.file_address(address.address, address.mapping);
        let places: Vec<Option<u64>> = addresses.iter().map(in_file).collect();
        let known: Vec<u64> = places.iter().copied().flatten().collect();
        let answers = self.symbolizer.symbolize_all(&known, &|| Instant::now() < deadline);
        self.keep(&known, &answers);
        let mut answers = answers.into_iter();
        let unmapped = || Answer::Unresolved(Unresolved::Unmapped);
        places.iter().map(|place| place.and_then(|_| answers.next()).unwrap_or_else(unmapped)).collect()
    }

    fn keep(&self, addresses: &[u64], answers: &[Answer]) {
        let Some(kept) = &self.kept else { return };
        // What was found with less than there may be is not worth keeping.
        if self.split.has_missed() {
            return;
        }
        let mut known = kept.addresses.lock();
        let is_final = |answer: &Answer| match answer {
            Answer::Resolved(_) => true,
            Answer::Unresolved(reason) => reason.is_final(),
        };
        let new: Vec<_> = addresses
            .iter()
            .zip(answers)
            .filter(|(address, answer)| is_final(answer) && known.len() < KEPT_MAX && known.insert(**address))
            .map(|(address, answer)| (*address, answer.clone()))
            .collect();
        drop(known);
        if new.is_empty() {
            return;
        }
        if let Err(error) = kept.cache.append(&kept.name, &new) {
            tracing::warn!(%error, "answers cannot be kept on disk");
        }
    }
}
