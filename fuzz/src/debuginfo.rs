//! Targets for the calls of those who upload object files, and for what is written down of them.

use std::{ops::ControlFlow, sync::Arc};

use decima_debuginfo::{
    Debuginfo, DebuginfoOptions, UploadSink,
    decision::Proposal,
    record::{FileKind, Record},
};
use decima_proto::parca::debuginfo::v1alpha1::{
    DebuginfoType, InitiateUploadRequest, MarkUploadFinishedRequest, ShouldInitiateUploadRequest,
    UploadRequest, upload_request::Data,
};
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, memory::InMemory, path::Path};
use prost::Message;

/// Calls that are made of one input: each is a few microseconds.
const CALLS_MAX: usize = 64;
/// The largest file.
const UPLOAD_MAX_BYTES: u64 = 1 << 20;

/// Calls, one after the other: each is the number of its method, the length of its message in two bytes, the message. An upload ID
/// that is empty stands for the one that was given last.
///
/// Whatever is called, objects lie in the folders of build IDs, and a restart finds what was there.
pub fn debuginfo_upload(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let objects = Arc::new(InMemory::new());
    let options = DebuginfoOptions {
        upload_max_bytes: UPLOAD_MAX_BYTES,
        cache_folder: folder.path().to_owned(),
        ..DebuginfoOptions::default()
    };
    let open = || Debuginfo::open(Arc::clone(&objects) as Arc<dyn ObjectStore>, options.clone(), None);
    runtime.block_on(async {
        let store = open().await.expect("a store");
        let mut sender = Sender { store: &store, upload_id: String::new(), sink: None };
        let mut rest = input;
        for _ in 0..CALLS_MAX {
            let [method, low, high, tail @ ..] = rest else { break };
            let (message, tail) = tail.split_at(tail.len().min(u16::from_le_bytes([*low, *high]).into()));
            rest = tail;
            if sender.call(*method, message).await.is_break() {
                break;
            }
        }
        drop(sender);
        let records = store.list();
        check(&objects, &records).await;
        assert_eq!(open().await.expect("a store that opens again").list(), records);
    });
}

/// What is written down of a file, whatever is in it: a store opens beside it, and touches nothing but object files.
pub fn debuginfo_record(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let objects = Arc::new(InMemory::new());
    let options = DebuginfoOptions { cache_folder: folder.path().to_owned(), ..DebuginfoOptions::default() };
    let open = || Debuginfo::open(Arc::clone(&objects) as Arc<dyn ObjectStore>, options.clone(), None);
    runtime.block_on(async {
        let other = Path::from("default/manifest");
        let record = Path::from("default/debuginfo/abcd/debuginfo.json");
        objects.put(&other, "x".into()).await.expect("an object");
        objects.put(&record, input.to_vec().into()).await.expect("an object");
        let store = open().await.expect("a store");
        let records = store.list();
        assert!(records.len() <= 1);
        for known in &records {
            let _ = store.records_of(&known.build_id);
            for name in known.other_names() {
                let _ = store.records_of(name);
            }
        }
        let _ = store.maintain().await;
        assert!(objects.head(&other).await.is_ok(), "what is no object file is left alone");
        let _ = open().await.expect("a store that opens again");
    });
}

/// Who calls, and the upload that it is sending.
struct Sender<'a> {
    store: &'a Debuginfo,
    upload_id: String,
    sink: Option<UploadSink<'a>>,
}

impl Sender<'_> {
    /// One call; refusals are of no interest. A message that cannot be read ends it all.
    async fn call(&mut self, method: u8, message: &[u8]) -> ControlFlow<()> {
        match method % 5 {
            0 => {
                let asked = read::<ShouldInitiateUploadRequest>(message)?;
                let proposal = Proposal { hash: &asked.hash, force: asked.force };
                let kind = kind(asked.r#type)?;
                let _ = self.store.should_initiate(&asked.build_id, kind, proposal, true).await;
            }
            1 => {
                let asked = read::<InitiateUploadRequest>(message)?;
                let proposal = Proposal { hash: &asked.hash, force: asked.force };
                let (kind, size_bytes) = (kind(asked.r#type)?, asked.size.unsigned_abs());
                let initiated = self.store.initiate(&asked.build_id, kind, proposal, size_bytes, true).await;
                if let Ok(initiated) = initiated {
                    self.upload_id = initiated.upload_id;
                }
            }
            2 => match read::<UploadRequest>(message)?.data {
                Some(Data::Info(info)) => {
                    let upload_id = self.named(info.upload_id);
                    let kind = kind(info.r#type)?;
                    self.sink = self.store.upload(&info.build_id, kind, &upload_id).await.ok();
                }
                Some(Data::ChunkData(chunk)) => {
                    if let Some(sink) = &mut self.sink {
                        let _ = sink.write(chunk).await;
                    }
                }
                None => {}
            },
            3 => {
                if let Some(sink) = self.sink.take() {
                    let _ = sink.finish().await;
                }
            }
            _ => {
                let asked = read::<MarkUploadFinishedRequest>(message)?;
                let upload_id = self.named(asked.upload_id);
                let _ = self.store.finish(&asked.build_id, kind(asked.r#type)?, &upload_id).await;
            }
        }
        ControlFlow::Continue(())
    }

    fn named(&self, upload_id: String) -> String {
        if upload_id.is_empty() { self.upload_id.clone() } else { upload_id }
    }
}

fn read<M: Message + Default>(message: &[u8]) -> ControlFlow<(), M> {
    match M::decode(message) {
        Ok(message) => ControlFlow::Continue(message),
        Err(_) => ControlFlow::Break(()),
    }
}

fn kind(r#type: i32) -> ControlFlow<(), FileKind> {
    ControlFlow::Continue(match DebuginfoType::try_from(r#type) {
        Ok(DebuginfoType::DebuginfoUnspecified) => FileKind::Debuginfo,
        Ok(DebuginfoType::Executable) => FileKind::Executable,
        Ok(DebuginfoType::Sources) => FileKind::Sources,
        Ok(DebuginfoType::SourceMap) => FileKind::SourceMap,
        Err(_) => return ControlFlow::Break(()),
    })
}

/// Objects lie where they may, and what a record names is there.
async fn check(objects: &InMemory, records: &[Record]) {
    let listed: Vec<_> = objects.list(None).try_collect().await.expect("a list");
    let paths: Vec<_> = listed.iter().map(|meta| meta.location.as_ref()).collect();
    for path in &paths {
        let parts: Vec<_> = path.split('/').collect();
        assert_eq!((parts.len(), parts[0], parts[1]), (4, "default", "debuginfo"), "{path}");
        assert!(records.iter().any(|record| record.build_id == parts[2]), "{path} has no record");
    }
    for record in records {
        if let Some(stored) = record.stored() {
            let path = format!("default/debuginfo/{}/{}", record.build_id, stored.object);
            assert!(paths.contains(&path.as_str()), "{path} is gone");
        }
    }
}
