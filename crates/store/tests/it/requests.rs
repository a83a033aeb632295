//! What a query asks of a bucket.

use std::sync::Arc;

use decima_store::{
    Place, RequestCounts, Store, StoreCounts,
    source::{ScanRequest, TimeRange},
};
use object_store::memory::InMemory;

use crate::{
    batches::{Row, batch},
    durability::{now, settings},
};

const SERVICES: usize = 100;
const SAMPLES: i64 = 10_000;
/// Stacktraces of a service.
const STACKS: i64 = 400;

/// Stacktraces that share their beginnings, of functions of the service and of some that every service has.
fn stacks(service: usize) -> Vec<&'static [&'static str]> {
    let function = |depth: i64, stack: i64| -> &'static str {
        let choice = (stack * 31) >> (12 - depth).max(0);
        let owner = if depth < 4 { "runtime".to_owned() } else { format!("service{service}") };
        Box::leak(format!("{owner}::at_{depth}::function_{choice}").into_boxed_str())
    };
    (0..STACKS)
        .map(|stack| -> &'static [&'static str] {
            let frames: Vec<_> = (0..14).rev().map(|depth| function(depth, stack)).collect();
            Box::leak(frames.into_boxed_slice())
        })
        .collect()
}

/// Reads what a flame graph of one service needs, and gives the number of its samples.
async fn read(store: &Store, service: &str) -> u64 {
    let mut samples = 0;
    for source in store.query_snapshot().sources {
        let table = source.series().await.unwrap();
        let is_of = |id: &u32| table.series[*id as usize].label("job") == service;
        let series: Vec<u32> = (0..table.series.len() as u32).filter(is_of).collect();
        let partitions: Vec<u32> = series.iter().map(|&id| table.series[id as usize].partition).collect();
        source.symbols(&partitions).await.unwrap();
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
        let stacks: Vec<Row> = stacks(service).into_iter().map(|stack| (stack, t, 1, "")).collect();
        let mut batch = batch(&format!("service{service}"), &stacks);
        let samples = &mut batch.series[0];
        samples.times_ns = (0..SAMPLES).map(|at| t + at * 50_000_000 + value(at)).collect();
        samples.values = (0..SAMPLES).map(value).collect();
        samples.stacktraces = (0..SAMPLES).map(|at| (value(at) % STACKS) as u32).collect();
        store.append(batch, None).await.unwrap();
    }
    store.close().await.unwrap();

    let store = Store::open_at(settings("unused".as_ref()), Place::objects(objects)).await.unwrap();
    // Footers and series are kept from here on.
    assert_eq!(read(&store, "service7").await, SAMPLES as u64);
    let (before, block_bytes) = (store.counts(), store.counts().block_bytes);
    assert_eq!(read(&store, "service42").await, SAMPLES as u64);
    let after = store.counts();
    let asked = RequestCounts {
        gets: after.requests.gets - before.requests.gets,
        read_bytes: after.requests.read_bytes - before.requests.read_bytes,
        ..RequestCounts::default()
    };
    println!("{asked:?} of a block of {block_bytes} bytes");
    // A request a column of samples and nodes, whose pages are far apart, one for leaves and one for locations.
    assert!(asked.gets > 0 && asked.gets <= 6, "{asked:?}");
    // A page of samples holds those of two services, and up to as much is read between pages.
    assert!(asked.read_bytes * 6 < block_bytes, "{asked:?} of a block of {block_bytes} bytes");
    let others =
        |counts: &StoreCounts| (counts.requests.lists, counts.requests.puts, counts.requests.deletes);
    assert_eq!(others(&after), others(&before));

    // And it is known of each query.
    assert_eq!((before.query_gets.count(), after.query_gets.count()), (1, 2));
    assert_eq!(after.query_gets.sum - before.query_gets.sum, asked.gets);
    assert_eq!(after.query_read_bytes.sum - before.query_read_bytes.sum, asked.read_bytes);
    store.close().await.unwrap();
}
