//! Which files together tell of a program: the program, its debug information, and the files that those refer to.
//!
//! | file | found by |
//! |---|---|
//! | debug information beside a program | build ID, else the checksum in `.gnu_debuglink` |
//! | what several share (dwz) | the build ID in `.gnu_debugaltlink` |
//! | split DWARF (`.dwo`, `.dwp`) | the ids of its units, when an address needs one |

use decima_base::ErrorKind;
use decima_symbols::{BuildId, ObjectBytes, ObjectFiles, elf::Elf};
use object_store::path::Path;

use super::{Debuginfo, DebuginfoError, Record, Records, stored_path};
use crate::{
    record::{FileKind, State},
    retention::FileName,
};

/// Files that are here.
#[derive(Clone)]
pub struct HeldFiles {
    /// Names of the objects: other files have others.
    pub objects: String,
    /// What they are kept as: whoever goes on using them says so now and then ([`Debuginfo::note_use`]).
    pub names: Vec<FileName>,
    /// Their bytes.
    pub files: ObjectFiles,
    /// Build IDs of files that would tell more, and that a debuginfod server may have: [`Debuginfo::fetch`].
    pub wanted: Vec<BuildId>,
}

/// A file that is held.
pub(crate) struct Held {
    pub(crate) name: FileName,
    /// Its object: another file under the same name is another one.
    pub(crate) path: Path,
    pub(crate) bytes: ObjectBytes,
    kind: FileKind,
    stripped: bool,
}

impl Held {
    /// What another file has to be for it.
    fn read<T>(&self, what: impl FnOnce(&Elf<'_>) -> Option<T>) -> Option<T> {
        what(&Elf::parse((*self.bytes).as_ref()).ok()?)
    }
}

/// Kinds of files that tell functions, the one that tells most first.
const TELLING: [FileKind; 3] = [FileKind::Fetched, FileKind::Debuginfo, FileKind::Executable];

impl Debuginfo {
    /// Whether a file that is here tells the lines of a program, as far as its name and the checksum that it names say. Looks at
    /// what is known of files, not at files.
    pub fn has_lines(&self, build_id: &BuildId) -> bool {
        let names = self.names(build_id);
        let records = self.records.lock();
        let tells = |record: &Record| record.quality.is_some_and(|quality| !quality.is_stripped());
        let linked = |record: &Record| records.with_crc32(record.linked_crc32?);
        let mut of_program = TELLING.into_iter().filter_map(|kind| records.usable(&names, kind));
        of_program.any(|record| {
            tells(record) || linked(record).is_some_and(|linked| is_usable(linked) && tells(linked))
        })
    }

    /// What is here of a build ID.
    pub(super) async fn held(&self, build_id: &BuildId) -> Result<Option<HeldFiles>, DebuginfoError> {
        let names = self.names(build_id);
        let mut found = Vec::new();
        let mut damaged = None;
        for kind in TELLING {
            match self.get(|records| records.usable(&names, kind)).await {
                Ok(held) => found.extend(held),
                // Another kind may tell as much.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let told = &error as &dyn std::error::Error;
                    tracing::error!(%build_id, error = told, "an object file is not used; upload it again with --force");
                    damaged = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if found.is_empty() {
            return damaged.map_or(Ok(None), Err);
        }
        let mut wanted = Vec::new();
        if found.iter().all(|held| held.stripped) {
            match self.linked(&found).await? {
                Some(linked) => found.insert(0, linked),
                // What was of no use once is not asked for again.
                None if self.was_fetched(&names) => {}
                None => wanted.push(build_id.clone()),
            }
        }
        let best = found.iter().position(|held| !held.stripped).unwrap_or_default();
        let debuginfo = found.remove(best);
        // Only the program says how it is mapped, and only it has what its debug information leaves out.
        let tells_more = |other: &Held| {
            let is_mapped = other.read(|elf| (!elf.segments().is_empty()).then_some(()));
            debuginfo.kind != FileKind::Executable
                && (other.kind == FileKind::Executable || is_mapped.is_some())
        };
        let program = found.pop().filter(tells_more);
        let mut alternate = None;
        if let Some(id) = debuginfo.read(|elf| BuildId::parse(&elf.alternate_link()?.build_id?).ok()) {
            let name = id.to_string();
            alternate = self.get(|records| records.find(&name, FileKind::Debuginfo)).await?;
            if alternate.is_none() {
                wanted.push(id);
            }
        }
        if self.debuginfod.is_none() {
            wanted.clear();
        }
        let all = [Some(&debuginfo), program.as_ref(), alternate.as_ref()];
        let names = all.into_iter().flatten().map(|held| held.name.clone()).collect();
        let objects = all.into_iter().flatten().map(|held| held.path.as_ref()).collect::<Vec<_>>().join(" ");
        let (object, debuginfo) = match program {
            Some(program) => (program.bytes, Some(debuginfo.bytes)),
            None => (debuginfo.bytes, None),
        };
        let alternate = alternate.map(|held| held.bytes);
        let files = ObjectFiles { object, debuginfo, alternate, companions: None };
        Ok(Some(HeldFiles { objects, names, files, wanted }))
    }

    /// The file with a unit of split DWARF.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn split_dwarf(&self, id: u64) -> Result<Option<Held>, DebuginfoError> {
        self.get(|records| records.with_split_unit(id)).await
    }

    /// Files are used, also if nobody asked for them: retention leaves them alone.
    pub(crate) fn note_use(&self, names: impl IntoIterator<Item = FileName>) {
        let now_ns = (self.options.clock)();
        self.records.lock().used.extend(names.into_iter().map(|name| (name, now_ns)));
    }

    /// Whether there is a file with a unit of split DWARF.
    pub(crate) fn has_split_dwarf(&self, id: u64) -> bool {
        self.records.lock().with_split_unit(id).is_some_and(is_usable)
    }

    /// The debug information that one of some stripped files names by checksum. Different files may have one checksum, so that it
    /// must have the same code.
    async fn linked(&self, stripped: &[Held]) -> Result<Option<Held>, DebuginfoError> {
        for stripped in stripped {
            let Some(crc32) = stripped.read(|elf| elf.debug_link()?.crc32) else { continue };
            let linked = self.get(|records| records.with_crc32(crc32)).await?;
            let fits = |linked: &Held| {
                stripped.read(|elf| linked.read(|other| Some(elf.has_code_of(other)))).unwrap_or_default()
            };
            if let Some(linked) = linked.filter(fits) {
                return Ok(Some(Held { kind: FileKind::Debuginfo, ..linked }));
            }
        }
        Ok(None)
    }

    /// Whether debuginfod gave something beside the upload already, of use or not.
    fn was_fetched(&self, names: &[String]) -> bool {
        let records = self.records.lock();
        names.iter().any(|name| records.find(name, FileKind::Fetched).is_some())
    }

    /// A file that is held, noting that it is used.
    async fn get(
        &self,
        find: impl FnOnce(&Records) -> Option<&Record>,
    ) -> Result<Option<Held>, DebuginfoError> {
        let (name, path, checksum, kind, stripped) = {
            let mut records = self.records.lock();
            let Some(record) = find(&records).filter(|record| is_usable(record)) else { return Ok(None) };
            let Some(path) = stored_path(record) else { return Ok(None) };
            let (name, stripped) = ((record.build_id.clone(), record.kind), record.is_stripped());
            let kind = record.kind;
            let checksum = record.stored().and_then(|stored| stored.checksum.clone());
            records.used.insert(name.clone(), (self.options.clock)());
            (name, path, checksum, kind, stripped)
        };
        match self.files.get(&*self.objects, &path, checksum.as_deref()).await {
            Ok(bytes) => Ok(Some(Held { name, kind, path, bytes, stripped })),
            // It went by retention just now.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All names that a file is known by, as far as others have told.
    fn names(&self, build_id: &BuildId) -> Vec<String> {
        let mut names = vec![build_id.to_string()];
        let others = (self.options.other_names.0)(build_id.as_str());
        names.extend(others.into_iter().filter(|name| name != build_id.as_str()));
        names
    }
}

/// Whether it has bytes that can be read: an upload has them before it has ended.
pub(super) fn is_usable(record: &Record) -> bool {
    !record.is_invalid() && !matches!(record.state, State::Uploading(_)) && record.stored().is_some()
}
