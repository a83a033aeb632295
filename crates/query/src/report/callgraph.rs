//! CALLGRAPH: functions as nodes, calls as edges.
//!
//! Functions below a share of the total are left out; an edge that stands for a chain through them is marked. The value of an
//! edge counts each sample once, however often the call recurs on its stack.

use hashbrown::HashMap;

use super::{Forest, Reported, top};
use crate::{
    api::{CallEdge, Callgraph, NodeMeta, QueryError, TopNode},
    branch::COMPARED,
    calls::{self, CallWalk, Functions},
    cancel::Cancel,
    names::KeyId,
    sums::add_saturating,
};

/// Functions of a graph at most; more cannot be drawn.
const NODES_MAX: usize = 4096;

/// Share of the total below which functions are left out unless the request says otherwise.
pub(crate) const SHARE_DEFAULT: f64 = 0.005;

/// The root's place in paths.
const ROOT: KeyId = KeyId::MAX;

/// Renders the graph.
pub(crate) fn render(
    forest: &mut Forest,
    share_min: f64,
    cancel: &Cancel,
) -> Result<Reported<Callgraph>, QueryError> {
    let functions = top::functions(forest, cancel)?;
    let metas = calls::metas(&forest.branches, &mut forest.views, &mut forest.names);
    let chosen = choose(forest, &functions, share_min);
    let mut place = vec![None; functions.sums.len()];
    for (at, &key) in (1..).zip(&chosen) {
        place[key as usize] = Some(at);
    }
    let (edges, saturated) = edges(forest, &place, cancel)?;
    let totals = [forest.total(0), forest.total(1)];
    let root_meta = NodeMeta { function_name: "root".to_owned(), ..NodeMeta::default() };
    let mut nodes =
        vec![TopNode { meta: root_meta, cumulative: totals[COMPARED], flat: 0, diff: forest.diff(totals) }];
    nodes.extend(chosen.iter().map(|&key| {
        let sums = &functions.sums[key as usize];
        let meta = metas.get(key as usize).and_then(Option::as_ref);
        TopNode {
            meta: meta.map(|meta| forest.node_meta(meta)).unwrap_or_default(),
            cumulative: sums.cumulative[COMPARED],
            flat: sums.flat[COMPARED],
            diff: forest.diff(sums.cumulative),
        }
    }));
    let graph = Callgraph { nodes, edges, cumulative: totals[COMPARED] };
    Ok(Reported { report: graph, saturated: saturated | functions.saturated })
}

/// The functions to show, largest first.
fn choose(forest: &Forest, functions: &Functions, share_min: f64) -> Vec<KeyId> {
    let least = [0, 1].map(|side| forest.total(side).unsigned_abs() as f64 * share_min);
    let weight = |key: KeyId| functions.sums[key as usize].cumulative.map(i64::unsigned_abs);
    let size = |key: KeyId| weight(key).iter().fold(0u64, |sum, w| sum.saturating_add(*w));
    let mut chosen: Vec<KeyId> = (0..functions.sums.len() as KeyId)
        .filter(|&key| (0..2).any(|side| weight(key)[side] > 0 && weight(key)[side] as f64 >= least[side]))
        .collect();
    chosen.sort_unstable_by(|&a, &b| size(b).cmp(&size(a)).then_with(|| forest.names.compare(a, b)));
    chosen.truncate(NODES_MAX);
    chosen
}

/// Edges between the functions that have a place, and from the root.
fn edges(
    forest: &mut Forest,
    place: &[Option<usize>],
    cancel: &Cancel,
) -> Result<(Vec<CallEdge>, bool), QueryError> {
    let place = |key: KeyId| if key == ROOT { Some(0) } else { place.get(key as usize).copied().flatten() };
    let mut found: HashMap<(usize, usize), (i64, bool)> = HashMap::new();
    let mut saturated = false;
    let Forest { branches, views, names, .. } = forest;
    CallWalk { branches, views, names, cancel }.each(|call| {
        let Some(target) = place(call.key).filter(|_| call.side == COMPARED) else { return };
        let shown = call.path.iter().rposition(|&key| place(key).is_some());
        let source = shown.and_then(|at| place(call.path[at])).unwrap_or(0);
        let edge = found.entry((source, target)).or_insert((0, false));
        edge.1 |= shown.map_or(0, |at| at + 1) < call.path.len();
        if !(call.recursive && is_on_path(call.path, &place, (source, target))) {
            saturated |= add_saturating(&mut edge.0, call.value);
        }
    })?;
    let mut edges: Vec<CallEdge> = found
        .into_iter()
        .map(|((source, target), (cumulative, collapsed))| CallEdge { source, target, cumulative, collapsed })
        .collect();
    edges.sort_unstable_by_key(|edge| (edge.source, edge.target));
    Ok((edges, saturated))
}

/// Whether the path already holds an edge between shown functions.
fn is_on_path(path: &[KeyId], place: &impl Fn(KeyId) -> Option<usize>, edge: (usize, usize)) -> bool {
    let mut caller = 0;
    path.iter().filter_map(|&key| place(key)).any(|callee| {
        let found = (caller, callee) == edge;
        caller = callee;
        found
    })
}
