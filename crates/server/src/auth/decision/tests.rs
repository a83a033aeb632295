use http::{HeaderName, HeaderValue};

use super::*;

const NOW_S: u64 = 1_700_000_000;
const OWN: &str = "its own";

/// A server with a token of each scope, and what it is asked.
struct Bench {
    rules: Rules,
    tokens: Tokens,
    secrets: Vec<(Scope, String)>,
}

impl Bench {
    fn new(anonymous: Anonymous) -> Self {
        let mut tokens = Tokens::default();
        let secrets = Scope::ALL.map(|scope| (scope, tokens.create(scope.as_str(), scope).unwrap()));
        let rules = Rules {
            anonymous,
            origins: Origins::default(),
            client_certificates: false,
            own: Digest::of(OWN),
            sessions: Sessions::new().unwrap(),
        };
        Self { rules, tokens, secrets: secrets.into() }
    }

    fn cookie(&self, scope: Scope) -> String {
        let set = self.rules.sessions.sign_in(self.tokens.named(scope.as_str()).unwrap(), NOW_S);
        set.split(';').next().unwrap().to_owned()
    }

    fn secret(&self, scope: Scope) -> String {
        let (_, secret) = self.secrets.iter().find(|(of, _)| *of == scope).unwrap();
        format!("Bearer {secret}")
    }

    fn decide(&self, need: Need, pairs: &[(&'static str, &str)]) -> Result<Admission, Refusal> {
        self.decide_over(need, pairs, PLAIN)
    }

    fn decide_over(
        &self,
        need: Need,
        pairs: &[(&'static str, &str)],
        transport: Transport,
    ) -> Result<Admission, Refusal> {
        self.decide_with(Some(&self.tokens), need, pairs, transport)
    }

    fn decide_with(
        &self,
        tokens: Option<&Tokens>,
        need: Need,
        pairs: &[(&'static str, &str)],
        transport: Transport,
    ) -> Result<Admission, Refusal> {
        let headers: HeaderMap = pairs
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let host = headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        let asked = Asked {
            need,
            method: &Method::GET,
            headers: &headers,
            host: host.as_deref(),
            native: false,
            transport,
        };
        decide(&self.rules, tokens, &asked, NOW_S)
    }
}

const PLAIN: Transport = Transport { loopback: false, tls: false, client_certificate: false };
const LOOPBACK: Transport = Transport { loopback: true, ..PLAIN };
const TLS: Transport = Transport { tls: true, ..PLAIN };

/// 200, 401 or 403.
fn status(decision: Result<Admission, Refusal>) -> u16 {
    match decision {
        Ok(_) => 200,
        Err(Refusal::Unauthenticated(_)) => 401,
        Err(Refusal::Forbidden(_)) => 403,
    }
}

const NEEDS: [Need; 7] =
    [Need::Health, Need::Page, Need::Session, Need::Metrics, Need::Read, Need::Write, Need::Admin];

#[test]
fn every_need_with_every_credential_in_every_mode() {
    // Health, page, session, metrics, read, write, admin.
    let check = |anonymous: Anonymous, credential: &str, expected: [u16; 7]| {
        let bench = Bench::new(anonymous);
        let pair = match credential {
            "none" => None,
            "wrong" => Some(("authorization", "Bearer wrong".to_owned())),
            "empty" => Some(("authorization", "Bearer ".to_owned())),
            "basic" => Some(("authorization", "Basic YTpi".to_owned())),
            "itself" => Some(("authorization", format!("Bearer {OWN}"))),
            "cookie" => Some(("cookie", bench.cookie(Scope::Admin))),
            "cookie of a writer" => Some(("cookie", bench.cookie(Scope::Write))),
            "wrong cookie" => Some(("cookie", "__Host-decima=admin.1.x".to_owned())),
            scope => Some(("authorization", bench.secret(scope.parse().unwrap()))),
        };
        let pairs: Vec<_> = pair.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            NEEDS.map(|need| status(bench.decide(need, &pairs))),
            expected,
            "{anonymous:?} {credential}"
        );
    };
    check(Anonymous::None, "none", [200, 200, 200, 401, 401, 401, 401]);
    check(Anonymous::None, "basic", [200, 200, 200, 401, 401, 401, 401]);
    check(Anonymous::None, "empty", [200, 200, 200, 401, 401, 401, 401]);
    check(Anonymous::None, "wrong", [200, 200, 200, 401, 401, 401, 401]);
    check(Anonymous::None, "read", [200, 200, 200, 200, 200, 403, 403]);
    check(Anonymous::None, "write", [200, 200, 200, 403, 403, 200, 403]);
    check(Anonymous::None, "admin", [200, 200, 200, 200, 200, 200, 200]);
    check(Anonymous::None, "itself", [200, 200, 200, 200, 401, 401, 401]);
    check(Anonymous::None, "cookie", [200, 200, 200, 200, 200, 403, 403]);
    check(Anonymous::None, "cookie of a writer", [200, 200, 200, 401, 401, 401, 401]);
    check(Anonymous::None, "wrong cookie", [200, 200, 200, 401, 401, 401, 401]);
    check(Anonymous::Metrics, "none", [200, 200, 200, 200, 401, 401, 401]);
    check(Anonymous::Metrics, "write", [200, 200, 200, 200, 403, 200, 403]);
    check(Anonymous::Read, "none", [200, 200, 200, 200, 200, 401, 401]);
    check(Anonymous::Read, "write", [200, 200, 200, 200, 200, 200, 403]);
    check(Anonymous::Read, "wrong cookie", [200, 200, 200, 200, 200, 401, 401]);
    // Whoever shows a token wants to be let in by it.
    check(Anonymous::Read, "wrong", [200, 200, 200, 401, 401, 401, 401]);
}

#[test]
fn without_tokens_everything_is_open() {
    let bench = Bench::new(Anonymous::None);
    for need in NEEDS {
        assert_eq!(bench.decide_with(None, need, &[], PLAIN), Ok(Admission::Anybody), "{need:?}");
        let pairs = [("authorization", "Bearer anything")];
        assert_eq!(bench.decide_with(None, need, &pairs, PLAIN), Ok(Admission::Anybody), "{need:?}");
    }
}

#[test]
fn an_empty_file_refuses_everybody() {
    let mut bench = Bench::new(Anonymous::None);
    let secret = bench.secret(Scope::Admin);
    bench.tokens = Tokens::default();
    for need in [Need::Metrics, Need::Read, Need::Write, Need::Admin] {
        assert_eq!(status(bench.decide(need, &[("authorization", &secret)])), 401, "{need:?}");
        assert_eq!(status(bench.decide(need, &[])), 401, "{need:?}");
    }
}

#[test]
fn pages_of_others_are_refused_even_when_open() {
    let bench = Bench::new(Anonymous::None);
    let check = |need: Need, pairs: &[(&'static str, &str)], expected: u16| {
        assert_eq!(status(bench.decide_with(None, need, pairs, PLAIN)), expected, "{need:?} {pairs:?}");
    };
    let foreign = ("origin", "https://evil.example");
    check(Need::Read, &[("host", "store:7070"), foreign], 403);
    check(Need::Write, &[("host", "store:7070"), foreign], 403);
    check(Need::Session, &[("host", "store:7070"), foreign], 403);
    check(Need::Read, &[("sec-fetch-site", "cross-site")], 403);
    check(Need::Read, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 403);
    check(Need::Page, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], 200);
    check(Need::Page, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], 403);
    check(Need::Health, &[("sec-fetch-site", "cross-site")], 200);
    check(Need::Read, &[("host", "store:7070"), ("origin", "http://store:7070")], 200);
}

#[test]
fn listed_pages_are_let_in_but_not_signed_in() {
    let mut bench = Bench::new(Anonymous::None);
    bench.rules.origins = Origins::new(&["https://grafana.example".to_owned()]);
    let (cookie, bearer) = (bench.cookie(Scope::Read), bench.secret(Scope::Read));
    let from = ("origin", "https://grafana.example");
    assert_eq!(status(bench.decide(Need::Read, &[from, ("cookie", &cookie)])), 401);
    assert_eq!(status(bench.decide(Need::Read, &[from, ("authorization", &bearer)])), 200);
    assert_eq!(status(bench.decide(Need::Read, &[("cookie", &cookie)])), 200);
}

#[test]
fn names_of_others_do_not_lead_to_loopback() {
    let bench = Bench::new(Anonymous::None);
    let check = |host: &str, transport: Transport, expected: u16| {
        let decision = bench.decide_with(None, Need::Read, &[("host", host)], transport);
        assert_eq!(status(decision), expected, "{host} {transport:?}");
    };
    check("localhost:7070", LOOPBACK, 200);
    check("evil.example:7070", LOOPBACK, 403);
    check("evil.example:7070", PLAIN, 200);
    check("evil.example:7070", Transport { tls: true, ..LOOPBACK }, 200);
    let health = bench.decide_with(None, Need::Health, &[("host", "evil.example")], LOOPBACK);
    assert_eq!(status(health), 200);
}

#[test]
fn client_certificates_are_needed_besides_tokens() {
    let mut bench = Bench::new(Anonymous::Read);
    bench.rules.client_certificates = true;
    let admin = bench.secret(Scope::Admin);
    let bearer = [("authorization", admin.as_str())];
    let shown = Transport { client_certificate: true, ..TLS };
    assert_eq!(status(bench.decide_over(Need::Write, &bearer, TLS)), 401);
    assert_eq!(status(bench.decide_over(Need::Read, &[], TLS)), 401);
    assert_eq!(status(bench.decide_over(Need::Page, &[], TLS)), 401);
    assert_eq!(status(bench.decide_over(Need::Health, &[], TLS)), 200);
    assert_eq!(status(bench.decide_over(Need::Write, &bearer, shown)), 200);
    assert_eq!(status(bench.decide_over(Need::Write, &[], shown)), 401);
    assert_eq!(status(bench.decide_over(Need::Write, &bearer, PLAIN)), 200);
    let own = format!("Bearer {OWN}");
    assert_eq!(status(bench.decide_over(Need::Metrics, &[("authorization", &own)], TLS)), 200);
    assert_eq!(status(bench.decide_with(None, Need::Read, &[], TLS)), 401, "without tokens too");
}

#[test]
fn what_was_let_in_ends_with_its_token() {
    let mut bench = Bench::new(Anonymous::Metrics);
    let stands = |bench: &Bench, admission, need| stands(admission, &bench.tokens, &bench.rules, need);
    let writer = bench.decide(Need::Write, &[("authorization", &bench.secret(Scope::Write))]).unwrap();
    let page = bench.decide(Need::Read, &[("cookie", &bench.cookie(Scope::Read))]).unwrap();
    assert!(stands(&bench, writer, Need::Write) && stands(&bench, page, Need::Read));
    bench.tokens.revoke("write").unwrap();
    assert!(!stands(&bench, writer, Need::Write));
    assert!(stands(&bench, page, Need::Read));
    bench.tokens.revoke("read").unwrap();
    assert!(!stands(&bench, page, Need::Read));
    assert!(stands(&bench, Admission::Anybody, Need::Read));
}

#[test]
fn bearers() {
    let check = |value: &[u8], expected: Option<&str>| {
        let headers =
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())]);
        assert_eq!(bearer(&headers), expected);
    };
    check(b"Bearer abc", Some("abc"));
    check(b"bearer  abc ", Some("abc"));
    check(b"BEARER abc", Some("abc"));
    check(b"Basic abc", None);
    check(b"Bearer", None);
    check(b"abc", None);
    check(b"Bearer \xff", Some("?"));
}
