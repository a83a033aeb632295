//! The charm `parca-k8s`: runs Decima on Kubernetes under Juju.
//!
//! Every hook does the same: it reads the world ([`world`]), decides what should be different ([`mod@reconcile`], a pure
//! function), and writes that and nothing else ([`apply`]). What the event is matters only where the world does not show
//! it yet, as with a relation that is being broken. Two hooks in a row over one world write once.
//!
//! What comes from a relation is another charm's text. It is checked before it gets near the workload; what does not hold
//! leaves that relation out and is named in the status. Nothing from outside makes a hook fail.
//!
//! Start at [`reconcile::reconcile`].

pub mod action;
pub mod apply;
pub mod mint;
pub mod names;
pub mod options;
pub mod reconcile;
pub mod relations;
pub mod token;
pub mod workload;
pub mod world;
