//! The name of an endpoint in the charm's metadata.

use std::{fmt, str::FromStr};

use decima_juju::{NameError, RelationId};

/// Name of an endpoint with the interface `parca_store`, as the charm's metadata declares it.
///
/// ```
/// use parca_store::Endpoint;
///
/// let endpoint: Endpoint = "external-parca-store-endpoint".parse()?;
/// assert_eq!(endpoint.as_str(), "external-parca-store-endpoint");
/// assert_eq!(Endpoint::default().as_str(), "parca-store-endpoint");
/// # Ok::<(), parca_store::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(String);

impl Endpoint {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a relation is of this endpoint.
    pub(crate) fn has(&self, relation: &RelationId) -> bool {
        relation.endpoint() == self.0
    }
}

/// `parca-store-endpoint`.
impl Default for Endpoint {
    fn default() -> Self {
        Self("parca-store-endpoint".to_owned())
    }
}

impl FromStr for Endpoint {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        RelationId::new(text, 0).map(|relation| Self(relation.endpoint().to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
