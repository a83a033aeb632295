//! What a requirer tells its charm.

use serde::{Deserialize, Serialize};

use crate::store_config::StoreConfig;

/// One of the two events; a `match` cannot forget the removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEvent {
    /// The other side wrote how to reach its store.
    StoreEndpointsChanged(StoreEndpointsChanged),
    /// The store is no longer to be used.
    RemoveStore(RemoveStore),
}

impl StoreEvent {
    /// How to reach the store from now on; `None` if there is none any more.
    pub fn store_config(&self) -> Option<&StoreConfig> {
        match self {
            Self::StoreEndpointsChanged(event) => Some(&event.store_config),
            Self::RemoveStore(_) => None,
        }
    }

    /// Number of the relation that the event is about.
    pub fn relation_id(&self) -> u64 {
        match self {
            Self::StoreEndpointsChanged(event) => event.relation_id,
            Self::RemoveStore(event) => event.relation_id,
        }
    }
}

/// The other side wrote how to reach its store, or something else into its databags.
///
/// Kept for later, it has the shape of the first library's snapshot: `store_config` is JSON in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreEndpointsChanged {
    /// Number of the relation.
    pub relation_id: u64,
    /// What is handed out now.
    #[serde(with = "json_text")]
    pub store_config: StoreConfig,
}

/// The store is no longer to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveStore {
    /// Number of the relation.
    pub relation_id: u64,
}

/// A value as JSON in a text.
mod json_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

    use crate::store_config::StoreConfig;

    pub(super) fn serialize<S: Serializer>(config: &StoreConfig, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&serde_json::to_string(config).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StoreConfig, D::Error> {
        serde_json::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn snapshots_restore_what_they_were_made_of(
            relation_id: u64, address in ".*", bearer_token in ".*", insecure in ".*",
        ) {
            let event = StoreEndpointsChanged { relation_id, store_config: StoreConfig { address, bearer_token, insecure } };
            let snapshot = serde_json::to_string(&event).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<StoreEndpointsChanged>(&snapshot).unwrap(), event);
        }
    }
}
