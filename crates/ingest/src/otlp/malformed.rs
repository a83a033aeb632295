//! Hand-made requests: sound ones of both layouts, and ones that are wrong in every way that we could think of.
//!
//! They are the corpus of the fuzz target; `cargo xtask bless` writes them anew.

use std::path::PathBuf;

use decima_profile::batch::AttributeValues;
use decima_testkit::malformed::otlp::{
    bytes, cases, dictionary_parts, fixed, message, number, old_sample, packed, request, sample, text, times,
    with_attributes,
};

use super::*;

fn read(message: &[u8]) -> Result<Decoded, OtlpError> {
    decode(message, &Limits::default(), None, None, 1)
}

fn check_sound(samples: &[Vec<u8>], layout: Layout) {
    let decoded = read(&request(samples, &dictionary_parts())).unwrap();
    assert_eq!((decoded.layout, decoded.rejection.as_ref()), (Some(layout), None));
    assert_eq!(decoded.node, "n1");
    assert_eq!(decoded.object_files, [("abcd".to_owned(), "ef01".to_owned())]);
    let batch = decoded.batch;
    let [series] = batch.series.as_slice() else { panic!() };
    assert_eq!(
        series.profile_type.to_string(),
        "go_opentelemetry_io_ebpf_profiler:samples:count:cpu:nanoseconds:delta"
    );
    let labels: Vec<_> = series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["deep=[1,\"x\"]", "host_name=n1", "indirect=main", "service_name=shop"]);
    assert_eq!((&*series.values, &*series.times_ns), (&[3, 4][..], &[1001, 1002][..]));
    let attributes: Vec<String> = series
        .attributes
        .iter()
        .map(|attribute| {
            let name = batch.strings.get(attribute.name);
            match &attribute.values {
                AttributeValues::Text(ids) => format!("{name}={}", batch.strings.get(ids[0])),
                AttributeValues::Integer { values, .. } => format!("{name}={:?}", values),
            }
        })
        .collect();
    assert_eq!(
        attributes,
        [
            "retries=[Some(7), Some(7)]".to_owned(),
            format!("trace_id={}", "01".repeat(16)),
            format!("span_id={}", "02".repeat(8)),
            "process_pid=[Some(9), Some(9)]".to_owned(),
        ]
    );
    let locations: Vec<_> =
        batch.stacktrace(series.stacktraces[0]).iter().map(|&id| batch.locations[id as usize]).collect();
    assert_eq!((locations[0].address, locations[0].line_count, locations[1].line_count), (77, 1, 0));
    assert_eq!(batch.strings.get(locations[0].frame_type), "go");
    let mapping = batch.mappings[locations[0].mapping as usize];
    assert_eq!((batch.strings.get(mapping.build_id), mapping.start), ("abcd", 0));
    assert_eq!(batch.strings.get(batch.functions[0].name), "main");
}

#[test]
fn both_layouts_say_the_same() {
    check_sound(&[sample(&[4], 1, &[3, 4], &[1001, 1002])], Layout::From1_10);
    check_sound(&[old_sample(&[4], 1, &[3, 4], &[1001, 1002])], Layout::UpTo1_9);
}

#[test]
fn samples_that_tell_their_layout() {
    let check = |samples: &[Vec<u8>], expected: Option<Layout>| {
        let message = request(samples, &dictionary_parts());
        assert_eq!(read(&message).unwrap().layout, expected);
    };
    let two = |values: &[u64], at: &[u64]| [number(1, 1), packed(2, values), times(at)].concat();
    // A value and no time; a number that no attribute has; as many numbers as times, or not.
    check(&[[number(1, 1), packed(2, &[3])].concat()], Some(Layout::UpTo1_9));
    check(&[two(&[1000], &[1001])], Some(Layout::UpTo1_9));
    check(&[two(&[4, 1], &[1001])], Some(Layout::From1_10));
    check(&[two(&[1], &[1001])], None);
    check(&[[number(1, 1), times(&[1001])].concat()], None);
    // The others of the message decide.
    check(&[two(&[1], &[1001]), sample(&[4], 1, &[], &[1001])], Some(Layout::From1_10));
    // What was before decides.
    let message = request(&[two(&[2], &[1001])], &dictionary_parts());
    for (remembered, value) in [(Layout::UpTo1_9, 2), (Layout::From1_10, 1)] {
        let decoded = decode(&message, &Limits::default(), None, Some(remembered), 1).unwrap();
        assert_eq!(decoded.batch.series[0].values, [value]);
    }
}

#[test]
fn names_of_profiles() {
    for (scope, expected) in [
        ("", "unknown"),
        ("./ebpf-profiler", "go_opentelemetry_io_ebpf_profiler"),
        ("go.opentelemetry.io/ebpf-profiler", "go_opentelemetry_io_ebpf_profiler"),
        ("/opt/x/ebpf-profiler-19", "go_opentelemetry_io_ebpf_profiler"),
        ("my.profiler", "my_profiler"),
        ("日本", "_65e5__672c_"),
        ("日木.x", "_65e5__6728__x"),
    ] {
        assert_eq!(profile::profile_name(scope), expected, "{scope}");
    }
}

#[test]
fn a_wrong_profile_does_not_cost_the_others() {
    let good = request(&[sample(&[4], 1, &[3], &[1001])], &dictionary_parts());
    let bad = request(&[sample(&[99], 1, &[3], &[1001])], &[]);
    let decoded = read(&[good, bad].concat()).unwrap();
    assert_eq!((decoded.profiles, decoded.rejected_profiles.values().sum()), (1, 1_u64));
    let place = "resource_profiles[1].scope_profiles[0].profiles[0].samples[0]";
    assert_eq!(
        decoded.rejection.unwrap().to_string(),
        format!("{place}: attribute index 99 is out of range (5)")
    );
    assert_eq!(decoded.batch.sample_count(), 1);
}

#[test]
fn wrong_requests() {
    for wrong in cases() {
        let refusal = match read(&wrong.messages[0]) {
            Ok(decoded) => decoded.rejection.unwrap_or_else(|| panic!("{} is read", wrong.name)),
            Err(error) => error,
        };
        assert!(refusal.to_string().contains(wrong.refusal), "{}: {refusal}", wrong.name);
    }
}

#[test]
fn a_hundred_thousand_labels() {
    let decoded = read(&with_attributes(100_000)).unwrap();
    let refusal = decoded.rejection.unwrap().to_string();
    assert!(refusal.ends_with("samples[0]: 65 attributes, the limit is 64"), "{refusal}");
}

/// Whose a request is can be read although its dictionary is wrong.
#[test]
fn nodes_of_wrong_requests() {
    let sound = request(&[sample(&[4], 1, &[3], &[1001])], &dictionary_parts());
    assert_eq!(node_of_wrong(&sound), "n1");
    let wrong = [sound, message(2, &[message(7, &[number(1, 99)])])].concat();
    assert!(read(&wrong).is_err());
    assert_eq!(node_of_wrong(&wrong), "n1");
    assert_eq!(node_of_wrong(b"\xff\xff"), "");
}

/// Lists that are refused before there is memory for them.
#[test]
fn lists_that_are_too_long() {
    let check = |message: &[u8], expected: &str| {
        let error = read(message).unwrap_err();
        assert_eq!((error.reason, error.to_string().as_str()), (crate::push::Refusal::TooLarge, expected));
    };
    check(&bytes(1, b"").repeat(PARTS_MAX + 1), "request: 131073 resources or more, the limit is 131072");
    let scopes = bytes(1, &bytes(2, b"").repeat(PARTS_MAX));
    check(&scopes, "resource_profiles[0]: 131073 scopes or more, the limit is 131072");
    let profiles = bytes(1, &bytes(2, &bytes(2, b"").repeat(PARTS_MAX - 1)));
    check(&profiles, "resource_profiles[0].scope_profiles[0]: 131073 profiles or more, the limit is 131072");
    let rows = [bytes(2, &bytes(5, b"").repeat(TABLE_ROWS_MAX)), bytes(2, &bytes(1, b""))].concat();
    check(&rows, "dictionary.mapping_table: 2097153 rows of all tables, the limit is 2097152");
    let attributes = bytes(1, &bytes(1, &bytes(1, b"").repeat(ATTRIBUTES_MAX + 1)));
    check(&attributes, "resource_profiles[0]: 1025 attributes, the limit is 1024");
    let many = packed(11, &vec![0; ATTRIBUTES_MAX + 5]);
    let many = bytes(1, &bytes(2, &bytes(2, &many)));
    check(
        &many,
        "resource_profiles[0].scope_profiles[0].profiles[0]: 1025 attributes or more, the limit is 1024",
    );
    let resource = bytes(1, &bytes(1, b"").repeat(ATTRIBUTES_MAX));
    let profiles = bytes(2, &bytes(2, b"").repeat(PAIRS_MAX / ATTRIBUTES_MAX + 1));
    check(
        &bytes(1, &[resource, profiles].concat()),
        "resource_profiles[0].scope_profiles[0].profiles[2048]: 2097153 attributes of profiles, the limit is 2097152",
    );
}

#[test]
fn values_of_every_kind() {
    let value = |parts: &[Vec<u8>]| {
        let pair = message(1, &[text(1, "key"), message(2, parts)]);
        let resource = message(1, &[pair]);
        let sample = bytes(2, &[number(1, 0), packed(4, &[1])].concat());
        let scope = message(2, &[message(2, &[sample])]);
        let decoded = read(&message(1, &[resource, scope])).unwrap();
        decoded.batch.series[0].labels.first().map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!(value(&[text(1, "a")]), "a");
    assert_eq!(value(&[number(2, 1)]), "true");
    assert_eq!(value(&[number(3, u64::MAX)]), "-1");
    assert_eq!(value(&[fixed(4, 0.5f64.to_bits())]), "0.5");
    assert_eq!(value(&[bytes(7, &[0, 255])]), "00ff");
    assert_eq!(value(&[text(1, "")]), "");
    let pair = |key: &str, value: Vec<u8>| message(1, &[text(1, key), message(2, &[value])]);
    assert_eq!(
        value(&[message(6, &[pair("a", number(3, 1)), pair("b", number(2, 0))])]),
        "{\"a\":1,\"b\":false}"
    );
    assert_eq!(value(&[message(5, &[message(1, &[text(1, "a\"\u{1}ü")])])]), "[\"a\\\"\\u0001ü\"]");
    // As deep as it likes, shown as deep as we like.
    let deep = (0..30).fold(number(3, 1), |inner, _| message(5, &[message(1, &[inner])]));
    assert!(value(&[deep]).ends_with("…]]]]]]]]]"));
}

#[test]
fn damage_anywhere_is_survived() {
    for samples in [sample(&[4], 1, &[3], &[1001]), old_sample(&[4], 1, &[3], &[1001])] {
        let sound = request(&[samples], &dictionary_parts());
        for at in 0..sound.len() {
            let _ = read(&sound[..at]);
            for flip in [0x01, 0x02, 0x04, 0x08, 0x80, 0xff] {
                let mut damaged = sound.clone();
                damaged[at] ^= flip;
                let _ = read(&damaged);
            }
        }
    }
}

/// The hand-made messages are what fuzzing starts from.
#[test]
fn corpus() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus/otlp");
    let sound = |sample: Vec<u8>| request(&[sample], &dictionary_parts());
    let mut files = vec![
        ("sound", sound(sample(&[4], 1, &[3, 4], &[1001, 1002]))),
        ("sound-1.9", sound(old_sample(&[4], 1, &[3, 4], &[1001, 1002]))),
    ];
    files.extend(cases().into_iter().map(|wrong| (wrong.name, wrong.messages[0].clone())));
    for (name, bytes) in files {
        if bytes.len() > 16 << 10 {
            continue;
        }
        let path = root.join(name);
        if std::env::var_os("DECIMA_BLESS").is_some() {
            std::fs::create_dir_all(&root).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{} is not what the test makes: cargo xtask bless", path.display());
    }
}
