use decima_profile::{
    ProfileType, SampleBatch,
    batch::{Attribute, AttributeValues, Function, Line, Location, Mapping, SeriesSamples, Strings},
};
use proptest::prelude::*;

use super::*;
use crate::{
    head::{Head, HeadView, ListedTexts},
    log::{columns::Raw, decode, encode::encode_delta},
    source::NO_MAPPING,
};

fn labels() -> Arc<[String]> {
    Arc::new(["job".to_owned()])
}

/// A batch with `paths` as stacktraces over `functions` functions.
fn batch(service: u8, functions: u32, paths: &[Vec<u32>], values: &[i64], times: &[i64]) -> SampleBatch {
    let mut strings = Strings::over(Vec::new());
    let file = strings.push("/bin/ä");
    let mut batch = SampleBatch {
        mappings: vec![Mapping { start: 1, limit: u64::MAX, offset: 3, file, build_id: 0 }],
        stacktrace_offsets: vec![0],
        ..SampleBatch::default()
    };
    for f in 0..functions {
        let name = strings.push(&format!("f{f}"));
        batch.functions.push(Function { name, system_name: name, filename: file, start_line: -1 });
        batch.lines.push(Line { function: f, line: i64::from(f) - 2, column: 1 });
        batch.locations.push(Location {
            mapping: if f % 3 == 0 { NO_MAPPING } else { 0 },
            address: u64::MAX - u64::from(f),
            frame_type: 0,
            first_line: f,
            line_count: f % 2,
        });
    }
    for path in paths {
        batch.stacktrace_locations.extend(path);
        batch.stacktrace_offsets.push(batch.stacktrace_locations.len() as u32);
    }
    let route = strings.push("route");
    let bytes = strings.push("bytes");
    let value = strings.push("v");
    let threads: Vec<u32> = (0..functions * 40).map(|thread| strings.push(&format!("t{thread}"))).collect();
    batch.series.push(SeriesSamples {
        profile_type: ProfileType::parse("a:b:c:d:e:delta").unwrap_or_default(),
        labels: vec![("job".to_owned(), format!("s{service}"))],
        period: -5,
        duration_ns: 7,
        times_ns: times.to_vec(),
        stacktraces: (0..values.len()).map(|i| (i % paths.len()) as u32).collect(),
        values: values.to_vec(),
        attributes: vec![
            Attribute {
                name: route,
                values: AttributeValues::Text(
                    (0..values.len()).map(|i| if i % 2 == 0 { value } else { 0 }).collect(),
                ),
            },
            Attribute {
                name: value,
                values: AttributeValues::Text(
                    (0..values.len()).map(|i| threads[i * i % threads.len()]).collect(),
                ),
            },
            Attribute {
                name: bytes,
                values: AttributeValues::Integer {
                    unit: bytes,
                    values: (0..values.len()).map(|i| (i % 3 == 0).then_some(i as i64 - 1)).collect(),
                },
            },
        ],
    });
    batch.strings = strings;
    batch
}

/// Interns, encodes and applies a batch as the writer does; returns what goes into the log.
fn write(head: &mut Head, batch: &SampleBatch, hash: Option<u128>) -> Raw {
    let mut mark = head.mark();
    let chunks = head.intern(&batch.clone().into(), &mut mark);
    let request = LoggedRequest { received_ns: -3, hash, chunks };
    let raw = encode_delta(&head.view, &mark, std::slice::from_ref(&request));
    head.apply(request.chunks);
    raw
}

fn decode_delta(view: &mut HeadView, raw: &[u8]) -> Result<Vec<LoggedRequest>, DecodeError> {
    decode::apply(view, decode::parse(raw)?)
}

fn read(view: &mut HeadView, raw: &[u8]) -> Result<Vec<LoggedRequest>, DecodeError> {
    let requests = decode_delta(view, raw)?;
    let mut listed = ListedTexts::default();
    for chunk in requests.iter().flat_map(|r| &r.chunks) {
        view.summarize(chunk, &mut listed);
        view.add_chunk(chunk.clone());
    }
    Ok(requests)
}

fn assert_same(a: &HeadView, b: &HeadView) {
    assert_eq!(a.symbols, b.symbols);
    assert_eq!(a.partition_names, b.partition_names);
    assert_eq!(a.attributes, b.attributes);
    assert_eq!(a.sample_count, b.sample_count);
    assert_eq!(format!("{:?}", a.series), format!("{:?}", b.series));
    assert_eq!(a.partitions.len(), b.partitions.len());
    for (a, b) in a.partitions.iter().zip(b.partitions.iter()) {
        assert_eq!(a.tree, b.tree);
        assert_eq!(a.chunks, b.chunks);
        assert_eq!(a.points, b.points);
    }
}

fn value() -> impl Strategy<Value = i64> {
    any::<i64>().prop_filter("values are not zero", |v| *v != 0)
}

fn batches() -> impl Strategy<Value = Vec<SampleBatch>> {
    let one = (0u8..3, 1u32..12).prop_flat_map(|(service, functions)| {
        let path = prop::collection::vec(0..functions, 0..9);
        (
            prop::collection::vec(path, 1..6),
            // Some with more samples than an attribute has texts.
            prop_oneof![prop::collection::vec(value(), 1..9), prop::collection::vec(value(), 300..600)],
            any::<bool>(),
        )
            .prop_map(move |(paths, values, one_time)| {
                let times: Vec<i64> = if one_time {
                    vec![9]
                } else {
                    (0..values.len()).map(|i| i64::MAX - i as i64 * 17).collect()
                };
                batch(service, functions, &paths, &values, &times)
            })
    });
    prop::collection::vec(one, 1..5)
}

proptest! {
    #[test]
    fn replayed_objects_give_the_same_head(batches in batches()) {
        let mut head = Head::new(labels());
        let mut view = HeadView::default();
        for (at, batch) in batches.iter().enumerate() {
            let raw = write(&mut head, batch, Some(u128::MAX - at as u128));
            let position = LogPosition { epoch: 2, seq: at as u64 };
            let object = encode(position, 5, ObjectKind::Delta, &raw).unwrap();
            let (header, opened) = open(&object).unwrap();
            prop_assert_eq!((header.position, header.nonce, header.kind), (position, 5, ObjectKind::Delta));
            let requests = read(&mut view, &opened).unwrap();
            prop_assert_eq!(requests[0].hash, Some(u128::MAX - at as u128));
            assert_same(&view, &head.view);
        }
        // A head that goes on after a replay gives the same ids as one that never stopped.
        let mut replayed = Head::replayed(view, labels());
        for batch in &batches {
            prop_assert_eq!(write(&mut replayed, batch, None), write(&mut head, batch, None));
        }
        assert_same(&replayed.view, &head.view);
    }

    #[test]
    fn damaged_bodies_are_refused_or_read_but_never_panic(
        batches in batches(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut head = Head::new(labels());
        for batch in &batches {
            let mut raw = write(&mut head, batch, Some(1)).bytes;
            let _ = decode_delta(&mut HeadView::default(), &raw[..cut.index(raw.len())]);
            for (at, byte) in &flips {
                let at = at.index(raw.len());
                raw[at] ^= byte;
            }
            let mut view = HeadView::default();
            if let Ok(requests) = decode_delta(&mut view, &raw) {
                for chunk in requests.into_iter().flat_map(|r| r.chunks) {
                    view.add_chunk(chunk);
                }
            }
        }
    }
}

#[test]
fn every_bit_of_an_object_counts() {
    let mut head = Head::new(labels());
    let raw = write(&mut head, &batch(1, 5, &[vec![1, 2], vec![]], &[1, 2, -3], &[4]), None);
    let object = encode(LogPosition { epoch: 1, seq: 0 }, 9, ObjectKind::Delta, &raw).unwrap();
    assert!(open(&object).is_ok());
    for bit in 0..object.len() * 8 {
        let mut damaged = object.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = open(&damaged).unwrap_err();
        assert!(
            !matches!(error, ObjectError::Torn { .. }),
            "bit {bit}: {error}, as if it had never been whole"
        );
    }
    for len in 0..object.len() {
        assert!(matches!(open(&object[..len]), Err(ObjectError::Torn { .. })), "{len} bytes");
    }
}

#[test]
fn the_newer_version_is_named() {
    let mut object = encode(LogPosition::default(), 0, ObjectKind::Seal, &Raw::default()).unwrap();
    object[4] = 9;
    assert_eq!(open(&object), Err(ObjectError::Version { found: 9 }));
}
