//! Reading from all sources at once, and what becomes of those that cannot be read.

use std::{future::Future, sync::Arc};

use decima_profile::ProfileType;
use decima_store::source::{SeriesTable, Snapshot};
use tokio::task::JoinSet;

use crate::api::QueryError;

/// Sources that could not be read: a failure of the query, unless partial answers are allowed.
#[derive(Debug)]
pub(crate) struct Failures {
    allow_partial: bool,
    notices: Vec<String>,
}

impl Failures {
    pub(crate) fn new(allow_partial: bool) -> Self {
        Self { allow_partial, notices: Vec::new() }
    }

    /// What was read, or `None` and a notice if the answer may do without it.
    pub(crate) fn take<T>(
        &mut self,
        source: &str,
        read: Result<T, QueryError>,
    ) -> Result<Option<T>, QueryError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(QueryError::Read(error)) if self.allow_partial => {
                self.notices.push(format!("the answer lacks {source}, which cannot be read: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn into_notices(self) -> Vec<String> {
        self.notices
    }
}

/// Whether values count samples, so that the period turns them into values of the period type.
pub(crate) fn counts_samples(profile_type: &ProfileType) -> bool {
    profile_type.sample_type == "samples"
        && profile_type.sample_unit == "count"
        && !profile_type.period_type.is_empty()
}

/// Series tables by source; `None` = left out.
pub(crate) async fn series_tables(
    snapshot: &Snapshot,
    failures: &mut Failures,
) -> Result<Vec<Option<Arc<SeriesTable>>>, QueryError> {
    let mut tables = Vec::with_capacity(snapshot.sources.len());
    for source in &snapshot.sources {
        let table = source.series().await.map_err(QueryError::from);
        tables.push(failures.take(source.name(), table)?);
    }
    Ok(tables)
}

/// Runs one job per source, all at once; results in the order of the jobs without those left out.
pub(crate) async fn all<T, F>(jobs: Vec<(String, F)>, failures: &mut Failures) -> Result<Vec<T>, QueryError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, QueryError>> + Send + 'static,
{
    // The set ends its jobs when the caller goes away.
    let mut running = JoinSet::new();
    let mut names = Vec::with_capacity(jobs.len());
    for (at, (name, job)) in jobs.into_iter().enumerate() {
        names.push(name);
        running.spawn(async move { (at, job.await) });
    }
    let mut results: Vec<Option<T>> = names.iter().map(|_| None).collect();
    while let Some(joined) = running.join_next().await {
        let (at, result) =
            joined.map_err(|e| QueryError::Internal { message: format!("a read stopped: {e}") })?;
        results[at] = failures.take(&names[at], result)?;
    }
    Ok(results.into_iter().flatten().collect())
}
