//! How the store starts, and how it stops.

use crate::process::{Server, run, stderr};

#[test]
fn says_where_it_is_and_stops_cleanly_on_signals() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &[]);
        assert!(server.line.contains(" http://127.0.0.1:"), "{}", server.line);
        assert!(!server.line.ends_with(":0/"), "{}", server.line);
        server.signal(signal);
        let (status, rest, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert_eq!(rest, "", "one line on standard output is all");
    }
}

#[test]
fn flags_of_parca_without_meaning_are_told_but_not_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(
        folder.path(),
        &["--enable-persistence", "--storage-enable-wal=false", "--bearer-token=secret", "--otlp-address="],
    );
    server.signal("TERM");
    let (status, _, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    for flag in ["enable-persistence", "storage-enable-wal", "bearer-token", "otlp-address"] {
        assert!(log.contains(flag), "{flag} in {log}");
    }
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn logs_are_logfmt_or_json() {
    let first_line = |flag: &str| {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &[flag]);
        server.signal("TERM");
        server.wait().2.lines().next().unwrap_or_default().to_owned()
    };
    let logfmt = first_line("--log-format=logfmt");
    assert!(logfmt.contains("level=info"), "{logfmt}");
    let json = first_line("--log-format=json");
    assert!(json.starts_with('{') && json.contains("\"level\":\"INFO\""), "{json}");
}

#[test]
fn a_port_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = format!("--http-address={}", taken.local_addr().unwrap());
    let output = run(&[&address, "--storage-path", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--http-address"), "{}", stderr(&output));
}
