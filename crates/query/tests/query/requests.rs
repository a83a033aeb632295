//! What questions ask of a bucket.

use std::{sync::Arc, time::Duration};

use decima_query::{Engine, QueryRangeRequest, ReportType, Selection, TimeRange, engine::Settings};
use decima_store::{Place, Store};
use object_store::memory::InMemory;

use crate::{
    coarse::sample,
    memory::Sample,
    store::{batch, settings},
    world::{TYPE, locations, request},
};

const BLOCKS: i64 = 3;
const SERVICES: i64 = 6;
const SECOND_NS: i64 = 1_000_000_000;
const HOUR: TimeRange = TimeRange { start_ns: 0, end_ns: 3_600 * SECOND_NS };

/// What each service sends into a block: samples at different times, of locations that others have too.
fn samples(block: i64) -> Vec<Sample> {
    let pool = locations();
    let all = (0..SERVICES).flat_map(|service| (0..20).map(move |at| (service, at)));
    all.map(|(service, at)| Sample {
        labels: vec![("service".to_owned(), format!("s{service}"))],
        stack: (0..at % 5).map(|depth| pool[((at + service + depth) % 12) as usize].clone()).collect(),
        ..sample(TYPE, (block * 1_000 + at) * SECOND_NS, 1 + service, "t1")
    })
    .collect()
}

/// Asks, and gives the requests of the bucket that it took.
async fn gets<T>(store: &Store, question: impl Future<Output = T>) -> (T, u64) {
    let before = store.counts().query_gets;
    let answer = question.await;
    // They count once nothing of the question is left.
    for _ in 0..500 {
        let after = store.counts().query_gets;
        if after.count() > before.count() {
            return (answer, after.sum - before.sum);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the question was not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_takes_a_request_for_each_file_of_a_block() {
    let unused = std::path::Path::new("unused");
    let objects = Arc::new(InMemory::new());
    let writer = Store::open_at(settings(unused, 0), Place::objects(objects.clone())).await.unwrap();
    for block in 0..BLOCKS {
        writer.append(batch(&samples(block)), None).await.unwrap();
        writer.flush().await.unwrap();
    }
    writer.close().await.unwrap();
    let store = Store::open_at(settings(unused, 0), Place::objects(objects)).await.unwrap();
    let engine = Engine::new(store.clone(), Settings::default());
    let flame_graph = |service: i64| {
        let query = format!("{TYPE}{{service=\"s{service}\"}}");
        engine.query(request(Selection::Merge { query, range: HOUR }, ReportType::FlamegraphArrow))
    };
    let over_time = |service: i64| {
        engine.query_range(QueryRangeRequest {
            query: format!("{TYPE}{{service=\"s{service}\"}}"),
            range: HOUR,
            step_ns: 60 * SECOND_NS,
            limit: 0,
            sum_by: Vec::new(),
        })
    };
    // Footers are kept from here on.
    gets(&store, flame_graph(0)).await.0.unwrap();
    gets(&store, over_time(0)).await.0.unwrap();
    for service in 1..SERVICES {
        let (answer, asked) = gets(&store, flame_graph(service)).await;
        assert_eq!(answer.unwrap().total, BLOCKS * 20 * (1 + service));
        assert!((1..=4 * BLOCKS as u64).contains(&asked), "{asked} for s{service}");
        let (answer, asked) = gets(&store, over_time(service)).await;
        assert_eq!(answer.unwrap().series.len(), 1);
        assert_eq!(asked, BLOCKS as u64, "for s{service} over time");
    }
    store.close().await.unwrap();
}
