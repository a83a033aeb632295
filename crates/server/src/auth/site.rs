//! Where a browser's request comes from: this server's own page, a page that may call, or any other.
//!
//! `Sec-Fetch-Site` is the browser's own word and cannot be set by a page; it goes first. Older browsers, and all on
//! plain HTTP to other machines, tell `Origin` only. A request with neither is no page's, or one whose answer no page can
//! read.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method, header};

use super::need::Need;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Pages of other origins that may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origins {
    list: Vec<String>,
}

impl Origins {
    /// As `--cors-allowed-origins` lists them: exactly, or a single `*` for all.
    pub(crate) fn new(list: &[String]) -> Self {
        Self { list: list.to_vec() }
    }

    fn all(&self) -> bool {
        matches!(self.list.as_slice(), [all] if all == "*")
    }

    fn has(&self, origin: &str) -> bool {
        self.all() || self.list.iter().any(|listed| listed == origin)
    }

    fn has_host(&self, host: &str) -> bool {
        self.all()
            || self.list.iter().any(|listed| host_of_origin(listed).is_some_and(|(own, _)| own == host))
    }
}

/// What a request says of the page that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// No page of another origin.
    Own,
    /// A page of another origin that may call. Its requests never count as signed in.
    Listed,
    /// A page that may not.
    Foreign,
}

/// Tells where a request comes from. `host` is the one that it is sent to, with its port.
pub(crate) fn of(headers: &HeaderMap, host: Option<&str>, origins: &Origins) -> Site {
    let origin = text(headers, &header::ORIGIN);
    let by_origin = |origin: &str| if origins.has(origin) { Site::Listed } else { Site::Foreign };
    match (text(headers, &SEC_FETCH_SITE), origin) {
        (Some("same-origin" | "none"), _) | (None, None) => Site::Own,
        (Some(_), Some(origin)) => by_origin(origin),
        (Some(_), None) if origins.all() => Site::Listed,
        (Some(_), None) => Site::Foreign,
        (None, Some(origin)) if is_own(origin, host) => Site::Own,
        (None, Some(origin)) => by_origin(origin),
    }
}

/// Whether a request follows a link to the page. Links from elsewhere are what addresses of views are for.
pub(crate) fn is_link(method: &Method, headers: &HeaderMap, need: Need) -> bool {
    need == Need::Page && *method == Method::GET && text(headers, &SEC_FETCH_MODE) == Some("navigate")
}

/// Whether the name by which this machine was reached is its own: what a name server of somebody else says is loopback, is
/// still somebody else's name, and the pages there are theirs.
pub(crate) fn is_loopback_host(host: &str, origins: &Origins) -> bool {
    let name = without_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        || lower == "localhost"
        || lower.ends_with(".localhost")
        || origins.has_host(&lower)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    // What is no text is nobody's own origin either.
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether an origin is that of the server itself, whose host is as the request says. The scheme is not compared: a proxy
/// may add TLS.
fn is_own(origin: &str, host: Option<&str>) -> bool {
    let (Some((name, port)), Some(host)) = (host_of_origin(origin), host) else { return false };
    let own_port = host.strip_prefix(without_port(host)).and_then(|rest| rest.strip_prefix(':'));
    without_port(host).eq_ignore_ascii_case(&name)
        && own_port.map_or(port.is_empty(), |own| {
            if port.is_empty() { is_default_port(origin, own) } else { own == port }
        })
}

fn is_default_port(origin: &str, port: &str) -> bool {
    port == if origin.starts_with("https:") { "443" } else { "80" }
}

/// Host in lower case and port, which may be empty, of `scheme://host:port`.
fn host_of_origin(origin: &str) -> Option<(String, &str)> {
    let (scheme, rest) = origin.split_once("://")?;
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let host = without_port(rest);
    let port = rest.strip_prefix(host)?.strip_prefix(':').unwrap_or_default();
    Some((host.to_ascii_lowercase(), port))
}

/// `host:port` or `[::1]:port` without the port.
fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn sites() {
        let check = |pairs: &[(&'static str, &'static str)], listed: &[&str], expected: Site| {
            let listed: Vec<_> = listed.iter().map(|&origin| origin.to_owned()).collect();
            let site = of(&headers(pairs), Some("store.example:7070"), &Origins::new(&listed));
            assert_eq!(site, expected, "{pairs:?} {listed:?}");
        };
        const GRAFANA: &str = "https://grafana.example";
        check(&[], &[], Site::Own);
        check(&[("sec-fetch-site", "same-origin")], &[], Site::Own);
        check(&[("sec-fetch-site", "none")], &[], Site::Own);
        // A proxy has rewritten the host: the browser still knows.
        check(&[("sec-fetch-site", "same-origin"), ("origin", "https://front.example")], &[], Site::Own);
        check(&[("sec-fetch-site", "cross-site")], &[], Site::Foreign);
        check(&[("sec-fetch-site", "same-site")], &[], Site::Foreign);
        check(&[("sec-fetch-site", "cross-site")], &[GRAFANA], Site::Foreign);
        check(&[("sec-fetch-site", "cross-site")], &["*"], Site::Listed);
        check(&[("sec-fetch-site", "cross-site"), ("origin", GRAFANA)], &[], Site::Foreign);
        check(&[("sec-fetch-site", "cross-site"), ("origin", GRAFANA)], &[GRAFANA], Site::Listed);
        check(
            &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
            &[GRAFANA],
            Site::Foreign,
        );
        check(&[("origin", "http://store.example:7070")], &[], Site::Own);
        check(&[("origin", "http://STORE.example:7070")], &[], Site::Own);
        check(&[("origin", "http://store.example")], &[], Site::Foreign);
        check(&[("origin", "http://store.example:70")], &[], Site::Foreign);
        check(&[("origin", "http://store.example:7070.evil.example")], &[], Site::Foreign);
        check(&[("origin", "null")], &[], Site::Foreign);
        check(&[("origin", "null")], &["*"], Site::Listed);
        check(&[("origin", GRAFANA)], &[GRAFANA], Site::Listed);
        check(&[("origin", "https://grafana.example:8443")], &[GRAFANA], Site::Foreign);
    }

    #[test]
    fn default_ports() {
        let check = |origin: &str, host: &str, own: bool| {
            assert_eq!(is_own(origin, Some(host)), own, "{origin} {host}");
        };
        check("https://a", "a", true);
        check("https://a", "a:443", true);
        check("http://a", "a:443", false);
        check("http://a:80", "a:80", true);
        check("http://[::1]:7070", "[::1]:7070", true);
        check("http://[::1]", "[::1]:7070", false);
        check("file://a", "a", false);
    }

    #[test]
    fn names_of_this_machine() {
        let check = |host: &str, listed: &[&str], own: bool| {
            let listed: Vec<_> = listed.iter().map(|&origin| origin.to_owned()).collect();
            assert_eq!(is_loopback_host(host, &Origins::new(&listed)), own, "{host} {listed:?}");
        };
        check("localhost:7070", &[], true);
        check("LOCALHOST", &[], true);
        check("a.localhost:1", &[], true);
        check("127.0.0.1:7070", &[], true);
        check("127.1.2.3", &[], true);
        check("[::1]:7070", &[], true);
        check("[::ffff:127.0.0.1]:7070", &[], true);
        check("10.0.0.1:7070", &[], false);
        check("evil.example:7070", &[], false);
        check("localhost.evil.example", &[], false);
        check("127.0.0.1.evil.example", &[], false);
        check("profiles.example", &["https://profiles.example"], true);
        check("profiles.example:7070", &["https://profiles.example"], true);
        check("evil.example", &["*"], true);
        check("", &[], false);
    }

    #[test]
    fn links() {
        let navigate = headers(&[("sec-fetch-mode", "navigate")]);
        assert!(is_link(&Method::GET, &navigate, Need::Page));
        assert!(!is_link(&Method::POST, &navigate, Need::Page));
        assert!(!is_link(&Method::GET, &navigate, Need::Read));
        assert!(!is_link(&Method::GET, &headers(&[("sec-fetch-mode", "no-cors")]), Need::Page));
    }
}
