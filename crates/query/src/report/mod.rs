//! The reports: what a merge or a walk over branches looks like to a reader.

pub(crate) mod callgraph;
mod columns;
pub(crate) mod flamegraph;
pub(crate) mod metadata;
pub(crate) mod pprof;
pub(crate) mod table;
pub(crate) mod top;

use crate::{
    api::{NodeMeta, QueryError},
    branch::{BASE, Branch, COMPARED},
    group::GroupKey,
    names::{FrameMeta, Names, SymbolView, TextId},
};

/// A report, and whether a sum in it did not fit.
pub(crate) struct Reported<T> {
    pub(crate) report: T,
    pub(crate) saturated: bool,
}

/// Everything a report is made from.
pub(crate) struct Forest {
    pub(crate) branches: Vec<Branch>,
    /// Group keys of the branches.
    pub(crate) groups: Vec<GroupKey>,
    pub(crate) views: Vec<SymbolView>,
    pub(crate) names: Names,
    /// Unit of the values.
    pub(crate) unit: String,
    /// Whether there is a base to compare with.
    pub(crate) compares: bool,
    /// How the base's values are scaled before they are subtracted.
    pub(crate) scale: Scale,
}

impl Forest {
    /// Sum of all branches of a side.
    pub(crate) fn total(&self, side: usize) -> i64 {
        let values = self.branches.iter().filter(|b| b.side == side).map(|b| b.amount(b.root()).0);
        values.fold(0, i64::saturating_add)
    }

    /// What a node stands for, as text.
    fn node_meta(&self, meta: &FrameMeta) -> NodeMeta {
        let text = |id: Option<TextId>| self.names.texts.get(id.unwrap_or_default()).to_owned();
        NodeMeta {
            address: meta.address.unwrap_or_default(),
            mapping_file: text(meta.mapping_file),
            build_id: text(meta.build_id),
            function_name: text(meta.name),
            system_name: text(meta.system_name),
            filename: text(meta.filename),
            start_line: meta.start_line.unwrap_or_default(),
            line: meta.line.unwrap_or_default(),
        }
    }

    /// Compared minus base; 0 if nothing is compared.
    pub(crate) fn diff(&self, values: [i64; 2]) -> i64 {
        if self.compares { values[COMPARED].saturating_sub(self.scale.apply(values[BASE])) } else { 0 }
    }
}

/// A ratio that base values are multiplied by: the compared total over the base total, or 1.
///
/// The base is scaled to the compared side, never the other way round, so that the values shown are those stored and
/// `value - diff` is the base as it would be at the same total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    over: i64,
    under: i64,
}

impl Scale {
    /// No change.
    pub(crate) const ONE: Self = Self { over: 1, under: 1 };

    /// Makes the totals equal. Totals that are 0 or differ in sign cannot be.
    pub(crate) fn between(compared: i64, base: i64) -> Self {
        if compared == 0 || base == 0 || (compared < 0) != (base < 0) {
            Self::ONE
        } else {
            Self { over: compared, under: base }
        }
    }

    /// The scaled value, rounded down.
    pub(crate) fn apply(self, value: i64) -> i64 {
        if self == Self::ONE {
            return value;
        }
        let scaled = (i128::from(value) * i128::from(self.over)).div_euclid(i128::from(self.under));
        i64::try_from(scaled).unwrap_or(if scaled < 0 { i64::MIN } else { i64::MAX })
    }
}

/// Refuses a report that is larger than its limit.
pub(crate) fn check_size(size_bytes: usize, max_bytes: usize) -> Result<(), QueryError> {
    if size_bytes <= max_bytes {
        return Ok(());
    }
    Err(QueryError::ResourceExhausted {
        message: format!(
            "the report is larger than {max_bytes} bytes; ask for a shorter time, fewer series or fewer nodes"
        ),
    })
}
