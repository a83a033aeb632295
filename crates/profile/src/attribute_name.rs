//! Names of attributes: what senders call their sample labels, made into names that a selector can hold.

use std::borrow::Cow;

/// The name of the profile in a label set; no attribute may have it.
pub const PROFILE_NAME: &str = "__name__";

/// `key` as `[a-zA-Z_][a-zA-Z0-9_]*`: every other character becomes `_`, and one is put before a digit at the start.
pub fn sanitized(key: &str) -> Cow<'_, str> {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_sound = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_sound && key.bytes().all(|b| is_sound(char::from(b))) {
        return Cow::Borrowed(key);
    }
    let mut name = String::with_capacity(key.len() + 1);
    if !key.starts_with(|c: char| !c.is_ascii_digit()) {
        name.push('_');
    }
    name.extend(key.chars().map(|c| if is_sound(c) { c } else { '_' }));
    Cow::Owned(name)
}

/// The sanitised `key` with `exported_` before it as often as it takes for `is_taken` to say no.
pub fn unique(key: &str, is_taken: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let mut name = sanitized(key);
    while name == PROFILE_NAME || is_taken(&name) {
        name = Cow::Owned(format!("exported_{name}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, expected: &str) {
        assert_eq!(sanitized(key), expected, "{key:?}");
    }

    #[test]
    fn characters() {
        check("route", "route");
        check("_x9", "_x9");
        check("thread id", "thread_id");
        check("9lives", "_9lives");
        check("größe", "gr__e");
        check("a.b-c/d", "a_b_c_d");
        check("", "_");
        check("日本", "__");
    }

    #[test]
    fn collisions() {
        assert_eq!(unique("a-b", |_| false), "a_b");
        assert_eq!(unique("a-b", |name| name == "a_b"), "exported_a_b");
        assert_eq!(unique("job", |name| ["job", "exported_job"].contains(&name)), "exported_exported_job");
        assert_eq!(unique("__name__", |_| false), "exported___name__");
    }
}
