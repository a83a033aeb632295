//! One condition on a label.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::{SelectorError, lexer};

/// Compiled size of one regular expression at most; a thousand alternatives of service names take a tenth of it.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatcherOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, unanchored
    Matches,
    /// `!~`, unanchored
    NotMatches,
}

impl fmt::Display for MatcherOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        })
    }
}

/// One condition on a label. To it, an absent label has the value `""`.
#[derive(Debug, Clone)]
pub struct Matcher {
    label: String,
    op: MatcherOp,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// A condition; compiles the regular expression if there is one.
    pub fn new(label: String, op: MatcherOp, value: String) -> Result<Self, SelectorError> {
        let regex = match op {
            MatcherOp::Equal | MatcherOp::NotEqual => None,
            MatcherOp::Matches | MatcherOp::NotMatches => {
                let built = RegexBuilder::new(&value).size_limit(REGEX_BYTES_MAX).build();
                Some(
                    built
                        .map_err(|e| SelectorError::Regex { label: label.clone(), reason: e.to_string() })?,
                )
            }
        };
        Ok(Self { label, op, value, regex })
    }

    /// The label it is about.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether a value fulfils it.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatcherOp::NotEqual, _) => value != self.value,
            (MatcherOp::Matches, Some(regex)) => regex.is_match(value),
            (MatcherOp::NotMatches, Some(regex)) => !regex.is_match(value),
            _ => value == self.value,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.op, &self.value) == (&other.label, other.op, &other.value)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if lexer::is_label(&self.label) {
            f.write_str(&self.label)?;
        } else {
            lexer::write_quoted(f, &self.label)?;
        }
        write!(f, "{}", self.op)?;
        lexer::write_quoted(f, &self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: MatcherOp, value: &str, expected: [bool; 3]) {
        let matcher = Matcher::new("a".to_owned(), op, value.to_owned()).unwrap();
        assert_eq!(["", "b", "abc"].map(|v| matcher.matches(v)), expected, "{matcher}");
    }

    #[test]
    fn absent_is_empty_for_all_operators_and_regexes_are_unanchored() {
        check(MatcherOp::Equal, "b", [false, true, false]);
        check(MatcherOp::Equal, "", [true, false, false]);
        check(MatcherOp::NotEqual, "b", [true, false, true]);
        check(MatcherOp::NotEqual, "", [false, true, true]);
        check(MatcherOp::Matches, "b", [false, true, true]);
        check(MatcherOp::Matches, "^b$", [false, true, false]);
        check(MatcherOp::Matches, "^$", [true, false, false]);
        check(MatcherOp::NotMatches, "b", [true, false, false]);
    }
}
