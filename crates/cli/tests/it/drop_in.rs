//! The program in the place of Parca's: started by its name, with its flags and its configuration.

use std::{os::unix::process::CommandExt as _, path::Path, process::Command};

use crate::process::{Server, decima};

/// All flags of Parca's server that may be given together, each with a value that it takes, and whether it does anything.
const FLAGS: &[(&str, &str, bool)] = &[
    ("mode", "all", true),
    ("http-read-timeout", "5s", false),
    ("http-write-timeout", "1m", false),
    ("port", "", true),
    ("log-level", "info", true),
    ("log-format", "logfmt", true),
    ("otlp-address", "127.0.0.1:1", false),
    ("otlp-exporter", "grpc", false),
    ("otlp-insecure", "true", false),
    ("cors-allowed-origins", "*", true),
    ("path-prefix", "", true),
    ("mutex-profile-fraction", "0", false),
    ("block-profile-rate", "0", false),
    ("enable-persistence", "false", false),
    ("storage-active-memory", "536870912", false),
    ("storage-enable-wal", "true", false),
    ("storage-snapshot-trigger-size", "134217728", false),
    ("storage-row-group-size", "8192", false),
    ("storage-index-on-disk", "false", false),
    ("symbolizer-demangle-mode", "simple", true),
    ("symbolizer-external-addr-2-line-path", "", false),
    ("symbolizer-number-of-tries", "3", false),
    ("debuginfo-cache-dir", "/tmp", true),
    ("debuginfo-upload-max-size", "1000000000", true),
    ("debuginfo-upload-max-duration", "15m", true),
    ("debuginfo-uploads-signed-url", "false", false),
    ("debuginfod-upstream-servers", "none", true),
    ("debuginfod-http-request-timeout", "5m", true),
    ("profile-share-server", "api.pprof.me:443", false),
    // A store sends nothing on.
    ("bearer-token", "hidden", false),
    ("bearer-token-file", "", true),
    ("insecure", "false", false),
    ("insecure-skip-verify", "false", false),
    ("external-label", "a=b", false),
    ("grpc-headers", "a=b", false),
    ("debug-normalize-addresses", "true", false),
    ("iceberg-storage", "false", false),
    ("clickhouse-enabled", "false", false),
    ("clickhouse-address", "localhost:9000", false),
    ("clickhouse-database", "parca", false),
    ("clickhouse-username", "", false),
    ("clickhouse-password", "hidden", false),
    ("clickhouse-table", "stacktraces", false),
    ("clickhouse-secure", "false", false),
];

/// What the charm that runs Parca writes, with a directory of ours.
fn configuration(folder: &Path) -> String {
    let path = folder.join("parca.yaml");
    let text = format!(
        "object_storage:\n  bucket:\n    type: FILESYSTEM\n    config:\n      directory: {}\n\
         scrape_configs:\n- job_name: parca\n  static_configs:\n  - targets: ['localhost:1']\n",
        folder.join("data").display()
    );
    std::fs::write(&path, text).unwrap();
    format!("--config-path={}", path.display())
}

fn parca(flags: &[&str]) -> Command {
    let mut command = decima();
    command.arg0("/parca").args(flags);
    command
}

/// Ends a store as Kubernetes does. Gives its log.
#[track_caller]
fn end(server: Server) -> String {
    server.signal("TERM");
    let (status, _, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

/// Scripts of Parca's users read the number out of it.
#[test]
fn the_version_is_on_a_line_as_parca_writes_it() {
    let output = parca(&["--version"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!("parca, version {} (commit: ", env!("CARGO_PKG_VERSION"));
    assert!(text.starts_with(&expected) && text.ends_with(")\n"), "{text:?}");
}

#[test]
fn every_flag_of_parca_is_taken_and_those_without_effect_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (config, storage) = (configuration(folder.path()), folder.path().join("storage"));
    let mut flags = vec![
        config,
        "--http-address=127.0.0.1:0".to_owned(),
        format!("--storage-path={}", storage.display()),
    ];
    flags.extend(FLAGS.iter().map(|(flag, value, _)| format!("--{flag}={value}")));
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let log = end(Server::running(parca(&flags)));
    for (flag, value, has_effect) in FLAGS {
        let told = log.lines().any(|line| {
            line.contains("level=warn")
                && line.contains("no effect")
                && line.contains(&format!("flag={flag}"))
        });
        assert_eq!(told, !has_effect, "{flag}={value}: {log}");
    }
    assert!(!log.contains("hidden"), "{log}");
    assert!(folder.path().join("data/default").is_dir(), "the store is where the configuration says");
    assert!(log.contains("no profiles are kept in --storage-path"), "{log}");
}

#[test]
fn the_command_lines_of_parcas_charm_start_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let (config, storage) = (configuration(folder.path()), folder.path().join("storage"));
    let storage = format!("--storage-path={}", storage.display());
    let start = |flags: &[&str]| {
        let always = [config.as_str(), "--http-address=localhost:0", "--storage-enable-wal"];
        Server::running(parca(&[&always, flags].concat()))
    };
    end(start(&["--enable-persistence", &storage]));
    end(start(&["--storage-active-memory=4294967296", "--otlp-address=tempo:4317", "--otlp-insecure=false"]));
    let forwarder = start(&[
        &storage,
        "--store-address=127.0.0.1:1",
        "--bearer-token=hidden",
        "--insecure=false",
        "--mode=scraper-only",
    ]);
    let log = end(forwarder);
    assert!(!log.contains("--storage-path"), "its spool is there: {log}");
    assert!(log.contains("forwarding") && !log.contains("hidden"), "{log}");
}
