//! A batch becomes chunks with the head's ids.

use std::{collections::HashMap, sync::Arc};

use decima_profile::batch::{Attribute, AttributeValues, SeriesSamples};

use super::{
    EMPTY_RANGE, Head, HeadSeries, Mark,
    chunk::{Chunk, ChunkAttribute, ChunkAttributeValues},
    ids::TOGETHER,
    incoming::Incoming,
    locations::LocationIndex,
    partition::{Partition, Place, StacktraceIndex},
    rows::{BatchRows, UNMAPPED},
    series::{SeriesIndex, SeriesParts},
    symbols::SymbolIndex,
};
use crate::{duration::nominal_duration_ns, source::Tree};

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

    /// Gives everything in the batch that its samples refer to ids, adding what is new to the tables, and returns its chunks, not yet
    /// visible.
    ///
    /// `mark` learns which partitions' trees grow.
    pub(crate) fn intern(&mut self, incoming: &Incoming, mark: &mut Mark) -> Vec<Arc<Chunk>> {
        let batch = &incoming.batch;
        let with_samples = batch.series.iter().filter(|samples| !samples.values.is_empty());
        let all: Vec<(u32, &SeriesSamples)> =
            with_samples.map(|samples| (self.series_id(samples), samples)).collect();
        let Self { view, symbol_index, location_index, stacktrace_indexes, .. } = self;
        let symbols = Arc::make_mut(&mut view.symbols);
        let symbol_index = symbol_index.get_or_insert_with(|| SymbolIndex::of(symbols));
        let location_index = location_index.get_or_insert_with(|| LocationIndex::of(symbols));
        let mut rows = BatchRows::new(incoming, symbols, symbol_index, location_index);
        let partitions = Arc::make_mut(&mut view.partitions);
        // Series of one profile share their stacktraces and mostly their partition, so the mapping is kept between them.
        let mut mapped: Option<(u32, Vec<u32>)> = None;
        let mut chunks = Vec::with_capacity(all.len());
        let mut scratch = Scratch::default();
        for (series, samples) in all {
            let partition = view.series[series as usize].partition;
            let mut stacktrace_ids = match mapped.take() {
                Some((p, ids)) if p == partition => ids,
                _ => vec![UNMAPPED; batch.stacktrace_offsets.len().saturating_sub(1)],
            };
            let tree = &mut Arc::make_mut(&mut partitions[partition as usize]).tree;
            mark.trees.entry(partition).or_insert((tree.parent.len(), tree.leaf.len()));
            let index = stacktrace_indexes[partition as usize]
                .get_or_insert_with(|| StacktraceIndex::of(tree, rows.known_fingerprints()));
            let wanted = &samples.stacktraces;
            map_stacktraces(index, tree, &mut rows, incoming, wanted, &mut stacktrace_ids, &mut scratch);
            let stacktraces = samples.stacktraces.iter().map(|&s| stacktrace_ids[s as usize]).collect();
            mapped = Some((partition, stacktrace_ids));
            chunks.push(Arc::new(Chunk {
                series,
                duration_ns: samples.duration_ns,
                times_ns: samples.times_ns.clone(),
                stacktraces,
                values: samples.values.clone(),
                attributes: samples.attributes.iter().map(|a| map_attribute(a, &mut rows)).collect(),
            }));
        }
        chunks
    }

    fn series_id(&mut self, samples: &SeriesSamples) -> u32 {
        let parts = SeriesParts {
            profile_type: &samples.profile_type,
            labels: &samples.labels,
            period: samples.period,
            duration_ns: nominal_duration_ns(samples.duration_ns),
        };
        let index = self.series_index.get_or_insert_with(|| SeriesIndex::of(&self.view.series));
        if let Some(id) = index.get(&self.view.series, parts) {
            return id;
        }
        let id = self.view.series.len() as u32;
        index.insert(parts, id);
        let key = parts.to_key();
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

/// What is used for one stacktrace after the other.
#[derive(Default)]
struct Scratch {
    /// Stacktraces of the batch that are looked for.
    wanted: Vec<(u32, u128)>,
    place: Place,
    locations: Vec<u32>,
    fingerprints: Vec<u128>,
}

/// Fills in the ids of stacktraces of a batch that have none yet.
fn map_stacktraces(
    index: &mut StacktraceIndex,
    tree: &mut Arc<Tree>,
    rows: &mut BatchRows<'_>,
    incoming: &Incoming,
    stacktraces: &[u32],
    ids: &mut [u32],
    scratch: &mut Scratch,
) {
    /// Marks one that is looked for, so that it is once.
    const WANTED: u32 = UNMAPPED - 1;
    let Scratch { wanted, place, locations, fingerprints } = scratch;
    wanted.clear();
    for &stacktrace in stacktraces {
        let id = &mut ids[stacktrace as usize];
        if *id == UNMAPPED {
            *id = WANTED;
            wanted.push((stacktrace, incoming.stacktraces[stacktrace as usize]));
        }
    }
    for together in wanted.chunks(TOGETHER) {
        let found = index.find(together.iter().map(|&(_, fingerprint)| fingerprint));
        let new = together.iter().zip(&found).filter(|(_, found)| found.is_none());
        rows.find_locations(new.map(|(&(stacktrace, _), _)| stacktrace));
        for (&(stacktrace, fingerprint), found) in together.iter().zip(found) {
            // One that is there twice has an id by now.
            ids[stacktrace as usize] = found.or_else(|| index.get(fingerprint)).unwrap_or_else(|| {
                fingerprints.clear();
                fingerprints.extend(incoming.location_fingerprints(stacktrace));
                index.find_place(tree, rows.known_fingerprints(), fingerprints, place);
                locations.clear();
                rows.map_locations(stacktrace, place.new_locations(), locations);
                index.add(tree, rows.known_fingerprints(), fingerprint, place, locations)
            });
        }
    }
}

fn map_attribute(attribute: &Attribute, rows: &mut BatchRows<'_>) -> ChunkAttribute {
    ChunkAttribute {
        name: rows.string(attribute.name),
        values: match &attribute.values {
            AttributeValues::Text(values) => {
                ChunkAttributeValues::Text(values.iter().map(|&value| rows.string(value)).collect())
            }
            AttributeValues::Integer { unit, values } => {
                ChunkAttributeValues::Integer { unit: rows.string(*unit), values: values.clone() }
            }
        },
    }
}
