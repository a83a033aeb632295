//! TOP: every function with its flat and cumulative value.

use super::{Forest, Reported};
use crate::{
    api::{QueryError, Top, TopNode},
    branch::COMPARED,
    calls::{self, CallWalk, Functions},
    cancel::Cancel,
};

/// Text of all functions at most. Each has its own copy of what it is called, and no client takes an answer that large.
const TEXT_BYTES_MAX: usize = 128 << 20;

/// Functions by flat value, then cumulative value, then name.
pub(crate) fn render(forest: &mut Forest, cancel: &Cancel) -> Result<Reported<Top>, QueryError> {
    let functions = functions(forest, cancel)?;
    let metas = calls::metas(&forest.branches, &mut forest.views, &mut forest.names);
    let mut order: Vec<u32> = (0..functions.sums.len() as u32).collect();
    let sums = |key: u32| &functions.sums[key as usize];
    order.sort_unstable_by(|&a, &b| {
        let by_value = |key: u32| (sums(key).flat[COMPARED], sums(key).cumulative[COMPARED]);
        by_value(b).cmp(&by_value(a)).then_with(|| forest.names.compare(a, b))
    });
    let mut text_bytes = 0;
    let nodes = order.into_iter().filter_map(|key| {
        let meta = forest.node_meta(metas.get(key as usize)?.as_ref()?);
        text_bytes += meta.text_bytes();
        if text_bytes > TEXT_BYTES_MAX {
            return Some(Err(QueryError::ResourceExhausted {
                message: format!(
                    "the functions have names of more than {TEXT_BYTES_MAX} bytes; ask for fewer series, or for a flame graph"
                ),
            }));
        }
        let sums = sums(key);
        let cumulative = sums.cumulative[COMPARED];
        Some(Ok(TopNode { meta, cumulative, flat: sums.flat[COMPARED], diff: forest.diff(sums.cumulative) }))
    });
    let top = Top { nodes: nodes.collect::<Result<_, _>>()?, unit: forest.unit.clone() };
    Ok(Reported { report: top, saturated: functions.saturated })
}

/// Values of all functions.
pub(super) fn functions(forest: &mut Forest, cancel: &Cancel) -> Result<Functions, QueryError> {
    let Forest { branches, views, names, .. } = forest;
    let mut functions = Functions::default();
    CallWalk { branches, views, names, cancel }.each(|call| functions.count(&call))?;
    functions.add_flat(branches, views, names);
    Ok(functions)
}
