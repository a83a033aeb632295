//! The relation's first library to the letter: its own faults and those of the ops framework that can be seen from outside.
//!
//! For charms that replace one which used that library and must not differ, and for the tests that compare the two. Other
//! charms want [`ParcaStoreEndpointProvider`](crate::ParcaStoreEndpointProvider).

use std::{fmt, num::NonZeroU16};

use decima_juju::{AppName, Event, Hook, HookContext, RelationChange, RelationEvent, RelationId};

use crate::{
    endpoint::Endpoint,
    model::Model,
    provider::{Publication, PublishError, Wanted, relations, write},
    seed::{network, url},
    store_config::Transport,
};

/// How the library reads its external URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AddressMode {
    /// Its first patch: the host of the URL, with the provider's port.
    #[default]
    UrlHost,
    /// Since its second patch: the text as it is.
    Verbatim,
}

/// The arguments of the library's provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedCompatConfig {
    /// Port of the address. 7070 by default.
    pub port: u16,
    /// Whether senders do without TLS. They use it by default.
    pub transport: Transport,
    /// Any text; read when it is published. An empty one counts as none.
    pub external_url: Option<String>,
    /// How it is read.
    pub address_mode: AddressMode,
    /// The endpoint in the charm's metadata. `parca-store-endpoint` by default.
    pub endpoint: Endpoint,
}

impl Default for SeedCompatConfig {
    fn default() -> Self {
        Self {
            port: NonZeroU16::get(crate::provider::ProviderConfig::default().port),
            transport: Transport::default(),
            external_url: None,
            address_mode: AddressMode::default(),
            endpoint: Endpoint::default(),
        }
    }
}

/// A provider that does what the relation's first library does: see the crate's README for how that differs.
pub struct SeedCompatProvider<'a> {
    config: SeedCompatConfig,
    token_generator: Box<dyn FnMut() -> String + 'a>,
    fqdn: Box<dyn Fn() -> String + 'a>,
}

impl<'a> SeedCompatProvider<'a> {
    /// A provider whose token is empty.
    pub fn new(config: SeedCompatConfig) -> Self {
        Self { config, token_generator: Box::new(String::new), fqdn: Box::new(crate::fqdn::getfqdn) }
    }

    /// Asks for a token once per relation and publication, so that a random one changes at each.
    pub fn with_token_generator(mut self, generator: impl FnMut() -> String + 'a) -> Self {
        self.token_generator = Box::new(generator);
        self
    }

    /// Replaces the lookup of this host's name.
    pub fn with_fqdn(mut self, fqdn: impl Fn() -> String + 'a) -> Self {
        self.fqdn = Box::new(fqdn);
        self
    }

    /// Publishes when a unit joins or changes, and when the charm was upgraded; never else.
    ///
    /// As ops does, it looks at the relations at each event of the endpoint, and fails if that fails.
    pub fn handle<M: Model>(
        &mut self,
        context: &HookContext,
        model: &M,
    ) -> Result<Option<Publication>, PublishError<M::Error>> {
        let publishes = match &context.event {
            Event::Hook(Hook::UpgradeCharm) => true,
            Event::Hook(Hook::Relation(event)) if self.config.endpoint.has(&event.relation) => {
                observe(event, context, model, &self.config.endpoint).map_err(PublishError::Model)?;
                matches!(event.change, RelationChange::Joined | RelationChange::Changed)
            }
            _ => false,
        };
        if publishes { self.publish(context, model).map(Some) } else { Ok(None) }
    }

    /// Writes the three keys to every relation of the endpoint. Fails on a follower that has one.
    pub fn publish<M: Model>(
        &mut self,
        context: &HookContext,
        model: &M,
    ) -> Result<Publication, PublishError<M::Error>> {
        let mut changed = Vec::new();
        for (relation, _) in related(context, model, &self.config.endpoint).map_err(PublishError::Model)? {
            let address = self.address(&relation, model)?;
            if !model.is_leader().map_err(PublishError::Model)? {
                return Err(PublishError::NotLeader { unit: context.unit.clone() });
            }
            let bearer_token = (self.token_generator)();
            let bag = model.read(&relation, context.app()).map_err(PublishError::Model)?.unwrap_or_default();
            let wanted = Wanted { address, bearer_token, insecure: self.config.transport.insecure() };
            if write(&relation, &bag, wanted, model).map_err(PublishError::Model)? {
                changed.push(relation);
            }
        }
        Ok(Publication::Changed(changed))
    }

    fn address<M: Model>(&self, relation: &RelationId, model: &M) -> Result<String, PublishError<M::Error>> {
        // Asked for even if it is not needed, as the library does.
        let network = model.network(relation).map_err(PublishError::Model)?;
        let bind_address = network::bind_address(&network)
            .map_err(|source| PublishError::Network { relation: relation.clone(), source })?;
        let host = match (
            self.config.external_url.as_deref().filter(|url| !url.is_empty()),
            self.config.address_mode,
        ) {
            (Some(address), AddressMode::Verbatim) => return Ok(address.to_owned()),
            (Some(url), AddressMode::UrlHost) => url::hostname(url)
                .map_err(|source| PublishError::Url { url: url.to_owned(), source })?
                .unwrap_or_else(|| "None".to_owned()),
            (None, _) => bind_address.map_or_else(|| (self.fqdn)(), |address| address.to_string()),
        };
        Ok(format!("{host}:{}", self.config.port))
    }
}

impl fmt::Debug for SeedCompatProvider<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeedCompatProvider").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The relations of an endpoint with the application of the other side, as ops finds them: without the one that this hook
/// breaks, and with as many questions, since one that is refused fails the hook.
pub(crate) fn related<M: Model>(
    context: &HookContext,
    model: &M,
    endpoint: &Endpoint,
) -> Result<Vec<(RelationId, Option<AppName>)>, M::Error> {
    let related = relations(context, model, endpoint)?;
    related
        .into_iter()
        .map(|relation| remote_app(context, model, &relation).map(|app| (relation, app)))
        .collect()
}

/// Asks what ops asks before any handler of a relation's event runs: about all relations of the endpoint, and about the one
/// of the event if it is not among them. Only a refusal matters.
pub(crate) fn observe<M: Model>(
    event: &RelationEvent,
    context: &HookContext,
    model: &M,
    endpoint: &Endpoint,
) -> Result<(), M::Error> {
    let related = related(context, model, endpoint)?;
    if related.iter().all(|(relation, _)| *relation != event.relation) {
        remote_app(context, model, &event.relation)?;
    }
    Ok(())
}

/// The application of the other side: that of its units, else the one that Juju names.
pub(crate) fn remote_app<M: Model>(
    context: &HookContext,
    model: &M,
    relation: &RelationId,
) -> Result<Option<AppName>, M::Error> {
    let units = model.remote_units(relation)?.unwrap_or_default();
    if let Some(unit) = units.first() {
        return Ok(Some(unit.app().clone()));
    }
    let event = context.relation_event().filter(|event| event.relation == *relation);
    match event.and_then(|event| event.remote_app.clone()) {
        Some(app) => Ok(Some(app)),
        None => model.remote_app(relation),
    }
}
