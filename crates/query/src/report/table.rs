//! TABLE_ARROW: every function with its values and who calls whom.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Int64Array, ListArray, UInt64Array,
    builder::{Int64Builder, ListBuilder},
};
use hashbrown::HashSet;

use super::{Forest, Reported, columns};
use crate::{
    api::{ArrowRecord, QueryError, ReportRequest},
    branch::{BASE, COMPARED},
    calls::{self, CallWalk, FunctionSums, Functions},
    cancel::Cancel,
    names::{FrameMeta, KeyId},
};

/// Slots of the filter before the set of calls: most frames repeat a recent call, and the set is large.
const RECENT_CALLS: usize = 1 << 15;

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
    let edges = calls.by_row(&order, functions.sums.len());
    let mut record = columns_of(forest, &order, &functions.sums, &metas, edges)?;
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
    edges: Edges,
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
    let (callers, callees) = edges.lists();
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

/// Distinct calls.
struct Calls {
    recent: Vec<u64>,
    distinct: HashSet<u64>,
}

impl Calls {
    fn new() -> Self {
        // A call from and to the last possible key cannot be.
        Self { recent: vec![u64::MAX; RECENT_CALLS], distinct: HashSet::new() }
    }

    fn add(&mut self, caller: KeyId, callee: KeyId) {
        let call = u64::from(caller) << 32 | u64::from(callee);
        // Fibonacci hashing: the high bits of a product with 2^64 / golden ratio.
        let slot =
            (call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - RECENT_CALLS.trailing_zeros())) as usize;
        if self.recent[slot] != call {
            self.recent[slot] = call;
            self.distinct.insert(call);
        }
    }

    /// Calls by row of the table.
    fn by_row(self, order: &[KeyId], keys: usize) -> Edges {
        let mut row_of = vec![None; keys];
        for (row, &key) in (0..).zip(order) {
            row_of[key as usize] = Some(row);
        }
        let row = |key: u64| row_of.get(key as usize).copied().flatten();
        let mut pairs: Vec<(u32, u32)> = self
            .distinct
            .into_iter()
            .filter_map(|call| Some((row(call >> 32)?, row(call & u64::from(u32::MAX))?)))
            .collect();
        pairs.sort_unstable();
        Edges { pairs, rows: order.len() }
    }
}

/// (caller, callee) by row, sorted.
struct Edges {
    pairs: Vec<(u32, u32)>,
    rows: usize,
}

impl Edges {
    /// Callers and callees of each row.
    fn lists(mut self) -> (ListArray, ListArray) {
        let callees = lists(self.rows, &self.pairs);
        for (caller, callee) in &mut self.pairs {
            std::mem::swap(caller, callee);
        }
        self.pairs.sort_unstable();
        (lists(self.rows, &self.pairs), callees)
    }
}

/// The second parts of sorted pairs, by the first; null where there are none.
fn lists(rows: usize, pairs: &[(u32, u32)]) -> ListArray {
    let mut lists = ListBuilder::with_capacity(Int64Builder::with_capacity(pairs.len()), rows);
    let mut rest = pairs;
    for row in 0..rows as u32 {
        let end = rest.iter().take_while(|(first, _)| *first == row).count();
        lists.values().extend(rest[..end].iter().map(|&(_, second)| Some(i64::from(second))));
        lists.append(end > 0);
        rest = &rest[end..];
    }
    lists.finish()
}
