//! The command line and its exit codes.

use crate::process::{run, stderr};

#[test]
fn a_wrong_command_line_exits_2_and_names_the_flag() {
    let check = |arguments: &[&str], named: &str| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(named), "{arguments:?}: {}", stderr(&output));
    };
    check(&["--no-such-flag"], "--no-such-flag");
    check(&["--http-address", "nowhere"], "--http-address");
    check(&["--retention=soon"], "--retention");
    check(&["--head-memory=1MiB"], "--head-memory");
    check(&["--log-level=loud"], "--log-level");
    check(&["--allow-partial=maybe"], "--allow-partial");
    check(&["serve", "--head-memory=lots"], "--head-memory");
    check(&["upload"], "<FILE>");
    check(&["upload", "x.pb.gz", "--label", "novalue"], "--label");
    check(&["query", "x{}", "--format=svg"], "--format");
    check(&["query", "x{}", "--from=yesterday"], "--from");
    check(&["no-such-command"], "no-such-command");
}

#[test]
fn version_and_help_go_to_standard_output() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert_eq!(
        String::from_utf8_lossy(&version.stdout).trim(),
        format!("decima {}", env!("CARGO_PKG_VERSION"))
    );

    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for flag in ["--config-path", "--http-address", "--storage-path", "--retention", "upload", "check-config"]
    {
        assert!(text.contains(flag), "{flag} in {text}");
    }
    assert!(!text.contains("--enable-persistence"), "flags without effect are hidden");
}
