//! Against a server here.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;

use super::*;

const PROGRAM: &[u8] = include_bytes!("../../../../fuzz/corpus/elf/program-dwarf5");

/// The build ID that stands in the program.
fn program_id() -> BuildId {
    BuildId::gnu(&Elf::parse(PROGRAM).unwrap()).unwrap()
}

/// Whether this is where debuginfod servers have the program.
fn is_of_program(path: &str) -> bool {
    path == format!("/buildid/{}/debuginfo", program_id())
}

/// Answers with what `answer` gives for a path, and counts.
async fn server(answer: fn(&str) -> (u16, &'static [u8])) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counter = Arc::clone(&counter);
            let service = service_fn(move |request: Request<Incoming>| {
                counter.fetch_add(1, Ordering::Relaxed);
                let (status, body) = answer(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from_static(body)));
                *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, asked)
}

fn client(servers: &[&str]) -> Debuginfod {
    let servers = servers.iter().map(|&server| server.to_owned()).collect();
    Debuginfod::new(DebuginfodOptions { servers, file_max_bytes: 10_000, ..DebuginfodOptions::default() })
        .unwrap()
}

fn id(text: &str) -> BuildId {
    BuildId::parse(text).unwrap()
}

#[tokio::test]
async fn first_server_that_has_it() {
    let (without, _) = server(|_| (404, b"")).await;
    let (with, asked) = server(|path| if is_of_program(path) { (200, PROGRAM) } else { (404, b"") }).await;
    let client = client(&[&without, &with]);
    assert_eq!(client.find(&program_id()).await, Lookup::Found { server: format!("{with}/") });
    assert_eq!(client.find(&id("11223344")).await, Lookup::Absent);
    let before = asked.load(Ordering::Relaxed);
    assert_eq!(client.find(&id("11223344")).await, Lookup::Absent);
    assert_eq!(client.find(&id("not-hexadecimal")).await, Lookup::Absent);
    assert_eq!(asked.load(Ordering::Relaxed), before, "answers are remembered");

    let folder = tempfile::tempdir().unwrap();
    let fetched = client.fetch(&program_id(), folder.path()).await.unwrap();
    let mut bytes = Vec::new();
    let mut file = &fetched.file;
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    assert_eq!(bytes, PROGRAM);
    assert_eq!(fetched.size_bytes, PROGRAM.len() as u64);
    assert_eq!(client.fetch(&id("11223344"), folder.path()).await.err(), Some(Lookup::Absent));
}

#[tokio::test]
async fn servers_that_fail() {
    let (broken, _) = server(|_| (500, b"")).await;
    let (large, _) = server(|_| (200, &[0; 10_001])).await;
    assert_eq!(client(&[&broken]).find(&id("aabbccdd")).await, Lookup::Failed);
    // Nobody listens there.
    assert_eq!(client(&["http://127.0.0.1:1"]).find(&id("aabbccdd")).await, Lookup::Failed);
    let folder = tempfile::tempdir().unwrap();
    let client = client(&[&large]);
    assert_eq!(client.fetch(&id("aabbccdd"), folder.path()).await.err(), Some(Lookup::Failed), "too large");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

/// What is no file of that build ID is looked for elsewhere, then believed to be none; nobody is asked twice for anything.
#[tokio::test]
async fn each_server_is_asked_once_for_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (page, asked_page) = server(|_| (200, b"<html>sign in</html>")).await;
    let (other, asked_other) = server(|_| (200, PROGRAM)).await;
    let (without, asked_without) = server(|_| (404, b"")).await;
    let counts = || [&asked_page, &asked_other, &asked_without].map(|asked| asked.load(Ordering::Relaxed));
    let client = client(&[&page, &without, &other]);
    let fetched = client.fetch(&program_id(), folder.path()).await.unwrap();
    assert_eq!((fetched.server, counts()), (format!("{other}/"), [1, 1, 1]));
    // Who had it is asked first from then on.
    client.fetch(&program_id(), folder.path()).await.unwrap();
    assert_eq!(counts(), [1, 2, 1]);
    let unusable = Some(Lookup::Unusable { server: format!("{page}/") });
    for _ in 0..3 {
        let fetched = client.fetch(&id("aabbccdd"), folder.path()).await;
        assert_eq!((fetched.err(), counts()), (unusable.clone(), [2, 3, 2]));
        assert_eq!((Some(client.find(&id("aabbccdd")).await), counts()), (unusable.clone(), [2, 3, 2]));
    }
    let hexadecimal = program_id().as_str().to_uppercase();
    assert!(client.fetch(&id(&hexadecimal), folder.path()).await.is_ok(), "in whichever case");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn server_names() {
    let check = |server: &str, expected: Option<&str>| {
        assert_eq!(server_url(server).ok().map(|url| url.to_string()).as_deref(), expected, "{server}");
    };
    check("debuginfod.elfutils.org", Some("https://debuginfod.elfutils.org/"));
    check("http://localhost:8002/x", Some("http://localhost:8002/x/"));
    check("ftp://a", None);
    check("", None);
}

/// What a server has is asked for once, kept, and told to senders.
#[tokio::test]
async fn a_store_keeps_what_it_gives() {
    use decima_symbols::Unresolved;

    use crate::{
        Debuginfo, DebuginfoOptions, ObjectFile,
        decision::{Proposal, Reason},
        record::FileKind,
    };

    let is_held = |file: &ObjectFile| match file {
        ObjectFile::Held(held) => (*held.files.object).as_ref() == PROGRAM,
        _ => false,
    };
    let (url, asked) = server(|path| match path {
        path if is_of_program(path) => (200, PROGRAM),
        "/buildid/11223344/debuginfo" => (200, b"not ELF"),
        _ => (404, b""),
    })
    .await;
    let program = program_id();
    let folder = tempfile::tempdir().unwrap();
    let objects = Arc::new(object_store::memory::InMemory::new());
    let open = async |debuginfod| {
        let options =
            DebuginfoOptions { cache_folder: folder.path().to_owned(), ..DebuginfoOptions::default() };
        Debuginfo::open(Arc::clone(&objects) as _, options, debuginfod).await.unwrap()
    };
    let store = open(Some(Arc::new(client(&[&url])))).await;
    let should = async |text: &str| {
        store.should_initiate(text, FileKind::Debuginfo, Proposal::default(), true).await.unwrap()
    };
    assert_eq!(should(program.as_str()).await, Reason::InDebuginfod);
    assert_eq!(should(program.as_str()).await, Reason::DebuginfodSource);
    assert_eq!(should("99999999").await, Reason::FirstTimeSeen);
    assert!(matches!(store.object_file(&program).await.unwrap(), ObjectFile::Elsewhere));
    assert_eq!(store.fetch(&program).await.unwrap(), None);
    let before = asked.load(Ordering::Relaxed);
    assert!(is_held(&store.object_file(&program).await.unwrap()));
    assert_eq!(asked.load(Ordering::Relaxed), before, "it is kept");
    // What is no ELF file is not used, and a sender may do better.
    assert_eq!(should("11223344").await, Reason::InDebuginfod);
    let version = store.version();
    assert_eq!(store.fetch(&id("11223344")).await.unwrap(), Some(Unresolved::NotAnObject));
    assert_eq!(store.version(), version, "nothing has arrived");
    assert_eq!(store.fetch(&id("99999999")).await.unwrap(), Some(Unresolved::AbsentAtDebuginfod));
    assert_eq!(should("11223344").await, Reason::DebuginfodInvalid);
    // Neither is asked for again, also by a process after this one.
    let before = asked.load(Ordering::Relaxed);
    let reason = async |store: &Debuginfo, text: &str| match store.object_file(&id(text)).await.unwrap() {
        ObjectFile::Missing(reason) => Some(reason),
        _ => None,
    };
    assert_eq!(reason(&store, "11223344").await, Some(Unresolved::NotAnObject));
    assert_eq!(reason(&store, "99999999").await, Some(Unresolved::AbsentAtDebuginfod));
    assert_eq!(reason(&store, "not-hexadecimal").await, Some(Unresolved::AbsentAtDebuginfod));
    let restarted = open(Some(Arc::new(client(&[&url])))).await;
    assert_eq!(reason(&restarted, "11223344").await, Some(Unresolved::NotAnObject));
    assert_eq!(asked.load(Ordering::Relaxed), before);
    let store = open(None).await;
    assert!(is_held(&store.object_file(&program).await.unwrap()), "also without the server");
}

/// What servers answered is the reason from then on, whatever arrives meanwhile: nobody is being asked any more.
#[tokio::test]
async fn reasons_are_what_servers_answered() {
    use decima_symbols::{Answer, normalize::Mapping};

    use crate::{
        Address, Debuginfo, DebuginfoOptions, Resolver, ResolverOptions, decision::Proposal, record::FileKind,
    };

    let (url, asked) = server(|path| match path {
        "/buildid/11223344/debuginfo" => (200, b"not ELF"),
        "/buildid/55667788/debuginfo" => (500, b""),
        _ => (404, b""),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let options = DebuginfoOptions { cache_folder: folder.path().to_owned(), ..DebuginfoOptions::default() };
    let objects = Arc::new(object_store::memory::InMemory::new());
    let store = Arc::new(Debuginfo::open(objects, options, Some(Arc::new(client(&[&url])))).await.unwrap());
    let resolver = Arc::new(Resolver::new(Arc::clone(&store), ResolverOptions::default()));
    let reason = async |build_id: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        let place = Address { address: 0x10, mapping: Mapping { start: 0, limit: 0, offset: 0 } };
        match resolver.resolve(build_id, &[place], deadline).await.remove(0) {
            Answer::Unresolved(reason) => reason,
            Answer::Resolved(symbols) => panic!("{symbols:?}"),
        }
    };
    let all = [
        ("99999999", Unresolved::AbsentAtDebuginfod),
        ("11223344", Unresolved::NotAnObject),
        ("55667788", Unresolved::DebuginfodFailed),
    ];
    for (build_id, _) in all {
        assert_eq!(reason(build_id).await, Unresolved::Fetching);
    }
    for (build_id, expected) in all {
        while reason(build_id).await == Unresolved::Fetching {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(reason(build_id).await, expected);
    }
    assert_eq!(asked.load(Ordering::Relaxed), all.len());
    for round in 0..3 {
        let version = store.version();
        let (other, kind) = (format!("other-{round}"), FileKind::Debuginfo);
        let proposal = Proposal { hash: "h", force: false };
        let begun = store.initiate(&other, kind, proposal, PROGRAM.len() as u64, false).await.unwrap();
        let mut sink = store.upload(&other, kind, &begun.upload_id).await.unwrap();
        sink.write(Bytes::from_static(PROGRAM)).await.unwrap();
        sink.finish().await.unwrap();
        store.finish(&other, kind, &begun.upload_id).await.unwrap();
        assert!(store.version() > version);
        for (build_id, expected) in all {
            assert_eq!(reason(build_id).await, expected, "{round}");
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), all.len(), "each once");
}

/// What was uploaded without lines is made whole by a server, beside the upload, and asked for once.
#[tokio::test]
async fn a_stripped_upload_is_completed() {
    use std::sync::Arc;

    use crate::{
        Debuginfo, DebuginfoOptions, ObjectFile,
        decision::{Proposal, Reason},
        record::FileKind,
    };

    const WHOLE: &[u8] = PROGRAM;
    const STRIPPED: &[u8] = include_bytes!("../../../../fuzz/corpus/elf/symbols-only");
    let wanted = program_id();
    let name = wanted.as_str();
    let (whole, _) = server(|_| (200, WHOLE)).await;
    let (no_more, _) = server(|_| (200, STRIPPED)).await;
    for (url, expected) in [(whole, Some(WHOLE)), (no_more, None)] {
        let folder = tempfile::tempdir().unwrap();
        let objects = Arc::new(object_store::memory::InMemory::new());
        let options =
            DebuginfoOptions { cache_folder: folder.path().to_owned(), ..DebuginfoOptions::default() };
        let client = Arc::new(client(&[&url]));
        let store = Debuginfo::open(objects, options, Some(client)).await.unwrap();
        let (kind, hash) = (FileKind::Debuginfo, Proposal { hash: "h", force: false });
        let size = STRIPPED.len() as u64;
        let begun = store.initiate(name, kind, hash, size, false).await.unwrap();
        let mut sink = store.upload(name, kind, &begun.upload_id).await.unwrap();
        sink.write(Bytes::from_static(STRIPPED)).await.unwrap();
        sink.finish().await.unwrap();
        store.finish(name, kind, &begun.upload_id).await.unwrap();
        let held = async || match store.object_file(&wanted).await.unwrap() {
            ObjectFile::Held(held) => held,
            _ => panic!("it is not here"),
        };
        let before = held().await;
        assert_eq!((before.wanted, before.files.debuginfo.is_none()), (vec![wanted.clone()], true));
        let version = store.version();
        assert_eq!(store.fetch(&wanted).await.unwrap(), None);
        assert_eq!(store.version() > version, expected.is_some(), "only what is kept has arrived");
        let after = held().await;
        assert_eq!((after.wanted.len(), (*after.files.object).as_ref() == STRIPPED), (0, true));
        let debuginfo = after.files.debuginfo.map(|bytes| (*bytes).as_ref().to_vec());
        assert_eq!(debuginfo.as_deref(), expected);
        // Senders are told as before.
        let reason = store.should_initiate(name, kind, hash, true).await.unwrap();
        assert_eq!(reason, Reason::AlreadyExists);
    }
}

/// A machine without a way out must not make senders wait for each of their files.
#[tokio::test]
async fn who_cannot_be_reached_is_left_alone() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client(&[&format!("http://{address}")]);
    assert_eq!(client.find(&id("aabbccdd")).await, Lookup::Failed);
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(client.find(&id("11223344")).await, Lookup::Failed);
    assert!(listener.accept().is_err(), "it was asked");
}
