//! TABLE_ARROW: every function with its values and who calls whom.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, ListArray, UInt64Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};

use super::{Forest, Reported, columns};
use crate::{
    api::{ArrowRecord, QueryError, ReportRequest},
    branch::{BASE, COMPARED},
    calls::{self, CallWalk, FunctionSums, Functions},
    cancel::Cancel,
    names::{FrameMeta, KeyId},
};

/// Slots of the filter before the calls: most frames repeat a recent one.
const RECENT_CALLS: usize = 1 << 15;
/// Calls that are sorted at once, at least.
const FRESH_CALLS: usize = 1 << 20;
/// A key that has no row.
const NO_ROW: u32 = u32::MAX;

/// Renders the table: rows by cumulative value, then name.
pub(crate) fn render(
    forest: &mut Forest,
    request: &ReportRequest,
    cancel: &Cancel,
) -> Result<Reported<ArrowRecord>, QueryError> {
    let mut functions = Functions::default();
    let mut calls = Calls::new();
    {
        let Forest { branches, views, names, .. } = &mut *forest;
        CallWalk { branches, views, names, cancel }.each(|call| {
            functions.count(&call);
            if let Some(&caller) = call.path.last() {
                calls.add(caller, call.key);
            }
        })?;
        functions.add_flat(branches, views, names);
    }
    let metas = calls::metas(&forest.branches, &mut forest.views, &mut forest.names);
    // Only names are needed from here on. Values of a fleet's nodes take as much memory as the answer.
    forest.branches.clear();
    let order = order(forest, &functions.sums, &metas);
    let lists = calls.lists(&order, functions.sums.len());
    let mut record = columns_of(forest, &order, &functions.sums, &metas, lists)?;
    if request.frame_type_column {
        let types = order.iter().map(|&key| metas[key as usize].as_ref()?.frame_type);
        let types = columns::string_dictionary(types, &forest.names.texts, true)?;
        record.push(("frame_type".to_owned(), types));
    }
    if request.unresolved_column {
        let reasons = order.iter().map(|&key| metas[key as usize].as_ref()?.unresolved);
        record.push(("unresolved".to_owned(), columns::unresolved(reasons)?));
    }
    Ok(Reported {
        report: ArrowRecord {
            record: columns::ipc_stream(record, request.ipc_compression)?,
            unit: forest.unit.clone(),
            height: 0,
            trimmed: 0,
        },
        saturated: functions.saturated,
    })
}

fn order(forest: &Forest, sums: &[FunctionSums], metas: &[Option<FrameMeta>]) -> Vec<KeyId> {
    let mut order: Vec<KeyId> =
        (0..sums.len() as u32).filter(|&key| metas.get(key as usize).is_some_and(Option::is_some)).collect();
    let cumulative = |key: KeyId| sums[key as usize].cumulative[COMPARED];
    order.sort_unstable_by(|&a, &b| {
        cumulative(b).cmp(&cumulative(a)).then_with(|| forest.names.compare(a, b))
    });
    order
}

fn columns_of(
    forest: &Forest,
    order: &[KeyId],
    sums: &[FunctionSums],
    metas: &[Option<FrameMeta>],
    (callers, callees): (ListArray, ListArray),
) -> Result<Vec<(String, ArrayRef)>, QueryError> {
    let meta = |key: &KeyId| metas[*key as usize].as_ref();
    let sums = |key: &KeyId| &sums[*key as usize];
    let text = |value: fn(&FrameMeta) -> Option<u32>, narrow| {
        columns::string_dictionary(
            order.iter().map(|key| meta(key).and_then(value)),
            &forest.names.texts,
            narrow,
        )
    };
    let number = |value: &dyn Fn(&KeyId) -> Option<i64>| -> ArrayRef {
        Arc::new(order.iter().map(value).collect::<Int64Array>())
    };
    let known = |line: Option<i64>| line.filter(|&line| line != 0);
    let address: UInt64Array = order.iter().map(|key| meta(key).and_then(|m| m.address)).collect();
    let cumulative_diff = number(&|key| forest.compares.then(|| forest.diff(sums(key).cumulative)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("mapping_file", text(|m| m.mapping_file, true)?),
        ("mapping_build_id", text(|m| m.build_id, true)?),
        ("location_address", Arc::new(address)),
        ("location_line", number(&|key| known(meta(key)?.line))),
        ("function_startline", number(&|key| known(meta(key)?.start_line))),
        ("function_name", text(|m| m.name, false)?),
        ("function_system_name", text(|m| m.system_name, true)?),
        ("function_file_name", text(|m| m.filename, false)?),
        ("cumulative", number(&|key| Some(sums(key).cumulative[COMPARED]))),
        ("cumulative_diff", cumulative_diff),
        ("flat", number(&|key| Some(sums(key).flat[COMPARED]))),
        ("flat_diff", number(&|key| Some(forest.diff(sums(key).flat)))),
        ("callers", Arc::new(callers)),
        ("callees", Arc::new(callees)),
    ];
    debug_assert!(forest.compares || order.iter().all(|key| sums(key).cumulative[BASE] == 0));
    Ok(columns.into_iter().map(|(name, array)| (name.to_owned(), array)).collect())
}

/// Distinct calls, each caller and callee in one number.
///
/// A fleet has millions of them, and a set of that many is slower to look into than to sort: each look is for memory that is in no
/// cache.
struct Calls {
    recent: Vec<u64>,
    /// What may be new.
    fresh: Vec<u64>,
    /// Ascending.
    distinct: Vec<u64>,
}

impl Calls {
    fn new() -> Self {
        // A call from and to the last possible key cannot be.
        Self { recent: vec![u64::MAX; RECENT_CALLS], fresh: Vec::new(), distinct: Vec::new() }
    }

    fn add(&mut self, caller: KeyId, callee: KeyId) {
        let call = u64::from(caller) << 32 | u64::from(callee);
        // Fibonacci hashing: the high bits of a product with 2^64 / golden ratio.
        let slot =
            (call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - RECENT_CALLS.trailing_zeros())) as usize;
        if self.recent[slot] == call {
            return;
        }
        self.recent[slot] = call;
        if self.fresh.len() >= FRESH_CALLS.max(self.distinct.len() / 4) {
            self.settle();
        }
        self.fresh.push(call);
    }

    /// Merges what is fresh into what is distinct, from the end, where there is room.
    fn settle(&mut self) {
        let Self { fresh, distinct, .. } = self;
        fresh.sort_unstable();
        fresh.dedup();
        let mut known = distinct.iter().peekable();
        fresh.retain(|call| {
            while known.next_if(|&known| known < call).is_some() {}
            known.peek() != Some(&call)
        });
        let mut end = distinct.len();
        distinct.resize(end + fresh.len(), 0);
        let mut to = distinct.len();
        while let Some(&call) = fresh.last() {
            to -= 1;
            if end > 0 && distinct[end - 1] > call {
                end -= 1;
                distinct[to] = distinct[end];
            } else {
                distinct[to] = call;
                fresh.pop();
            }
        }
    }

    /// Callers and callees of each row of the table, by row.
    fn lists(mut self, order: &[KeyId], keys: usize) -> (ListArray, ListArray) {
        self.settle();
        let mut row_of = vec![NO_ROW; keys];
        for (row, &key) in (0..).zip(order) {
            row_of[key as usize] = row;
        }
        let row = |key: u64| row_of.get(key as usize).copied().filter(|&row| row != NO_ROW);
        let pairs = self
            .distinct
            .iter()
            .filter_map(|call| Some((row(call >> 32)?, row(call & u64::from(u32::MAX))?)));
        let mut callees = Lists::of(order.len(), pairs);
        callees.sort();
        // Callers come in order, and so they stay.
        let callers = Lists::of(order.len(), callees.pairs().map(|(caller, callee)| (callee, caller)));
        (callers.array(), callees.array())
    }
}

/// Rows by row, in one piece of memory.
struct Lists {
    /// Where the list of each row begins, and the end of the last.
    offsets: Vec<usize>,
    rows: Vec<i64>,
}

impl Lists {
    /// The second parts of pairs by the first, as they come.
    fn of(row_count: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut ends = vec![0; row_count + 1];
        for (row, _) in pairs.clone() {
            ends[row as usize + 1] += 1;
        }
        for row in 0..row_count {
            ends[row + 1] += ends[row];
        }
        let offsets = ends.clone();
        let mut rows = vec![0; offsets[row_count]];
        for (row, entry) in pairs {
            let at = &mut ends[row as usize];
            rows[*at] = i64::from(entry);
            *at += 1;
        }
        Self { offsets, rows }
    }

    fn sort(&mut self) {
        for ends in self.offsets.windows(2) {
            self.rows[ends[0]..ends[1]].sort_unstable();
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (u32, u32)> + Clone {
        let lists = (0u32..).zip(self.offsets.windows(2));
        lists
            .flat_map(|(row, ends)| self.rows[ends[0]..ends[1]].iter().map(move |&entry| (row, entry as u32)))
    }

    /// Null where there is nothing.
    fn array(self) -> ListArray {
        let lengths = self.offsets.windows(2).map(|ends| ends[1] - ends[0]);
        let nulls = NullBuffer::from_iter(lengths.clone().map(|length| length > 0));
        let field = Arc::new(Field::new_list_field(DataType::Int64, true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        ListArray::new(field, offsets, Arc::new(Int64Array::from(self.rows)), Some(nulls))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow_array::Array;
    use proptest::prelude::*;

    use super::*;

    fn rows(lists: &ListArray, row: usize) -> Option<Vec<i64>> {
        let of_row = lists.is_valid(row).then(|| lists.value(row))?;
        let of_row = of_row.as_any().downcast_ref::<Int64Array>()?;
        Some(of_row.values().to_vec())
    }

    proptest! {
        /// Calls that come often, in groups between which they are merged, are listed once on either side.
        #[test]
        fn calls_are_listed_once(
            groups in proptest::collection::vec(proptest::collection::vec((0u32..40, 0u32..40), 0..60), 0..6),
            order in Just((0u32..36).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut calls = Calls::new();
            let mut expected = BTreeSet::new();
            for (caller, callee) in groups.iter().flat_map(|group| group.iter().copied()) {
                expected.insert((caller, callee));
                calls.add(caller, callee);
                if caller == 0 {
                    calls.settle();
                }
            }
            let (callers, callees) = calls.lists(&order, 38);
            let row_of = |key: u32| order.iter().position(|&k| k == key).map(|row| row as i64);
            for (row, &key) in order.iter().enumerate() {
                let list = |found: Vec<u32>| {
                    let mut rows: Vec<i64> = found.into_iter().filter_map(row_of).collect();
                    rows.sort_unstable();
                    (!rows.is_empty()).then_some(rows)
                };
                let of = expected.iter();
                let expected_callees = list(of.clone().filter(|c| c.0 == key).map(|c| c.1).collect());
                let expected_callers = list(of.filter(|c| c.1 == key).map(|c| c.0).collect());
                prop_assert_eq!(rows(&callees, row), expected_callees);
                prop_assert_eq!(rows(&callers, row), expected_callers);
            }
        }
    }
}
