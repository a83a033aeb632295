//! Attributes: keys with values, inline or by index, and what becomes of them.

use std::fmt::Write as _;

use decima_profile::{attribute_name, batch::StringId, wire::Reader};

use super::{
    dictionary::Dictionary,
    error::{FieldError, OtlpError, each_field},
};

/// Attributes of resources that name a process or thread: a series for each would never end.
const SAMPLE_KEYS: [&str; 6] = [
    "process.pid",
    "process.parent_pid",
    "process.creation.time",
    "process.start_time",
    "thread.id",
    "thread.name",
];
/// Attributes that name the sender, best first.
const NODE_KEYS: [&str; 3] = ["node", "k8s.node.name", "host.name"];
/// Names of the fields of an `AnyValue`.
const VALUE: [&str; 8] = [
    "string_value",
    "bool_value",
    "int_value",
    "double_value",
    "array_value",
    "kvlist_value",
    "bytes_value",
    "string_value_strindex",
];
/// Depth of arrays and maps in a value.
const DEPTH_MAX: usize = 8;
/// Bytes of an array or map as text; the rest is cut off.
const RENDERED_BYTES_MAX: usize = 1024;

/// What an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeValue {
    /// Nothing; the attribute counts as absent.
    None,
    /// Text; everything but whole numbers is rendered as such.
    Text(StringId),
    /// A whole number.
    Integer(i64),
}

/// A key with its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyValue {
    pub(super) key: StringId,
    pub(super) value: AttributeValue,
}

impl KeyValue {
    /// `1 key, 2 value, 3 key index`: what resources and scopes have.
    pub(super) fn read(
        message: Reader<'_>,
        place: &str,
        dictionary: &mut Dictionary,
    ) -> Result<Self, OtlpError> {
        let (mut key, mut value) = (0, AttributeValue::None);
        each_field(
            message,
            &format!("{place}.attributes"),
            &["key", "value", "key_strindex"],
            |number, field| {
                match number {
                    1 => key = dictionary.text(field.message()?),
                    2 => value = read_value(field.message()?, place, dictionary)?,
                    3 if field.varint()? != 0 => key = dictionary.string(field.varint()?, place)?,
                    _ => {}
                }
                Ok(())
            },
        )?;
        Ok(Self { key, value })
    }
}

/// Reads an `AnyValue`.
pub(super) fn read_value(
    message: Reader<'_>,
    place: &str,
    dictionary: &mut Dictionary,
) -> Result<AttributeValue, OtlpError> {
    let mut value = AttributeValue::None;
    each_field(message, &format!("{place}.value"), &VALUE, |number, field| {
        value = match number {
            1 => AttributeValue::Text(dictionary.text(field.message()?)),
            2 => AttributeValue::Text(dictionary.push(if field.varint()? == 0 { "false" } else { "true" })),
            3 => AttributeValue::Integer(field.varint()? as i64),
            4 => AttributeValue::Text(dictionary.push(&f64::from_bits(field.fixed64()?).to_string())),
            5..=7 => {
                let mut text = String::new();
                render(message, place, dictionary, 0, &mut text)?;
                AttributeValue::Text(dictionary.push(&text))
            }
            8 => match field.varint()? {
                0 => AttributeValue::None,
                index => AttributeValue::Text(dictionary.string(index, place)?),
            },
            _ => value,
        };
        Ok(())
    })?;
    Ok(value)
}

/// Renders a value as JSON would be, bytes in hex.
fn render(
    message: Reader<'_>,
    place: &str,
    dictionary: &mut Dictionary,
    depth: usize,
    text: &mut String,
) -> Result<(), OtlpError> {
    if depth > DEPTH_MAX || text.len() > RENDERED_BYTES_MAX {
        text.push('…');
        return Ok(());
    }
    each_field(message, place, &VALUE, |number, field| {
        match number {
            1 => _ = write!(text, "{}", quoted(cut(field.message()?.rest()))),
            2 => text.push_str(if field.varint()? == 0 { "false" } else { "true" }),
            3 => _ = write!(text, "{}", field.varint()? as i64),
            4 => _ = write!(text, "{}", f64::from_bits(field.fixed64()?)),
            5 => list(field.message()?, place, text, ['[', ']'], |item, text| {
                render(item, place, dictionary, depth + 1, text)
            })?,
            6 => list(field.message()?, place, text, ['{', '}'], |pair, text| {
                each_field(pair, place, &["key", "value"], |number, field| {
                    match number {
                        1 => _ = write!(text, "{}:", quoted(cut(field.message()?.rest()))),
                        2 => render(field.message()?, place, dictionary, depth + 1, text)?,
                        _ => {}
                    }
                    Ok(())
                })
            })?,
            7 => cut(field.message()?.rest()).iter().for_each(|byte| _ = write!(text, "{byte:02x}")),
            8 => {
                let id = dictionary.string(field.varint()?, place)?;
                _ = write!(text, "{}", quoted(dictionary.strings.bytes(id)));
            }
            _ => {}
        }
        Ok(())
    })
}

/// Text as JSON has it.
fn quoted(bytes: &[u8]) -> serde_json::Value {
    String::from_utf8_lossy(bytes).into_owned().into()
}

fn cut(bytes: &[u8]) -> &[u8] {
    bytes.get(..bytes.len().min(RENDERED_BYTES_MAX)).unwrap_or_default()
}

/// Renders what is repeated in field 1.
fn list(
    message: Reader<'_>,
    place: &str,
    text: &mut String,
    [open, close]: [char; 2],
    mut item: impl FnMut(Reader<'_>, &mut String) -> Result<(), OtlpError>,
) -> Result<(), FieldError> {
    text.push(open);
    let mut is_first = true;
    each_field(message, place, &["values"], |number, field| {
        if number == 1 && text.len() <= RENDERED_BYTES_MAX {
            if !std::mem::take(&mut is_first) {
                text.push(',');
            }
            item(field.message()?, text)?;
        }
        Ok(())
    })?;
    text.push(close);
    Ok(())
}

/// What a profile, its scope and its resource say about all of its samples. What is added last wins.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    /// The name of the scope.
    pub(super) scope: StringId,
    pairs: Vec<KeyValue>,
}

impl Labels {
    pub(super) fn new(scope: StringId) -> Self {
        Self { scope, pairs: Vec::new() }
    }

    /// Adds the attributes of the profile itself.
    pub(super) fn of_profile(
        &mut self,
        indices: &[u64],
        dictionary: &Dictionary,
        place: &str,
    ) -> Result<(), OtlpError> {
        for &index in indices {
            self.pairs.extend(dictionary.attribute(index, place)?);
        }
        Ok(())
    }

    /// How many attributes there are.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn add(&mut self, pairs: &[KeyValue]) {
        self.pairs.extend_from_slice(pairs);
    }

    /// The name of the host, or nothing.
    pub(super) fn node(&self, dictionary: &Dictionary) -> String {
        let of_key = |key: &&str| {
            let pair = self.pairs.iter().rev().find(|pair| dictionary.strings.get(pair.key) == *key)?;
            match pair.value {
                AttributeValue::Text(id) => Some(dictionary.strings.get(id).to_owned()),
                _ => None,
            }
        };
        NODE_KEYS.iter().find_map(of_key).unwrap_or_default()
    }

    /// Labels of the series (sorted, unique, not empty) and attributes that all samples have.
    pub(super) fn split(&self, dictionary: &Dictionary) -> (Vec<(String, String)>, Vec<KeyValue>) {
        let mut labels = std::collections::BTreeMap::new();
        let mut attributes: Vec<KeyValue> = Vec::new();
        for pair in &self.pairs {
            let key = dictionary.strings.get(pair.key);
            if key.is_empty() || pair.value == AttributeValue::None {
                continue;
            }
            if SAMPLE_KEYS.contains(&key) {
                attributes.retain(|other| dictionary.strings.get(other.key) != key);
                attributes.push(*pair);
                continue;
            }
            let value = match pair.value {
                AttributeValue::Text(id) => dictionary.strings.get(id).to_owned(),
                AttributeValue::Integer(number) => number.to_string(),
                AttributeValue::None => String::new(),
            };
            let name = attribute_name::unique(key, |_| false).into_owned();
            labels.insert(name, value);
        }
        (labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(), attributes)
    }
}
