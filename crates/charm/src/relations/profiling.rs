//! `parca_scrape`, requiring: jobs of other charms become jobs of our configuration.
//!
//! The workload refuses its configuration as a whole if one job in it is wrong. So a job is taken only if every part of it
//! is known and good; one that is not keeps its whole relation out, and is named.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Problem, pem};
use crate::{
    names::{PROFILING, SELF_JOB},
    world::{Relation, World},
};

/// Jobs of one relation, at most.
const JOBS_MAX: usize = 64;
/// Targets of one job, at most.
const TARGETS_MAX: usize = 1024;
/// Values and containers of all jobs together, and their bytes, at most: the workload reads a few times as much and refuses
/// more.
const NODES_MAX: usize = 100_000;
const BYTES_MAX: usize = 8 << 20;
/// Characters of a key at most. The workload reads no longer one than 1024, and each may be written as six.
const KEY_CHARS_MAX: usize = 128;
/// Profiles whose path the workload knows.
const PROFILES_KNOWN: [&str; 5] = ["memory", "block", "goroutine", "mutex", "process_cpu"];

/// Where a related application is in its model.
struct Topology {
    model: String,
    model_uuid: String,
    application: String,
    charm: String,
}

/// All jobs of all relations.
pub fn jobs(world: &World, problems: &mut Vec<Problem>) -> Vec<Value> {
    let mut taken = Taken { names: BTreeSet::from([SELF_JOB.to_owned()]), nodes: 0, bytes: 0 };
    let mut jobs = Vec::new();
    for relation in world.of(PROFILING).filter(|relation| !relation.units.is_empty()) {
        match jobs_of(relation).and_then(|more| taken.with(&more).map(|taken| (more, taken))) {
            Ok((more, with_more)) => {
                jobs.extend(more);
                taken = with_more;
            }
            Err(message) => problems.push(Problem::of(&relation.id, message)),
        }
    }
    jobs
}

/// What the jobs so far leave no more room for.
struct Taken {
    names: BTreeSet<String>,
    nodes: usize,
    bytes: usize,
}

impl Taken {
    /// The same with more jobs, if they fit.
    fn with(&self, jobs: &[Value]) -> Result<Self, String> {
        let mut names = self.names.clone();
        if !jobs.iter().all(|job| names.insert(job["job_name"].as_str().unwrap_or_default().to_owned())) {
            return Err("scrape_jobs has a job whose name is taken".to_owned());
        }
        let nodes = self.nodes + jobs.iter().map(nodes).sum::<usize>();
        let bytes = self.bytes + jobs.iter().map(|job| job.to_string().len()).sum::<usize>();
        if nodes > NODES_MAX || bytes > BYTES_MAX {
            return Err("scrape_jobs is more than the store takes, with what others ask for".to_owned());
        }
        Ok(Self { names, nodes, bytes })
    }
}

/// Values and containers in a value, keys among them.
fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(nodes).sum(),
        Value::Object(fields) => fields.values().map(|value| 1 + nodes(value)).sum(),
        _ => 0,
    }
}

fn jobs_of(relation: &Relation) -> Result<Vec<Value>, String> {
    let Some(text) = relation.remote.get("scrape_jobs") else { return Ok(Vec::new()) };
    let mut jobs: Vec<Map<String, Value>> =
        serde_json::from_str(text).map_err(|_| "scrape_jobs is not a list of jobs in JSON".to_owned())?;
    jobs.iter_mut().for_each(leave_out_null);
    if jobs.len() > JOBS_MAX {
        return Err(format!("scrape_jobs has more than {JOBS_MAX} jobs"));
    }
    let topology = match relation.remote.get("scrape_metadata") {
        None => None,
        Some(text) => Some(topology(text).ok_or("scrape_metadata is not a place in a model in JSON")?),
    };
    let units = units(relation)?;
    jobs.iter()
        .enumerate()
        .map(|(index, given)| job(relation, given, index, topology.as_ref(), &units))
        .collect()
}

fn topology(text: &str) -> Option<Topology> {
    let metadata: Map<String, Value> = serde_json::from_str(text).ok()?;
    let word = |key: &str| {
        let word = metadata.get(key)?.as_str()?;
        (word.len() <= 512 && !word.chars().any(char::is_control)).then(|| word.to_owned())
    };
    Some(Topology {
        model: word("model")?,
        model_uuid: word("model_uuid")?,
        application: word("application")?,
        charm: word("charm_name").unwrap_or_default(),
    })
}

/// A key without a value says nothing.
fn leave_out_null(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    for value in fields.values_mut() {
        match value {
            Value::Object(fields) => leave_out_null(fields),
            Value::Array(values) => {
                values.iter_mut().filter_map(Value::as_object_mut).for_each(leave_out_null);
            }
            _ => {}
        }
    }
}

/// Addresses of the units that have said theirs, in the form that goes before a port.
fn units(relation: &Relation) -> Result<BTreeMap<String, String>, String> {
    let mut units = BTreeMap::new();
    for (unit, bag) in &relation.units {
        let text = bag.get("parca_scrape_unit_address").or_else(|| bag.get("parca_scrape_host"));
        let Some(text) = text else { continue };
        let host =
            if text.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{text}]") } else { text.clone() };
        if !super::is_host(&host) {
            return Err(format!("address of {unit} is not a host"));
        }
        units.insert(unit.to_string(), host);
    }
    Ok(units)
}

/// One job, with targets of all units in place of `*`, and labels that say where they are in their model.
fn job(
    relation: &Relation,
    given: &Map<String, Value>,
    index: usize,
    topology: Option<&Topology>,
    units: &BTreeMap<String, String>,
) -> Result<Value, String> {
    let wrong = |key: &str| format!("scrape_jobs[{index}].{key} cannot be used");
    let given_name = match given.get("job_name") {
        None => None,
        Some(name) => {
            let name = name.as_str().filter(|name| !name.is_empty() && name.len() <= 512);
            Some(name.filter(|name| !name.chars().any(char::is_control)).ok_or_else(|| wrong("job_name"))?)
        }
    };
    let mut job = Map::new();
    job.insert("job_name".to_owned(), json!(job_name(relation, given_name, index, topology)));
    let static_configs = static_configs(given.get("static_configs"), topology, units);
    job.insert("static_configs".to_owned(), static_configs.ok_or_else(|| wrong("static_configs"))?);
    if let Some(scheme) = given.get("scheme") {
        let scheme = scheme.as_str().filter(|scheme| ["http", "https"].contains(scheme));
        job.insert("scheme".to_owned(), json!(scheme.ok_or_else(|| wrong("scheme"))?));
    }
    let timeout_ms = timeout_ms(given).map_err(wrong)?;
    for key in ["scrape_interval", "scrape_timeout"] {
        job.extend(given.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    if let Some(config) = given.get("profiling_config") {
        let config = profiling_config(config, timeout_ms).ok_or_else(|| wrong("profiling_config"))?;
        job.insert("profiling_config".to_owned(), config);
    }
    if let Some(config) = given.get("tls_config") {
        job.insert("tls_config".to_owned(), tls_config(config).ok_or_else(|| wrong("tls_config"))?);
    }
    if topology.is_some() {
        job.insert("relabel_configs".to_owned(), json!([instance_rule()]));
    }
    Ok(Value::Object(job))
}

/// Makes the place in the model the name of the instance.
pub(crate) fn instance_rule() -> Value {
    json!({
        "source_labels": ["juju_model", "juju_model_uuid", "juju_application", "juju_unit"],
        "separator": "_",
        "target_label": "instance",
        "regex": "(.*)",
    })
}

fn job_name(relation: &Relation, given: Option<&str>, index: usize, topology: Option<&Topology>) -> String {
    match (topology, given) {
        (Some(Topology { model, model_uuid, application, .. }), given) => {
            let uuid: String = model_uuid.chars().take(8).collect();
            match given {
                Some(name) => format!("{model}_{uuid}_{application}_{name}"),
                // The first job has no number, so that its series stay when another one comes.
                None if index == 0 => format!("{model}_{uuid}_{application}"),
                None => format!("{model}_{uuid}_{application}_{index}"),
            }
        }
        (None, Some(name)) => name.to_owned(),
        (None, None) => format!("{}_{index}", relation.id),
    }
}

fn static_configs(
    given: Option<&Value>,
    topology: Option<&Topology>,
    units: &BTreeMap<String, String>,
) -> Option<Value> {
    let default = json!([{"targets": ["*:80"]}]);
    let groups = given.unwrap_or(&default).as_array()?;
    let (mut configs, mut targets_left) = (Vec::new(), TARGETS_MAX);
    for group in groups {
        let group = group.as_object()?;
        if group.keys().any(|key| !["targets", "labels"].contains(&key.as_str())) {
            return None;
        }
        let mut labels = match group.get("labels") {
            None => Map::new(),
            Some(labels) => labels.as_object()?.clone(),
        };
        if !labels.iter().all(|(name, value)| is_label_name(name) && value.is_string()) {
            return None;
        }
        if let Some(Topology { model, model_uuid, application, charm }) = topology {
            for (name, value) in [
                ("juju_model", model),
                ("juju_model_uuid", model_uuid),
                ("juju_application", application),
                ("juju_charm", charm),
            ] {
                labels.insert(name.to_owned(), json!(value));
            }
        }
        let (mut fixed, mut of_all) = (Vec::new(), Vec::new());
        for target in group.get("targets")?.as_array()? {
            let target = target.as_str()?;
            let (host, port) = target.rsplit_once(':')?;
            port.parse::<std::num::NonZeroU16>().ok()?;
            match host {
                "*" => of_all.push(port),
                host if super::is_host(host) => fixed.push(target),
                _ => return None,
            }
        }
        targets_left = targets_left.checked_sub(fixed.len() + of_all.len() * units.len())?;
        if !of_all.is_empty() {
            for (unit, host) in units {
                let targets: Vec<String> = of_all.iter().map(|port| format!("{host}:{port}")).collect();
                let mut labels = labels.clone();
                if topology.is_some() {
                    labels.insert("juju_unit".to_owned(), json!(unit));
                }
                configs.push(json!({"targets": targets, "labels": labels}));
            }
        }
        if !fixed.is_empty() {
            configs.push(json!({"targets": fixed, "labels": labels}));
        }
    }
    Some(Value::Array(configs))
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= KEY_CHARS_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// How long a target may take, if interval and timeout are durations that the workload takes together; else the key that
/// is wrong.
fn timeout_ms(given: &Map<String, Value>) -> Result<u64, &'static str> {
    /// What the workload takes if nothing is said.
    const INTERVAL_DEFAULT_MS: u64 = 10_000;
    /// It measures the processor for a second at least, and has to wait for that.
    const TIMEOUT_MIN_MS: u64 = 2_000;
    /// By how much it waits longer than the interval if nothing is said.
    const TIMEOUT_MARGIN_MS: u64 = 3_000;
    let said = |key: &'static str| match given.get(key) {
        None => Ok(None),
        Some(value) => value.as_str().and_then(duration_ms).ok_or(key).map(Some),
    };
    let interval_ms = said("scrape_interval")?.unwrap_or(INTERVAL_DEFAULT_MS);
    if interval_ms == 0 {
        return Err("scrape_interval");
    }
    let timeout_ms = said("scrape_timeout")?.filter(|ms| *ms > 0).unwrap_or(interval_ms + TIMEOUT_MARGIN_MS);
    if timeout_ms <= interval_ms || timeout_ms < TIMEOUT_MIN_MS {
        return Err("scrape_timeout");
    }
    Ok(timeout_ms)
}

/// A duration as Prometheus writes it: `1h30m`, units from long to short.
fn duration_ms(text: &str) -> Option<u64> {
    const UNITS: &[(&str, u64)] =
        &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    const DAYS_MAX_MS: u64 = 366 * 86_400_000;
    let (mut rest, mut total, mut next_unit) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, after) = after.split_at(letters);
        let place = UNITS.iter().position(|(name, _)| *name == unit).filter(|place| *place >= next_unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(UNITS[place].1)?)?;
        (rest, next_unit) = (after, place + 1);
    }
    (!text.is_empty() && total <= DAYS_MAX_MS).then_some(total)
}

/// Which profiles are fetched and how, if the workload takes all of it.
fn profiling_config(given: &Value, timeout_ms: u64) -> Option<Value> {
    let fields = given.as_object()?;
    for (key, value) in fields {
        match key.as_str() {
            "path_prefix" if is_path(value) => {}
            "pprof_config" => {
                let good = |(name, profile): (&String, &Value)| {
                    name.chars().count() <= KEY_CHARS_MAX
                        && profile.as_object().is_some_and(|profile| is_profile(name, profile, timeout_ms))
                };
                if !value.as_object()?.iter().all(good) {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(given.clone())
}

fn is_path(value: &Value) -> bool {
    const BYTES_MAX: usize = 1024;
    let is_good = |path: &str| path.len() <= BYTES_MAX && path.bytes().all(|byte| byte.is_ascii_graphic());
    value.as_str().is_some_and(is_good)
}

/// Whether the workload takes a profile of this name. It measures for the time that is said, which it has to wait for.
fn is_profile(name: &str, given: &Map<String, Value>, timeout_ms: u64) -> bool {
    let good = |(key, value): (&String, &Value)| match key.as_str() {
        "enabled" | "delta" => value.is_boolean(),
        "path" => is_path(value),
        "seconds" => value.as_u64().is_some(),
        "keep_sample_type" => value.as_array().is_some_and(|types| types.iter().all(is_sample_type)),
        _ => false,
    };
    let is_known = PROFILES_KNOWN.contains(&name);
    let flag = |key: &str, default: bool| given.get(key).and_then(Value::as_bool).unwrap_or(default);
    let has_path = given.get("path").and_then(Value::as_str).is_some_and(|path| !path.is_empty());
    let seconds = given.get("seconds").and_then(Value::as_u64).unwrap_or_default();
    let has_time = !flag("delta", name == "process_cpu") || seconds.saturating_mul(1000) < timeout_ms;
    given.iter().all(good) && (!flag("enabled", is_known) || ((is_known || has_path) && has_time))
}

fn is_sample_type(given: &Value) -> bool {
    let text = |key: &str| given.get(key).is_some_and(Value::is_string);
    given.as_object().is_some_and(|fields| fields.len() == 2) && text("type") && text("unit")
}

/// How targets are trusted. Files are left out: they would be the other charm's, in another container.
fn tls_config(given: &Value) -> Option<Value> {
    let mut config = given.as_object()?.clone();
    for (key, value) in &mut config {
        let is_good = match key.as_str() {
            "insecure_skip_verify" => value.is_boolean(),
            "server_name" => value.as_str().is_some_and(super::is_host),
            "ca" => {
                *value = json!(pem::certificates(value.as_str()?)?.concat());
                true
            }
            _ => false,
        };
        if !is_good {
            return None;
        }
    }
    Some(Value::Object(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::tests as worlds;

    fn relation(jobs: &str, metadata: Option<&str>, units: &[(&str, &str)]) -> Relation {
        let mut remote = BTreeMap::from([("scrape_jobs".to_owned(), jobs.to_owned())]);
        remote.extend(metadata.map(|text| ("scrape_metadata".to_owned(), text.to_owned())));
        let units = units.iter().map(|(unit, address)| {
            (
                unit.parse().unwrap(),
                BTreeMap::from([("parca_scrape_unit_address".to_owned(), (*address).to_owned())]),
            )
        });
        Relation {
            id: "profiling-endpoint:3".parse().unwrap(),
            app: Some("web".parse().unwrap()),
            remote,
            units: units.collect(),
            own_unit: BTreeMap::new(),
            own_app: None,
        }
    }

    const METADATA: &str = r#"{"model":"cos","model_uuid":"0b2e7b0c-6a51","application":"web","unit":"web/0","charm_name":"web-k8s"}"#;

    #[test]
    fn a_wildcard_becomes_a_target_of_each_unit() {
        let jobs =
            r#"[{"static_configs":[{"targets":["*:8080","other:9"],"labels":{"a":"b"}}],"scheme":"https"}]"#;
        let relation = relation(jobs, Some(METADATA), &[("web/0", "10.0.0.1"), ("web/1", "fd00::1")]);
        let jobs = jobs_of(&relation).unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!((&jobs[0]["job_name"], &jobs[0]["scheme"]), (&json!("cos_0b2e7b0c_web"), &json!("https")));
        let configs = jobs[0]["static_configs"].as_array().unwrap();
        let targets: Vec<_> = configs.iter().map(|config| config["targets"].clone()).collect();
        assert_eq!(targets, [json!(["10.0.0.1:8080"]), json!(["[fd00::1]:8080"]), json!(["other:9"])]);
        assert_eq!(configs[1]["labels"]["juju_unit"], "web/1");
        assert_eq!(
            (&configs[2]["labels"]["juju_charm"], &configs[2]["labels"]["juju_unit"]),
            (&json!("web-k8s"), &Value::Null)
        );
        assert_eq!(jobs[0]["relabel_configs"][0]["target_label"], "instance");
    }

    #[test]
    fn without_metadata_jobs_pass_as_they_are() {
        let relation = relation(
            r#"[{"job_name":"x","scrape_interval":"1m","scrape_timeout":"90s"},{}]"#,
            None,
            &[("web/0", "h")],
        );
        let jobs = jobs_of(&relation).unwrap();
        assert_eq!(
            (&jobs[0]["job_name"], &jobs[1]["job_name"]),
            (&json!("x"), &json!("profiling-endpoint:3_1"))
        );
        assert_eq!(jobs[1]["static_configs"], json!([{"targets": ["h:80"], "labels": {}}]));
        assert_eq!(jobs[0].get("relabel_configs"), None);
    }

    #[test]
    fn garbage_is_named() {
        let check = |jobs: &str, expected: &str| {
            assert_eq!(jobs_of(&relation(jobs, None, &[("web/0", "h")])).unwrap_err(), expected, "{jobs}");
        };
        check("{", "scrape_jobs is not a list of jobs in JSON");
        check("[1]", "scrape_jobs is not a list of jobs in JSON");
        check(r#"[{"job_name":7}]"#, "scrape_jobs[0].job_name cannot be used");
        check(r#"[{},{"scheme":"ftp"}]"#, "scrape_jobs[1].scheme cannot be used");
        check(
            r#"[{"static_configs":[{"targets":["a b:1"]}]}]"#,
            "scrape_jobs[0].static_configs cannot be used",
        );
        check(
            r#"[{"static_configs":[{"targets":["*:0"]}]}]"#,
            "scrape_jobs[0].static_configs cannot be used",
        );
        check(
            r#"[{"static_configs":[{"targets":["*:1"],"labels":{"a-b":"c"}}]}]"#,
            "scrape_jobs[0].static_configs cannot be used",
        );
        check(r#"[{"scrape_interval":"soon"}]"#, "scrape_jobs[0].scrape_interval cannot be used");
        check(
            r#"[{"scrape_interval":"10s","scrape_timeout":"10s"}]"#,
            "scrape_jobs[0].scrape_timeout cannot be used",
        );
        check(r#"[{"scrape_timeout":"5s"}]"#, "scrape_jobs[0].scrape_timeout cannot be used");
        check(r#"[{"profiling_config":{"x":1}}]"#, "scrape_jobs[0].profiling_config cannot be used");
        let profiles = |config: &str| {
            let jobs = format!(r#"[{{"profiling_config":{{"pprof_config":{config}}}}}]"#);
            check(&jobs, "scrape_jobs[0].profiling_config cannot be used");
        };
        profiles(r#"{"my":{"enabled":true}}"#);
        profiles(r#"{"my":{"enabled":true,"path":""}}"#);
        profiles(r#"{"process_cpu":{"seconds":13}}"#);
        profiles(r#"{"my":{"enabled":true,"path":"/x","delta":true,"seconds":99999999999999999999}}"#);
        profiles(r#"{"memory":{"keep_sample_type":[{"type":"a"}]}}"#);
        profiles(r#"{"memory":{"keep_sample_type":[{"type":"a","unit":"b","x":"c"}]}}"#);
        profiles(&format!(r#"{{"{}":{{"enabled":false}}}}"#, "p".repeat(129)));
        check(
            r#"[{"tls_config":{"ca":"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"}}]"#,
            "scrape_jobs[0].tls_config cannot be used",
        );
        let labels =
            format!(r#"[{{"static_configs":[{{"targets":[],"labels":{{"{}":""}}}}]}}]"#, "l".repeat(129));
        check(&labels, "scrape_jobs[0].static_configs cannot be used");
        check(r#"[{"tls_config":{"ca_file":"/etc/passwd"}}]"#, "scrape_jobs[0].tls_config cannot be used");
        let bad_unit = relation("[{}]", None, &[("web/0", "a b")]);
        assert_eq!(jobs_of(&bad_unit).unwrap_err(), "address of web/0 is not a host");
    }

    #[test]
    fn what_is_good_in_parca_is_taken() {
        let job = |text: &str| jobs_of(&relation(text, None, &[("web/0", "h")])).unwrap().remove(0);
        let given = json!({"pprof_config": {
            "process_cpu": {"enabled": true, "path": "/debug/pprof/profile", "delta": true, "seconds": 5},
            "my": {"enabled": true, "path": "/my", "keep_sample_type": [{"type": "a", "unit": "b"}]},
            "off": {"enabled": false},
            "silent": {},
            "fgprof": {"enabled": true, "path": "/fgprof", "delta": true, "seconds": 0},
        }});
        let text = json!([{ "profiling_config": given }]).to_string();
        assert_eq!(job(&text)["profiling_config"], given);
        let null = job(
            r#"[{"scheme":null,"scrape_interval":null,"tls_config":null,"static_configs":null,"profiling_config":{"pprof_config":{"memory":{"path":null}}}}]"#,
        );
        assert_eq!((null.get("scheme"), null.get("tls_config")), (None, None));
        assert_eq!(null["profiling_config"], json!({"pprof_config": {"memory": {}}}));
        assert_eq!(null["static_configs"][0]["targets"], json!(["h:80"]));
        assert_eq!(job(r#"[{"scrape_timeout":"0s"}]"#)["scrape_timeout"], "0s");
    }

    #[test]
    fn names_and_room_that_are_taken() {
        let mut world = worlds::world();
        for (number, jobs) in [
            r#"[{"job_name":"parca"}]"#,
            r#"[{"job_name":"a"},{"job_name":"a"}]"#,
            r#"[{"job_name":"a"}]"#,
            r#"[{"job_name":"b"},{"job_name":"a"}]"#,
            r#"[{"job_name":"b"}]"#,
        ]
        .into_iter()
        .enumerate()
        {
            let related = Relation {
                id: format!("profiling-endpoint:{number}").parse().unwrap(),
                ..relation(jobs, None, &[("web/0", "h")])
            };
            world.relations.push(related);
        }
        let mut problems = Vec::new();
        let found = jobs(&world, &mut problems);
        let names: Vec<_> = found.iter().map(|job| job["job_name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b"], "who is refused takes no name");
        let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let refused = |number: u32| {
            format!("profiling-endpoint: relation {number}: scrape_jobs has a job whose name is taken")
        };
        assert_eq!(told, [refused(0), refused(1), refused(3)]);

        let targets: Vec<String> = (1..=1024).map(|port| format!("h:{port}")).collect();
        let many: Vec<_> = (0..64).map(|_| json!({"static_configs": [{"targets": targets}]})).collect();
        world.relations.truncate(2);
        for relation in &mut world.relations {
            relation.remote.insert("scrape_jobs".to_owned(), json!(many).to_string());
        }
        problems.clear();
        assert_eq!(jobs(&world, &mut problems).len(), 64, "the second has no room");
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(duration_ms(text), expected, "{text}");
        check("10s", Some(10_000));
        check("1h30m", Some(5_400_000));
        check("1m500ms", Some(60_500));
        check("30m1h", None);
        check("10", None);
        check("s", None);
        check("", None);
        check("99999999999999999999s", None);
        check("400d", None);
    }
}
