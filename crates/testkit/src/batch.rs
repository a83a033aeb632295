//! Batches of samples as a decoder makes them, from functions by name.

use std::collections::BTreeMap;

use decima_profile::{
    ProfileType, SampleBatch,
    batch::{
        Attribute, AttributeValues, Function, Line, Location, Mapping, NO_MAPPING, SeriesSamples, Strings,
    },
};

/// A sample: stacktrace as function names leaf first, time, value, attribute `route`.
pub type Row<'a> = (&'a [&'a str], i64, i64, &'a str);

/// The profile type of all batches.
pub const PROFILE_TYPE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta";

/// A batch of one series with the label `job`. Each name is one location, those of the kernel without a mapping.
///
/// # Panics
/// Never: the profile type is one.
pub fn batch(service: &str, rows: &[Row<'_>]) -> SampleBatch {
    let mut strings = Strings::over(Vec::new());
    let file = strings.push("/bin/app");
    let build_id = strings.push("abc123");
    let route = strings.push("route");
    let mut batch = SampleBatch {
        mappings: vec![Mapping { start: 0x1000, limit: 0x9000, offset: 0, file, build_id }],
        stacktrace_offsets: vec![0],
        ..SampleBatch::default()
    };
    let mut locations = BTreeMap::new();
    #[expect(clippy::expect_used, reason = "a constant")]
    let profile_type = ProfileType::parse(PROFILE_TYPE).expect("a profile type");
    let mut series = SeriesSamples {
        profile_type,
        labels: vec![("job".to_owned(), service.to_owned())],
        period: 10_000_000,
        duration_ns: 10_000_000_000,
        times_ns: rows.iter().map(|r| r.1).collect(),
        stacktraces: Vec::new(),
        values: rows.iter().map(|r| r.2).collect(),
        attributes: Vec::new(),
    };
    if series.times_ns.windows(2).all(|w| w[0] == w[1]) {
        series.times_ns.truncate(1);
    }
    let mut routes = Vec::new();
    for (at, (stacktrace, _, _, r)) in rows.iter().enumerate() {
        for &name in *stacktrace {
            let id = *locations.entry(name).or_insert_with(|| {
                let function = batch.functions.len() as u32;
                batch.functions.push(Function { name: strings.push(name), ..Function::default() });
                batch.lines.push(Line { function, line: 7, column: 0 });
                batch.locations.push(Location {
                    mapping: if name.starts_with("kernel") { NO_MAPPING } else { 0 },
                    address: 0x2000 + u64::from(function),
                    frame_type: 0,
                    first_line: function,
                    line_count: 1,
                });
                function
            });
            batch.stacktrace_locations.push(id);
        }
        batch.stacktrace_offsets.push(batch.stacktrace_locations.len() as u32);
        series.stacktraces.push(at as u32);
        routes.push(if r.is_empty() { 0 } else { strings.push(r) });
    }
    if routes.iter().any(|r| *r != 0) {
        series.attributes.push(Attribute { name: route, values: AttributeValues::Text(routes) });
    }
    batch.series.push(series);
    batch.strings = strings;
    batch
}
