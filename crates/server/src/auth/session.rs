//! The cookie of the page: who signed in, until when, and a code that only this process can make.
//!
//! The token is not in it. It allows reading only, ends with the token that it was given for, and with the process, whose
//! key is nowhere else.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use ring::{hmac, rand::SystemRandom};

use super::{
    scope::Scope,
    tokens::{Grant, Tokens, TokensError},
};

/// The prefix has browsers refuse it from anybody but this very host over TLS.
const COOKIE: &str = "__Host-decima";
/// How long a sign-in lasts: a day's work.
const LASTS_S: u64 = 12 * 3600;

/// Makes and checks cookies.
pub(crate) struct Sessions {
    key: hmac::Key,
}

impl Sessions {
    /// With a key of its own.
    pub(crate) fn new() -> Result<Self, TokensError> {
        let key =
            hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| TokensError::Random)?;
        Ok(Self { key })
    }

    /// The value of `Set-Cookie` that signs in who holds a token.
    pub(crate) fn sign_in(&self, grant: &Grant, now_s: u64) -> String {
        let expiry_s = now_s.saturating_add(LASTS_S);
        let code = hmac::sign(&self.key, &signed(grant, expiry_s));
        let code = URL_SAFE_NO_PAD.encode(code.as_ref());
        let name = &grant.name;
        format!(
            "{COOKIE}={name}.{expiry_s}.{code}; Path=/; Max-Age={LASTS_S}; Secure; HttpOnly; SameSite=Strict"
        )
    }

    /// The token that a request's cookie stands for, if it is still one that may read.
    pub(crate) fn holder<'a>(
        &self,
        headers: &HeaderMap,
        tokens: &'a Tokens,
        now_s: u64,
    ) -> Option<&'a Grant> {
        let (rest, code) = cookie(headers)?.rsplit_once('.')?;
        let (name, expiry_s) = rest.rsplit_once('.')?;
        let expiry_s: u64 = expiry_s.parse().ok()?;
        let grant = tokens.named(name)?;
        let code = URL_SAFE_NO_PAD.decode(code).ok()?;
        hmac::verify(&self.key, &signed(grant, expiry_s), &code).ok()?;
        (now_s < expiry_s && grant.scope != Scope::Write).then_some(grant)
    }
}

/// The value of `Set-Cookie` that signs out.
pub(crate) fn sign_out() -> String {
    format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict")
}

/// What a code vouches for. The digest is in it, so that a token made anew under an old name does not revive its cookies.
fn signed(grant: &Grant, expiry_s: u64) -> Vec<u8> {
    let mut bytes = grant.sha256.as_bytes().to_vec();
    bytes.extend_from_slice(&expiry_s.to_be_bytes());
    bytes.extend_from_slice(grant.name.as_bytes());
    bytes
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn sent(set_cookie: &str) -> HeaderMap {
        let pair = set_cookie.split(';').next().unwrap();
        let value = HeaderValue::from_str(&format!("other=1; {pair}; more=2")).unwrap();
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    #[test]
    fn a_cookie_holds_until_it_expires_or_its_token_ends() {
        let mut tokens = Tokens::default();
        let token = tokens.create("rel:7/a.b", Scope::Admin).unwrap();
        let sessions = Sessions::new().unwrap();
        let set = sessions.sign_in(&tokens.grants()[0], NOW_S);
        assert!(set.starts_with("__Host-decima=rel:7/a.b."), "{set}");
        assert!(set.ends_with("; Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Strict"), "{set}");
        assert!(!set.contains(&token));
        let headers = sent(&set);
        let holds = |tokens: &Tokens, now_s| sessions.holder(&headers, tokens, now_s).is_some();
        assert!(holds(&tokens, NOW_S));
        assert!(holds(&tokens, NOW_S + LASTS_S - 1));
        assert!(!holds(&tokens, NOW_S + LASTS_S));
        assert!(Sessions::new().unwrap().holder(&headers, &tokens, NOW_S).is_none(), "another process' key");
        tokens.revoke("rel:7/a.b").unwrap();
        assert!(!holds(&tokens, NOW_S));
        tokens.create("rel:7/a.b", Scope::Admin).unwrap();
        assert!(!holds(&tokens, NOW_S), "another token of the same name");
    }

    #[test]
    fn what_was_changed_does_not_hold() {
        let mut tokens = Tokens::default();
        tokens.create("a", Scope::Read).unwrap();
        tokens.create("b", Scope::Read).unwrap();
        let sessions = Sessions::new().unwrap();
        let set = sessions.sign_in(&tokens.grants()[0], NOW_S);
        for (from, to) in [("=a.", "=b."), (".17", ".18"), ("=a.", "="), (".", "")] {
            let headers = sent(&set.replacen(from, to, 1));
            assert_eq!(sessions.holder(&headers, &tokens, NOW_S), None, "{from} → {to}");
        }
        assert_eq!(sessions.holder(&HeaderMap::new(), &tokens, NOW_S), None);
    }

    #[test]
    fn who_may_not_read_has_no_session() {
        let mut tokens = Tokens::default();
        tokens.create("w", Scope::Write).unwrap();
        let sessions = Sessions::new().unwrap();
        let headers = sent(&sessions.sign_in(&tokens.grants()[0], NOW_S));
        assert_eq!(sessions.holder(&headers, &tokens, NOW_S), None);
    }
}
