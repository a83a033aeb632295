//! `upload` and `query` against a running store.

use std::path::{Path, PathBuf};

use decima_testkit::pprof::ProfileBuilder;

use crate::process::{Server, decima, run, stderr};

/// Selector of what the tests here upload.
const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{service=\"shop\"}";

fn now_ns() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// Writes a profile of three functions, taken now.
fn profile(folder: &Path) -> PathBuf {
    let path = folder.join("cpu.pb.gz");
    let profile = ProfileBuilder::cpu()
        .at(now_ns())
        .sample(&["hash", "handle", "main"], &[300_000_000])
        .sample(&["handle", "main"], &[100_000_000])
        .labelled_sample(&["main"], &[50_000_000], &[("route", "/cart")]);
    std::fs::write(&path, profile.gzip()).unwrap();
    path
}

fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_uploaded_profile_can_be_asked_for_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = profile(folder.path());
    let file = file.to_str().unwrap();
    let said = stdout(&["upload", file, "--label", "service=shop", "--address", server.url()]);
    assert_eq!(said.trim(), format!("{file}: stored 3 samples as process_cpu"));

    let ask = |format: &str| stdout(&["query", CPU, "--format", format, "--address", server.url()]);
    let top = ask("top");
    assert!(top.starts_with("total 450.00ms, 3 functions\n"), "{top}");
    assert!(top.contains("300.00ms  66.7%     300.00ms  66.7%  hash\n"), "{top}");

    assert_eq!(ask("collapsed"), "main 50000000\nmain;handle 100000000\nmain;handle;hash 300000000\n");

    let json = ask("json");
    assert!(json.contains("\"total\": 450000000"), "{json}");

    let pprof = decima().args(["query", CPU, "--format=pprof", "--address", server.url()]).output().unwrap();
    assert_eq!(pprof.stdout[..2], [0x1f, 0x8b], "gzip");

    let attribute = CPU.replace('}', ",route=\"/cart\"}");
    let part = stdout(&["query", &attribute, "--format=collapsed", "--address", server.url()]);
    assert_eq!(part, "main 50000000\n");

    let earlier = stdout(&["query", CPU, "--from=2h", "--to=1h", "--address", server.url()]);
    assert_eq!(earlier, "total 0, 0 functions\n");
}

#[test]
fn a_repeated_upload_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let file = profile(folder.path());
    let upload = ["upload", file.to_str().unwrap(), "--label=service=shop", "--address", server.url()];
    stdout(&upload);
    stdout(&upload);
    let top = stdout(&["query", CPU, "--address", server.url()]);
    assert!(top.starts_with("total 450.00ms, 3 functions\n"), "{top}");
}

#[test]
fn refusals_are_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &["--label-count-max=3"]);
    let check = |arguments: &[&str], words: &[&str]| {
        let output = decima().args(arguments).args(["--address", server.url()]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        for word in words {
            assert!(stderr(&output).contains(word), "{arguments:?}: {word:?} in {}", stderr(&output));
        }
    };
    let file = profile(folder.path());
    let file = file.to_str().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a profile").unwrap();
    check(&["upload", text.to_str().unwrap()], &["notes.txt"]);
    check(&["upload", "/no/such/file"], &["/no/such/file"]);
    check(&["upload", file, "-l=a=1", "-l=a=2"], &["InvalidArgument", "a"]);
    check(&["upload", file, "-l=a=1", "-l=b=2", "-l=c=3", "-l=d=4"], &["InvalidArgument"]);
    check(&["query", "{service=\"shop\"}"], &["InvalidArgument", "profile-type"]);
    check(&["query", "a:b:c:d:e{x=~\"(\"}"], &["InvalidArgument", "x"]);
}

#[test]
fn no_store_at_the_address_is_told() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&["query", CPU, "--address", &format!("http://{unused}")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--address"), "{}", stderr(&output));
}

#[test]
fn a_path_prefix_belongs_to_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &["--path-prefix=/profiles/"]);
    assert!(server.line.ends_with("/profiles/"), "{}", server.line);
    let file = profile(folder.path());
    stdout(&["upload", file.to_str().unwrap(), "-l=service=shop", "--address", server.url()]);
    let top = stdout(&["query", CPU, "--address", server.url()]);
    assert!(top.starts_with("total 450.00ms"), "{top}");
}

#[test]
fn inspect_lists_what_was_flushed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let none = folder.path().join("none.yaml");
    std::fs::write(&none, "scrape_configs: []\n").unwrap();
    let server = Server::start(&data, &["--config-path", none.to_str().unwrap()]);
    let file = profile(folder.path());
    stdout(&["upload", file.to_str().unwrap(), "-l=service=shop", "--address", server.url()]);
    server.signal("TERM");
    server.wait();

    let listing = stdout(&["inspect", data.to_str().unwrap(), "--verify"]);
    assert!(listing.contains("3 samples, 1 series"), "{listing}");
    assert!(listing.contains("samples.parquet"), "{listing}");
    assert!(listing.contains("verified"), "{listing}");

    let series = stdout(&["inspect", data.to_str().unwrap(), "--series"]);
    let line = series.lines().find(|line| line.contains(CPU)).expect("the series");
    assert!(line.contains("{service=\"shop\"} 20") && line.ends_with(", 3 samples"), "{series}");

    let missing = run(&["inspect", folder.path().join("nowhere").to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn inspect_finds_damage() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let file = profile(folder.path());
    stdout(&["upload", file.to_str().unwrap(), "-l=service=shop", "--address", server.url()]);
    server.signal("TERM");
    server.wait();

    let block = std::fs::read_dir(data.join("default/blocks")).unwrap().next().unwrap().unwrap().path();
    let samples = block.join("samples.parquet");
    let mut bytes = std::fs::read(&samples).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&samples, bytes).unwrap();

    let output = run(&["inspect", data.to_str().unwrap(), "--verify"]);
    assert_eq!(output.status.code(), Some(1));
    let id = block.file_name().unwrap().to_string_lossy().into_owned();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("FOUND") && said.contains(&id), "{said}");
}
