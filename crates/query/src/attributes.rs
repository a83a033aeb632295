//! What a matcher says of a series without looking at its samples.
//!
//! A label decides for all samples. A sample attribute decides only where all its values, or none, fulfil the matcher; each distinct
//! value of a source is matched once.

use decima_store::source::{Attribute, Series, SeriesTable, TimeRange};

use crate::selector::Matcher;

/// Which samples of a series fulfil a matcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fulfilled {
    All,
    /// Perhaps some: rows must be looked at.
    Some,
    None,
}

/// A matcher over the series of one source.
pub(crate) struct SeriesMatcher<'a> {
    pub(crate) matcher: &'a Matcher,
    attribute: Option<&'a Attribute>,
    /// By value of the attribute, once matched.
    known: Vec<Option<bool>>,
}

impl<'a> SeriesMatcher<'a> {
    pub(crate) fn new(table: &'a SeriesTable, matcher: &'a Matcher) -> Self {
        let attribute = table.attributes.get(matcher.label());
        let known = vec![None; attribute.map_or(0, Attribute::value_count)];
        Self { matcher, attribute, known }
    }

    /// Matchers over one source.
    pub(crate) fn all(table: &'a SeriesTable, matchers: &'a [Matcher]) -> Vec<Self> {
        matchers.iter().map(|matcher| Self::new(table, matcher)).collect()
    }

    /// Whether a value of the attribute, by its id, fulfils the matcher.
    pub(crate) fn matches_value(&mut self, value: u32) -> bool {
        let Some(attribute) = self.attribute else { return false };
        let Some(known) = self.known.get_mut(value as usize) else { return false };
        *known.get_or_insert_with(|| self.matcher.matches(attribute.text(value)))
    }

    /// Which samples of a series in a range of times fulfil the matcher.
    pub(crate) fn of_series(&mut self, id: u32, series: &Series, range: TimeRange) -> Fulfilled {
        let label = series.label(self.matcher.label());
        let of = self.attribute.and_then(|attribute| attribute.of_series(id));
        let Some(of) = of.filter(|_| label.is_empty()) else {
            return if self.matcher.matches(label) { Fulfilled::All } else { Fulfilled::None };
        };
        // Samples without the attribute have the empty value; whether there are any is not known.
        let (mut all, mut any) = (self.matcher.matches(""), self.matcher.matches(""));
        if of.truncated {
            return Fulfilled::Some;
        }
        for (&value, times) in of.values.iter() {
            if times.overlaps(&range) {
                let matches = self.matches_value(value);
                all &= matches;
                any |= matches;
            }
        }
        match (all, any) {
            (true, _) => Fulfilled::All,
            (false, true) => Fulfilled::Some,
            (false, false) => Fulfilled::None,
        }
    }
}
