//! What the daemon knows and does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    answer::{Asked, Reply},
    files, plan,
};

/// What the daemon says of a service that does not stay.
const QUICK_END: &str = "service start attempt: exited quickly with code 2, will restart";

/// The daemon's state.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    /// Layers in order, each with its label.
    pub(super) layers: Vec<(String, Value)>,
    pub(super) files: BTreeMap<String, (Vec<u8>, String)>,
    pub(super) folders: BTreeSet<String>,
    /// Services that run, as they were configured when they were started.
    pub(super) running: BTreeMap<String, Value>,
    pub(super) starts: BTreeMap<String, u64>,
    pub(super) failing: BTreeMap<String, String>,
    pub(super) down: BTreeSet<String>,
    /// What services wrote, each line with the service's name.
    pub(super) output: Vec<(String, String)>,
    pub(super) requests: Vec<String>,
    changes: Vec<Value>,
}

impl Daemon {
    pub(super) fn plan(&self) -> Value {
        plan::combined(&self.layers)
    }

    pub(super) fn answer(&mut self, asked: &Asked) -> Reply {
        self.requests.push(shown(asked));
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/v1/system-info") => Reply::Sync(json!({"version": "v1.32.1", "boot-id": "7f2b8d7e"})),
            ("GET", "/v1/plan") => match asked.query("format") {
                Some("yaml") => Reply::Sync(json!(plan::rendered(&self.plan()))),
                _ => Reply::error(400, "invalid format \"\""),
            },
            ("POST", "/v1/layers") => self.add_layer(&asked.body),
            ("GET", "/v1/services") => Reply::Sync(self.services(asked.query("names"))),
            ("POST", "/v1/services") => self.act(&asked.body),
            ("GET", "/v1/logs") => self.logs(asked),
            ("GET", "/v1/checks") => Reply::Sync(self.checks()),
            ("GET", "/v1/files") if asked.query("action") == Some("read") => files::read(self, asked),
            ("GET", "/v1/files") => files::list(self, asked),
            ("POST", "/v1/files") => files::change(self, asked),
            ("GET", path) if path.starts_with("/v1/changes/") => self.change(path),
            (_, path) => {
                Reply::Error { status: 404, kind: "not-found", message: format!("cannot find {path:?}") }
            }
        }
    }

    fn add_layer(&mut self, body: &Value) -> Reply {
        let label = body["label"].as_str().unwrap_or_default().to_owned();
        let layer: Value = match serde_saphyr::from_str(body["layer"].as_str().unwrap_or_default()) {
            Ok(layer) => layer,
            Err(error) => return Reply::error(400, format!("cannot parse layer YAML: {error}")),
        };
        if let Err(message) = plan::validate(&layer) {
            return Reply::error(400, message);
        }
        let combine = body["combine"].as_bool().unwrap_or_default();
        let mut layers = self.layers.clone();
        match layers.iter_mut().find(|(other, _)| *other == label) {
            Some(_) if !combine => return Reply::error(400, format!("layer {label:?} already exists")),
            Some((_, below)) => plan::lay_over(below, &layer),
            None => layers.push((label, layer)),
        }
        if let Err(message) = plan::validate_plan(&plan::combined(&layers)) {
            return Reply::error(400, message);
        }
        self.layers = layers;
        Reply::Sync(json!(true))
    }

    fn services(&self, names: Option<&str>) -> Value {
        let plan = self.plan();
        let wanted: Vec<&str> = names.into_iter().flat_map(|names| names.split(',')).collect();
        let services = plan["services"].as_object().into_iter().flatten();
        let services = services.filter(|(name, _)| wanted.is_empty() || wanted.contains(&name.as_str()));
        let states = services.map(|(name, service)| {
            let current = if self.running.contains_key(name) { "active" } else { "inactive" };
            let startup = service["startup"].as_str().filter(|startup| !startup.is_empty());
            json!({"name": name, "startup": startup.unwrap_or("disabled"), "current": current})
        });
        states.collect()
    }

    fn logs(&self, asked: &Asked) -> Reply {
        let wanted: Vec<&str> =
            asked.query("services").into_iter().flat_map(|names| names.split(',')).collect();
        let lines = self.output.iter().filter(|(service, _)| wanted.contains(&service.as_str()));
        let lines: Vec<Value> = lines
            .map(|(service, line)| json!({"time": "2026-01-01T00:00:00Z", "service": service, "message": line}))
            .collect();
        let count = asked.query("n").and_then(|count| count.parse().ok()).unwrap_or(30);
        Reply::Lines(lines[lines.len().saturating_sub(count)..].to_vec())
    }

    fn checks(&self) -> Value {
        let plan = self.plan();
        let checks = plan["checks"].as_object().into_iter().flatten();
        let states = checks.map(|(name, check)| {
            let down = self.down.contains(name);
            let threshold = check["threshold"].as_u64().unwrap_or(3);
            let mut state = json!({
                "name": name,
                "startup": "enabled",
                "status": if down { "down" } else { "up" },
                "threshold": threshold,
                "change-id": "1",
            });
            if down {
                state["failures"] = json!(threshold);
            }
            if let Some(level) = check["level"].as_str() {
                state["level"] = json!(level);
            }
            state
        });
        states.collect()
    }

    fn act(&mut self, body: &Value) -> Reply {
        let action = body["action"].as_str().unwrap_or_default();
        let plan = self.plan();
        let names = body["services"].as_array().into_iter().flatten();
        let names: Vec<String> = names.filter_map(Value::as_str).map(str::to_owned).collect();
        if let Some(name) = names.iter().find(|name| plan["services"].get(name).is_none()) {
            return Reply::error(400, format!("cannot {action} services: service {name:?} does not exist"));
        }
        let enabled = || {
            let services = plan["services"].as_object().into_iter().flatten();
            services.filter(|(_, service)| service["startup"] == "enabled").map(|(name, _)| name.clone())
        };
        let (stop, start): (Vec<String>, Vec<String>) = match action {
            "replan" => {
                let changed =
                    self.running.iter().filter(|(name, service)| plan["services"][name] != **service);
                let stop: Vec<String> = changed.map(|(name, _)| name.clone()).collect();
                let again = stop.iter().filter(|name| plan["services"].get(name).is_some()).cloned();
                let start: BTreeSet<String> = again.chain(enabled()).collect();
                (stop, start.into_iter().collect())
            }
            "autostart" => (Vec::new(), enabled().collect()),
            "start" => (Vec::new(), names),
            "stop" => (names, Vec::new()),
            "restart" => (names.clone(), names),
            _ => return Reply::error(400, format!("invalid action {action:?}")),
        };
        Reply::Async(self.run(action, &plan, &stop, &start))
    }

    /// Stops and starts services, and makes the change that tells of it.
    fn run(&mut self, action: &str, plan: &Value, stop: &[String], start: &[String]) -> String {
        let mut tasks = Vec::new();
        let mut failure = None;
        for name in stop {
            if self.running.remove(name).is_some() {
                tasks.push(
                    json!({"kind": "stop", "summary": format!("Stop service {name:?}"), "status": "Done"}),
                );
            }
        }
        for name in start {
            let mut task =
                json!({"kind": "start", "summary": format!("Start service {name:?}"), "status": "Done"});
            if self.running.contains_key(name) {
                task["log"] = json!([format!("2026-01-01T00:00:00Z INFO Service {name:?} already started.")]);
            } else if let Some(message) = self.failing.get(name) {
                task["status"] = json!("Error");
                task["log"] = json!([
                    format!("2026-01-01T00:00:00Z INFO Most recent service output:\n    {message}"),
                    format!("2026-01-01T00:00:00Z ERROR {QUICK_END}"),
                ]);
                failure = Some(format!(
                    "cannot perform the following tasks:\n- Start service {name:?} ({QUICK_END})"
                ));
            } else {
                self.running.insert(name.clone(), plan["services"][name].clone());
                *self.starts.entry(name.clone()).or_default() += 1;
            }
            tasks.push(task);
        }
        let id = (self.changes.len() + 1).to_string();
        let mut change = json!({
            "id": id,
            "kind": action,
            "summary": format!("{action} {}", start.join(", ")),
            "status": if failure.is_some() { "Error" } else { "Done" },
            "ready": true,
            "tasks": tasks,
        });
        if let Some(failure) = failure {
            change["err"] = json!(failure);
        }
        self.changes.push(change);
        id
    }

    fn change(&self, path: &str) -> Reply {
        let id = path.trim_start_matches("/v1/changes/").trim_end_matches("/wait");
        match self.changes.iter().find(|change| change["id"] == id) {
            Some(change) => Reply::Sync(change.clone()),
            None => {
                let message = format!("cannot find change with id {id:?}");
                Reply::Error { status: 404, kind: "not-found", message }
            }
        }
    }
}

/// A request as tests read it: method, path, and what is to be done.
fn shown(asked: &Asked) -> String {
    let action = asked.body["action"].as_str().or(asked.query("action"));
    let of = asked.query("path").or(asked.body["label"].as_str()).or(asked.body["files"][0]["path"].as_str());
    let words = [Some(asked.method.as_str()), Some(&asked.path), action, of];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
