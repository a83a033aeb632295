//! Here is a selector and a time range, gives you a report.
//!
//! Start at [`Engine`].

pub mod api;
pub mod engine;

pub use api::*;
pub use engine::Engine;
