//! Label sets that keep samples apart in an answer.

use hashbrown::HashMap;

/// Values of the labels that keep samples apart: (name, value) without empty values. An empty key = no such label.
pub(crate) type GroupKey = Vec<(String, String)>;

/// Where the value of one label of a group comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Cell {
    /// The label of the series; `""` if it has none.
    Value(String),
    /// A sample attribute, by its place in the scan's attributes.
    Attribute(usize),
}

/// The labels of a group with where their values come from.
pub(crate) type Template = Vec<(String, Cell)>;

/// Which labels keep samples apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Grouping<'a> {
    /// These.
    Labels(&'a [String]),
    /// All labels of the series (not its attributes).
    EverySeriesLabel,
}

/// Distinct group keys, numbered in the order they were met.
#[derive(Debug, Default)]
pub(crate) struct GroupTable {
    keys: Vec<GroupKey>,
    ids: HashMap<GroupKey, u32>,
}

impl GroupTable {
    /// The number of a key.
    pub(crate) fn id(&mut self, key: GroupKey) -> u32 {
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        let id = self.keys.len() as u32;
        self.keys.push(key.clone());
        self.ids.insert(key, id);
        id
    }

    /// All keys by number.
    pub(crate) fn keys(&self) -> &[GroupKey] {
        &self.keys
    }

    /// All keys by number.
    pub(crate) fn into_keys(self) -> Vec<GroupKey> {
        self.keys
    }
}

/// Renders a key as `name="value", …`.
pub(crate) fn display(key: &GroupKey) -> String {
    let pairs: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    pairs.join(", ")
}
