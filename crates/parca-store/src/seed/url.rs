//! The host of a URL, as Python's `urlparse(url).hostname` finds it.

use unicode_normalization::UnicodeNormalization;

use super::ip::Address;

/// Python raises a `ValueError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Only one of `[` and `]` is there.
    #[error("a bracket has no partner")]
    Bracket,
    /// What stands in brackets is not an IPv6 address.
    #[error("what stands in brackets is not an IPv6 address")]
    Bracketed,
    /// The host holds a character that a resolver would read as one that ends hosts.
    #[error("a character of the host is read as a delimiter after normalization")]
    Normalization,
}

/// The host; `None` where Python says `None`.
pub(crate) fn hostname(url: &str) -> Result<Option<String>, UrlError> {
    let url = url.trim_start_matches(|c: char| c <= ' ');
    let url: String = url.chars().filter(|c| !['\t', '\r', '\n'].contains(c)).collect();
    let netloc = netloc(&url);
    if netloc.contains('[') != netloc.contains(']') {
        return Err(UrlError::Bracket);
    }
    if let Some((_, rest)) = netloc.split_once('[') {
        check_bracketed(rest.split(']').next().unwrap_or_default())?;
    }
    check_normalized(netloc)?;
    let host = netloc.rsplit_once('@').map_or(netloc, |(_, host)| host);
    let host = match host.split_once('[') {
        Some((_, bracketed)) => bracketed.split(']').next(),
        None => host.split(':').next(),
    };
    Ok(host.filter(|host| !host.is_empty()).map(|host| match host.split_once('%') {
        Some((host, zone)) => format!("{}%{zone}", host.to_lowercase()),
        None => host.to_lowercase(),
    }))
}

/// What stands between `//` and the path.
fn netloc(url: &str) -> &str {
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let rest = match url.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        _ => url,
    };
    let netloc = rest.strip_prefix("//").unwrap_or_default();
    netloc.split(['/', '?', '#']).next().unwrap_or_default()
}

fn check_bracketed(host: &str) -> Result<(), UrlError> {
    let future = || {
        let (version, rest) = host.strip_prefix('v')?.split_once('.')?;
        let hexadecimal = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        (hexadecimal && !rest.is_empty()).then_some(())
    };
    let good = if host.starts_with('v') {
        future().is_some()
    } else {
        Address::parse(host).is_some_and(|address| address.ip.is_ipv6())
    };
    if good { Ok(()) } else { Err(UrlError::Bracketed) }
}

fn check_normalized(netloc: &str) -> Result<(), UrlError> {
    if netloc.is_ascii() {
        return Ok(());
    }
    let given: String = netloc.chars().filter(|c| !"@:#?".contains(*c)).collect();
    let normalized: String = given.nfkc().collect();
    if given != normalized && normalized.contains(['/', '?', '#', '@', ':']) {
        return Err(UrlError::Normalization);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(hostname(url).unwrap().as_deref(), expected, "{url:?}");
        };
        check("https://parca.example.com", Some("parca.example.com"));
        check("https://Parca.Example.com:8443/a/b?c#d", Some("parca.example.com"));
        check("https://user:word@h/x", Some("h"));
        check("https://a@b@h", Some("h"));
        check("//h2", Some("h2"));
        check("grpc+x.y-z://h", Some("h"));
        check("1http://h", None);
        check("https://h.", Some("h."));
        check("https://a b", Some("a b"));
        check(" \t\u{1}https://h", Some("h"));
        check("ht\ntps://h\t1", Some("h1"));
        check("https://[fd00::2]:99/x", Some("fd00::2"));
        check("https://[FE80::1%25Eth0]", Some("fe80::1%25Eth0"));
        check("http://[v1.x]", Some("v1.x"));
        check("https://HOST%Zone", Some("host%Zone"));
        check("https://MÜNCHEN", Some("münchen"));
        check("https://ΟΔΟΣ", Some("οδος"));
        for hostless in [
            "foo.bar",
            "foo.bar:443",
            "/path",
            "https://",
            "https:///x",
            "https://:443",
            "",
            " ",
            "http:h",
            "https://u@",
        ] {
            check(hostless, None);
        }
    }

    #[test]
    fn what_python_refuses() {
        let check = |url: &str, expected: UrlError| assert_eq!(hostname(url), Err(expected), "{url:?}");
        check("http://[bad", UrlError::Bracket);
        check("http://bad]", UrlError::Bracket);
        check("http://[1.2.3.4]", UrlError::Bracketed);
        check("http://[parca]", UrlError::Bracketed);
        check("http://[]", UrlError::Bracketed);
        check("http://[v.x]", UrlError::Bracketed);
        check("http://[v1.]", UrlError::Bracketed);
        check("http://a]b[c", UrlError::Bracketed);
        check("http://a\u{2100}b", UrlError::Normalization);
        check("http://a\u{ff1a}b", UrlError::Normalization);
    }
}
