//! Tokens: 256 random bits for whoever is let in, their hash for the workload.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A bearer token. Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The machine gave no random bits.
#[derive(Debug, thiserror::Error)]
#[error("no random bits for a token")]
pub struct RandomError(#[source] getrandom::Error);

impl Token {
    /// 256 random bits, as 43 characters that need no escape anywhere.
    pub fn random() -> Result<Self, RandomError> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(RandomError)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bits)))
    }

    /// A token that was made before.
    pub fn stored(text: &str) -> Option<Self> {
        let fits = (16..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The token itself, to be handed to whoever it is for.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// SHA-256 in lower-case hexadecimal digits.
    pub fn hash(&self) -> String {
        Self::hash_of(&self.0)
    }

    /// The same of a token that is somebody else's.
    pub(crate) fn hash_of(text: &str) -> String {
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reading profiles.
    Read,
    /// Pushing profiles.
    Write,
    /// Everything.
    Admin,
}

impl Scope {
    /// As the workload and the action write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Write, Self::Admin].into_iter().find(|scope| scope.as_str() == text)
    }
}

/// An entry of the workload's tokens file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Whom it is for; unique in the file.
    pub name: String,
    /// What it is good for.
    pub scope: Scope,
    /// SHA-256 of the token.
    pub hash: String,
}

impl Grant {
    /// The entries of a tokens file that can be read.
    pub fn read_all(file: &[u8]) -> Vec<Self> {
        let file: Value = serde_json::from_slice(file).unwrap_or_default();
        let grant = |entry: &Value| {
            Some(Self {
                name: entry["name"].as_str()?.to_owned(),
                scope: Scope::parse(entry["scope"].as_str()?)?,
                hash: entry["sha256"].as_str().filter(|hash| is_hash(hash))?.to_owned(),
            })
        };
        file["tokens"].as_array().into_iter().flatten().filter_map(grant).collect()
    }
}

/// Whether a text is what [`Token::hash`] gives.
pub fn is_hash(text: &str) -> bool {
    const DIGITS: usize = 64;
    text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The tokens file: who may do what, by hash. Sorted, so that it changes only when its meaning does.
pub fn tokens_file(mut grants: Vec<Grant>) -> Vec<u8> {
    grants.sort();
    let tokens: Vec<Value> = grants
        .iter()
        .map(|grant| json!({"name": grant.name, "scope": grant.scope.as_str(), "sha256": grant.hash}))
        .collect();
    let mut text = serde_json::to_vec_pretty(&json!({"tokens": tokens})).unwrap_or_default();
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_tokens() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 43);
        assert_eq!(Token::stored(one.as_str()), Some(one.clone()));
        assert!(!format!("{one:?}").contains(one.as_str()));
    }

    #[test]
    fn hashes() {
        let token = Token::stored("0123456789abcdef").unwrap();
        assert_eq!(token.hash(), "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f");
        assert_eq!(Token::stored("short"), None);
        assert_eq!(Token::stored("a line\nand another one"), None);
    }

    #[test]
    fn the_file_does_not_depend_on_the_order() {
        let grant = |name: &str| Grant { name: name.to_owned(), scope: Scope::Write, hash: "00".repeat(32) };
        let file = tokens_file(vec![grant("b"), grant("a")]);
        assert_eq!(file, tokens_file(vec![grant("a"), grant("b")]));
        let read: Value = serde_json::from_slice(&file).unwrap();
        assert_eq!(read["tokens"][0], json!({"name": "a", "scope": "write", "sha256": "00".repeat(32)}));
        assert_eq!(Grant::read_all(&file), [grant("a"), grant("b")]);
        assert_eq!(Grant::read_all(b"nonsense"), []);
        let short = tokens_file(vec![Grant { hash: "00".to_owned(), ..grant("a") }]);
        assert_eq!(Grant::read_all(&short), []);
        assert_eq!(tokens_file(vec![]), b"{\n  \"tokens\": []\n}\n");
    }
}
