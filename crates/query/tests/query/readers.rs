//! A process that only answers, over what another one writes.

use decima_query::{Engine, LabelsRequest, ReportType, TimeRange, engine::Settings};
use decima_store::{Place, ReadError, Store, inspect::inspect};

use crate::{
    coarse::sample,
    store::{batch, settings},
    world::{TYPE, merge_of, request},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_is_merged_and_gone_does_not_fail_a_question() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let writer = Store::open(settings(path, 0)).await.unwrap();
    for value in [1, 2, 4] {
        writer.append(batch(&[sample(TYPE, value, value, "t1")]), None).await.unwrap();
        writer.flush().await.unwrap();
    }
    let reader = Store::follow(settings(path, 0), &Place::shared_directory(path).unwrap()).await.unwrap();
    let before = reader.snapshot();
    assert_eq!(before.sources.len(), 3);
    writer.close().await.unwrap();
    drop(writer);
    let writer = Store::open(settings(path, 256 << 20)).await.unwrap();
    assert!(writer.compact(i64::MAX / 2).await.unwrap() > 0, "blocks become one");
    writer.close().await.unwrap();
    drop(writer);
    // As the store does some minutes later.
    for source in &before.sources {
        std::fs::remove_dir_all(path.join("default/blocks").join(source.name())).unwrap();
    }
    let gone = before.sources[0].series().await.err();
    assert!(matches!(gone, Some(ReadError::Missing { .. })), "{gone:?}");

    for allow_partial in [false, true] {
        let engine = Engine::new(reader.clone(), Settings { allow_partial, ..Settings::default() });
        let answer = engine.query(request(merge_of("{}"), ReportType::FlamegraphArrow)).await.unwrap();
        assert_eq!((answer.total, answer.notices), (7, Vec::new()));
        assert_eq!(engine.values("service", LabelsRequest::default()).await.unwrap(), ["s0"]);
    }
}

/// Values whose sum fits although those of some of them do not, in each order and in each place where they can be.
#[tokio::test(flavor = "multi_thread")]
async fn values_over_time_are_exact_where_parts_of_the_sum_do_not_fit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let values = [i64::MAX, i64::MAX, i64::MIN, -7];
    let asked = || decima_query::QueryRangeRequest {
        query: format!("{TYPE}{{}}"),
        range: TimeRange::ALL,
        step_ns: 0,
        limit: 0,
        sum_by: Vec::new(),
    };
    let check = async |store: &Store, expected: i64| {
        let answer = Engine::new(store.clone(), Settings::default()).query_range(asked()).await.unwrap();
        let sum: i64 =
            answer.series.iter().flat_map(|series| &series.samples).map(|sample| sample.value).sum();
        assert_eq!((sum, answer.notices), (expected, Vec::new()));
        let found = inspect(&Place::shared_directory(path).unwrap(), true).await.unwrap().findings;
        assert!(found.is_empty(), "{found:?}");
    };
    let samples: Vec<_> = values.iter().map(|&value| sample(TYPE, 5, value, "t1")).collect();
    let store = Store::open(settings(path, 0)).await.unwrap();
    store.append(batch(&samples), None).await.unwrap();
    check(&store, i64::MAX - 8).await;
    store.flush().await.unwrap();
    check(&store, i64::MAX - 8).await;
    store.close().await.unwrap();
    drop(store);

    // The same once more, one request each.
    let store = Store::open(settings(path, 256 << 20)).await.unwrap();
    for one in &samples {
        store.append(batch(std::slice::from_ref(one)), None).await.unwrap();
    }
    store
        .append(batch(&[sample(TYPE, 5, -i64::MAX + 1, "t1"), sample(TYPE, 5, -6, "t2")]), None)
        .await
        .unwrap();
    check(&store, i64::MAX - 21).await;
    store.flush().await.unwrap();
    store.compact(i64::MAX / 2).await.unwrap();
    assert_eq!(store.counts().blocks, 1);
    check(&store, i64::MAX - 21).await;
    store.close().await.unwrap();
}
