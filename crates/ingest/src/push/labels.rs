//! Labels of a series: checked, bounded, and brought into the order that the store wants.

use decima_profile::attribute_name::PROFILE_NAME;

use super::Limits;

/// What a label set says about its series.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SeriesLabels {
    /// Value of `__name__`, never empty.
    pub(super) name: String,
    /// All others: sorted by name, unique, no empty values.
    pub(super) labels: Vec<(String, String)>,
}

/// Why a label set is refused. The first three texts are Parca's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelError {
    #[error("missing __name__ label")]
    MissingName,
    #[error("invalid label name: {0}")]
    InvalidName(String),
    #[error("duplicate label name: {0}")]
    Duplicate(String),
    #[error("profile name {0:?} contains ':', which separates the parts of a profile type")]
    NameWithColon(String),
    #[error("{found} labels, the limit is {limit}")]
    TooMany { found: usize, limit: usize },
    #[error("label name {start:?}… has {found} bytes, the limit is {limit}")]
    NameTooLong { start: String, found: usize, limit: usize },
    #[error("value of label {name:?} has {found} bytes, the limit is {limit}")]
    ValueTooLong { name: String, found: usize, limit: usize },
}

/// Checks a label set as received. Of several `__name__` the last wins, as in Parca.
pub(super) fn check(received: &[(String, String)], limits: &Limits) -> Result<SeriesLabels, LabelError> {
    if received.len() > limits.label_count_max {
        return Err(LabelError::TooMany { found: received.len(), limit: limits.label_count_max });
    }
    for (name, value) in received {
        bounded(name, value, limits)?;
    }
    let name = received.iter().rev().find(|(name, _)| name == PROFILE_NAME).map(|(_, value)| value);
    let name = name.filter(|name| !name.is_empty()).ok_or(LabelError::MissingName)?;
    if name.contains(':') {
        return Err(LabelError::NameWithColon(name.clone()));
    }
    let mut labels: Vec<_> = received.iter().filter(|(name, _)| name != PROFILE_NAME).cloned().collect();
    labels.sort_by(|(left, _), (right, _)| left.cmp(right));
    let repeated = labels.windows(2).find_map(|pair| match pair {
        [(left, _), (right, _)] if left == right => Some(left),
        _ => None,
    });
    if let Some(name) = repeated {
        return Err(LabelError::Duplicate(name.clone()));
    }
    labels.retain(|(_, value)| !value.is_empty());
    Ok(SeriesLabels { name: name.clone(), labels })
}

fn bounded(name: &str, value: &str, limits: &Limits) -> Result<(), LabelError> {
    if name.is_empty() {
        return Err(LabelError::InvalidName(String::new()));
    }
    if name.len() > limits.label_name_bytes_max {
        let limit = limits.label_name_bytes_max;
        return Err(LabelError::NameTooLong {
            start: name.chars().take(20).collect(),
            found: name.len(),
            limit,
        });
    }
    if value.len() > limits.label_value_bytes_max {
        let limit = limits.label_value_bytes_max;
        return Err(LabelError::ValueTooLong { name: name.to_owned(), found: value.len(), limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn check_labels(received: Pairs<'_>, expected: Result<(&str, Pairs<'_>), &str>) {
        let limits = Limits {
            label_count_max: 4,
            label_name_bytes_max: 10,
            label_value_bytes_max: 12,
            ..Limits::default()
        };
        let owned = |labels: Pairs<'_>| -> Vec<(String, String)> {
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let expected = expected
            .map(|(name, labels)| SeriesLabels { name: name.to_owned(), labels: owned(labels) })
            .map_err(str::to_owned);
        assert_eq!(check(&owned(received), &limits).map_err(|e| e.to_string()), expected, "{received:?}");
    }

    #[test]
    fn label_sets() {
        check_labels(&[("__name__", "cpu")], Ok(("cpu", &[])));
        check_labels(&[("b", "2"), ("__name__", "cpu"), ("a", "1")], Ok(("cpu", &[("a", "1"), ("b", "2")])));
        check_labels(&[("__name__", "cpu-time.x")], Ok(("cpu-time.x", &[])));
        check_labels(&[("__name__", "x"), ("__name__", "y")], Ok(("y", &[])));
        check_labels(&[("__name__", "x"), ("a", ""), ("größe", "1")], Ok(("x", &[("größe", "1")])));
        check_labels(&[("__name__", "x"), ("a.b", "1")], Ok(("x", &[("a.b", "1")])));
    }

    #[test]
    fn refusals() {
        check_labels(&[], Err("missing __name__ label"));
        check_labels(&[("a", "1")], Err("missing __name__ label"));
        check_labels(&[("__name__", "")], Err("missing __name__ label"));
        check_labels(&[("__name__", "x"), ("__name__", "")], Err("missing __name__ label"));
        check_labels(&[("__name__", "x"), ("", "1")], Err("invalid label name: "));
        check_labels(&[("a", ""), ("__name__", "x"), ("a", "2")], Err("duplicate label name: a"));
        check_labels(
            &[("__name__", "a:b")],
            Err("profile name \"a:b\" contains ':', which separates the parts of a profile type"),
        );
        check_labels(&[("a", ""); 5], Err("5 labels, the limit is 4"));
        check_labels(
            &[("abcdefghijk", "")],
            Err("label name \"abcdefghijk\"… has 11 bytes, the limit is 10"),
        );
        check_labels(&[("a", "abcdefghijklm")], Err("value of label \"a\" has 13 bytes, the limit is 12"));
    }
}
