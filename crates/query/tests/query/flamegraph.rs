//! Flame graphs against the naive merge, whole, trimmed, filtered, cut, inverted, compared, and over any split.

use decima_query::{ReportType, Selection, TimeRange, engine::Settings};
use proptest::prelude::*;

use crate::{
    answers::{self, answer, column, flamegraph, flamegraph_record, texts, uints},
    memory::{self, LocationSpec, MemorySource, Sample},
    naive::{self, Look, Node},
    world::{self, TYPE, World, counts, diff_of, filters, folding, merge_of, request, run, signed, worlds},
};

const FLAME: ReportType = ReportType::FlamegraphArrow;

fn group_by(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("labels.{name}")).collect()
}

fn groupings() -> impl Strategy<Value = &'static [&'static str]> {
    const GROUPINGS: [&[&str]; 6] =
        [&[], &["pod"], &["thread"], &["pod", "thread"], &["service", "number"], &["absent"]];
    proptest::sample::select(GROUPINGS.to_vec())
}

/// Matchers and what they mean.
fn selectors() -> impl Strategy<Value = (&'static str, fn(&Sample) -> bool)> {
    fn value<'a>(sample: &'a Sample, name: &str) -> &'a str {
        let mut all = sample.labels.iter().chain(&sample.attributes);
        all.find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
    type Selector = (&'static str, fn(&Sample) -> bool);
    const SELECTORS: [Selector; 7] = [
        ("{}", |_| true),
        ("{service=\"s1\"}", |s| value(s, "service") == "s1"),
        ("{pod!=\"p1\"}", |s| value(s, "pod") != "p1"),
        ("{thread=~\"t[12]\", service!~\"0\"}", |s| {
            !value(s, "thread").is_empty() && value(s, "service") != "s0"
        }),
        ("{thread=\"\"}", |s| value(s, "thread").is_empty()),
        ("{number=\"2\", pod=~\"p\"}", |s| value(s, "number") == "2" && !value(s, "pod").is_empty()),
        ("{absent=\"\"}", |_| true),
    ];
    proptest::sample::select(SELECTORS.to_vec())
}

fn clamp(node: &mut Node) {
    node.cumulative = node.cumulative.max(0);
    node.flat = node.flat.max(0);
    node.children.values_mut().for_each(clamp);
}

/// Checks that `part` is a top of `whole`, and returns what was cut off below shown nodes.
fn check_top(part: &Node, whole: &Node) -> i64 {
    assert_eq!((part.cumulative, part.flat, part.diff), (whole.cumulative, whole.flat, whole.diff));
    whole
        .children
        .iter()
        .map(|(key, child)| part.children.get(key).map_or(child.cumulative, |shown| check_top(shown, child)))
        .sum()
}

/// Smallest value that is shown and largest that is cut off directly below something shown.
fn edge(part: &Node, whole: &Node) -> (i64, i64) {
    let mut edge_here = (part.cumulative, 0);
    for (key, child) in &whole.children {
        let (shown, cut) = match part.children.get(key) {
            Some(shown) => edge(shown, child),
            None => (i64::MAX, child.cumulative),
        };
        edge_here = (edge_here.0.min(shown), edge_here.1.max(cut));
    }
    edge_here
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn equals_the_naive_merge(
        world in worlds(counts()),
        (selector, matches) in selectors(),
        grouping in groupings(),
        filters in filters(),
        sandwich in proptest::option::of(proptest::sample::select(vec!["Work", "main", "middle", "sysonly", "work"])),
        invert in any::<bool>(),
    ) {
        // Both hide frames of one location, in an order that is not defined.
        let filters = if sandwich.is_some() { &filters[..0] } else { &filters[..] };
        let mut asked = request(merge_of(selector), FLAME);
        asked.group_by = group_by(grouping);
        asked.filters = filters.to_vec();
        asked.sandwich_by_function = sandwich.map(str::to_owned);
        asked.invert_call_stack = invert;
        let got = answer(&world.engine(), asked).unwrap();
        let look = Look { filters, sandwich, invert, group_by: grouping };
        let (expected, filtered) = naive::flamegraph(world.samples.iter().filter(|s| matches(s)), &look);
        prop_assert_eq!(flamegraph(flamegraph_record(&got)), expected.clone());
        prop_assert_eq!((got.total, got.filtered), (expected.cumulative, filtered));
        prop_assert_eq!(flamegraph_record(&got).trimmed, 0);
        prop_assert_eq!(got.notices, Vec::<String>::new());
    }

    #[test]
    fn negative_values_add_up(world in worlds(signed()), invert in any::<bool>()) {
        let mut asked = request(merge_of("{}"), FLAME);
        asked.invert_call_stack = invert;
        let got = answer(&world.engine(), asked).unwrap();
        let (mut expected, _) = naive::flamegraph(world.samples.iter(), &Look { invert, ..Look::default() });
        prop_assert_eq!(got.total, expected.cumulative);
        clamp(&mut expected);
        prop_assert_eq!(flamegraph(flamegraph_record(&got)), expected);
    }

    #[test]
    fn trimming_keeps_values_and_the_largest(
        world in worlds(counts()),
        node_max in 1usize..20,
        threshold in proptest::sample::select(vec![0.0f32, 1.0, 10.0, 50.0]),
        invert in any::<bool>(),
    ) {
        let mut asked = request(merge_of("{}"), FLAME);
        asked.node_max = node_max;
        asked.node_trim_threshold = threshold;
        asked.invert_call_stack = invert;
        let got = answer(&world.engine(), asked).unwrap();
        let part = flamegraph(flamegraph_record(&got));
        let (whole, _) = naive::flamegraph(world.samples.iter(), &Look { invert, ..Look::default() });
        prop_assert_eq!(check_top(&part, &whole), flamegraph_record(&got).trimmed);
        prop_assert_eq!(got.total, whole.cumulative);
        let least = whole.cumulative as f64 * f64::from(threshold) / 100.0;
        let (shown, cut) = edge(&part, &whole);
        prop_assert!(shown as f64 >= least || part.count() == 1);
        if part.count() < node_max {
            prop_assert!((cut as f64) < least || cut == 0, "cut {} of at least {}", cut, least);
        } else {
            prop_assert_eq!(part.count(), node_max);
            prop_assert!(cut <= shown);
        }
    }

    #[test]
    fn any_split_gives_the_same_bytes(
        world in worlds(signed()),
        node_max in 1usize..12,
        grouping in groupings(),
        invert in any::<bool>(),
        compare in any::<bool>(),
    ) {
        let selection = if compare { diff_of("{}", false) } else { merge_of("{}") };
        let mut asked = request(selection, FLAME);
        asked.node_max = node_max;
        asked.group_by = group_by(grouping);
        asked.invert_call_stack = invert;
        let split = answer(&world.engine(), asked.clone()).unwrap();
        let folded = answer(&world.engine_with(folding()), asked.clone()).unwrap();
        let spread = answer(&world.spread().engine(), asked.clone()).unwrap();
        let joined = answer(&world.joined().engine(), asked).unwrap();
        for one in [split, folded, spread] {
            prop_assert_eq!(&flamegraph_record(&one).record, &flamegraph_record(&joined).record);
            prop_assert_eq!(flamegraph_record(&one).trimmed, flamegraph_record(&joined).trimmed);
            prop_assert_eq!((one.total, one.filtered), (joined.total, joined.filtered));
            prop_assert_eq!(&one.notices, &joined.notices);
        }
    }

    #[test]
    fn what_is_folded_is_filtered_like_the_rest(
        world in worlds(signed()),
        filters in filters(),
        sandwich in proptest::option::of(proptest::sample::select(vec!["Work", "main", "alloc"])),
        invert in any::<bool>(),
    ) {
        let mut asked = request(merge_of("{}"), FLAME);
        asked.filters = filters;
        asked.sandwich_by_function = sandwich.map(str::to_owned);
        asked.invert_call_stack = invert;
        let split = answer(&world.engine(), asked.clone()).unwrap();
        let folded = answer(&world.engine_with(folding()), asked.clone()).unwrap();
        let spread = answer(&world.spread().engine(), asked).unwrap();
        for one in [folded, spread] {
            prop_assert_eq!(&flamegraph_record(&split).record, &flamegraph_record(&one).record);
            prop_assert_eq!((split.total, split.filtered), (one.total, one.filtered));
        }
    }

    #[test]
    fn difference_equals_the_naive_one(world in worlds(counts()), invert in any::<bool>(), grouping in groupings()) {
        let mut asked = request(diff_of("{}", true), FLAME);
        asked.invert_call_stack = invert;
        asked.group_by = group_by(grouping);
        let got = answer(&world.engine(), asked).unwrap();
        let look = Look { invert, group_by: grouping, ..Look::default() };
        let expected = naive::difference(&world.samples, |sample| sample.time_ns < 3, &look);
        prop_assert_eq!(flamegraph(flamegraph_record(&got)), expected);
    }

    #[test]
    fn relative_difference_scales_the_base(world in worlds(counts())) {
        let got = answer(&world.engine(), request(diff_of("{}", false), FLAME)).unwrap();
        let root = flamegraph(flamegraph_record(&got));
        let side = |is_base: bool| {
            let samples = world.samples.iter().filter(|sample| (sample.time_ns < 3) == is_base);
            naive::flamegraph(samples, &Look::default()).0
        };
        let (compared, base) = (side(false), side(true));
        prop_assert_eq!(root.cumulative, compared.cumulative);
        if compared.cumulative > 0 && base.cumulative > 0 {
            prop_assert_eq!(root.diff, 0);
            for (key, child) in &root.children {
                let base_value = base.children.get(key).map_or(0, |node| node.cumulative);
                let compared_value = compared.children.get(key).map_or(0, |node| node.cumulative);
                prop_assert_eq!(child.cumulative, compared_value);
                prop_assert_eq!(child.diff, compared_value - base_value * compared.cumulative / base.cumulative);
            }
        }
    }

    #[test]
    fn focus_is_the_subtree(world in worlds(counts()), choice in any::<proptest::sample::Index>(), node_max in 1usize..9) {
        let (whole, _) = naive::flamegraph(world.samples.iter(), &Look::default());
        // Frames without a name are named by their address, which two binaries may share.
        let sample = world.samples.get(choice.index(world.samples.len().max(1)));
        let path: Vec<String> = sample.and_then(|s| Look::default().path(s)).unwrap_or_default();
        let path: Vec<String> = path.into_iter().take_while(|key| !key.contains('@')).take(2).collect();
        let mut asked = request(merge_of("{}"), FLAME);
        asked.focus = path.clone();
        asked.node_max = path.len() + node_max;
        let got = answer(&world.engine(), asked).unwrap();
        prop_assert_eq!(&got.notices, &Vec::<String>::new());
        let mut shown = &flamegraph(flamegraph_record(&got));
        let mut expected = &whole;
        for key in &path {
            prop_assert_eq!((shown.cumulative, shown.flat), (expected.cumulative, expected.flat));
            prop_assert_eq!(shown.children.len(), 1);
            shown = &shown.children[key];
            expected = &expected.children[key];
        }
        prop_assert_eq!(check_top(shown, expected), flamegraph_record(&got).trimmed);
        prop_assert_eq!(shown.count(), node_max.min(expected.count()));
    }
}

fn sample(locations: &[usize], value: i64) -> Sample {
    let pool = world::locations();
    Sample {
        profile_type: TYPE.to_owned(),
        labels: vec![("service".to_owned(), "s".to_owned())],
        period: 10,
        time_ns: 1_500_000,
        duration_ns: 1,
        stack: locations.iter().map(|&at| pool[at].clone()).collect(),
        value,
        attributes: Vec::new(),
    }
}

fn world_of(samples: Vec<Sample>) -> World {
    World { sources: vec![0; samples.len()], samples }
}

#[test]
fn columns_are_those_of_the_contract() {
    let world = world_of(vec![sample(&[1, 0], 300), sample(&[2, 0], 5), sample(&[3, 0], 1)]);
    let mut asked = request(merge_of("{}"), FLAME);
    asked.group_by = group_by(&["service"]);
    let got = answer(&world.engine(), asked).unwrap();
    let batch = answers::batch(flamegraph_record(&got));
    let columns: Vec<String> =
        batch.schema().fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    let text = "Dictionary(UInt8, Binary)";
    assert_eq!(
        columns,
        [
            "labels_only Boolean".to_owned(),
            "location_address UInt64".to_owned(),
            format!("mapping_file {text}"),
            format!("mapping_build_id {text}"),
            "location_line UInt8".to_owned(),
            "inlined Boolean".to_owned(),
            "function_startline UInt8".to_owned(),
            format!("function_name {text}"),
            format!("function_system_name {text}"),
            format!("function_file_name {text}"),
            "children List(UInt32)".to_owned(),
            "parent Int32".to_owned(),
            "cumulative UInt16".to_owned(),
            "flat UInt16".to_owned(),
            "diff Int8".to_owned(),
            "timestamp Int64".to_owned(),
            "depth UInt8".to_owned(),
            "value_offset UInt8".to_owned(),
            format!("labels.service {text}"),
        ]
    );
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(
        texts(&batch, "function_name"),
        [None, None, name("main"), name("Work"), name("middle"), name("inner")]
    );
    // `Work` is three locations of one binary.
    assert_eq!(texts(&batch, "mapping_file")[3], name("/bin/app"));
    assert_eq!(uints(&batch, "location_address")[2..], [Some(1), None, Some(4), Some(4)]);
    assert_eq!(uints(&batch, "location_line")[2..], [Some(1), None, Some(5), Some(4)]);
    let inlined = column(&batch, "inlined");
    let inlined = arrow_array::cast::AsArray::as_boolean(&inlined);
    assert_eq!(
        inlined.iter().collect::<Vec<_>>(),
        [Some(false), Some(false), Some(false), Some(false), Some(true), Some(true)]
    );
    assert_eq!(texts(&batch, "labels.service")[..3], [None, name("s"), name("s")]);
    assert_eq!(flamegraph_record(&got).unit, "nanoseconds");
}

#[test]
fn nothing_is_a_root_or_not_found() {
    let world = world_of(vec![sample(&[0], 3)]);
    let nothing = answer(&world.engine(), request(merge_of("{service=\"other\"}"), FLAME)).unwrap();
    assert_eq!(flamegraph(flamegraph_record(&nothing)), Node::default());
    assert_eq!((nothing.total, flamegraph_record(&nothing).height), (0, 1));
    let single = |time_ns| {
        let query = format!("{TYPE}{{}}");
        answer(&world.engine(), request(Selection::Single { query, time_ns }, FLAME))
    };
    // The same millisecond counts.
    assert_eq!(single(1_999_999).unwrap().total, 3);
    assert_eq!(single(1_000_000).unwrap().total, 3);
    assert_eq!(
        single(2_000_000).unwrap_err().to_string(),
        "could not find profile at requested time and selectors"
    );
}

#[test]
fn counts_of_samples_become_values_of_the_period_type() {
    let mut counted = sample(&[0], 3);
    counted.profile_type = "p:samples:count:cpu:nanoseconds:delta".to_owned();
    let query = format!("{}{{}}", counted.profile_type);
    let time_ns = counted.time_ns;
    let world = world_of(vec![counted]);
    let merged = Selection::Merge { query: query.clone(), range: TimeRange::ALL };
    let got = answer(&world.engine(), request(merged, FLAME)).unwrap();
    assert_eq!((got.total, flamegraph_record(&got).unit.as_str()), (30, "nanoseconds"));
    let got = answer(&world.engine(), request(Selection::Single { query, time_ns }, FLAME)).unwrap();
    assert_eq!((got.total, flamegraph_record(&got).unit.as_str()), (3, "count"));
}

#[test]
fn sums_stop_at_the_end_of_the_type() {
    let world = world_of(vec![sample(&[0], i64::MAX), sample(&[0], 5), sample(&[1, 0], 1)]);
    let asked = Selection::Merge { query: format!("{TYPE}{{}}"), range: TimeRange::ALL };
    let got = answer(&world.engine(), request(asked, FLAME)).unwrap();
    assert_eq!(got.total, i64::MAX);
    assert_eq!(got.notices, ["a sum is larger than a 64-bit integer holds and was cut there"]);
}

#[test]
fn what_cannot_be_read_fails_the_query_or_is_named() {
    let good = memory::source("good", &[sample(&[0], 3)], 0);
    let sources = |good: MemorySource| memory::snapshot(vec![good, MemorySource::broken("bad")]);
    let asked = || request(Selection::Merge { query: format!("{TYPE}{{}}"), range: TimeRange::ALL }, FLAME);
    let engine = decima_query::Engine::over(sources(good), Settings::default());
    let error = answer(&engine, asked()).unwrap_err();
    assert_eq!(error.to_string(), "block bad: series is damaged: made so");
    assert_eq!(error.kind(), decima_base::ErrorKind::Corrupt);
    let good = memory::source("good", &[sample(&[0], 3)], 0);
    let settings = Settings { allow_partial: true, ..Settings::default() };
    let got = answer(&decima_query::Engine::over(sources(good), settings), asked()).unwrap();
    assert_eq!(got.total, 3);
    assert_eq!(
        got.notices,
        ["the answer lacks bad, which cannot be read: block bad: series is damaged: made so"]
    );
}

#[test]
fn values_over_time_name_what_they_lack() {
    let asked = || decima_query::QueryRangeRequest {
        query: format!("{TYPE}{{}}"),
        range: TimeRange::ALL,
        step_ns: 0,
        limit: 0,
        sum_by: Vec::new(),
    };
    let good = || memory::source("good", &[sample(&[0], i64::MAX), sample(&[0], 3)], 0);
    let sources = || memory::snapshot(vec![good(), MemorySource::broken("bad")]);
    let strict = decima_query::Engine::over(sources(), Settings::default());
    let error = run(strict.query_range(asked())).unwrap_err();
    assert_eq!(error.to_string(), "block bad: series is damaged: made so");
    let settings = Settings { allow_partial: true, ..Settings::default() };
    let got = run(decima_query::Engine::over(sources(), settings).query_range(asked())).unwrap();
    assert_eq!(got.series.iter().flat_map(|series| &series.samples).map(|s| s.value).max(), Some(i64::MAX));
    assert_eq!(
        got.notices,
        [
            "the answer lacks bad, which cannot be read: block bad: series is damaged: made so",
            "a sum is larger than a 64-bit integer holds and was cut there"
        ]
    );
}

#[test]
fn focus_that_is_not_there_is_told() {
    let world = world_of(vec![sample(&[1, 0], 3)]);
    let mut asked = request(Selection::Merge { query: format!("{TYPE}{{}}"), range: TimeRange::ALL }, FLAME);
    asked.focus = vec!["main".to_owned(), "gone".to_owned()];
    let got = answer(&world.engine(), asked).unwrap();
    assert_eq!(got.notices, ["the focus ends before \"gone\": there is no such frame"]);
    assert_eq!(flamegraph(flamegraph_record(&got)).count(), 3);
}

#[test]
fn fields_keep_frames_apart() {
    let world = world_of(vec![sample(&[4], 3), sample(&[5], 4), sample(&[1], 1), sample(&[2], 2)]);
    let count = |field: &str| {
        let mut asked =
            request(Selection::Merge { query: format!("{TYPE}{{}}"), range: TimeRange::ALL }, FLAME);
        asked.group_by = vec![field.to_owned()];
        let got = answer(&world.engine(), asked).unwrap();
        answers::batch(flamegraph_record(&got)).num_rows()
    };
    assert_eq!(count("function_name"), 3);
    assert_eq!(count("mapping_file"), 4);
    assert_eq!(count("location_address"), 5);
    assert_eq!(count("function_file_name"), 3);
}

#[test]
fn wrong_requests() {
    let check = |change: fn(&mut decima_query::ReportRequest), expected: &str| {
        let mut asked = request(merge_of("{}"), FLAME);
        change(&mut asked);
        let error = answer(&world_of(Vec::new()).engine(), asked).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(|r| r.report = ReportType::Flamechart, "reports of type FLAMECHART are not offered yet");
    check(|r| r.report = ReportType::Source, "reports of type SOURCE are not offered yet");
    check(|r| r.group_by = vec!["x".to_owned()], "invalid group by field: x");
    check(
        |r| r.selection = Selection::Merge { query: "{}".to_owned(), range: world::ALL },
        "query must contain a profile-type selection",
    );
    check(
        |r| {
            r.selection = Selection::Diff {
                a: Box::new(diff_of("{}", true)),
                b: Box::new(merge_of("{}")),
                absolute: true,
            }
        },
        "a side of a diff cannot be a diff",
    );
    check(
        |r| {
            let range = TimeRange { start_ns: 2, end_ns: 1 };
            r.selection = Selection::Merge { query: format!("{TYPE}{{}}"), range };
        },
        "start must not be after end",
    );
    let small = Settings { report_bytes_max: 10, ..Settings::default() };
    let error = answer(&world_of(Vec::new()).engine_with(small), request(merge_of("{}"), FLAME)).unwrap_err();
    assert_eq!(error.kind(), decima_base::ErrorKind::ResourceExhausted);
}

#[test]
fn what_sources_have_in_common_is_held_once() {
    const SOURCES: usize = 24;
    let memory_bytes = 1 << 20;
    let engine = |distinct: bool| {
        let of = |source: usize| {
            (0..1_728).map(move |at| {
                let mut of_source = sample(&[at % 12, at / 12 % 12, at / 144], 1);
                if distinct {
                    of_source
                        .stack
                        .push(LocationSpec { address: 1_000 + source as u64, ..LocationSpec::default() });
                }
                of_source
            })
        };
        let samples = (0..SOURCES).flat_map(of).collect();
        let sources = (0..SOURCES).flat_map(|source| [source; 1_728]).collect();
        World { samples, sources }.engine_with(Settings { memory_bytes, ..Settings::default() })
    };
    let asked = || request(merge_of("{}"), FLAME);
    assert_eq!(answer(&engine(false), asked()).unwrap().total, (SOURCES * 1_728) as i64);
    let error = answer(&engine(true), asked()).unwrap_err();
    assert!(
        error.to_string().contains("stacktraces, groups or points of this one need more than is free"),
        "{error}"
    );
}

#[test]
fn memory_is_bounded() {
    // Every stacktrace of three of twelve locations takes more than the least that is counted.
    let stacks: Vec<Sample> = (0..1_728).map(|at| sample(&[at % 12, at / 12 % 12, at / 144], 1)).collect();
    let check = |samples: Vec<Sample>, grouping: &[&str], memory_bytes, expected: Option<&str>| {
        let engine = world_of(samples).engine_with(Settings { memory_bytes, ..Settings::default() });
        let mut asked = request(merge_of("{}"), FLAME);
        asked.group_by = group_by(grouping);
        let error = answer(&engine, asked).err();
        match (error, expected) {
            (None, None) => {}
            (Some(error), Some(words)) => {
                assert_eq!(error.kind(), decima_base::ErrorKind::ResourceExhausted);
                assert!(error.to_string().contains(words), "{error}");
            }
            (error, _) => panic!("{memory_bytes} bytes: {error:?}"),
        }
    };
    check(stacks.clone(), &[], 1 << 20, None);
    check(stacks, &[], 1 << 16, Some("ask for a shorter time or fewer series"));
    // What groups of sample attributes take is not known before they are read.
    let one = sample(&[1], 1);
    let with_thread = |at: usize| Sample {
        attributes: vec![("thread".to_owned(), (at % 20_000).to_string())],
        ..one.clone()
    };
    let threads: Vec<Sample> = (0..70_000).map(with_thread).collect();
    check(threads.clone(), &[], 1 << 21, None);
    check(threads, &["thread"], 1 << 21, Some("group by fewer labels"));
}

#[test]
fn buffers_are_compressed_on_request() {
    let world = world_of((0..200).map(|at| sample(&[at % 12, 0], 1)).collect());
    let asked = |ipc_compression| {
        let selection = Selection::Merge { query: format!("{TYPE}{{}}"), range: TimeRange::ALL };
        let mut asked = request(selection, FLAME);
        asked.ipc_compression = ipc_compression;
        answer(&world.engine(), asked).unwrap()
    };
    let (compressed, plain) = (asked(true), asked(false));
    assert_ne!(flamegraph_record(&compressed).record, flamegraph_record(&plain).record);
    assert_eq!(flamegraph(flamegraph_record(&compressed)), flamegraph(flamegraph_record(&plain)));
}
