//! The profile type: name, value type and period type, and its text form
//! `name:sample_type:sample_unit:period_type:period_unit[:delta]`.

use std::fmt;

/// What the values of a series measure.
///
/// Two series with different profile types are never summed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ProfileType {
    /// Name of the profile, such as `process_cpu`.
    pub name: String,
    /// Type of the value, such as `samples`.
    pub sample_type: String,
    /// Unit of the value, such as `count`.
    pub sample_unit: String,
    /// Type of the period, such as `cpu`; may be empty.
    pub period_type: String,
    /// Unit of the period, such as `nanoseconds`; may be empty.
    pub period_unit: String,
    /// Whether values cover a duration (they add up over time) rather than a state at one instant.
    pub delta: bool,
}

/// A text that is not a profile type: it has `parts` parts between colons instead of 5 or 6 (with `delta` last).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "profile-type selection must be of the form <name>:<sample-type>:<sample-unit>:<period-type>:<period-unit>(:delta), got({parts}): {text:?}"
)]
pub struct ParseProfileTypeError {
    /// The text as given.
    pub text: String,
    /// How many parts it has.
    pub parts: usize,
}

impl ProfileType {
    /// Reads the text form. A sixth part makes a delta type exactly when it is `delta`.
    pub fn parse(text: &str) -> Result<Self, ParseProfileTypeError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (five, delta) = match parts.as_slice() {
            [five @ .., last] if five.len() == 5 => (five, *last == "delta"),
            five if five.len() == 5 => (five, false),
            _ => {
                return Err(ParseProfileTypeError { text: text.to_owned(), parts: parts.len() });
            }
        };
        let [name, sample_type, sample_unit, period_type, period_unit] = five else {
            return Err(ParseProfileTypeError { text: text.to_owned(), parts: parts.len() });
        };
        Ok(Self {
            name: (*name).to_owned(),
            sample_type: (*sample_type).to_owned(),
            sample_unit: (*sample_unit).to_owned(),
            period_type: (*period_type).to_owned(),
            period_unit: (*period_unit).to_owned(),
            delta,
        })
    }
}

impl fmt::Display for ProfileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}:{}:{}",
            self.name, self.sample_type, self.sample_unit, self.period_type, self.period_unit
        )?;
        if self.delta { f.write_str(":delta") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, usize>) {
        let got = ProfileType::parse(text);
        match expected {
            Ok(display) => assert_eq!(got.map(|t| t.to_string()).as_deref(), Ok(display)),
            Err(parts) => assert_eq!(got.map_err(|e| e.parts), Err(parts)),
        }
    }

    #[test]
    fn text_form() {
        check("a:b:c:d:e", Ok("a:b:c:d:e"));
        check("a:b:c:d:e:delta", Ok("a:b:c:d:e:delta"));
        check("a:b:c:d:e:other", Ok("a:b:c:d:e"));
        check("memory:inuse_space:bytes::", Ok("memory:inuse_space:bytes::"));
        check("", Err(1));
        check("a:b:c:d", Err(4));
        check("a:b:c:d:e:f:g", Err(7));
    }
}
