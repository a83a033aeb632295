//! The engine: one call per question.

use decima_profile::ProfileType;
use decima_store::Store;

use crate::api::{
    LabelsRequest, QueryError, QueryRangeRequest, RangeSeries, ReportAnswer, ReportRequest, TimeRange,
};

/// Bounds of the engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Nodes of a flame graph unless the request says otherwise.
    pub node_default: usize,
    /// Nodes of a flame graph at most.
    pub node_max: usize,
    /// Bytes of one report at most.
    pub report_bytes_max: usize,
    /// Answer without blocks that cannot be read, and say so.
    pub allow_partial: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { node_default: 16_384, node_max: 1 << 20, report_bytes_max: 64 << 20, allow_partial: false }
    }
}

/// Answers questions from a store. Clones share it.
#[derive(Clone)]
pub struct Engine {
    _store: Store,
    _settings: Settings,
}

#[expect(clippy::unused_async, reason = "skeleton")]
impl Engine {
    /// An engine over a store.
    pub fn new(store: Store, settings: Settings) -> Self {
        Self { _store: store, _settings: settings }
    }

    /// Distinct profile types with samples in the range, sorted.
    pub async fn profile_types(&self, _range: Option<TimeRange>) -> Result<Vec<ProfileType>, QueryError> {
        Ok(Vec::new())
    }

    /// Whether there is any sample.
    pub async fn has_profile_data(&self) -> Result<bool, QueryError> {
        Ok(false)
    }

    /// Sorted names of labels and attributes.
    pub async fn labels(&self, _request: LabelsRequest) -> Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }

    /// Sorted values of one label or attribute.
    pub async fn values(&self, _name: &str, _request: LabelsRequest) -> Result<Vec<String>, QueryError> {
        Ok(Vec::new())
    }

    /// Values over time.
    pub async fn query_range(&self, _request: QueryRangeRequest) -> Result<Vec<RangeSeries>, QueryError> {
        Ok(Vec::new())
    }

    /// A report.
    pub async fn query(&self, _request: ReportRequest) -> Result<ReportAnswer, QueryError> {
        Err(QueryError::Unimplemented { message: "not yet".to_owned() })
    }
}
