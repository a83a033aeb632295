//! Whether a request is let in: the one place where needs, scopes, sites, certificates and cookies come together.
//!
//! Pure: what a request said goes in, a decision comes out.

use http::{HeaderMap, Method, header};

use super::{
    need::Need,
    scope::{Anonymous, Scope},
    session::Sessions,
    site::{self, Origins, Site},
    tokens::{Digest, Grant, Tokens},
};
use crate::settings::Transport;

/// What a server is told about whom to let in.
pub(crate) struct Rules {
    /// What needs no token.
    pub(crate) anonymous: Anonymous,
    /// Pages of other origins that may call.
    pub(crate) origins: Origins,
    /// Whether clients must show a certificate on connections with TLS.
    pub(crate) client_certificates: bool,
    /// Of the token by which the server asks itself for its profiles.
    pub(crate) own: Digest,
    /// The page's cookies.
    pub(crate) sessions: Sessions,
}

/// A request, as far as a decision needs it.
pub(crate) struct Asked<'a> {
    pub(crate) need: Need,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// Name and port that it was sent to.
    pub(crate) host: Option<&'a str>,
    /// Whether no browser can have sent it: gRPC itself over HTTP/2.
    pub(crate) native: bool,
    pub(crate) transport: Transport,
}

/// Why a request was let in: as long as this stands, it may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Anybody may.
    Anybody,
    /// Who holds this token may.
    Holder(Digest),
}

/// A request that is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It may not be done by this one, or from there: 403, PERMISSION_DENIED.
    Forbidden(&'static str),
    /// Nobody known asks: 401, UNAUTHENTICATED.
    Unauthenticated(&'static str),
}

impl Refusal {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Forbidden(message) | Self::Unauthenticated(message) => message,
        }
    }
}

pub(crate) const NO_TOKEN: Refusal = Refusal::Unauthenticated("a token is needed (Authorization: Bearer)");
pub(crate) const WRONG_TOKEN: Refusal = Refusal::Unauthenticated("the token is not valid");
const NO_CERTIFICATE: Refusal = Refusal::Unauthenticated("a client certificate is needed");
const FOREIGN_PAGE: Refusal =
    Refusal::Forbidden("pages of other origins may not call; --cors-allowed-origins lists those that may");
const FOREIGN_HOST: Refusal = Refusal::Forbidden(
    "this name is not one of a loopback address; --cors-allowed-origins lists names that are fine",
);

/// Decides. `tokens` is `None` where none are asked for.
pub(crate) fn decide(
    rules: &Rules,
    tokens: Option<&Tokens>,
    asked: &Asked<'_>,
    now_s: u64,
) -> Result<Admission, Refusal> {
    if asked.need == Need::Health {
        return Ok(Admission::Anybody);
    }
    let site = of_page(rules, asked)?;
    let presented = bearer(asked.headers).map(Digest::of);
    let itself = presented.is_some_and(|digest| bool::from(digest.same(&rules.own)));
    if itself && asked.need == Need::Metrics {
        return Ok(Admission::Anybody);
    }
    if rules.client_certificates && asked.transport.tls && !asked.transport.client_certificate {
        return Err(NO_CERTIFICATE);
    }
    let Some(tokens) = tokens else { return Ok(Admission::Anybody) };
    if matches!(asked.need, Need::Page | Need::Session) {
        return Ok(Admission::Anybody);
    }
    if let Some(digest) = presented {
        let grant = tokens.find(&digest).ok_or(WRONG_TOKEN)?;
        return match grant.scope.allows(asked.need) || rules.anonymous.allows(asked.need) {
            true => Ok(Admission::Holder(digest)),
            false => Err(out_of_scope(grant.scope)),
        };
    }
    if rules.anonymous.allows(asked.need) {
        return Ok(Admission::Anybody);
    }
    match signed_in(rules, tokens, asked, site, now_s) {
        Some(grant) if Scope::Read.allows(asked.need) => Ok(Admission::Holder(grant.sha256)),
        Some(_) => Err(Refusal::Forbidden("the page may only read")),
        None => Err(NO_TOKEN),
    }
}

/// Whether what was let in may go on with other tokens.
pub(crate) fn stands(admission: Admission, tokens: &Tokens, rules: &Rules, need: Need) -> bool {
    match admission {
        Admission::Anybody => true,
        Admission::Holder(digest) => {
            tokens.find(&digest).is_some_and(|grant| grant.scope.allows(need) || rules.anonymous.allows(need))
        }
    }
}

/// Who is signed in at the page. Pages of other origins never are.
pub(crate) fn signed_in<'a>(
    rules: &Rules,
    tokens: &'a Tokens,
    asked: &Asked<'_>,
    site: Site,
    now_s: u64,
) -> Option<&'a Grant> {
    if site != Site::Own {
        return None;
    }
    rules.sessions.holder(asked.headers, tokens, now_s)
}

/// The token of a request, if it has one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    // What is no text is no token of anybody, but it was meant as something.
    let text = value.to_str().unwrap_or("bearer ?");
    let (scheme, token) = text.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Where a request comes from, unless nothing may come from there.
pub(crate) fn of_page(rules: &Rules, asked: &Asked<'_>) -> Result<Site, Refusal> {
    let site = site::of(asked.headers, asked.host, &rules.origins);
    if site == Site::Foreign && !site::is_link(asked.method, asked.headers, asked.need) {
        return Err(FOREIGN_PAGE);
    }
    // With TLS, the certificate says whose name it is.
    let may_be_rebound = asked.transport.loopback && !asked.transport.tls && !asked.native;
    match asked.host {
        Some(host) if may_be_rebound && !site::is_loopback_host(host, &rules.origins) => Err(FOREIGN_HOST),
        _ => Ok(site),
    }
}

fn out_of_scope(scope: Scope) -> Refusal {
    Refusal::Forbidden(match scope {
        Scope::Read => "the token's scope is read, which does not allow this",
        Scope::Write => "the token's scope is write, which does not allow this",
        Scope::Admin => "the token does not allow this",
    })
}

#[cfg(test)]
mod tests;
