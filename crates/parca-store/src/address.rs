//! The address that a provider hands out: where a store is from the outside, checked when the charm says it.

use std::{fmt, net::IpAddr, num::NonZeroU16};

use decima_base::ErrorKind;

use crate::seed::{ip::Address, url};

/// Where senders reach the store when it is not at this unit's own address: behind an ingress or a proxy.
///
/// Both kinds are checked here, so that a provider cannot hand out an address that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External(pub(crate) Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Host, with brackets where an IPv6 address needs them; the provider's port is appended.
    UrlHost(String),
    /// The whole address.
    Address(String),
}

/// A text does not say where a store is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// Without `scheme://` there is no host in it.
    #[error("external URL {text:?} has no host (scheme://host is needed)")]
    Hostless {
        /// The text.
        text: String,
    },
    /// It cannot be read as a URL.
    #[error("external URL {text:?} cannot be read")]
    Url {
        /// The text.
        text: String,
        /// Why.
        #[source]
        source: url::UrlError,
    },
    /// Its host is neither a name nor an address that other machines can use.
    #[error("external URL {text:?}: {host:?} is not a host name or address")]
    Host {
        /// The text.
        text: String,
        /// The host in it.
        host: String,
    },
    /// It holds blanks, control characters or letters outside of ASCII.
    #[error("{text:?} holds a blank, a control character or a letter outside of ASCII")]
    Character {
        /// The text.
        text: String,
    },
    /// It is not a port.
    #[error("external URL {text:?}: the port is not a number from 1 to 65535")]
    Port {
        /// The text.
        text: String,
    },
    /// An address to be used as it is has a scheme or a path, or is empty.
    #[error("external address {text:?} is not host:port without a scheme")]
    Address {
        /// The text.
        text: String,
    },
}

impl ExternalError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

impl External {
    /// The host of a URL, to which the provider's own port is appended. The URL's port and path are left out.
    ///
    /// ```
    /// use parca_store::External;
    ///
    /// let external = External::url_host("https://Parca.example.com/model-parca")?;
    /// assert_eq!(external.address(443.try_into()?), "parca.example.com:443");
    /// assert!(External::url_host("parca.example.com").is_err(), "no scheme, no host");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn url_host(text: &str) -> Result<Self, ExternalError> {
        let text = || text.to_owned();
        let given = text();
        if !is_visible(&given) {
            return Err(ExternalError::Character { text: text() });
        }
        let host = url::hostname(&given).map_err(|source| ExternalError::Url { text: text(), source })?;
        let hostless = || ExternalError::Hostless { text: text() };
        let (scheme, rest) = given.split_once("://").ok_or_else(hostless)?;
        let host = host.ok_or_else(hostless)?;
        if scheme.is_empty() || scheme.contains(['/', '?', '#']) {
            return Err(hostless());
        }
        let authority = authority(rest);
        if !has_good_port(authority) {
            return Err(ExternalError::Port { text: text() });
        }
        match reachable(authority, &host) {
            Some(reachable) => Ok(Self(Kind::UrlHost(reachable))),
            None => Err(ExternalError::Host { text: text(), host }),
        }
    }

    /// An address to be used as it is: `host:port`, or a host if senders know the port. The provider's port is left out.
    ///
    /// ```
    /// use parca_store::External;
    ///
    /// let external = External::verbatim("parca.example.com:8443")?;
    /// assert_eq!(external.address(7070.try_into()?), "parca.example.com:8443");
    /// assert!(External::verbatim("grpcs://parca.example.com:8443").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verbatim(text: &str) -> Result<Self, ExternalError> {
        if !is_visible(text) {
            return Err(ExternalError::Character { text: text.to_owned() });
        }
        let wrong = || ExternalError::Address { text: text.to_owned() };
        if text.contains(['/', '?', '#', '@']) || text.ends_with(':') || !has_good_port(text) {
            return Err(wrong());
        }
        let host = url::hostname(&format!("//{text}")).ok().flatten().ok_or_else(wrong)?;
        reachable(text, &host).ok_or_else(wrong)?;
        Ok(Self(Kind::Address(text.to_owned())))
    }

    /// What is handed out by a provider on a port.
    pub fn address(&self, port: NonZeroU16) -> String {
        match &self.0 {
            Kind::UrlHost(host) => format!("{host}:{port}"),
            Kind::Address(address) => address.clone(),
        }
    }
}

impl fmt::Display for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Kind::UrlHost(text) | Kind::Address(text)) = &self.0;
        f.write_str(text)
    }
}

/// An address as it stands before a colon and a port.
pub(crate) fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A host as it is handed out, if other machines can make something of it.
fn reachable(authority: &str, host: &str) -> Option<String> {
    match Address::parse(host) {
        // IPv6 addresses stand in brackets, and nothing else does.
        Some(Address { ip, zone: None }) if authority.starts_with('[') == ip.is_ipv6() => Some(host_of(ip)),
        None if is_name(host) && !authority.contains('[') => Some(host.to_owned()),
        _ => None,
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Labels of letters, digits, dashes and underscores (the latter occur in names of services), with dots between them.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 254 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_label)
}

/// Host and port in what follows `scheme://`.
fn authority(rest: &str) -> &str {
    let netloc = rest.split(['/', '?', '#']).next().unwrap_or_default();
    netloc.rsplit_once('@').map_or(netloc, |(_, authority)| authority)
}

/// Whether there is no port, an empty one, or a number.
fn has_good_port(authority: &str) -> bool {
    let behind = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
    match behind.split_once(':') {
        None => behind == authority || behind.is_empty(),
        Some((_, "")) => true,
        Some((_, port)) => {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<NonZeroU16>().is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        let check = |text: &str, expected: &str| {
            let external = External::url_host(text).unwrap();
            assert_eq!(external.address(NonZeroU16::new(443).unwrap()), expected, "{text}");
        };
        check("https://parca.example.com", "parca.example.com:443");
        check("http://user:word@Parca:80/a", "parca:443");
        check("https://h.example.", "h.example.:443");
        check("https://h:/", "h:443");
        check("https://10.1.2.3:99", "10.1.2.3:443");
        check("https://[FD00::2]:99/x", "[fd00::2]:443");
        check("https://[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]:443");
        check("grpc+tls://parca_store", "parca_store:443");
    }

    #[test]
    fn what_leads_nowhere() {
        let error = |text: &str| External::url_host(text).unwrap_err();
        for text in [
            "foo.bar",
            "foo.bar:443",
            "/path",
            "https://",
            "https:///x",
            "",
            "//h2",
            "https://:443",
            "/a://h",
        ] {
            assert!(matches!(error(text), ExternalError::Hostless { .. }), "{text} {:?}", error(text));
        }
        for text in ["http://[bad", "http://bad]", "http://[1.2.3.4]", "http://[]"] {
            assert!(matches!(error(text), ExternalError::Url { .. }), "{text}");
        }
        for text in ["https://a b", " https://h", "https://h\n", "https://münchen", "http://a\u{2100}b"] {
            assert!(matches!(error(text), ExternalError::Character { .. }), "{text}");
        }
        for text in [
            "https://[fe80::1%25eth0]",
            "https://a..b",
            "https://-a",
            "https://a%20b",
            "http://[v1.x]",
            "https://.",
            "http://x[::1]",
        ] {
            assert!(matches!(error(text), ExternalError::Host { .. }), "{text}");
        }
        for text in ["https://h:x", "https://h:0", "https://h:99999", "https://[fd00::1]x", "https://h:+1"] {
            assert!(matches!(error(text), ExternalError::Port { .. }), "{text}");
        }
    }

    #[test]
    fn addresses_as_they_are() {
        let port = NonZeroU16::new(7070).unwrap();
        assert_eq!(External::verbatim("h:1").unwrap().address(port), "h:1");
        assert_eq!(External::verbatim("h").unwrap().address(port), "h");
        assert_eq!(External::verbatim("[fd00::1]:1").unwrap().address(port), "[fd00::1]:1");
        for text in [
            "",
            "https://h:1",
            "h:1/x",
            ":1",
            "h:",
            "h 1",
            "user@h:1",
            "h:x",
            "h:0",
            "fd00::1:7070",
            "None:x",
            "a..b:1",
        ] {
            assert!(External::verbatim(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever is handed out, the other side can use; and no text makes a panic.
        #[test]
        fn what_is_accepted_can_be_used(text in "(https?://)?[\\PC\\t]{0,20}|https?://[a-zA-Z0-9.:@\\[\\]/%-]{0,20}", port: NonZeroU16) {
            for external in [External::url_host(&text), External::verbatim(&text)].into_iter().flatten() {
                let address = external.address(port);
                let config = crate::StoreConfig { address: address.clone(), ..crate::StoreConfig::default() };
                proptest::prop_assert!(matches!(config.check(), Ok(Some(store)) if store.address == address), "{}", address);
            }
        }
    }
}
