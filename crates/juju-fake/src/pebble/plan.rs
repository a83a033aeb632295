//! Layers into a plan.

use serde_json::{Map, Value, json};

/// Sections whose entries override those of layers below by name.
const SECTIONS: &[&str] = &["services", "checks", "log-targets"];

/// All layers combined.
pub(super) fn combined(layers: &[(String, Value)]) -> Value {
    let mut plan = json!({});
    for (_, layer) in layers {
        lay_over(&mut plan, layer);
    }
    plan
}

/// The plan as the daemon gives it. JSON is YAML; nothing at all is an empty map.
pub(super) fn rendered(plan: &Value) -> String {
    format!("{plan}\n")
}

/// What the daemon refuses in a layer.
pub(super) fn validate(layer: &Value) -> Result<(), String> {
    for section in SECTIONS {
        for (name, entry) in layer[section].as_object().into_iter().flatten() {
            if !["replace", "merge"].contains(&entry["override"].as_str().unwrap_or_default()) {
                return Err(format!(
                    "layer must define \"override\" for {} {name:?}",
                    section.trim_end_matches('s')
                ));
            }
        }
    }
    Ok(())
}

/// What the daemon refuses in a plan.
pub(super) fn validate_plan(plan: &Value) -> Result<(), String> {
    for (name, service) in plan["services"].as_object().into_iter().flatten() {
        if service["command"].as_str().is_none_or(str::is_empty) {
            return Err(format!("plan must define \"command\" for service {name:?}"));
        }
    }
    Ok(())
}

/// Lays a layer over one below.
pub(super) fn lay_over(below: &mut Value, layer: &Value) {
    for section in SECTIONS {
        let Some(entries) = layer[section].as_object() else { continue };
        if !below[section].is_object() {
            below[section] = json!({});
        }
        let Some(into) = below[section].as_object_mut() else { continue };
        for (name, entry) in entries {
            match (into.get_mut(name).and_then(Value::as_object_mut), entry.as_object()) {
                (Some(old), Some(entry)) if entry.get("override").is_some_and(|o| o == "merge") => {
                    merge(old, entry);
                }
                _ => drop(into.insert(name.clone(), entry.clone())),
            }
        }
    }
}

/// Maps are merged, lists are continued, all else is replaced.
fn merge(old: &mut Map<String, Value>, new: &Map<String, Value>) {
    for (key, value) in new {
        match (old.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new.clone()),
            _ => drop(old.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_override_those_below() {
        let below = json!({"services": {"a": {"override": "replace", "command": "x", "environment": {"A": "1"}, "after": ["b"]}}});
        let check = |entry: Value, expected: Value| {
            let layers =
                [("1".to_owned(), below.clone()), ("2".to_owned(), json!({"services": {"a": entry}}))];
            assert_eq!(combined(&layers)["services"]["a"], expected);
        };
        check(json!({"override": "replace", "command": "y"}), json!({"override": "replace", "command": "y"}));
        check(
            json!({"override": "merge", "environment": {"B": "2"}, "after": ["c"]}),
            json!({"override": "merge", "command": "x", "environment": {"A": "1", "B": "2"}, "after": ["b", "c"]}),
        );
    }

    #[test]
    fn an_entry_must_say_how_it_overrides() {
        assert!(
            validate(&json!({"services": {"a": {"command": "x"}}})).unwrap_err().contains("\"override\"")
        );
        assert!(validate(&json!({"services": {"a": {"override": "merge"}}})).is_ok());
    }

    #[test]
    fn a_service_of_a_plan_has_a_command() {
        assert!(validate_plan(&json!({"services": {"a": {}}})).is_err());
        assert!(validate_plan(&json!({"services": {"a": {"command": "x"}}})).is_ok());
    }
}
