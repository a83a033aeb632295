//! Profile types, label names and values.

use decima_query::{Engine, LabelsRequest, TimeRange};

use crate::{
    memory::{self, MemorySource, Sample},
    world::run,
};

const CPU: &str = "cpu:cpu:nanoseconds:cpu:nanoseconds:delta";
const MEMORY: &str = "memory:inuse:bytes:space:bytes";

fn sample(profile_type: &str, labels: &[(&str, &str)], time_ns: i64, thread: &str) -> Sample {
    Sample {
        profile_type: profile_type.to_owned(),
        labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        period: 0,
        time_ns,
        duration_ns: 0,
        stack: Vec::new(),
        value: 1,
        attributes: vec![("thread".to_owned(), thread.to_owned())],
    }
}

fn engine() -> Engine {
    let sources: Vec<MemorySource> = vec![
        memory::source("a", &[sample(CPU, &[("pod", "p1"), ("service", "a")], 10, "t1")], 0),
        memory::source(
            "b",
            &[
                sample(CPU, &[("service", "b"), ("zone", "z")], 20, "t2"),
                sample(MEMORY, &[("service", "c")], 30, ""),
            ],
            0,
        ),
    ];
    Engine::over(memory::snapshot(sources), decima_query::engine::Settings::default())
}

fn check(
    profile_type: &str,
    matchers: &[&str],
    range: Option<(i64, i64)>,
    labels: &[&str],
    services: &[&str],
) {
    let request = LabelsRequest {
        profile_type: (!profile_type.is_empty()).then(|| profile_type.to_owned()),
        matchers: matchers.iter().map(|m| (*m).to_owned()).collect(),
        range: range.map(|(start_ns, end_ns)| TimeRange { start_ns, end_ns }),
    };
    assert_eq!(run(engine().labels(request.clone())).unwrap(), labels);
    assert_eq!(run(engine().values("service", request)).unwrap(), services);
}

#[test]
fn labels_honour_type_matchers_and_range() {
    check("", &[], None, &["pod", "service", "thread", "zone"], &["a", "b", "c"]);
    check(CPU, &[], None, &["pod", "service", "thread", "zone"], &["a", "b"]);
    check(MEMORY, &[], None, &["service"], &["c"]);
    check("", &["", " "], None, &["pod", "service", "thread", "zone"], &["a", "b", "c"]);
    check("", &["{zone=\"z\"}"], None, &["service", "thread", "zone"], &["b"]);
    check("", &["{service=\"a\"}", "{service=\"c\"}"], None, &["pod", "service", "thread"], &["a", "c"]);
    check("", &[&format!("{MEMORY}{{}}")], None, &["service"], &["c"]);
    check(CPU, &["{pod=\"\"}"], None, &["service", "thread", "zone"], &["b"]);
    check("", &[], Some((15, 25)), &["service", "thread", "zone"], &["b"]);
    check("", &[], Some((10, 10)), &["pod", "service", "thread"], &["a"]);
    check("", &[], Some((40, 50)), &[], &[]);
    check("", &["{thread=\"t2\"}"], None, &["service", "thread", "zone"], &["b"]);
    check("", &["{thread=\"\"}"], None, &["pod", "service", "thread", "zone"], &["a", "b", "c"]);
    check(MEMORY, &["{thread=\"\"}"], None, &["service"], &["c"]);
    check(MEMORY, &["{thread!=\"\"}"], None, &[], &[]);
    check("", &["{thread=\"none\"}"], None, &[], &[]);
}

#[test]
fn values_of_attributes_and_unknown_labels() {
    let values = |name| run(engine().values(name, LabelsRequest::default())).unwrap();
    assert_eq!(values("thread"), ["t1", "t2"]);
    let of = |profile_type: &str, matcher: &str, range: Option<(i64, i64)>| {
        let request = LabelsRequest {
            profile_type: Some(profile_type.to_owned()),
            matchers: vec![matcher.to_owned()],
            range: range.map(|(start_ns, end_ns)| TimeRange { start_ns, end_ns }),
        };
        run(engine().values("thread", request)).unwrap()
    };
    assert_eq!(of(CPU, "", None), ["t1", "t2"]);
    assert_eq!(of(CPU, "{service=\"b\"}", None), ["t2"]);
    assert_eq!(of(CPU, "{thread!=\"t1\"}", None), ["t2"], "of an attribute, values that its matcher takes");
    assert_eq!(of(CPU, "", Some((0, 15))), ["t1"]);
    assert_eq!(of(MEMORY, "", None), Vec::<String>::new());
    assert_eq!(values("nothing"), Vec::<String>::new());
    let wrong = LabelsRequest { matchers: vec!["{".to_owned()], ..LabelsRequest::default() };
    assert!(
        run(engine().values("thread", wrong)).unwrap_err().to_string().starts_with("failed to parse query")
    );
    let wrong = LabelsRequest { profile_type: Some("x".to_owned()), ..LabelsRequest::default() };
    assert_eq!(run(engine().labels(wrong)).unwrap_err().kind(), decima_base::ErrorKind::InvalidArgument);
}

#[test]
fn profile_types() {
    let types = |range: Option<(i64, i64)>| {
        let range = range.map(|(start_ns, end_ns)| TimeRange { start_ns, end_ns });
        let types = run(engine().profile_types(range)).unwrap();
        types.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(types(None), [CPU, MEMORY]);
    assert_eq!(types(Some((25, 40))), [MEMORY]);
    assert!(run(engine().has_profile_data()).unwrap());
    let empty = Engine::over(memory::snapshot(Vec::new()), decima_query::engine::Settings::default());
    assert!(!run(empty.has_profile_data()).unwrap());
}
