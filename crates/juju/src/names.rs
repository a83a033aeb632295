//! Names that Juju gives to things, each a type of its own so that they cannot be confused.
//!
//! They are checked for the shape that this crate relies on and for being safe as an argument of a hook tool: not empty,
//! no control characters, no blank, and not beginning with a dash. Juju's own rules are narrower and are Juju's to keep.

use std::{fmt, str::FromStr};

use decima_base::ErrorKind;

/// Longer names than Juju makes; what is longer is not a name.
const NAME_BYTES_MAX: usize = 512;

/// A text is not a name of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct NameError {
    /// The text.
    pub text: String,
    /// What it should have been, with its article.
    pub expected: &'static str,
}

impl NameError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), expected }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

fn is_safe(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.starts_with('-')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Name of an application in the model: `parca-k8s`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppName(String);

impl AppName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_safe(text) && !text.contains(['/', ':']) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new(text, "the name of an application"))
        }
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a unit: its application and its number, `parca-k8s/0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName {
    app: AppName,
    number: u32,
}

impl UnitName {
    /// A unit of an application.
    pub fn new(app: AppName, number: u32) -> Self {
        Self { app, number }
    }

    /// The application that it belongs to.
    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// Its number in the application, from 0; never used again after the unit is gone.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl FromStr for UnitName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = || {
            let (app, number) = text.split_once('/')?;
            Some(Self { app: app.parse().ok()?, number: number.parse().ok()? })
        };
        name().ok_or_else(|| NameError::new(text, "the name of a unit (application/number)"))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.number)
    }
}

/// A relation as hook tools name it: the endpoint on our side and the number, `parca-store-endpoint:7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId {
    endpoint: String,
    number: u64,
}

impl RelationId {
    /// A relation of an endpoint.
    pub fn new(endpoint: &str, number: u64) -> Result<Self, NameError> {
        if is_safe(endpoint) && !endpoint.contains([':', '/']) {
            Ok(Self { endpoint: endpoint.to_owned(), number })
        } else {
            Err(NameError::new(endpoint, "the name of an endpoint"))
        }
    }

    /// The endpoint on our side.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The number, unique in the model.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl FromStr for RelationId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let id = || {
            let (endpoint, number) = text.rsplit_once(':')?;
            Self::new(endpoint, number.parse().ok()?).ok()
        };
        id().ok_or_else(|| NameError::new(text, "a relation (endpoint:number)"))
    }
}

impl fmt::Display for RelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.endpoint, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let check = |text: &str, expected: Option<(&str, u32)>| {
            let unit = text.parse::<UnitName>().ok();
            assert_eq!(unit.as_ref().map(|u| (u.app().as_str(), u.number())), expected, "{text}");
            if let Some(unit) = unit {
                assert_eq!(unit.to_string(), text);
            }
        };
        check("parca-k8s/0", Some(("parca-k8s", 0)));
        check("a/12", Some(("a", 12)));
        check("a", None);
        check("a/", None);
        check("/0", None);
        check("a/-1", None);
        check("a/b/0", None);
        check("--app/0", None);
        check("a b/0", None);
    }

    #[test]
    fn relations() {
        let check = |text: &str, expected: Option<(&str, u64)>| {
            let id = text.parse::<RelationId>().ok();
            assert_eq!(id.as_ref().map(|id| (id.endpoint(), id.number())), expected, "{text}");
        };
        check("parca-store-endpoint:7", Some(("parca-store-endpoint", 7)));
        check("7", None);
        check(":7", None);
        check("-r:7", None);
        check("ep:x", None);
        check("ep:1:7", None);
    }

    #[test]
    fn an_error_names_the_text() {
        let error = "a b".parse::<AppName>().unwrap_err();
        assert_eq!(error.to_string(), "\"a b\" is not the name of an application");
    }
}
