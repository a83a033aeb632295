//! Both sides of Juju's `parca_store` relation, for charms written in Rust.
//!
//! A charm that has a store for profiles hands out, over this relation, how to reach it: an address, a token, and whether
//! to use TLS. A charm whose workload sends profiles learns it. On the wire this equals the Python library
//! `charms.parca_k8s.v0.parca_store`, so either side may be a charm that uses that one.
//!
//! Nothing here does I/O but [`fqdn`]: the rules ask a [`Model`], which the hook tools of `decima-juju` are. Nothing is
//! kept between hooks. What the other side wrote is foreign text; [`StoreConfig::check`] reads it.
//!
//! # Requirer: a charm that sends
//!
//! Your charm receives the store's configuration and configures its workload with it.
//!
//! ```
//! use decima_juju::HookTools;
//! use parca_store::{HookContext, ParcaStoreEndpointRequirer, StoreConfig};
//!
//! struct Application;
//!
//! impl Application {
//!     /// `None`: there is no store to send to (any more).
//!     fn configure(&self, store_config: Option<&StoreConfig>) {
//!         // …
//! #       let _ = store_config;
//!     }
//! }
//!
//! fn hook(application: &Application) -> Result<(), Box<dyn std::error::Error>> {
//!     let context = HookContext::from_env()?;
//!     let tools = HookTools::from_path();
//!     let store_requirer = ParcaStoreEndpointRequirer::new("external-parca-store-endpoint".parse()?);
//!     if let Some(event) = store_requirer.handle(&context, &tools)? {
//!         application.configure(event.store_config());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! You can also fetch the configuration at any time:
//!
//! ```
//! # use decima_juju::HookTools;
//! # use parca_store::{HookContext, ParcaStoreEndpointRequirer};
//! # fn hook(context: &HookContext, store_requirer: &ParcaStoreEndpointRequirer) -> Result<(), Box<dyn std::error::Error>> {
//! match store_requirer.config(context, &HookTools::from_path())? {
//!     None => println!("no relation"),
//!     Some(store_config) => match store_config.check() {
//!         Ok(None) => println!("the store has not said where it is yet"),
//!         Ok(Some(store)) => println!("send to {} by {:?}", store.address, store.transport),
//!         Err(error) => println!("blocked: external-parca-store-endpoint: {error}"),
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Provider: a charm that has a store
//!
//! Every charm that wishes to send profiles is told this unit's address, and not to use TLS:
//!
//! ```
//! use decima_juju::HookTools;
//! use parca_store::{HookContext, ParcaStoreEndpointProvider, ProviderConfig, Transport};
//!
//! fn hook() -> Result<(), Box<dyn std::error::Error>> {
//!     let context = HookContext::from_env()?;
//!     let mut parca_store_endpoint = ParcaStoreEndpointProvider::new(ProviderConfig {
//!         port: 7070.try_into()?,
//!         transport: Transport::Plaintext,
//!         ..ProviderConfig::default()
//!     });
//!     parca_store_endpoint.handle(&context, &HookTools::from_path())?;
//!     Ok(())
//! }
//! ```
//!
//! If the store stands behind an ingress (such as Traefik), say at which URL. An address that leads nowhere is an error
//! here, before anything is handed out:
//!
//! ```
//! use parca_store::{External, ParcaStoreEndpointProvider, ProviderConfig, Transport};
//!
//! # fn external_url() -> String { "https://parca.example.com".to_owned() }
//! let parca_store_endpoint = ParcaStoreEndpointProvider::new(ProviderConfig {
//!     external: Some(External::url_host(&external_url())?),
//!     port: 443.try_into()?,
//!     transport: Transport::Tls,
//!     ..ProviderConfig::default()
//! });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! If the store requires a bearer token, provide a function that makes one. It is asked once a relation:
//!
//! ```
//! use parca_store::{BearerToken, OncePerRelation, ParcaStoreEndpointProvider, ProviderConfig};
//!
//! # fn random_text() -> String { "cmFuZG9t".to_owned() }
//! let parca_store_endpoint = ParcaStoreEndpointProvider::new(ProviderConfig::default())
//!     .with_tokens(OncePerRelation(|_relation: &_| BearerToken::new(&random_text())));
//! ```
//!
//! Or one that looks it up, so that the store knows the token before the sender does:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use parca_store::{BearerToken, ParcaStoreEndpointProvider, ProviderConfig, RelationId, Stored};
//!
//! let secrets: BTreeMap<u64, BearerToken> = BTreeMap::from([(7, BearerToken::new("s3cret")?)]);
//! let parca_store_endpoint = ParcaStoreEndpointProvider::new(ProviderConfig::default()).with_tokens(Stored(
//!     |relation: &RelationId| secrets.get(&relation.number()).cloned().ok_or("no secret for this relation"),
//! ));
//! # Ok::<(), parca_store::BearerTokenError>(())
//! ```
//!
//! # What does not compile
//!
//! A port is never 0, an external address is checked, a text is not a configuration:
//!
//! ```compile_fail,E0308
//! use parca_store::ProviderConfig;
//! ProviderConfig { external: Some("parca.example.com".to_owned()), ..ProviderConfig::default() };
//! ```
//!
//! ```compile_fail,E0308
//! use parca_store::ProviderConfig;
//! ProviderConfig { port: 0, ..ProviderConfig::default() };
//! ```
//!
//! A configuration may be absent, and cannot be used without saying what happens then:
//!
//! ```compile_fail,E0609
//! # use decima_juju::HookTools;
//! # use parca_store::{HookContext, ParcaStoreEndpointRequirer};
//! # fn hook(context: &HookContext, store_requirer: &ParcaStoreEndpointRequirer, tools: &HookTools) {
//! let address = store_requirer.config(context, tools).unwrap().address;
//! # }
//! ```
//!
//! Start at [`ParcaStoreEndpointProvider`] or [`ParcaStoreEndpointRequirer`].

mod address;
mod endpoint;
mod event;
mod fqdn;
mod model;
mod provider;
mod requirer;
mod seed;
pub mod seed_compat;
mod store_config;
mod token;

pub use address::{External, ExternalError};
pub use decima_juju::{AppName, HookContext, NameError, RelationId, UnitName};
pub use endpoint::Endpoint;
pub use event::{RemoveStore, StoreEndpointsChanged, StoreEvent};
pub use fqdn::fqdn;
pub use model::Model;
pub use provider::{ParcaStoreEndpointProvider, ProviderConfig, Publication, PublishError};
pub use requirer::{ParcaStoreEndpointRequirer, RequirerError};
pub use seed::{network::NetworkError, url::UrlError};
pub use store_config::{
    ADDRESS_KEY, BEARER_TOKEN_KEY, BearerToken, BearerTokenError, INSECURE_KEY, Store, StoreConfig,
    StoreConfigError, Transport,
};
pub use token::{NoTokens, OncePerRelation, Stored, TokenError, TokenSource};

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
