//! The columns that both schemas have, and how rows become series.
//!
//! A series has one profile type, label set, period and duration. An agent sends one row for each event, with the thread and
//! the CPU among its labels: as labels of series these would make one for each thread, so they become attributes of the samples,
//! and so does every label that differs between two samples of one thread (labels of pprof or of a native library, which the
//! agent passes on), or that has more values in one request than a host has programs. Once a label has been seen to do that it
//! stays an attribute; to queries it is a label either way.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
};

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
    /// Of [`TYPE_COLUMNS`].
    types: Vec<TextColumn>,
    periods: Vec<u64>,
    durations_ns: Vec<u64>,
    /// By name, sorted.
    labels: Vec<Label>,
    /// Labels that turned out to belong to samples.
    pub(super) found: BTreeSet<String>,
}

struct Label {
    name: String,
    text: TextColumn,
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
        let mut types = Vec::with_capacity(TYPE_COLUMNS.len());
        for name in TYPE_COLUMNS {
            let check = |part: &str| check_type_part(part, context, name == "producer");
            types.push(TextColumn::read(batch, batch.required(name)?, text, check)?);
        }
        let labels = read_labels(batch, labels, text, context)?;
        let mut samples =
            Self { values, times_ns, types, periods, durations_ns, labels, found: BTreeSet::new() };
        samples.find_sample_labels(context);
        Ok(samples)
    }

    /// The first `node` label.
    pub(super) fn node(&self, text: &Text) -> String {
        let label = self.labels.iter().find(|label| label.name == NODE);
        let id = label.and_then(|label| label.text.ids.iter().copied().find(|&id| id != 0));
        id.map(|id| text.strings.get(id).to_owned()).unwrap_or_default()
    }

    fn find_sample_labels(&mut self, context: Context<'_>) {
        let threads = self.labels.iter().find(|label| label.name == THREAD).map(|label| &label.text);
        let belongs_to_samples = |label: &Label| {
            let differs = || threads.is_some_and(|threads| differs_within(threads, &label.text));
            !SERIES_LABELS.contains(&label.name.as_str())
                && (label.text.distinct > VALUES_MAX || label.text.distinct > 1 && differs())
        };
        let known = &context.sample_labels;
        let found: Vec<bool> =
            self.labels.iter().map(|l| !known.contains(&l.name) && belongs_to_samples(l)).collect();
        for (label, found) in self.labels.iter_mut().zip(found) {
            label.is_attribute = found || known.contains(&label.name);
            if found {
                self.found.insert(label.name.clone());
            }
        }
    }

    /// The series, given the stacktrace of each row. Rows of value 0 are left out.
    pub(super) fn series(&mut self, stacktraces: &[u32], text: &mut Text) -> Vec<SeriesSamples> {
        let (rows, starts) = self.rows_by_group();
        let attribute_names = self.attribute_names(text);
        let series = starts.windows(2).map(|ends| &rows[ends[0]..ends[1]]).filter(|rows| !rows.is_empty());
        series.map(|rows| self.one_series(rows, stacktraces, &attribute_names, text)).collect()
    }

    /// Rows whose value is not 0, group by group, and where each group starts, with the end behind the last one.
    fn rows_by_group(&self) -> (Vec<u32>, Vec<usize>) {
        let groups = self.groups();
        let kept = || groups.iter().zip(&self.values).enumerate().filter(|(_, (_, value))| **value != 0);
        let count = groups.iter().max().map_or(0, |&last| last as usize + 1);
        let mut starts = vec![0; count + 1];
        kept().for_each(|(_, (&group, _))| starts[group as usize + 1] += 1);
        for group in 0..count {
            starts[group + 1] += starts[group];
        }
        let mut rows = vec![0; starts[count]];
        let mut next = starts.clone();
        for (row, (&group, _)) in kept() {
            let place = &mut next[group as usize];
            rows[*place] = row as u32;
            *place += 1;
        }
        (rows, starts)
    }

    fn one_series(
        &self,
        rows: &[u32],
        stacktraces: &[u32],
        attribute_names: &[StringId],
        text: &Text,
    ) -> SeriesSamples {
        let first = rows[0] as usize;
        let part = |column: usize| text.strings.get(self.types[column].ids[first]).to_owned();
        let duration_ns = self.durations_ns[first] as i64;
        let labels = self.labels.iter().filter(|label| !label.is_attribute && label.text.ids[first] != 0);
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
                .map(|label| (label.name.clone(), text.strings.get(label.text.ids[first]).to_owned()))
                .collect(),
            period: self.periods[first] as i64,
            duration_ns,
            times_ns: rows.iter().map(|&row| self.times_ns[row as usize]).collect(),
            stacktraces: rows.iter().map(|&row| stacktraces[row as usize]).collect(),
            values: rows.iter().map(|&row| self.values[row as usize]).collect(),
            attributes: attributes
                .filter(|(label, _)| rows.iter().any(|&row| label.text.ids[row as usize] != 0))
                .map(|(label, &name)| Attribute {
                    name,
                    values: AttributeValues::Text(
                        rows.iter().map(|&row| label.text.ids[row as usize]).collect(),
                    ),
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
        for column in &self.types {
            refine_by_text(&mut groups, &mut count, column);
        }
        refine(&mut groups, &mut count, self.periods.iter().copied());
        refine(&mut groups, &mut count, self.durations_ns.iter().copied());
        for label in self.labels.iter().filter(|label| !label.is_attribute) {
            refine_by_text(&mut groups, &mut count, &label.text);
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

/// Splits groups by a column of text: through a table if that is not much larger than the column.
fn refine_by_text(groups: &mut [u32], count: &mut u32, column: &TextColumn) {
    const NEW: u32 = u32::MAX;
    const CELLS_PER_ROW: usize = 4;
    if column.distinct <= 1 {
        return;
    }
    let width = column.place_count();
    let cells = width.saturating_mul(*count as usize);
    if cells > groups.len().saturating_mul(CELLS_PER_ROW) {
        return refine(groups, count, column.ids.iter().map(|&id| u64::from(id)));
    }
    let mut ids = vec![NEW; cells];
    let mut next = 0;
    for (group, &id) in groups.iter_mut().zip(&column.ids) {
        let new_group = &mut ids[*group as usize * width + column.place(id)];
        if *new_group == NEW {
            *new_group = next;
            next += 1;
        }
        *group = *new_group;
    }
    *count = next;
}

/// A column of text, one a row. Equal texts have equal ids.
struct TextColumn {
    ids: Vec<StringId>,
    /// All ids but 0 are among these, which no other column has: so tables by id are as small as the column.
    range: Range<StringId>,
    /// Number of different texts, the empty one included.
    distinct: usize,
}

impl TextColumn {
    /// Reads a column, and has each of its different texts checked.
    fn read<'a>(
        batch: &Batch<'a, '_>,
        column: &Array<'a>,
        text: &mut Text,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) -> Result<Self, ArrowError> {
        const UNUSED: u32 = u32::MAX;
        let start = text.next_id();
        let ids = text.column(batch, column)?;
        let mut read = Self { ids, range: start..text.next_id(), distinct: 0 };
        let mut first_rows = vec![UNUSED; read.place_count()];
        for (row, &id) in read.ids.iter().enumerate() {
            let first_row = &mut first_rows[read.place(id)];
            *first_row = (*first_row).min(row as u32);
        }
        // A column without a dictionary has a string for each run, so that a text may be there many times.
        let mut first_of: HashMap<&[u8], StringId, foldhash::fast::RandomState> = HashMap::default();
        let mut unified: Vec<StringId> = Vec::with_capacity(first_rows.len());
        let mut wrong: Option<(u32, Fault)> = None;
        for (id, &row) in std::iter::once(0).chain(read.range.clone()).zip(&first_rows) {
            unified.push(id);
            if row == UNUSED {
                continue;
            }
            let first = *first_of.entry(text.strings.bytes(id)).or_insert(id);
            unified[read.place(id)] = first;
            if let Err(fault) = check(text.strings.get(id))
                && wrong.as_ref().is_none_or(|&(before, _)| row < before)
            {
                wrong = Some((row, fault));
            }
        }
        if let Some((row, fault)) = wrong {
            return Err(column.at(row as usize, fault));
        }
        read.distinct = first_of.len();
        if unified.iter().zip(std::iter::once(0).chain(read.range.clone())).any(|(&first, id)| first != id) {
            for at in 0..read.ids.len() {
                read.ids[at] = unified[read.place(read.ids[at])];
            }
        }
        Ok(read)
    }

    /// Where an id is in a table by id.
    fn place(&self, id: StringId) -> usize {
        id.checked_sub(self.range.start).map_or(0, |at| at as usize + 1)
    }

    /// Length of a table by id.
    fn place_count(&self) -> usize {
        self.range.len() + 1
    }
}

/// Whether two rows of one thread have different values.
fn differs_within(threads: &TextColumn, column: &TextColumn) -> bool {
    const UNSEEN: StringId = StringId::MAX;
    let mut of_thread = vec![UNSEEN; threads.place_count()];
    threads.ids.iter().zip(&column.ids).filter(|&(&thread, _)| thread != 0).any(|(&thread, &id)| {
        let seen = &mut of_thread[threads.place(thread)];
        let differs = *seen != UNSEEN && *seen != id;
        *seen = id;
        differs
    })
}

fn shown(name: &str) -> String {
    let mut shown = name.to_owned();
    if shown.len() > SHOWN_BYTES {
        shown.truncate(shown.floor_char_boundary(SHOWN_BYTES));
        shown.push('…');
    }
    shown
}

/// The parts of a type are joined with colons, and each is kept with every series.
fn check_type_part(part: &str, context: Context<'_>, is_name: bool) -> Result<(), Fault> {
    let limit = context.limits.label_value_bytes_max;
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
        let limit = limits.label_value_bytes_max;
        let text = TextColumn::read(batch, column, text, |value| match value.len() {
            found if found > limit => Err(Fault::Limit { what: "bytes of text", found, limit }),
            _ => Ok(()),
        })?;
        if text.ids.iter().any(|&id| id != 0) {
            labels.push(Label { name: name.to_owned(), text, is_attribute: false });
        }
    }
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let fault = Fault::Value(format!("duplicate label name: {}", shown(&pair[0].name)));
        return Err(ArrowError::column("labels", fault));
    }
    Ok(labels)
}
