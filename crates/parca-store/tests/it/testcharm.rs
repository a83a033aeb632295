//! Runs `examples/testcharm.rs` as Juju would, with `examples/hooktool.rs` as every hook tool.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const TOOLS: [&str; 7] =
    ["is-leader", "juju-log", "network-get", "relation-get", "relation-ids", "relation-list", "relation-set"];

/// A unit: a folder with hook tools, and its databags from hook to hook.
pub(crate) struct Unit {
    folder: TempDir,
    bags: Value,
}

/// How a hook ended.
#[derive(Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) code: Option<i32>,
    pub(crate) events: Vec<Value>,
    /// By relation; without those that are empty.
    pub(crate) bags: Value,
    pub(crate) stderr: String,
}

/// A program that `cargo test` has built beside this one.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not there: cargo test -p parca-store builds it", path.display());
    path
}

impl Unit {
    pub(crate) fn new(bags: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        for tool in TOOLS {
            symlink(example("hooktool"), folder.path().join("bin").join(tool)).unwrap();
        }
        Self { folder, bags }
    }

    /// Runs a hook over a model; what it writes counts if it ends with 0.
    pub(crate) fn hook(&mut self, env: &BTreeMap<String, String>, model: &Value) -> End {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path("model"), model.to_string()).unwrap();
        fs::write(path("bags"), self.bags.to_string()).unwrap();
        let _ = fs::remove_file(path("events"));
        let Output { status, stderr, .. } = Command::new(example("testcharm"))
            .env_clear()
            .envs([("PATH", path("bin")), ("TESTCHARM_EVENTS", path("events"))])
            .envs([("HOOKTOOL_MODEL", path("model")), ("HOOKTOOL_BAGS", path("bags"))])
            .env("JUJU_UNIT_NAME", "parca-k8s/0")
            .envs(env)
            .current_dir("/")
            .output()
            .unwrap();
        if status.success() {
            self.bags = read(&path("bags")).remove(0);
        }
        End {
            code: status.code(),
            events: if path("events").exists() { read(&path("events")) } else { Vec::new() },
            bags: without_empty(&self.bags),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }
}

/// A file with a JSON value on each line.
fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn without_empty(bags: &Value) -> Value {
    let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    let mut bags = bags.clone();
    for own in bags.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(own) = own.as_object_mut() {
            own.retain(|_, bag| !empty(bag));
        }
    }
    if let Some(bags) = bags.as_object_mut() {
        bags.retain(|_, own| !empty(own));
    }
    bags
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn joined(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let hook = [
        ("JUJU_DISPATCH_PATH", "hooks/parca-store-endpoint-relation-joined"),
        ("JUJU_RELATION", "parca-store-endpoint"),
        ("JUJU_RELATION_ID", "parca-store-endpoint:7"),
        ("JUJU_REMOTE_APP", "agent"),
        ("JUJU_REMOTE_UNIT", "agent/0"),
    ];
    env(&[&hook, more].concat())
}

fn related() -> Value {
    json!({"relations": [{"endpoint": "parca-store-endpoint", "id": 7, "app": "agent", "units": ["agent/0"]}]})
}

#[test]
fn better_defaults_reach_the_databag() {
    let mut unit = Unit::new(json!({}));
    let arguments = r#"{"seed_compat":false,"external_url":"https://[fd00::2]/x","port":443}"#;
    let told = joined(&[("TESTCHARM_ARGS", arguments), ("TESTCHARM_TOKEN", "t%n")]);
    let end = unit.hook(&told, &related());
    let bag = json!({
        "remote-store-address": "[fd00::2]:443", "remote-store-bearer-token": "t1", "remote-store-insecure": "false",
    });
    assert_eq!((end.code, &end.bags), (Some(0), &json!({"7": {"app": bag}})), "{}", end.stderr);
    let follower =
        json!({"leader": false, "relations": related()["relations"], "refuse": {"network-get": "boom"}});
    assert_eq!(unit.hook(&told, &follower).code, Some(0));
}

#[test]
fn a_url_without_a_host_fails_the_hook_by_default() {
    let mut unit = Unit::new(json!({}));
    for url in ["foo.bar", "http://[bad"] {
        let arguments = json!({"seed_compat": false, "external_url": url}).to_string();
        let end = unit.hook(&joined(&[("TESTCHARM_ARGS", &arguments)]), &related());
        assert_eq!((end.code, &end.bags), (Some(1), &json!({})));
        assert!(end.stderr.contains(url), "{}", end.stderr);
    }
}

#[test]
fn a_failed_hook_says_why_and_never_panics() {
    let mut unit = Unit::new(json!({}));
    let mut check = |env: &BTreeMap<String, String>, model: &Value, expected: &str| {
        let end = unit.hook(env, model);
        assert_eq!((end.code, end.stderr.trim()), (Some(1), expected));
    };
    check(&env(&[]), &related(), "JUJU_DISPATCH_PATH is not set");
    check(&env(&[("JUJU_UNIT_NAME", "")]), &related(), "JUJU_UNIT_NAME is not set");
    let nonsense = joined(&[("TESTCHARM_ARGS", r#"{"port":"x"}"#)]);
    check(
        &nonsense,
        &related(),
        "TESTCHARM_ARGS: invalid type: string \"x\", expected u16 at line 1 column 11",
    );
    let refused = json!({"relations": related()["relations"], "refuse": {"network-get": "boom"}});
    check(&joined(&[]), &refused, "cannot read or write the model: network-get: boom");
    let follower = json!({"leader": false, "relations": related()["relations"]});
    check(&joined(&[]), &follower, "parca-k8s/0 is not leader and cannot write application data");
    check(
        &joined(&[("PATH", "/nonexistent")]),
        &related(),
        "cannot read or write the model: cannot run relation-ids: No such file or directory (os error 2)",
    );
}

#[test]
fn unknown_hooks_and_actions_are_done_without_any_tool() {
    let mut unit = Unit::new(json!({}));
    for path in [
        "hooks/no-such-hook",
        "actions/upgrade-charm",
        "hooks/",
        "hooks/secret-changed",
        "hooks/a-pebble-check-failed",
    ] {
        let told = env(&[("JUJU_DISPATCH_PATH", path), ("PATH", "/nonexistent"), ("TESTCHARM_ARGS", "{")]);
        let end = unit.hook(&told, &related());
        assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{path}");
    }
}

#[test]
fn a_name_that_is_not_utf8_is_no_panic() {
    use std::os::unix::ffi::OsStringExt;
    let garbage = std::ffi::OsString::from_vec(vec![0xff, 0xfe]);
    let end = Command::new(example("testcharm"))
        .env_clear()
        .env("JUJU_UNIT_NAME", "parca-k8s/0")
        .env("JUJU_DISPATCH_PATH", "hooks/upgrade-charm")
        .env("TESTCHARM_ARGS", &garbage)
        .env(&garbage, &garbage)
        .output()
        .unwrap();
    assert_eq!(
        (end.status.code(), String::from_utf8_lossy(&end.stderr).trim()),
        (Some(1), "TESTCHARM_ARGS is not UTF-8")
    );
}
