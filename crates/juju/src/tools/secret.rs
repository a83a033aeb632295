//! Secrets: values that the controller keeps for an application or a unit, in revisions.
//!
//! Values never stand in arguments, where other processes could read them: each goes through a file of its own that only
//! this user reads and that is gone when the tool has ended.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    str::FromStr,
};

use serde::Deserialize;
use tempfile::NamedTempFile;

use super::{HookTools, ToolError};
use crate::names::{NameError, RelationId};

/// Names a secret: `secret:d0erdgfmp25c762i8np0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(String);

impl SecretId {
    /// The identifier as text, with whatever prefix Juju gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part by which Juju lists it: without scheme and model.
    pub fn bare(&self) -> &str {
        let id = self.0.strip_prefix("secret:").unwrap_or(&self.0);
        id.rsplit('/').next().unwrap_or(id)
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SecretId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || ":/-_.".contains(c);
        if !text.is_empty() && text.len() <= 256 && !text.starts_with('-') && text.chars().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            let text = text.chars().take(64).collect();
            Err(NameError { text, expected: "the identifier of a secret" })
        }
    }
}

/// How a secret is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKey<'a> {
    /// By its identifier.
    Id(&'a SecretId),
    /// By the label that its owner gave it, or this reader.
    Label(&'a str),
}

/// To whom a secret belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretOwner {
    /// All units of the application read it, the leader manages it.
    Application,
    /// Only this unit.
    Unit,
}

/// A secret to be made.
#[derive(Debug, Clone, Default)]
pub struct NewSecret {
    /// By what its owner finds it again; unique for an owner.
    pub label: Option<String>,
    /// What it is for, for people.
    pub description: Option<String>,
    /// When its first revision expires, in RFC 3339.
    pub expire: Option<String>,
    /// Its values; keys are lower-case letters, digits and dashes, at least three.
    pub content: BTreeMap<String, String>,
}

/// What the owner knows of a secret beside its values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SecretMetadata {
    /// The newest revision, from 1.
    pub revision: u64,
    /// By what its owner finds it.
    #[serde(default)]
    pub label: String,
    /// To whom it belongs.
    pub owner: SecretOwner,
    /// When it expires, in RFC 3339.
    #[serde(default)]
    pub expiry: Option<String>,
}

impl HookTools {
    /// Makes a secret. With an owner of [`SecretOwner::Application`] only the leader may.
    pub fn add_secret(&self, owner: SecretOwner, secret: &NewSecret) -> Result<SecretId, ToolError> {
        const TOOL: &str = "secret-add";
        let files = ContentFiles::write(TOOL, &secret.content)?;
        let mut arguments = vec![
            "--owner",
            match owner {
                SecretOwner::Application => "application",
                SecretOwner::Unit => "unit",
            },
        ];
        for (flag, value) in
            [("--label", &secret.label), ("--description", &secret.description), ("--expire", &secret.expire)]
        {
            arguments.extend(value.iter().flat_map(|value| [flag, value.as_str()]));
        }
        arguments.extend(files.arguments());
        let id = self.call(TOOL, &arguments, &[])?;
        String::from_utf8_lossy(&id).trim().parse().map_err(|source| ToolError::Name { tool: TOOL, source })
    }

    /// The values of a secret: of the revision that this unit has seen first, or taken over since.
    pub fn secret(&self, key: SecretKey<'_>) -> Result<BTreeMap<String, String>, ToolError> {
        self.secret_get(key, &[])
    }

    /// The values of the newest revision, from now on the one that this unit sees.
    pub fn refresh_secret(&self, key: SecretKey<'_>) -> Result<BTreeMap<String, String>, ToolError> {
        self.secret_get(key, &["--refresh"])
    }

    /// The values of the newest revision, this once.
    pub fn peek_secret(&self, key: SecretKey<'_>) -> Result<BTreeMap<String, String>, ToolError> {
        self.secret_get(key, &["--peek"])
    }

    fn secret_get(&self, key: SecretKey<'_>, more: &[&str]) -> Result<BTreeMap<String, String>, ToolError> {
        let key = match key {
            SecretKey::Id(id) => vec![id.as_str()],
            SecretKey::Label(label) => vec!["--label", label],
        };
        self.ask("secret-get", &[&["--format=json"], key.as_slice(), more].concat())
    }

    /// What its owner knows of a secret; `None` if there is none or it belongs to somebody else.
    pub fn secret_metadata(
        &self,
        key: SecretKey<'_>,
    ) -> Result<Option<(SecretId, SecretMetadata)>, ToolError> {
        const TOOL: &str = "secret-info-get";
        let answer: Result<Option<BTreeMap<String, SecretMetadata>>, ToolError> = match key {
            SecretKey::Id(id) => self.ask(TOOL, &["--format=json", id.as_str()]),
            SecretKey::Label(label) => self.ask(TOOL, &["--format=json", "--label", label]),
        };
        let secrets = match answer {
            Ok(secrets) => secrets.unwrap_or_default(),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((id, metadata)) = secrets.into_iter().next() else { return Ok(None) };
        let id = id.parse().map_err(|source| ToolError::Name { tool: TOOL, source })?;
        Ok(Some((id, metadata)))
    }

    /// The secrets that belong to this application, for the leader, and to this unit.
    pub fn secret_ids(&self) -> Result<Vec<SecretId>, ToolError> {
        const TOOL: &str = "secret-ids";
        let ids: Option<Vec<String>> = self.ask(TOOL, &["--format=json"])?;
        let ids = ids.unwrap_or_default();
        ids.iter().map(|id| id.parse().map_err(|source| ToolError::Name { tool: TOOL, source })).collect()
    }

    /// Makes a new revision with other values.
    pub fn set_secret(&self, id: &SecretId, content: &BTreeMap<String, String>) -> Result<(), ToolError> {
        const TOOL: &str = "secret-set";
        let files = ContentFiles::write(TOOL, content)?;
        let mut arguments = vec![id.as_str()];
        arguments.extend(files.arguments());
        self.tell(TOOL, &arguments)
    }

    /// Removes a secret with all its revisions.
    pub fn remove_secret(&self, id: &SecretId) -> Result<(), ToolError> {
        self.tell("secret-remove", &[id.as_str()])
    }

    /// Lets the other side of a relation read a secret.
    pub fn grant_secret(&self, id: &SecretId, relation: &RelationId) -> Result<(), ToolError> {
        self.tell("secret-grant", &["--relation", &relation.to_string(), id.as_str()])
    }

    /// Takes that back.
    pub fn revoke_secret(&self, id: &SecretId, relation: &RelationId) -> Result<(), ToolError> {
        self.tell("secret-revoke", &["--relation", &relation.to_string(), id.as_str()])
    }
}

/// Values of a secret in files, which go with this.
struct ContentFiles {
    _files: Vec<NamedTempFile>,
    arguments: Vec<String>,
}

impl ContentFiles {
    fn write(tool: &'static str, content: &BTreeMap<String, String>) -> Result<Self, ToolError> {
        let write = || -> io::Result<Self> {
            let mut files = Vec::with_capacity(content.len());
            let mut arguments = Vec::with_capacity(content.len());
            for (key, value) in content {
                let mut file = NamedTempFile::new()?;
                file.write_all(value.as_bytes())?;
                arguments.push(format!("{key}#file={}", file.path().display()));
                files.push(file);
            }
            Ok(Self { _files: files, arguments })
        };
        write().map_err(|source| ToolError::Start { tool, source })
    }

    fn arguments(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt,
        process::{ExitStatus, Output},
    };

    use super::super::tests::{expecting, refusing};
    use super::*;

    fn id() -> SecretId {
        "secret:d0erdgfmp25c762i8np0".parse().unwrap()
    }

    #[test]
    fn values_travel_in_files() {
        let tools = HookTools::new(|tool: &str, arguments: &[&str], _: &[u8]| {
            assert_eq!(tool, "secret-add");
            let (path, flags) = arguments.split_last().unwrap();
            assert_eq!(flags, ["--owner", "application", "--label", "store-7"]);
            let path = path.strip_prefix("token#file=").unwrap();
            assert_eq!(std::fs::read_to_string(path).unwrap(), "s3cret");
            Ok(Output {
                status: ExitStatus::from_raw(0),
                stdout: b"secret:d0erdgfmp25c762i8np0\n".into(),
                stderr: vec![],
            })
        });
        let secret = NewSecret {
            label: Some("store-7".to_owned()),
            content: BTreeMap::from([("token".to_owned(), "s3cret".to_owned())]),
            ..NewSecret::default()
        };
        assert_eq!(tools.add_secret(SecretOwner::Application, &secret).unwrap(), id());
    }

    #[test]
    fn reading() {
        let tools = expecting("secret-get --format=json --label l --peek", "", "{\"token\":\"x\"}");
        assert_eq!(tools.peek_secret(SecretKey::Label("l")).unwrap()["token"], "x");
        let tools = expecting("secret-get --format=json secret:d0erdgfmp25c762i8np0 --refresh", "", "{}");
        assert!(tools.refresh_secret(SecretKey::Id(&id())).unwrap().is_empty());
    }

    #[test]
    fn metadata() {
        let answer =
            r#"{"d0erdgfmp25c762i8np0":{"revision":2,"label":"l","owner":"application","rotation":"never"}}"#;
        let tools = expecting("secret-info-get --format=json --label l", "", answer);
        let (found, metadata) = tools.secret_metadata(SecretKey::Label("l")).unwrap().unwrap();
        assert_eq!(found.bare(), id().bare());
        assert_eq!((metadata.revision, metadata.owner), (2, SecretOwner::Application));
        let tools = refusing("ERROR secret \"l\" not found");
        assert_eq!(tools.secret_metadata(SecretKey::Label("l")).unwrap(), None);
    }

    #[test]
    fn identifiers() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<SecretId>().ok().as_ref().map(SecretId::bare), expected, "{text}");
        };
        check("secret:d0er", Some("d0er"));
        check("secret://0b2e-77/d0er", Some("d0er"));
        check("d0er", Some("d0er"));
        check("", None);
        check("--x", None);
        check("a b", None);
    }
}
