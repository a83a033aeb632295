//! Answers that outlive the process: what was read of object files once is not read again after a restart.
//!
//! ```text
//! <folder>/<build ID>.<hash of all that answers depend on>      magic, then pieces that are appended ([`piece`])
//! ```
//!
//! It is a cache: nothing is synced, and everything can be read from the object files again. So whatever is damaged is cut off, with what
//! follows, and said in the log; a wrong answer is ruled out by a checksum of each piece. Other object files, another way to show
//! names or another version of the reader make another name, and what was kept under the old one goes. Together the files stay within
//! a bound; those not used for longest go.

mod piece;

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read as _, Write as _},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use decima_symbols::{Answer, BuildId, demangle::Mode};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

/// Raised whenever the readers of object files give other answers than before.
const READERS_VERSION: u32 = 2;
/// First bytes of a file.
const MAGIC: [u8; 8] = *b"DECANSW1";

/// Answers on disk. One for the whole program.
pub struct AnswerCache {
    folder: PathBuf,
    bytes_max: u64,
    files: Mutex<Files>,
    /// Sum of the sizes, for those who do not want to wait for a write.
    bytes: AtomicU64,
}

#[derive(Default)]
struct Files {
    by_name: HashMap<String, Kept>,
    uses: u64,
}

struct Kept {
    size_bytes: u64,
    last_use: u64,
}

/// All that the answers of a file depend on besides the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswersName(String);

impl AnswersName {
    /// `objects` names the object files, each of which never changes under its name.
    pub(crate) fn new(build_id: &BuildId, objects: &str, mode: Mode) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let key = format!("{objects}\n{mode:?}\n{version}\n{READERS_VERSION}");
        Self(format!("{build_id}.{:032x}", xxh3_128(key.as_bytes())))
    }

    /// Whether a file holds answers for the same build ID.
    fn is_of_same(&self, file: &str) -> bool {
        let build_id = |name: &'_ str| name.rsplit_once('.').map(|(build_id, _)| build_id.to_owned());
        build_id(&self.0) == build_id(file)
    }
}

impl AnswerCache {
    /// Keeps answers in this folder, which is made, in at most so many bytes.
    ///
    /// # Errors
    /// If the folder can be neither made nor listed.
    pub fn open(folder: PathBuf, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                found.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, meta.len()));
            }
        }
        found.sort();
        let mut files = Files::default();
        for (_, name, size_bytes) in found {
            files.uses += 1;
            files.by_name.insert(name, Kept { size_bytes, last_use: files.uses });
        }
        let cache = Self { folder, bytes_max, files: Mutex::new(files), bytes: AtomicU64::new(0) };
        cache.make_room(&mut cache.files.lock(), None);
        Ok(cache)
    }

    /// Size of all files.
    pub fn size_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Gives every answer that is kept; forgets those for other object files of the same build ID. Blocks.
    pub(crate) fn load(&self, name: &AnswersName, mut each: impl FnMut(u64, Answer)) {
        let mut files = self.files.lock();
        files.uses += 1;
        let uses = files.uses;
        let stale: Vec<_> =
            files.by_name.keys().filter(|&file| *file != name.0 && name.is_of_same(file)).cloned().collect();
        for file in stale {
            self.remove(&mut files, &file);
        }
        if let Some(kept) = files.by_name.get_mut(&name.0) {
            kept.last_use = uses;
            match self.read(&name.0, &mut each) {
                Ok(size_bytes) => kept.size_bytes = size_bytes,
                Err(error) => {
                    tracing::warn!(
                        file = name.0,
                        error = &error as &dyn std::error::Error,
                        "kept answers cannot be read"
                    );
                    self.remove(&mut files, &name.0);
                }
            }
        }
        self.add_up(&files);
    }

    /// Reads to the end, or to what is damaged, and cuts that off. Gives the size that is left.
    fn read(&self, name: &str, each: &mut impl FnMut(u64, Answer)) -> io::Result<u64> {
        let file = OpenOptions::new().read(true).write(true).open(self.folder.join(name))?;
        let mut reader = BufReader::new(&file);
        let mut magic = [0; MAGIC.len()];
        reader.read_exact(&mut magic)?;
        if magic != MAGIC {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it begins otherwise"));
        }
        let mut good = MAGIC.len() as u64;
        loop {
            match piece::read(&mut reader) {
                Ok(None) => return Ok(good),
                Ok(Some(piece)) => {
                    good += piece.size_bytes;
                    piece.answers.into_iter().for_each(|(address, answer)| each(address, answer));
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        file = name,
                        offset = good,
                        error,
                        "kept answers end in damage, which is cut off"
                    );
                    file.set_len(good)?;
                    return Ok(good);
                }
            }
        }
    }

    /// Keeps more answers, as far as there is room. Blocks.
    ///
    /// # Errors
    /// If the file cannot be written; what was kept before stays.
    pub(crate) fn append(&self, name: &AnswersName, answers: &[(u64, Answer)]) -> io::Result<()> {
        let mut files = self.files.lock();
        files.uses += 1;
        let uses = files.uses;
        let before = files.by_name.get(&name.0).map_or(0, |kept| kept.size_bytes);
        let mut bytes = Vec::new();
        if before == 0 {
            bytes.extend_from_slice(&MAGIC);
        }
        for answers in answers.chunks(piece::ANSWERS_MAX) {
            piece::write(answers, &mut bytes);
        }
        let size_bytes = before + bytes.len() as u64;
        // One program's share: others are to stay when it is asked for more addresses than there is room for.
        if size_bytes > self.bytes_max / 2 {
            return Ok(());
        }
        let file = OpenOptions::new().append(true).create(true).open(self.folder.join(&name.0));
        let written = file.and_then(|mut file: File| file.write_all(&bytes));
        if written.is_ok() {
            files.by_name.insert(name.0.clone(), Kept { size_bytes, last_use: uses });
        } else {
            // What was written of it would spoil what comes after.
            self.remove(&mut files, &name.0);
        }
        self.make_room(&mut files, Some(&name.0));
        written
    }

    /// Removes files, those not used for longest first, until what is left is within bounds.
    fn make_room(&self, files: &mut Files, but: Option<&str>) {
        let size = |files: &Files| files.by_name.values().map(|kept| kept.size_bytes).sum::<u64>();
        while size(files) > self.bytes_max {
            let others = files.by_name.iter().filter(|(name, _)| Some(name.as_str()) != but);
            let oldest = others.min_by_key(|(_, kept)| kept.last_use).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            self.remove(files, &oldest);
        }
        self.add_up(files);
    }

    /// A file that cannot be removed counts no more: the next start finds it.
    fn remove(&self, files: &mut Files, name: &str) {
        files.by_name.remove(name);
        if let Err(error) = fs::remove_file(self.folder.join(name)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }) {
            tracing::warn!(file = name, %error, "kept answers cannot be removed");
        }
    }

    fn add_up(&self, files: &Files) {
        self.bytes.store(files.by_name.values().map(|kept| kept.size_bytes).sum(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
