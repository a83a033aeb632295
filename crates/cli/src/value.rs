//! Values of flags as people write them: addresses, durations, sizes, moments, labels.
//!
//! Pure: nothing here looks at the clock or resolves a name. An empty value means the default ([`or_default`]), as
//! templates that leave a setting blank expect.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;
use decima_symbols::demangle::Mode;

/// A value that was written wrongly; clap adds the flag's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// Not `host:port`.
    #[error("expected host:port, :port or an address such as 127.0.0.1:7070")]
    Address,
    /// Not a duration.
    #[error("expected a duration such as 30s, 10m, 1h30m or 15d")]
    Duration,
    /// Not a size.
    #[error("expected a size such as 512MiB or 2GB")]
    Size,
    /// Not a whole number above zero.
    #[error("expected a whole number above 0")]
    Count,
    /// Not a whole number.
    #[error("expected a whole number, 0 or more")]
    CountOrZero,
    /// Not `true` or `false`.
    #[error("expected true or false")]
    Flag,
    /// Not a point in time.
    #[error(
        "expected RFC 3339 (2026-01-31T12:00:00Z), Unix seconds or milliseconds, an age such as 1h, or now"
    )]
    Moment,
    /// Not `name=value`.
    #[error("expected NAME=VALUE")]
    Label,
    /// Not `name=value;name=value`.
    #[error("expected NAME=VALUE, several of them separated by semicolons")]
    Pairs,
    /// Not a URL of a store.
    #[error("expected a URL such as http://127.0.0.1:7070")]
    Url,
    /// Not a file.
    #[error("must name a file")]
    File,
    /// None of the words that are possible.
    #[error("expected one of {0}")]
    Choice(String),
}

/// A parser for which an empty value means `default`.
pub(crate) fn or_default<T: 'static>(
    parse: fn(&str) -> Result<T, ValueError>,
    default: &'static str,
) -> impl Fn(&str) -> Result<T, ValueError> + Clone {
    move |text| parse(if text.is_empty() { default } else { text })
}

/// What an optional flag gave: nothing if its value was empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

/// A parser for which an empty value means that the flag was not given.
pub(crate) fn optional<T: 'static>(
    parse: fn(&str) -> Result<T, ValueError>,
) -> impl Fn(&str) -> Result<Maybe<T>, ValueError> + Clone {
    move |text| if text.is_empty() { Ok(Maybe(None)) } else { parse(text).map(|value| Maybe(Some(value))) }
}

/// How names are demangled.
pub(crate) fn demangle_mode(text: &str) -> Result<Mode, ValueError> {
    text.parse().map_err(|_| ValueError::Choice("simple, templates, full, none".to_owned()))
}

/// Where to listen: a host, empty for all interfaces, and a port, 0 for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or address without brackets; empty for all interfaces.
    pub(crate) host: String,
    /// Port; 0 = the system picks one.
    pub(crate) port: u16,
}

impl Address {
    /// Reads `host:port`, `[::1]:port` and `:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        let (host, port) = text.rsplit_once(':').ok_or(ValueError::Address)?;
        let port = port.parse().map_err(|_| ValueError::Address)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or(ValueError::Address)?,
            None if host.contains(':') => return Err(ValueError::Address),
            None => host,
        };
        if host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(ValueError::Address);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Where to listen, and how to be spoken to there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    /// Whether it is with TLS; `None` if the address does not say.
    pub(crate) tls: Option<bool>,
    /// Where.
    pub(crate) address: Address,
}

impl ListenAddress {
    /// Reads an address with or without `http://` or `https://` before it.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        let (tls, address) = match text.split_once("://") {
            None => (None, text),
            Some(("http", address)) => (Some(false), address),
            Some(("https", address)) => (Some(true), address),
            Some(_) => return Err(ValueError::Address),
        };
        let address = Address::parse(address.strip_suffix('/').unwrap_or(address))?;
        Ok(Self { tls, address })
    }
}

/// A duration; `0` is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    /// Reads `15d`, `1h30m`, `500ms`, `0`.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        humantime::parse_duration(text).map(Self).map_err(|_| ValueError::Duration)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl Bytes {
    /// Reads `512MiB`, `2GB`, `1024`.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        text.parse::<bytesize::ByteSize>().map(|size| Self(size.as_u64())).map_err(|_| ValueError::Size)
    }

    /// The number as an index; the largest one where that is smaller.
    pub(crate) fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A point in time, absolute or relative to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Unix time in milliseconds.
    At(i64),
    /// So long ago.
    Ago(Duration),
}

/// Unix times from here on are milliseconds: as seconds this is the year 5138, as milliseconds 1973.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

impl Moment {
    /// Reads `now`, `1h` or `now-1h` (ago), Unix seconds or milliseconds, RFC 3339.
    pub(crate) fn parse(text: &str) -> Result<Self, ValueError> {
        if text == "now" {
            return Ok(Self::Ago(Duration::ZERO));
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(Self::At(if number.abs() >= MILLISECONDS_FROM { number } else { number * 1000 }));
        }
        if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(time.timestamp_millis()));
        }
        let age = text.strip_prefix("now-").unwrap_or(text);
        humantime::parse_duration(age).map(Self::Ago).map_err(|_| ValueError::Moment)
    }

    /// Unix time in milliseconds, when it is now `now_ms`.
    pub(crate) fn unix_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(time_ms) => time_ms,
            Self::Ago(age) => now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// Reads a path.
#[expect(clippy::unnecessary_wraps, reason = "has the shape of the other parsers")]
pub(crate) fn path(text: &str) -> Result<PathBuf, ValueError> {
    Ok(PathBuf::from(text))
}

/// Reads the path of a file that has to be named.
pub(crate) fn file(text: &str) -> Result<PathBuf, ValueError> {
    if text.is_empty() { Err(ValueError::File) } else { path(text) }
}

/// Reads `true` or `false`, or any other word for it that Parca takes, in any case.
pub(crate) fn flag(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(ValueError::Flag),
    }
}

/// Reads a whole number above 0.
pub(crate) fn count(text: &str) -> Result<usize, ValueError> {
    text.parse().ok().filter(|&n| n > 0).ok_or(ValueError::Count)
}

/// Reads a whole number, for flags to which 0 means all.
pub(crate) fn count_or_zero(text: &str) -> Result<usize, ValueError> {
    text.parse().map_err(|_| ValueError::CountOrZero)
}

/// Reads one of the words of `T`, in any case.
pub(crate) fn choice<T: ValueEnum>(text: &str) -> Result<T, ValueError> {
    T::from_str(text, true).map_err(|_| {
        let words: Vec<_> = T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
        ValueError::Choice(words.iter().map(|word| word.get_name()).collect::<Vec<_>>().join(", "))
    })
}

/// Reads `name=value`; the value may contain `=`.
pub(crate) fn label(text: &str) -> Result<(String, String), ValueError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ValueError::Label),
    }
}

/// Names with values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

/// Reads `name=value;name=value`; values may contain `=`.
pub(crate) fn pairs(text: &str) -> Result<Pairs, ValueError> {
    let pairs = text.split(';').filter(|pair| !pair.trim().is_empty());
    let pairs = pairs.map(|pair| label(pair.trim()).map_err(|_| ValueError::Pairs));
    Ok(Pairs(pairs.collect::<Result<_, _>>()?))
}

/// Reads the URL of a store; `host:port` alone means HTTP. Gives it without a slash at the end.
pub(crate) fn store_url(text: &str) -> Result<String, ValueError> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let (scheme, rest) = url.split_once("://").ok_or(ValueError::Url)?;
    let host = rest.split('/').next().unwrap_or_default();
    if !["http", "https"].contains(&scheme) || host.is_empty() || host.starts_with(':') {
        return Err(ValueError::Url);
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let got = Address::parse(text).ok();
            assert_eq!(got.as_ref().map(|a| (a.host.as_str(), a.port)), expected, "{text}");
        };
        check(":7070", Some(("", 7070)));
        check("localhost:7070", Some(("localhost", 7070)));
        check("127.0.0.1:0", Some(("127.0.0.1", 0)));
        check("[::1]:7070", Some(("::1", 7070)));
        check("::1:7070", None);
        check("7070", None);
        check("localhost", None);
        check("localhost:70700", None);
        check("http://localhost:7070", None);
    }

    #[test]
    fn listen_addresses() {
        let check = |text: &str, expected: Option<(Option<bool>, &str, u16)>| {
            let got = ListenAddress::parse(text).ok();
            let got = got.as_ref().map(|a| (a.tls, a.address.host.as_str(), a.address.port));
            assert_eq!(got, expected, "{text}");
        };
        check(":7070", Some((None, "", 7070)));
        check("http://:7070", Some((Some(false), "", 7070)));
        check("https://[::1]:7070/", Some((Some(true), "::1", 7070)));
        check("https://localhost", None);
        check("ftp://localhost:1", None);
        check("http://localhost:1/path", None);
    }

    #[test]
    fn flags() {
        let check = |text: &str, expected: Option<bool>| assert_eq!(flag(text).ok(), expected, "{text}");
        for text in ["true", "TRUE", "1", "yes"] {
            check(text, Some(true));
        }
        for text in ["false", "False", "0", "no"] {
            check(text, Some(false));
        }
        for text in ["on", "t", "", "2"] {
            check(text, None);
        }
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected_s: Option<u64>| {
            assert_eq!(Span::parse(text).ok().map(|s| s.0.as_secs()), expected_s, "{text}");
        };
        check("15d", Some(15 * 86_400));
        check("1h30m", Some(5400));
        check("0", Some(0));
        check("0s", Some(0));
        check("15", None);
        check("-1h", None);
        check("soon", None);
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(Bytes::parse(text).ok().map(|b| b.0), expected, "{text}");
        };
        check("512MiB", Some(512 << 20));
        check("2GB", Some(2_000_000_000));
        check("1024", Some(1024));
        check("1 KiB", Some(1024));
        check("many", None);
        check("-1", None);
    }

    #[test]
    fn moments() {
        let now_ms = 1_700_000_000_000;
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(Moment::parse(text).ok().map(|m| m.unix_ms(now_ms)), expected, "{text}");
        };
        check("now", Some(now_ms));
        check("1h", Some(now_ms - 3_600_000));
        check("now-1h", Some(now_ms - 3_600_000));
        check("1600000000", Some(1_600_000_000_000));
        check("1600000000123", Some(1_600_000_000_123));
        check("2020-09-13T12:26:40Z", Some(1_600_000_000_000));
        check("2020-09-13T14:26:40+02:00", Some(1_600_000_000_000));
        check("yesterday", None);
    }

    #[test]
    fn name_value_pairs() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            let got = pairs(text).ok();
            let got = got.as_ref().map(|Pairs(pairs)| {
                pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>()
            });
            assert_eq!(got.as_deref(), expected, "{text}");
        };
        check("", Some(&[]));
        check("a=1", Some(&[("a", "1")]));
        check("a=1;b=x=y; c=;", Some(&[("a", "1"), ("b", "x=y"), ("c", "")]));
        check("a", None);
        check("=1", None);
        check("a=1;b", None);
    }

    #[test]
    fn store_urls() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(store_url(text).ok().as_deref(), expected, "{text}");
        };
        check("http://127.0.0.1:7070", Some("http://127.0.0.1:7070"));
        check("http://host/parca/", Some("http://host/parca"));
        check("localhost:7070", Some("http://localhost:7070"));
        check("https://profiles.example.org", Some("https://profiles.example.org"));
        check("ftp://host", None);
        check("http://", None);
        check(":7070", None);
    }

    #[test]
    fn empty_values_mean_the_default() {
        assert_eq!(or_default(Span::parse, "15d")(""), Span::parse("15d"));
        assert_eq!(optional(Address::parse)(""), Ok(Maybe(None)));
    }
}
