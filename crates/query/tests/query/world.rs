//! Random samples over a small set of locations, and questions about them.

use decima_query::{
    Condition, Engine, Filter, FrameCriteria, ReportRequest, ReportType, Selection, TimeRange,
    engine::Settings,
};
use proptest::prelude::*;

use crate::memory::{self, LineSpec, LocationSpec, MemorySource, Sample};

pub(crate) const TYPE: &str = "cpu:cpu:nanoseconds:cpu:nanoseconds:delta";

pub(crate) fn line(name: &str, line: i64) -> LineSpec {
    LineSpec {
        name: name.to_owned(),
        system_name: format!("_Z{name}"),
        filename: format!("/src/{}.rs", &name[..1]),
        start_line: 10,
        line,
    }
}

pub(crate) fn location(binary: &str, address: u64, lines: &[LineSpec]) -> LocationSpec {
    let mapping = (!binary.is_empty()).then(|| (format!("/bin/{binary}"), format!("id-{binary}")));
    LocationSpec { mapping, address, lines: lines.to_vec() }
}

/// Inline chains, one function at several addresses and in several binaries, frames without names or mappings.
pub(crate) fn locations() -> Vec<LocationSpec> {
    let only_system = LineSpec { system_name: "sysonly".to_owned(), ..LineSpec::default() };
    vec![
        location("app", 1, &[line("main", 1)]),
        location("app", 2, &[line("Work", 2)]),
        location("app", 3, &[line("Work", 3)]),
        location("app", 4, &[line("inner", 4), line("middle", 5), line("Work", 6)]),
        location("lib", 5, &[line("alloc", 7)]),
        location("app", 6, &[line("alloc", 7)]),
        location("lib", 7, &[]),
        location("app", 7, &[]),
        location("", 8, &[line("script", 1)]),
        location("", 9, &[]),
        location("lib", 10, &[only_system, line("middle", 5)]),
        location("app", 11, &[line("main", 9), line("main", 8)]),
    ]
}

/// Has sources folded, whatever they take.
pub(crate) fn folding() -> Settings {
    Settings { fold_bytes: 0, ..Settings::default() }
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) samples: Vec<Sample>,
    /// Source of each sample.
    pub(crate) sources: Vec<usize>,
}

impl World {
    pub(crate) fn engine(&self) -> Engine {
        self.engine_with(Settings::default())
    }

    pub(crate) fn engine_with(&self, settings: Settings) -> Engine {
        let count = self.sources.iter().max().map_or(1, |max| max + 1);
        let of = |at: usize| -> Vec<Sample> {
            let samples = self.samples.iter().zip(&self.sources).filter(|(_, source)| **source == at);
            samples.map(|(sample, _)| sample.clone()).collect()
        };
        let sources: Vec<MemorySource> =
            (0..count).map(|at| memory::source(&format!("source {at}"), &of(at), 0)).collect();
        Engine::over(memory::snapshot(sources), settings)
    }

    /// The same samples in so many sources that they are folded.
    pub(crate) fn spread(&self) -> Self {
        Self { samples: self.samples.clone(), sources: (0..self.samples.len()).map(|at| at % 5).collect() }
    }

    /// The same samples in one source.
    pub(crate) fn joined(&self) -> Self {
        Self { samples: self.samples.clone(), sources: vec![0; self.samples.len()] }
    }
}

/// Samples at times 0 to 5 of services `s0`..`s2`, pods ``, `p1`, `p2`, threads ``, `t1`, `t2`, and a number 0 to 2.
pub(crate) fn worlds(values: impl Strategy<Value = i64> + Clone + 'static) -> impl Strategy<Value = World> {
    let count = locations().len();
    let stack = proptest::collection::vec(0..count, 0..6);
    let sample = (stack, values, 0u8..3, 0u8..3, 0u8..3, 0u8..3, 0i64..6);
    let sample = sample.prop_map(|(stack, value, service, pod, thread, number, time_ns)| {
        let pool = locations();
        let mut labels = Vec::new();
        if pod > 0 {
            labels.push(("pod".to_owned(), format!("p{pod}")));
        }
        labels.push(("service".to_owned(), format!("s{service}")));
        let mut attributes = vec![("number".to_owned(), number.to_string())];
        if thread > 0 {
            attributes.push(("thread".to_owned(), format!("t{thread}")));
        }
        Sample {
            profile_type: TYPE.to_owned(),
            labels,
            period: 10,
            time_ns,
            duration_ns: 1,
            stack: stack.into_iter().map(|at| pool[at].clone()).collect(),
            value,
            attributes,
        }
    });
    proptest::collection::vec((sample, 0..3usize), 0..30).prop_map(|samples| {
        let (samples, sources) = samples.into_iter().filter(|(sample, _)| sample.value != 0).unzip();
        World { samples, sources }
    })
}

pub(crate) fn counts() -> impl Strategy<Value = i64> + Clone {
    1i64..8
}

pub(crate) fn signed() -> impl Strategy<Value = i64> + Clone {
    -4i64..8
}

fn contains(text: &str) -> Option<Condition> {
    Some(Condition::Contains(text.to_owned()))
}

/// Filters of each kind and field.
pub(crate) fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let default = FrameCriteria::default;
    let criteria = vec![
        FrameCriteria { function_name: contains("WOR"), binary: contains("nothing"), ..default() },
        FrameCriteria { function_name: Some(Condition::NotContains("all".to_owned())), ..default() },
        FrameCriteria { function_name: Some(Condition::NotEqual("MAIN".to_owned())), ..default() },
        FrameCriteria { function_name: Some(Condition::StartsWith("m".to_owned())), ..default() },
        FrameCriteria { function_name: Some(Condition::Equal("sysonly".to_owned())), ..default() },
        FrameCriteria { binary: Some(Condition::Equal("App".to_owned())), ..default() },
        FrameCriteria { binary: Some(Condition::NotStartsWith("l".to_owned())), ..default() },
        FrameCriteria { binary: contains("bin"), ..default() },
        FrameCriteria { system_name: contains("_zw"), binary: contains("app"), ..default() },
        FrameCriteria { filename: Some(Condition::NotContains("/m.rs".to_owned())), ..default() },
        FrameCriteria { address: Some(Condition::NumberEqual(7)), ..default() },
        FrameCriteria { address: Some(Condition::NumberNotEqual(3)), ..default() },
        FrameCriteria { line_number: Some(Condition::NumberNotEqual(5)), ..default() },
        FrameCriteria { line_number: Some(Condition::NumberEqual(1)), ..default() },
    ];
    let filter = (proptest::sample::select(criteria), any::<bool>())
        .prop_map(|(criteria, stack)| if stack { Filter::Stack(criteria) } else { Filter::Frame(criteria) });
    proptest::collection::vec(filter, 0..3)
}

pub(crate) const ALL: TimeRange = TimeRange { start_ns: 0, end_ns: 10_000_000 };

pub(crate) fn merge_of(selector: &str) -> Selection {
    Selection::Merge { query: format!("{TYPE}{selector}"), range: ALL }
}

/// Times 3 to 5 compared with times 0 to 2.
pub(crate) fn diff_of(selector: &str, absolute: bool) -> Selection {
    let side = |start_ns, end_ns| {
        let range = TimeRange { start_ns, end_ns };
        Box::new(Selection::Merge { query: format!("{TYPE}{selector}"), range })
    };
    Selection::Diff { a: side(0, 2), b: side(3, 100), absolute }
}

pub(crate) fn request(selection: Selection, report: ReportType) -> ReportRequest {
    ReportRequest { node_max: 1 << 20, ..ReportRequest::new(selection, report) }
}

/// Runs a question to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
