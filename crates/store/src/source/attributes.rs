//! What a source knows of sample attributes without reading samples: which series have them, with which values, and when.
//!
//! Bounded, whatever senders put there: an attribute with a value per sample, as time stamps are, must not fill memory. So a series
//! lists [`VALUES_MAX`] values of an attribute at most, and once an attribute has [`PAIRS_MAX`] pairs of series and value in a source,
//! [`VALUES_MIN`]. Which series have an attribute, and when, is always complete.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use foldhash::HashMap;

use super::TimeRange;

/// Values that one series lists of one attribute at most: a completion list of more is of no use to a person.
const VALUES_MAX: usize = 10_000;
/// Pairs of series and value of one attribute after which a series lists no more than [`VALUES_MIN`] values: about 4 MB.
const PAIRS_MAX: usize = 65_536;
/// Values that every series may list, so that those that come late are not without any.
const VALUES_MIN: usize = 16;

/// Sample attributes of a source by name. Clones share what is not changed afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeTable {
    by_name: BTreeMap<String, Arc<Attribute>>,
}

/// One attribute of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attribute {
    texts: Texts,
    by_series: BTreeMap<u32, Arc<SeriesAttribute>>,
    pair_count: usize,
}

/// Distinct texts of the values of an attribute, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Texts {
    all: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    /// Memory held, about.
    size_bytes: usize,
}

/// One attribute of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesAttribute {
    /// Times of the first and last sample that has it.
    pub range: TimeRange,
    /// Values listed, as ids of [`Attribute::text`], each with the times of the first and last sample that has it. Once the list is
    /// truncated, these times are those of the samples before that.
    pub values: BTreeMap<u32, TimeRange>,
    /// Whether there are values that are not listed.
    pub truncated: bool,
}

impl AttributeTable {
    /// Names of all attributes, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// All attributes by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.by_name.iter().map(|(name, attribute)| (name.as_str(), &**attribute))
    }

    /// An attribute that the source has.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.by_name.get(name).map(|attribute| &**attribute)
    }

    /// What a series has of an attribute.
    pub fn of_series(&self, name: &str, series: u32) -> Option<&SeriesAttribute> {
        self.get(name)?.of_series(series)
    }

    /// The attribute with this name, to be added to.
    pub fn entry(&mut self, name: &str) -> &mut Attribute {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.to_owned(), Arc::default());
        }
        let Some(attribute) = self.by_name.get_mut(name) else { unreachable!("it was added") };
        Arc::make_mut(attribute)
    }

    /// Memory held, about.
    pub fn size_bytes(&self) -> usize {
        let of = |a: &Attribute| 200 + a.texts.size_bytes + 100 * a.by_series.len() + 32 * a.pair_count;
        self.by_name.values().map(|attribute| of(attribute)).sum()
    }
}

impl Attribute {
    /// The text of a value, integers in decimal; `""` for an id that there is not.
    pub fn text(&self, id: u32) -> &str {
        self.texts.all.get(id as usize).map_or("", |text| text)
    }

    /// Number of distinct values listed; their ids are below it.
    pub fn value_count(&self) -> usize {
        self.texts.all.len()
    }

    /// What a series has of it.
    pub fn of_series(&self, series: u32) -> Option<&SeriesAttribute> {
        self.by_series.get(&series).map(|of| &**of)
    }

    /// All series that have it, ascending.
    pub fn series(&self) -> impl Iterator<Item = (u32, &SeriesAttribute)> {
        self.by_series.iter().map(|(&series, of)| (series, &**of))
    }

    /// Adds that a series has samples with it in a range of times.
    pub fn widen(&mut self, series: u32, range: TimeRange) {
        self.of_series_mut(series, range);
    }

    /// Closes the list of values of a series that has it.
    pub fn truncate(&mut self, series: u32) {
        if let Some(of) = self.by_series.get_mut(&series) {
            Arc::make_mut(of).truncated = true;
        }
    }

    /// Adds a value, not empty, that a series has in a range of times; closes the series' list if there is no room.
    pub fn add(&mut self, series: u32, value: &str, range: TimeRange) {
        self.of_series_mut(series, range).add(None, || value.into(), range);
    }

    /// What a series has of it, to be added to; it has samples with it in a `range` of times.
    pub(crate) fn of_series_mut(&mut self, series: u32, range: TimeRange) -> Adding<'_> {
        let of = self.by_series.entry(series).or_insert_with(|| {
            Arc::new(SeriesAttribute { range, values: BTreeMap::new(), truncated: false })
        });
        let of = Arc::make_mut(of);
        of.range = of.range.with(range);
        Adding { texts: &mut self.texts, pair_count: &mut self.pair_count, of }
    }

    /// Lists a value of a series that has the attribute, as another list has it: closed or not, and without bounds of its own.
    pub(crate) fn list(&mut self, series: u32, value: &str, range: TimeRange) {
        let Some(of) = self.by_series.get_mut(&series) else { return };
        self.pair_count += Arc::make_mut(of).list(self.texts.add(value), range);
    }
}

/// An attribute of one series, to be added to.
pub(crate) struct Adding<'a> {
    texts: &'a mut Texts,
    pair_count: &'a mut usize,
    of: &'a mut SeriesAttribute,
}

impl Adding<'_> {
    /// Whether nothing will be listed any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.of.truncated
    }

    /// Adds a value, not empty, by its id if that is known and else by its text, and gives its id if it is listed. Closes the list if
    /// there is no room.
    pub(crate) fn add<'t>(
        &mut self,
        id: Option<u32>,
        text: impl Fn() -> Cow<'t, str>,
        range: TimeRange,
    ) -> Option<u32> {
        if self.of.truncated {
            return None;
        }
        // Mostly it is listed: what a thread is called is said again and again.
        let id = id.or_else(|| self.texts.id(&text()));
        if let Some((id, known)) = id.and_then(|id| Some((id, self.of.values.get_mut(&id)?))) {
            *known = known.with(range);
            return Some(id);
        }
        let bound = if *self.pair_count < PAIRS_MAX { VALUES_MAX } else { VALUES_MIN };
        if self.of.values.len() >= bound {
            self.of.truncated = true;
            return None;
        }
        let id = id.unwrap_or_else(|| self.texts.add(&text()));
        *self.pair_count += self.of.list(id, range);
        Some(id)
    }
}

impl Texts {
    fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The id of a text, adding it if new.
    fn add(&mut self, text: &str) -> u32 {
        if let Some(id) = self.id(text) {
            return id;
        }
        let text: Arc<str> = text.into();
        let id = self.all.len() as u32;
        self.size_bytes += text.len() + 72;
        self.all.push(text.clone());
        self.ids.insert(text, id);
        id
    }
}

impl SeriesAttribute {
    /// Lists a value, and gives the number of values by which the list grew.
    fn list(&mut self, id: u32, range: TimeRange) -> usize {
        match self.values.entry(id) {
            Entry::Occupied(mut known) => {
                *known.get_mut() = known.get().with(range);
                0
            }
            Entry::Vacant(free) => {
                free.insert(range);
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time_ns: i64) -> TimeRange {
        TimeRange { start_ns: time_ns, end_ns: time_ns }
    }

    /// (value, first, last) of a series, sorted by value.
    fn listed(attribute: &Attribute, series: u32) -> Vec<(&str, i64, i64)> {
        let of = attribute.of_series(series).unwrap();
        let mut values: Vec<_> =
            of.values.iter().map(|(&id, t)| (attribute.text(id), t.start_ns, t.end_ns)).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn values_are_those_of_their_series() {
        let mut attribute = Attribute::default();
        for (series, value, time_ns) in [(0, "a", 3), (1, "b", 4), (0, "a", 1), (0, "c", 9), (1, "c", 5)] {
            attribute.add(series, value, at(time_ns));
        }
        assert_eq!(listed(&attribute, 0), [("a", 1, 3), ("c", 9, 9)]);
        assert_eq!(listed(&attribute, 1), [("b", 4, 4), ("c", 5, 5)]);
        assert_eq!(attribute.of_series(0).unwrap().range, TimeRange { start_ns: 1, end_ns: 9 });
        assert_eq!(attribute.of_series(2), None);
    }

    #[test]
    fn lists_are_bounded_and_say_so() {
        let mut attribute = Attribute::default();
        for n in 0..VALUES_MAX as i64 + 5 {
            attribute.add(0, &n.to_string(), at(n));
        }
        let first = attribute.of_series(0).unwrap();
        assert_eq!((first.values.len(), first.truncated), (VALUES_MAX, true));
        assert_eq!(first.range.end_ns, VALUES_MAX as i64 + 4, "the times of the series stay complete");

        let mut series = 1;
        while attribute.pair_count < PAIRS_MAX {
            (0..1000).for_each(|n: i64| attribute.add(series, &n.to_string(), at(n)));
            series += 1;
        }
        (0..1000).for_each(|n: i64| attribute.add(series, &n.to_string(), at(n)));
        let late = attribute.of_series(series).unwrap();
        assert_eq!((late.values.len(), late.truncated), (VALUES_MIN, true), "late series list a few");
    }
}
