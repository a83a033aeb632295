//! For tests of charms: what a charm meets in production, simulated on one machine.
//!
//! [`Agent`] plays Juju's unit agent for one unit: it keeps a [`Model`] in a file, sets the environment of a hook, offers
//! the hook tools, and takes over what a hook changed only if the hook ends with 0. A charm is run as a process
//! ([`Agent::run`]), in whatever language it is written, or its code calls the tools in the test's own process
//! ([`Agent::begin`], [`Session::tool`]). The `pebble` feature adds a Pebble to talk to.
//!
//! It shares no code with the crates that it tests, so a misreading of the protocol does not cancel out. It keeps to what
//! Juju does and says; where Juju's words are not known it says something like it, and no test may depend on those.
//!
//! Start at [`Agent`].

mod agent;
mod event;
mod model;
#[cfg(feature = "pebble")]
pub mod pebble;
mod tools;

pub use agent::{Agent, Outcome, Session, hook_tools_example, tool_main};
pub use event::Event;
pub use model::{ActionOutcome, Bag, LogLine, Model, Relation, Secret, Status, Storage};
pub use tools::{Call, TOOLS};
