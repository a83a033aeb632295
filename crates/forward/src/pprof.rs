//! Profiles on their way: what the remote store could not know later is put in here.
//!
//! A profile without a time gets that of its receipt, since the store would take the time at which it arrives, and sample
//! types that a scrape is not to keep are left out, since only this process knows of them. Everything else passes as it came,
//! wrong profiles included: the remote store says what is wrong with them. No I/O, no clock.

use std::io::Write as _;

use bytes::{Buf as _, Bytes};
use decima_config::SampleType;
use decima_profile::compression::decompress;
use flate2::{Compression, write::GzEncoder};
use prost::{
    Message as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// `time_nanos` of a profile.
const TIME_TAG: u32 = 9;

/// A profile, as far as it is read here.
#[derive(Clone, PartialEq, prost::Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_types: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    mappings: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    locations: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    functions: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    strings: Vec<Bytes>,
    #[prost(int64, tag = "7")]
    drop_frames: i64,
    #[prost(int64, tag = "8")]
    keep_frames: i64,
    #[prost(int64, tag = "9")]
    time_ns: i64,
    #[prost(int64, tag = "10")]
    duration_ns: i64,
    #[prost(bytes = "bytes", optional, tag = "11")]
    period_type: Option<Bytes>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comments: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
    #[prost(int64, tag = "15")]
    doc_url: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_ids: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    labels: Vec<Bytes>,
}

/// The profile as it goes on. `keep` is empty if all sample types are to be kept.
pub(crate) fn ready(profile: &Bytes, keep: &[SampleType], received_ns: i64, limit_bytes: usize) -> Bytes {
    let Ok(plain) = decompress(profile, limit_bytes) else { return profile.clone() };
    if keep.is_empty() {
        return match has_time(&plain) {
            Some(false) => gzip(&[&plain, &with_time_only(received_ns)]),
            Some(true) | None => profile.clone(),
        };
    }
    let Ok(mut decoded) = Profile::decode(&*plain) else { return profile.clone() };
    decoded.keep(keep);
    if decoded.time_ns == 0 {
        decoded.time_ns = received_ns;
    }
    gzip(&[&decoded.encode_to_vec()])
}

impl Profile {
    fn keep(&mut self, keep: &[SampleType]) {
        let text = |index: i64| usize::try_from(index).ok().and_then(|index| self.strings.get(index));
        let is_text =
            |index: i64, expected: &str| text(index).is_some_and(|text| text == expected.as_bytes());
        let kept: Vec<bool> = self
            .sample_types
            .iter()
            .map(|found| keep.iter().any(|k| is_text(found.kind, &k.kind) && is_text(found.unit, &k.unit)))
            .collect();
        let is_kept = |index: usize| kept.get(index).copied().unwrap_or(true);
        retain_by_index(&mut self.sample_types, is_kept);
        for sample in &mut self.samples {
            retain_by_index(&mut sample.values, is_kept);
        }
        if self.sample_types.is_empty() {
            self.samples.clear();
        }
    }
}

fn retain_by_index<T>(items: &mut Vec<T>, is_kept: impl Fn(usize) -> bool) {
    let mut index = 0;
    items.retain(|_| {
        index += 1;
        is_kept(index - 1)
    });
}

/// Whether a message has a time other than 0; `None` if it is no message.
fn has_time(mut message: &[u8]) -> Option<bool> {
    let mut time = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message).ok()?;
        if tag == TIME_TAG && wire_type == WireType::Varint {
            time = decode_varint(&mut message).ok()?;
        } else {
            skip_field(wire_type, tag, &mut message, DecodeContext::default()).ok()?;
        }
    }
    Some(time != 0)
}

/// Bytes that set the time of a message that precedes them: of a field that comes twice, the last counts.
fn with_time_only(time_ns: i64) -> Vec<u8> {
    Profile { time_ns, ..Profile::default() }.encode_to_vec()
}

fn gzip(parts: &[&[u8]]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a vector does not fail.
    for part in parts {
        let _ = encoder.write_all(part);
    }
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn profile(time_ns: i64) -> Profile {
        let value_type = |kind, unit| ValueType { kind, unit };
        let sample =
            |values: [i64; 2]| Sample { location_ids: vec![1], values: values.into(), labels: vec![] };
        Profile {
            sample_types: vec![value_type(1, 2), value_type(3, 4)],
            samples: vec![sample([1, 10]), sample([2, 20])],
            strings: ["", "objects", "count", "space", "bytes"]
                .map(|s| Bytes::from_static(s.as_bytes()))
                .into(),
            time_ns,
            ..Profile::default()
        }
    }

    fn read(bytes: &Bytes) -> Profile {
        Profile::decode(&*decompress(bytes, LIMIT).unwrap()).unwrap()
    }

    #[test]
    fn what_has_a_time_passes_as_it_came() {
        let plain = Bytes::from(profile(5).encode_to_vec());
        let compressed = gzip(&[&plain]);
        for given in
            [&plain, &compressed, &Bytes::from_static(b"no profile"), &Bytes::from_static(&[0x1f, 0x8b, 0])]
        {
            assert_eq!(&ready(given, &[], 7, LIMIT), given);
        }
    }

    #[test]
    fn what_has_none_gets_that_of_its_receipt() {
        let given = gzip(&[&profile(0).encode_to_vec()]);
        assert_eq!(read(&ready(&given, &[], 7, LIMIT)), profile(7));
    }

    #[test]
    fn sample_types_are_left_out() {
        let space = [SampleType { kind: "space".into(), unit: "bytes".into() }];
        let given = gzip(&[&profile(5).encode_to_vec()]);
        let kept = read(&ready(&given, &space, 7, LIMIT));
        let values: Vec<_> = kept.samples.iter().map(|sample| sample.values.clone()).collect();
        assert_eq!(values, [[10], [20]]);
        assert_eq!((kept.sample_types, kept.time_ns), (vec![ValueType { kind: 3, unit: 4 }], 5));
        let none = [SampleType { kind: "space".into(), unit: "count".into() }];
        let kept = read(&ready(&given, &none, 7, LIMIT));
        assert!(kept.sample_types.is_empty() && kept.samples.is_empty());
    }
}
