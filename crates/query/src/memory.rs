//! Memory that queries take, all together.
//!
//! A query reckons what it will hold from the sizes that the series tables tell, before it reads anything, and waits until that
//! much is free. Waiting is in the order of arrival, so that a large query is not passed by small ones for ever; how long is up
//! to the deadline of the request. What cannot be foreseen, the sums of a fine grouping, is asked for while they grow, and is
//! refused rather than waited for: queries that hold memory and wait for more could wait for each other.
//!
//! The cache of decoded blocks has a bound of its own and is not counted here.

use std::sync::Arc;

use decima_store::source::{PartitionSize, SeriesTable};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::QueryError;

/// What is counted at a time: permits are 32-bit.
const UNIT_BYTES: u64 = 64 << 10;

/// What a query holds for each node of a tree: the tree, or its values and links.
pub(crate) const NODE_BYTES: u64 = 16;
/// What it holds for each stacktrace, on each side of a comparison: its sum, leaf and running sum.
pub(crate) const STACKTRACE_BYTES: u64 = 44;
/// What it holds for each location beside the location itself: numbers of its frames and their names.
const LOCATION_BYTES: u64 = 16;

/// Memory of all queries of an engine. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct QueryMemory {
    free: Arc<Semaphore>,
    limit_bytes: u64,
}

/// What one query holds of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: QueryMemory,
    permit: Mutex<OwnedSemaphorePermit>,
}

impl QueryMemory {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        let units = (limit_bytes / UNIT_BYTES).clamp(1, u64::from(u32::MAX >> 3));
        Self { free: Arc::new(Semaphore::new(units as usize)), limit_bytes }
    }

    /// Waits for memory. Fails at once if there will never be so much.
    pub(crate) async fn take(&self, size_bytes: u64) -> Result<Share, QueryError> {
        let units = units(size_bytes).filter(|_| size_bytes <= self.limit_bytes);
        let units = units.ok_or_else(|| self.too_large(size_bytes))?;
        let permit = Arc::clone(&self.free).acquire_many_owned(units).await;
        let permit = permit.map_err(|e| QueryError::Internal { message: e.to_string() })?;
        Ok(Share { memory: self.clone(), permit: Mutex::new(permit) })
    }

    /// What all queries may take.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    fn too_large(&self, size_bytes: u64) -> QueryError {
        let limit_bytes = self.limit_bytes;
        QueryError::ResourceExhausted {
            message: format!(
                "the query takes about {size_bytes} bytes of memory, and queries may take {limit_bytes}; ask for a shorter time \
                 or fewer series"
            ),
        }
    }
}

impl Share {
    /// Takes more without waiting.
    pub(crate) fn grow(&self, size_bytes: u64) -> Result<(), QueryError> {
        let free = &self.memory.free;
        let more = units(size_bytes).and_then(|units| Arc::clone(free).try_acquire_many_owned(units).ok());
        match more {
            Some(more) => {
                self.permit.lock().merge(more);
                Ok(())
            }
            None => Err(QueryError::ResourceExhausted {
                message: format!(
                    "queries may take {} bytes of memory together, and the stacktraces, groups or points of this one need more \
                     than is free; group by fewer labels or ask for a shorter time",
                    self.memory.limit_bytes
                ),
            }),
        }
    }
}

fn units(size_bytes: u64) -> Option<u32> {
    u32::try_from(size_bytes.div_ceil(UNIT_BYTES)).ok()
}

/// What a query holds of a source: of partitions with the number of sides that want each, and of the locations that these need.
pub(crate) fn needed_bytes(
    table: &SeriesTable,
    partitions: impl Iterator<Item = (PartitionSize, u64)>,
) -> u64 {
    let (mut trees_bytes, mut needed) = (0u64, table.shared_location_count);
    for (size, sides) in partitions {
        trees_bytes += NODE_BYTES * u64::from(size.node_count);
        trees_bytes += STACKTRACE_BYTES * sides * u64::from(size.stacktrace_count);
        needed += u64::from(size.location_count);
    }
    // Where about half is needed, all are read.
    let count = table.location_count;
    let read = if needed.saturating_mul(2) > count { count } else { needed };
    let location_bytes = u128::from(table.location_bytes) * u128::from(read) / u128::from(count.max(1));
    trees_bytes.saturating_add(LOCATION_BYTES * count).saturating_add(location_bytes as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn texts_count_as_far_as_they_are_read() {
        let table = SeriesTable {
            location_count: 1_000,
            shared_location_count: 100,
            location_bytes: 1_000_000,
            ..SeriesTable::default()
        };
        let check = |own: &[u32], expected: u64| {
            let sizes = own.iter().map(|&location_count| PartitionSize {
                node_count: 10,
                stacktrace_count: 5,
                location_count,
            });
            let trees = own.len() as u64 * (10 * NODE_BYTES + 5 * STACKTRACE_BYTES);
            let needed = needed_bytes(&table, sizes.map(|size| (size, 1)));
            assert_eq!(needed, trees + 1_000 * LOCATION_BYTES + expected, "{own:?}");
        };
        check(&[], 100_000);
        check(&[50, 20], 170_000);
        check(&[401], 1_000_000);
    }

    #[tokio::test]
    async fn queries_wait_in_their_order_for_what_is_free() {
        let memory = QueryMemory::new(10 * UNIT_BYTES);
        let first = memory.take(6 * UNIT_BYTES).await.unwrap();
        let mut large = Box::pin(memory.take(10 * UNIT_BYTES));
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut large).await.is_err());
        let mut small = Box::pin(memory.take(1));
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut small).await.is_err(), "it came later");
        assert!(first.grow(UNIT_BYTES).is_err(), "others wait for what is free");
        drop(first);
        let large = large.await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut small).await.is_err());
        drop(large);
        small.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_never_there_is_refused() {
        let memory = QueryMemory::new(10 * UNIT_BYTES);
        for size_bytes in [10 * UNIT_BYTES + 1, u64::MAX] {
            let error = memory.take(size_bytes).await.unwrap_err().to_string();
            assert!(
                error.contains(&format!("about {size_bytes} bytes")) && error.contains("655360"),
                "{error}"
            );
        }
        let share = memory.take(UNIT_BYTES).await.unwrap();
        share.grow(9 * UNIT_BYTES).unwrap();
        assert!(share.grow(1).unwrap_err().to_string().contains("fewer labels"));
        drop(share);
        memory.take(10 * UNIT_BYTES).await.unwrap();
    }
}
