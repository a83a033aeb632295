//! Blocks become coarser and their sums stay: rollup = samples.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use decima_profile::ProfileType;
use decima_store::{
    Place, Settings, Store, Tiers, inspect,
    source::{Point, ScanRequest, TimeRange},
    tiers::{self, HOUR_NS, TEN_SECONDS_NS},
};
use futures::StreamExt;
use object_store::memory::InMemory;
use proptest::prelude::*;

use crate::{
    batches::{Row, batch, contents},
    durability::{STACKS, crash, now, settings},
    prefixes::{Recorder, replayed},
};

const UNUSED: &str = "unused";
const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

/// A store that is filled first: nothing becomes coarser.
fn raw() -> Settings {
    Settings { compaction_memory_bytes: 0, ..settings(UNUSED.as_ref()) }
}

fn hours(hours: u64) -> Option<Duration> {
    Some(Duration::from_secs(3600 * hours))
}

/// One whose samples of yesterday are sums of 10 s.
fn ten_seconds() -> Settings {
    Settings { tiers: Tiers { raw: hours(24), ten_seconds: None }, ..settings(UNUSED.as_ref()) }
}

/// One whose samples of yesterday are sums of an hour.
fn hourly() -> Settings {
    Settings { tiers: Tiers { raw: hours(12), ten_seconds: hours(24) }, ..settings(UNUSED.as_ref()) }
}

/// The begin of the day before yesterday: all its samples are older than a day.
fn old_day() -> i64 {
    (now() / DAY_NS - 2) * DAY_NS
}

/// Sums by series, stacktrace and bucket.
async fn sums(store: &Store, resolution_ns: i64) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for (key, value) in contents(store).await {
        let (content, time) = key.rsplit_once('@').unwrap();
        let (stacktrace, _route) = content.rsplit_once(';').unwrap();
        let start = tiers::bucket_start(time.parse().unwrap(), resolution_ns);
        *sums.entry(format!("{stacktrace}@{start}")).or_default() += value;
    }
    sums
}

async fn points(store: &Store) -> Vec<Point> {
    let mut found = Vec::new();
    for source in store.snapshot().sources {
        let count = source.series().await.unwrap().series.len() as u32;
        let request = ScanRequest {
            series: (0..count).collect(),
            range: TimeRange::ALL,
            attributes: Vec::new(),
            with_times: false,
        };
        source.points(&request, &mut |_, points| found.extend_from_slice(points)).await.unwrap();
    }
    found
}

/// Sum and count of all points by bucket.
async fn point_sums(store: &Store, resolution_ns: i64) -> BTreeMap<i64, (i64, u64)> {
    let mut sums: BTreeMap<i64, (i64, u64)> = BTreeMap::new();
    for point in points(store).await {
        let sum = sums.entry(tiers::bucket_start(point.time_ns, resolution_ns)).or_default();
        *sum = (sum.0 + point.sum, sum.1 + point.count);
    }
    sums
}

async fn resolutions(store: &Store) -> Vec<i64> {
    let mut found = Vec::new();
    for source in store.snapshot().sources {
        found.push(source.series().await.unwrap().resolution_ns);
    }
    found
}

/// (service, second of the day, stacktrace, value, route) of samples of a request.
type Sample = (u8, i64, usize, i64, usize);

fn blocks() -> impl Strategy<Value = Vec<Vec<Vec<Sample>>>> {
    let sample = (0u8..3, 0i64..3 * 3600, 0..STACKS.len(), -5i64..9, 0usize..3);
    let request = proptest::collection::vec(sample, 1..8);
    proptest::collection::vec(proptest::collection::vec(request, 1..4), 1..5)
}

async fn fill(store: &Store, blocks: &[Vec<Vec<Sample>>], day: i64) {
    for requests in blocks {
        for samples in requests {
            for service in 0..3u8 {
                let rows: Vec<Row> = samples
                    .iter()
                    .filter(|sample| sample.0 == service && sample.3 != 0)
                    .map(|&(_, second, stack, value, route)| {
                        (STACKS[stack], day + second * SECOND_NS + 7, value, ["", "/a", "/b"][route])
                    })
                    .collect();
                if !rows.is_empty() {
                    store.append(batch(&format!("s{service}"), &rows), None).await.unwrap();
                }
            }
        }
        store.flush().await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn sums_of_each_bucket_stay(blocks in blocks()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let objects = Arc::new(InMemory::new());
            let open = async |settings| Store::open_at(settings, Place::objects(objects.clone())).await.unwrap();
            let store = open(raw()).await;
            fill(&store, &blocks, old_day()).await;
            store.close().await.unwrap();
            let by_ten_seconds = (sums(&store, TEN_SECONDS_NS).await, point_sums(&store, TEN_SECONDS_NS).await);
            let by_hour = (sums(&store, HOUR_NS).await, point_sums(&store, HOUR_NS).await);
            let is_empty = by_hour.0.is_empty();

            let store = open(ten_seconds()).await;
            store.compact(now()).await.unwrap();
            assert_eq!(resolutions(&store).await, if is_empty { vec![] } else { vec![TEN_SECONDS_NS] });
            assert_eq!(sums(&store, 0).await, by_ten_seconds.0);
            assert_eq!(point_sums(&store, 0).await, by_ten_seconds.1);
            store.close().await.unwrap();

            let store = open(hourly()).await;
            store.compact(now()).await.unwrap();
            assert_eq!(resolutions(&store).await, if is_empty { vec![] } else { vec![HOUR_NS] });
            assert_eq!(sums(&store, 0).await, by_hour.0);
            assert_eq!(point_sums(&store, 0).await, by_hour.1);
            assert_eq!(store.counts().compaction_failures, 0);
            let findings = inspect::inspect(&Place::objects(objects.clone()), true).await.unwrap().findings;
            assert_eq!(findings, Vec::<String>::new());
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coarse_block_has_whole_buckets_and_the_names_of_attributes() {
    let objects = Arc::new(InMemory::new());
    let day = old_day();
    let store = Store::open_at(raw(), Place::objects(objects.clone())).await.unwrap();
    let at = |seconds: i64| day + seconds * SECOND_NS;
    let rows: Vec<Row> = vec![
        (STACKS[0], at(1800), 1, "/a"),
        (STACKS[1], at(1801), 2, ""),
        (STACKS[0], at(3600), 4, "/b"),
        (STACKS[0], at(7199), 8, "/a"),
        (STACKS[0], at(7200), 16, "/a"),
    ];
    store.append(batch("a", &rows), Some(5)).await.unwrap();
    store.close().await.unwrap();
    let store = Store::open_at(hourly(), Place::objects(objects.clone())).await.unwrap();
    store.compact(now()).await.unwrap();

    let source = store.snapshot().sources.remove(0);
    let table = source.series().await.unwrap();
    assert_eq!(source.range(), TimeRange { start_ns: at(0), end_ns: at(3 * 3600) - 1 });
    assert_eq!(table.series[0].range, source.range());
    let route = table.attributes.of_series("route", 0).unwrap();
    assert_eq!((route.truncated, route.values.len()), (true, 0), "that there were values is known");
    let check = async |from: i64, to: i64, expected: &[(i64, i64)]| {
        let mut found = Vec::new();
        let request = ScanRequest {
            series: vec![0],
            range: TimeRange { start_ns: at(from), end_ns: at(to) },
            attributes: vec!["route".to_owned()],
            with_times: true,
        };
        let mut take = |run: decima_store::source::SampleRun<'_>| {
            assert!(run.attributes[0].is_none());
            for (row, &value) in run.values.iter().enumerate() {
                assert_eq!(run.durations_ns.get(row), HOUR_NS);
                found.push(((run.times_ns.get(row) - day) / HOUR_NS, value));
            }
        };
        source.scan(&request, &mut take).await.unwrap();
        found.sort_unstable();
        assert_eq!(found, expected, "from {from} to {to}");
    };
    check(0, 9000, &[(0, 1), (0, 2), (1, 12), (2, 16)]).await;
    check(1000, 2000, &[(0, 1), (0, 2)]).await;
    check(3599, 3599, &[(0, 1), (0, 2)]).await;
    check(3600, 3600, &[(1, 12)]).await;
    check(4000, 7199, &[(1, 12)]).await;
    check(0, 1799, &[(0, 1), (0, 2)]).await;
    check(7201, 9000, &[(2, 16)]).await;
    check(-9, -1, &[]).await;
    check(3 * 3600, 4 * 3600, &[]).await;

    let again = store.append(batch("a", &[(STACKS[0], at(0), 1, "")]), Some(5)).await.unwrap();
    assert!(again.duplicate, "requests are recognised in a coarse block");
    let inventory = inspect::inspect(&Place::objects(objects), true).await.unwrap();
    assert_eq!(inventory.blocks[0].resolution_ns, HOUR_NS);
    assert_eq!(inventory.findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_counted() {
    let objects = Arc::new(InMemory::new());
    let day = old_day();
    let store = Store::open_at(raw(), Place::objects(objects.clone())).await.unwrap();
    for (at, seconds) in [5, 5, 15, 3000, 3600].into_iter().enumerate() {
        let t = day + seconds * SECOND_NS;
        let mut states = batch("a", &[(STACKS[0], t, 10, ""), (STACKS[1], t, 20, "")]);
        states.series[0].profile_type = ProfileType::parse("memory:inuse_space:bytes:space:bytes").unwrap();
        store.append(states, None).await.unwrap();
        if at % 2 == 0 {
            store.flush().await.unwrap();
        }
    }
    store.close().await.unwrap();
    let check = async |settings: Settings, expected: &[(i64, i64, u64)]| {
        let store = Store::open_at(settings, Place::objects(objects.clone())).await.unwrap();
        store.compact(now()).await.unwrap();
        let found: Vec<_> =
            points(&store).await.iter().map(|p| ((p.time_ns - day) / SECOND_NS, p.sum, p.instants)).collect();
        assert_eq!(found, expected);
        store.close().await.unwrap();
    };
    // Two requests of one time are parts of one state.
    check(ten_seconds(), &[(0, 60, 1), (10, 30, 1), (3000, 30, 1), (3600, 30, 1)]).await;
    check(hourly(), &[(0, 120, 3), (3600, 30, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_that_do_not_fit_are_apart() {
    let objects = Arc::new(InMemory::new());
    let day = old_day();
    let store = Store::open_at(raw(), Place::objects(objects.clone())).await.unwrap();
    let most = i64::MAX / 2 + 1;
    for seconds in 0..4 {
        let rows = [(STACKS[0], day + seconds * SECOND_NS, most, "")];
        store.append(batch("a", &rows), None).await.unwrap();
    }
    store.close().await.unwrap();
    let store = Store::open_at(hourly(), Place::objects(objects.clone())).await.unwrap();
    store.compact(now()).await.unwrap();
    assert_eq!(resolutions(&store).await, [HOUR_NS]);
    let mut sum = 0i128;
    for source in store.snapshot().sources {
        let request =
            ScanRequest { series: vec![0], range: TimeRange::ALL, attributes: Vec::new(), with_times: false };
        let mut add = |run: decima_store::source::SampleRun<'_>| {
            sum += run.values.iter().map(|&v| i128::from(v)).sum::<i128>();
        };
        source.scan(&request, &mut add).await.unwrap();
    }
    assert_eq!(sum, 4 * i128::from(most));
}

/// A crash after any change of the storage while blocks become coarser: the sums are there, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_prefix_of_changes_has_the_sums() {
    let objects = Recorder::new();
    objects.open_gate();
    let day = old_day();
    let store = Store::open_at(raw(), Place::objects(objects.clone())).await.unwrap();
    let blocks: Vec<Vec<Vec<Sample>>> = (0..3)
        .map(|block| {
            vec![(0..9).map(|n| ((n % 3) as u8, block * 900 + n * 9, n as usize % 4, n + 1, 0)).collect()]
        })
        .collect();
    fill(&store, &blocks, day).await;
    store.append(batch("new", &[(STACKS[0], now(), 3, "")]), None).await.unwrap();
    let filled = objects.count();
    let expected = sums(&store, HOUR_NS).await;
    crash(store);
    for settings in [ten_seconds(), hourly()] {
        let store = Store::open_at(settings, Place::objects(objects.clone())).await.unwrap();
        assert!(store.compact(now()).await.unwrap() > 0);
        crash(store);
    }
    let changes = objects.changes();
    assert!(changes.len() > filled + 20, "{} changes", changes.len() - filled);
    let (changes, expected) = (&changes, &expected);
    let checks = (filled..=changes.len()).map(async |count| {
        let objects = replayed(&changes[..count]).await;
        for settings in [raw(), ten_seconds(), hourly()] {
            let store = Store::open_at(settings, Place::objects(objects.clone())).await.unwrap();
            assert_eq!(sums(&store, HOUR_NS).await, *expected, "after {count} changes");
            store.compact(now()).await.unwrap();
            assert_eq!(sums(&store, HOUR_NS).await, *expected, "after {count} changes and a compaction");
            crash(store);
        }
    });
    futures::stream::iter(checks).buffer_unordered(8).collect::<Vec<()>>().await;
}
