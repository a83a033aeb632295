//! What every fuzz target checks of its input. Nothing may panic, and what was read must keep its promises.
//!
//! The tests of the workspace include this file and replay the corpora with it, so that what a fuzzer once found stays
//! found. A new reader of foreign bytes gets a function here, a line in [`TARGETS`], a file in `fuzz_targets/` and a folder
//! in `corpus/`.

pub mod debuginfo;
pub mod message;
mod otlp;
pub mod symbols;

use std::path::Path;

use decima_config::Config;
use decima_forward::labels::External;
use decima_ingest::{agent, discovery, otlp as export, push};
use decima_profile::{
    SampleBatch,
    batch::{AttributeValues, NO_MAPPING},
    compression,
    pprof::{self, Limits},
};
use decima_query::selector::Selector;
use decima_store::inspect;

pub use self::{
    debuginfo::{debuginfo_record, debuginfo_upload},
    message::message,
    otlp::otlp_repair,
    symbols::{companions, dwarf, elf, mangled, pclntab},
};

/// A fuzz target: the name of its corpus and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("pprof", pprof),
    ("write_raw", write_raw),
    ("message", message),
    ("selector", selector),
    ("config", config),
    ("target_list", target_list),
    ("log_object", log_object),
    ("log_body", log_body),
    ("block_file", block_file),
    ("agent_first", agent_first),
    ("agent_second", agent_second),
    ("otlp", otlp),
    ("otlp_repair", otlp_repair),
    ("debuginfo_upload", debuginfo_upload),
    ("debuginfo_record", debuginfo_record),
    ("elf", elf),
    ("companions", companions),
    ("dwarf", dwarf),
    ("pclntab", pclntab),
    ("mangled", mangled),
];

/// A fuzzer's small input must not make us hold more.
const PROFILE_BYTES_MAX: usize = 64 << 20;

/// A profile as a sender gives it, compressed or not.
pub fn pprof(input: &[u8]) {
    let Ok(bytes) = compression::decompress(input, PROFILE_BYTES_MAX) else { return };
    if let Ok(profile) = pprof::decode(bytes, &Limits::default()) {
        check_batch(&profile.batch);
    }
}

/// A request of `WriteRaw`, and the same as a forwarder sends it on.
pub fn write_raw(input: &[u8]) {
    let limits = push_limits();
    let read = |input: &[u8]| push::RawRequest::read(&input.to_vec().into(), &limits);
    let Ok(request) = read(input) else { return };
    assert_eq!(request.hash(), read(input).map_or(0, |again| again.hash()));
    for series in &request.series {
        assert!(series.labels.len() <= limits.label_count_max);
    }
    if let Ok(decoded) = push::batch_of(&request.series, &limits, 1) {
        check_batch(&decoded.batch);
    }
}

/// What the store relies on without looking again.
fn check_batch(batch: &SampleBatch) {
    let strings = batch.strings.len();
    let text = |id: u32| assert!((id as usize) < strings);
    for mapping in &batch.mappings {
        text(mapping.file);
        text(mapping.build_id);
    }
    for function in &batch.functions {
        text(function.name);
        text(function.system_name);
        text(function.filename);
    }
    for line in &batch.lines {
        assert!((line.function as usize) < batch.functions.len());
    }
    for location in &batch.locations {
        assert!(location.mapping == NO_MAPPING || (location.mapping as usize) < batch.mappings.len());
        assert!(location.first_line as usize + location.line_count as usize <= batch.lines.len());
    }
    for &location in &batch.stacktrace_locations {
        assert!((location as usize) < batch.locations.len());
    }
    assert!(batch.stacktrace_offsets.is_sorted());
    for series in &batch.series {
        assert_eq!(series.stacktraces.len(), series.values.len());
        assert!([1, series.values.len()].contains(&series.times_ns.len()));
        for &stacktrace in &series.stacktraces {
            let _ = batch.stacktrace(stacktrace);
        }
        assert!(!series.values.contains(&0));
        assert!(series.labels.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for attribute in &series.attributes {
            text(attribute.name);
            match &attribute.values {
                AttributeValues::Text(ids) => {
                    assert_eq!(ids.len(), series.values.len());
                    ids.iter().for_each(|&id| text(id));
                }
                AttributeValues::Integer { values, .. } => assert_eq!(values.len(), series.values.len()),
            }
        }
    }
}

/// Limits for small inputs.
fn push_limits() -> push::Limits {
    push::Limits { profile_bytes_max: PROFILE_BYTES_MAX, ..push::Limits::default() }
}

/// A request in the agent's second schema.
pub fn agent_second(input: &[u8]) {
    let batch = agent::batch_of(input, &push_limits());
    if let Ok(batch) = &batch {
        check_batch(batch);
    }
    let labelled = external().add_to_second_schema(input.to_vec().into());
    let Ok(labelled) = labelled else { return };
    check_same_samples(batch.ok(), agent::batch_of(&labelled, &push_limits()).ok());
}

/// Labels that a forwarder adds, one of which senders have too.
fn external() -> External {
    External::new([("node", "ours"), ("zone", "1")].map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// External labels must neither add nor take away samples. A limit may be reached by them.
fn check_same_samples(before: Option<SampleBatch>, after: Option<SampleBatch>) {
    if let (Some(before), Some(after)) = (before, after) {
        check_batch(&after);
        assert_eq!(after.sample_count(), before.sample_count());
    }
}

/// An exchange in the agent's first schema: the length of the first stream in four bytes, then both.
pub fn agent_first(input: &[u8]) {
    let Some((len, streams)) = input.split_first_chunk::<4>() else { return };
    let len = u32::from_le_bytes(*len) as usize;
    let Some((samples, locations)) = streams.split_at_checked(len) else { return };
    let batch = agent::batch_of_exchange(samples, locations, &push_limits());
    if let Ok(batch) = &batch {
        check_batch(batch);
    }
    let Ok(labelled) = external().add_to_first_schema(samples.to_vec().into()) else { return };
    check_same_samples(batch.ok(), agent::batch_of_exchange(&labelled, locations, &push_limits()).ok());
}

/// An OTLP request, read in either layout.
pub fn otlp(input: &[u8]) {
    for layout in [None, Some(export::Layout::UpTo1_9), Some(export::Layout::From1_10)] {
        let decoded = export::decode(input, &push_limits(), layout, None, 1);
        if let Ok(decoded) = &decoded {
            check_batch(&decoded.batch);
        }
        let Ok(labelled) = external().add_to_otlp(input.to_vec().into()) else { continue };
        let labelled = export::decode(&labelled, &push_limits(), layout, None, 1);
        check_same_samples(decoded.ok().map(|d| d.batch), labelled.ok().map(|d| d.batch));
    }
}

/// A selector, as text.
pub fn selector(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(selector) = Selector::parse(text) {
        for matcher in &selector.matchers {
            matcher.matches("");
            matcher.matches(text);
        }
    }
}

/// A configuration file.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = Config::parse(text, "fuzz.yaml", Path::new("/"));
}

/// A list of targets as files and servers give it, in both formats. Each target has an address, whatever the list says.
pub fn target_list(input: &[u8]) {
    let yaml = std::str::from_utf8(input).ok().and_then(|text| discovery::groups_from_yaml(text).ok());
    for group in discovery::groups_from_json(input).into_iter().chain(yaml).flatten() {
        assert!(group.targets.iter().all(|labels| labels.contains_key("__address__")));
    }
}

/// A log object as it is stored. Damage is refused; the result itself is of no interest.
pub fn log_object(input: &[u8]) {
    let _ = inspect::check_log_object(input);
}

/// The rows of a log object, which the checksum otherwise keeps a fuzzer from.
pub fn log_body(input: &[u8]) {
    let _ = inspect::check_log_body(input);
}

/// A file of a block: it stands for each of them in turn.
pub fn block_file(input: &[u8]) {
    const NAMES: [&str; 8] = [
        "samples.parquet",
        "points.parquet",
        "nodes.parquet",
        "stacktraces.parquet",
        "locations.parquet",
        "series.parquet",
        "attributes.parquet",
        "requests.parquet",
    ];
    // What parquet panics of is caught where it is read; a fuzzer would end there.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let files = NAMES.iter().map(|name| (*name, input.to_vec())).collect();
    // One input cannot be all files of a whole block.
    assert!(!futures::executor::block_on(inspect::check_block(&files)).is_empty());
}
