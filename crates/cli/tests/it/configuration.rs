//! Configuration files: `check-config`, and what `serve` does with them.

use crate::process::{Server, run, stderr};

/// Line 4 is wrong.
const WRONG: &str =
    "scrape_configs:\n  - job_name: shop\n    scrape_interval: 10s\n    scrape_timeout: soon\n";

#[test]
fn a_wrong_file_is_named_with_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parca.yaml");
    std::fs::write(&path, WRONG).unwrap();
    let path = path.to_str().unwrap();
    let data = folder.path().join("data");
    let serve =
        ["--http-address=127.0.0.1:0", "--config-path", path, "--storage-path", data.to_str().unwrap()];
    for arguments in [&["check-config", path][..], &serve] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        for word in [path, ":4", "scrape_timeout"] {
            assert!(stderr(&output).contains(word), "{word} in {}", stderr(&output));
        }
    }
}

#[test]
fn a_right_file_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parca.yaml");
    std::fs::write(&path, WRONG.replace("soon", "15s")).unwrap();
    let output = run(&["check-config", path.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("fine, 1 scrape job"));
}

#[test]
fn a_missing_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&[
        "--config-path=/no/such.yaml",
        "--http-address=127.0.0.1:0",
        "--storage-path",
        folder.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/no/such.yaml"), "{}", stderr(&output));
}

/// A store profiles itself without a configuration, and another one when its configuration says so.
#[test]
fn profiles_itself_or_what_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let itself = Server::start(&folder.path().join("itself"), &[]);
    let address = itself.url().trim_start_matches("http://").to_owned();
    let path = folder.path().join("parca.yaml");
    let config = format!(
        "scrape_configs:\n  - job_name: other\n    scrape_interval: 1s\n    static_configs: [{{targets: ['{address}']}}]\n    profiling_config:\n      pprof_config:\n        block: {{enabled: false}}\n        mutex: {{enabled: false}}\n        goroutine: {{enabled: false}}\n        process_cpu: {{enabled: false}}\n"
    );
    std::fs::write(&path, config).unwrap();
    let other = Server::start(&folder.path().join("other"), &["--config-path", path.to_str().unwrap()]);

    let own = "decima_memory:inuse_space:bytes:space:bytes{job=\"decima\"}";
    let scraped = "memory:inuse_space:bytes:space:bytes{job=\"other\"}";
    assert!(eventually(&itself, own), "no profile of itself");
    assert!(eventually(&other, scraped), "no profile of the other");
    assert!(!has(&other, own), "it scrapes what it was not told to");
}

fn has(server: &Server, selector: &str) -> bool {
    let output = run(&["query", selector, "--address", server.url()]);
    assert!(output.status.success(), "{}", stderr(&output));
    !String::from_utf8_lossy(&output.stdout).starts_with("total 0,")
}

/// Asks until there is something, for at most half a minute.
fn eventually(server: &Server, selector: &str) -> bool {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::time::Instant::now() < end {
        if has(server, selector) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    false
}
