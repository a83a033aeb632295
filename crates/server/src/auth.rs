//! Who may do what: tokens and their scopes, the page's cookies, client certificates, and where a page's request comes from.
//!
//! ```text
//! request ─► need (method or path) ─┐
//!            site (Origin, Host)  ──┼─► decision ─► let in, until its token ends
//!            token, cookie, cert  ──┘            └► 401, 403
//! ```
//! [`guard`] is the one place through which every request goes, over every protocol; all else here is pure. Start at
//! [`decision`].

mod decision;
pub(crate) mod guard;
mod need;
mod scope;
mod session;
mod site;
mod tokens;

pub use self::{
    scope::{Anonymous, Scope, UnknownScope},
    tokens::{Digest, Grant, TOKENS_BYTES_MAX, Tokens, TokensError},
};
