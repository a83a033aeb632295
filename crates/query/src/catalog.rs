//! What there is: profile types, label names and label values, from series tables alone.
//!
//! Costs O(series and the attribute values they list) whatever the number of samples. A series, an attribute and a value count for a
//! range if the time from the first to the last sample that has it overlaps the range.
//!
//! A matcher on an attribute chooses the series that have samples it matches, not those samples: other attributes of the series
//! are named whichever of its samples have them. Of the attribute itself only values that it matches are named.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use decima_profile::ProfileType;
use decima_store::source::{Attribute, Series, SeriesTable};

use crate::{
    api::{LabelsRequest, QueryError, TimeRange},
    attributes::{Fulfilled, SeriesMatcher},
    selector::Selector,
};

/// Distinct profile types, sorted.
pub(crate) fn profile_types(
    tables: &[Option<Arc<SeriesTable>>],
    range: Option<TimeRange>,
) -> Vec<ProfileType> {
    let series = tables.iter().flatten().flat_map(|table| &table.series).filter(|s| is_within(s, range));
    let distinct: HashSet<&ProfileType> = series.map(|s| &*s.profile_type).collect();
    let mut sorted: Vec<ProfileType> = distinct.into_iter().cloned().collect();
    sorted.sort_unstable();
    sorted
}

/// Which series a labels request is about.
pub(crate) struct Scope {
    profile_type: Option<ProfileType>,
    /// A series must match one of them, if there are any.
    selectors: Vec<Selector>,
    range: Option<TimeRange>,
}

impl Scope {
    /// Reads the texts of a request. Blank selectors, which Parca's page sends, say nothing.
    pub(crate) fn parse(request: &LabelsRequest) -> Result<Self, QueryError> {
        let parse_type = |text: &String| {
            ProfileType::parse(text).map_err(|e| QueryError::InvalidArgument { message: e.to_string() })
        };
        let texts = request.matchers.iter().filter(|text| !text.trim().is_empty());
        Ok(Self {
            profile_type: request
                .profile_type
                .as_ref()
                .filter(|t| !t.is_empty())
                .map(parse_type)
                .transpose()?,
            selectors: texts.map(|text| Selector::parse(text)).collect::<Result<_, _>>()?,
            range: request.range,
        })
    }

    /// The scope over the series of one source.
    fn over<'a>(&'a self, table: &'a SeriesTable) -> TableScope<'a> {
        let selectors = self.selectors.iter().map(|selector| SelectorScope {
            profile_type: selector.profile_type.as_ref(),
            matchers: SeriesMatcher::all(table, &selector.matchers),
        });
        TableScope {
            scope: self,
            range: self.range.unwrap_or(TimeRange::ALL),
            selectors: selectors.collect(),
        }
    }
}

/// A scope over the series of one source.
struct TableScope<'a> {
    scope: &'a Scope,
    range: TimeRange,
    selectors: Vec<SelectorScope<'a>>,
}

struct SelectorScope<'a> {
    profile_type: Option<&'a ProfileType>,
    matchers: Vec<SeriesMatcher<'a>>,
}

impl TableScope<'_> {
    fn contains(&mut self, id: u32, series: &Series) -> bool {
        let range = self.range;
        self.has_type_and_time(series)
            && (self.selectors.is_empty() || self.selectors.iter_mut().any(|s| s.chooses(id, series, range)))
    }

    fn has_type_and_time(&self, series: &Series) -> bool {
        is_within(series, self.scope.range)
            && self.scope.profile_type.as_ref().is_none_or(|wanted| *wanted == *series.profile_type)
    }

    /// Whether a value of an attribute of a series in scope is wanted: a selector that chooses the series takes it.
    fn takes(&mut self, id: u32, series: &Series, name: &str, value: u32) -> bool {
        let range = self.range;
        self.selectors.is_empty()
            || self.selectors.iter_mut().any(|s| s.takes(name, value) && s.chooses(id, series, range))
    }
}

impl SelectorScope<'_> {
    fn chooses(&mut self, id: u32, series: &Series, range: TimeRange) -> bool {
        self.profile_type.is_none_or(|wanted| *wanted == *series.profile_type)
            && self.matchers.iter_mut().all(|m| m.of_series(id, series, range) != Fulfilled::None)
    }

    fn takes(&mut self, name: &str, value: u32) -> bool {
        self.matchers.iter_mut().filter(|m| m.matcher.label() == name).all(|m| m.matches_value(value))
    }
}

fn is_within(series: &Series, range: Option<TimeRange>) -> bool {
    series.sample_count > 0 && range.is_none_or(|range| series.range.overlaps(&range))
}

/// Sorted names of labels and attributes.
pub(crate) fn labels(tables: &[Option<Arc<SeriesTable>>], scope: &Scope) -> Vec<String> {
    let mut names: HashSet<&str> = HashSet::new();
    for table in tables.iter().flatten() {
        let mut within = scope.over(table);
        let mut is_chosen = Vec::with_capacity(table.series.len());
        for (id, series) in (0..).zip(&table.series) {
            let chosen = within.contains(id, series);
            is_chosen.push(chosen);
            if chosen {
                names.extend(series.labels.iter().map(|(name, _)| name.as_str()));
            }
        }
        for (name, attribute) in table.attributes.iter() {
            let has_chosen =
                attribute.series().any(|(id, of)| is_chosen[id as usize] && of.range.overlaps(&within.range));
            if has_chosen {
                names.insert(name);
            }
        }
    }
    sorted(names)
}

/// Sorted values of one label or attribute.
pub(crate) fn values(tables: &[Option<Arc<SeriesTable>>], scope: &Scope, name: &str) -> Vec<String> {
    let mut values: HashSet<&str> = HashSet::new();
    for table in tables.iter().flatten() {
        let mut within = scope.over(table);
        let attribute = table.attributes.get(name);
        let mut is_taken = vec![false; attribute.map_or(0, Attribute::value_count)];
        for (id, series) in (0..).zip(&table.series) {
            if !within.contains(id, series) {
                continue;
            }
            let label = series.label(name);
            values.insert(label);
            let Some(of) = attribute.and_then(|a| a.of_series(id)).filter(|_| label.is_empty()) else {
                continue;
            };
            for (&value, times) in &of.values {
                let taken = &mut is_taken[value as usize];
                *taken = *taken || times.overlaps(&within.range) && within.takes(id, series, name, value);
            }
        }
        if let Some(attribute) = attribute {
            let taken = (0..).zip(is_taken).filter(|(_, taken)| *taken);
            values.extend(taken.map(|(value, _)| attribute.text(value)));
        }
    }
    values.remove("");
    sorted(values)
}

fn sorted(texts: HashSet<&str>) -> Vec<String> {
    let sorted: BTreeSet<&str> = texts.into_iter().collect();
    sorted.into_iter().map(str::to_owned).collect()
}
