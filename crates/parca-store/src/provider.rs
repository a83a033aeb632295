//! The side that has a store and hands out how to reach it.

use std::{collections::BTreeMap, fmt, net::IpAddr, num::NonZeroU16};

use decima_base::ErrorKind;
use decima_juju::{
    Event, Hook, HookContext, PebbleChange, RelationChange, RelationEvent, RelationId, UnitName,
};
use serde_json::Value;

use crate::{
    address::{External, host_of},
    endpoint::Endpoint,
    model::Model,
    seed::{network::NetworkError, url::UrlError},
    seed_compat::{SeedCompatConfig, SeedCompatProvider},
    store_config::{ADDRESS_KEY, BEARER_TOKEN_KEY, BearerToken, INSECURE_KEY, Transport},
    token::{NoTokens, TokenError, TokenSource},
};

/// The port of Parca's store.
const PORT: NonZeroU16 = NonZeroU16::new(7070).unwrap();

/// What a provider is told by its charm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Port on which the store, or what stands before it, listens. 7070 by default.
    pub port: NonZeroU16,
    /// Whether senders have to use TLS. They do by default.
    pub transport: Transport,
    /// Where the store is if senders cannot use this unit's own address. By default they can.
    pub external: Option<External>,
    /// The endpoint in the charm's metadata. `parca-store-endpoint` by default.
    pub endpoint: Endpoint,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self { port: PORT, transport: Transport::default(), external: None, endpoint: Endpoint::default() }
    }
}

/// What a publication did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Publication {
    /// This unit does not lead: only the leader writes, so nothing was to do.
    Follower,
    /// The databags of these relations have changed; those of all others were right already.
    Changed(Vec<RelationId>),
}

/// A provider could not hand out how to reach the store. Nothing counts of what was written in this hook if it fails.
#[derive(Debug, thiserror::Error)]
pub enum PublishError<E: std::error::Error + 'static> {
    /// Juju refused a question or a change.
    #[error("cannot read or write the model")]
    Model(#[source] E),
    /// There is no token for a relation.
    #[error("no token for relation {relation}")]
    Token {
        /// Which one.
        relation: RelationId,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// With `seed_compat`: only the leader writes, and this unit does not lead.
    #[error("{unit} is not leader and cannot write application data")]
    NotLeader {
        /// This unit.
        unit: UnitName,
    },
    /// With `seed_compat`: the external URL cannot be read.
    #[error("external URL {url:?} cannot be read")]
    Url {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// With `seed_compat`: an answer that ops cannot read.
    #[error("the network of relation {relation} cannot be read")]
    Network {
        /// Which one.
        relation: RelationId,
        /// Why.
        #[source]
        source: NetworkError,
    },
}

impl<E: std::error::Error + 'static> PublishError<E> {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Model(_) | Self::Token { .. } => ErrorKind::Unavailable,
            Self::NotLeader { .. } => ErrorKind::Conflict,
            Self::Url { .. } | Self::Network { .. } => ErrorKind::InvalidArgument,
        }
    }
}

/// Hands out how to reach a store, over every relation of an endpoint.
///
/// It writes the application databag, as leader; a follower writes nothing and succeeds. Call [`handle`](Self::handle) at
/// every hook, or [`publish`](Self::publish) from any hook after something has changed. Only keys that differ are
/// written, so a publication that changes nothing wakes nobody.
///
/// ```
/// use decima_juju::HookTools;
/// use parca_store::{HookContext, ParcaStoreEndpointProvider, ProviderConfig, Transport};
///
/// fn main_of_the_charm() -> Result<(), Box<dyn std::error::Error>> {
///     let context = HookContext::from_env()?;
///     let mut store = ParcaStoreEndpointProvider::new(ProviderConfig {
///         port: 7070.try_into()?,
///         transport: Transport::Plaintext,
///         ..ProviderConfig::default()
///     });
///     store.handle(&context, &HookTools::from_path())?;
///     Ok(())
/// }
/// ```
pub struct ParcaStoreEndpointProvider<'a> {
    config: ProviderConfig,
    tokens: Box<dyn TokenSource + 'a>,
    fqdn: Box<dyn Fn() -> String + 'a>,
}

impl<'a> ParcaStoreEndpointProvider<'a> {
    /// A provider that hands out no tokens.
    pub fn new(config: ProviderConfig) -> Self {
        Self { config, tokens: Box::new(NoTokens), fqdn: Box::new(crate::fqdn::fqdn) }
    }

    /// A provider that does exactly what the relation's first library does, faults included.
    pub fn seed_compat(config: SeedCompatConfig) -> SeedCompatProvider<'a> {
        SeedCompatProvider::new(config)
    }

    /// Hands out tokens of a source, one a relation.
    pub fn with_tokens(mut self, tokens: impl TokenSource + 'a) -> Self {
        self.tokens = Box::new(tokens);
        self
    }

    /// Replaces the lookup of this host's name, which is asked for only if Juju knows no IP address of this unit.
    pub fn with_fqdn(mut self, fqdn: impl Fn() -> String + 'a) -> Self {
        self.fqdn = Box::new(fqdn);
        self
    }

    /// Publishes if the event may change what is handed out. `None` if it cannot.
    ///
    /// These are hooks of this endpoint but its departures, a new leader, a replaced pod or charm, a changed option, a
    /// started workload, and the regular hook that mends what went wrong.
    pub fn handle<M: Model>(
        &mut self,
        context: &HookContext,
        model: &M,
    ) -> Result<Option<Publication>, PublishError<M::Error>> {
        let ours = |event: &RelationEvent| {
            self.config.endpoint.has(&event.relation)
                && matches!(
                    event.change,
                    RelationChange::Created | RelationChange::Joined | RelationChange::Changed
                )
        };
        let concerns_us = match &context.event {
            Event::Hook(hook) => match hook {
                Hook::Relation(event) => ours(event),
                Hook::Pebble(event) => event.change == PebbleChange::Ready,
                Hook::Start
                | Hook::ConfigChanged
                | Hook::UpdateStatus
                | Hook::UpgradeCharm
                | Hook::LeaderElected => true,
                _ => false,
            },
            Event::Action(_) => false,
        };
        if concerns_us { self.publish(context, model).map(Some) } else { Ok(None) }
    }

    /// Writes the three keys to the databag of every relation of the endpoint, where they differ.
    ///
    /// Works from any hook and action. The network is asked about only without an external address.
    pub fn publish<M: Model>(
        &mut self,
        context: &HookContext,
        model: &M,
    ) -> Result<Publication, PublishError<M::Error>> {
        if !model.is_leader().map_err(PublishError::Model)? {
            return Ok(Publication::Follower);
        }
        let mut changed = Vec::new();
        for relation in relations(context, model, &self.config.endpoint).map_err(PublishError::Model)? {
            let Some(bag) = model.read(&relation, context.app()).map_err(PublishError::Model)? else {
                continue;
            };
            let wanted = self.wanted(&relation, &bag, model)?;
            if write(&relation, &bag, wanted, model).map_err(PublishError::Model)? {
                changed.push(relation);
            }
        }
        Ok(Publication::Changed(changed))
    }

    fn wanted<M: Model>(
        &mut self,
        relation: &RelationId,
        bag: &BTreeMap<String, String>,
        model: &M,
    ) -> Result<Wanted, PublishError<M::Error>> {
        let address = match &self.config.external {
            Some(external) => external.address(self.config.port),
            None => {
                let network = model.network(relation).map_err(PublishError::Model)?;
                let host = first_ip(&network).map_or_else(|| (self.fqdn)(), host_of);
                format!("{host}:{}", self.config.port)
            }
        };
        let published = bag.get(BEARER_TOKEN_KEY).and_then(|text| BearerToken::new(text).ok());
        let token = self
            .tokens
            .token(relation, published.as_ref())
            .map_err(|source| PublishError::Token { relation: relation.clone(), source })?;
        let bearer_token = token.map_or_else(String::new, |token| token.as_str().to_owned());
        Ok(Wanted { address, bearer_token, insecure: self.config.transport.insecure() })
    }
}

impl fmt::Debug for ParcaStoreEndpointProvider<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParcaStoreEndpointProvider").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a databag shall hold.
pub(crate) struct Wanted {
    pub(crate) address: String,
    /// Empty for none.
    pub(crate) bearer_token: String,
    pub(crate) insecure: &'static str,
}

/// Writes the keys that differ, in one call; whether there are any. An empty value stands for an absent key.
pub(crate) fn write<M: Model>(
    relation: &RelationId,
    bag: &BTreeMap<String, String>,
    wanted: Wanted,
    model: &M,
) -> Result<bool, M::Error> {
    let changes: BTreeMap<String, String> = [
        (ADDRESS_KEY, wanted.address),
        (BEARER_TOKEN_KEY, wanted.bearer_token),
        (INSECURE_KEY, wanted.insecure.to_owned()),
    ]
    .into_iter()
    .filter(|(key, value)| bag.get(*key).map_or("", String::as_str) != value)
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if !changes.is_empty() {
        model.write(relation, &changes)?;
    }
    Ok(!changes.is_empty())
}

/// The relations of an endpoint, without the one that this hook breaks.
pub(crate) fn relations<M: Model>(
    context: &HookContext,
    model: &M,
    endpoint: &Endpoint,
) -> Result<Vec<RelationId>, M::Error> {
    let breaking = context.relation_event().filter(|event| event.change == RelationChange::Broken);
    let mut relations = model.relations(endpoint.as_str())?;
    relations.retain(|relation| breaking.is_none_or(|event| event.relation != *relation));
    Ok(relations)
}

/// The first address of an interface that is an IP address which means the same on another machine: one without a zone.
fn first_ip(network: &Value) -> Option<IpAddr> {
    let interfaces = network.get("bind-addresses")?.as_array()?.iter();
    let addresses = interfaces.filter_map(|interface| interface.get("addresses")?.as_array()).flatten();
    let values =
        addresses.filter_map(|address| address.get("value").or_else(|| address.get("address"))?.as_str());
    values.filter_map(|value| value.parse().ok()).next()
}
