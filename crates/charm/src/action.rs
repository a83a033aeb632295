//! Actions: what an operator asks the charm to do.

use std::collections::BTreeMap;

use decima_juju::{HookTools, NewSecret, SecretOwner, ToolError};
use serde_json::{Map, Value};

use crate::{
    mint::Mint,
    names::{CERTIFICATE_FILE, GRPC_PORT, HTTP_PORT},
    relations::ingress,
    token::Scope,
    world::{World, person_label},
};

/// Names are for people and stand in labels and logs.
const NAME_CHARS_MAX: usize = 64;

/// Runs an action. What is wrong with it is told to whoever runs it; only a failing hook tool is an error.
pub fn run(name: &str, world: &World, tools: &HookTools, mint: &mut dyn Mint) -> Result<(), ToolError> {
    let parameters = tools.action_parameters()?;
    let done = match name {
        "list-endpoints" => Ok(list_endpoints(world)),
        "create-token" => create_token(world, tools, &parameters, mint)?,
        "revoke-token" => revoke_token(world, tools, &parameters)?,
        "get-slo-template" => {
            Err("service level objectives are not implemented by this charm yet".to_owned())
        }
        _ => Err(format!("this charm has no action {name}")),
    };
    match done {
        Ok(results) => tools.set_action_results(&results),
        Err(message) => tools.fail_action(&message),
    }
}

type Done = Result<BTreeMap<String, String>, String>;

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
        return Ok(Err("only the leader makes tokens; run this on the leader".to_owned()));
    }
    let name = match person(parameters) {
        Ok(name) => name,
        Err(message) => return Ok(Err(message)),
    };
    let scope = parameters.get("scope").and_then(Value::as_str).unwrap_or("read");
    let Some(scope) = Scope::parse(scope) else {
        return Ok(Err("scope is not one of read, write, admin".to_owned()));
    };
    if world.person_tokens.iter().any(|token| token.name == name) {
        return Ok(Err(format!("{name} has a token; revoke it first")));
    }
    let token = match mint.token() {
        Ok(token) => token,
        Err(error) => return Ok(Err(error.to_string())),
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
    tools.add_secret(SecretOwner::Application, &secret)?;
    Ok(Ok(BTreeMap::from([
        ("name".to_owned(), name),
        ("scope".to_owned(), scope.as_str().to_owned()),
        ("token".to_owned(), token.as_str().to_owned()),
    ])))
}

fn revoke_token(
    world: &World,
    tools: &HookTools,
    parameters: &Map<String, Value>,
) -> Result<Done, ToolError> {
    if !world.is_leader {
        return Ok(Err("only the leader revokes tokens; run this on the leader".to_owned()));
    }
    let name = match person(parameters) {
        Ok(name) => name,
        Err(message) => return Ok(Err(message)),
    };
    let Some(token) = world.person_tokens.iter().find(|token| token.name == name) else {
        return Ok(Err(format!("{name} has no token")));
    };
    tools.remove_secret(&token.secret)?;
    Ok(Ok(BTreeMap::from([("revoked".to_owned(), name)])))
}

fn person(parameters: &Map<String, Value>) -> Result<String, String> {
    let name = parameters.get("name").and_then(Value::as_str).unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(fits) {
        return Err(format!("name is not 1 to {NAME_CHARS_MAX} letters, digits and -_.@"));
    }
    Ok(name.to_owned())
}
