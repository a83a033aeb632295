//! A head as a query sees it.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;

use super::HeadView;
use crate::{
    error::ReadError,
    source::{
        NAME_COPIES, Point, SampleRun, ScanRequest, Series, SeriesTable, Source, Symbols, TimeRange, Tree,
    },
};

/// A view of a head as a [`Source`]. Holds its memory until it is dropped.
pub(crate) struct HeadSource {
    view: HeadView,
    range: TimeRange,
    series: OnceLock<Arc<SeriesTable>>,
}

impl HeadSource {
    pub(crate) fn new(view: HeadView) -> Self {
        Self { range: view.range(), view, series: OnceLock::new() }
    }

    fn series_table(&self) -> &Arc<SeriesTable> {
        self.series.get_or_init(|| {
            Arc::new(SeriesTable {
                series: self
                    .view
                    .series
                    .iter()
                    .map(|s| Series {
                        profile_type: s.key.profile_type.clone(),
                        labels: s.key.labels.clone(),
                        period: s.key.period,
                        duration_ns: s.key.duration_ns,
                        partition: s.partition,
                        range: s.range,
                        sample_count: s.sample_count,
                    })
                    .collect(),
                partitions: self.view.partitions.iter().map(|p| p.tree.size()).collect(),
                location_count: self.view.symbols.location_count() as u64,
                shared_location_count: self.view.symbols.location_count() as u64,
                // They are there already: what is made of them counts.
                location_bytes: NAME_COPIES * self.view.symbols.strings.size_bytes() as u64,
                attributes: self.view.attributes.clone(),
                resolution_ns: 0,
            })
        })
    }

    /// Series ids asked for, by partition.
    fn by_partition(&self, request: &ScanRequest) -> Vec<(u32, Vec<u32>)> {
        let mut pairs: Vec<(u32, u32)> = request
            .series
            .iter()
            .filter_map(|&s| Some((self.view.series.get(s as usize)?.partition, s)))
            .collect();
        pairs.sort_unstable();
        let mut out: Vec<(u32, Vec<u32>)> = Vec::new();
        for (partition, series) in pairs {
            match out.last_mut() {
                Some((p, all)) if *p == partition => all.push(series),
                _ => out.push((partition, vec![series])),
            }
        }
        out
    }
}

#[async_trait]
impl Source for HeadSource {
    fn name(&self) -> &str {
        "head"
    }

    fn range(&self) -> TimeRange {
        self.range
    }

    async fn series(&self) -> Result<Arc<SeriesTable>, ReadError> {
        Ok(self.series_table().clone())
    }

    async fn symbols(&self, _partitions: &[u32]) -> Result<Arc<Symbols>, ReadError> {
        Ok(self.view.symbols.clone())
    }

    async fn trees(&self, partitions: &[u32], wanted: Range<usize>) -> Result<Vec<Arc<Tree>>, ReadError> {
        Ok(partitions[wanted].iter().map(|&p| self.view.partitions[p as usize].tree.clone()).collect())
    }

    async fn scan(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError> {
        let strings = &self.view.symbols.strings;
        // A name that the head does not know keeps an id that no attribute has.
        let names: Vec<u32> = request
            .attributes
            .iter()
            .map(|name| (0..strings.len() as u32).find(|&id| strings.get(id) == name).unwrap_or(u32::MAX))
            .collect();
        for (partition, series) in self.by_partition(request) {
            for chunk in self.view.partitions[partition as usize].chunks.iter() {
                if series.binary_search(&chunk.series).is_ok() {
                    chunk.emit(partition, request.range, &names, strings, sink);
                }
            }
        }
        Ok(())
    }

    async fn points(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(u32, &'a [Point]) + Send),
    ) -> Result<(), ReadError> {
        for (partition, series) in self.by_partition(request) {
            let mut rows: Vec<(u32, Point)> = self.view.partitions[partition as usize]
                .points
                .iter()
                .filter(|(s, p)| {
                    p.time_ns <= request.range.end_ns
                        && request.range.start_ns <= p.time_ns.saturating_add((p.bucket_ns - 1).max(0))
                        && series.binary_search(s).is_ok()
                })
                .copied()
                .collect();
            rows.sort_by_key(|(s, p)| (*s, p.time_ns));
            for group in rows.chunk_by(|a, b| a.0 == b.0) {
                let points: Vec<Point> = group.iter().map(|(_, p)| *p).collect();
                sink(group[0].0, &points);
            }
        }
        Ok(())
    }
}
