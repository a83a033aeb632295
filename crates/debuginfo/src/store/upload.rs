//! Uploads: announced, streamed, ended, and looked at.

use bytes::Bytes;
use decima_symbols::{BuildId, ObjectBytes};
use object_store::{ObjectStoreExt as _, WriteMultipart, path::Path};
use ulid::Ulid;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::{Debuginfo, DebuginfoError, object_path, stored_path};
use crate::{
    debuginfod::{Fetched, Lookup},
    decision::{self, Proposal, Reason},
    files,
    record::{Contents, FileKind, Record, SplitUnits, State, Stored, Upload, checksum_text},
};

/// Parts of an upload that are written at one time.
const PARTS_MAX: usize = 2;

/// An upload that may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiated {
    /// What the sender names it by: a UUID, as Parca gives.
    pub upload_id: String,
}

impl Debuginfo {
    /// Whether a sender should upload a file, and why. `ask_debuginfod`: the build ID is one that debuginfod may know.
    ///
    /// # Errors
    /// If the build ID is none, or the store fails.
    pub async fn should_initiate(
        &self,
        build_id: &str,
        kind: FileKind,
        proposal: Proposal<'_>,
        ask_debuginfod: bool,
    ) -> Result<Reason, DebuginfoError> {
        let build_id = BuildId::parse(build_id)?;
        if let Some(reason) = self.decide(&build_id, kind, proposal) {
            return Ok(reason);
        }
        let Some(debuginfod) =
            self.debuginfod.as_ref().filter(|_| ask_debuginfod && kind == FileKind::Debuginfo)
        else {
            return Ok(Reason::FirstTimeSeen);
        };
        let Lookup::Found { server } = debuginfod.find(&build_id).await else {
            return Ok(Reason::FirstTimeSeen);
        };
        let _changes = self.changes.lock().await;
        // Somebody may have begun an upload meanwhile.
        if let Some(reason) = self.decide(&build_id, kind, proposal) {
            return Ok(reason);
        }
        self.write(Record {
            build_id: build_id.to_string(),
            kind,
            state: State::Debuginfod { server, stored: None },
            quality: None,
            gnu_build_id: None,
            file_hash: None,
            crc32: None,
            linked_crc32: None,
            split_units: SplitUnits::default(),
            last_used_ns: (self.options.clock)(),
        })
        .await?;
        self.arrived();
        Ok(Reason::InDebuginfod)
    }

    /// What is known decides; `None` if nothing is.
    fn decide(&self, build_id: &BuildId, kind: FileKind, proposal: Proposal<'_>) -> Option<Reason> {
        let duration_ns = i64::try_from(self.options.upload_max_duration.as_nanos()).unwrap_or(i64::MAX);
        let records = self.records.lock();
        let record = records.find(build_id.as_str(), kind)?;
        Some(decision::decide(record, proposal, (self.options.clock)(), duration_ns))
    }

    /// Announces an upload. The one that was announced before, if any, is over.
    ///
    /// # Errors
    /// If it is not wanted or too large, or the store fails.
    pub async fn initiate(
        &self,
        build_id: &str,
        kind: FileKind,
        proposal: Proposal<'_>,
        size_bytes: u64,
        ask_debuginfod: bool,
    ) -> Result<Initiated, DebuginfoError> {
        if proposal.hash.is_empty() {
            return Err(DebuginfoError::HashMissing);
        }
        if size_bytes == 0 {
            return Err(DebuginfoError::SizeMissing);
        }
        let reason = self.should_initiate(build_id, kind, proposal, ask_debuginfod).await?;
        if !reason.wants_upload() {
            let text = reason.as_str();
            return Err(match reason {
                Reason::InvalidEqual => DebuginfoError::SameInvalid { reason: text },
                _ => DebuginfoError::NotWanted { reason: text },
            });
        }
        let max_bytes = self.options.upload_max_bytes;
        if size_bytes > max_bytes {
            return Err(DebuginfoError::TooLarge { size_bytes, max_bytes });
        }
        let _changes = self.changes.lock().await;
        let parsed = BuildId::parse(build_id)?;
        // Two senders may have been told the same.
        let still = self.decide(&parsed, kind, proposal);
        if let Some(reason) = still.filter(|reason| !reason.wants_upload()) {
            return Err(DebuginfoError::NotWanted { reason: reason.as_str() });
        }
        let before = self.records.lock().find(build_id, kind).cloned();
        let mut replaced = before.as_ref().and_then(stored_path);
        if let Some(stripped) = before.as_ref().filter(|_| still == Some(Reason::Stripped))
            && self.keep_as_program(stripped).await?
        {
            replaced = None;
        }
        let now_ns = (self.options.clock)();
        let upload_id = Uuid::new_v4().to_string();
        self.write(Record {
            // A file that is known by another name keeps its place.
            build_id: before.as_ref().map_or_else(|| parsed.to_string(), |record| record.build_id.clone()),
            kind,
            state: State::Uploading(Upload {
                id: upload_id.clone(),
                hash: proposal.hash.to_owned(),
                announced_bytes: size_bytes,
                started_ns: now_ns,
                stored: None,
            }),
            quality: None,
            gnu_build_id: before.as_ref().and_then(|record| record.gnu_build_id.clone()),
            file_hash: before.as_ref().and_then(|record| record.file_hash.clone()),
            crc32: None,
            linked_crc32: None,
            split_units: SplitUnits::default(),
            last_used_ns: now_ns,
        })
        .await?;
        if let Some(path) = replaced {
            self.remove(&path).await?;
        }
        Ok(Initiated { upload_id })
    }

    /// What stands in the place of debug information and is stripped is the program, and becomes that unless one is there: until the
    /// debug information has arrived it still tells what it can. Gives whether its bytes are the program's now.
    async fn keep_as_program(&self, stripped: &Record) -> Result<bool, DebuginfoError> {
        let kind = FileKind::Executable;
        let program = self.records.lock().by_name.get(&(stripped.build_id.clone(), kind)).cloned();
        match program {
            // A process died between this and the record of the upload.
            Some(program) if program.stored() == stripped.stored() => return Ok(true),
            Some(Record { state: State::Uploading(_), .. }) => return Ok(false),
            Some(program) if program.stored().is_some() => return Ok(false),
            Some(_) | None => {}
        }
        self.write(Record { kind, ..stripped.clone() }).await?;
        Ok(true)
    }

    /// Takes the bytes of an upload that was announced.
    ///
    /// # Errors
    /// If it was not announced, or the store fails.
    pub async fn upload(
        &self,
        build_id: &str,
        kind: FileKind,
        upload_id: &str,
    ) -> Result<UploadSink<'_>, DebuginfoError> {
        BuildId::parse(build_id)?;
        let record = self.records.lock().find(build_id, kind).cloned().ok_or(DebuginfoError::NotInitiated)?;
        match &record.state {
            State::Uploading(upload) if upload.id == upload_id => {}
            State::Uploading(_) => return Err(DebuginfoError::OtherUpload),
            _ => return Err(DebuginfoError::NotInitiated),
        }
        let object = format!("{}.{}", kind.as_str(), Ulid::new());
        let path = object_path(&record.build_id, &object);
        let parts = WriteMultipart::new(self.objects.put_multipart(&path).await?);
        Ok(UploadSink {
            debuginfo: self,
            build_id: record.build_id,
            kind,
            upload_id: upload_id.to_owned(),
            object,
            parts,
            size_bytes: 0,
            checksum: Xxh3::new(),
        })
    }

    /// Ends an upload: looks at what arrived, and uses it from now on.
    ///
    /// # Errors
    /// If there is no such upload, or the store fails.
    pub async fn finish(
        &self,
        build_id: &str,
        kind: FileKind,
        upload_id: &str,
    ) -> Result<(), DebuginfoError> {
        BuildId::parse(build_id)?;
        let _changes = self.changes.lock().await;
        let mut record = self.records.lock().find(build_id, kind).cloned().ok_or(DebuginfoError::Unknown)?;
        let mut upload = match &record.state {
            // Said again, by a sender that did not hear the answer.
            State::Uploaded(upload) if upload.id == upload_id => return Ok(()),
            State::Uploading(upload) if upload.id == upload_id => upload.clone(),
            State::Uploading(_) | State::Uploaded(_) => return Err(DebuginfoError::OtherFinished),
            State::Purged { .. } | State::Debuginfod { .. } => return Err(DebuginfoError::Unknown),
        };
        let path = stored_path(&record).ok_or(DebuginfoError::NothingUploaded)?;
        let mut useless = None;
        if kind.is_elf() {
            let checksum = record.stored().and_then(|stored| stored.checksum.clone());
            let bytes = self.files.get(&*self.objects, &path, checksum.as_deref()).await?;
            let contents = look_at(bytes).await;
            if contents.quality.not_valid_elf {
                upload.stored = None;
                useless = Some(path);
            }
            record.note(contents);
        }
        record.state = State::Uploaded(upload);
        record.last_used_ns = (self.options.clock)();
        self.write(record).await?;
        if let Some(path) = useless {
            self.remove(&path).await?;
        }
        self.arrived();
        self.make_room().await;
        Ok(())
    }

    /// Keeps a file that a debuginfod server gave, beside an upload that has less.
    pub(super) async fn keep_fetched(
        &self,
        build_id: &BuildId,
        fetched: Fetched,
    ) -> Result<(), DebuginfoError> {
        let Fetched { server, file, size_bytes } = fetched;
        // A file that is known by another name keeps its place.
        let known = self.records.lock().find(build_id.as_str(), FileKind::Debuginfo).cloned();
        let folder = known.map_or_else(|| build_id.to_string(), |record| record.build_id);
        let object = format!("{}.{}", FileKind::Fetched.as_str(), Ulid::new());
        let path = object_path(&folder, &object);
        let copy = |source| files::FileError::Copy { object: object.clone(), source };
        let bytes = files::map(&file).map_err(copy)?;
        let contents = look_at(std::sync::Arc::clone(&bytes)).await;
        let mut checksum = Xxh3::new();
        let mut parts = WriteMultipart::new(self.objects.put_multipart(&path).await?);
        for chunk in (*bytes).as_ref().chunks(1 << 20) {
            parts.wait_for_capacity(PARTS_MAX).await?;
            checksum.update(chunk);
            parts.write(chunk);
        }
        parts.finish().await?;
        let _changes = self.changes.lock().await;
        let usable = !contents.quality.not_valid_elf;
        let kept_as = match self.records.lock().find(&folder, FileKind::Debuginfo) {
            // What a sender uploads meanwhile will be better than what a server has.
            Some(Record { state: State::Uploading(_), .. }) => None,
            Some(record @ Record { state: State::Uploaded(_), .. }) if !record.is_invalid() => {
                let better = record.is_stripped() && !contents.quality.is_stripped();
                Some((FileKind::Fetched, usable && better))
            }
            _ => Some((FileKind::Debuginfo, usable)),
        };
        let checksum = Some(checksum_text(checksum.digest()));
        let stored =
            kept_as.is_some_and(|(_, useful)| useful).then_some(Stored { object, size_bytes, checksum });
        if stored.is_none() {
            self.remove(&path).await?;
        }
        // Also what is of no use is noted: it is not asked for again.
        let Some((kind, _)) = kept_as else { return Ok(()) };
        let mut record = Record {
            build_id: folder,
            kind,
            state: State::Debuginfod { server, stored },
            quality: None,
            gnu_build_id: None,
            file_hash: None,
            crc32: None,
            linked_crc32: None,
            split_units: SplitUnits::default(),
            last_used_ns: (self.options.clock)(),
        };
        record.note(contents);
        let has_arrived = record.stored().is_some();
        self.write(record).await?;
        if has_arrived {
            self.arrived();
            self.make_room().await;
        }
        Ok(())
    }

    /// Notes that what a debuginfod server gives is of no use, so that a sender is asked for the file, and the server not again soon.
    pub(super) async fn note_unusable(
        &self,
        build_id: &BuildId,
        server: String,
    ) -> Result<(), DebuginfoError> {
        let _changes = self.changes.lock().await;
        let known = self.records.lock().find(build_id.as_str(), FileKind::Debuginfo).cloned();
        let build_id = match known {
            None => build_id.to_string(),
            // What a sender did counts for more.
            Some(Record { state: State::Uploading(_) | State::Uploaded(_), .. }) => return Ok(()),
            Some(held) if held.stored().is_some() => return Ok(()),
            // A file that is known by another name keeps its place.
            Some(gone) => gone.build_id,
        };
        let mut record = Record {
            build_id,
            kind: FileKind::Debuginfo,
            state: State::Debuginfod { server, stored: None },
            quality: None,
            gnu_build_id: None,
            file_hash: None,
            crc32: None,
            linked_crc32: None,
            split_units: SplitUnits::default(),
            last_used_ns: (self.options.clock)(),
        };
        record.note(Contents::unreadable());
        self.write(record).await
    }
}

impl Record {
    /// Writes down what was found in the file.
    fn note(&mut self, contents: Contents) {
        let Contents { quality, gnu_build_id, file_hash, crc32, linked_crc32, split_units } = contents;
        self.quality = Some(quality);
        let other = |name: Option<BuildId>| name.map(|it| it.to_string()).filter(|it| *it != self.build_id);
        (self.gnu_build_id, self.file_hash) = (other(gnu_build_id), other(file_hash));
        (self.crc32, self.linked_crc32, self.split_units) = (crc32, linked_crc32, split_units);
    }
}

/// Looks at a file, on a thread that may block: reading a mapped file does.
async fn look_at(bytes: ObjectBytes) -> Contents {
    let looking = tokio::task::spawn_blocking(move || Contents::of((*bytes).as_ref()));
    looking.await.unwrap_or_else(|_| Contents::unreadable())
}

/// An upload while its bytes arrive. One that is dropped leaves nothing that anybody sees.
pub struct UploadSink<'a> {
    debuginfo: &'a Debuginfo,
    build_id: String,
    kind: FileKind,
    upload_id: String,
    object: String,
    parts: WriteMultipart,
    size_bytes: u64,
    checksum: Xxh3,
}

impl UploadSink<'_> {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// If there are too many, or the store fails. The upload is over then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), DebuginfoError> {
        self.size_bytes += bytes.len() as u64;
        let max_bytes = self.debuginfo.options.upload_max_bytes;
        if self.size_bytes > max_bytes {
            return Err(DebuginfoError::TooLarge { size_bytes: self.size_bytes, max_bytes });
        }
        self.parts.wait_for_capacity(PARTS_MAX).await?;
        self.checksum.update(&bytes);
        self.parts.put(bytes);
        Ok(())
    }

    /// All bytes have arrived: makes them durable, and gives how many there are.
    ///
    /// # Errors
    /// If another upload was announced meanwhile, or the store fails.
    pub async fn finish(self) -> Result<u64, DebuginfoError> {
        let Self { debuginfo, build_id, kind, upload_id, object, parts, size_bytes, checksum } = self;
        parts.finish().await?;
        let _changes = debuginfo.changes.lock().await;
        let path = object_path(&build_id, &object);
        let record = debuginfo.records.lock().find(&build_id, kind).cloned();
        let before = record.as_ref().and_then(stored_path);
        let announced = record.and_then(|record| match &record.state {
            State::Uploading(upload) if upload.id == upload_id => Some((upload.clone(), record)),
            _ => None,
        });
        let Some((upload, mut record)) = announced else {
            debuginfo.remove(&path).await?;
            return Err(DebuginfoError::OtherUpload);
        };
        let checksum = Some(checksum_text(checksum.digest()));
        let stored = Some(Stored { object, size_bytes, checksum });
        record.state = State::Uploading(Upload { stored, ..upload });
        debuginfo.write(record).await?;
        // The same upload, sent twice.
        if let Some(before) = before.filter(|before: &Path| *before != path) {
            debuginfo.remove(&before).await?;
        }
        Ok(size_bytes)
    }

    /// Gives up; what has arrived is forgotten.
    pub async fn abort(self) {
        // What cannot be removed now goes when the store is opened again.
        let _ = self.parts.abort().await;
    }
}
