//! Walks every frame of branches from the root, telling a visitor who calls whom and whether a function is already on the path.
//!
//! Links are followed depth first, so that "on the path" is a counter per function and recursion counts once.

use crate::{
    api::QueryError,
    branch::{Branch, Subtree},
    cancel::Cancel,
    names::{Frame, FrameMeta, KeyId, Names, SymbolView},
    sums::add_saturating,
};

/// A frame as the walk comes to it.
pub(crate) struct Call<'a> {
    pub(crate) key: KeyId,
    /// Keys from the root to the caller.
    pub(crate) path: &'a [KeyId],
    /// Whether the key is on the path already.
    pub(crate) recursive: bool,
    pub(crate) side: usize,
    /// Cumulative value.
    pub(crate) value: i64,
}

/// Walks branches. One serves a whole query.
pub(crate) struct CallWalk<'a> {
    pub(crate) branches: &'a [Branch],
    pub(crate) views: &'a mut [SymbolView],
    pub(crate) names: &'a mut Names,
    pub(crate) cancel: &'a Cancel,
}

impl CallWalk<'_> {
    /// Comes to every touched frame, callers before callees.
    pub(crate) fn each(&mut self, mut visit: impl FnMut(Call<'_>)) -> Result<(), QueryError> {
        let mut path: Vec<KeyId> = Vec::new();
        let mut on_path: Vec<u32> = Vec::new();
        // Nodes from below the root to the current one, with the length of the path above each.
        let mut open: Vec<(Subtree, usize)> = Vec::new();
        for branch in self.branches {
            self.cancel.check()?;
            let view = &mut self.views[branch.view];
            let root = branch.root();
            let mut next = branch.first_child(root);
            loop {
                if let Some(here) = next {
                    let above = path.len();
                    let (value, _) = branch.amount(here);
                    let location = branch.location(here.node);
                    let first = if open.is_empty() {
                        view.first_from_root(location)
                    } else {
                        view.outermost(location)
                    };
                    let mut at = first;
                    while let Some(frame) = at {
                        let key = self.names.key(view, location, frame);
                        if key as usize >= on_path.len() {
                            on_path.resize((key as usize + 1).max(self.names.key_count()), 0);
                        }
                        let recursive = on_path[key as usize] > 0;
                        visit(Call { key, path: &path, recursive, side: branch.side, value });
                        on_path[key as usize] += 1;
                        path.push(key);
                        at = view.inner(location, frame);
                    }
                    open.push((here, above));
                    next = branch.first_child(here);
                } else if let Some((here, above)) = open.pop() {
                    path.drain(above..).for_each(|key| on_path[key as usize] -= 1);
                    let parent = open.last().map_or(root, |&(parent, _)| parent);
                    next = branch.next_sibling(parent, here);
                } else {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Values of one function.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FunctionSums {
    /// By side: value of the samples that have it anywhere.
    pub(crate) cumulative: [i64; 2],
    /// By side: value of the samples that end in it.
    pub(crate) flat: [i64; 2],
}

/// Values of all functions by key.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    pub(crate) sums: Vec<FunctionSums>,
    pub(crate) saturated: bool,
}

impl Functions {
    fn at(&mut self, key: KeyId) -> &mut FunctionSums {
        if key as usize >= self.sums.len() {
            self.sums.resize(key as usize + 1, FunctionSums::default());
        }
        &mut self.sums[key as usize]
    }

    /// Counts a frame of the walk.
    pub(crate) fn count(&mut self, call: &Call<'_>) {
        if !call.recursive {
            let overflow = add_saturating(&mut self.at(call.key).cumulative[call.side], call.value);
            self.saturated |= overflow;
        }
    }

    /// Adds flat values; branches must have kept their leaves.
    pub(crate) fn add_flat(&mut self, branches: &[Branch], views: &mut [SymbolView], names: &mut Names) {
        for branch in branches {
            let view = &mut views[branch.view];
            for leaf in branch.leaves().iter().filter(|leaf| leaf.node != 0) {
                let location = branch.location(leaf.node);
                if let Some(frame) = view.innermost(location) {
                    let key = names.key(view, location, frame);
                    let overflow = add_saturating(&mut self.at(key).flat[branch.side], leaf.value);
                    self.saturated |= overflow;
                }
            }
        }
    }
}

/// What is known of each key: of all touched frames with it.
pub(crate) fn metas(
    branches: &[Branch],
    views: &mut [SymbolView],
    names: &mut Names,
) -> Vec<Option<FrameMeta>> {
    let mut metas: Vec<Option<FrameMeta>> = vec![None; names.key_count()];
    for view in 0..views.len() {
        for location in touched_locations(branches, views, view) {
            let frames: Vec<Frame> = views[view].frames(location).collect();
            for frame in frames {
                let key = names.key(&mut views[view], location, frame);
                let meta = names.meta(&mut views[view], location, frame);
                if key as usize >= metas.len() {
                    metas.resize(key as usize + 1, None);
                }
                match &mut metas[key as usize] {
                    Some(known) => known.merge(&meta),
                    unknown => *unknown = Some(meta),
                }
            }
        }
    }
    metas
}

/// Locations of a view that have a value in some branch, ascending.
pub(crate) fn touched_locations(branches: &[Branch], views: &[SymbolView], view: usize) -> Vec<u32> {
    let mut touched = vec![false; views[view].symbols.location_count()];
    for branch in branches.iter().filter(|b| b.view == view) {
        for location in branch.touched_locations() {
            if let Some(touched) = touched.get_mut(location as usize) {
                *touched = true;
            }
        }
    }
    (0..).zip(touched).filter_map(|(location, touched)| touched.then_some(location)).collect()
}
