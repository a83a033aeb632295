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
        assert_nobody_was_told(&output);
    }
}

/// A start that ends by its configuration took no address, and no directory.
fn assert_nobody_was_told(output: &std::process::Output) {
    assert!(!stderr(output).contains("listening"), "{}", stderr(output));
    assert!(output.stdout.is_empty());
}

/// What the build lacks is told before anything begins; a port that is taken is no matter until then.
#[test]
fn what_cannot_be_used_ends_the_start_before_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--http-address={}", taken.local_addr().unwrap());
    let (path, data) = (folder.path().join("parca.yaml"), folder.path().join("data"));
    let arguments = ["--config-path", path.to_str().unwrap(), "--storage-path", data.to_str().unwrap()];
    let job = |discovery: &str| format!("scrape_configs: [{{job_name: shop, {discovery}}}]");
    let mut refused = 0;
    for (text, words) in [
        (job("dns_sd_configs: [{names: [a.test]}]"), "the feature `dns`"),
        (job("kubernetes_sd_configs: [{role: pod}]"), "the feature `kubernetes`"),
        (
            "object_storage: {bucket: {type: GCS, config: {bucket: b}}}".to_owned(),
            "object_storage of the configuration: ",
        ),
        (job("static_configs: 7"), "static_configs"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let checked = run(&["check-config", path.to_str().unwrap()]);
        // Which features a build has is not known here.
        if checked.status.success() {
            continue;
        }
        refused += 1;
        assert!(stderr(&checked).contains(words), "{text}: {}", stderr(&checked));
        let output = run(&[&[&*address], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{text}: {}", stderr(&output));
        assert_nobody_was_told(&output);
        assert!(!data.exists(), "{text}");
    }
    assert!(refused >= 2, "{refused}");
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
fn files_that_it_names_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parca.yaml");
    let jobs = "  - job_name: shop\n    bearer_token_file: token\n    file_sd_configs: [{files: [a.json, 'b/*.yml']}]\n";
    std::fs::write(&path, format!("scrape_configs:\n{jobs}")).unwrap();
    let path = path.to_str().unwrap();
    let output = run(&["check-config", path]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["token: cannot be read", "a.json: is not there"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(run(&["check-config", "--syntax-only", path]).status.success());
    std::fs::write(folder.path().join("token"), "x").unwrap();
    std::fs::write(folder.path().join("a.json"), "[").unwrap();
    let output = run(&["check-config", path]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("a.json: not a list of target groups"));
    std::fs::write(folder.path().join("a.json"), "[]").unwrap();
    let output = run(&["check-config", path]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("shop: 5 profiles every 10s, file ("), "{text}");
}

fn get(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
    runtime.block_on(async { client.get(url).send().await.unwrap().text().await.unwrap() })
}

/// Polls what a store says of itself.
fn until(what: &str, url: &str, reached: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for _ in 0..600 {
        text = get(url);
        if reached(&text) {
            return text;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{what}: {text}");
}

#[test]
fn changes_are_taken_while_it_runs_and_bad_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    // As Kubernetes mounts it.
    let mount = |name: &str, text: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("parca.yaml"), text).unwrap();
        let link = folder.path().join("..next");
        std::os::unix::fs::symlink(name, &link).unwrap();
        std::fs::rename(link, folder.path().join("..data")).unwrap();
    };
    let path = folder.path().join("parca.yaml");
    std::os::unix::fs::symlink("..data/parca.yaml", &path).unwrap();
    let job = |name: &str| {
        format!("scrape_configs:\n  - job_name: {name}\n    static_configs: [{{targets: ['127.0.0.1:9']}}]\n")
    };
    mount("..1", &job("first"));
    let store = Server::start(&folder.path().join("data"), &["--config-path", path.to_str().unwrap()]);
    let (targets, metrics) = (format!("{}/api/targets", store.url()), format!("{}/metrics", store.url()));
    until("the first is taken", &targets, |text| text.contains("\"first\""));
    mount("..2", &job("second"));
    until("the second is taken", &targets, |text| text.contains("\"second\"") && !text.contains("\"first\""));
    mount("..3", WRONG);
    let text = until("a bad one is refused", &metrics, |text| {
        text.contains("decima_reload_good{what=\"config\"} 0")
    });
    assert!(text.contains("decima_reload_failures_total{what=\"config\"} 1\n"), "{text}");
    assert!(text.contains("\nparca_config_last_reload_successful{} 0\n"), "{text}");
    assert!(get(&targets).contains("\"second\""));
    store.signal("HUP");
    until("the signal looks again", &metrics, |text| {
        text.contains("decima_reload_failures_total{what=\"config\"} 2\n")
    });
    // Rewritten in place.
    std::fs::write(folder.path().join("..3/parca.yaml"), job("third")).unwrap();
    until("the third is taken", &targets, |text| text.contains("\"third\""));
    let text =
        until("all is well", &metrics, |text| text.contains("\nparca_config_last_reload_successful{} 1\n"));
    assert!(text.contains("parca_config_last_reload_success_timestamp_seconds{} 1"), "{text}");
    store.signal("TERM");
    let (status, _, log) = store.wait();
    assert!(status.success(), "{log}");
    for words in ["parca.yaml:4: scrape_configs[0].scrape_timeout", "took the files as they are now"] {
        assert!(log.contains(words), "{words} in {log}");
    }
}

#[test]
fn a_signal_without_a_file_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Server::start(folder.path(), &[]);
    store.signal("HUP");
    until("it answers", &format!("{}/healthy", store.url()), |_| true);
    store.signal("TERM");
    assert!(store.wait().0.success());
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
