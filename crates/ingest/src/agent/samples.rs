//! The columns that both schemas have, and how rows become series.
//!
//! A series has one profile type, label set, period and duration. An agent sends one row for each event, with the thread and
//! the CPU among its labels: as labels of series these would make one for each thread, so they become attributes of the samples,
//! and so does every label that differs between two samples of one thread (labels of pprof or of a native library, which the
//! agent passes on), or that has more values in one request than a host has programs. Once a label has been seen to do that it
//! stays an attribute; to queries it is a label either way.

use std::collections::{BTreeSet, HashMap, HashSet};

use decima_profile::{
    ProfileType, attribute_name,
    batch::{Attribute, AttributeValues, SeriesSamples, StringId},
};

use super::{CELLS_MAX, Context, Text};
use crate::arrow::{Array, ArrowError, Batch, Fault};

/// Labels that belong to series whatever their values are: selections start with them.
const SERIES_LABELS: [&str; 8] =
    ["comm", "container", "instance", "job", "namespace", "node", "pod", "service_name"];
/// By this one labels that belong to samples are told from those that belong to processes.
const THREAD: &str = "thread_id";
/// The label that names the sender.
pub(super) const NODE: &str = "node";
/// Values of one label in one request beyond which it is a sample's: hosts do not run more different programs.
const VALUES_MAX: usize = 256;
/// Bytes of a name in an error message.
const SHOWN_BYTES: usize = 40;

/// Columns of the parts of a profile type, in order.
const TYPE_COLUMNS: [&str; 5] = ["producer", "sample_type", "sample_unit", "period_type", "period_unit"];

/// The samples of a batch: one value a row in every column.
pub(super) struct Samples {
    values: Vec<i64>,
    times_ns: Vec<i64>,
    /// Strings of [`TYPE_COLUMNS`].
    types: [Vec<StringId>; 5],
    periods: Vec<u64>,
    durations_ns: Vec<u64>,
    /// By name, sorted; equal texts of a label have equal ids.
    labels: Vec<Label>,
    /// Labels that turned out to belong to samples.
    pub(super) found: BTreeSet<String>,
}

struct Label {
    name: String,
    ids: Vec<StringId>,
    is_attribute: bool,
}

impl Samples {
    /// Reads all columns but stacktraces and checks them against the limits. `labels` are columns with the names of labels.
    pub(super) fn read<'a>(
        batch: &Batch<'a, '_>,
        labels: &[(&str, &Array<'a>)],
        text: &mut Text,
        context: Context<'_>,
    ) -> Result<Self, ArrowError> {
        let required = |name: &str| -> Result<Vec<i64>, ArrowError> {
            Ok(batch.integers(batch.required(name)?)?.into_iter().map(|value| value as i64).collect())
        };
        let values = required("value")?;
        let times_ns = required("timestamp")?;
        let periods = batch.integers(batch.required("period")?)?;
        let durations_ns = batch.integers(batch.required("duration")?)?;
        let mut types: [Vec<StringId>; 5] = Default::default();
        for (name, ids) in TYPE_COLUMNS.into_iter().zip(&mut types) {
            let column = batch.required(name)?;
            *ids = text.column(batch, column)?;
            unify(ids, text);
            check_type_part(column, ids, text, context, name == "producer")?;
        }
        let labels = read_labels(batch, labels, text, context)?;
        let mut samples =
            Self { values, times_ns, types, periods, durations_ns, labels, found: BTreeSet::new() };
        samples.find_sample_labels(text, context);
        Ok(samples)
    }

    /// The first `node` label.
    pub(super) fn node(&self, text: &Text) -> String {
        let label = self.labels.iter().find(|label| label.name == NODE);
        let id = label.and_then(|label| label.ids.iter().copied().find(|&id| id != 0));
        id.map(|id| text.strings.get(id).to_owned()).unwrap_or_default()
    }

    fn find_sample_labels(&mut self, text: &Text, context: Context<'_>) {
        let threads = self.labels.iter().find(|label| label.name == THREAD).map(|label| label.ids.clone());
        for label in &mut self.labels {
            label.is_attribute = context.sample_labels.contains(&label.name);
            if label.is_attribute || SERIES_LABELS.contains(&label.name.as_str()) {
                continue;
            }
            let distinct = label.ids.iter().collect::<HashSet<_, foldhash::fast::RandomState>>().len();
            let differs = threads.as_ref().is_some_and(|threads| {
                distinct > 1 && differs_within(threads, &label.ids, text.strings.len())
            });
            if differs || distinct > VALUES_MAX {
                label.is_attribute = true;
                self.found.insert(label.name.clone());
            }
        }
    }

    /// The series, given the stacktrace of each row. Rows of value 0 are left out.
    pub(super) fn series(&mut self, stacktraces: &[u32], text: &mut Text) -> Vec<SeriesSamples> {
        let groups = self.groups();
        let mut rows_of: Vec<Vec<u32>> = Vec::new();
        for (row, &group) in groups.iter().enumerate() {
            if self.values[row] == 0 {
                continue;
            }
            if rows_of.len() <= group as usize {
                rows_of.resize_with(group as usize + 1, Vec::new);
            }
            rows_of[group as usize].push(row as u32);
        }
        let attribute_names = self.attribute_names(text);
        let series = rows_of.iter().filter(|rows| !rows.is_empty());
        series.map(|rows| self.one_series(rows, stacktraces, &attribute_names, text)).collect()
    }

    fn one_series(
        &self,
        rows: &[u32],
        stacktraces: &[u32],
        attribute_names: &[StringId],
        text: &Text,
    ) -> SeriesSamples {
        let first = rows[0] as usize;
        let part = |column: usize| text.strings.get(self.types[column][first]).to_owned();
        let duration_ns = self.durations_ns[first] as i64;
        let labels = self.labels.iter().filter(|label| !label.is_attribute && label.ids[first] != 0);
        let attributes = self.labels.iter().filter(|label| label.is_attribute).zip(attribute_names);
        SeriesSamples {
            profile_type: ProfileType {
                name: part(0),
                sample_type: part(1),
                sample_unit: part(2),
                period_type: part(3),
                period_unit: part(4),
                delta: duration_ns != 0,
            },
            labels: labels
                .map(|label| (label.name.clone(), text.strings.get(label.ids[first]).to_owned()))
                .collect(),
            period: self.periods[first] as i64,
            duration_ns,
            times_ns: rows.iter().map(|&row| self.times_ns[row as usize]).collect(),
            stacktraces: rows.iter().map(|&row| stacktraces[row as usize]).collect(),
            values: rows.iter().map(|&row| self.values[row as usize]).collect(),
            attributes: attributes
                .filter(|(label, _)| rows.iter().any(|&row| label.ids[row as usize] != 0))
                .map(|(label, &name)| Attribute {
                    name,
                    values: AttributeValues::Text(rows.iter().map(|&row| label.ids[row as usize]).collect()),
                })
                .collect(),
        }
    }

    /// Names of attributes, in the order of their labels, that are no labels of series.
    fn attribute_names(&self, text: &mut Text) -> Vec<StringId> {
        let mut taken: HashSet<String> =
            self.labels.iter().filter(|label| !label.is_attribute).map(|label| label.name.clone()).collect();
        let attributes = self.labels.iter().filter(|label| label.is_attribute);
        attributes
            .map(|label| {
                let name = attribute_name::unique(&label.name, |name| taken.contains(name)).into_owned();
                let id = text.strings.push(&name);
                taken.insert(name);
                id
            })
            .collect()
    }

    /// Numbers the distinct combinations of everything that makes a series.
    fn groups(&self) -> Vec<u32> {
        let mut groups = vec![0; self.values.len()];
        let mut count = 1;
        for ids in &self.types {
            refine(&mut groups, &mut count, ids.iter().map(|&id| u64::from(id)));
        }
        refine(&mut groups, &mut count, self.periods.iter().copied());
        refine(&mut groups, &mut count, self.durations_ns.iter().copied());
        for label in self.labels.iter().filter(|label| !label.is_attribute) {
            refine(&mut groups, &mut count, label.ids.iter().map(|&id| u64::from(id)));
        }
        groups
    }
}

/// Splits groups by one more column.
fn refine(groups: &mut [u32], count: &mut u32, column: impl Iterator<Item = u64> + Clone) {
    let mut values = column.clone();
    let first = values.next();
    if values.all(|value| Some(value) == first) {
        return;
    }
    let mut ids: HashMap<(u32, u64), u32, foldhash::fast::RandomState> = HashMap::default();
    let mut last = None;
    for (group, value) in groups.iter_mut().zip(column) {
        let key = (*group, value);
        *group = match last {
            Some((before, id)) if before == key => id,
            _ => {
                let next = ids.len() as u32;
                *ids.entry(key).or_insert(next)
            }
        };
        last = Some((key, *group));
    }
    *count = ids.len() as u32;
}

/// Whether two rows of one thread have different values. Ids of threads are below `strings`.
fn differs_within(threads: &[StringId], ids: &[StringId], strings: usize) -> bool {
    const UNSEEN: StringId = StringId::MAX;
    let mut of_thread = vec![UNSEEN; strings];
    threads.iter().zip(ids).any(|(&thread, &id)| {
        let Some(seen) = of_thread.get_mut(thread as usize).filter(|_| thread != 0) else { return false };
        let differs = *seen != UNSEEN && *seen != id;
        *seen = id;
        differs
    })
}

/// Gives equal texts of a column equal ids: a column without a dictionary has a string for each run.
fn unify(ids: &mut [StringId], text: &Text) {
    let distinct: HashSet<StringId, foldhash::fast::RandomState> = ids.iter().copied().collect();
    let mut first_of: HashMap<&[u8], StringId, foldhash::fast::RandomState> = HashMap::default();
    let mut sorted: Vec<StringId> = distinct.into_iter().collect();
    sorted.sort_unstable();
    let mut renamed = HashMap::new();
    for id in sorted {
        let first = *first_of.entry(text.strings.bytes(id)).or_insert(id);
        if first != id {
            renamed.insert(id, first);
        }
    }
    if !renamed.is_empty() {
        ids.iter_mut().for_each(|id| *id = renamed.get(id).copied().unwrap_or(*id));
    }
}

fn shown(name: &str) -> String {
    let mut shown = name.to_owned();
    if shown.len() > SHOWN_BYTES {
        shown.truncate(shown.floor_char_boundary(SHOWN_BYTES));
        shown.push('…');
    }
    shown
}

/// Calls `check` with the first row of each distinct id.
fn each_distinct(
    ids: &[StringId],
    mut check: impl FnMut(usize, StringId) -> Result<(), Fault>,
) -> Result<(), (usize, Fault)> {
    let mut seen: HashSet<StringId, foldhash::fast::RandomState> = HashSet::default();
    let mut last = None;
    for (row, &id) in ids.iter().enumerate() {
        if last != Some(id) && seen.insert(id) {
            check(row, id).map_err(|fault| (row, fault))?;
        }
        last = Some(id);
    }
    Ok(())
}

/// The parts of a type are joined with colons, and each is kept with every series.
fn check_type_part(
    column: &Array<'_>,
    ids: &[StringId],
    text: &Text,
    context: Context<'_>,
    is_name: bool,
) -> Result<(), ArrowError> {
    let limit = context.limits.label_value_bytes_max;
    each_distinct(ids, |_, id| {
        let part = text.strings.get(id);
        if is_name && part.is_empty() {
            return Err(Fault::Value("is empty, and so the profile has no name".to_owned()));
        }
        if part.len() > limit {
            return Err(Fault::Limit { what: "bytes of text", found: part.len(), limit });
        }
        if part.contains(':') {
            let part = shown(part);
            return Err(Fault::Value(format!(
                "{part:?} contains ':', which separates the parts of a profile type"
            )));
        }
        Ok(())
    })
    .map_err(|(row, fault)| column.at(row, fault))
}

fn read_labels<'a>(
    batch: &Batch<'a, '_>,
    columns: &[(&str, &Array<'a>)],
    text: &mut Text,
    context: Context<'_>,
) -> Result<Vec<Label>, ArrowError> {
    let limits = context.limits;
    if columns.len() > limits.label_count_max {
        let fault = Fault::Limit { what: "labels", found: columns.len(), limit: limits.label_count_max };
        return Err(ArrowError::column("labels", fault));
    }
    let found = columns.len().saturating_mul(batch.rows());
    if found > CELLS_MAX {
        let fault = Fault::Limit { what: "labels of samples", found, limit: CELLS_MAX };
        return Err(ArrowError::column("labels", fault));
    }
    let mut labels = Vec::with_capacity(columns.len());
    for &(name, column) in columns {
        let (found, limit) = (name.len(), limits.label_name_bytes_max);
        if found > limit {
            let fault = Fault::Limit { what: "bytes of the name of a label", found, limit };
            return Err(ArrowError::column(column.path(), fault));
        }
        if name.is_empty() || name == attribute_name::PROFILE_NAME {
            let fault = Fault::Value(format!("invalid label name: {name}"));
            return Err(ArrowError::column(column.path(), fault));
        }
        let mut ids = text.column(batch, column)?;
        if ids.iter().all(|&id| id == 0) {
            continue;
        }
        unify(&mut ids, text);
        let limit = limits.label_value_bytes_max;
        each_distinct(&ids, |_, id| match text.strings.bytes(id).len() {
            found if found > limit => Err(Fault::Limit { what: "bytes of text", found, limit }),
            _ => Ok(()),
        })
        .map_err(|(row, fault)| column.at(row, fault))?;
        labels.push(Label { name: name.to_owned(), ids, is_attribute: false });
    }
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let fault = Fault::Value(format!("duplicate label name: {}", shown(&pair[0].name)));
        return Err(ArrowError::column("labels", fault));
    }
    Ok(labels)
}
