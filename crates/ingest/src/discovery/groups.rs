//! Lists of groups as files and servers write them: `[{"targets": ["host:port"], "labels": {"name": "value"}}]`.

use std::collections::BTreeMap;

use decima_config::labels::Labels;
use serde::Deserialize;

use super::TargetGroup;

pub(super) const ADDRESS: &str = "__address__";

/// A list of groups that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// It is not the JSON that it should be.
    #[error("not a list of target groups")]
    Json(#[from] serde_json::Error),
    /// It is not the YAML that it should be.
    #[error("not a list of target groups: {reason}")]
    Yaml {
        /// What is wrong, with the line.
        reason: String,
    },
    /// A group is `null`.
    #[error("nil target group item found (index {index})")]
    Null {
        /// Which, from 0.
        index: usize,
    },
    /// A target without a name.
    #[error("group {index}: the name of a label is empty")]
    LabelName {
        /// Of the group, from 0.
        index: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroup {
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads JSON.
pub fn from_json(text: &[u8]) -> Result<Vec<TargetGroup>, GroupsError> {
    check(serde_json::from_slice::<Option<Vec<_>>>(text)?.unwrap_or_default())
}

/// Reads YAML; an empty text is an empty list.
pub fn from_yaml(text: &str) -> Result<Vec<TargetGroup>, GroupsError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let parsed = serde_saphyr::from_str_with_options::<Option<Vec<_>>>(text, options);
    match parsed {
        Ok(groups) => check(groups.unwrap_or_default()),
        Err(error) => {
            let reason = error.to_string().lines().next().unwrap_or_default().to_owned();
            Err(GroupsError::Yaml { reason })
        }
    }
}

fn check(raw: Vec<Option<RawGroup>>) -> Result<Vec<TargetGroup>, GroupsError> {
    let mut groups = Vec::with_capacity(raw.len());
    for (index, group) in raw.into_iter().enumerate() {
        let Some(RawGroup { targets, labels }) = group else { return Err(GroupsError::Null { index }) };
        if labels.contains_key("") {
            return Err(GroupsError::LabelName { index });
        }
        let targets = targets.into_iter().map(|address| Labels::from([(ADDRESS.to_owned(), address)]));
        groups.push(TargetGroup { targets: targets.collect(), labels });
    }
    Ok(groups)
}

/// Host and port as an address has them.
pub(super) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A text as part of the name of a label: everything but ASCII letters, digits and `_` is `_`.
pub(super) fn sanitized(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A group of addresses.
#[cfg(test)]
pub(super) fn of_addresses(addresses: &[&str]) -> TargetGroup {
    let target = |address: &&str| Labels::from([(ADDRESS.to_owned(), (*address).to_owned())]);
    TargetGroup { targets: addresses.iter().map(target).collect(), labels: Labels::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(groups: Result<Vec<TargetGroup>, GroupsError>) -> String {
        match groups {
            Ok(groups) => groups
                .iter()
                .map(|group| {
                    let targets: Vec<_> =
                        group.targets.iter().map(|labels| labels[ADDRESS].as_str()).collect();
                    format!("{targets:?} {:?};", group.labels)
                })
                .collect(),
            Err(error) => crate::error_chain::error_chain(&error),
        }
    }

    #[test]
    fn json_and_yaml() {
        let same = r#"["a:1", "b:2"] {"env": "x"};[] {};"#;
        assert_eq!(show(from_json(br#"[{"targets": ["a:1", "b:2"], "labels": {"env": "x"}}, {}]"#)), same);
        assert_eq!(show(from_yaml("- targets: ['a:1', b:2]\n  labels:\n    env: x\n- {}\n")), same);
        // JSON is YAML too, with tabs.
        assert_eq!(show(from_yaml("[\n\t{\"targets\": [\"a:1\"]}]\n")), r#"["a:1"] {};"#);
        for nothing in ["", "# none\n", "[]", "null"] {
            assert_eq!(show(from_yaml(nothing)), "", "{nothing:?}");
        }
        assert_eq!(show(from_json(b"[]")), "");
        assert_eq!(show(from_json(b"null")), "");
    }

    #[test]
    fn addresses_and_names() {
        assert_eq!(host_port("a.test", 80), "a.test:80");
        assert_eq!(host_port("fd00::1", 80), "[fd00::1]:80");
        assert_eq!(sanitized("app.kubernetes.io/name-ü_2"), "app_kubernetes_io_name___2");
    }

    #[test]
    fn refused() {
        let json = |text: &str, start: &str| {
            let got = show(from_json(text.as_bytes()));
            assert!(got.starts_with(start), "{text}: {got}");
        };
        json("", "not a list of target groups: EOF while parsing a value at line 1 column 0");
        json("[{\"targets\": [\"a:1\"]}", "not a list of target groups: EOF");
        json("{}", "not a list of target groups: invalid type: map");
        json("[{\"target\": []}]", "not a list of target groups: unknown field `target`");
        json("[{}, null]", "nil target group item found (index 1)");
        json("[{\"labels\": {\"\": \"x\"}}]", "group 0: the name of a label is empty");
        let yaml = |text: &str, part: &str| {
            let got = show(from_yaml(text));
            assert!(got.contains(part), "{text}: {got}");
        };
        yaml("- targets: [a", "line 1");
        yaml("- targets: [a]\n  port: 3\n", "unknown field `port`");
        yaml("- targets: [a]\n-\n", "nil target group item found (index 1)");
        yaml("targets: [a]\n", "line 1");
    }
}
