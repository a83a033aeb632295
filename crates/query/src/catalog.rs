//! What there is: profile types, label names and label values, from series tables alone.
//!
//! Costs O(series) whatever the number of samples. A series counts for a range if its first-to-last span overlaps it.
//! Attributes are known per source, not per series: those of a source count as soon as one of its series does.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use decima_profile::ProfileType;
use decima_store::source::{Series, SeriesTable};

use crate::{
    api::{LabelsRequest, QueryError, TimeRange},
    plan::may_match,
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

    fn contains(&self, table: &SeriesTable, series: &Series) -> bool {
        let is_type =
            |wanted: &Option<ProfileType>| wanted.as_ref().is_none_or(|t| *t == *series.profile_type);
        is_within(series, self.range)
            && is_type(&self.profile_type)
            && (self.selectors.is_empty()
                || self
                    .selectors
                    .iter()
                    .any(|s| is_type(&s.profile_type) && may_match(table, series, &s.matchers)))
    }
}

fn is_within(series: &Series, range: Option<TimeRange>) -> bool {
    series.sample_count > 0 && range.is_none_or(|range| series.range.overlaps(&range))
}

/// Sorted names of labels and attributes.
pub(crate) fn labels(tables: &[Option<Arc<SeriesTable>>], scope: &Scope) -> Vec<String> {
    let mut names: HashSet<&str> = HashSet::new();
    for table in tables.iter().flatten() {
        let mut any = false;
        for series in table.series.iter().filter(|series| scope.contains(table, series)) {
            any = true;
            names.extend(series.labels.iter().map(|(name, _)| name.as_str()));
        }
        if any {
            names.extend(table.attribute_values.keys().map(String::as_str));
        }
    }
    sorted(names)
}

/// Sorted values of one label or attribute.
pub(crate) fn values(tables: &[Option<Arc<SeriesTable>>], scope: &Scope, name: &str) -> Vec<String> {
    let mut values: HashSet<&str> = HashSet::new();
    for table in tables.iter().flatten() {
        let mut any = false;
        for series in table.series.iter().filter(|series| scope.contains(table, series)) {
            any = true;
            values.insert(series.label(name));
        }
        if let Some(summary) = table.attribute_values.get(name).filter(|_| any) {
            values.extend(summary.values.iter().map(String::as_str));
        }
    }
    values.remove("");
    sorted(values)
}

fn sorted(texts: HashSet<&str>) -> Vec<String> {
    let sorted: BTreeSet<&str> = texts.into_iter().collect();
    sorted.into_iter().map(str::to_owned).collect()
}
