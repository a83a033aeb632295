//! Actions: what an operator asks the charm to do.

use std::collections::BTreeMap;

use decima_juju::{HookTools, NewSecret, SecretId, SecretOwner, ToolError, pebble::Pebble};
use serde_json::{Map, Value};

use crate::{
    mint::Mint,
    names::{self, CERTIFICATE_FILE, GRPC_PORT, HTTP_PORT},
    reconcile::person_grant,
    relations::ingress,
    token::{Grant, Scope},
    world::{World, person_label},
};

/// Names are for people and stand in labels and logs.
const NAME_CHARS_MAX: usize = 64;

/// What an action came to. Nobody is told before the workload was written.
#[derive(Debug)]
pub struct Done {
    answer: Result<BTreeMap<String, String>, String>,
    change: Option<Change>,
}

/// A change of somebody's token, which counts once the workload has it.
#[derive(Debug)]
enum Change {
    /// It is there, with this hash, and kept in this secret.
    Made { grant: String, hash: String, secret: SecretId },
    /// It is not there any more.
    Revoked { grant: String },
}

impl Done {
    fn refused(message: impl Into<String>) -> Self {
        Self { answer: Err(message.into()), change: None }
    }

    fn with(results: BTreeMap<String, String>) -> Self {
        Self { answer: Ok(results), change: None }
    }

    /// Tells whoever runs the action, once everything that follows from it was written. A token that the workload does not
    /// know is taken back.
    pub fn tell(self, tools: &HookTools, pebble: &Pebble) -> Result<(), ToolError> {
        let file = pebble.pull(names::TOKENS_FILE);
        let grants = file.as_deref().map(Grant::read_all);
        let answer = match self.change {
            Some(Change::Made { grant, hash, secret })
                if !matches!(&grants, Ok(grants) if grants.iter().any(|g| g.name == grant && g.hash == hash)) =>
            {
                tools.remove_secret(&secret)?;
                Err("the workload cannot be told of the token now, so there is none; try again later".to_owned())
            }
            Some(Change::Revoked { grant })
                if !matches!(&grants, Ok(grants) if grants.iter().all(|g| g.name != grant)) =>
            {
                Err("the token is revoked, and the workload cannot be told now: it takes the token until the \
                     container can be written again"
                    .to_owned())
            }
            _ => self.answer,
        };
        match answer {
            Ok(results) => tools.set_action_results(&results),
            Err(message) => tools.fail_action(&message),
        }
    }
}

/// Runs an action. What is wrong with it is told to whoever runs it; only a failing hook tool is an error.
pub fn run(name: &str, world: &World, tools: &HookTools, mint: &mut dyn Mint) -> Result<Done, ToolError> {
    let parameters = tools.action_parameters()?;
    match name {
        "list-endpoints" => Ok(Done::with(list_endpoints(world))),
        "create-token" | "revoke-token" if world.peers > 0 => Ok(Done::refused(
            "there is more than one unit, and then nothing of the workload is changed; remove the others first",
        )),
        "create-token" => create_token(world, tools, &parameters, mint),
        "revoke-token" => revoke_token(world, tools, &parameters),
        "get-slo-template" => {
            Ok(Done::refused("service level objectives are not implemented by this charm yet"))
        }
        _ => Ok(Done::refused(format!("this charm has no action {name}"))),
    }
}

fn list_endpoints(world: &World) -> BTreeMap<String, String> {
    let scheme = if serves_tls(world) { "https" } else { "http" };
    let mut results = BTreeMap::from([
        ("direct-http-url".to_owned(), format!("{scheme}://{}:{HTTP_PORT}", world.fqdn)),
        ("direct-grpc-url".to_owned(), format!("{}:{GRPC_PORT}", world.fqdn)),
    ]);
    if let Ok(Some(ingress)) = ingress::read(world) {
        let scheme = if ingress.is_tls { "https" } else { "http" };
        results.insert("ingressed-http-url".to_owned(), format!("{scheme}://{}:{HTTP_PORT}", ingress.host));
        results.insert("ingressed-grpc-url".to_owned(), format!("{}:{GRPC_PORT}", ingress.host));
    }
    results
}

/// Whether the workload has a certificate to serve with.
fn serves_tls(world: &World) -> bool {
    world.container.as_ref().is_some_and(|container| container.files.contains_key(CERTIFICATE_FILE))
}

/// Makes a token for a person. Only its hash is kept; the token itself is told this once.
fn create_token(
    world: &World,
    tools: &HookTools,
    parameters: &Map<String, Value>,
    mint: &mut dyn Mint,
) -> Result<Done, ToolError> {
    if !world.is_leader {
        return Ok(Done::refused("only the leader makes tokens; run this on the leader"));
    }
    let name = match person(parameters) {
        Ok(name) => name,
        Err(message) => return Ok(Done::refused(message)),
    };
    let scope = parameters.get("scope").and_then(Value::as_str).unwrap_or("read");
    let Some(scope) = Scope::parse(scope) else {
        return Ok(Done::refused("scope is not one of read, write, admin"));
    };
    if world.person_tokens.iter().any(|token| token.name == name) {
        return Ok(Done::refused(format!("{name} has a token; revoke it first")));
    }
    if world.container.is_none() {
        return Ok(Done::refused("the container of the workload is not there; try again once it is"));
    }
    let token = match mint.token() {
        Ok(token) => token,
        Err(error) => return Ok(Done::refused(error.to_string())),
    };
    let secret = NewSecret {
        label: Some(person_label(&name)),
        description: Some(format!("Hash of the token of {name}")),
        expire: None,
        content: BTreeMap::from([
            ("hash".to_owned(), token.hash()),
            ("scope".to_owned(), scope.as_str().to_owned()),
        ]),
    };
    let secret = tools.add_secret(SecretOwner::Application, &secret)?;
    let results = BTreeMap::from([
        ("name".to_owned(), name.clone()),
        ("scope".to_owned(), scope.as_str().to_owned()),
        ("token".to_owned(), token.as_str().to_owned()),
    ]);
    let change = Change::Made { grant: person_grant(&name), hash: token.hash(), secret };
    Ok(Done { answer: Ok(results), change: Some(change) })
}

fn revoke_token(
    world: &World,
    tools: &HookTools,
    parameters: &Map<String, Value>,
) -> Result<Done, ToolError> {
    if !world.is_leader {
        return Ok(Done::refused("only the leader revokes tokens; run this on the leader"));
    }
    let name = match person(parameters) {
        Ok(name) => name,
        Err(message) => return Ok(Done::refused(message)),
    };
    let Some(token) = world.person_tokens.iter().find(|token| token.name == name) else {
        return Ok(Done::refused(format!("{name} has no token")));
    };
    tools.remove_secret(&token.secret)?;
    let change = Change::Revoked { grant: person_grant(&name) };
    Ok(Done { answer: Ok(BTreeMap::from([("revoked".to_owned(), name)])), change: Some(change) })
}

fn person(parameters: &Map<String, Value>) -> Result<String, String> {
    let name = parameters.get("name").and_then(Value::as_str).unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) {
        return Err(format!("name is not 1 to {NAME_CHARS_MAX} letters, digits and -_.@"));
    }
    Ok(name.to_owned())
}
