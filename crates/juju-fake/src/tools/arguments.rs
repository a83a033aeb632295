//! Arguments of a hook tool, read as Juju reads them: flags anywhere before `--`, with one dash or two.

use std::collections::{BTreeMap, BTreeSet};

use super::Refusal;

/// Arguments by what they are.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    values: BTreeMap<String, String>,
    switches: BTreeSet<String>,
    /// What is no flag.
    pub(super) words: Vec<String>,
}

impl Arguments {
    /// Reads arguments of a tool with these flags that take a value and these that do not.
    pub(super) fn read(arguments: &[String], values: &[&str], switches: &[&str]) -> Result<Self, Refusal> {
        let mut read = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                read.words.extend(rest.cloned());
                break;
            }
            let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            let Some(flag) = flag.filter(|flag| !flag.is_empty()) else {
                read.words.push(argument.clone());
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            if values.contains(&name) {
                let value = value.or_else(|| rest.next().cloned());
                let value =
                    value.ok_or_else(|| Refusal::usage(format!("flag needs an argument: {argument}")))?;
                read.values.insert(name.to_owned(), value);
            } else if switches.contains(&name) {
                if value.as_deref().is_none_or(|value| value.eq_ignore_ascii_case("true")) {
                    read.switches.insert(name.to_owned());
                }
            } else {
                return Err(Refusal::usage(format!("option provided but not defined: {argument}")));
            }
        }
        Ok(read)
    }

    /// The value of a flag.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a flag is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.switches.contains(name)
    }

    /// A word by its place.
    pub(super) fn word(&self, place: usize) -> Option<&str> {
        self.words.get(place).map(String::as_str)
    }

    /// A word that must be there.
    pub(super) fn required(&self, place: usize, what: &str) -> Result<&str, Refusal> {
        self.word(place).ok_or_else(|| Refusal::usage(format!("no {what} specified")))
    }

    /// Words as pairs.
    pub(super) fn pairs(&self, from: usize) -> Result<Vec<(&str, &str)>, Refusal> {
        let pair = |word: &'_ String| -> Result<(usize, usize), Refusal> {
            let at = word.find('=').filter(|at| *at > 0);
            at.map(|at| (at, word.len()))
                .ok_or_else(|| Refusal::usage(format!("expected \"key=value\", got {word:?}")))
        };
        self.words
            .iter()
            .skip(from)
            .map(|word| pair(word).map(|(at, end)| (&word[..at], &word[at + 1..end])))
            .collect()
    }
}
