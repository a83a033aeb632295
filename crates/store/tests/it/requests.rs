//! What a query asks of a bucket.

mod pages;
mod recorded;

use std::{collections::BTreeMap, sync::Arc};

use decima_store::{
    Place, Settings, Store, StoreCounts, Tiers,
    source::{ScanRequest, TimeRange},
};

use self::recorded::{Get, Recorded};
use crate::{
    batches::{Row, batch},
    durability::{now, settings},
};

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

/// A service that sends so many samples of so many stacktraces in an hour.
#[derive(Clone, Copy)]
struct Service {
    name: &'static str,
    samples: i64,
    stacks: i64,
}

/// The service whose stacktraces have a function of their own each.
const WIDE: &str = "wide";

/// Most services are alike, one is tiny, one sends half of everything, and one has more functions than a row group of locations.
fn fleet() -> Vec<Service> {
    let others = ["a", "b", "c", "d", "e", "f", "g", "m", "n", "o", "t", "u", "v", "w", "x", "z"];
    let others = others.map(|name| Service { name, samples: 9_000, stacks: 500 });
    let large = Service { name: "large", samples: 110_000, stacks: 3_000 };
    let small = Service { name: "small", samples: 200, stacks: 40 };
    let wide = Service { name: WIDE, samples: 20_000, stacks: 20_000 };
    let mut fleet: Vec<Service> = others.into_iter().chain([large, small, wide]).collect();
    fleet.sort_by_key(|service| service.name);
    fleet
}

/// Numbers that do not compress, so that blocks have the size of real ones.
fn noise(service: &str, at: i64) -> i64 {
    let seed = service.bytes().fold(7i64, |seed, byte| seed * 31 + i64::from(byte));
    ((at * 1_000 + seed).wrapping_mul(0x1E37_79B9_7F4A_7C15) >> 43) & 0xf_ffff
}

/// Stacktraces that share their beginnings, of functions of the service and of some that every service has.
fn stacks(service: &Service) -> Vec<&'static [&'static str]> {
    let function = |depth: i64, stack: i64| -> &'static str {
        let owner = if depth < 3 { "runtime" } else { service.name };
        let choice = match (depth, service.name) {
            (3, WIDE) => stack,
            _ => noise(owner, (stack >> (13 - depth).max(0)) + depth) & 0x1ff,
        };
        Box::leak(format!("{owner}::at_{depth}::function_{choice}").into_boxed_str())
    };
    (0..service.stacks)
        .map(|stack| -> &'static [&'static str] {
            let (bits, depth) = match service.name {
                WIDE => (stack, 4),
                name => (noise(name, stack) & 0x1fff, 18),
            };
            let frames: Vec<_> = (0..depth).rev().map(|depth| function(depth, bits)).collect();
            Box::leak(frames.into_boxed_slice())
        })
        .collect()
}

/// Settings with which blocks are merged when they are told to be.
fn with_compaction(memory_bytes: u64) -> Settings {
    Settings {
        compaction_memory_bytes: memory_bytes,
        head_memory_bytes: 256 << 20,
        ..settings("unused".as_ref())
    }
}

/// A bucket with a block of the whole fleet for each of some hours of a day that is over.
async fn bucket(hours: &[i64]) -> Arc<Recorded> {
    let objects = Arc::new(Recorded::default());
    let store = Store::open_at(with_compaction(0), Place::objects(objects.clone())).await.unwrap();
    let day = (now() / (24 * HOUR_NS) - 2) * 24 * HOUR_NS;
    let fleet: Vec<_> = fleet().into_iter().map(|service| (service, stacks(&service))).collect();
    for hour in hours {
        let t = day + hour * HOUR_NS;
        for (service, stacks) in &fleet {
            let stacks: Vec<Row> = stacks.iter().map(|stack| (*stack, t, 1, "")).collect();
            let mut batch = batch(service.name, &stacks);
            let samples = &mut batch.series[0];
            let step_ns = HOUR_NS / 2 / service.samples;
            samples.times_ns = (0..service.samples).map(|at| t + at * step_ns).collect();
            samples.values = (0..service.samples).map(|at| 1 + noise(service.name, at + hour)).collect();
            let stack = |at| (noise(service.name, at - hour) % service.stacks) as u32;
            samples.stacktraces = (0..service.samples).map(stack).collect();
            store.append(batch, None).await.unwrap();
        }
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    objects
}

/// What one service is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    FlameGraph,
    OverTime,
}

/// All services.
const EVERYTHING: &str = "";

/// Reads what a question about a service needs, and gives the number of its samples.
async fn read(store: &Store, service: &str, question: Question) -> u64 {
    let mut samples = 0;
    for source in store.query_snapshot().sources {
        let table = source.series().await.unwrap();
        let is_of = |id: &u32| service == EVERYTHING || table.series[*id as usize].label("job") == service;
        let series: Vec<u32> = (0..table.series.len() as u32).filter(is_of).collect();
        let partitions: Vec<u32> = series.iter().map(|&id| table.series[id as usize].partition).collect();
        let request =
            ScanRequest { series, range: TimeRange::ALL, attributes: Vec::new(), with_times: false };
        if question == Question::OverTime {
            let mut add = |_, points: &[decima_store::source::Point]| {
                samples += points.iter().map(|point| point.count).sum::<u64>();
            };
            source.points(&request, &mut add).await.unwrap();
            continue;
        }
        source.symbols(&partitions).await.unwrap();
        source.trees(&partitions, 0..partitions.len()).await.unwrap();
        source.scan(&request, &mut |run| samples += run.values.len() as u64).await.unwrap();
    }
    samples
}

/// Requests and bytes by block.
fn by_block(gets: &[Get]) -> BTreeMap<&str, (usize, u64)> {
    let mut all: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for get in gets {
        let (count, bytes) = all.entry(&get.block).or_default();
        *count += 1;
        *bytes += get.range.end - get.range.start;
    }
    all
}

/// What may be read of a row group that several services share, however little of it is wanted.
const SHARED_BYTES: u64 = 64 << 10;

/// What blocks keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Samples,
    /// Sums of them, as many as it may be.
    Sums,
}

/// Asks about every service of the fleet, each in a process that has the footers and answered about another one, and compares what the
/// blocks were asked for with what is needed.
async fn check(objects: &Arc<Recorded>, blocks: usize, kept: Kept) {
    let store = Store::open_at(with_compaction(0), Place::objects(objects.clone())).await.unwrap();
    for question in [Question::FlameGraph, Question::OverTime] {
        read(&store, "b", question).await;
        for service in fleet().iter().filter(|service| service.name != "b") {
            objects.take();
            let samples = read(&store, service.name, question).await;
            assert!(samples > 0);
            if kept == Kept::Samples || question == Question::OverTime {
                assert_eq!(samples % service.samples as u64, 0);
            }
            let gets = objects.take();
            let asked = by_block(&gets);
            assert_eq!(asked.len(), blocks, "{} {question:?}", service.name);
            for (block, (count, bytes)) in asked {
                let pages = match question {
                    Question::FlameGraph => pages::of_flame_graph(&objects.inner, block, service.name).await,
                    Question::OverTime => pages::of_points(&objects.inner, block, service.name).await,
                };
                let what = format!("{} {question:?}: {bytes} bytes of {pages:?} by {gets:?}", service.name);
                // A request for each file.
                assert_eq!(count, pages.len(), "{what}");
                let needed: u64 = pages.values().sum();
                let most = match service.name {
                    "small" => 2 * needed + pages.len() as u64 * SHARED_BYTES,
                    _ => 2 * needed,
                };
                assert!(bytes <= most, "{what}");
            }
        }
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_is_read_with_a_request_for_each_file() {
    let objects = bucket(&[1, 5, 9]).await;
    check(&objects, 3, Kept::Samples).await;

    // The same of the day's block, and all that a process that starts asks it for.
    let store = Store::open_at(with_compaction(256 << 20), Place::objects(objects.clone())).await.unwrap();
    assert_eq!(store.compact(now()).await.unwrap(), 3);
    store.close().await.unwrap();
    drop(store);
    check(&objects, 1, Kept::Samples).await;
    let store = Store::open_at(with_compaction(0), Place::objects(objects.clone())).await.unwrap();
    read(&store, "b", Question::FlameGraph).await;
    objects.take();
    read(&store, EVERYTHING, Question::FlameGraph).await;
    let all = objects.take();
    // Row groups that lie beside each other are one request, until they are some megabytes; each service has some to itself.
    assert!(all.len() < fleet().len(), "{all:?}");
    store.close().await.unwrap();
    drop(store);
    for service in fleet() {
        let store = Store::open_at(with_compaction(0), Place::objects(objects.clone())).await.unwrap();
        objects.take();
        assert_eq!(read(&store, service.name, Question::FlameGraph).await, 3 * service.samples as u64);
        let first = objects.take();
        assert!(first.len() <= 20, "{} {first:?}", service.name);
        store.close().await.unwrap();
    }

    // The same once it has become coarser.
    let tiers = Tiers { raw: Some(DAY), ten_seconds: None };
    let coarser = Settings { tiers, ..with_compaction(256 << 20) };
    let store = Store::open_at(coarser, Place::objects(objects.clone())).await.unwrap();
    assert_eq!(store.compact(now()).await.unwrap(), 1);
    store.close().await.unwrap();
    drop(store);
    check(&objects, 1, Kept::Sums).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_asks_for_is_counted() {
    let objects = bucket(&[1]).await;
    let store = Store::open_at(with_compaction(0), Place::objects(objects)).await.unwrap();
    read(&store, "a", Question::FlameGraph).await;
    let before = store.counts();
    read(&store, "b", Question::FlameGraph).await;
    let after = store.counts();
    let (gets, read_bytes) = (after.requests.gets, after.requests.read_bytes);
    assert!(gets > before.requests.gets);
    assert_eq!((before.query_gets.count(), after.query_gets.count()), (1, 2));
    assert_eq!(after.query_gets.sum - before.query_gets.sum, gets - before.requests.gets);
    let of_query = after.query_read_bytes.sum - before.query_read_bytes.sum;
    assert_eq!(of_query, read_bytes - before.requests.read_bytes);
    let others = |counts: &StoreCounts| {
        let requests = counts.requests;
        (requests.lists, requests.puts, requests.deletes)
    };
    assert_eq!(others(&after), others(&before));
    store.close().await.unwrap();
}
