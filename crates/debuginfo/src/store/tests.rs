//! Uploads from end to end over a store in memory.

use std::cell::Cell;

use object_store::memory::InMemory;

use super::*;
use crate::{
    Resolver,
    decision::{Proposal, Reason},
    resolver::ResolverOptions,
};

thread_local! {
    /// Hours since the epoch. Each test has a thread and a clock of its own.
    static HOURS: Cell<i64> = const { Cell::new(1) };
}

fn clock() -> i64 {
    HOURS.get() * 3_600 * 1_000_000_000
}

fn days_pass(days: i64) {
    HOURS.set(HOURS.get() + days * 24);
}

const PROGRAM: &[u8] = include_bytes!("../../../../fuzz/corpus/elf/program-dwarf5");
/// What an agent makes of a program without DWARF.
const STRIPPED: &[u8] = include_bytes!("../../../../fuzz/corpus/elf/agent-upload-dynsym");
const KIND: FileKind = FileKind::Debuginfo;

struct Fixture {
    objects: Arc<InMemory>,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { objects: Arc::new(InMemory::new()), folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&self) -> Debuginfo {
        let options = DebuginfoOptions {
            cache_folder: self.folder.path().to_owned(),
            upload_max_bytes: 100_000,
            clock,
            ..DebuginfoOptions::default()
        };
        Debuginfo::open(Arc::clone(&self.objects) as _, options, None).await.unwrap()
    }

    async fn stored(&self) -> usize {
        self.objects.list(None).count().await
    }
}

const fn hash(hash: &str) -> Proposal<'_> {
    Proposal { hash, force: false }
}

async fn upload(store: &Debuginfo, build_id: &str, bytes: &'static [u8], hash_text: &str) -> String {
    let id =
        store.initiate(build_id, KIND, hash(hash_text), bytes.len() as u64, false).await.unwrap().upload_id;
    send(store, build_id, bytes, &id).await;
    store.finish(build_id, KIND, &id).await.unwrap();
    id
}

async fn send(store: &Debuginfo, build_id: &str, bytes: &'static [u8], id: &str) {
    let mut sink = store.upload(build_id, KIND, id).await.unwrap();
    for chunk in bytes.chunks(1000) {
        sink.write(bytes::Bytes::from_static(chunk)).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), bytes.len() as u64);
}

/// What is here of a build ID.
async fn bytes(store: &Debuginfo, build_id: &str) -> Option<Vec<u8>> {
    match store.object_file(&BuildId::parse(build_id).unwrap()).await.unwrap() {
        ObjectFile::Held(held) => Some((*held.files.object).as_ref().to_vec()),
        _ => None,
    }
}

async fn reason(store: &Debuginfo, build_id: &str, hash_text: &str) -> Reason {
    store.should_initiate(build_id, KIND, hash(hash_text), false).await.unwrap()
}

#[tokio::test]
async fn an_upload_survives_a_restart_at_every_step() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    assert_eq!(reason(&store, "abcd", "").await, Reason::FirstTimeSeen);
    let id = store.initiate("abcd", KIND, hash("h"), 10, false).await.unwrap().upload_id;
    assert!(uuid::Uuid::parse_str(&id).is_ok_and(|id| id.get_version_num() == 4), "{id}");
    let store = fixture.open().await;
    assert_eq!(reason(&store, "abcd", "").await, Reason::UploadInProgress);
    send(&store, "abcd", PROGRAM, &id).await;
    let store = fixture.open().await;
    assert!(bytes(&store, "abcd").await.is_none(), "not ended yet");
    let version = store.version();
    store.finish("abcd", KIND, &id).await.unwrap();
    assert!(store.version() > version);
    store.finish("abcd", KIND, &id).await.unwrap();
    let store = fixture.open().await;
    assert_eq!(reason(&store, "abcd", "").await, Reason::AlreadyExists);
    assert_eq!(bytes(&store, "abcd").await.as_deref(), Some(PROGRAM));
    let record = &store.list()[0];
    assert!(record.quality.unwrap().has_dwarf);
    // The file is known by what the linker wrote into it, too.
    let gnu = BuildId::parse(record.gnu_build_id.as_deref().unwrap()).unwrap();
    assert_eq!(gnu.as_str().len(), 40);
    assert_eq!(bytes(&store, gnu.as_str()).await.as_deref(), Some(PROGRAM));
    assert_eq!(reason(&store, gnu.as_str(), "").await, Reason::AlreadyExists);
    assert_eq!(fixture.stored().await, 2);
}

/// What an agent found no GNU build ID in, another sender did: the same program goes out under its hash, and is kept under its build ID.
#[tokio::test]
async fn a_file_is_found_by_its_hash() {
    const AGENTS: &str = "0123456789abcdef0123456789abcdef";
    let fixture = Fixture::new();
    let store = fixture.open().await;
    let of_program = BuildId::hash(PROGRAM);
    let elf = decima_symbols::elf::Elf::parse(PROGRAM).unwrap();
    let gnu = BuildId::gnu(&elf).unwrap();
    upload(&store, gnu.as_str(), PROGRAM, "whatever this sender takes for a hash").await;
    // What an agent uploads is a part of the program, whose hash it says.
    upload(&store, "aabbccdd", STRIPPED, AGENTS).await;
    for _ in 0..2 {
        let store = fixture.open().await;
        assert_eq!(bytes(&store, of_program.as_str()).await.as_deref(), Some(PROGRAM));
        assert_eq!(reason(&store, of_program.as_str(), "").await, Reason::AlreadyExists);
        assert_eq!(bytes(&store, AGENTS).await.as_deref(), Some(STRIPPED));
        assert_eq!(store.records_of(AGENTS).unwrap()[0].build_id, "aabbccdd");
        assert_eq!(store.records_of("whatever-this-sender").unwrap(), []);
    }
    // Servers are asked by GNU build IDs.
    assert_eq!(store.gnu_build_id(&of_program), gnu);
}

/// What came under the hash and is of no use does not stand before the file that has it.
#[tokio::test]
async fn an_unusable_file_hides_no_other() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    let of_program = BuildId::hash(PROGRAM);
    upload(&store, of_program.as_str(), b"no object", "h").await;
    assert_eq!(bytes(&store, of_program.as_str()).await, None);
    upload(&store, "aabbccdd", PROGRAM, "h").await;
    assert_eq!(bytes(&store, of_program.as_str()).await.as_deref(), Some(PROGRAM));
}

#[tokio::test]
async fn names_stay_while_there_is_a_file() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    let hash_text = BuildId::hash(PROGRAM);
    let kinds = [KIND, FileKind::Executable];
    for kind in kinds {
        let proposal = Proposal { hash: hash_text.as_str(), force: true };
        let begun = store.initiate("abcd", kind, proposal, PROGRAM.len() as u64, false).await.unwrap();
        let mut sink = store.upload("abcd", kind, &begun.upload_id).await.unwrap();
        sink.write(bytes::Bytes::from_static(PROGRAM)).await.unwrap();
        sink.finish().await.unwrap();
        store.finish("abcd", kind, &begun.upload_id).await.unwrap();
    }
    let known = || bytes(&store, hash_text.as_str());
    assert!(known().await.is_some());
    store.records.lock().forget(&("abcd".to_owned(), kinds[0]));
    assert!(known().await.is_some());
    store.records.lock().forget(&("abcd".to_owned(), kinds[1]));
    assert!(known().await.is_none());
}

/// IDs that programs before gave are taken as long as their uploads are under way.
#[tokio::test]
async fn an_id_that_is_no_uuid() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    store.initiate("abcd", KIND, hash("h"), 10, false).await.unwrap();
    let mut record = store.list().remove(0);
    let State::Uploading(upload) = &mut record.state else { panic!("{record:?}") };
    upload.id = "01KB0QJ6N5T2Y4V8W0X1Z3A5B7".to_owned();
    let id = upload.id.clone();
    store.write(record).await.unwrap();
    let store = fixture.open().await;
    send(&store, "abcd", PROGRAM, &id).await;
    store.finish("abcd", KIND, &id).await.unwrap();
    assert_eq!(bytes(&store, "abcd").await.as_deref(), Some(PROGRAM));
}

#[tokio::test]
async fn steps_that_are_refused() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    let check = |result: Result<String, DebuginfoError>, kind: ErrorKind, text: &str| {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
    };
    let initiate = async |build_id: &str, hash_text: &str, size: u64| {
        store.initiate(build_id, KIND, hash(hash_text), size, false).await.map(|begun| begun.upload_id)
    };
    let invalid = ErrorKind::InvalidArgument;
    check(initiate("ab", "h", 1).await, invalid, "unexpectedly short input");
    check(
        initiate("../../x", "h", 1).await,
        invalid,
        "build ID has '.' at byte 0; letters, digits, '-', '_' and '.' are allowed",
    );
    check(initiate("abcd", "", 1).await, invalid, "hash must be set");
    check(initiate("abcd", "h", 0).await, invalid, "size must be set");
    check(
        initiate("abcd", "h", 100_001).await,
        invalid,
        "upload size 100001 exceeds maximum allowed size 100000",
    );
    let send = async |id: &str| store.upload("abcd", KIND, id).await.map(|_| String::new());
    check(
        send("x").await,
        ErrorKind::Conflict,
        "metadata not found, this indicates that the upload was not previously initiated",
    );
    let finish = async |id: &str| store.finish("abcd", KIND, id).await.map(|()| String::new());
    check(finish("x").await, ErrorKind::NotFound, "no debuginfo metadata found for build id");
    let id = initiate("abcd", "h", 5).await.unwrap();
    check(
        initiate("abcd", "h", 5).await,
        ErrorKind::Conflict,
        "upload should not have been attempted to be initiated, a previous check should have failed with: A previous upload is still in-progress and not stale yet (only stale uploads can be retried).",
    );
    check(
        send("x").await,
        invalid,
        "the upload ID does not match the one returned by the InitiateUpload call",
    );
    check(finish("x").await, invalid, "upload id mismatch");
    check(finish(&id).await, ErrorKind::Conflict, "nothing was uploaded");
    // More arrives than is allowed, whatever was announced.
    let mut sink = store.upload("abcd", KIND, &id).await.unwrap();
    sink.write(vec![0; 60_000].into()).await.unwrap();
    let error = sink.write(vec![0; 60_000].into()).await.unwrap_err();
    assert_eq!(error.to_string(), "upload size 120000 exceeds maximum allowed size 100000");
    sink.abort().await;
    assert_eq!(fixture.stored().await, 1, "only the record");
}

#[tokio::test]
async fn what_is_no_elf_file() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    upload(&store, "abcd", b"#!/bin/sh", "h").await;
    assert_eq!(reason(&store, "abcd", "").await, Reason::Invalid);
    assert_eq!(reason(&store, "abcd", "h").await, Reason::InvalidEqual);
    assert_eq!(reason(&store, "abcd", "other").await, Reason::InvalidNotEqual);
    let file = store.object_file(&BuildId::parse("abcd").unwrap()).await.unwrap();
    assert!(matches!(file, ObjectFile::Missing(decima_symbols::Unresolved::NotAnObject)));
    assert_eq!(fixture.stored().await, 1, "its bytes are not kept");
    upload(&store, "abcd", PROGRAM, "other").await;
    assert_eq!(reason(&store, "abcd", "").await, Reason::AlreadyExists);
}

/// Agents upload what runs, somebody its debug information later.
#[tokio::test]
async fn debug_information_is_taken_beside_a_stripped_program() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    upload(&store, "abcd", STRIPPED, "program").await;
    assert_eq!(reason(&store, "abcd", "").await, Reason::AlreadyExists, "every agent has the same program");
    assert_eq!(reason(&store, "abcd", "program").await, Reason::AlreadyExists);
    assert_eq!(reason(&store, "abcd", "debug").await, Reason::Stripped);
    let size_bytes = PROGRAM.len() as u64;
    let id = store.initiate("abcd", KIND, hash("debug"), size_bytes, false).await.unwrap().upload_id;
    assert_eq!(bytes(&store, "abcd").await.as_deref(), Some(STRIPPED), "it tells what it can meanwhile");
    let store = fixture.open().await;
    assert_eq!(bytes(&store, "abcd").await.as_deref(), Some(STRIPPED));
    send(&store, "abcd", PROGRAM, &id).await;
    store.finish("abcd", KIND, &id).await.unwrap();
    let store = fixture.open().await;
    let ObjectFile::Held(held) = store.object_file(&BuildId::parse("abcd").unwrap()).await.unwrap() else {
        panic!("nothing is held")
    };
    assert_eq!((*held.files.object).as_ref(), STRIPPED);
    assert_eq!((*held.files.debuginfo.unwrap()).as_ref(), PROGRAM);
    assert_eq!(fixture.stored().await, 4);
    // The other order: there is nothing that the program would add.
    upload(&store, "efgh", PROGRAM, "debug").await;
    assert_eq!(reason(&store, "efgh", "program").await, Reason::AlreadyExists);
    assert_eq!(bytes(&store, "efgh").await.as_deref(), Some(PROGRAM));
}

/// The program that is there stays, and of debug information what came last.
#[tokio::test]
async fn what_is_stripped_makes_room_where_a_program_is() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    for hash in ["first", "second", "third"] {
        upload(&store, "abcd", STRIPPED, hash).await;
    }
    let hashes = store.list().into_iter().map(|record| match record.state {
        State::Uploaded(upload) => (record.kind, upload.hash),
        state => panic!("{state:?}"),
    });
    let expected = [(KIND, "third".to_owned()), (FileKind::Executable, "first".to_owned())];
    assert_eq!(hashes.collect::<Vec<_>>(), expected);
    assert_eq!(fixture.stored().await, 4);
}

/// Who only reads cannot tell what was left from what is being uploaded.
#[tokio::test]
async fn only_the_writer_cleans_up() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    upload(&store, "abcd", PROGRAM, "h").await;
    fixture.objects.put(&object_path("abcd", "debuginfo.under-way"), "x".into()).await.unwrap();
    let options = DebuginfoOptions {
        cache_folder: fixture.folder.path().to_owned(),
        writes: false,
        ..DebuginfoOptions::default()
    };
    Debuginfo::open(Arc::clone(&fixture.objects) as _, options, None).await.unwrap();
    assert_eq!(fixture.stored().await, 3);
    fixture.open().await;
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test]
async fn files_that_nobody_needs_go() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    upload(&store, "abcd", PROGRAM, "h").await;
    let id = upload(&store, "efgh", PROGRAM, "h").await;
    // What an upload left that never ended.
    fixture.objects.put(&object_path("efgh", "debuginfo.left"), "x".into()).await.unwrap();
    days_pass(20);
    assert!(bytes(&store, "abcd").await.is_some());
    assert_eq!(store.maintain().await.unwrap(), 0);
    days_pass(20);
    let store = fixture.open().await;
    assert_eq!(store.maintain().await.unwrap(), 1);
    assert_eq!(reason(&store, "abcd", "").await, Reason::AlreadyExists);
    assert_eq!(reason(&store, "efgh", "").await, Reason::Purged);
    assert!(store.finish("efgh", KIND, &id).await.is_err());
    assert_eq!(fixture.stored().await, 3, "two records and one file");
    store.initiate("ijkl", KIND, hash("h"), 10, false).await.unwrap();
    days_pass(25);
    store.maintain().await.unwrap();
    assert_eq!(reason(&store, "ijkl", "").await, Reason::FirstTimeSeen, "never ended");
    days_pass(25);
    store.maintain().await.unwrap();
    assert_eq!(reason(&store, "efgh", "").await, Reason::FirstTimeSeen, "long gone");
}

/// The bound of bytes holds as soon as a file has come: what was used last stays.
#[tokio::test]
async fn files_make_room_for_others() {
    let fixture = Fixture::new();
    let options = DebuginfoOptions {
        cache_folder: fixture.folder.path().to_owned(),
        retention: Limits { bytes_max: 2 * PROGRAM.len() as u64, ..Limits::default() },
        clock,
        ..DebuginfoOptions::default()
    };
    let store = Debuginfo::open(Arc::clone(&fixture.objects) as _, options, None).await.unwrap();
    for build_id in ["abcd", "efgh"] {
        upload(&store, build_id, PROGRAM, "h").await;
        HOURS.set(HOURS.get() + 1);
    }
    assert!(bytes(&store, "abcd").await.is_some());
    HOURS.set(HOURS.get() + 1);
    upload(&store, "ijkl", PROGRAM, "h").await;
    assert_eq!(reason(&store, "efgh", "").await, Reason::Purged);
    assert!(bytes(&store, "abcd").await.is_some() && bytes(&store, "ijkl").await.is_some());
    assert_eq!(fixture.stored().await, 5, "three records and two files");
}

/// An address as senders that normalise send it.
fn place(address: u64) -> crate::Address {
    crate::Address { address, mapping: decima_symbols::normalize::Mapping { start: 0, limit: 0, offset: 0 } }
}

/// What was found is there after a restart, without another look into the file, and goes when another file comes.
#[tokio::test]
async fn answers_survive_a_restart() {
    const STRIPPED: &[u8] = include_bytes!("../../../../fuzz/corpus/elf/symbols-only");
    let fixture = Fixture::new();
    let entry = u64::from_le_bytes(PROGRAM[24..32].try_into().unwrap());
    let start = async || {
        let store = Arc::new(fixture.open().await);
        let cache = crate::AnswerCache::open(fixture.folder.path().join("answers"), 1 << 20).unwrap();
        let resolver = Resolver::new(Arc::clone(&store), ResolverOptions::default()).with_answers(cache);
        (store, Arc::new(resolver))
    };
    let ask = async |resolver: &Arc<Resolver>, address| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        resolver.resolve("abcd", &[place(address)], deadline).await.remove(0)
    };
    let has_line = |answer: &decima_symbols::Answer| answer.frames().iter().any(|frame| frame.line > 0);
    // The first address of the code that has a line.
    let (store, resolver) = start().await;
    upload(&store, "abcd", PROGRAM, "h").await;
    let mut known = entry;
    while !has_line(&ask(&resolver, known).await) {
        known += 1;
        assert!(known < entry + 200, "no line");
    }
    let before = ask(&resolver, known).await;
    assert!(resolver.kept_bytes() > 0);

    // A file with less is in its place, so that answers with lines are not from it.
    let mut record = store.list().remove(0);
    let path = stored_path(&record).unwrap();
    let State::Uploaded(upload) = &mut record.state else { panic!("{record:?}") };
    upload.stored.as_mut().unwrap().checksum = None;
    store.write(record).await.unwrap();
    fixture.objects.put(&path, STRIPPED.into()).await.unwrap();
    let (store, resolver) = start().await;
    assert_eq!(ask(&resolver, known).await, before);
    assert!(!has_line(&ask(&resolver, entry + 199).await));

    let begun =
        store.initiate("abcd", KIND, Proposal { hash: "other", force: true }, STRIPPED.len() as u64, false);
    let id = begun.await.unwrap().upload_id;
    send(&store, "abcd", STRIPPED, &id).await;
    store.finish("abcd", KIND, &id).await.unwrap();
    assert!(!has_line(&ask(&resolver, known).await), "it is of another file");
}

#[tokio::test]
async fn addresses_heal_when_the_file_arrives() {
    let fixture = Fixture::new();
    let store = Arc::new(fixture.open().await);
    let resolver = Arc::new(Resolver::new(Arc::clone(&store), ResolverOptions::default()));
    let deadline = || std::time::Instant::now() + Duration::from_secs(60);
    let names = async |build_id: &str, address: u64| {
        let answers = resolver.resolve(build_id, &[place(address)], deadline()).await;
        match &answers[0] {
            decima_symbols::Answer::Resolved(symbols) => {
                symbols.frames.iter().map(|frame| frame.function.name.clone()).collect::<Vec<_>>().join(" < ")
            }
            decima_symbols::Answer::Unresolved(reason) => reason.to_string(),
        }
    };
    let entry = u64::from_le_bytes(PROGRAM[24..32].try_into().unwrap());
    assert_eq!(names("", entry).await, "the mapping has no build ID");
    assert_eq!(names("abcd", entry).await, "no debuginfo for this build ID");
    upload(&store, "abcd", PROGRAM, "h").await;
    assert_eq!(names("abcd", entry).await, "_start");
    assert_eq!(names("abcd", 1).await, "in no function of the debuginfo");
    let late = std::time::Instant::now() - Duration::from_secs(1);
    let answers = resolver.resolve("abcd", &[place(entry), place(entry + 1)], late).await;
    assert!(answers.contains(&decima_symbols::Answer::Unresolved(decima_symbols::Unresolved::Deadline)));
    // What was asked for before is answered although it is late.
    let answers = resolver.resolve("abcd", &[place(entry), place(1)], late).await;
    assert_eq!(answers[0].frames()[0].function.name, "_start");
    // Nobody waits for it, and it is read all the same.
    for _ in 0..500 {
        if resolver.resolve("abcd", &[place(entry + 1)], late).await[0].frames().len() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was read behind the deadline");
}

/// The names of what is kept that end so.
async fn names(fixture: &Fixture, end: &str) -> Vec<Path> {
    let listed: Vec<_> = fixture.objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    listed.into_iter().filter(|path| path.as_ref().ends_with(".json") == (end == ".json")).collect()
}

#[tokio::test]
async fn a_flipped_bit_of_a_file_is_found_and_named() {
    let fixture = Fixture::new();
    upload(&fixture.open().await, "abcd", PROGRAM, "h").await;
    let whole = inspect::inspect(&*fixture.objects, true).await.unwrap();
    assert_eq!((whole.files, whole.size_bytes), (1, PROGRAM.len() as u64));
    assert_eq!((whole.findings, whole.unknown), (Vec::<String>::new(), Vec::<String>::new()));
    let path = names(&fixture, "").await.remove(0);
    for at in [0, 1, PROGRAM.len() / 2, PROGRAM.len() - 1] {
        let mut damaged = PROGRAM.to_vec();
        damaged[at] ^= 4;
        fixture.objects.put(&path, damaged.into()).await.unwrap();
        let found = inspect::inspect(&*fixture.objects, true).await.unwrap().findings;
        assert!(found.len() == 1 && found[0].contains(path.as_ref()), "{at}: {found:?}");
        let store = Arc::new(fixture.open().await);
        let error = store.object_file(&BuildId::parse("abcd").unwrap()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}");
        assert!(error.to_string().contains(path.as_ref()), "{error}");
        let resolver = Resolver::new(store, ResolverOptions::default());
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let answers = Arc::new(resolver).resolve("abcd", &[place(0x1000)], deadline).await;
        assert_eq!(answers, [decima_symbols::Answer::Unresolved(Unresolved::Damaged)], "{at}");
    }
    // A sender that insists heals it.
    let store = fixture.open().await;
    let proposal = Proposal { hash: "h", force: true };
    let id = store.initiate("abcd", KIND, proposal, PROGRAM.len() as u64, false).await.unwrap().upload_id;
    send(&store, "abcd", PROGRAM, &id).await;
    store.finish("abcd", KIND, &id).await.unwrap();
    assert_eq!(bytes(&store, "abcd").await.as_deref(), Some(PROGRAM));
}

#[tokio::test]
async fn a_file_that_is_damaged_before_its_upload_ends_is_not_taken() {
    let fixture = Fixture::new();
    let store = fixture.open().await;
    let id = store.initiate("abcd", KIND, hash("h"), 10, false).await.unwrap().upload_id;
    send(&store, "abcd", PROGRAM, &id).await;
    let path = names(&fixture, "").await.remove(0);
    let mut damaged = PROGRAM.to_vec();
    damaged[77] ^= 1;
    fixture.objects.put(&path, damaged.into()).await.unwrap();
    let error = store.finish("abcd", KIND, &id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(path.as_ref()), "{error}");
}

#[tokio::test]
async fn a_flipped_bit_of_a_record_is_found_and_named_and_its_file_stays() {
    let fixture = Fixture::new();
    upload(&fixture.open().await, "abcd", PROGRAM, "h").await;
    let path = names(&fixture, ".json").await.remove(0);
    let whole = fixture.objects.get(&path).await.unwrap().bytes().await.unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 1;
        fixture.objects.put(&path, damaged.into()).await.unwrap();
        let inventory = inspect::inspect(&*fixture.objects, false).await.unwrap();
        let (findings, unknown) = (inventory.findings, inventory.unknown);
        assert!(findings.len() == 1 && findings[0].starts_with(path.as_ref()), "{at}: {findings:?}");
        assert_eq!(unknown, Vec::<String>::new(), "{at}");
    }
    let store = fixture.open().await;
    assert_eq!((store.list().len(), fixture.stored().await), (0, 2));
    fixture.objects.put(&path, whole.into()).await.unwrap();
    assert_eq!(bytes(&fixture.open().await, "abcd").await.as_deref(), Some(PROGRAM));
}
