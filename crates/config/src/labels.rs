//! Labels of a target on their way through relabelling.

use std::collections::BTreeMap;

/// Label names and values, sorted by name. A label with an empty value is the same as no label; [`set`] keeps it so.
pub type Labels = BTreeMap<String, String>;

/// Sets a label, or removes it when `value` is empty.
pub fn set(labels: &mut Labels, name: impl Into<String>, value: impl Into<String>) {
    let (name, value) = (name.into(), value.into());
    if value.is_empty() {
        labels.remove(&name);
    } else {
        labels.insert(name, value);
    }
}

/// The value of a label; empty if there is none.
pub fn get<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}
