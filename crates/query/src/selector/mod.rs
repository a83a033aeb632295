//! Here is the text of a query, gives you a profile type and matchers.
//!
//! The grammar is Prometheus' metric selector, because that is what every Parca client sends:
//!
//! ```text
//! selector = [ name ] [ "{" [ item { "," item } [ "," ] ] "}" ]      (name or braces must be there)
//! item     = label op string | string                                 (a lone string is the name)
//! label    = identifier | string
//! op       = "=" | "!=" | "=~" | "!~"
//! name     = [A-Za-z_:][A-Za-z0-9_:]*
//! string   = "…" | '…' with Go's escapes | `…` as it is
//! ```
//!
//! The name (or `__name__="…"`, or the lone string) is a profile type. Two things differ from Prometheus, both as in Parca:
//! regular expressions are *not* anchored, and the name has colons. An absent label is `""` to every operator.
//!
//! Invariants: no panic on any text; `parse(display(s)) == s`. Lengths and counts are bounded. Start at [`Selector::parse`].

mod lexer;
mod matcher;

use std::fmt;

use decima_profile::{ProfileType, profile_type::ParseProfileTypeError};

use lexer::{Lexer, Token};
pub use matcher::{Matcher, MatcherOp};

/// Bytes of a selector at most; real ones have a few hundred.
pub const SELECTOR_BYTES_MAX: usize = 64 << 10;

/// Matchers of a selector at most.
pub const MATCHERS_MAX: usize = 128;

/// The label that stands for the profile type.
const NAME_LABEL: &str = "__name__";

/// What may come after a name. Names of profile types that other profilers use, as `cpu-time`, end early.
const AFTER_NAME: &str =
    "`{`; a profile type with other characters than letters, digits, `_` and `:` is written {__name__=\"…\"}";

/// A profile type and conditions on labels, all of which must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    /// What the values measure; `None` if the selector has no name.
    pub profile_type: Option<ProfileType>,
    /// Conditions on labels.
    pub matchers: Vec<Matcher>,
}

/// A text that is not a selector.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SelectorError {
    /// It does not follow the grammar.
    #[error("failed to parse query: at byte {offset}: {reason}")]
    Syntax {
        /// Where, in bytes from the start.
        offset: usize,
        /// What does not fit.
        reason: String,
    },
    /// A regular expression is wrong or too large.
    #[error("failed to parse query: regular expression of label {label:?}: {reason}")]
    Regex {
        /// Label it is for.
        label: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The name is not a profile type.
    #[error(transparent)]
    ProfileType(#[from] ParseProfileTypeError),
    /// There is no name where one is needed.
    #[error("query must contain a profile-type selection")]
    NoProfileType,
}

impl From<SelectorError> for crate::api::QueryError {
    fn from(error: SelectorError) -> Self {
        Self::InvalidArgument { message: error.to_string() }
    }
}

impl Selector {
    /// Reads a selector; the name may be missing.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(SelectorError::Syntax {
                offset: SELECTOR_BYTES_MAX,
                reason: format!("longer than {SELECTOR_BYTES_MAX} bytes"),
            });
        }
        let mut parser = Parser { lexer: Lexer::new(text), name: None, matchers: Vec::new() };
        parser.selector()?;
        let profile_type = parser.name.as_deref().map(ProfileType::parse).transpose()?;
        Ok(Self { profile_type, matchers: parser.matchers })
    }

    /// Reads a selector that must name a profile type.
    pub fn parse_typed(text: &str) -> Result<(ProfileType, Vec<Matcher>), SelectorError> {
        let selector = Self::parse(text)?;
        match selector.profile_type {
            Some(profile_type) => Ok((profile_type, selector.matchers)),
            None => Err(SelectorError::NoProfileType),
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    name: Option<String>,
    matchers: Vec<Matcher>,
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<(), SelectorError> {
        let mut token = self.lexer.next()?;
        if let Token::Identifier(name) = token {
            self.name = Some(name.to_owned());
            token = self.lexer.next()?;
            if token == Token::End {
                return Ok(());
            }
        }
        if token != Token::OpenBrace {
            return Err(self.unexpected(&token, if self.name.is_some() { AFTER_NAME } else { "`{`" }));
        }
        self.items()?;
        match self.lexer.next()? {
            Token::End => Ok(()),
            other => Err(self.unexpected(&other, "the end")),
        }
    }

    fn items(&mut self) -> Result<(), SelectorError> {
        let mut token = self.lexer.next()?;
        loop {
            let (label, quoted) = match token {
                Token::CloseBrace => return Ok(()),
                Token::Identifier(label) if !label.contains(':') => (label.to_owned(), false),
                Token::Text(label) => (label, true),
                other => return Err(self.unexpected(&other, "a label or `}`")),
            };
            token = self.lexer.next()?;
            match token {
                Token::Op(op) => {
                    self.matcher(label, op)?;
                    token = self.lexer.next()?;
                }
                Token::Comma | Token::CloseBrace if quoted => self.set_name(label)?,
                other => return Err(self.unexpected(&other, "`=`, `!=`, `=~` or `!~`")),
            }
            match token {
                Token::CloseBrace => return Ok(()),
                Token::Comma => token = self.lexer.next()?,
                other => return Err(self.unexpected(&other, "`,` or `}`")),
            }
        }
    }

    fn matcher(&mut self, label: String, op: MatcherOp) -> Result<(), SelectorError> {
        let value = match self.lexer.next()? {
            Token::Text(value) => value,
            other => return Err(self.unexpected(&other, "a quoted value")),
        };
        if label == NAME_LABEL {
            if op != MatcherOp::Equal {
                return Err(self.syntax("a profile type can only be selected with `=`".to_owned()));
            }
            return self.set_name(value);
        }
        if label.is_empty() {
            return Err(self.syntax("the name of a label is empty".to_owned()));
        }
        if self.matchers.len() == MATCHERS_MAX {
            return Err(self.syntax(format!("more than {MATCHERS_MAX} matchers")));
        }
        self.matchers.push(Matcher::new(label, op, value)?);
        Ok(())
    }

    fn set_name(&mut self, name: String) -> Result<(), SelectorError> {
        match &self.name {
            Some(earlier) => {
                Err(self.syntax(format!("the profile type is given twice: {earlier:?} and {name:?}")))
            }
            None => {
                self.name = Some(name);
                Ok(())
            }
        }
    }

    fn unexpected(&self, token: &Token<'_>, wanted: &str) -> SelectorError {
        self.syntax(format!("unexpected {token}, expected {wanted}"))
    }

    fn syntax(&self, reason: String) -> SelectorError {
        SelectorError::Syntax { offset: self.lexer.token_start(), reason }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let name = self.profile_type.as_ref().map(ProfileType::to_string);
        match &name {
            Some(name) if lexer::is_identifier(name) => write!(f, "{name}{{")?,
            Some(name) => {
                f.write_str("{__name__=")?;
                lexer::write_quoted(f, name)?;
                separator = ", ";
            }
            None => f.write_str("{")?,
        }
        for matcher in &self.matchers {
            write!(f, "{separator}{matcher}")?;
            separator = ", ";
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TYPE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta";

    fn check(text: &str, expected: &str) {
        let got = match Selector::parse(text) {
            Ok(selector) => selector.to_string(),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(got, expected, "for {text}");
    }

    #[test]
    fn selectors() {
        check(&format!("{TYPE}{{}}"), &format!("{TYPE}{{}}"));
        check(TYPE, &format!("{TYPE}{{}}"));
        check(
            &format!("  {TYPE} {{ a = \"b\" , c!='d', e=~`f.*`,g !~ \"h\", }} # note"),
            &format!("{TYPE}{{a=\"b\", c!=\"d\", e=~\"f.*\", g!~\"h\"}}"),
        );
        check("{}", "{}");
        check("{a=\"\"}", "{a=\"\"}");
        check("{by=\"x\", on=\"y\"}", "{by=\"x\", on=\"y\"}");
        check("{__name__=\"a.b:cpu-time:ns:x:y\", k=\"v\"}", "{__name__=\"a.b:cpu-time:ns:x:y\", k=\"v\"}");
        check("{\"a.b:c:d:e:f\", k=\"v\"}", "{__name__=\"a.b:c:d:e:f\", k=\"v\"}");
        check("{k=\"v\", \"a.b:c:d:e:f\"}", "{__name__=\"a.b:c:d:e:f\", k=\"v\"}");
        check("{\"a:b:c:d:e\"}", "a:b:c:d:e{}");
        check("{\"quoted label\"=\"v\"}", "{\"quoted label\"=\"v\"}");
        check(r#"{a="\"\\\n\t\x41\u00e9\101"}"#, "{a=\"\\\"\\\\\\n\\tAéA\"}");
        check(r#"{a='it"s \' '}"#, "{a=\"it\\\"s ' \"}");
        check("memory:inuse_space:bytes::", "memory:inuse_space:bytes::{}");
    }

    #[test]
    fn errors() {
        const SHAPE: &str = "error: profile-type selection must be of the form \
            <name>:<sample-type>:<sample-unit>:<period-type>:<period-unit>(:delta), got";
        check("memory{}", &format!("{SHAPE}(1): \"memory\""));
        check("a:b:c:d:e:f:g{}", &format!("{SHAPE}(7): \"a:b:c:d:e:f:g\""));
        check("{__name__=\"\"}", &format!("{SHAPE}(1): \"\""));
        check("", "error: failed to parse query: at byte 0: unexpected the end, expected `{`");
        check("{", "error: failed to parse query: at byte 1: unexpected the end, expected a label or `}`");
        check(
            "{a}",
            "error: failed to parse query: at byte 2: unexpected `}`, expected `=`, `!=`, `=~` or `!~`",
        );
        check("{a=b}", "error: failed to parse query: at byte 3: unexpected `b`, expected a quoted value");
        check(
            "{a=\"b\" c=\"d\"}",
            "error: failed to parse query: at byte 7: unexpected `c`, expected `,` or `}`",
        );
        check("{,}", "error: failed to parse query: at byte 1: unexpected `,`, expected a label or `}`");
        check(
            "{a:b=\"c\"}",
            "error: failed to parse query: at byte 1: unexpected `a:b`, expected a label or `}`",
        );
        check("{} x", "error: failed to parse query: at byte 3: unexpected `x`, expected the end");
        check("{a=\"b", "error: failed to parse query: at byte 3: the text has no closing `\"`");
        check("{a=\"b\nc\"}", "error: failed to parse query: at byte 5: a line ends inside a text");
        check(r#"{a="\q"}"#, "error: failed to parse query: at byte 4: unknown escape `\\q`");
        check(r#"{a="\xff"}"#, "error: failed to parse query: at byte 3: the text is not UTF-8");
        check(r#"{a="\ud800"}"#, "error: failed to parse query: at byte 4: the escape is not a character");
        check(
            r#"{a="\x4"}"#,
            "error: failed to parse query: at byte 4: the escape needs 2 digits of base 16",
        );
        check(
            "{__name__=~\"x\"}",
            "error: failed to parse query: at byte 11: a profile type can only be selected with `=`",
        );
        check(
            "a:b:c:d:e{__name__=\"f\"}",
            "error: failed to parse query: at byte 19: the profile type is given twice: \"a:b:c:d:e\" and \"f\"",
        );
        check("{\"\"=\"v\"}", "error: failed to parse query: at byte 4: the name of a label is empty");
        check(
            "cpu-time:b:c:d:e{}",
            "error: failed to parse query: at byte 3: unexpected `-`, expected `{`; a profile type with other characters \
            than letters, digits, `_` and `:` is written {__name__=\"…\"}",
        );
        assert!(
            Selector::parse("{a=~\"(\"}")
                .unwrap_err()
                .to_string()
                .starts_with("failed to parse query: regular expression of label \"a\": ")
        );
        assert!(matches!(Selector::parse("{a=~\"(x{500}){500}\"}"), Err(SelectorError::Regex { .. })));
        assert_eq!(Selector::parse_typed("{}"), Err(SelectorError::NoProfileType));
        assert_eq!(SelectorError::NoProfileType.to_string(), "query must contain a profile-type selection");
        assert!(Selector::parse(&" ".repeat(SELECTOR_BYTES_MAX + 1)).is_err());
        assert!(Selector::parse(&format!("{{{}}}", "a=\"b\",".repeat(MATCHERS_MAX + 1))).is_err());
    }

    fn selector() -> impl Strategy<Value = Selector> {
        let op = prop_oneof![Just(MatcherOp::Equal), Just(MatcherOp::NotEqual)];
        let label = "[a-z_é \"\\\\\n-]{1,6}".prop_filter("stands for the name", |l| l != NAME_LABEL);
        let matcher = (label, op, any::<String>()).prop_map(|(l, o, v)| Matcher::new(l, o, v).unwrap());
        let name = proptest::option::of("[a-z.:\"é-]{0,4}:a:b:c:d(:delta)?");
        (name, proptest::collection::vec(matcher, 0..4)).prop_map(|(name, matchers)| Selector {
            profile_type: name.and_then(|n| ProfileType::parse(&n).ok()),
            matchers,
        })
    }

    proptest! {
        #[test]
        fn displays_and_parses_back(selector in selector()) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = Selector::parse(&text);
        }

        #[test]
        fn never_panics_on_pieces(pieces in proptest::collection::vec(
            prop_oneof!["[{},=!~\"'`\\\\a:#]", Just("\\x".to_owned()), Just("\\u00".to_owned()), Just("é".to_owned())], 0..20)) {
            let _ = Selector::parse(&pieces.concat());
        }
    }
}
