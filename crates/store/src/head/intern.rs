//! A batch becomes chunks with the head's ids.

use std::sync::Arc;

use decima_profile::{
    SampleBatch,
    batch::{AttributeValues, SeriesSamples},
};
use std::collections::HashMap;

use super::{
    EMPTY_RANGE, Head, HeadSeries, Mark, SeriesKey,
    chunk::{Chunk, ChunkAttribute, ChunkAttributeValues},
    partition::{Partition, StacktraceIndex},
    symbols::{BatchIds, SymbolIndex},
};
use crate::duration::nominal_duration_ns;

/// Marks a stacktrace of the batch that has no id in the partition yet.
const UNMAPPED: u32 = u32::MAX;

impl Head {
    /// Lengths of all tables now, to be passed to [`intern`](Self::intern) and the log codec.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            strings: self.view.symbols.strings.len(),
            mappings: self.view.symbols.mappings.len(),
            functions: self.view.symbols.functions.len(),
            locations: self.view.symbols.location_count(),
            series: self.view.series.len(),
            partitions: self.view.partition_names.len(),
            trees: Default::default(),
        }
    }

    /// Gives everything in the batch ids, adding what is new to the tables, and returns its chunks, not yet visible.
    ///
    /// `mark` learns which partitions' trees grow.
    pub(crate) fn intern(&mut self, batch: &SampleBatch, mark: &mut Mark) -> Vec<Arc<Chunk>> {
        let mut index = match self.symbol_index.take() {
            Some(index) => index,
            None => SymbolIndex::of(&self.view.symbols),
        };
        let mut ids = index.map_batch(&mut self.view.symbols, batch);
        let mut chunks = Vec::with_capacity(batch.series.len());
        // Series of one profile share their stacktraces and mostly their partition, so the mapping is kept between them.
        let mut mapped: Option<(u32, Vec<u32>)> = None;
        for samples in &batch.series {
            if samples.values.is_empty() {
                continue;
            }
            let series = self.series_id(samples);
            let partition = self.view.series[series as usize].partition;
            let mut stacktrace_ids = match mapped.take() {
                Some((p, ids)) if p == partition => ids,
                _ => vec![UNMAPPED; batch.stacktrace_offsets.len().saturating_sub(1)],
            };
            let stacktraces =
                self.map_stacktraces(batch, samples, partition, &ids, &mut stacktrace_ids, mark);
            mapped = Some((partition, stacktrace_ids));
            let attributes = self.map_attributes(&mut index, batch, samples, &mut ids);
            chunks.push(Arc::new(Chunk {
                series,
                duration_ns: samples.duration_ns,
                times_ns: samples.times_ns.clone(),
                stacktraces,
                values: samples.values.clone(),
                attributes,
            }));
        }
        self.symbol_index = Some(index);
        chunks
    }

    fn map_stacktraces(
        &mut self,
        batch: &SampleBatch,
        samples: &SeriesSamples,
        partition: u32,
        ids: &BatchIds,
        stacktrace_ids: &mut [u32],
        mark: &mut Mark,
    ) -> Vec<u32> {
        let row = Arc::make_mut(&mut Arc::make_mut(&mut self.view.partitions)[partition as usize]);
        mark.trees.entry(partition).or_insert((row.tree.parent.len(), row.tree.leaf.len()));
        let index =
            self.stacktrace_indexes[partition as usize].get_or_insert_with(|| StacktraceIndex::of(&row.tree));
        let mut scratch = Vec::with_capacity(64);
        samples
            .stacktraces
            .iter()
            .map(|&s| {
                let known = stacktrace_ids[s as usize];
                if known != UNMAPPED {
                    return known;
                }
                scratch.clear();
                scratch.extend(batch.stacktrace(s).iter().map(|&l| ids.locations[l as usize]));
                let id = index.stacktrace(&mut row.tree, &scratch);
                stacktrace_ids[s as usize] = id;
                id
            })
            .collect()
    }

    fn map_attributes(
        &mut self,
        index: &mut SymbolIndex,
        batch: &SampleBatch,
        samples: &SeriesSamples,
        ids: &mut BatchIds,
    ) -> Vec<ChunkAttribute> {
        if samples.attributes.is_empty() {
            return Vec::new();
        }
        let symbols = Arc::make_mut(&mut self.view.symbols);
        let mut map = |id| index.batch_string(symbols, batch, &mut ids.strings, id);
        samples
            .attributes
            .iter()
            .map(|a| ChunkAttribute {
                name: map(a.name),
                values: match &a.values {
                    AttributeValues::Text(values) => {
                        ChunkAttributeValues::Text(values.iter().map(|&v| map(v)).collect())
                    }
                    AttributeValues::Integer { unit, values } => {
                        ChunkAttributeValues::Integer { unit: map(*unit), values: values.clone() }
                    }
                },
            })
            .collect()
    }

    fn series_id(&mut self, samples: &SeriesSamples) -> u32 {
        let key = SeriesKey {
            profile_type: Arc::new(samples.profile_type.clone()),
            labels: samples.labels.clone().into(),
            period: samples.period,
            duration_ns: nominal_duration_ns(samples.duration_ns),
        };
        let view = &self.view;
        let index = self.series_index.get_or_insert_with(|| {
            view.series.iter().enumerate().map(|(i, s)| (s.key.clone(), i as u32)).collect()
        });
        if let Some(&id) = index.get(&key) {
            return id;
        }
        let id = view.series.len() as u32;
        index.insert(key.clone(), id);
        let name = self
            .partition_labels
            .iter()
            .find_map(|label| {
                let at = key.labels.binary_search_by(|(n, _)| n.cmp(label)).ok()?;
                Some(key.labels[at].1.clone())
            })
            .unwrap_or_default();
        let partition = self.partition_id(name);
        Arc::make_mut(&mut self.view.series).push(HeadSeries {
            key,
            partition,
            range: EMPTY_RANGE,
            sample_count: 0,
        });
        id
    }

    fn partition_id(&mut self, name: String) -> u32 {
        let view = &self.view;
        let index = self.partition_index.get_or_insert_with(|| {
            view.partition_names
                .iter()
                .enumerate()
                .map(|(i, n)| (n.clone(), i as u32))
                .collect::<HashMap<_, _>>()
        });
        if let Some(&id) = index.get(&name) {
            return id;
        }
        let id = view.partition_names.len() as u32;
        index.insert(name.clone(), id);
        Arc::make_mut(&mut self.view.partition_names).push(name);
        Arc::make_mut(&mut self.view.partitions).push(Arc::new(Partition::default()));
        self.stacktrace_indexes.push(None);
        id
    }
}
