//! Tells for each row of a run which group it belongs to, or that a matcher drops it.
//!
//! Most queries have neither matchers nor groups on attributes: then a whole run has one group and no row is looked at.

use decima_store::source::{AttributeRun, SampleRun};
use hashbrown::HashMap;

use crate::{
    group::{Cell, GroupKey, GroupTable},
    plan::{ChosenSeries, Task},
};

/// Group of a row that a matcher dropped.
pub(crate) const DROPPED: u32 = u32::MAX;

/// Groups of the rows of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RunGroups<'a> {
    /// All rows belong to one group.
    Constant(u32),
    /// One group a row, or [`DROPPED`].
    Rows(&'a [u32]),
}

/// Reads rows of one task. Group numbers are its own.
pub(crate) struct RowReader<'t> {
    task: &'t Task,
    groups: GroupTable,
    /// Group of each template without attributes, once needed.
    constant: Vec<Option<u32>>,
    rows: Vec<u32>,
}

impl<'t> RowReader<'t> {
    pub(crate) fn new(task: &'t Task) -> Self {
        Self {
            task,
            groups: GroupTable::default(),
            constant: vec![None; task.templates.len()],
            rows: Vec::new(),
        }
    }

    /// The group of all samples of a series whose rows need not be looked at.
    pub(crate) fn constant_group(&mut self, series: &ChosenSeries) -> u32 {
        if let Some(group) = self.constant[series.template as usize] {
            return group;
        }
        let template = &self.task.templates[series.template as usize];
        let values = template.iter().map(|(name, cell)| match cell {
            Cell::Value(value) => (name.clone(), value.clone()),
            Cell::Attribute(_) => (name.clone(), String::new()),
        });
        let group = self.groups.id(values.filter(|(_, value)| !value.is_empty()).collect());
        self.constant[series.template as usize] = Some(group);
        group
    }

    /// Groups of a run's rows.
    pub(crate) fn read(&mut self, series: &ChosenSeries, run: &SampleRun<'_>) -> RunGroups<'_> {
        if !self.task.needs_rows(series) {
            return RunGroups::Constant(self.constant_group(series));
        }
        self.rows.clear();
        self.rows.resize(run.values.len(), 0);
        self.group_rows(series, run);
        for (bit, (attribute, matcher)) in self.task.row_matchers.iter().enumerate() {
            if series.row_matchers & (1 << bit) != 0 {
                drop_rows(&mut self.rows, column(run, *attribute), |text| matcher.matches(text));
            }
        }
        RunGroups::Rows(&self.rows)
    }

    fn group_rows(&mut self, series: &ChosenSeries, run: &SampleRun<'_>) {
        let template = &self.task.templates[series.template as usize];
        let columns: Vec<Option<AttributeRun<'_>>> = template
            .iter()
            .filter_map(|(_, cell)| match cell {
                Cell::Attribute(attribute) => Some(column(run, *attribute)),
                Cell::Value(_) => None,
            })
            .collect();
        let mut known: HashMap<Vec<Option<i64>>, u32> = HashMap::new();
        let mut ids = vec![None; columns.len()];
        for (row, group) in self.rows.iter_mut().enumerate() {
            for (id, column) in ids.iter_mut().zip(&columns) {
                *id = row_id(*column, row);
            }
            *group = match known.get(&ids) {
                Some(&group) => group,
                None => {
                    let group = self.groups.id(key(template, &columns, &ids));
                    known.insert(ids.clone(), group);
                    group
                }
            };
        }
    }

    /// Keys of all groups met, by number.
    pub(crate) fn into_groups(self) -> Vec<GroupKey> {
        self.groups.into_keys()
    }

    /// Number of groups met.
    pub(crate) fn group_count(&self) -> usize {
        self.groups.keys().len()
    }
}

fn column<'a>(run: &SampleRun<'a>, attribute: usize) -> Option<AttributeRun<'a>> {
    run.attributes.get(attribute).copied().flatten()
}

/// What tells the values of a column in one run apart; `None` = absent.
fn row_id(column: Option<AttributeRun<'_>>, row: usize) -> Option<i64> {
    match column? {
        AttributeRun::Text { ids, .. } => (ids[row] != 0).then_some(i64::from(ids[row])),
        AttributeRun::Integer(values) => values[row],
    }
}

fn with_text<T>(column: Option<AttributeRun<'_>>, id: Option<i64>, read: impl FnOnce(&str) -> T) -> T {
    match (column, id) {
        (Some(AttributeRun::Text { dictionary, .. }), Some(id)) => read(dictionary.get(id as u32)),
        (Some(AttributeRun::Integer(_)), Some(number)) => read(&number.to_string()),
        _ => read(""),
    }
}

fn key(template: &[(String, Cell)], columns: &[Option<AttributeRun<'_>>], ids: &[Option<i64>]) -> GroupKey {
    let mut attributes = columns.iter().zip(ids);
    let values = template.iter().map(|(name, cell)| {
        let value = match cell {
            Cell::Value(value) => value.clone(),
            Cell::Attribute(_) => {
                let (column, id) = attributes.next().map_or((None, None), |(c, i)| (*c, *i));
                with_text(column, id, str::to_owned)
            }
        };
        (name.clone(), value)
    });
    values.filter(|(_, value)| !value.is_empty()).collect()
}

fn drop_rows(rows: &mut [u32], column: Option<AttributeRun<'_>>, keep: impl Fn(&str) -> bool) {
    let mut known: HashMap<Option<i64>, bool> = HashMap::new();
    for (row, group) in rows.iter_mut().enumerate() {
        let id = row_id(column, row);
        if !*known.entry(id).or_insert_with(|| with_text(column, id, &keep)) {
            *group = DROPPED;
        }
    }
}
