//! The engine over a store whose samples became sums: the same answers at the resolution of the sums, and what it says of the rest.

use decima_query::{
    Engine, LabelsRequest, QueryError, QueryRangeRequest, ReportAnswer, ReportType, Selection, TimeRange,
    engine::Settings,
};
use decima_store::{
    Store, Tiers,
    tiers::{HOUR_NS, TEN_SECONDS_NS},
};
use proptest::prelude::*;

use crate::{
    answers::flamegraph_record,
    memory::Sample,
    store::{batch, settings},
    world::{TYPE, request, signed, worlds},
};

const STATES: &str = "memory:inuse_space:bytes:space:bytes";
const MINUTE_NS: i64 = 60_000_000_000;
/// The times of a world, spread.
const SPREAD_NS: i64 = 31 * MINUTE_NS;
/// Seven times it, whole hours.
const ALL: TimeRange = TimeRange { start_ns: 0, end_ns: 4 * HOUR_NS - 1 };

/// A store in which each of these batches became a block of its own, and coarser.
async fn coarse(path: &std::path::Path, batches: &[Vec<Sample>], resolution_ns: i64) -> Store {
    let store = Store::open(settings(path, 0)).await.unwrap();
    for samples in batches.iter().filter(|samples| !samples.is_empty()) {
        store.append(batch(samples), None).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let age = Some(std::time::Duration::from_secs(1));
    let ten_seconds = age.filter(|_| resolution_ns == HOUR_NS);
    let tiers = Tiers { raw: age, ten_seconds };
    let store = Store::open(decima_store::Settings { tiers, ..settings(path, 256 << 20) }).await.unwrap();
    store.compact(40 * 365 * 24 * HOUR_NS).await.unwrap();
    assert_eq!(store.counts().compaction_failures, 0);
    store
}

fn merge_of(selector: &str, range: TimeRange) -> Selection {
    Selection::Merge { query: format!("{TYPE}{selector}"), range }
}

async fn report(engine: &Engine, selector: &str, range: TimeRange) -> ReportAnswer {
    engine.query(request(merge_of(selector, range), ReportType::FlamegraphArrow)).await.unwrap()
}

fn over_time(query: String, range: TimeRange, step_ns: i64) -> QueryRangeRequest {
    QueryRangeRequest { query, range, step_ns, limit: 0, sum_by: vec!["service".to_owned()] }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn whole_buckets_answer_like_samples(world in worlds(signed()), is_hourly in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = world;
            for sample in &mut world.samples {
                sample.time_ns *= SPREAD_NS;
                // One sign a stacktrace: what cancels within a bucket has a node without value among samples, none among sums.
                let sign = if sample.stack.len().is_multiple_of(2) { 1 } else { -1 };
                sample.value = sign * sample.value.abs();
            }
            let resolution_ns = if is_hourly { HOUR_NS } else { TEN_SECONDS_NS };
            let directory = tempfile::tempdir().unwrap();
            let of = |source: usize| -> Vec<Sample> {
                let samples = world.samples.iter().zip(&world.sources).filter(|(_, s)| **s == source);
                samples.map(|(sample, _)| sample.clone()).collect()
            };
            let store = coarse(directory.path(), &[of(0), of(1), of(2)], resolution_ns).await;
            let stored = Engine::new(store, Settings::default());
            let raw = world.joined().engine();
            for range in [ALL, TimeRange { start_ns: HOUR_NS, end_ns: 2 * HOUR_NS - 1 }] {
                for selector in ["{}", "{service=~\"s[01]\"}"] {
                    let (got, expected) = (report(&stored, selector, range).await, report(&raw, selector, range).await);
                    assert_eq!(got.total, expected.total, "{selector}");
                    assert_eq!(flamegraph_record(&got).record, flamegraph_record(&expected).record, "{selector}");
                }
                for step_ns in [HOUR_NS, 2 * HOUR_NS, 0] {
                    let asked = over_time(format!("{TYPE}{{}}"), range, step_ns);
                    let (got, expected) = (stored.query_range(asked.clone()).await, raw.query_range(asked).await);
                    match (got, expected) {
                        (Ok(got), Ok(expected)) => {
                            let shown = |answer: decima_query::RangeAnswer| -> Vec<_> {
                                let values = |s: decima_query::RangeSample| (s.time_ns, s.value, s.count);
                                let series = answer.series.into_iter();
                                series.map(|s| (s.labels, s.samples.into_iter().map(values).collect::<Vec<_>>())).collect()
                            };
                            assert_eq!(shown(got), shown(expected), "{step_ns}");
                        }
                        (got, expected) => assert_eq!(got.is_err(), expected.is_err(), "{got:?} {expected:?}"),
                    }
                }
            }
        });
    }
}

/// A sample of the first location, with a thread.
pub(crate) fn sample(profile_type: &str, time_ns: i64, value: i64, thread: &str) -> Sample {
    Sample {
        profile_type: profile_type.to_owned(),
        labels: vec![("service".to_owned(), "s0".to_owned())],
        period: 1,
        time_ns,
        duration_ns: 1_000_000_000,
        stack: vec![crate::world::locations()[0].clone()],
        value,
        attributes: vec![("thread".to_owned(), thread.to_owned())],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_buckets_are_answered_with_the_whole_and_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let samples = [5, 15, 70].map(|minute| sample(TYPE, minute * MINUTE_NS, minute, "t1"));
    let engine =
        Engine::new(coarse(directory.path(), &[samples.to_vec()], HOUR_NS).await, Settings::default());
    let minutes = |from: i64, to: i64| TimeRange { start_ns: from * MINUTE_NS, end_ns: to * MINUTE_NS };
    let check = async |range: TimeRange, total: i64, notices: &[&str]| {
        let answer = report(&engine, "{service=\"s0\"}", range).await;
        assert_eq!(
            (answer.total, &answer.notices[..]),
            (total, &notices.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()[..])
        );
    };
    let first = "1970-01-01T00:00:00Z to 1970-01-01T01:00:00Z is kept as sums of 1h, which are counted whole";
    let both = "1970-01-01T00:00:00Z to 1970-01-01T02:00:00Z is kept as sums of 1h, which are counted whole";
    check(minutes(0, 200), 90, &[both]).await;
    check(minutes(10, 20), 20, &[first]).await;
    check(minutes(10, 65), 90, &[both]).await;
    let second =
        "1970-01-01T01:00:00Z to 1970-01-01T02:00:00Z is kept as sums of 1h, which are counted whole";
    check(minutes(100, 200), 70, &[second]).await;
    check(minutes(120, 200), 0, &[]).await;

    // A point is where its bucket begins, or the range, and its rate is that of the bucket.
    let asked = over_time(format!("{TYPE}{{}}"), minutes(10, 100), 10 * MINUTE_NS);
    let answer = engine.query_range(asked).await.unwrap();
    let shown: Vec<_> =
        answer.series[0].samples.iter().map(|s| (s.time_ns / MINUTE_NS, s.value, s.duration_ns)).collect();
    assert_eq!(shown, [(10, 20, HOUR_NS), (60, 70, HOUR_NS)]);
    assert_eq!(answer.notices, [both]);
    // A step that follows from a limit is one that buckets fit into.
    let limited = QueryRangeRequest { limit: 2, ..over_time(format!("{TYPE}{{}}"), minutes(0, 179), 0) };
    let answer = engine.query_range(limited).await.unwrap();
    let shown: Vec<_> = answer.series[0].samples.iter().map(|s| (s.time_ns / MINUTE_NS, s.value)).collect();
    assert_eq!(shown, [(0, 90)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_attributes_are_not_answered_wrongly() {
    let directory = tempfile::tempdir().unwrap();
    let samples = [sample(TYPE, 5, 10, "t1"), sample(TYPE, 6, 20, "t2")];
    let engine =
        Engine::new(coarse(directory.path(), &[samples.to_vec()], TEN_SECONDS_NS).await, Settings::default());
    let part = "1970-01-01T00:00:00Z to 1970-01-01T00:00:10Z is kept as sums of 10s, which are counted whole";
    let out = "what has the sample attribute thread is left out there: its values are not kept in sums";
    for matcher in ["{thread=\"t1\"}", "{thread!=\"t1\"}", "{thread=~\"t.\"}"] {
        let answer = report(&engine, matcher, ALL).await;
        assert_eq!(
            (answer.total, &answer.notices[..]),
            (0, &[part.to_owned(), out.to_owned()][..]),
            "{matcher}"
        );
        let none = engine.query_range(over_time(format!("{TYPE}{matcher}"), ALL, 0)).await;
        let Err(QueryError::NotFound { message }) = none else { panic!("{none:?}") };
        assert!(message.contains(out), "{message}");
    }
    let together = "the sample attribute thread is not told apart there: its values are not kept in sums";
    let mut asked = request(merge_of("{}", ALL), ReportType::FlamegraphArrow);
    asked.group_by = vec!["labels.thread".to_owned()];
    let answer = engine.query(asked).await.unwrap();
    assert_eq!((answer.total, &answer.notices[..]), (30, &[part.to_owned(), together.to_owned()][..]));
    let names = engine.labels(LabelsRequest::default()).await.unwrap();
    assert_eq!(names, ["service", "thread"]);
    assert_eq!(engine.values("thread", LabelsRequest::default()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_means() {
    let directory = tempfile::tempdir().unwrap();
    // The bucket is in parts in two blocks, as one at midnight is.
    let day = 24 * HOUR_NS;
    let state = |time_ns, value| sample(STATES, time_ns, value, "");
    let batches = [
        vec![state(day - 30 * MINUTE_NS, 10), state(day - 20 * MINUTE_NS, 20)],
        vec![state(day - 10 * MINUTE_NS, 60), state(day + MINUTE_NS, 7)],
    ];
    let store = coarse(directory.path(), &batches, HOUR_NS).await;
    assert_eq!(store.snapshot().sources.len(), 2);
    let engine = Engine::new(store, Settings::default());
    let range = TimeRange { start_ns: 0, end_ns: 2 * day };
    let answer = engine.query_range(over_time(format!("{STATES}{{}}"), range, HOUR_NS)).await.unwrap();
    let shown: Vec<_> = answer.series[0].samples.iter().map(|s| (s.time_ns / HOUR_NS, s.value)).collect();
    assert_eq!(shown, [(23, 30), (24, 7)]);
    let single = Selection::Single { query: format!("{STATES}{{}}"), time_ns: day - 5 * MINUTE_NS };
    let answer = engine.query(request(single, ReportType::FlamegraphArrow)).await.unwrap();
    assert_eq!(answer.total, 30);
    let sum = Selection::Merge { query: format!("{STATES}{{}}"), range };
    assert_eq!(engine.query(request(sum, ReportType::FlamegraphArrow)).await.unwrap().total, 97);
}
