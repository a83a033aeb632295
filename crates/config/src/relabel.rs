//! Here are a target's labels, gives you the labels that rules make of them, or drops the target.
//!
//! The rules are Prometheus' `relabel_configs`: regular expressions are anchored at both ends and `.` matches a line
//! break too; `$1` and `${name}` insert groups. Pure: no I/O, no clock. Rules are checked when they are made
//! ([`RuleFields::check`]), so applying them cannot fail. Start at [`relabel`].

use md5::{Digest, Md5};
use regex::{Regex, RegexBuilder};

use crate::labels::{self, Labels};

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

/// Largest compiled regular expression; configurations come from people, so this only stops accidents such as `(.{9999}){99}`.
const REGEX_BYTES_MAX: usize = 4 << 20;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sets the target label to the replacement if the regex matches.
    Replace,
    /// Drops targets that do not match.
    Keep,
    /// Drops targets that match.
    Drop,
    /// Drops targets whose source labels differ from the target label.
    KeepEqual,
    /// Drops targets whose source labels equal the target label.
    DropEqual,
    /// Sets the target label to the hash of the source labels modulo a number.
    HashMod,
    /// Copies labels whose name matches to the name that the replacement makes.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the source labels in lower case.
    Lowercase,
    /// Sets the target label to the source labels in upper case.
    Uppercase,
}

impl Action {
    /// Reads the name as a configuration has it; letter case does not matter.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "replace" => Self::Replace,
            "keep" => Self::Keep,
            "drop" => Self::Drop,
            "keepequal" => Self::KeepEqual,
            "dropequal" => Self::DropEqual,
            "hashmod" => Self::HashMod,
            "labelmap" => Self::LabelMap,
            "labeldrop" => Self::LabelDrop,
            "labelkeep" => Self::LabelKeep,
            "lowercase" => Self::Lowercase,
            "uppercase" => Self::Uppercase,
            _ => return None,
        })
    }

    /// The name as a configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }
}

/// A rule as written: what is absent has not been given and takes its default.
#[derive(Debug, Clone, Default)]
pub struct RuleFields {
    /// Labels whose values, joined by the separator, are matched.
    pub source_labels: Vec<String>,
    /// Default `;`.
    pub separator: Option<String>,
    /// Default `(.*)`.
    pub regex: Option<String>,
    /// Divisor of `hashmod`.
    pub modulus: Option<u64>,
    /// Label to set.
    pub target_label: Option<String>,
    /// Default `$1`.
    pub replacement: Option<String>,
    /// Default `replace`.
    pub action: Option<String>,
}

/// A rule that cannot be applied: which of its fields is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RuleError {
    /// Name of the field as a configuration has it.
    pub field: &'static str,
    /// For people.
    pub reason: String,
}

/// A checked rule.
#[derive(Debug, Clone)]
pub struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target_label: String,
    replacement: String,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
            && (self.action, self.modulus) == (other.action, other.modulus)
            && self.source_labels == other.source_labels
            && self.separator == other.separator
            && self.target_label == other.target_label
            && self.replacement == other.replacement
    }
}

impl RuleFields {
    /// Checks the fields against the action and compiles the regex.
    pub fn check(self) -> Result<Rule, RuleError> {
        let wrong = |field, reason: String| Err(RuleError { field, reason });
        let action = match self.action.as_deref() {
            None => Action::Replace,
            Some(name) => match Action::parse(name) {
                Some(action) => action,
                None => return wrong("action", format!("unknown relabel action {name:?}")),
            },
        };
        let name = action.name();
        let needs_target = matches!(
            action,
            Action::Replace
                | Action::KeepEqual
                | Action::DropEqual
                | Action::HashMod
                | Action::Lowercase
                | Action::Uppercase
        );
        let target_label = self.target_label.unwrap_or_default();
        if needs_target && target_label.is_empty() {
            return wrong(
                "target_label",
                format!("relabel configuration for {name} action requires 'target_label' value"),
            );
        }
        let modulus = self.modulus.unwrap_or(0);
        if action == Action::HashMod && modulus == 0 {
            return wrong("modulus", "relabel configuration for hashmod requires non-zero modulus".into());
        }
        let only_names = self.separator.is_none() && self.modulus.is_none() && self.replacement.is_none();
        match action {
            Action::KeepEqual | Action::DropEqual if !only_names || self.regex.is_some() => {
                return wrong(
                    "action",
                    format!(
                        "{name} action requires only 'source_labels' and 'target_label', and no other fields"
                    ),
                );
            }
            Action::LabelDrop | Action::LabelKeep
                if !only_names || !target_label.is_empty() || !self.source_labels.is_empty() =>
            {
                return wrong("action", format!("{name} action requires only 'regex', and no other fields"));
            }
            _ => {}
        }
        if let Some(index) = self.source_labels.iter().position(String::is_empty) {
            return wrong("source_labels", format!("the name of label {index} is empty"));
        }
        let pattern = self.regex.as_deref().unwrap_or(REGEX);
        let regex = match RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build()
        {
            Ok(regex) => regex,
            Err(error) => {
                return wrong(
                    "regex",
                    format!("{pattern:?} is not a regular expression: {}", last_line(&error)),
                );
            }
        };
        Ok(Rule {
            action,
            source_labels: self.source_labels,
            separator: self.separator.unwrap_or_else(|| SEPARATOR.to_owned()),
            regex,
            modulus,
            target_label,
            replacement: self.replacement.unwrap_or_else(|| REPLACEMENT.to_owned()),
        })
    }
}

/// The regex crate draws the pattern over several lines and puts the reason last.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default().trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Applies `rules` in order. Returns whether the target is kept; labels of a dropped target are as the dropping rule found them.
#[must_use]
pub fn relabel(labels: &mut Labels, rules: &[Rule]) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

impl Rule {
    fn apply(&self, labels: &mut Labels) -> bool {
        let source: Vec<&str> = self.source_labels.iter().map(|name| labels::get(labels, name)).collect();
        let source = source.join(&self.separator);
        match self.action {
            Action::Drop => return !self.regex.is_match(&source),
            Action::Keep => return self.regex.is_match(&source),
            Action::DropEqual => return labels::get(labels, &self.target_label) != source,
            Action::KeepEqual => return labels::get(labels, &self.target_label) == source,
            Action::Replace => self.replace(labels, &source),
            Action::Lowercase => labels::set(labels, &self.target_label, source.to_lowercase()),
            Action::Uppercase => labels::set(labels, &self.target_label, source.to_uppercase()),
            Action::HashMod => {
                labels::set(labels, &self.target_label, (hash(&source) % self.modulus).to_string());
            }
            Action::LabelMap => self.map_names(labels),
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut Labels, source: &str) {
        let Some(captures) = self.regex.captures(source) else { return };
        let mut target = String::new();
        captures.expand(&self.target_label, &mut target);
        if target.is_empty() {
            return;
        }
        let mut value = String::new();
        captures.expand(&self.replacement, &mut value);
        labels::set(labels, target, value);
    }

    fn map_names(&self, labels: &mut Labels) {
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter(|(name, _)| self.regex.is_match(name))
            .map(|(name, value)| (self.regex.replace(name, &self.replacement).into_owned(), value.clone()))
            .filter(|(name, _)| !name.is_empty())
            .collect();
        for (name, value) in mapped {
            labels::set(labels, name, value);
        }
    }
}

/// The hash by which Prometheus shards: the last 8 bytes of the MD5, big endian, so that both agree on the shard.
fn hash(text: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    let [.., a, b, c, d, e, f, g, h] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
