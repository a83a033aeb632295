//! Hook tools for tests: one program that answers by the name it is started under, over a model in a file.
//!
//! `HOOKTOOL_MODEL` names the file with the model, `HOOKTOOL_BAGS` the one with our own databags, which `relation-set`
//! rewrites. What a model holds, and every answer, is as in `tests/differential/agent.py`; the two are kept alike by the
//! recorded results, which one makes and the other has to meet.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Read, Write},
    path::Path,
    process::ExitCode,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const UNIT: &str = "parca-k8s/0";
const APP: &str = "parca-k8s";

type Settings = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(default)]
struct Model {
    leader: bool,
    relations: Vec<Relation>,
    network: Value,
    refuse: BTreeMap<String, String>,
}

impl Default for Model {
    fn default() -> Self {
        let address = json!({"hostname": "", "value": "10.1.2.3", "cidr": ""});
        let network = json!({
            "bind-addresses": [{"mac-address": "", "interface-name": "eth0", "addresses": [address]}],
            "egress-subnets": ["10.152.183.7/32"],
            "ingress-addresses": ["10.152.183.7"],
        });
        Self { leader: true, relations: Vec::new(), network, refuse: BTreeMap::new() }
    }
}

#[derive(Deserialize)]
struct Relation {
    endpoint: String,
    id: u64,
    app: Option<String>,
    #[serde(default)]
    units: Vec<String>,
    #[serde(default)]
    bag: Settings,
    #[serde(default)]
    units_bag: Settings,
    #[serde(default = "yes")]
    listed: bool,
    gone: Option<String>,
    network: Option<Value>,
}

fn yes() -> bool {
    true
}

#[derive(Default, Serialize, Deserialize)]
struct OwnBags {
    #[serde(default)]
    app: Settings,
    #[serde(default)]
    unit: Settings,
}

/// What a tool prints, or why it refuses.
type Answer = Result<Value, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut words = std::env::args();
    let tool = words.next().unwrap_or_default();
    let tool = Path::new(&tool).file_name().unwrap_or_default().to_string_lossy().into_owned();
    match answer(&tool, &words.collect::<Vec<_>>()) {
        Ok(Value::Null) => ExitCode::SUCCESS,
        Ok(answer) => {
            let _ = writeln!(io::stdout(), "{answer}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            let _ = writeln!(io::stderr(), "ERROR {refusal}");
            ExitCode::FAILURE
        }
    }
}

fn answer(tool: &str, arguments: &[String]) -> Answer {
    let model: Model = serde_json::from_str(&fs::read_to_string(std::env::var("HOOKTOOL_MODEL")?)?)?;
    if let Some(message) = model.refuse.get(tool) {
        return Err(message.clone().into());
    }
    let app = arguments.iter().any(|word| word == "--app");
    let reference = arguments.iter().skip_while(|word| *word != "-r").nth(1).map(String::as_str);
    let last = arguments.last().map(String::as_str).unwrap_or_default();
    match tool {
        "is-leader" => Ok(json!(model.leader)),
        "relation-ids" => {
            let endpoint = arguments.first().map(String::as_str).unwrap_or_default();
            let relations = model.relations.iter().filter(|r| r.endpoint == endpoint && r.listed);
            Ok(relations.map(|r| json!(format!("{}:{}", r.endpoint, r.id))).collect())
        }
        "relation-list" => {
            let relation = model.find(reference)?;
            Ok(if app { json!(relation.app) } else { json!(relation.units) })
        }
        "relation-get" => model.read(model.find(reference)?, last, app),
        "relation-set" => model.write(model.find(reference)?, app),
        "network-get" => model.network(reference),
        _ => Err(format!("unknown tool {tool}").into()),
    }
}

impl Model {
    fn find(&self, reference: Option<&str>) -> Result<&Relation, Box<dyn Error>> {
        let reference = reference.ok_or("no relation is named")?;
        let number = reference.rsplit(':').next().unwrap_or_default();
        let found = self.relations.iter().find(|relation| relation.id.to_string() == number);
        match found.map(|relation| (relation, relation.gone.as_deref())) {
            Some((relation, None)) => Ok(relation),
            Some((_, Some("denied"))) => Err("permission denied".into()),
            _ => Err(format!("invalid value \"{reference}\" for option -r: relation not found").into()),
        }
    }

    fn read(&self, relation: &Relation, name: &str, app: bool) -> Answer {
        let remote = relation.app.as_deref().unwrap_or_default();
        let own =
            || Ok::<_, Box<dyn Error>>(own_bags()?.remove(&relation.id.to_string()).unwrap_or_default());
        match (app, name) {
            (true, APP) if self.leader => Ok(json!(own()?.app)),
            (true, name) if name == remote => Ok(json!(relation.bag)),
            (false, UNIT) => Ok(json!(own()?.unit)),
            (false, name) if name.split('/').next() == Some(remote) => Ok(json!(relation.units_bag)),
            _ => Err("permission denied".into()),
        }
    }

    fn write(&self, relation: &Relation, app: bool) -> Answer {
        if app && !self.leader {
            return Err("cannot write relation settings".into());
        }
        let mut given = String::new();
        io::stdin().read_to_string(&mut given)?;
        let mut bags = own_bags()?;
        let own = bags.entry(relation.id.to_string()).or_default();
        let bag = if app { &mut own.app } else { &mut own.unit };
        bag.extend(serde_json::from_str::<Settings>(&given)?);
        bag.retain(|_, value| !value.is_empty());
        fs::write(std::env::var("HOOKTOOL_BAGS")?, serde_json::to_vec(&bags)?)?;
        Ok(Value::Null)
    }

    fn network(&self, reference: Option<&str>) -> Answer {
        let mut network = &self.network;
        if let Some(number) = reference {
            let not_found = |error: Box<dyn Error>| match error.to_string().contains("not found") {
                true => format!("relation {number} not found").into(),
                false => error,
            };
            network = self.find(reference).map_err(not_found)?.network.as_ref().unwrap_or(network);
        }
        match network.get("refuse").and_then(Value::as_str) {
            Some(message) => Err(message.into()),
            // A null that is to be printed, unlike the silence of other tools.
            None if network.is_null() => {
                writeln!(io::stdout(), "null")?;
                Ok(Value::Null)
            }
            None => Ok(network.clone()),
        }
    }
}

fn own_bags() -> Result<BTreeMap<String, OwnBags>, Box<dyn Error>> {
    Ok(serde_json::from_str(&fs::read_to_string(std::env::var("HOOKTOOL_BAGS")?)?)?)
}
