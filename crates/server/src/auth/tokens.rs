//! The tokens file: who may do what, by the SHA-256 of a token. The tokens themselves are nowhere.
//!
//! ```json
//! {"tokens": [{"name": "agents", "scope": "write", "sha256": "…64 hexadecimal digits…"}]}
//! ```
//! An empty file, like one without entries, lets nobody in. Names and hashes are unique in a file.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::scope::Scope;

/// Largest tokens file that is read: ten thousand entries.
pub const TOKENS_BYTES_MAX: usize = 2 << 20;
/// Longest name of a token.
const NAME_BYTES_MAX: usize = 128;
/// Begins every token that is made here, so that scanners of source trees find those that were committed.
const PREFIX: &str = "decima_";

/// SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of what somebody presents.
    pub(crate) fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares in the same time wherever they differ.
    pub(crate) fn same(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "is not the 64 hexadecimal digits of a SHA-256".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(wrong);
            *byte = (digit(digits[0])? * 16 + digit(digits[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// Name of a token: visible ASCII that needs no quotes in a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte);
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(fits) {
            return Err(format!(
                "is not a name: 1 to {NAME_BYTES_MAX} visible ASCII characters without quotes, backslash, comma and semicolon"
            ));
        }
        Ok(Self(text))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ScopeWord(Scope);

impl TryFrom<String> for ScopeWord {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error| format!("{error}"))
    }
}

/// One entry of a tokens file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whom it is for.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// Of the token.
    pub sha256: Digest,
}

/// The entries of a tokens file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    grants: Vec<Grant>,
}

/// A tokens file that cannot be used, or a change of it that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The text is not what it should be.
    #[error("line {line}: {}{reason}", field_prefix(field))]
    Invalid {
        /// Line, from 1.
        line: usize,
        /// Path of the field, such as `tokens[0].scope`; empty if the text is not JSON.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More than [`TOKENS_BYTES_MAX`].
    #[error("larger than {TOKENS_BYTES_MAX} bytes")]
    TooLarge,
    /// A name that nothing can have.
    #[error("the name {name:?} {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A name that is there already.
    #[error("there is a token named {name:?} already; revoke it first")]
    Taken {
        /// The name.
        name: String,
    },
    /// A name that is not there.
    #[error("there is no token named {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The machine gave no random bits.
    #[error("no random bits for a token")]
    Random,
}

fn field_prefix(field: &str) -> String {
    // The path of what ends too early is not known to its end.
    let field = field.trim_end_matches('?').trim_end_matches('.');
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tokens: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Name,
    scope: ScopeWord,
    sha256: Digest,
}

#[derive(Serialize)]
struct WrittenFile<'a> {
    tokens: Vec<WrittenEntry<'a>>,
}

#[derive(Serialize)]
struct WrittenEntry<'a> {
    name: &'a str,
    scope: &'static str,
    sha256: String,
}

impl Tokens {
    /// Reads a tokens file.
    pub fn parse(text: &[u8]) -> Result<Self, TokensError> {
        if text.len() > TOKENS_BYTES_MAX {
            return Err(TokensError::TooLarge);
        }
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let invalid = |line, field: String, reason: &serde_json::Error| {
            let reason = reason.to_string();
            // The line is told by itself.
            let reason =
                reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason).to_owned();
            TokensError::Invalid { line, field, reason }
        };
        let mut json = serde_json::Deserializer::from_slice(text);
        let file: File = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            invalid(error.inner().line(), field, error.inner())
        })?;
        json.end().map_err(|error| invalid(error.line(), String::new(), &error))?;
        let mut tokens = Self::default();
        for (index, Entry { name, scope, sha256 }) in file.tokens.into_iter().enumerate() {
            let twice = |field: &str, what: &str| TokensError::Invalid {
                line: line_of(text, index),
                field: format!("tokens[{index}].{field}"),
                reason: format!("{what} is there twice"),
            };
            if tokens.grants.iter().any(|grant| grant.name == name.0) {
                return Err(twice("name", &format!("{:?}", name.0)));
            }
            if tokens.grants.iter().any(|grant| grant.sha256 == sha256) {
                return Err(twice("sha256", "the same token"));
            }
            tokens.grants.push(Grant { name: name.0, scope: scope.0, sha256 });
        }
        Ok(tokens)
    }

    /// The text of a tokens file.
    pub fn render(&self) -> String {
        let tokens = self.grants.iter().map(|grant| WrittenEntry {
            name: &grant.name,
            scope: grant.scope.as_str(),
            sha256: grant.sha256.to_string(),
        });
        let mut text =
            serde_json::to_string_pretty(&WrittenFile { tokens: tokens.collect() }).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The entries in the order of the file.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Adds a token of 256 random bits. Gives it, for the only time.
    pub fn create(&mut self, name: &str, scope: Scope) -> Result<String, TokensError> {
        let wrong = |reason| TokensError::Name { name: name.to_owned(), reason };
        let name = Name::try_from(name.to_owned()).map_err(wrong)?.0;
        if self.grants.iter().any(|grant| grant.name == name) {
            return Err(TokensError::Taken { name });
        }
        let token = random_token()?;
        self.grants.push(Grant { name, scope, sha256: Digest::of(&token) });
        Ok(token)
    }

    /// Takes a token away.
    pub fn revoke(&mut self, name: &str) -> Result<(), TokensError> {
        let before = self.grants.len();
        self.grants.retain(|grant| grant.name != name);
        if self.grants.len() == before {
            return Err(TokensError::Unknown { name: name.to_owned() });
        }
        Ok(())
    }

    /// The entry of a token. Takes the same time whichever it is, and whether it is there.
    pub(crate) fn find(&self, presented: &Digest) -> Option<&Grant> {
        let mut found = u64::MAX;
        for (index, grant) in self.grants.iter().enumerate() {
            found.conditional_assign(&(index as u64), grant.sha256.same(presented));
        }
        self.grants.get(usize::try_from(found).ok()?)
    }

    /// The entry of a name.
    pub(crate) fn named(&self, name: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.name == name)
    }
}

/// 256 random bits as text that needs no escape anywhere.
pub(crate) fn random_token() -> Result<String, TokensError> {
    let mut bits = [0; 32];
    SystemRandom::new().fill(&mut bits).map_err(|_| TokensError::Random)?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
}

/// The line on which an entry of the only list begins, as far as it can be told without reading JSON twice: entries have
/// no objects inside.
fn line_of(text: &[u8], entry: usize) -> usize {
    let braces = text.iter().enumerate().filter(|(_, byte)| **byte == b'{').map(|(offset, _)| offset);
    let offset = braces.skip(1).nth(entry).unwrap_or(0);
    1 + text[..offset].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `abc`, as FIPS 180-2 gives it.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn entry(name: &str, scope: &str, sha256: &str) -> String {
        format!("{{\"name\": \"{name}\", \"scope\": \"{scope}\", \"sha256\": \"{sha256}\"}}")
    }

    #[test]
    fn reads_a_file() {
        let text = format!("{{\"tokens\": [{}]}}", entry("agents", "write", &ABC.to_uppercase()));
        let tokens = Tokens::parse(text.as_bytes()).unwrap();
        let grant = tokens.find(&Digest::of("abc")).unwrap();
        assert_eq!((grant.name.as_str(), grant.scope), ("agents", Scope::Write));
        assert_eq!(grant.sha256.to_string(), ABC);
        assert_eq!(tokens.find(&Digest::of("abd")), None);
        assert_eq!(tokens.find(&Digest::of("")), None);
    }

    #[test]
    fn nothing_lets_nobody_in() {
        for text in ["", " \n", "{\"tokens\": []}"] {
            assert_eq!(Tokens::parse(text.as_bytes()), Ok(Tokens::default()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_line_and_field() {
        let check = |text: &str, line: usize, words: &[&str]| {
            let error = Tokens::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}: ")), "{error}");
            for word in words {
                assert!(error.contains(word), "{word} in {error}");
            }
        };
        let list = |entries: &[String]| format!("{{\"tokens\": [\n{}\n]}}", entries.join(",\n"));
        let other = "0".repeat(64);
        check("tokens", 1, &["expected"]);
        check("{\"tokens\": [", 1, &["EOF"]);
        check("{}", 1, &["tokens"]);
        let cut = Tokens::parse(b"{\n").unwrap_err().to_string();
        assert!(cut.starts_with("line 2: EOF"), "{cut}");
        check("{\"tokens\": []}\nmore", 2, &["trailing"]);
        check("{\"tokens\": [], \"other\": 1}", 1, &["other"]);
        check(&list(&[entry("a", "all", ABC)]), 2, &["tokens[0].scope", "all", "read, write and admin"]);
        check(&list(&[entry("a", "read", ABC), entry("b", "read", "12")]), 3, &["tokens[1].sha256", "64"]);
        check(&list(&[entry("a", "read", &"g".repeat(64))]), 2, &["tokens[0].sha256"]);
        check(&list(&[entry("", "read", ABC)]), 2, &["tokens[0].name"]);
        check(&list(&[entry("a b", "read", ABC)]), 2, &["tokens[0].name"]);
        check(&list(&["{\"name\": \"a\", \"scope\": \"read\"}".to_owned()]), 2, &["tokens[0]", "sha256"]);
        check(&list(&[entry("a", "read", ABC), entry("a", "read", &other)]), 3, &["tokens[1].name", "twice"]);
        check(&list(&[entry("a", "read", ABC), entry("b", "read", ABC)]), 3, &["tokens[1].sha256", "twice"]);
    }

    #[test]
    fn large_files_are_not_read() {
        assert_eq!(Tokens::parse(&vec![b' '; TOKENS_BYTES_MAX + 1]), Err(TokensError::TooLarge));
    }

    #[test]
    fn tokens_are_made_and_revoked() {
        let mut tokens = Tokens::default();
        let one = tokens.create("one", Scope::Read).unwrap();
        let other = tokens.create("other", Scope::Admin).unwrap();
        assert_ne!(one, other);
        assert_eq!(one.len(), PREFIX.len() + 43);
        assert!(!tokens.render().contains(&one));
        assert_eq!(Tokens::parse(tokens.render().as_bytes()), Ok(tokens.clone()));
        assert_eq!(tokens.create("one", Scope::Read), Err(TokensError::Taken { name: "one".to_owned() }));
        assert!(matches!(tokens.create("o;ne", Scope::Read), Err(TokensError::Name { .. })));
        assert_eq!(tokens.find(&Digest::of(&other)).unwrap().name, "other");
        tokens.revoke("other").unwrap();
        assert_eq!(tokens.find(&Digest::of(&other)), None);
        assert_eq!(tokens.find(&Digest::of(&one)).unwrap().name, "one");
        assert_eq!(tokens.revoke("other"), Err(TokensError::Unknown { name: "other".to_owned() }));
    }
}
