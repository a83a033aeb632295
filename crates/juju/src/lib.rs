//! What a charm written in Rust speaks: the context of a hook, Juju's hook tools, and Pebble.
//!
//! A charm is a program that Juju starts once an event. It reads what the event is from its environment
//! ([`HookContext`]), asks and tells the model by running small programs that Juju puts on the path ([`HookTools`]), and
//! on Kubernetes runs its workload through a Pebble in every container ([`pebble`], a feature that is on by default).
//!
//! Nothing here keeps state between events, and nothing here decides what a charm does. What comes from the environment,
//! from a tool or from the other side of a relation is foreign: it becomes an error with the place in it, never a panic.
//! Changes that a hook makes count only if the hook ends with 0; until then Juju holds them back.
//!
//! Start at [`HookContext::from_env`] and [`HookTools::from_path`].

#[cfg(all(doctest, feature = "pebble"))]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod context;
pub mod event;
pub mod names;
#[cfg(feature = "pebble")]
pub mod pebble;
pub mod tools;

pub use context::{ContextError, HookContext};
pub use event::{
    Event, Hook, PebbleChange, PebbleEvent, RelationChange, RelationEvent, SecretChange, SecretEvent,
    StorageChange, StorageEvent,
};
pub use names::{AppName, NameError, RelationId, UnitName};
pub use tools::{
    HookTools, Run, ToolError,
    network::Network,
    port::{Port, Protocol},
    relation::{Bag, OwnBag},
    secret::{NewSecret, SecretId, SecretKey, SecretOwner},
    status::{Status, StatusName},
};
