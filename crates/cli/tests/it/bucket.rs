//! The store in a bucket: an S3 server stands in for the cloud. `cargo xtask nightly` runs these tests against MinIO too.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use decima_testkit::{pprof::ProfileBuilder, s3};

use crate::process::{Server, decima, run, stderr};

/// Selector of what the tests here upload.
const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{service=\"shop\"}";

/// A server with a bucket, and a configuration that names it.
struct Bucket {
    folder: tempfile::TempDir,
    server: s3::Server,
    flag: String,
}

impl Bucket {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = s3::Server::start(&folder.path().join("s3")).unwrap();
        let config = folder.path().join("parca.yaml");
        std::fs::write(&config, server.configuration("some/where")).unwrap();
        Self { flag: format!("--config-path={}", config.display()), folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a process whose data directory is not used.
    fn start(&self, flags: &[&str]) -> Server {
        let flags: Vec<_> = [self.flag.as_str()].into_iter().chain(flags.iter().copied()).collect();
        Server::start(&self.path("unused"), &flags)
    }

    /// Names of objects below the prefix and the tenant.
    fn objects(&self, below: &str) -> Vec<String> {
        self.server.objects(&format!("some/where/default/{below}"))
    }
}

/// Uploads a profile of its own; whether it was acknowledged.
fn upload(server: &Server, folder: &Path, number: i64) -> bool {
    let path = folder.join(format!("{number}.pb.gz"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let profile = ProfileBuilder::cpu().at(now.as_nanos() as i64).sample(&["work", "main"], &[number]);
    std::fs::write(&path, profile.gzip()).unwrap();
    let mut upload = decima();
    upload.arg("upload").arg(&path).args(["--label=service=shop", "--address", server.url()]);
    upload.output().unwrap().status.success()
}

/// An answer to GET, with its head.
fn get(server: &Server, path: &str) -> String {
    let address = server.url().trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn total(server: &Server) -> i64 {
    let output = run(&["query", CPU, "--format=collapsed", "--address", server.url()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum()
}

#[test]
fn log_and_blocks_in_a_bucket_survive_kill_and_stop() {
    let bucket = Bucket::new();
    let server = bucket.start(&[]);
    assert!(upload(&server, bucket.folder.path(), 1));
    assert!(upload(&server, bucket.folder.path(), 2));
    server.kill();
    let server = bucket.start(&[]);
    assert_eq!(total(&server), 3, "after kill -9");
    server.signal("TERM");
    let (status, _, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(bucket.objects("blocks").contains(&"samples.parquet".to_owned()));
    let server = bucket.start(&[]);
    assert_eq!(total(&server), 3, "from a block");
    assert!(!bucket.path("unused").join("default").exists(), "nothing is in the data directory");
    assert!(bucket.objects("probe").is_empty(), "the bucket was tried and left clean");

    let inspected = run(&["inspect", &bucket.flag, "--verify"]);
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    assert!(String::from_utf8_lossy(&inspected.stdout).contains("2 samples"), "{inspected:?}");
}

#[test]
fn a_second_process_takes_the_log_over() {
    let bucket = Bucket::new();
    let first = bucket.start(&[]);
    assert!(upload(&first, bucket.folder.path(), 1));
    let second = bucket.start(&[]);
    assert_eq!(total(&second), 1);
    let is_ready = |server: &Server| get(server, "/ready").starts_with("HTTP/1.0 200");
    // Nothing is sent to it, and it learns all the same.
    for _ in 0..300 {
        if !is_ready(&first) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(!is_ready(&first) && is_ready(&second));
    assert!(!upload(&first, bucket.folder.path(), 2), "the first no longer acknowledges");
    assert!(upload(&second, bucket.folder.path(), 4));
    first.signal("TERM");
    let (_, _, log) = first.wait();
    assert!(log.contains("another process has taken over the log"), "{log}");
    second.kill();
    assert_eq!(total(&bucket.start(&[])), 5, "what was acknowledged, once");
}

#[test]
fn the_log_may_be_on_a_disk() {
    let bucket = Bucket::new();
    let disk = bucket.path("log");
    let flag = format!("--log-path={}", disk.display());
    let server = bucket.start(&[&flag]);
    let puts = || bucket.server.requests().map(|kinds| kinds.get("PUT").copied());
    let before = puts();
    assert!(upload(&server, bucket.folder.path(), 1));
    assert_eq!(puts(), before, "no request of the bucket for a profile");
    server.kill();
    assert!(bucket.objects("log").is_empty());

    let refused = |flags: &[&str], words: &str| {
        let mut started = decima();
        started.args(["--http-address=127.0.0.1:0", &bucket.flag]).args(flags);
        let output = started.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        assert!(stderr(&output).contains(words), "{flags:?}: {}", stderr(&output));
    };
    refused(&[], "belong to a log that is elsewhere");
    let other = format!("--log-path={}", bucket.path("other").display());
    refused(&[&other], "belong to a log that is elsewhere");

    let server = bucket.start(&[&flag]);
    assert_eq!(total(&server), 1, "replayed from the disk");
    refused(&[&flag], "in use by another process");
    server.signal("TERM");
    assert!(server.wait().0.success());
    let moved = bucket.start(&["--abandon-log"]);
    assert_eq!(total(&moved), 1, "all of it is in blocks");
    assert!(upload(&moved, bucket.folder.path(), 2));
    assert!(!bucket.objects("log").is_empty());
    moved.kill();
    refused(&[&flag], "holds samples that are in no block yet");
}

#[test]
fn a_reader_keeps_what_it_read_on_a_disk() {
    let bucket = Bucket::new();
    let writer = bucket.start(&[]);
    assert!(upload(&writer, bucket.folder.path(), 7));
    writer.signal("TERM");
    assert!(writer.wait().0.success());

    let cache = bucket.path("cache");
    let flags =
        ["--role=query", &format!("--read-cache-path={}", cache.display()), "--read-cache-size=16MiB"];
    let counter = |server: &Server, name: &str| -> u64 {
        let text = get(server, "/metrics");
        let line = text.lines().find(|line| line.starts_with(&format!("decima_read_cache_{name} ")));
        line.and_then(|line| line.rsplit_once(' '))
            .unwrap_or_else(|| panic!("{name}: {text}"))
            .1
            .parse()
            .unwrap()
    };
    let reader = bucket.start(&flags);
    while counter(&reader, "ready") == 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(total(&reader), 7);
    assert!(counter(&reader, "misses_total") > 0 && counter(&reader, "bytes") > 0);
    let mut second = decima();
    let output = second.args(["--http-address=127.0.0.1:0", &bucket.flag]).args(flags).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("in use by another process"), "{}", stderr(&output));
    reader.kill();

    let reader = bucket.start(&flags);
    assert_eq!(total(&reader), 7);
    assert!(counter(&reader, "hits_total") > 0);
    assert_eq!(counter(&reader, "misses_total"), 0, "all of it was on the disk");
    std::fs::remove_dir_all(&cache).unwrap();
    assert_eq!(total(&reader), 7, "although it is gone");
}

#[test]
fn a_bucket_that_is_away_is_told() {
    let bucket = Bucket::new();
    let config = bucket.path("parca.yaml");
    let text = std::fs::read_to_string(&config).unwrap().replace(&bucket.server.endpoint(), "127.0.0.1:9");
    std::fs::write(&config, text).unwrap();
    let output = run(&["--http-address=127.0.0.1:0", &bucket.flag]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the S3 bucket profiles below some/where"), "{}", stderr(&output));
}

/// Asks until the answer is what is expected; it may only grow up to it.
#[track_caller]
fn eventually(server: &Server, expected: i64) {
    let mut seen = 0;
    for _ in 0..100 {
        let now = total(server);
        assert!((seen..=expected).contains(&now), "{now} after {seen}, and {expected} were acknowledged");
        if now == expected {
            return;
        }
        seen = now;
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{seen} of {expected} seen");
}

#[test]
fn readers_follow_a_writer_through_kills_of_each() {
    let bucket = Bucket::new();
    let folder = bucket.folder.path();
    let mut writer = bucket.start(&[]);
    let mut readers = [0, 1].map(|_| bucket.start(&["--role=query"]));
    let mut acknowledged = 0;
    let mut add = |writer: &Server, number: i64| {
        assert!(upload(writer, folder, number));
        acknowledged += number;
        acknowledged
    };
    let expected = add(&writer, 1);
    readers.iter().for_each(|reader| eventually(reader, expected));
    assert!(!upload(&readers[0], folder, 1), "a reader takes nothing");

    // A reader dies and comes back to what was added meanwhile.
    let [first, second] = readers;
    first.kill();
    let expected = add(&writer, 2);
    readers = [bucket.start(&["--role=query"]), second];
    readers.iter().for_each(|reader| eventually(reader, expected));

    // The writer dies: readers go on answering, and see what its successor adds to the same head.
    writer.kill();
    readers.iter().for_each(|reader| assert_eq!(total(reader), expected));
    writer = bucket.start(&[]);
    let expected = add(&writer, 4);
    readers.iter().for_each(|reader| eventually(reader, expected));

    // The head becomes a block, and a new head begins.
    writer.signal("TERM");
    assert!(writer.wait().0.success());
    readers.iter().for_each(|reader| eventually(reader, expected));
    writer = bucket.start(&[]);
    let expected = add(&writer, 8);
    readers.iter().for_each(|reader| eventually(reader, expected));

    let [first, second] = readers;
    second.kill();
    readers = [first, bucket.start(&["--role=query"])];
    writer.kill();
    writer = bucket.start(&[]);
    let expected = add(&writer, 16);
    readers.iter().for_each(|reader| eventually(reader, expected));
    assert_eq!(total(&writer), expected);
}

/// A way to the bucket on which files of blocks wait.
struct Gate {
    address: SocketAddr,
    is_open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    fn to(endpoint: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, is_open) = (listener.local_addr().unwrap(), Arc::<(Mutex<bool>, Condvar)>::default());
        let gate = is_open.clone();
        // It ends with the tests.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, bucket) = (client.unwrap(), TcpStream::connect(&endpoint).unwrap());
                let (mut answers, mut answered) = (bucket.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    // Either side may go away.
                    let _ = std::io::copy(&mut answers, &mut answered);
                    let _ = answered.shutdown(Shutdown::Both);
                });
                let gate = gate.clone();
                thread::spawn(move || pass(client, bucket, &gate));
            }
        });
        Self { address, is_open }
    }

    fn open(&self) {
        *self.is_open.0.lock().unwrap() = true;
        self.is_open.1.notify_all();
    }
}

/// Passes requests on, but those that put files of blocks only once the gate is open.
fn pass(mut client: TcpStream, mut bucket: TcpStream, gate: &(Mutex<bool>, Condvar)) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let line = bytes[..count].split(|&byte| byte == b'\r').next().unwrap_or_default();
        if line.starts_with(b"PUT ") && String::from_utf8_lossy(line).contains("/blocks/") {
            let is_open = gate.0.lock().unwrap();
            drop(gate.1.wait_while(is_open, |is_open| !*is_open).unwrap());
        }
        if bucket.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = bucket.shutdown(Shutdown::Both);
}

#[test]
fn inspect_tells_of_a_merge_that_is_under_way() {
    const WINDOW_NS: i64 = 2 * 3_600_000_000_000;
    let bucket = Bucket::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    // A window that is over, so that all of it is due.
    let window = (now.as_nanos() as i64 / WINDOW_NS - 2) * WINDOW_NS;
    for number in 1..=5 {
        let server = bucket.start(&["--compaction-memory=0"]);
        let profile = ProfileBuilder::cpu()
            .at(window + number * 60_000_000_000)
            .sample(&["work", "main"], &[number])
            .sample(&["idle", "main"], &[number])
            .sample(&["main"], &[number]);
        let path = bucket.path(&format!("{number}.pb.gz"));
        std::fs::write(&path, profile.gzip()).unwrap();
        let mut upload = decima();
        upload.arg("upload").arg(&path).args(["--label=service=shop", "--address", server.url()]);
        let uploaded = upload.output().unwrap();
        assert!(uploaded.status.success(), "{}", stderr(&uploaded));
        server.signal("TERM");
        assert!(server.wait().0.success());
    }
    let gate = Gate::to(bucket.server.endpoint());
    let config = bucket.path("gate.yaml");
    let direct = std::fs::read_to_string(bucket.path("parca.yaml")).unwrap();
    std::fs::write(&config, direct.replace(&bucket.server.endpoint(), &gate.address.to_string())).unwrap();
    let flag = format!("--config-path={}", config.display());
    let server = Server::start(&bucket.path("unused"), &[&flag]);
    let tells = |words: &[&str]| {
        let mut said = String::new();
        for _ in 0..300 {
            let output = run(&["inspect", &bucket.flag, "--progress", "--address", server.url()]);
            assert!(output.status.success(), "{}", stderr(&output));
            said = String::from_utf8(output.stdout).unwrap();
            if words.iter().all(|word| said.contains(word)) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("{words:?} in {said}");
    };
    let merges = "the store merges blocks: 15 of 15 samples are done, 5 blocks are due for it\n";
    tells(&[", 5 blocks\n", merges]);
    gate.open();
    tells(&[", 1 blocks\n", "the store merges no blocks now, 0 blocks are due for it\n"]);
}
