//! A chunk: the samples that one request brought for one series.

use std::{collections::BTreeMap, sync::Arc};

use crate::source::{AttributeRun, Each, Point, SampleRun, StringColumn, TimeRange};

/// Samples of one series, in the order of arrival. Immutable once it is in the head.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chunk {
    /// Series id in the head.
    pub(crate) series: u32,
    /// Time span that each sample covers.
    pub(crate) duration_ns: i64,
    /// One time for all, or one each.
    pub(crate) times_ns: Vec<i64>,
    /// Stacktrace ids within the partition.
    pub(crate) stacktraces: Vec<u32>,
    /// Values.
    pub(crate) values: Vec<i64>,
    /// Attribute columns.
    pub(crate) attributes: Vec<ChunkAttribute>,
}

/// One attribute of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChunkAttribute {
    /// String id of the name.
    pub(crate) name: u32,
    /// One value a sample.
    pub(crate) values: ChunkAttributeValues,
}

/// Values of an attribute, one a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChunkAttributeValues {
    /// String ids; 0 = absent.
    Text(Vec<u32>),
    /// Numbers with their unit (string id).
    Integer {
        /// String id.
        unit: u32,
        /// `None` = absent.
        values: Vec<Option<i64>>,
    },
}

/// Distinct values of an attribute in a chunk, each with the times of the first and last sample that has it.
pub(crate) enum ValueTimes {
    /// String ids.
    Text(Vec<(u32, TimeRange)>),
    Integer(Vec<(i64, TimeRange)>),
}

impl ValueTimes {
    /// Times of the first and last sample that has any value.
    pub(crate) fn all(&self) -> Option<TimeRange> {
        match self {
            Self::Text(times) => times.iter().map(|(_, range)| *range).reduce(TimeRange::with),
            Self::Integer(times) => times.iter().map(|(_, range)| *range).reduce(TimeRange::with),
        }
    }
}

/// Places of a table in which values are looked up. A chunk with many values has some of them twice, until it is sorted.
const PLACES: usize = 256;

/// Times by value; rows without one have `None`.
fn times_by_value<T: Ord + Copy + Into<i64>>(
    times_ns: &[i64],
    values: impl ExactSizeIterator<Item = Option<T>>,
) -> Vec<(T, TimeRange)> {
    match times_ns {
        [time] => times_of_rows(values.map(|value| (value, *time))),
        times => times_of_rows(values.zip(times.iter().copied())),
    }
}

fn times_of_rows<T: Ord + Copy + Into<i64>>(
    rows: impl ExactSizeIterator<Item = (Option<T>, i64)>,
) -> Vec<(T, TimeRange)> {
    let mut out: Vec<(T, TimeRange)> = Vec::with_capacity(rows.len().min(PLACES));
    // Where the last value of a place is in `out`, if that is below its length.
    let mut places = [u32::MAX; PLACES];
    let mut is_any_twice = false;
    for (value, time) in rows.filter_map(|(value, time)| Some((value?, time))) {
        let range = TimeRange { start_ns: time, end_ns: time };
        let place = &mut places[place_of(value.into())];
        match out.get_mut(*place as usize) {
            Some((known, times)) if *known == value => *times = times.with(range),
            lost => {
                is_any_twice |= lost.is_some();
                *place = out.len() as u32;
                out.push((value, range));
            }
        }
    }
    if !is_any_twice {
        return out;
    }
    out.sort_unstable_by_key(|(value, _)| *value);
    out.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 = kept.1.with(next.1);
        }
        is_same
    });
    out
}

/// Values next to each other have different places.
fn place_of(value: i64) -> usize {
    // 2⁶⁴ by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    ((value as u64).wrapping_mul(SPREAD) >> 56) as usize % PLACES
}

/// Width of a bucket in which samples of an event stream are summed for range queries.
pub(crate) const EVENT_BUCKET_NS: i64 = 1_000_000_000;

/// The part of a chunk inside `range`: the chunk itself if it is all of it, `None` if it is nothing.
pub(crate) fn within(chunk: &Arc<Chunk>, range: TimeRange) -> Option<Arc<Chunk>> {
    let own = chunk.range();
    if range.start_ns <= own.start_ns && own.end_ns <= range.end_ns {
        return Some(chunk.clone());
    }
    let kept = chunk.filtered(range);
    (!kept.values.is_empty()).then(|| Arc::new(kept))
}

impl Chunk {
    pub(crate) fn range(&self) -> TimeRange {
        TimeRange {
            start_ns: self.times_ns.iter().copied().min().unwrap_or_default(),
            end_ns: self.times_ns.iter().copied().max().unwrap_or_default(),
        }
    }

    /// Distinct values of one of its attributes.
    pub(crate) fn times_of_values(&self, attribute: &ChunkAttribute) -> ValueTimes {
        match &attribute.values {
            ChunkAttributeValues::Text(ids) => {
                let values = ids.iter().map(|&id| (id != 0).then_some(id));
                ValueTimes::Text(times_by_value(&self.times_ns, values))
            }
            ChunkAttributeValues::Integer { values, .. } => {
                ValueTimes::Integer(times_by_value(&self.times_ns, values.iter().copied()))
            }
        }
    }

    pub(crate) fn size_bytes(&self) -> usize {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|a| match &a.values {
                ChunkAttributeValues::Text(v) => 4 * v.len(),
                ChunkAttributeValues::Integer { values, .. } => 16 * values.len(),
            })
            .sum();
        160 + 8 * self.times_ns.len() + 12 * self.values.len() + attributes
    }

    /// Sums of the chunk by time: one exact point if all samples have one time, buckets otherwise. Where a sum does not fit, there
    /// are more points of that time, which together are exact.
    pub(crate) fn points(&self) -> Vec<Point> {
        if let [time_ns] = self.times_ns.as_slice() {
            let first = Point {
                time_ns: *time_ns,
                bucket_ns: 0,
                sum: 0,
                count: 0,
                duration_ns: self.duration_ns,
                instants: 1,
            };
            let mut points = Vec::with_capacity(1);
            let last = self.values.iter().fold(first, |point, &value| add_value(point, value, &mut points));
            points.push(last);
            return points;
        }
        let mut points: BTreeMap<i64, Point> = BTreeMap::new();
        let mut full = Vec::new();
        // Samples mostly come in the order of their times.
        let mut last: Option<Point> = None;
        for (&time, &value) in self.times_ns.iter().zip(&self.values) {
            // The first bucket of all begins before the first time there is.
            let start = time.div_euclid(EVENT_BUCKET_NS).saturating_mul(EVENT_BUCKET_NS);
            let point = last.filter(|last| last.time_ns == start).unwrap_or_else(|| {
                points.extend(last.map(|last| (last.time_ns, last)));
                points.get(&start).copied().unwrap_or(Point {
                    time_ns: start,
                    bucket_ns: EVENT_BUCKET_NS,
                    sum: 0,
                    count: 0,
                    duration_ns: self.duration_ns,
                    instants: 1,
                })
            });
            last = Some(add_value(point, value, &mut full));
        }
        points.extend(last.map(|last| (last.time_ns, last)));
        full.extend(points.into_values());
        full.sort_by_key(|point| point.time_ns);
        full
    }

    /// Hands the samples inside `range` to `sink`.
    pub(crate) fn emit(
        &self,
        partition: u32,
        range: TimeRange,
        attribute_names: &[u32],
        dictionary: &StringColumn,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) {
        let own = self.range();
        if !own.overlaps(&range) || self.values.is_empty() {
            return;
        }
        if range.start_ns <= own.start_ns && own.end_ns <= range.end_ns {
            return self.emit_all(partition, attribute_names, dictionary, sink);
        }
        let kept = self.filtered(range);
        if !kept.values.is_empty() {
            kept.emit_all(partition, attribute_names, dictionary, sink);
        }
    }

    /// The samples inside `range`.
    fn filtered(&self, range: TimeRange) -> Self {
        let time = |row: usize| if self.times_ns.len() == 1 { self.times_ns[0] } else { self.times_ns[row] };
        let keep: Vec<usize> = (0..self.values.len()).filter(|&row| range.contains(time(row))).collect();
        Self {
            series: self.series,
            duration_ns: self.duration_ns,
            times_ns: keep.iter().map(|&row| time(row)).collect(),
            stacktraces: keep.iter().map(|&row| self.stacktraces[row]).collect(),
            values: keep.iter().map(|&row| self.values[row]).collect(),
            attributes: self
                .attributes
                .iter()
                .map(|a| ChunkAttribute {
                    name: a.name,
                    values: match &a.values {
                        ChunkAttributeValues::Text(v) => {
                            ChunkAttributeValues::Text(keep.iter().map(|&row| v[row]).collect())
                        }
                        ChunkAttributeValues::Integer { unit, values } => ChunkAttributeValues::Integer {
                            unit: *unit,
                            values: keep.iter().map(|&row| values[row]).collect(),
                        },
                    },
                })
                .collect(),
        }
    }

    fn emit_all(
        &self,
        partition: u32,
        attribute_names: &[u32],
        dictionary: &StringColumn,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) {
        let attributes: Vec<Option<AttributeRun<'_>>> = attribute_names
            .iter()
            .map(|name| {
                let attribute = self.attributes.iter().find(|a| a.name == *name)?;
                Some(match &attribute.values {
                    ChunkAttributeValues::Text(ids) => AttributeRun::Text { ids, dictionary },
                    ChunkAttributeValues::Integer { values, .. } => AttributeRun::Integer(values),
                })
            })
            .collect();
        sink(SampleRun {
            series: self.series,
            partition,
            times_ns: match self.times_ns.as_slice() {
                [one] => Each::Constant(*one),
                rows => Each::Rows(rows),
            },
            durations_ns: Each::Constant(self.duration_ns),
            stacktraces: &self.stacktraces,
            values: &self.values,
            attributes: &attributes,
        });
    }
}

/// The point with one more sample; if its sum has no room for it, the point goes to `full` and another begins.
fn add_value(mut point: Point, value: i64, full: &mut Vec<Point>) -> Point {
    match point.sum.checked_add(value) {
        Some(sum) => point.sum = sum,
        None => {
            full.push(point);
            point.sum = value;
            point.count = 0;
        }
    }
    point.count += 1;
    point
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_times_of_all_their_rows() {
        // More distinct values than are looked for one after the other, and each of them twice, far apart.
        let values: Vec<u32> = (0..100).chain((0..100).rev()).map(|value| value * 7 % 100).collect();
        let times_ns: Vec<i64> = (1000..1200).collect();
        let chunk = |times_ns: Vec<i64>| Chunk {
            series: 0,
            duration_ns: 0,
            times_ns,
            stacktraces: vec![0; 200],
            values: vec![1; 200],
            attributes: vec![ChunkAttribute { name: 1, values: ChunkAttributeValues::Text(values.clone()) }],
        };
        let times = |chunk: &Chunk| match chunk.times_of_values(&chunk.attributes[0]) {
            ValueTimes::Text(mut times) => {
                times.sort_unstable_by_key(|(value, _)| *value);
                times
            }
            ValueTimes::Integer(_) => Vec::new(),
        };
        let each = chunk(times_ns.clone());
        let mut expected: BTreeMap<u32, TimeRange> = BTreeMap::new();
        for (&value, &time) in values.iter().zip(&times_ns).filter(|(value, _)| **value != 0) {
            let at = TimeRange { start_ns: time, end_ns: time };
            expected.entry(value).and_modify(|known| *known = known.with(at)).or_insert(at);
        }
        assert_eq!(times(&each), expected.into_iter().collect::<Vec<_>>());
        let at = TimeRange { start_ns: 5, end_ns: 5 };
        assert_eq!(times(&chunk(vec![5])), (1..100).map(|value| (value, at)).collect::<Vec<_>>());
    }

    #[test]
    fn a_sum_that_does_not_fit_is_in_several_points() {
        for times_ns in [vec![5], vec![5, 6, 7, 8]] {
            let chunk = Chunk {
                series: 0,
                duration_ns: 0,
                times_ns,
                stacktraces: vec![0; 4],
                values: vec![i64::MAX, i64::MAX, i64::MIN, 1],
                attributes: Vec::new(),
            };
            let points = chunk.points();
            assert_eq!(points.iter().map(|p| i128::from(p.sum)).sum::<i128>(), i128::from(i64::MAX));
            assert_eq!(points.iter().map(|p| p.count).sum::<u64>(), 4);
        }
    }

    #[test]
    fn buckets_of_the_first_and_last_times_there_are() {
        let chunk = Chunk {
            series: 0,
            duration_ns: 0,
            times_ns: vec![i64::MIN, i64::MIN + 1, i64::MAX],
            stacktraces: vec![0; 3],
            values: vec![1, 2, 4],
            attributes: Vec::new(),
        };
        let points: Vec<_> = chunk.points().into_iter().map(|p| (p.time_ns, p.sum)).collect();
        assert_eq!(points, [(i64::MIN, 3), (i64::MAX / EVENT_BUCKET_NS * EVENT_BUCKET_NS, 4)]);
    }
}
