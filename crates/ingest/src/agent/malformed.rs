//! Messages that are wrong in every way that we could think of: refused with column and row, and nothing worse.
//!
//! The same messages, and a sound one, are the corpora of the fuzz targets; `cargo xtask bless` writes them anew.

mod growth;

use std::{path::PathBuf, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Int64Array, RecordBatch, StringArray, StructArray,
    UInt32Array, UInt64Array, types::UInt32Type,
};
use arrow_ipc::{CompressionType, writer::StreamWriter};
use arrow_schema::Field;
use decima_testkit::malformed::{
    PLAIN_BYTES_MAX,
    agent::{
        Column, ENTRIES, TIME, array, binary, damaged_lz4, dictionary, each, encoded, first, first_cases,
        first_locations, first_samples, labels, le, locations, patched, runs, second, second_cases,
        second_columns, structs, views, with, without, words,
    },
};

use super::*;

/// Small, so that what is beyond them is small too.
fn limits() -> Limits {
    Limits { profile_bytes_max: PLAIN_BYTES_MAX, ..Limits::default() }
}

#[test]
fn damaged_frames_name_their_rows() {
    let damaged = damaged_lz4();
    assert!(damaged.len() >= 4, "{}", damaged.len());
    for stream in damaged {
        let refusal = refusal(&stream);
        assert!(
            refusal.contains(", row") && refusal.contains(") is damaged: it is no LZ4 frame"),
            "{refusal}"
        );
    }
}

fn refusal(stream: &[u8]) -> String {
    match batch_of(stream, &limits()) {
        Ok(batch) => panic!("{} samples instead of a refusal", batch.sample_count()),
        Err(error) => {
            assert_eq!(error.kind(), decima_base::ErrorKind::InvalidArgument);
            error.to_string()
        }
    }
}

#[test]
fn sound_messages_are_read() {
    for compression in [None, Some(CompressionType::LZ4_FRAME)] {
        let unknown =
            with(second_columns(), "unknown", Arc::new(BooleanArray::from(vec![true, false, true])));
        let columns = with(unknown, "temporality", words(&[Some("delta"), None, None]));
        let batch = batch_of(&encoded(SECOND, columns, compression), &limits()).unwrap();
        assert_eq!(batch.series.len(), 2);
        let [app, other] = batch.series.as_slice() else { panic!() };
        assert_eq!((&*app.values, &*app.times_ns), (&[1, 2][..], &[TIME, TIME + 1][..]));
        assert_eq!(other.values, [3]);
        assert_eq!(app.labels, [("comm".to_owned(), "app".to_owned()), ("node".to_owned(), "n".to_owned())]);
        assert_eq!((app.attributes.len(), other.attributes.len()), (1, 0));
        assert_eq!(app.profile_type.to_string(), "parca_agent:samples:count:cpu:nanoseconds:delta");
        // The first and the third sample have the same stacktrace.
        assert_eq!(batch.stacktrace_offsets, [0, 4, 8]);
        assert_eq!(batch.stacktrace(app.stacktraces[1]), [3, 2, 1, 0]);
        let address = |id: u32| batch.locations[batch.stacktrace(other.stacktraces[0])[id as usize] as usize];
        assert_eq!(address(0).address, u64::MAX);
        assert_eq!((batch.locations[1].line_count, batch.locations[2].line_count), (2, 0));
        assert_eq!(batch.strings.get(batch.functions[1].name), "a name of more than twelve bytes");
        assert_eq!(batch.mappings.len(), 3);
    }
}

#[test]
fn labels_are_not_required() {
    let batch = batch_of(&second(without(second_columns(), "labels")), &limits()).unwrap();
    assert_eq!((batch.series.len(), batch.series[0].labels.len()), (1, 0));
}

#[test]
fn samples_of_nothing_are_left_out() {
    let column = Arc::new(Int64Array::from(vec![0, 0, 3]));
    let batch = batch_of(&second(with(second_columns(), "value", column)), &limits()).unwrap();
    assert_eq!((batch.series.len(), batch.sample_count()), (1, 1));
}

#[test]
fn text_that_is_not_utf8_is_repaired() {
    let column = runs(&array(BinaryArray::from(vec![&b"parca\xff"[..]])), &[3]);
    let stream = second(with(second_columns(), "producer", column));
    let known = super::sample_labels();
    let decoded =
        super::second::decode(&stream, Context { limits: &limits(), sample_labels: &known, schemas: None })
            .unwrap();
    assert_eq!(decoded.repaired_strings, 1);
    assert_eq!(decoded.batch.series[0].profile_type.name, "parca\u{fffd}");
}

#[test]
fn wrong_messages_of_the_second_schema() {
    for wrong in second_cases() {
        let refusal = refusal(&wrong.messages[0]);
        assert!(refusal.contains(wrong.refusal), "{}: {refusal}", wrong.name);
    }
}

#[test]
fn a_hundred_thousand_labels() {
    assert_eq!(refusal(&labels(100)), "column labels: 100 labels, the limit is 64");
    assert_eq!(refusal(&labels(100_000)), "column labels.l4095: 4097 columns, the limit is 4096");
}

#[test]
fn damage_anywhere_is_survived() {
    for compression in [None, Some(CompressionType::LZ4_FRAME)] {
        let sound = encoded(SECOND, second_columns(), compression);
        // Every place takes a minute; the fuzzer does not stop at every seventh.
        for at in (0..sound.len()).step_by(7) {
            let _ = batch_of(&sound[..at], &limits());
            let mut damaged = sound.clone();
            damaged[at] ^= if at % 2 == 0 { 0x81 } else { 0xff };
            let _ = batch_of(&damaged, &limits());
        }
    }
}

#[test]
fn a_sound_exchange_is_read() {
    let batch = batch_of_exchange(&first(first_samples()), &first(first_locations()), &limits()).unwrap();
    let [series] = batch.series.as_slice() else { panic!() };
    assert_eq!((&*series.values, &*series.times_ns), (&[1, 2, 3][..], &[TIME, TIME + 1, TIME + 1][..]));
    assert_eq!(series.stacktraces, [1, 1, 0]);
    assert_eq!((batch.stacktrace(0), batch.stacktrace(1)), (&[0][..], &[1, 2][..]));
    assert_eq!(series.labels, [("comm".to_owned(), "app".to_owned())]);
    assert_eq!((batch.strings.get(batch.functions[0].name), batch.locations[2].line_count), ("main", 1));
}

#[test]
fn wrong_messages_of_the_first_schema() {
    for wrong in first_cases() {
        let [samples, locations] = &wrong.messages[..] else { panic!("{}", wrong.name) };
        let refusal = batch_of_exchange(samples, locations, &limits()).unwrap_err().to_string();
        assert!(refusal.contains(wrong.refusal), "{}: {refusal}", wrong.name);
    }
}

/// Lines that are all there are taken as they stand, shared ones too; else they are looked at one by one.
#[test]
fn lines_are_the_same_either_way() {
    let functions = structs(vec![("system_name", array(StringArray::from(vec!["f", "g"])))]);
    let lines = |functions_of_lines: Vec<Option<u32>>| {
        let codes = UInt32Array::from(functions_of_lines);
        structs(vec![
            ("line", array(UInt64Array::from(vec![7, 8, 9]))),
            ("column", array(UInt64Array::from(vec![0, 0, 1]))),
            ("function", array(DictionaryArray::<UInt32Type>::try_new(codes, functions.clone()).unwrap())),
        ])
    };
    let read = |lines: ArrayRef| {
        let locations = structs(vec![
            ("address", array(UInt64Array::from(vec![1, 2, 3, 4]))),
            ("lines", views(&[(0, 2), (1, 2), (0, 0), (2, 1)], lines)),
        ]);
        let stacktraces = views(&[(0, 4), (2, 2), (0, 4)], dictionary(&[3, 2, 1, 0], locations));
        let batch = batch_of(&second(with(second_columns(), "stacktrace", stacktraces)), &limits()).unwrap();
        let line = |line: &decima_profile::batch::Line| {
            let name = batch.functions[line.function as usize].name;
            (batch.strings.get(name).to_owned(), line.line, line.column)
        };
        let of_location = |location: &decima_profile::batch::Location| {
            let lines = &batch.lines[location.first_line as usize..][..location.line_count as usize];
            lines.iter().map(line).collect::<Vec<_>>()
        };
        batch.locations.iter().map(of_location).collect::<Vec<_>>()
    };
    let (first, middle, last) = (("g".to_owned(), 7, 0), ("f".to_owned(), 8, 0), ("g".to_owned(), 9, 1));
    let all = lines(vec![Some(1), Some(0), Some(1)]);
    let expected =
        [vec![first.clone(), middle.clone()], vec![middle, last.clone()], vec![], vec![last.clone()]];
    assert_eq!(read(all.clone()), expected);
    assert_eq!(read(dictionary(&[0, 1, 2], all)), expected);
    let expected = [vec![first], vec![last.clone()], vec![], vec![last]];
    assert_eq!(read(lines(vec![Some(1), None, Some(1)])), expected);
}

/// Sound streams and wrong ones, cut anywhere and damaged anywhere, after the schema that they had was kept.
#[test]
fn a_schema_that_is_known_changes_nothing() {
    let (limits, known) = (limits(), super::sample_labels());
    let read = |stream: &[u8], schemas: Option<&Schemas>| {
        let context = Context { limits: &limits, sample_labels: &known, schemas };
        let decoded = super::second::decode(stream, context);
        decoded.map(|decoded| format!("{decoded:?}")).map_err(|error| error.to_string())
    };
    let schemas = Schemas::default();
    let file = &crate::recorded::expected("agent-v2")["messages"][0]["file"];
    let sound = [
        second(second_columns()),
        encoded(SECOND, second_columns(), Some(CompressionType::LZ4_FRAME)),
        crate::recorded::stream(&format!("agent-v2/{}", file.as_str().unwrap())).to_vec(),
    ];
    let wrong = second_cases().into_iter().map(|wrong| wrong.messages[0].clone());
    for stream in sound.into_iter().chain(wrong.filter(|stream| stream.len() < 16 << 10)) {
        let fresh = read(&stream, None);
        for _ in 0..2 {
            assert_eq!(read(&stream, Some(&schemas)), fresh);
        }
        let step = stream.len() / 50 + 1;
        for at in (0..stream.len()).step_by(step) {
            assert_eq!(read(&stream[..at], Some(&schemas)), read(&stream[..at], None), "cut at {at}");
            let mut damaged = stream.clone();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(read(&damaged, Some(&schemas)), read(&damaged, None), "damaged at {at}");
        }
    }
    // Whoever has the columns of the first two has their schema; it was kept once.
    let streams = [second(second_columns()), second(without(second_columns(), "labels"))];
    let schemas = Schemas::default();
    for (stream, kept) in [(&streams[0], 1), (&streams[0], 1), (&streams[1], 2), (&streams[0], 2)] {
        read(stream, Some(&schemas)).unwrap();
        assert_eq!(schemas.len(), kept);
    }
    let columns = with(second_columns(), "x".repeat(40_000).leak(), words(&[None, None, None]));
    read(&second(columns), Some(&schemas)).unwrap();
    assert_eq!(schemas.len(), 2, "one that is too large is not kept");
}

/// The generated messages are what fuzzing starts from.
#[test]
fn corpora() {
    let exchange =
        |samples: &[u8], locations: &[u8]| [&le(&[samples.len() as u32])[..], samples, locations].concat();
    let mut files = vec![
        ("agent_second", "sound".to_owned(), second(second_columns())),
        (
            "agent_second",
            "sound-lz4".to_owned(),
            encoded(SECOND, second_columns(), Some(CompressionType::LZ4_FRAME)),
        ),
        ("agent_first", "sound".to_owned(), exchange(&first(first_samples()), &first(first_locations()))),
    ];
    files.extend(
        second_cases()
            .into_iter()
            .map(|wrong| ("agent_second", wrong.name.to_owned(), wrong.messages[0].clone())),
    );
    files.extend(first_cases().into_iter().map(|wrong| {
        ("agent_first", wrong.name.to_owned(), exchange(&wrong.messages[0], &wrong.messages[1]))
    }));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus");
    for (folder, name, bytes) in files {
        // Large ones say nothing more to a fuzzer.
        if bytes.len() > 16 << 10 {
            continue;
        }
        let path = root.join(folder).join(name);
        if std::env::var_os("DECIMA_BLESS").is_some() {
            std::fs::create_dir_all(root.join(folder)).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        // A map in the schema's metadata has one entry, so that the bytes are always the same.
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{} is not what the test makes: cargo xtask bless", path.display());
    }
}
