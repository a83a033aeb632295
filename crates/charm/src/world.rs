//! The world as a hook finds it: the model through hook tools, the workload through Pebble. Reading changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use decima_juju::{
    AppName, Bag, HookContext, HookTools, Port, RelationChange, RelationId, SecretId, SecretKey, ToolError,
    UnitName,
    pebble::{CheckState, CheckStatus, Layer, Pebble, PebbleError},
};

use crate::{
    mint::Identity,
    names,
    options::{OptionError, Options},
    token::{Scope, Token, is_hash},
    workload::last_words,
};

/// The beginning of labels of secrets that hold the token of a relation; the relation's id follows.
const RELATION_LABEL: &str = "token:";
/// Label of the unit's secret that holds its key and its request for a certificate.
pub const IDENTITY_LABEL: &str = "identity";
/// The beginning of labels of secrets that hold the hash of somebody's token; his name follows.
const PERSON_LABEL: &str = "person:";

/// The world.
#[derive(Debug, Clone)]
pub struct World {
    /// This unit.
    pub unit: UnitName,
    /// Name of the model.
    pub model_name: String,
    /// Identifier of the model.
    pub model_uuid: String,
    /// Whether this unit leads.
    pub is_leader: bool,
    /// Other units of this application.
    pub peers: usize,
    /// Name by which this unit is found in the cluster.
    pub fqdn: String,
    /// Options.
    pub options: Result<Options, OptionError>,
    /// Ports that are open.
    pub ports: BTreeSet<Port>,
    /// Relations of the endpoints that this charm uses, without one that is being broken.
    pub relations: Vec<Relation>,
    /// Tokens of relations, whether the relation is still there or not.
    pub relation_tokens: Vec<RelationToken>,
    /// Tokens of people.
    pub person_tokens: Vec<PersonToken>,
    /// The key of this unit, and its request for a certificate.
    pub identity: Option<StoredIdentity>,
    /// What time it is, in seconds since 1970.
    pub now_s: i64,
    /// The container; none as long as its Pebble does not answer.
    pub container: Option<Container>,
}

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Which one.
    pub id: RelationId,
    /// The other application.
    pub app: Option<AppName>,
    /// What the other application wrote.
    pub remote: BTreeMap<String, String>,
    /// What the units of the other application wrote.
    pub units: BTreeMap<UnitName, BTreeMap<String, String>>,
    /// What this unit wrote.
    pub own_unit: BTreeMap<String, String>,
    /// What this application wrote; only the leader knows.
    pub own_app: Option<BTreeMap<String, String>>,
}

/// The token of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationToken {
    /// The relation's id.
    pub relation: String,
    /// The secret that holds it; only the leader knows.
    pub secret: Option<SecretId>,
    /// The token; none if what the secret holds cannot be one.
    pub token: Option<Token>,
}

/// The token of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonToken {
    /// Whom it is for.
    pub name: String,
    /// The secret that holds its hash.
    pub secret: SecretId,
    /// What it is good for, and its hash; none if the secret does not hold such.
    pub known: Option<(Scope, String)>,
}

/// A key and a request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIdentity {
    /// The secret that holds them.
    pub secret: Option<SecretId>,
    /// Key and request.
    pub identity: Identity,
}

/// The container of the workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// What its Pebble means to run.
    pub plan: Layer,
    /// Whether the workload runs.
    pub is_running: bool,
    /// What the workload said last, if it has been found not to serve.
    pub complaint: Option<String>,
    /// The charm's files in it, by path.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The model could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A hook tool failed.
    #[error("cannot read the model")]
    Tool(#[from] ToolError),
    /// Pebble is there and did not answer as it should.
    #[error("cannot read the container")]
    Pebble(#[source] PebbleError),
}

/// Which databags of an endpoint matter, beside that of the other application.
struct Reads {
    endpoint: &'static str,
    units: bool,
    own_unit: bool,
    own_app: bool,
}

const READS: &[Reads] = &[
    Reads { endpoint: names::STORE, units: false, own_unit: false, own_app: true },
    Reads { endpoint: names::EXTERNAL_STORE, units: false, own_unit: false, own_app: false },
    Reads { endpoint: names::PROFILING, units: true, own_unit: false, own_app: false },
    Reads { endpoint: names::SELF_PROFILING, units: false, own_unit: true, own_app: true },
    Reads { endpoint: names::METRICS, units: false, own_unit: true, own_app: true },
    Reads { endpoint: names::GRAFANA, units: false, own_unit: true, own_app: true },
    Reads { endpoint: names::INGRESS, units: false, own_unit: false, own_app: true },
    Reads { endpoint: names::CERTIFICATES, units: false, own_unit: true, own_app: false },
    Reads { endpoint: names::S3, units: false, own_unit: false, own_app: true },
    Reads { endpoint: names::LOGGING, units: true, own_unit: false, own_app: false },
];

impl World {
    /// Reads everything. `fqdn` looks up this host's name.
    pub fn read(
        context: &HookContext,
        tools: &HookTools,
        pebble: &Pebble,
        fqdn: impl FnOnce() -> String,
    ) -> Result<Self, ReadError> {
        let is_leader = tools.is_leader()?;
        let broken = context.relation_event().filter(|event| event.change == RelationChange::Broken);
        let broken = broken.map(|event| &event.relation);
        let mut relations = Vec::new();
        for reads in READS {
            for id in tools.relation_ids(reads.endpoint)?.into_iter().filter(|id| Some(id) != broken) {
                relations.extend(relation(&id, reads, context, tools, is_leader)?);
            }
        }
        let mut peers = 0;
        for id in tools.relation_ids(names::PEERS)? {
            peers += tools.relation_units(&id)?.len();
        }
        let mut world = Self {
            unit: context.unit.clone(),
            model_name: context.model_name.clone().unwrap_or_default(),
            model_uuid: context.model_uuid.clone().unwrap_or_default(),
            is_leader,
            peers,
            fqdn: fqdn(),
            options: Options::read(&tools.config()?),
            ports: tools.opened_ports()?,
            relations,
            relation_tokens: Vec::new(),
            person_tokens: Vec::new(),
            identity: identity(tools)?,
            now_s: now_s(),
            container: container(pebble)?,
        };
        if is_leader {
            world.read_secrets(tools)?;
        } else {
            world.look_up_tokens(tools)?;
        }
        Ok(world)
    }

    /// The leader sees all secrets of the application.
    fn read_secrets(&mut self, tools: &HookTools) -> Result<(), ReadError> {
        for id in tools.secret_ids()? {
            let Some((_, metadata)) = tools.secret_metadata(SecretKey::Id(&id))? else { continue };
            if let Some(relation) = metadata.label.strip_prefix(RELATION_LABEL) {
                let content = tools.peek_secret(SecretKey::Id(&id))?;
                let token = content.get("token").and_then(|text| Token::stored(text));
                let relation = relation.to_owned();
                self.relation_tokens.push(RelationToken { relation, secret: Some(id), token });
            } else if let Some(name) = metadata.label.strip_prefix(PERSON_LABEL) {
                let content = tools.peek_secret(SecretKey::Id(&id))?;
                let scope = content.get("scope").and_then(|text| Scope::parse(text));
                let hash = content.get("hash").filter(|hash| is_hash(hash)).cloned();
                let name = name.to_owned();
                self.person_tokens.push(PersonToken { name, secret: id, known: scope.zip(hash) });
            }
        }
        Ok(())
    }

    /// Others find the secrets of relations by their labels, and cannot list those of people.
    fn look_up_tokens(&mut self, tools: &HookTools) -> Result<(), ReadError> {
        for relation in self.relations.iter().map(|relation| relation.id.to_string()) {
            match tools.peek_secret(SecretKey::Label(&relation_label(&relation))) {
                Ok(content) => {
                    let token = content.get("token").and_then(|text| Token::stored(text));
                    self.relation_tokens.push(RelationToken { relation, secret: None, token });
                }
                Err(error) if error.is_not_found() || error.is_denied() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Relations of one endpoint.
    pub fn of<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = &'a Relation> {
        self.relations.iter().filter(move |relation| relation.id.endpoint() == endpoint)
    }

    /// The token of a relation.
    pub fn token(&self, relation: &RelationId) -> Option<&Token> {
        self.kept_token(relation)?.token.as_ref()
    }

    /// What is kept as the token of a relation, whether it can be one or not.
    pub fn kept_token(&self, relation: &RelationId) -> Option<&RelationToken> {
        let relation = relation.to_string();
        self.relation_tokens.iter().find(|token| token.relation == relation)
    }
}

/// Label of the secret that holds the token of a relation.
pub fn relation_label(relation: &str) -> String {
    format!("{RELATION_LABEL}{relation}")
}

/// Label of the secret that holds the hash of somebody's token.
pub fn person_label(name: &str) -> String {
    format!("{PERSON_LABEL}{name}")
}

/// The unit's key and request.
fn identity(tools: &HookTools) -> Result<Option<StoredIdentity>, ToolError> {
    let Some((id, _)) = tools.secret_metadata(SecretKey::Label(IDENTITY_LABEL))? else { return Ok(None) };
    let mut content = tools.peek_secret(SecretKey::Id(&id))?;
    let mut text = |key: &str| content.remove(key).unwrap_or_default();
    let names = text("names").split_whitespace().map(str::to_owned).collect();
    let identity = Identity { key: text("private-key"), request: text("request"), names };
    Ok(Some(StoredIdentity { secret: Some(id), identity }))
}

/// What a secret holds of a key and a request; [`World::read`] reads it back.
pub fn identity_content(identity: &Identity) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("private-key".to_owned(), identity.key.clone()),
        ("request".to_owned(), identity.request.clone()),
        ("names".to_owned(), identity.names.join(" ")),
    ])
}

fn now_s() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX)
}

/// A relation with what matters of it; none if it went away meanwhile.
fn relation(
    id: &RelationId,
    reads: &Reads,
    context: &HookContext,
    tools: &HookTools,
    is_leader: bool,
) -> Result<Option<Relation>, ToolError> {
    let read = || -> Result<Relation, ToolError> {
        let mut units = BTreeMap::new();
        if reads.units {
            for unit in tools.relation_units(id)? {
                let bag = tools.relation_get(id, Bag::Unit(&unit))?;
                units.insert(unit, bag);
            }
        }
        let app = tools.relation_app(id)?;
        let remote = match &app {
            Some(app) => tools.relation_get(id, Bag::App(app))?,
            None => BTreeMap::new(),
        };
        let own_unit =
            if reads.own_unit { tools.relation_get(id, Bag::Unit(&context.unit))? } else { BTreeMap::new() };
        let own_app = match reads.own_app && is_leader {
            true => Some(tools.relation_get(id, Bag::App(context.app()))?),
            false => None,
        };
        Ok(Relation { id: id.clone(), app, remote, units, own_unit, own_app })
    };
    match read() {
        Ok(relation) => Ok(Some(relation)),
        // Of a relation that its controller no longer has, an agent may also say that permission is denied.
        Err(error) if error.is_not_found() || error.is_denied() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The container, unless its Pebble is away.
fn container(pebble: &Pebble) -> Result<Option<Container>, ReadError> {
    let read = || {
        let plan = pebble.plan()?;
        let is_running = pebble.is_running(names::SERVICE)?;
        let mut files = BTreeMap::new();
        for folder in [names::ETC, names::TRUSTED] {
            let entries = match pebble.list(folder) {
                Ok(entries) => entries,
                Err(error) if error.is_not_found() => Vec::new(),
                Err(error) => return Err(error),
            };
            for path in entries.into_iter().map(|entry| entry.path).filter(|path| is_ours(path)) {
                let content = pebble.pull(&path)?;
                files.insert(path, content);
            }
        }
        let complaint = if is_down(pebble)? { Some(complaint(pebble)?) } else { None };
        Ok(Container { plan, is_running, complaint, files })
    };
    match read() {
        Ok(container) => Ok(Some(container)),
        // One that is too busy to answer is as good as away; the next hook finds it.
        Err(error) if error.is_unavailable() || matches!(error, PebbleError::Late { .. }) => Ok(None),
        Err(error) => Err(ReadError::Pebble(error)),
    }
}

/// Whether the workload has not served for so long that Kubernetes is told.
fn is_down(pebble: &Pebble) -> Result<bool, PebbleError> {
    let is_down = |check: &CheckState| check.name == names::CHECK && check.status == CheckStatus::Down;
    Ok(pebble.checks()?.iter().any(is_down))
}

/// What the workload said last.
fn complaint(pebble: &Pebble) -> Result<String, PebbleError> {
    const LINES: u32 = 100;
    let output = pebble.output(names::SERVICE, LINES)?;
    Ok(last_words(output.iter().map(|line| line.message.as_str())).unwrap_or("it says nothing").to_owned())
}

/// Whether a file in the container is the charm's to write and remove.
fn is_ours(path: &str) -> bool {
    const FILES: [&str; 7] = [
        names::CONFIG_FILE,
        names::TOKENS_FILE,
        names::CERTIFICATE_FILE,
        names::KEY_FILE,
        names::CA_FILE,
        names::S3_CA_FILE,
        names::FORWARD_TOKEN_FILE,
    ];
    FILES.contains(&path)
}
