//! One module an interface: what it says, checked, and what we say, as the databags shall hold it.

pub mod certificates;
pub mod external_store;
pub mod grafana;
pub mod ingress;
pub mod logging;
pub mod metrics;
pub(crate) mod pem;
pub mod profiling;
pub mod s3;
pub mod self_profiling;
pub mod store;

use std::fmt;

use decima_juju::RelationId;
use parca_store::External;
use serde_json::{Value, json};

use crate::world::World;

/// Keys and values that a databag shall hold; an empty value stands for an absent key. Other keys are left alone.
pub type Wanted = Vec<(&'static str, String)>;

/// Something that keeps a relation from working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a relation's endpoint, or another name of what is wrong.
    pub place: String,
    /// What, for people, in a line.
    pub message: String,
    /// Whether somebody has to do something, rather than that it will pass.
    pub is_blocking: bool,
}

impl Problem {
    /// Garbage in a databag, or a combination that cannot be: only the operator or the other charm can mend it.
    pub fn blocking(place: &str, message: impl Into<String>) -> Self {
        Self { place: place.to_owned(), message: one_line(&message.into()), is_blocking: true }
    }

    /// Something that will come by itself.
    pub fn passing(place: &str, message: impl Into<String>) -> Self {
        Self { is_blocking: false, ..Self::blocking(place, message) }
    }

    /// Garbage in the databag of a relation.
    pub fn of(relation: &RelationId, message: impl fmt::Display) -> Self {
        Self::blocking(relation.endpoint(), format!("relation {}: {message}", relation.number()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Text for a status: in one line, without control characters, not too long. It may hold another charm's words.
fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Where this unit is in the model, as scrapers are told.
fn topology(world: &World) -> Value {
    json!({
        "model": world.model_name,
        "model_uuid": world.model_uuid,
        "application": world.unit.app().as_str(),
        "unit": world.unit.to_string(),
        "charm_name": crate::names::CHARM,
    })
}

/// A host as it may stand in an address: a name or an IP address, without port.
fn is_host(text: &str) -> bool {
    // With a port behind it, a text that has one already is no address.
    External::verbatim(&format!("{text}:1")).is_ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let check = |text: &str, expected: bool| assert_eq!(is_host(text), expected, "{text:?}");
        check("parca.example.com", true);
        check("10.0.0.1", true);
        check("[fd00::1]", true);
        check("fd00::1", false);
        check("a b", false);
        check("a/b", false);
        check("a:1", false);
        check("a:", false);
        check("h..x_", false);
        check("h-", false);
        check("[fd00::1%eth0]", false);
        check("my_service.ns.svc", true);
        check("", false);
    }

    #[test]
    fn problems_are_one_line() {
        let problem = Problem::blocking("s3", "a\n\u{1b}[31mb  c");
        assert_eq!(problem.to_string(), "s3: a [31mb c");
        assert!(Problem::blocking("x", "y".repeat(1000)).message.chars().count() <= 201);
    }
}
