//! A charm of nothing but both sides of `parca_store`, for tests: provider on `parca-store-endpoint`, requirer on
//! `external-parca-store-endpoint`.
//!
//! It is started as Juju starts a charm's `dispatch`: it reads its event from the environment and finds the hook tools on
//! the path. It reads no metadata and keeps no state. Ends with 0 when done, with 1 when the hook failed, the reason on
//! standard error. What tests tell it:
//!
//! - `TESTCHARM_ARGS`: JSON with the arguments of the provider, every key optional; see [`Arguments`].
//! - `TESTCHARM_TOKEN`: what the token generator answers, `%n` being the number of its call in this process, from 1.
//! - `TESTCHARM_FQDN`: replaces the lookup of this host's name.
//! - `TESTCHARM_EVENTS`: a file to which each event of the requirer is appended as a line of JSON.

use std::{
    cell::Cell,
    error::Error,
    ffi::OsString,
    fs::OpenOptions,
    io::{self, Write},
    process::ExitCode,
};

use decima_juju::{ContextError, Event, Hook, HookContext, HookTools};
use parca_store::{
    BearerToken, Endpoint, External, OncePerRelation, ParcaStoreEndpointProvider, ParcaStoreEndpointRequirer,
    ProviderConfig, StoreEvent, Transport,
    seed_compat::{AddressMode, SeedCompatConfig},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The provider's arguments with their defaults.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    port: u16,
    insecure: bool,
    external_url: Option<String>,
    relation_name: String,
    /// Whether to do exactly what the Python library does.
    seed_compat: bool,
    address_mode: Mode,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    UrlHost,
    Verbatim,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            port: 7070,
            insecure: false,
            external_url: None,
            relation_name: "parca-store-endpoint".to_owned(),
            seed_compat: true,
            address_mode: Mode::UrlHost,
        }
    }
}

impl Arguments {
    fn from_env() -> Result<Self, Box<dyn Error>> {
        match variable("TESTCHARM_ARGS")? {
            Some(text) => {
                serde_json::from_str(&text).map_err(|error| format!("TESTCHARM_ARGS: {error}").into())
            }
            None => Ok(Self::default()),
        }
    }

    fn transport(&self) -> Transport {
        if self.insecure { Transport::Plaintext } else { Transport::Tls }
    }
}

/// A variable that is set to something.
fn variable(name: &str) -> Result<Option<String>, Box<dyn Error>> {
    let text = std::env::var_os(name).map(OsString::into_string).transpose();
    let text = text.map_err(|_| format!("{name} is not UTF-8"))?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn main() -> ExitCode {
    match hook() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut reason = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                reason = format!("{reason}: {error}");
                cause = error.source();
            }
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}

fn hook() -> Result<(), Box<dyn Error>> {
    let context = match HookContext::from_env() {
        Err(error) if is_of_something_else(&error) => return Ok(()),
        context => context?,
    };
    if matches!(context.event, Event::Action(_) | Event::Hook(Hook::Other(_))) {
        return Ok(());
    }
    let arguments = Arguments::from_env()?;
    let tools = HookTools::from_path();
    provide(&arguments, &context, &tools)?;
    require(&arguments, &context, &tools)
}

/// Whether variables are missing that only hooks of secrets, storages and containers have: this charm has none of these.
fn is_of_something_else(error: &ContextError) -> bool {
    let (ContextError::Missing { variable } | ContextError::Malformed { variable, .. }) = error;
    ["JUJU_SECRET", "JUJU_STORAGE", "JUJU_PEBBLE", "JUJU_NOTICE"]
        .iter()
        .any(|prefix| variable.starts_with(prefix))
}

/// The generator of tokens: each call answers `TESTCHARM_TOKEN` with its number in it.
struct Generator {
    answer: String,
    calls: Cell<u64>,
}

impl Generator {
    fn from_env() -> Result<Self, Box<dyn Error>> {
        Ok(Self { answer: variable("TESTCHARM_TOKEN")?.unwrap_or_default(), calls: Cell::new(0) })
    }

    fn call(&self) -> String {
        self.calls.set(self.calls.get() + 1);
        self.answer.replace("%n", &self.calls.get().to_string())
    }
}

fn provide(arguments: &Arguments, context: &HookContext, tools: &HookTools) -> Result<(), Box<dyn Error>> {
    let generator = Generator::from_env()?;
    let fqdn = variable("TESTCHARM_FQDN")?;
    let endpoint: Endpoint = arguments.relation_name.parse()?;
    if arguments.seed_compat {
        let config = SeedCompatConfig {
            port: arguments.port,
            transport: arguments.transport(),
            external_url: arguments.external_url.clone(),
            address_mode: match arguments.address_mode {
                Mode::UrlHost => AddressMode::UrlHost,
                Mode::Verbatim => AddressMode::Verbatim,
            },
            endpoint,
        };
        let provider = ParcaStoreEndpointProvider::seed_compat(config);
        let mut provider = provider.with_token_generator(|| generator.call());
        if let Some(fqdn) = fqdn {
            provider = provider.with_fqdn(move || fqdn.clone());
        }
        provider.handle(context, tools)?;
        return Ok(());
    }
    let external = arguments.external_url.as_deref().filter(|url| !url.is_empty());
    let external = external.map(|url| match arguments.address_mode {
        Mode::UrlHost => External::url_host(url),
        Mode::Verbatim => External::verbatim(url),
    });
    let config = ProviderConfig {
        port: arguments.port.try_into().map_err(|_| "TESTCHARM_ARGS: the port is 0")?,
        transport: arguments.transport(),
        external: external.transpose()?,
        endpoint,
    };
    let mut provider = ParcaStoreEndpointProvider::new(config);
    if let Some(fqdn) = fqdn {
        provider = provider.with_fqdn(move || fqdn.clone());
    }
    if !generator.answer.is_empty() {
        provider = provider.with_tokens(OncePerRelation(|_: &_| BearerToken::new(&generator.call())));
    }
    provider.handle(context, tools)?;
    Ok(())
}

fn require(arguments: &Arguments, context: &HookContext, tools: &HookTools) -> Result<(), Box<dyn Error>> {
    let endpoint: Endpoint = "external-parca-store-endpoint".parse()?;
    let requirer = if arguments.seed_compat {
        ParcaStoreEndpointRequirer::seed_compat(endpoint)
    } else {
        ParcaStoreEndpointRequirer::new(endpoint)
    };
    let Some(event) = requirer.handle(context, tools)? else { return Ok(()) };
    let config = match requirer.config(context, tools) {
        Ok(Some(config)) => serde_json::to_value(config)?,
        Ok(None) => json!({}),
        Err(_) => Value::Null,
    };
    let name = match &event {
        StoreEvent::StoreEndpointsChanged(_) => "StoreEndpointsChanged",
        StoreEvent::RemoveStore(_) => "RemoveStore",
    };
    let line = json!({
        "event": name,
        "relation_id": event.relation_id(),
        "store_config": event.store_config(),
        "config": config,
    });
    append(&format!("{line}\n"))
}

/// Appends to the file of events, if there is one.
fn append(line: &str) -> Result<(), Box<dyn Error>> {
    let Some(path) = std::env::var_os("TESTCHARM_EVENTS").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let said = |error: io::Error| format!("TESTCHARM_EVENTS: {error}");
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(said)?;
    file.write_all(line.as_bytes()).map_err(said)?;
    Ok(())
}
