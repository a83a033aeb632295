//! What a store has dropped, by its manifests, and whether that was what had to go first. Pure.

use decima_store::manifest::{BlockEntry, Manifest};

/// Blocks that are in one version of the manifest, not in the next, and that none there was made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Drops {
    /// Those whose samples were past the retention by then.
    pub(crate) expired: Vec<BlockEntry>,
    /// Those that went for space.
    pub(crate) for_space: Vec<BlockEntry>,
}

impl Drops {
    /// Follows the versions of a store, ascending, whose clock never showed more than `latest_ns`; says so if it dropped what had not to go
    /// yet.
    pub(crate) fn of(
        versions: &[Manifest],
        has_limit: bool,
        retention_ns: i64,
        latest_ns: i64,
    ) -> Result<Self, String> {
        let mut drops = Self::default();
        for pair in versions.windows(2) {
            let [before, after] = pair else { continue };
            let is_in =
                |manifest: &Manifest, block: &BlockEntry| manifest.blocks.iter().any(|b| b.id == block.id);
            let (kept, gone): (Vec<_>, Vec<_>) =
                before.blocks.iter().cloned().partition(|block| is_in(after, block));
            if gone.is_empty() || after.blocks.iter().any(|block| !is_in(before, block)) {
                continue;
            }
            let version = after.version;
            let is_old = |block: &BlockEntry| block.max_time_ns < latest_ns.saturating_sub(retention_ns);
            if gone.iter().all(is_old) && is_first(&gone, &kept, |block| (0, block.max_time_ns)) {
                drops.expired.extend(gone);
            } else if !has_limit {
                return Err(format!("manifest {version} drops blocks that are not past the retention"));
            } else if is_first(&gone, &kept, |block| (-block.resolution_ns, block.max_time_ns)) {
                drops.for_space.extend(gone);
            } else {
                return Err(format!(
                    "manifest {version} does not drop the oldest block of the coarsest tier first"
                ));
            }
        }
        Ok(drops)
    }

    /// Whether a sample of this time may have gone for space.
    pub(crate) fn may_have_had(&self, time_ns: i64) -> bool {
        self.for_space.iter().any(|block| (block.min_time_ns..=block.max_time_ns).contains(&time_ns))
    }
}

/// Whether all that went comes before all that stays.
fn is_first(gone: &[BlockEntry], kept: &[BlockEntry], order: impl Fn(&BlockEntry) -> (i64, i64)) -> bool {
    let last_gone = gone.iter().map(&order).max();
    kept.iter().map(&order).min().is_none_or(|first_kept| last_gone <= Some(first_kept))
}

#[cfg(test)]
mod tests {
    use decima_store::log::codec::LogPosition;

    use super::*;

    fn block(id: &str, resolution_ns: i64, max_time_ns: i64) -> BlockEntry {
        BlockEntry {
            id: id.to_owned(),
            min_time_ns: max_time_ns - 5,
            max_time_ns,
            samples: 1,
            size_bytes: 1,
            newest_request_ns: 0,
            meta_checksum: String::new(),
            level: 0,
            resolution_ns,
            partition_nodes_max: 0,
            locations: 0,
            series: 0,
            series_bytes: 0,
            location_text_bytes: 0,
        }
    }

    /// From these blocks to those of these names, and one more of each that is not among them.
    fn drops(before: &[BlockEntry], after: &[&str], has_limit: bool) -> Result<(usize, usize), String> {
        let version = |version, blocks| Manifest {
            format: 1,
            version,
            writer: String::new(),
            epoch: 0,
            log_id: None,
            log_floor: LogPosition::default(),
            blocks,
        };
        let kept = after.iter().map(|id| {
            before.iter().find(|block| block.id == *id).cloned().unwrap_or_else(|| block(id, 0, 0))
        });
        let versions = [version(1, before.to_vec()), version(2, kept.collect())];
        let drops = Drops::of(&versions, has_limit, 100, 150)?;
        Ok((drops.expired.len(), drops.for_space.len()))
    }

    #[test]
    fn what_may_go() {
        let blocks = [block("a", 0, 40), block("b", 0, 60), block("c", 10, 70), block("d", 0, 80)];
        assert_eq!(drops(&blocks, &["a", "b", "c", "d"], false), Ok((0, 0)));
        assert_eq!(drops(&blocks, &["b", "c", "d"], false), Ok((1, 0)), "past the retention");
        assert!(drops(&blocks, &["c", "d"], false).is_err(), "not past the retention");
        assert_eq!(drops(&blocks, &["merged", "c", "d"], false), Ok((0, 0)), "merged");
        assert_eq!(drops(&blocks, &["a", "b", "d"], true), Ok((0, 1)), "the coarsest");
        assert_eq!(drops(&blocks, &["b", "d"], true), Ok((0, 2)), "the coarsest and the oldest");
        assert!(drops(&blocks, &["a", "d"], true).is_err(), "not the oldest");
        assert!(drops(&blocks, &["b", "c"], true).is_err(), "not the coarsest");
    }
}
