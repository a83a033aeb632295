//! What a token, and what a request without one, is allowed to do.

use std::{fmt, str::FromStr};

use super::need::Need;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Questions, over every protocol; metrics and profiles of the server itself.
    Read,
    /// Profiles and debug information coming in. Does not allow questions.
    Write,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// As in a tokens file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Whether it allows what a request needs.
    pub(crate) fn allows(self, need: Need) -> bool {
        match need {
            Need::Health | Need::Page | Need::Session => true,
            Need::Metrics | Need::Read => self != Self::Write,
            Need::Write => self != Self::Read,
            Need::Admin => self == Self::Admin,
        }
    }
}

/// A word that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of read, write and admin")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| UnknownScope(text.chars().take(32).collect()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What needs no token although tokens are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anonymous {
    /// Nothing but health and the page's own files.
    #[default]
    None,
    /// `/metrics` and `/debug/pprof` too.
    Metrics,
    /// Questions too.
    Read,
}

impl Anonymous {
    pub(crate) fn allows(self, need: Need) -> bool {
        match need {
            Need::Health | Need::Page | Need::Session => true,
            Need::Metrics => self != Self::None,
            Need::Read => self == Self::Read,
            Need::Write | Need::Admin => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: [Need; 7] =
        [Need::Health, Need::Page, Need::Session, Need::Metrics, Need::Read, Need::Write, Need::Admin];

    fn allowed(allows: impl Fn(Need) -> bool) -> Vec<Need> {
        NEEDS
            .into_iter()
            .filter(|&need| need != Need::Page && need != Need::Session && allows(need))
            .collect()
    }

    #[test]
    fn scopes() {
        let check =
            |scope: Scope, needs: &[Need]| assert_eq!(allowed(|need| scope.allows(need)), needs, "{scope}");
        check(Scope::Read, &[Need::Health, Need::Metrics, Need::Read]);
        check(Scope::Write, &[Need::Health, Need::Write]);
        check(Scope::Admin, &[Need::Health, Need::Metrics, Need::Read, Need::Write, Need::Admin]);
    }

    #[test]
    fn modes_without_a_token() {
        let check = |mode: Anonymous, needs: &[Need]| {
            assert_eq!(allowed(|need| mode.allows(need)), needs, "{mode:?}");
        };
        check(Anonymous::None, &[Need::Health]);
        check(Anonymous::Metrics, &[Need::Health, Need::Metrics]);
        check(Anonymous::Read, &[Need::Health, Need::Metrics, Need::Read]);
    }

    #[test]
    fn words() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert!("Read".parse::<Scope>().is_err());
    }
}
