//! External labels: put into requests of every protocol, where they win over a sender's own of the same name, as Parca has it
//! for what it scrapes. A request passes unread if there are none. No I/O, no clock. Start at [`External`].

mod arrow;
mod otlp;
mod schema;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use decima_ingest::arrow::framing::with_repaired_names;
use decima_proto::parca::profilestore::v1alpha1::{Label, LabelSet};

pub use self::arrow::ArrowError;
use self::arrow::Place;

/// Labels for everything that passes.
#[derive(Debug, Clone)]
pub struct External {
    /// Sorted by name, each once.
    labels: Vec<(String, String)>,
}

impl External {
    /// Of several labels of the same name, the last counts.
    pub fn new(labels: impl IntoIterator<Item = (String, String)>) -> Self {
        let labels: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
        Self { labels: labels.into_iter().collect() }
    }

    /// As labels.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Label> {
        self.labels.iter().map(|(name, value)| Label { name: name.clone(), value: value.clone() })
    }

    /// Puts them into a label set.
    pub fn set(&self, set: &mut LabelSet) {
        set.labels.retain(|label| !self.has(&label.name));
        set.labels.extend(self.labels());
    }

    /// Puts them into the samples of the agent's first schema.
    pub fn add_to_first_schema(&self, stream: Bytes) -> Result<Bytes, ArrowError> {
        self.add_to_arrow(stream, Place::Columns)
    }

    /// Puts them into a stream of the agent's second schema.
    pub fn add_to_second_schema(&self, stream: Bytes) -> Result<Bytes, ArrowError> {
        self.add_to_arrow(stream, Place::Struct)
    }

    fn add_to_arrow(&self, stream: Bytes, place: Place) -> Result<Bytes, ArrowError> {
        if self.labels.is_empty() {
            return Ok(stream);
        }
        arrow::add(&stream, place, &self.labels).or_else(|error| match with_repaired_names(&stream) {
            Some((repaired, _)) => arrow::add(&repaired, place, &self.labels),
            None => Err(error),
        })
    }

    /// Puts them into the resources of an OTLP request.
    pub fn add_to_otlp(&self, request: Bytes) -> Result<Bytes, prost::DecodeError> {
        if self.labels.is_empty() { Ok(request) } else { otlp::add(&request, &self.labels) }
    }

    /// Whether one has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.labels.iter().any(|(known, _)| known == name)
    }
}
