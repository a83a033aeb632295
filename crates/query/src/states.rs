//! One profile of states (live heap, goroutines) out of a coarse source, which has their sums: the mean over the bucket.
//!
//! A bucket may be in parts in several sources, so that all states of a series are counted before any sum is divided.

use std::sync::Arc;

use decima_store::source::{ScanRequest, SeriesTable, Snapshot};
use hashbrown::HashMap;

use crate::{api::QueryError, plan::Task};

/// Labels of a series: what it is across sources, within a profile type.
type Identity = Arc<[(String, String)]>;

/// Has the tasks of one side divide what they read of coarse sources.
pub(crate) async fn average(
    snapshot: &Snapshot,
    tables: &[Option<Arc<SeriesTable>>],
    tasks: &mut [Task],
) -> Result<(), QueryError> {
    let labels = |source: usize, series: u32| -> Option<Identity> {
        Some(tables[source].as_ref()?.series.get(series as usize)?.labels.clone())
    };
    let mut states: HashMap<Identity, u64> = HashMap::new();
    for task in tasks.iter().filter(|task| task.resolution_ns > 0) {
        let request = ScanRequest {
            series: task.series.iter().map(|series| series.id).collect(),
            range: task.range,
            attributes: Vec::new(),
            with_times: false,
        };
        let mut count = |series: u32, instants: u64| {
            if let Some(labels) = labels(task.source, series) {
                *states.entry(labels).or_default() += instants;
            }
        };
        let source = &snapshot.sources[task.source];
        source
            .points(&request, &mut |series, points| {
                count(series, points.iter().map(|point| point.instants).sum());
            })
            .await?;
    }
    for task in tasks.iter_mut().filter(|task| task.resolution_ns > 0) {
        let of = task
            .series
            .iter()
            .filter_map(|series| Some((series.id, *states.get(&labels(task.source, series.id)?)?)));
        task.states = of.collect();
    }
    Ok(())
}
