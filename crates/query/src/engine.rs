//! The engine: one call per question.

use std::sync::Arc;

use decima_profile::ProfileType;
use decima_store::{
    ReadError, Store,
    source::{SeriesTable, Snapshot},
};

use crate::{
    api::{
        LabelsRequest, QueryError, QueryRangeRequest, RangeAnswer, ReportAnswer, ReportRequest, TimeRange,
    },
    catalog::{self, Scope},
    evaluate::{self, Surroundings},
    memory::QueryMemory,
    range,
    read::{self, Failures},
    symbolize::Symbolizer,
};

/// Newer snapshots that are asked at most because a block of the one before is gone. A question that takes longer than the files of
/// merged blocks stay can meet several merges.
const NEWER_MAX: usize = 3;

/// Bounds of the engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Nodes of a flame graph unless the request says otherwise.
    pub node_default: usize,
    /// Nodes of a flame graph at most.
    pub node_max: usize,
    /// Bytes of one report at most.
    pub report_bytes_max: usize,
    /// Memory of all queries that run at once, without the cache of blocks. A query that would take more is refused.
    pub memory_bytes: u64,
    /// Blocks whose trees take more for one report are read a few at a time, and what they have in common is held once: less memory
    /// for some more time. Never more than [`Self::memory_bytes`].
    pub fold_bytes: u64,
    /// Answer without blocks that cannot be read, and say so.
    pub allow_partial: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_default: 16_384,
            node_max: 1 << 20,
            report_bytes_max: 64 << 20,
            memory_bytes: 1 << 30,
            fold_bytes: 1 << 29,
            allow_partial: false,
        }
    }
}

/// Answers questions from a store. Clones share it.
#[derive(Clone)]
pub struct Engine {
    origin: Origin,
    settings: Settings,
    memory: QueryMemory,
    symbolizer: Option<Symbolizer>,
}

/// Where snapshots come from.
#[derive(Clone)]
enum Origin {
    Store(Store),
    Fixed(Snapshot),
}

impl Engine {
    /// An engine over a store: each question sees what was acknowledged before it.
    pub fn new(store: Store, settings: Settings) -> Self {
        Self::from(Origin::Store(store), settings)
    }

    /// An engine over one snapshot for ever.
    pub fn over(snapshot: Snapshot, settings: Settings) -> Self {
        Self::from(Origin::Fixed(snapshot), settings)
    }

    fn from(origin: Origin, settings: Settings) -> Self {
        Self { origin, memory: QueryMemory::new(settings.memory_bytes), settings, symbolizer: None }
    }

    /// Has addresses without functions looked up.
    pub fn with_symbolizer(self, symbolizer: Symbolizer) -> Self {
        Self { symbolizer: Some(symbolizer), ..self }
    }

    /// Asks a snapshot. A block in it may be gone, if another process writes the store and has merged or dropped it: then a newer
    /// snapshot is asked.
    async fn ask<T, F>(&self, question: impl Fn(Snapshot, Settings) -> F) -> Result<T, QueryError>
    where
        F: Future<Output = Result<T, QueryError>>,
    {
        let store = match &self.origin {
            Origin::Fixed(snapshot) => return question(snapshot.clone(), self.settings.clone()).await,
            Origin::Store(store) if store.follows() => store,
            Origin::Store(store) => return question(store.query_snapshot(), self.settings.clone()).await,
        };
        // An answer does without a block only if the newest snapshot has it.
        let whole = Settings { allow_partial: false, ..self.settings.clone() };
        for _ in 0..NEWER_MAX {
            match question(store.query_snapshot(), whole.clone()).await {
                Err(QueryError::Read(ReadError::Missing { .. })) => store.refresh().await,
                Err(QueryError::Read(_)) if self.settings.allow_partial => break,
                answer => return answer,
            }
        }
        question(store.query_snapshot(), self.settings.clone()).await
    }

    /// The series tables of all sources.
    async fn tables(&self) -> Result<Vec<Option<Arc<SeriesTable>>>, QueryError> {
        self.ask(|snapshot, settings| async move {
            read::series_tables(&snapshot, &mut Failures::new(settings.allow_partial)).await
        })
        .await
    }

    /// Distinct profile types with samples in the range, sorted.
    pub async fn profile_types(&self, range: Option<TimeRange>) -> Result<Vec<ProfileType>, QueryError> {
        Ok(catalog::profile_types(&self.tables().await?, range))
    }

    /// Whether there is any sample.
    pub async fn has_profile_data(&self) -> Result<bool, QueryError> {
        let tables = self.tables().await?;
        Ok(tables.iter().flatten().any(|table| table.series.iter().any(|series| series.sample_count > 0)))
    }

    /// Sorted names of labels and attributes.
    pub async fn labels(&self, request: LabelsRequest) -> Result<Vec<String>, QueryError> {
        let scope = Scope::parse(&request)?;
        Ok(catalog::labels(&self.tables().await?, &scope))
    }

    /// Sorted values of one label or attribute.
    pub async fn values(&self, name: &str, request: LabelsRequest) -> Result<Vec<String>, QueryError> {
        let scope = Scope::parse(&request)?;
        Ok(catalog::values(&self.tables().await?, &scope, name))
    }

    /// Values over time.
    pub async fn query_range(&self, request: QueryRangeRequest) -> Result<RangeAnswer, QueryError> {
        let request = &request;
        self.ask(|snapshot, settings| async move {
            range::query_range(&snapshot, &settings, &self.memory, request).await
        })
        .await
    }

    /// A report.
    pub async fn query(&self, request: ReportRequest) -> Result<ReportAnswer, QueryError> {
        let request = &request;
        self.ask(|snapshot, settings| async move {
            let surroundings = Surroundings {
                settings: &settings,
                memory: &self.memory,
                symbolizer: self.symbolizer.as_ref(),
            };
            evaluate::report(&snapshot, surroundings, request.clone()).await
        })
        .await
    }
}
