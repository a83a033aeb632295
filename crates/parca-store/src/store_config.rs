//! What a provider hands out over a relation: three texts in its application databag.

use std::{collections::BTreeMap, fmt, net::Ipv6Addr};

use decima_base::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::External;

/// Key of the address, `host:port` without a scheme.
pub const ADDRESS_KEY: &str = "remote-store-address";
/// Key of the bearer token; absent if there is none.
pub const BEARER_TOKEN_KEY: &str = "remote-store-bearer-token";
/// Key of `true` (no TLS) or `false`.
pub const INSECURE_KEY: &str = "remote-store-insecure";

/// How to reach a store, as the provider wrote it: unparsed, and empty where it wrote nothing.
///
/// These texts come from another charm. [`StoreConfig::check`] says whether they can be used.
/// Its `Debug` output does not show the token.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreConfig {
    /// `host:port`, no scheme.
    #[serde(rename = "remote-store-address")]
    pub address: String,
    /// The token to send with every request; empty if none is asked for.
    #[serde(rename = "remote-store-bearer-token")]
    pub bearer_token: String,
    /// `true` or `false`.
    #[serde(rename = "remote-store-insecure")]
    pub insecure: String,
}

impl StoreConfig {
    /// Takes the three keys out of a databag; other keys are another's business.
    pub fn from_bag(bag: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| bag.get(key).cloned().unwrap_or_default();
        Self {
            address: text(ADDRESS_KEY),
            bearer_token: text(BEARER_TOKEN_KEY),
            insecure: text(INSECURE_KEY),
        }
    }

    /// Reads the texts, so that a workload can be configured with them.
    ///
    /// `Ok(None)` means that the provider has not written an address yet: wait. An IPv6 address without brackets, which
    /// the Python library publishes where a unit has no other, gets them.
    pub fn check(&self) -> Result<Option<Store>, StoreConfigError> {
        if self.address.is_empty() {
            return Ok(None);
        }
        let address =
            reachable(&self.address).ok_or(StoreConfigError { key: ADDRESS_KEY, expected: "host:port" })?;
        if !is_printable(&self.bearer_token) {
            return Err(StoreConfigError {
                key: BEARER_TOKEN_KEY,
                expected: "a token of visible ASCII characters",
            });
        }
        let transport = match self.insecure.as_str() {
            "true" => Transport::Plaintext,
            "false" | "" => Transport::Tls,
            _ => return Err(StoreConfigError { key: INSECURE_KEY, expected: "true or false" }),
        };
        let bearer_token = BearerToken::new(&self.bearer_token).ok();
        Ok(Some(Store { address, bearer_token, transport }))
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("address", &self.address)
            .field("bearer_token", &if self.bearer_token.is_empty() { "" } else { "…" })
            .field("insecure", &self.insecure)
            .finish()
    }
}

/// An address that leads to a host, with brackets where an IPv6 address needs them.
fn reachable(address: &str) -> Option<String> {
    if External::verbatim(address).is_ok() {
        return Some(address.to_owned());
    }
    let (host, port) = address.rsplit_once(':')?;
    host.parse::<Ipv6Addr>().ok()?;
    let address = format!("[{host}]:{port}");
    External::verbatim(&address).is_ok().then_some(address)
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A [`StoreConfig`] that was read and can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// `host:port`, or a host alone, without a scheme or path; an IPv6 address is in brackets.
    pub address: String,
    /// The token to send with every request, if one is asked for.
    pub bearer_token: Option<BearerToken>,
    /// Whether to use TLS.
    pub transport: Transport,
}

/// A text in a databag is not what the relation's interface says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{key} is not {expected}")]
pub struct StoreConfigError {
    /// Key of the text. The text itself is left out: it may be a token.
    pub key: &'static str,
    /// What it should have been.
    pub expected: &'static str,
}

impl StoreConfigError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Whether senders use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Transport {
    /// They do.
    #[default]
    Tls,
    /// They do not: `remote-store-insecure` is `true`.
    Plaintext,
}

impl Transport {
    /// The value of `remote-store-insecure`.
    pub(crate) fn insecure(self) -> &'static str {
        match self {
            Self::Tls => "false",
            Self::Plaintext => "true",
        }
    }
}

/// A token that fits an `Authorization` header: one or more visible ASCII characters.
///
/// Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

/// A text cannot be sent as a bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a bearer token is one or more visible ASCII characters")]
pub struct BearerTokenError;

impl BearerToken {
    /// Takes a text as a token.
    pub fn new(text: &str) -> Result<Self, BearerTokenError> {
        if !text.is_empty() && is_printable(text) { Ok(Self(text.to_owned())) } else { Err(BearerTokenError) }
    }

    /// The token, to be sent and not to be logged.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(address: &str, bearer_token: &str, insecure: &str) -> StoreConfig {
        let text = |text: &str| text.to_owned();
        StoreConfig { address: text(address), bearer_token: text(bearer_token), insecure: text(insecure) }
    }

    #[test]
    fn usable_configs() {
        let check = |given: StoreConfig, token: Option<&str>, transport: Transport| {
            let store = given.check().unwrap().unwrap();
            assert_eq!(store.bearer_token.as_ref().map(BearerToken::as_str), token);
            assert_eq!((store.address.as_str(), store.transport), (given.address.as_str(), transport));
        };
        check(config("h:7070", "", "true"), None, Transport::Plaintext);
        check(config("[fd00::1]:7070", "s3cret", "false"), Some("s3cret"), Transport::Tls);
        check(config("h:7070", "", ""), None, Transport::Tls);
        check(config("h", "", ""), None, Transport::Tls);
        assert_eq!(config("", "s3cret", "x").check(), Ok(None));
    }

    #[test]
    fn an_address_without_its_brackets() {
        let check = |address: &str, expected: &str| {
            assert_eq!(config(address, "", "").check().unwrap().unwrap().address, expected);
        };
        check("fd00::1:7070", "[fd00::1]:7070");
        check("::1:7070", "[::1]:7070");
        check("2001:db8:0:0:0:0:0:7:443", "[2001:db8:0:0:0:0:0:7]:443");
    }

    #[test]
    fn garbage_names_its_key() {
        let check =
            |given: StoreConfig, key: &str| assert_eq!(given.check().unwrap_err().key, key, "{given:?}");
        check(config("https://h:1", "", "true"), ADDRESS_KEY);
        check(config("h:1/x", "", "true"), ADDRESS_KEY);
        check(config("h 1", "", "true"), ADDRESS_KEY);
        check(config("h\n--insecure", "", "true"), ADDRESS_KEY);
        for address in [
            ":7070",
            "a[b:1",
            "\"x\":1",
            "h\\:1",
            "%zz:1",
            "h:1,h:2",
            "[::1",
            "h:99999",
            "h:port",
            "h:0",
            "u@h:1",
            "fd00::1",
            "fd00::1:0",
            "fd00::1:x",
            "fe80::1%eth0:1",
            "h..x:1",
            "h?:1",
            "None:x",
        ] {
            check(config(address, "", "true"), ADDRESS_KEY);
        }
        check(config("h:1", "a b", "true"), BEARER_TOKEN_KEY);
        check(config("h:1", "", "no"), INSECURE_KEY);
    }

    #[test]
    fn tokens_stay_out_of_logs() {
        let shown =
            format!("{:?} {:?}", config("h:1", "s3cret", "false"), BearerToken::new("s3cret").unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
