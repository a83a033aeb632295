//! A unit: the agent, the container's Pebble, and the charm's program.

use std::{collections::BTreeMap, os::unix::net::UnixListener, path::PathBuf, process::Command};

use decima_juju_fake::{Agent, Event, Model, Outcome, hook_tools_example, pebble::FakePebble};
use serde_json::Value;
use tempfile::TempDir;

/// A unit of the charm; its container is up or not.
pub(crate) struct Unit {
    pub(crate) agent: Agent,
    pub(crate) pebble: Option<FakePebble>,
    folder: TempDir,
}

impl Unit {
    /// A unit whose container is not there yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::new(folder.path(), &Model::new("parca-k8s/0")).unwrap();
        let agent = agent.with_tools(&hook_tools_example("hook-tools").unwrap()).unwrap();
        Self { agent, pebble: None, folder }
    }

    /// The same with its container up.
    pub(crate) fn up() -> Self {
        let mut unit = Self::new();
        unit.start_container();
        unit
    }

    fn containers(&self) -> PathBuf {
        self.folder.path().join("containers")
    }

    /// A fresh container: no layer, no files.
    pub(crate) fn start_container(&mut self) {
        self.pebble = None;
        let folder = self.containers().join("parca");
        std::fs::create_dir_all(&folder).unwrap();
        self.pebble = Some(FakePebble::start(&folder.join("pebble.socket")).unwrap());
    }

    /// A socket at which something else than a Pebble answers.
    pub(crate) fn listen_in_place_of_pebble(&self) -> UnixListener {
        let folder = self.containers().join("parca");
        std::fs::create_dir_all(&folder).unwrap();
        UnixListener::bind(folder.join("pebble.socket")).unwrap()
    }

    pub(crate) fn pebble(&self) -> &FakePebble {
        self.pebble.as_ref().unwrap()
    }

    /// Runs the charm for an event, whatever becomes of it.
    pub(crate) fn run(&self, event: Event) -> Outcome {
        let event = event.var("DECIMA_CHARM_CONTAINERS", &self.containers().display().to_string());
        self.agent.run(&event, &mut Command::new(env!("CARGO_BIN_EXE_dispatch"))).unwrap()
    }

    /// Runs the charm for an event, which has to end well. Gives the status of the unit.
    pub(crate) fn hook(&self, event: Event) -> String {
        let outcome = self.run(event);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        self.status()
    }

    pub(crate) fn status(&self) -> String {
        let status = self.agent.model().unwrap().unit_status;
        format!("{}: {}", status.status, status.message)
    }

    /// What the application wrote to a relation.
    pub(crate) fn app_bag(&self, relation: u64) -> BTreeMap<String, String> {
        self.agent.model().unwrap().relations[&relation].app_bag.clone()
    }

    /// Names and scopes in the workload's tokens file.
    pub(crate) fn grants(&self) -> Vec<String> {
        let files = self.pebble().files();
        let (content, permissions) = &files["/etc/parca/tokens.json"];
        assert_eq!(permissions, "600");
        let file: Value = serde_json::from_slice(content).unwrap();
        let grants = file["tokens"].as_array().unwrap().iter();
        grants
            .map(|grant| format!("{} {}", grant["name"].as_str().unwrap(), grant["scope"].as_str().unwrap()))
            .collect()
    }
}
