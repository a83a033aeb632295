//! Tokens of a selector.

use std::fmt::{self, Write as _};

use super::{MatcherOp, SelectorError};

/// A piece of a selector.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// A bare name; may contain colons.
    Identifier(&'a str),
    /// A quoted text, unescaped.
    Text(String),
    /// An operator.
    Op(MatcherOp),
    OpenBrace,
    CloseBrace,
    Comma,
    /// Anything else.
    Other(char),
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identifier(name) => write!(f, "`{name}`"),
            Self::Text(text) => write!(f, "text {text:?}"),
            Self::Op(op) => write!(f, "`{op}`"),
            Self::OpenBrace => f.write_str("`{`"),
            Self::CloseBrace => f.write_str("`}`"),
            Self::Comma => f.write_str("`,`"),
            Self::Other(c) => write!(f, "`{c}`"),
            Self::End => f.write_str("the end"),
        }
    }
}

/// Cuts a text into tokens.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    token_start: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, token_start: 0 }
    }

    /// Where the token last read starts, in bytes.
    pub(super) fn token_start(&self) -> usize {
        self.token_start
    }

    /// The next token; [`Token::End`] for ever after the last.
    pub(super) fn next(&mut self) -> Result<Token<'a>, SelectorError> {
        self.skip_space();
        self.token_start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok(Token::End);
        };
        if is_identifier_start(first) {
            let rest = self.rest();
            let end = rest.find(|c| !is_identifier_part(c)).unwrap_or(rest.len());
            self.at += end;
            return Ok(Token::Identifier(&rest[..end]));
        }
        self.at += first.len_utf8();
        Ok(match first {
            '{' => Token::OpenBrace,
            '}' => Token::CloseBrace,
            ',' => Token::Comma,
            '=' if self.take('~') => Token::Op(MatcherOp::Matches),
            '=' => Token::Op(MatcherOp::Equal),
            '!' if self.take('=') => Token::Op(MatcherOp::NotEqual),
            '!' if self.take('~') => Token::Op(MatcherOp::NotMatches),
            '"' | '\'' => self.escaped(first)?,
            '`' => self.raw()?,
            other => Token::Other(other),
        })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn skip_space(&mut self) {
        loop {
            let rest = self.rest().trim_start_matches([' ', '\t', '\n', '\r']);
            self.at = self.text.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }

    fn raw(&mut self) -> Result<Token<'a>, SelectorError> {
        let rest = self.rest();
        let Some(end) = rest.find('`') else {
            return Err(self.error(self.token_start, "the text has no closing ```"));
        };
        self.at += end + 1;
        Ok(Token::Text(rest[..end].to_owned()))
    }

    /// The rest of a text whose opening `quote` was read, with Go's escapes.
    fn escaped(&mut self, quote: char) -> Result<Token<'a>, SelectorError> {
        // Escapes can write single bytes, so that only the whole is known to be UTF-8.
        let mut bytes = Vec::new();
        loop {
            let start = self.at;
            let Some(c) = self.rest().chars().next() else {
                return Err(self.error(self.token_start, format!("the text has no closing `{quote}`")));
            };
            self.at += c.len_utf8();
            match c {
                '\n' => return Err(self.error(start, "a line ends inside a text")),
                '\\' => self.escape(quote, start, &mut bytes)?,
                c if c == quote => break,
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Token::Text(text)),
            Err(_) => Err(self.error(self.token_start, "the text is not UTF-8")),
        }
    }

    fn escape(&mut self, quote: char, start: usize, bytes: &mut Vec<u8>) -> Result<(), SelectorError> {
        let Some(c) = self.rest().chars().next() else {
            return Err(self.error(start, "the text ends inside an escape"));
        };
        if ('0'..='7').contains(&c) {
            return match u8::try_from(self.digits(start, 3, 8)?) {
                Ok(byte) => {
                    bytes.push(byte);
                    Ok(())
                }
                Err(_) => Err(self.error(start, "the escape is not a byte")),
            };
        }
        self.at += c.len_utf8();
        match c {
            'a' => bytes.push(0x07),
            'b' => bytes.push(0x08),
            'f' => bytes.push(0x0c),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(0x0b),
            '\\' => bytes.push(b'\\'),
            c if c == quote => bytes.push(c as u8),
            'x' => bytes.push(self.digits(start, 2, 16)? as u8),
            'u' | 'U' => {
                let code = self.digits(start, if c == 'u' { 4 } else { 8 }, 16)?;
                let Some(c) = char::from_u32(code) else {
                    return Err(self.error(start, "the escape is not a character"));
                };
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => return Err(self.error(start, format!("unknown escape `\\{other}`"))),
        }
        Ok(())
    }

    /// Reads exactly `count` digits.
    fn digits(&mut self, start: usize, count: usize, base: u32) -> Result<u32, SelectorError> {
        let mut number = 0;
        for _ in 0..count {
            let digit = self.rest().chars().next().and_then(|c| c.to_digit(base));
            let Some(digit) = digit else {
                return Err(self.error(start, format!("the escape needs {count} digits of base {base}")));
            };
            // Eight hex digits fill a u32 exactly.
            number = number * base + digit;
            self.at += 1;
        }
        Ok(number)
    }

    #[expect(clippy::unused_self, reason = "reads as the errors of the parser")]
    fn error(&self, offset: usize, reason: impl Into<String>) -> SelectorError {
        SelectorError::Syntax { offset, reason: reason.into() }
    }
}

fn is_identifier_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

fn is_identifier_part(c: char) -> bool {
    is_identifier_start(c) || c.is_ascii_digit()
}

/// Whether a name can stand before the braces without quotes.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(is_identifier_start) && name.chars().all(is_identifier_part)
}

/// Whether a label needs no quotes.
pub(super) fn is_label(name: &str) -> bool {
    is_identifier(name) && !name.contains(':')
}

/// Writes `text` so that the lexer reads it back.
pub(super) fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
