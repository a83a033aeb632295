//! What a query asks of a bucket.

use std::sync::Arc;

use decima_store::{
    Place, RequestCounts, Store,
    source::{ScanRequest, TimeRange},
};
use object_store::memory::InMemory;

use crate::{
    batches::{Row, batch},
    durability::{STACKS, now, settings},
};

const SERVICES: usize = 100;
const SAMPLES: i64 = 10_000;

/// Reads what a flame graph of one service needs, and gives the number of its samples.
async fn read(store: &Store, service: &str) -> u64 {
    let mut samples = 0;
    for source in store.snapshot().sources {
        let table = source.series().await.unwrap();
        let is_of = |id: &u32| table.series[*id as usize].label("job") == service;
        let series: Vec<u32> = (0..table.series.len() as u32).filter(is_of).collect();
        let partitions: Vec<u32> = series.iter().map(|&id| table.series[id as usize].partition).collect();
        source.trees(&partitions, 0..partitions.len()).await.unwrap();
        let request =
            ScanRequest { series, range: TimeRange::ALL, attributes: Vec::new(), with_times: false };
        source.scan(&request, &mut |run| samples += run.values.len() as u64).await.unwrap();
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_of_a_large_block_is_read_by_ranges() {
    let objects = Arc::new(InMemory::new());
    let store = Store::open_at(settings("unused".as_ref()), Place::objects(objects.clone())).await.unwrap();
    let t = now() - 600_000_000_000;
    for service in 0..SERVICES {
        // Values and times that do not compress, so that the block has the size of a real one.
        let value =
            |at: i64| ((at * 1_000 + service as i64).wrapping_mul(0x1E37_79B9_7F4A_7C15) >> 43) & 0xf_ffff;
        let rows: Vec<Row> = (0..SAMPLES)
            .map(|at| (STACKS[(at % 3) as usize], t + at * 50_000_000 + value(at), value(at), ""))
            .collect();
        store.append(batch(&format!("service{service}"), &rows), None).await.unwrap();
    }
    store.close().await.unwrap();

    let store = Store::open_at(settings("unused".as_ref()), Place::objects(objects)).await.unwrap();
    // Footers, series and symbols are kept from here on.
    assert_eq!(read(&store, "service7").await, SAMPLES as u64);
    let (before, block_bytes) = (store.counts().requests, store.counts().block_bytes);
    assert_eq!(read(&store, "service42").await, SAMPLES as u64);
    let after = store.counts().requests;
    let asked = RequestCounts {
        gets: after.gets - before.gets,
        read_bytes: after.read_bytes - before.read_bytes,
        ..RequestCounts::default()
    };
    println!("{asked:?} of a block of {block_bytes} bytes");
    assert!(asked.gets > 0 && asked.gets <= 5, "{asked:?}: a request a column");
    assert!(asked.read_bytes * 3 < block_bytes, "{asked:?} of a block of {block_bytes} bytes");
    assert_eq!((after.lists, after.puts, after.deletes), (before.lists, before.puts, before.deletes));
}
