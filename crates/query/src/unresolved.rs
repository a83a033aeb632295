//! Here is what an answer is made from, gives you its addresses without a function, and says so in a sentence. Pure.

use std::collections::BTreeMap;

use decima_symbols::Unresolved;
use hashbrown::HashSet;

use crate::{calls, report::Forest};

/// Addresses of one object file that have no function, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnresolvedAddresses {
    /// Path of the file, as its sender said.
    pub file: String,
    /// Its build ID, empty if it has none.
    pub build_id: String,
    /// Why.
    pub reason: Unresolved,
    /// How many distinct addresses.
    pub addresses: u64,
}

/// What has no function, by file and reason, most addresses first: of the stacktraces that the answer is made from, once time,
/// series and filters have chosen them. Those beside them in the same block are somebody else's.
pub(crate) fn addresses(forest: &Forest) -> Vec<UnresolvedAddresses> {
    let mut found: BTreeMap<(&str, &str, Unresolved), HashSet<u64>> = BTreeMap::new();
    for (at, view) in forest.views.iter().enumerate().filter(|(_, view)| view.lacks_functions()) {
        for location in calls::touched_locations(&forest.branches, &forest.views, at) {
            let Some(reason) = view.reason(location) else { continue };
            let (file, build_id) = view.mapping_strings(location);
            let text = |string| view.symbols.strings.get(string);
            let address = view.symbols.location_address.get(location as usize).copied().unwrap_or_default();
            found.entry((text(file), text(build_id), reason)).or_default().insert(address);
        }
    }
    let row = |((file, build_id, reason), addresses): ((&str, &str, _), HashSet<u64>)| UnresolvedAddresses {
        file: file.to_owned(),
        build_id: build_id.to_owned(),
        reason,
        addresses: addresses.len() as u64,
    };
    let mut rows: Vec<_> = found.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.addresses.cmp(&a.addresses).then_with(|| a.cmp(b)));
    rows
}

/// What a reader is told of addresses without functions; `None` if there are none.
pub(crate) fn notice(unresolved: &[UnresolvedAddresses]) -> Option<String> {
    /// More than this nobody reads in a sentence.
    const NAMED_MAX: usize = 3;
    if unresolved.is_empty() {
        return None;
    }
    let addresses: u64 = unresolved.iter().map(|row| row.addresses).sum();
    let name = |row: &UnresolvedAddresses| {
        let file = row.file.rsplit('/').next().unwrap_or_default();
        let file = if file.is_empty() { "an unknown file" } else { file };
        format!("{file}: {} ({})", row.reason, row.addresses)
    };
    let named: Vec<_> = unresolved.iter().take(NAMED_MAX).map(name).collect();
    let rest = unresolved.len().saturating_sub(NAMED_MAX);
    let rest = if rest == 0 { String::new() } else { format!("; and {rest} more") };
    let plural = if addresses == 1 { "address has" } else { "addresses have" };
    Some(format!("{addresses} {plural} no function: {}{rest}", named.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let row = |file: &str, reason, addresses| UnresolvedAddresses {
            file: file.to_owned(),
            build_id: String::new(),
            reason,
            addresses,
        };
        let check = |rows: &[UnresolvedAddresses], expected: Option<&str>| {
            assert_eq!(notice(rows).as_deref(), expected);
        };
        check(&[], None);
        let [a, b] = [row("/lib/a.so", Unresolved::InNoFunction, 2), row("", Unresolved::NoBuildId, 1)];
        check(
            &[a.clone(), b.clone()],
            Some(
                "3 addresses have no function: a.so: in no function of the debuginfo (2); an unknown file: the mapping has no build ID (1)",
            ),
        );
        check(
            std::slice::from_ref(&b),
            Some("1 address has no function: an unknown file: the mapping has no build ID (1)"),
        );
        let many = notice(&[a.clone(), a.clone(), a.clone(), a, b]).unwrap_or_default();
        assert!(many.starts_with("9 addresses") && many.ends_with("; and 2 more"), "{many}");
    }
}
