use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use decima_ingest::{agent, otlp, push::Limits};
use decima_profile::SampleBatch;
use decima_proto::parca::profilestore::v1alpha1::{Label, LabelSet, WriteArrowRequest, WriteRequest};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// One before all others, one that agents send themselves, one after all others.
const LABELS: [(&str, &str); 3] = [("aaa", "first"), ("node", "ours"), ("zone", "größe")];

fn external() -> External {
    External::new(LABELS.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

fn fixture(path: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Files with samples, and the kind that the recording gives them.
fn files(folder: &str) -> Vec<(String, String)> {
    let expected: serde_json::Value =
        serde_json::from_slice(&fixture(&format!("{folder}/expected.json"))).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let messages = expected["messages"].as_array().unwrap();
    messages.iter().map(|message| (text(&message["file"]), text(&message["kind"]))).collect()
}

fn second(file: &str) -> Bytes {
    WriteArrowRequest::decode(&*fixture(file)).unwrap().ipc_buffer
}

fn first(file: &str) -> Bytes {
    WriteRequest::decode(&*fixture(file)).unwrap().record
}

type Series = BTreeMap<(String, Vec<(String, String)>), (usize, i64, BTreeSet<String>)>;

/// Rows, sums and names of attributes by type and labels.
fn series(batch: &SampleBatch) -> Series {
    let mut all = Series::new();
    for series in &batch.series {
        let key = (format!("{:?}", series.profile_type), series.labels.clone());
        let (rows, sum, attributes) = all.entry(key).or_default();
        *rows += series.values.len();
        *sum += series.values.iter().sum::<i64>();
        attributes.extend(series.attributes.iter().map(|a| batch.strings.get(a.name).to_owned()));
    }
    all
}

/// The same with the labels of [`LABELS`].
fn with_labels(before: Series) -> Series {
    let mut all = Series::new();
    for ((profile_type, labels), (rows, sum, attributes)) in before {
        let mut labels: BTreeMap<_, _> = labels.into_iter().collect();
        labels.extend(LABELS.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let entry = all.entry((profile_type, labels.into_iter().collect())).or_default();
        (entry.0, entry.1) = (entry.0 + rows, entry.1 + sum);
        entry.2.extend(attributes);
    }
    all
}

#[test]
fn label_sets() {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let mut set = LabelSet { labels: vec![label("__name__", "cpu"), label("node", "theirs")] };
    external().set(&mut set);
    let expected =
        [label("__name__", "cpu"), label("aaa", "first"), label("node", "ours"), label("zone", "größe")];
    assert_eq!(set.labels, expected);
}

#[test]
fn the_second_schema() {
    let mut seen = 0;
    for folder in ["agent-v2", "agent-v2-memory"] {
        for (file, _) in files(folder) {
            let stream = second(&format!("{folder}/{file}"));
            let before = agent::batch_of(&stream, &Limits::default()).unwrap();
            let added = external().add_to_second_schema(stream).unwrap();
            let after = agent::batch_of(&added, &Limits::default()).unwrap();
            assert_eq!(series(&after), with_labels(series(&before)), "{file}");
            assert_eq!(after.stacktrace_locations, before.stacktrace_locations, "{file}");
            assert_eq!(after.lines.len(), before.lines.len(), "{file}");
            // Once more changes nothing but bytes.
            let again = agent::batch_of(&external().add_to_second_schema(added).unwrap(), &Limits::default());
            assert_eq!(series(&again.unwrap()), series(&after), "{file}");
            seen += 1;
        }
    }
    assert_eq!(seen, 15);
}

#[test]
fn the_first_schema() {
    let mut seen = 0;
    for (file, kind) in files("agent-v1") {
        let samples = first(&format!("agent-v1/{file}"));
        let locations = first(&format!("agent-v1/{}", kind.rsplit(' ').next().unwrap()));
        let before = agent::batch_of_exchange(&samples, &locations, &Limits::default()).unwrap();
        let added = external().add_to_first_schema(samples).unwrap();
        let after = agent::batch_of_exchange(&added, &locations, &Limits::default()).unwrap();
        assert_eq!(series(&after), with_labels(series(&before)), "{file}");
        seen += 1;
    }
    assert_eq!(seen, 11);
}

#[test]
fn otlp_of_both_layouts() {
    let mut seen = 0;
    for folder in ["otlp", "otlp-1.9"] {
        for (file, _) in files(folder) {
            let request = Bytes::from(fixture(&format!("{folder}/{file}")));
            let decode = |request: &Bytes| {
                let decoded = otlp::decode(request, &Limits::default(), None, None, 1).unwrap();
                (series(&decoded.batch), decoded.repaired_strings)
            };
            let (before, repaired) = decode(&request);
            let added = external().add_to_otlp(request).unwrap();
            assert_eq!(decode(&added), (with_labels(before), repaired), "{file}");
            assert_eq!(external().add_to_otlp(added.clone()).unwrap(), added, "{file}: a second time");
            seen += 1;
        }
    }
    assert_eq!(seen, 13);
}

#[test]
fn keys_by_index_are_replaced() {
    // dictionary { string_table: "", "node" }, resource { attributes { key_strindex: 1 } dropped: 2 }, schema_url "s"
    let request: &[u8] = &[
        0x0a, 11, 0x0a, 6, 0x0a, 2, 0x18, 1, 0x10, 2, 0x1a, 1, b's', 0x12, 8, 0x2a, 0, 0x2a, 4, b'n', b'o',
        b'd', b'e',
    ];
    let external = External::new([("node".to_owned(), "x".to_owned())]);
    let added = external.add_to_otlp(Bytes::copy_from_slice(request)).unwrap();
    let expected: &[u8] = &[
        0x0a, 20, 0x0a, 15, 0x10, 2, 0x0a, 11, 0x0a, 4, b'n', b'o', b'd', b'e', 0x12, 3, 0x0a, 1, b'x', 0x1a,
        1, b's', 0x12, 8, 0x2a, 0, 0x2a, 4, b'n', b'o', b'd', b'e',
    ];
    assert_eq!(added, expected);
}

#[test]
fn without_labels_everything_passes_as_it_came() {
    let none = External::new([]);
    let garbage = Bytes::from_static(b"no stream, no message");
    assert_eq!(none.add_to_first_schema(garbage.clone()).unwrap(), garbage);
    assert_eq!(none.add_to_second_schema(garbage.clone()).unwrap(), garbage);
    assert_eq!(none.add_to_otlp(garbage.clone()).unwrap(), garbage);
}

#[test]
fn names_that_are_not_utf_8_are_repaired() {
    let (file, _) = files("agent-v2").remove(0);
    let mut stream = second(&format!("agent-v2/{file}")).to_vec();
    let name = b"\x04\0\0\0comm\0";
    let at = stream.windows(name.len()).position(|window| window == name).unwrap();
    stream[at + 5] = 0xff;
    let added = external().add_to_second_schema(stream.into()).unwrap();
    let batch = agent::batch_of(&added, &Limits::default()).unwrap();
    let has = |name: &str| batch.series.iter().all(|series| series.labels.iter().any(|(n, _)| n == name));
    assert!(has("c\u{fffd}mm") && has("zone"));
}

#[test]
fn what_is_wrong_is_told() {
    let (file, _) = files("agent-v2").remove(0);
    let stream = second(&format!("agent-v2/{file}"));
    for cut in (1..stream.len() - 8).step_by(97) {
        let error = external().add_to_second_schema(stream.slice(..cut));
        assert!(error.is_err() || cut_between_messages(&stream, cut), "{cut}");
    }
    let check = |stream: &'static [u8], expected: &str| {
        let error = external().add_to_second_schema(Bytes::from_static(stream)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(b"abc", "the stream is cut short at byte 3");
    check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a message of negative length");
    check(
        &[0xff, 0xff, 0xff, 0xff, 8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        "the metadata of the message at byte 0 cannot be read",
    );
    // The other schema has its labels elsewhere.
    let (file, _) = files("agent-v1").remove(0);
    let error = external().add_to_second_schema(first(&format!("agent-v1/{file}"))).unwrap_err();
    assert!(error.to_string().contains("there is no column labels"), "{error}");
}

/// Whether a stream that ends here is whole as far as it goes.
fn cut_between_messages(stream: &Bytes, cut: usize) -> bool {
    stream.get(cut..cut + 4) == Some(&[0xff; 4])
}

proptest! {
    #[test]
    fn damaged_streams_do_no_harm(at in 0_usize..20_000, value: u8) {
        let mut stream = second("agent-v2/01016-s159-client.bin").to_vec();
        let at = at % stream.len();
        stream[at] = value;
        let _ = external().add_to_second_schema(stream.into());
    }

    #[test]
    fn damaged_requests_do_no_harm(at in 0_usize..200_000, value: u8) {
        let mut request = fixture("otlp/00002-s1-client.bin");
        let at = at % request.len();
        request[at] = value;
        let _ = external().add_to_otlp(request.into());
    }
}
