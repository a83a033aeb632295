//! Values over time.

use std::collections::BTreeMap;

use decima_query::{Engine, QueryRangeRequest, RangeSample, RangeSeries, TimeRange};
use proptest::prelude::*;

use crate::{
    memory::{self, MemorySource, Sample},
    world::run,
};

const SECOND: i64 = 1_000_000_000;
const CPU: &str = "cpu:cpu:nanoseconds:cpu:nanoseconds:delta";
const STATE: &str = "memory:inuse:bytes:space:bytes";

fn sample(profile_type: &str, pod: &str, time_ns: i64, value: i64) -> Sample {
    Sample {
        profile_type: profile_type.to_owned(),
        labels: vec![("pod".to_owned(), pod.to_owned()), ("service".to_owned(), "s".to_owned())],
        period: 10,
        time_ns,
        duration_ns: 2 * SECOND,
        stack: Vec::new(),
        value,
        attributes: Vec::new(),
    }
}

fn ask(
    sources: Vec<MemorySource>,
    request: QueryRangeRequest,
) -> Result<Vec<RangeSeries>, decima_query::QueryError> {
    let engine = Engine::over(memory::snapshot(sources), decima_query::engine::Settings::default());
    run(engine.query_range(request)).map(|answer| answer.series)
}

fn request(query: &str, start_ns: i64, end_ns: i64, step_ns: i64) -> QueryRangeRequest {
    QueryRangeRequest {
        query: query.to_owned(),
        range: TimeRange { start_ns, end_ns },
        step_ns,
        limit: 0,
        sum_by: Vec::new(),
    }
}

fn pairs(series: &RangeSeries) -> Vec<(i64, i64)> {
    series.samples.iter().map(|sample| (sample.time_ns, sample.value)).collect()
}

#[test]
fn memory_is_bounded() {
    let samples: Vec<Sample> = (0..40_000).map(|at| sample(STATE, "a", at * SECOND, 1)).collect();
    for (memory_bytes, is_enough) in [(4 << 20, false), (64 << 20, true)] {
        let settings = decima_query::engine::Settings { memory_bytes, ..Default::default() };
        let engine = Engine::over(memory::snapshot(vec![memory::source("x", &samples, 0)]), settings);
        match run(engine.query_range(request(&format!("{STATE}{{}}"), 0, 50_000 * SECOND, SECOND))) {
            Ok(answer) => assert_eq!((answer.series[0].samples.len(), is_enough), (40_000, true)),
            Err(error) => {
                assert_eq!((error.kind(), is_enough), (decima_base::ErrorKind::ResourceExhausted, false));
                assert!(error.to_string().contains("points of this one"), "{error}");
            }
        }
    }
}

#[test]
fn deltas_are_summed_by_bucket() {
    let samples = [
        sample(CPU, "a", 10 * SECOND, 3),
        sample(CPU, "b", 10 * SECOND, 4),
        sample(CPU, "a", 11 * SECOND, 5),
        sample(CPU, "a", 20 * SECOND, 7),
    ];
    let sources = || vec![memory::source("x", &samples[..2], 0), memory::source("y", &samples[2..], 0)];
    let asked = request(&format!("{CPU}{{}}"), 0, 100 * SECOND, 10 * SECOND);
    let got = ask(sources(), asked.clone()).unwrap();
    let cpu = ("cpu".to_owned(), "nanoseconds".to_owned());
    assert_eq!(
        got,
        [RangeSeries {
            labels: Vec::new(),
            period_type: cpu.clone(),
            sample_type: cpu,
            samples: vec![
                // Two times: the step is what the value covers.
                RangeSample {
                    time_ns: 10 * SECOND,
                    value: 12,
                    value_per_second: 12.0 / (10.0 * 1e9),
                    duration_ns: 10 * SECOND,
                    count: 3
                },
                // One time: its own duration is.
                RangeSample {
                    time_ns: 20 * SECOND,
                    value: 7,
                    value_per_second: 7.0 / 2e9,
                    duration_ns: 2 * SECOND,
                    count: 1
                },
            ],
        }]
    );
    let by_pod = QueryRangeRequest { sum_by: vec!["pod".to_owned(), "none".to_owned()], ..asked.clone() };
    let got = ask(sources(), by_pod).unwrap();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].labels, [("pod".to_owned(), "a".to_owned())]);
    assert_eq!(pairs(&got[0]), [(10 * SECOND, 8), (20 * SECOND, 7)]);
    assert_eq!(pairs(&got[1]), [(10 * SECOND, 4)]);
    let one_bucket = QueryRangeRequest { step_ns: 0, ..asked.clone() };
    assert_eq!(pairs(&ask(sources(), one_bucket).unwrap()[0]), [(0, 19)]);
    // 100 s in 4 points: 26 s.
    let limited = QueryRangeRequest { step_ns: 0, limit: 4, ..asked };
    assert_eq!(pairs(&ask(sources(), limited).unwrap()[0]), [(0, 19)]);
}

#[test]
fn states_keep_the_first_of_each_bucket() {
    let samples = [
        sample(STATE, "a", 10 * SECOND, 3),
        sample(STATE, "a", 10 * SECOND, 4),
        sample(STATE, "a", 12 * SECOND, 100),
        sample(STATE, "b", 12 * SECOND, 9),
    ];
    let asked = request(&format!("{STATE}{{}}"), 0, 100 * SECOND, 10 * SECOND);
    let got = ask(vec![memory::source("x", &samples, 0)], asked).unwrap();
    assert_eq!(got.len(), 2);
    let labels = |pod: &str| vec![("pod".to_owned(), pod.to_owned()), ("service".to_owned(), "s".to_owned())];
    assert_eq!((&got[0].labels, &got[1].labels), (&labels("a"), &labels("b")));
    assert_eq!(
        got[0].samples,
        [RangeSample { time_ns: 10 * SECOND, value: 7, value_per_second: 7.0, duration_ns: 0, count: 2 }]
    );
    assert_eq!(pairs(&got[1]), [(12 * SECOND, 9)]);
}

#[test]
fn counts_become_values_of_the_period_type() {
    const COUNTS: &str = "p:samples:count:cpu:nanoseconds:delta";
    let sources = vec![memory::source("x", &[sample(COUNTS, "a", SECOND, 3)], 0)];
    let got = ask(sources, request(&format!("{COUNTS}{{}}"), 0, 10 * SECOND, SECOND)).unwrap();
    assert_eq!(got[0].sample_type, ("cpu".to_owned(), "nanoseconds".to_owned()));
    assert_eq!(pairs(&got[0]), [(SECOND, 30)]);
    assert_eq!(got[0].samples[0].value_per_second, 30.0 / 2e9);
}

#[test]
fn nothing_and_nonsense() {
    let sources = || vec![memory::source("x", &[sample(CPU, "a", SECOND, 3)], 0)];
    let check = |request: QueryRangeRequest, expected: &str| {
        assert_eq!(ask(sources(), request).unwrap_err().to_string(), expected);
    };
    let nothing = "No data found for the query, try a different query or time range or no data has been written to be queried yet.";
    check(request(&format!("{CPU}{{}}"), 2 * SECOND, 3 * SECOND, SECOND), nothing);
    check(request(&format!("{STATE}{{}}"), 0, 3 * SECOND, SECOND), nothing);
    check(request(&format!("{CPU}{{pod=\"x\"}}"), 0, 3 * SECOND, SECOND), nothing);
    check(request(&format!("{CPU}{{}}"), 3, 2, 1), "end must not be before start");
    check(request(&format!("{CPU}{{}}"), 1, 2, -1), "step must not be negative");
    check(request("{}", 1, 2, 1), "query must contain a profile-type selection");
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let sample = (0i64..6000, 1i64..9, 0..3, 0..3).prop_map(|(time_ms, value, pod, thread)| {
        let mut sample = sample(CPU, &format!("p{pod}"), time_ms * 1_000_000, value);
        if thread > 0 {
            sample.attributes.push(("thread".to_owned(), format!("t{thread}")));
        }
        sample
    });
    proptest::collection::vec(sample, 0..40)
}

proptest! {
    #[test]
    fn points_and_samples_agree_with_the_naive_sum(
        samples in samples(),
        start_ms in 0i64..3000,
        length_ms in 0i64..5000,
        step_ms in proptest::sample::select(vec![100i64, 700, 1000, 1500, 2000]),
        bucket_ns in proptest::sample::select(vec![0, SECOND, SECOND, 2 * SECOND]),
        sum_by in proptest::sample::select(vec!["", "pod", "thread"]),
        matcher in proptest::sample::select(vec!["", "pod=\"p1\"", "thread!=\"t1\""]),
    ) {
        let (start_ns, end_ns, step_ns) = (start_ms * 1_000_000, (start_ms + length_ms) * 1_000_000, step_ms * 1_000_000);
        let mut asked = request(&format!("{CPU}{{{matcher}}}"), start_ns, end_ns, step_ns);
        asked.sum_by = (!sum_by.is_empty()).then(|| sum_by.to_owned()).into_iter().collect();
        let half = samples.len() / 2;
        let sources = vec![
            memory::source("x", &samples[..half], bucket_ns),
            memory::source("y", &samples[half..], 0),
        ];
        let mut expected: BTreeMap<(String, i64), (i64, u64)> = BTreeMap::new();
        for sample in &samples {
            let value = |name: &str| {
                let mut all = sample.labels.iter().chain(&sample.attributes);
                all.find(|(n, _)| n == name).map_or("", |(_, v)| v).to_owned()
            };
            let matches = match matcher {
                "" => true,
                "pod=\"p1\"" => value("pod") == "p1",
                _ => value("thread") != "t1",
            };
            if matches && asked.range.contains(sample.time_ns) {
                let bucket = sample.time_ns - sample.time_ns.rem_euclid(step_ns);
                let cell = expected.entry((value(sum_by), bucket)).or_default();
                *cell = (cell.0 + sample.value, cell.1 + 1);
            }
        }
        let got: BTreeMap<(String, i64), (i64, u64)> = match ask(sources, asked) {
            Err(error) => {
                prop_assert_eq!(error.kind(), decima_base::ErrorKind::NotFound);
                BTreeMap::new()
            }
            Ok(series) => series
                .into_iter()
                .flat_map(|series| {
                    let group = series.labels.first().map(|(_, value)| value.clone()).unwrap_or_default();
                    series.samples.into_iter().map(move |s| ((group.clone(), s.time_ns), (s.value, s.count)))
                })
                .collect(),
        };
        prop_assert_eq!(got, expected);
    }
}
