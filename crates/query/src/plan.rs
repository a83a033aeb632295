//! Here are the series tables of a snapshot, a selector and a range, gives you one task per source that has anything to read.
//!
//! A plan holds ids and ranges, and conditions only where rows must be looked at: a matcher or grouping label that a series
//! lacks but some of its samples have as an attribute. Coarse sources have no rows to look at: where a matcher asks for that, the series
//! is left out, and the plan says so. Pure: no I/O, no clock. O(series).

use std::sync::Arc;

use decima_profile::ProfileType;
use decima_store::source::{Series, SeriesTable};
use hashbrown::HashMap;

use crate::{
    api::TimeRange,
    attributes::{Fulfilled, SeriesMatcher},
    coarse::Coarse,
    group::{Cell, Grouping, Template},
    selector::Matcher,
};

/// Which samples are wanted and how they are kept apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) profile_type: &'a ProfileType,
    pub(crate) matchers: &'a [Matcher],
    pub(crate) range: TimeRange,
    pub(crate) grouping: Grouping<'a>,
    /// Counts of samples become values of the period type.
    pub(crate) scale_by_period: bool,
}

/// What to read, and what cannot be.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// One task per source that has anything to read.
    pub(crate) tasks: Vec<Task>,
    /// Which parts are coarse.
    pub(crate) coarse: Coarse,
}

/// What to read of one source.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Place of the source in the snapshot.
    pub(crate) source: usize,
    /// Series to read, ascending by id.
    pub(crate) series: Vec<ChosenSeries>,
    /// Attributes to read with them.
    pub(crate) attributes: Vec<String>,
    /// Conditions on rows: place in `attributes`, condition.
    pub(crate) row_matchers: Vec<(usize, Matcher)>,
    /// Distinct templates of group keys.
    pub(crate) templates: Vec<Template>,
    /// Times to read.
    pub(crate) range: TimeRange,
    /// 0, or the width of the buckets that its samples are sums of.
    pub(crate) resolution_ns: i64,
    /// By series, how many states its values are the sum of, where their mean is wanted ([`states`](crate::states)).
    pub(crate) states: HashMap<u32, u64>,
}

/// A series to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChosenSeries {
    pub(crate) id: u32,
    pub(crate) partition: u32,
    /// Bit set of the row matchers that its rows must fulfil.
    pub(crate) row_matchers: u128,
    /// Place of its template.
    pub(crate) template: u32,
    /// Factor of its values.
    pub(crate) scale: i64,
    /// Sampling period.
    pub(crate) period: i64,
}

impl Task {
    /// Partitions that its series use, ascending.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        let mut partitions: Vec<u32> = self.series.iter().map(|s| s.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    /// The part of the task that some partitions (ascending) have, if any.
    pub(crate) fn restricted_to(&self, partitions: &[u32]) -> Option<Self> {
        let is_there = |series: &&ChosenSeries| partitions.binary_search(&series.partition).is_ok();
        let series: Vec<ChosenSeries> = self.series.iter().filter(is_there).cloned().collect();
        (!series.is_empty()).then(|| Self { series, ..self.clone() })
    }

    /// The chosen series with this id.
    pub(crate) fn series(&self, id: u32) -> Option<&ChosenSeries> {
        self.series.binary_search_by_key(&id, |s| s.id).ok().map(|at| &self.series[at])
    }

    /// Whether samples of one partition may belong to different groups.
    pub(crate) fn has_groups(&self) -> bool {
        self.templates.len() > 1
            || self.templates.iter().flatten().any(|(_, cell)| matches!(cell, Cell::Attribute(_)))
    }

    /// Whether the rows of a series must be looked at one by one.
    pub(crate) fn needs_rows(&self, series: &ChosenSeries) -> bool {
        series.row_matchers != 0
            || self.templates[series.template as usize].iter().any(|(_, c)| matches!(c, Cell::Attribute(_)))
    }
}

/// Chooses what to read.
pub(crate) fn plan(tables: &[Option<Arc<SeriesTable>>], wanted: Wanted<'_>) -> Plan {
    let mut plan = Plan::default();
    for (source, table) in tables.iter().enumerate() {
        let Some(table) = table else { continue };
        let mut planner = Planner::new(table, wanted);
        let series: Vec<ChosenSeries> =
            (0..).zip(&table.series).filter_map(|(id, series)| planner.choose(id, series)).collect();
        let Planner { attributes, row_matchers, templates, coarse, .. } = planner;
        plan.coarse.add(coarse);
        if !series.is_empty() {
            plan.tasks.push(Task {
                source,
                series,
                attributes,
                row_matchers,
                templates,
                range: wanted.range,
                resolution_ns: table.resolution_ns,
                states: HashMap::new(),
            });
        }
    }
    plan
}

struct Planner<'a> {
    table: &'a SeriesTable,
    wanted: Wanted<'a>,
    attributes: Vec<String>,
    row_matchers: Vec<(usize, Matcher)>,
    matchers: Vec<SeriesMatcher<'a>>,
    /// Per matcher: its place in `row_matchers`, if it is there.
    on_rows: Vec<Option<u32>>,
    templates: Vec<Template>,
    template_ids: HashMap<Template, u32>,
    coarse: Coarse,
}

impl<'a> Planner<'a> {
    fn new(table: &'a SeriesTable, wanted: Wanted<'a>) -> Self {
        Self {
            table,
            wanted,
            attributes: Vec::new(),
            row_matchers: Vec::new(),
            matchers: SeriesMatcher::all(table, wanted.matchers),
            on_rows: vec![None; wanted.matchers.len()],
            templates: Vec::new(),
            template_ids: HashMap::new(),
            coarse: Coarse::default(),
        }
    }

    fn choose(&mut self, id: u32, series: &Series) -> Option<ChosenSeries> {
        if !series.range.overlaps(&self.wanted.range) || *series.profile_type != *self.wanted.profile_type {
            return None;
        }
        let row_matchers = self.series_matches(id, series);
        if row_matchers.is_some() && self.is_coarse() {
            self.coarse.note(self.table.resolution_ns, series.range, self.wanted.range);
        }
        let row_matchers = row_matchers?;
        let template = self.template(id, series);
        let scale = if self.wanted.scale_by_period && series.period > 0 { series.period } else { 1 };
        Some(ChosenSeries {
            id,
            partition: series.partition,
            row_matchers,
            template,
            scale,
            period: series.period,
        })
    }

    /// The row matchers that are left to fulfil; `None` if the series is out.
    fn series_matches(&mut self, id: u32, series: &Series) -> Option<u128> {
        let (mut left, mut unknown) = (0, Vec::new());
        for at in 0..self.matchers.len() {
            match self.matchers[at].of_series(id, series, self.wanted.range) {
                Fulfilled::All => {}
                Fulfilled::Some if self.is_coarse() => unknown.push(self.matchers[at].matcher.label()),
                Fulfilled::Some => left |= 1 << self.on_rows(at),
                Fulfilled::None => return None,
            }
        }
        if unknown.is_empty() {
            return Some(left);
        }
        self.coarse.note(self.table.resolution_ns, series.range, self.wanted.range);
        unknown.into_iter().for_each(|label| self.coarse.leave_out(label));
        None
    }

    fn is_coarse(&self) -> bool {
        self.table.resolution_ns > 0
    }

    /// The place of a matcher in `row_matchers`.
    fn on_rows(&mut self, at: usize) -> u32 {
        if let Some(known) = self.on_rows[at] {
            return known;
        }
        let matcher = self.matchers[at].matcher;
        let attribute = self.attribute(matcher.label());
        let place = self.row_matchers.len() as u32;
        self.row_matchers.push((attribute, matcher.clone()));
        self.on_rows[at] = Some(place);
        place
    }

    fn attribute(&mut self, name: &str) -> usize {
        self.attributes.iter().position(|a| a == name).unwrap_or_else(|| {
            self.attributes.push(name.to_owned());
            self.attributes.len() - 1
        })
    }

    fn template(&mut self, id: u32, series: &Series) -> u32 {
        let template: Template = match self.wanted.grouping {
            Grouping::EverySeriesLabel => {
                series.labels.iter().map(|(n, v)| (n.clone(), Cell::Value(v.clone()))).collect()
            }
            Grouping::Labels(names) => {
                names.iter().map(|name| (name.clone(), self.cell(id, series, name))).collect()
            }
        };
        if let Some(&id) = self.template_ids.get(&template) {
            return id;
        }
        let id = self.templates.len() as u32;
        self.templates.push(template.clone());
        self.template_ids.insert(template, id);
        id
    }

    fn cell(&mut self, id: u32, series: &Series, name: &str) -> Cell {
        let value = series.label(name);
        let is_attribute = value.is_empty() && self.table.attributes.of_series(name, id).is_some();
        if is_attribute && self.is_coarse() {
            self.coarse.leave_together(name);
        } else if is_attribute {
            return Cell::Attribute(self.attribute(name));
        }
        Cell::Value(value.to_owned())
    }
}
