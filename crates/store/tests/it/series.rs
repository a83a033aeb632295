//! What belongs to a series and to a partition: nominal durations, attributes, ranges of locations; in the head, after a replay and
//! in a block.

use std::collections::BTreeSet;

use decima_profile::{
    SampleBatch,
    batch::{Attribute, AttributeValues},
};
use decima_store::{
    Store,
    source::{Source, TimeRange},
};

use crate::{
    batches::{batch, contents},
    durability::{STACKS, crash, now, settings},
};

/// Runs a check of a store in the head, after a replay, and in a block that was opened anew.
async fn everywhere(store: Store, directory: &std::path::Path, mut check: impl AsyncFnMut(&Store, &str)) {
    check(&store, "in the head").await;
    crash(store);
    let store = Store::open(settings(directory)).await.unwrap();
    check(&store, "after a replay").await;
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(settings(directory)).await.unwrap();
    assert_eq!(store.counts().head_samples, 0);
    check(&store, "in a block").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nominal_duration_tells_series_apart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let t = now() - 60_000_000_000;
    for duration_ns in [10_003_214_511, 15_000_000_000, 9_998_700_000] {
        let mut one = batch("a", &[(STACKS[0], t, 1, "")]);
        one.series[0].duration_ns = duration_ns;
        store.append(one, None).await.unwrap();
    }
    everywhere(store, directory.path(), async |store, place| {
        let snapshot = store.snapshot();
        assert_eq!(snapshot.sources.len(), 1, "{place}");
        let source = &snapshot.sources[0];
        let table = source.series().await.unwrap();
        let mut found: Vec<_> = table.series.iter().map(|s| (s.duration_ns, s.sample_count)).collect();
        found.sort_unstable();
        assert_eq!(found, [(10_000_000_000, 2), (15_000_000_000, 1)], "{place}");

        let mut exact = BTreeSet::new();
        let request = decima_store::source::ScanRequest {
            series: vec![0, 1],
            range: TimeRange::ALL,
            attributes: Vec::new(),
            with_times: true,
        };
        source
            .scan(&request, &mut |run| {
                exact.extend((0..run.values.len()).map(|row| run.durations_ns.get(row)));
            })
            .await
            .unwrap();
        assert_eq!(exact, BTreeSet::from([10_003_214_511, 15_000_000_000, 9_998_700_000]), "{place}");
    })
    .await;
}

/// (series' service, attribute, value or none, first, last, truncated) of all sources.
async fn listed(store: &Store) -> BTreeSet<(String, String, Option<String>, i64, i64, bool)> {
    let mut out = BTreeSet::new();
    for source in store.snapshot().sources {
        let table = source.series().await.unwrap();
        for (name, attribute) in table.attributes.iter() {
            for (id, of) in attribute.series() {
                let service = table.series[id as usize].label("job");
                let row = |value, range: TimeRange| {
                    (service.to_owned(), name.to_owned(), value, range.start_ns, range.end_ns, of.truncated)
                };
                out.insert(row(None, of.range));
                for (&value, &range) in &of.values {
                    out.insert(row(Some(attribute.text(value).to_owned()), range));
                }
            }
        }
    }
    out
}

/// A batch whose samples each have a number of their own.
fn numbered(service: &str, t: i64, count: i64) -> SampleBatch {
    let rows: Vec<_> = (0..count).map(|n| (STACKS[0], t + n, 1, "")).collect();
    let mut batch = batch(service, &rows);
    let name = batch.strings.push("end");
    let values = AttributeValues::Integer { unit: 0, values: (0..count).map(Some).collect() };
    batch.series[0].attributes.push(Attribute { name, values });
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_those_of_their_series() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let t = now() - 60_000_000_000;
    store.append(batch("a", &[(STACKS[0], t, 1, "/x"), (STACKS[1], t + 5, 1, "/y")]), None).await.unwrap();
    store.append(batch("b", &[(STACKS[0], t + 7, 1, "/y"), (STACKS[0], t + 9, 1, "")]), None).await.unwrap();
    store.append(batch("a", &[(STACKS[0], t + 8, 1, "/x")]), None).await.unwrap();
    store.append(batch("c", &[(STACKS[0], t, 1, "")]), None).await.unwrap();
    store.append(numbered("d", t, 3), None).await.unwrap();
    let row = |service: &str, name: &str, value: &str, first, last| {
        let value = (!value.is_empty()).then(|| value.to_owned());
        (service.to_owned(), name.to_owned(), value, t + first, t + last, false)
    };
    let expected = BTreeSet::from([
        row("a", "route", "", 0, 8),
        row("a", "route", "/x", 0, 8),
        row("a", "route", "/y", 5, 5),
        row("b", "route", "", 7, 7),
        row("b", "route", "/y", 7, 7),
        row("d", "end", "", 0, 2),
        row("d", "end", "0", 0, 0),
        row("d", "end", "1", 1, 1),
        row("d", "end", "2", 2, 2),
    ]);
    everywhere(store, directory.path(), async |store, place| {
        assert_eq!(listed(store).await, expected, "{place}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_with_a_value_per_sample_is_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let t = now() - 60_000_000_000;
    store.append(numbered("a", t, 30_000), None).await.unwrap();
    everywhere(store, directory.path(), async |store, place| {
        let table = store.snapshot().sources[0].series().await.unwrap();
        let of = table.attributes.of_series("end", 0).unwrap();
        assert_eq!((of.values.len(), of.truncated), (10_000, true), "{place}");
        assert_eq!(of.range, TimeRange { start_ns: t, end_ns: t + 29_999 }, "{place}");
    })
    .await;
}

/// Names of the functions of a partition's stacktraces, read with the locations of these partitions.
async fn functions(source: &dyn Source, partitions: &[u32], at: usize) -> BTreeSet<String> {
    let symbols = source.symbols(partitions).await.unwrap();
    let trees = source.trees(partitions, 0..partitions.len()).await.unwrap();
    let lines = trees[at].location[1..].iter().flat_map(|&location| {
        let lines = symbols.location_lines(location);
        assert!(!lines.is_empty());
        lines
    });
    lines.map(|l| symbols.strings.get(symbols.functions[l.function as usize].name).to_owned()).collect()
}

/// Of each service two stacktraces of its own under a root of all.
const SERVICES: [[&[&str]; 2]; 10] = [
    [&["a1", "root"], &["a2", "a1", "root"]],
    [&["b1", "root"], &["b2", "b1", "root"]],
    [&["c1", "root"], &["c2", "c1", "root"]],
    [&["d1", "root"], &["d2", "d1", "root"]],
    [&["e1", "root"], &["e2", "e1", "root"]],
    [&["f1", "root"], &["f2", "f1", "root"]],
    [&["g1", "root"], &["g2", "g1", "root"]],
    [&["h1", "root"], &["h2", "h1", "root"]],
    [&["i1", "root"], &["i2", "i1", "root"]],
    [&["j1", "root"], &["j2", "j1", "root"]],
];

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_reads_the_shared_locations_and_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let t = now() - 60_000_000_000;
    for (at, stacks) in SERVICES.iter().enumerate() {
        let mut one = batch(&format!("s{at}"), &[(stacks[0], t, 1, ""), (stacks[1], t, 2, "")]);
        // Addresses that no other service has, but for the root's.
        for location in 0..one.locations.len() {
            let line = one.locations[location].first_line as usize;
            let name = one.functions[one.lines[line].function as usize].name;
            let is_root = one.strings.get(name) == "root";
            one.locations[location].address =
                if is_root { 1 } else { 1000 + 10 * at as u64 + location as u64 };
        }
        store.append(one, None).await.unwrap();
    }
    let expected = contents(&store).await;
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
    let snapshot = store.snapshot();
    let source = &*snapshot.sources[0];
    let names = |at: usize| -> BTreeSet<String> {
        SERVICES[at].iter().flat_map(|stack| stack.iter()).map(|name| (*name).to_owned()).collect()
    };
    let all: Vec<u32> = (0..10).collect();
    assert_eq!(source.symbols(&all).await.unwrap().location_count(), 21);
    for at in 0..10u32 {
        assert_eq!(source.symbols(&[at]).await.unwrap().location_count(), 3, "the root and its own two");
        assert_eq!(functions(source, &[at], 0).await, names(at as usize));
        assert_eq!(functions(source, &all, at as usize).await, names(at as usize));
    }
    assert_eq!(source.symbols(&[2, 7]).await.unwrap().location_count(), 5);
    assert_eq!(functions(source, &[2, 7], 0).await, names(2));
    assert_eq!(functions(source, &[2, 7], 1).await, names(7));
}
