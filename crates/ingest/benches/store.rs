//! CPU of what comes in and is kept, in memory: a profile becomes a batch, the batch is interned and logged, the head becomes a block,
//! blocks become one, and one service is read of it. Disks are not part of it.
#![expect(clippy::expect_used, reason = "a bench stops by panicking")]

use std::{sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use decima_ingest::push::{Limits, RawSeries, batch_of};
use decima_profile::SampleBatch;
use decima_store::{
    Place, Settings, Store, Tiers,
    source::{ScanRequest, TimeRange},
};
use decima_testkit::fleet::{Fleet, Request, Shape};
use object_store::memory::InMemory;
use tokio::runtime::{Builder, Runtime};

const SERVICES: usize = 20;
const PROFILES: usize = 10;
/// Blocks that are merged.
const BLOCKS: usize = 4;
const DAY_NS: i64 = 86_400_000_000_000;

fn settings(compaction_memory_bytes: u64) -> Settings {
    Settings {
        path: "unused".into(),
        head_memory_bytes: 1 << 30,
        retention: None,
        tiers: Tiers::default(),
        storage_max_bytes: None,
        ahead_max: Duration::from_secs(600),
        partition_labels: vec!["job".to_owned()],
        cache_bytes: 256 << 20,
        compaction_memory_bytes,
    }
}

async fn open(objects: &Arc<InMemory>, compaction_memory_bytes: u64) -> Store {
    Store::open_at(settings(compaction_memory_bytes), Place::objects(objects.clone())).await.expect("a store")
}

fn requests() -> Vec<Request> {
    // Two days ago, so that every window is over.
    let now_ns = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as i64;
    let end_ns = (now_ns / DAY_NS - 2) * DAY_NS + DAY_NS / 24;
    let shape = Shape {
        services: SERVICES,
        functions: 4_000,
        profiles_per_service: PROFILES,
        end_ns,
        ..Shape::default()
    };
    let fleet = Fleet::new(shape);
    (0..PROFILES)
        .flat_map(|at| (0..SERVICES).map(move |service| (service, at)))
        .map(|(service, at)| fleet.request(service, at))
        .collect()
}

fn decoded(request: &Request) -> SampleBatch {
    let series = RawSeries {
        labels: request.labels.clone(),
        profiles: vec![request.pprof.clone().into()],
        keep: Vec::new(),
    };
    batch_of(&[series], &Limits::default(), request.time_ns).expect("a profile").batch
}

/// A store with a block of each part of the batches.
async fn in_blocks(objects: &Arc<InMemory>, batches: &[SampleBatch]) {
    let store = open(objects, 0).await;
    for part in batches.chunks(batches.len().div_ceil(BLOCKS)) {
        append(&store, part).await;
        store.flush().await.expect("a block");
    }
    store.close().await.expect("a clean end");
}

async fn append(store: &Store, batches: &[SampleBatch]) {
    for batch in batches {
        store.append(batch.clone(), None).await.expect("room");
    }
}

/// Samples of one service.
async fn read(store: &Store, service: &str) -> u64 {
    let mut samples = 0;
    for source in store.snapshot().sources {
        let table = source.series().await.expect("series");
        let series: Vec<u32> = (0..table.series.len() as u32)
            .filter(|&id| table.series[id as usize].label("job") == service)
            .collect();
        let request =
            ScanRequest { series, range: TimeRange::ALL, attributes: Vec::new(), with_times: false };
        source.scan(&request, &mut |run| samples += run.values.len() as u64).await.expect("samples");
    }
    samples
}

fn store(c: &mut Criterion) {
    let runtime: Runtime =
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let requests = requests();
    let batches: Vec<SampleBatch> = requests.iter().map(decoded).collect();
    let samples: u64 = requests.iter().map(|request| request.samples).sum();
    let mut group = c.benchmark_group("store");
    group.sample_size(10).throughput(Throughput::Elements(samples));
    group.bench_function("decode", |b| {
        b.iter(|| requests.iter().map(|request| decoded(request).series.len()).sum::<usize>());
    });
    group.bench_function("append", |b| {
        b.iter_batched(
            || runtime.block_on(open(&Arc::default(), 0)),
            |store| {
                runtime.block_on(append(&store, &batches));
                store
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("flush", |b| {
        b.iter_batched(
            || {
                runtime.block_on(async {
                    let store = open(&Arc::default(), 0).await;
                    append(&store, &batches).await;
                    store
                })
            },
            |store| runtime.block_on(store.flush()).expect("a block"),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("compact", |b| {
        b.iter_batched(
            || {
                runtime.block_on(async {
                    let objects = Arc::default();
                    in_blocks(&objects, &batches).await;
                    open(&objects, 1 << 30).await
                })
            },
            |store| {
                runtime.block_on(store.compact(i64::MAX / 2)).expect("a merged block");
                assert_eq!(store.counts().blocks, 1);
            },
            BatchSize::PerIteration,
        );
    });
    let objects = Arc::default();
    let store = runtime.block_on(async {
        in_blocks(&objects, &batches).await;
        open(&objects, 0).await
    });
    group.bench_function("read one service of four blocks", |b| {
        b.iter(|| runtime.block_on(read(&store, &Fleet::service_name(7))));
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
