//! The fields that a request groups by.

use crate::{api::QueryError, names::KeyFields};

/// Fields by what they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupFields {
    /// Labels that keep samples apart.
    pub(crate) labels: Vec<String>,
    /// Fields that keep frames apart.
    pub(crate) key: KeyFields,
}

impl GroupFields {
    /// Reads the names of fields. The function's name always keeps frames apart; `timestamp` is known but has a meaning only
    /// over time, so it does nothing.
    pub(crate) fn parse(names: &[String]) -> Result<Self, QueryError> {
        let mut fields = Self::default();
        for name in names {
            match name.as_str() {
                "function_name" | "timestamp" => {}
                "function_file_name" => fields.key.filename = true,
                "location_address" => fields.key.address = true,
                "mapping_file" => fields.key.mapping_file = true,
                other => match other.strip_prefix("labels.") {
                    Some(label) if !label.is_empty() => {
                        if !fields.labels.iter().any(|l| l == label) {
                            fields.labels.push(label.to_owned());
                        }
                    }
                    _ => {
                        return Err(QueryError::InvalidArgument {
                            message: format!("invalid group by field: {other}"),
                        });
                    }
                },
            }
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_fields() {
        let names =
            ["function_name", "labels.pod", "mapping_file", "labels.pod", "timestamp"].map(str::to_owned);
        let fields = GroupFields::parse(&names).unwrap();
        assert_eq!(fields.labels, ["pod"]);
        assert_eq!(fields.key, KeyFields { mapping_file: true, ..KeyFields::default() });
        for wrong in ["labels.", "labels", "x", ""] {
            let error = GroupFields::parse(&[wrong.to_owned()]).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid group by field: {wrong}"));
        }
    }
}
