//! A charm that uses the Python library of the relation, under the real ops framework: that of `parca-store`'s
//! comparison, whose two sides are told apart by the endpoint.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use decima_juju_fake::{Agent, Event, Model, hook_tools_example};
use serde_json::Value;
use tempfile::TempDir;

use crate::pod::program;

/// The endpoint on which it requires a store.
pub(crate) const REQUIRER: &str = "external-parca-store-endpoint";
/// The endpoint on which it provides one.
pub(crate) const PROVIDER: &str = "parca-store-endpoint";

/// A unit of it.
pub(crate) struct PythonUnit {
    pub(crate) agent: Agent,
    folder: TempDir,
}

impl PythonUnit {
    /// A unit, which leads.
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::new(folder.path(), &Model::new(name)).unwrap();
        let agent = agent.with_tools(&hook_tools_example("hook-tools").unwrap()).unwrap();
        fs::copy(
            library().join("differential/charm/metadata.yaml"),
            agent.charm_folder().join("metadata.yaml"),
        )
        .unwrap();
        Self { agent, folder }
    }

    /// Runs the charm for an event; gives the events of the library that came of it.
    pub(crate) fn hook(&self, event: Event) -> Vec<Value> {
        let events = self.folder.path().join("events");
        let _ = fs::remove_file(&events);
        let library = library();
        let code = format!(
            "import sys; sys.path[:0] = [{:?}, {:?}]; import ops, charm; ops.main(charm.Testcharm)",
            library.join("differential/charm"),
            library.join("seed"),
        );
        let event = event.var("TESTCHARM_EVENTS", &events.display().to_string());
        let mut python = Command::new(program("DECIMA_PYTHON_OPS"));
        let outcome = self.agent.run(&event, python.args(["-B", "-c", &code])).unwrap();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        let lines = fs::read_to_string(events).unwrap_or_default();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../parca-store/tests")
}
