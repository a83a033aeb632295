//! A request of `WriteRaw` as it came, taken apart: counted before there is memory for what it lists.
//!
//! ```text
//! request = 1 tenant, 2 series*, 3 normalized      series = 1 labels { 1 label { 1 name, 2 value }* }, 2 samples { 1 raw_profile }*
//! ```
//! Of lists of empty messages, two bytes on the wire become a hundred in memory, and compression makes a thousand times as
//! many of them. Text that is not UTF-8 is repaired and counted. Profiles stay slices of the message. No I/O, no clock.

use bytes::Bytes;
use decima_profile::wire::Reader;
use xxhash_rust::xxh3::Xxh3;

use super::{Limits, PushError, RawSeries, Refusal};
use crate::otlp::error::{FieldError, OtlpError, each_field};

/// Series of a request. A scraper sends one, an agent one for each process.
const SERIES_MAX: usize = 1 << 16;
/// Profiles of all series of a request.
const PROFILES_MAX: usize = 1 << 16;
/// Labels of all series of a request.
const LABELS_MAX: usize = 1 << 20;

/// What a request holds.
#[derive(Debug, Clone, Default)]
pub struct RawRequest {
    /// Series, in order.
    pub series: Vec<RawSeries>,
    /// Names and values of labels that were not UTF-8 and were repaired.
    pub repaired_strings: u64,
}

impl RawRequest {
    /// Takes a message apart, or names the series that is wrong.
    pub fn read(message: &Bytes, limits: &Limits) -> Result<Self, PushError> {
        let mut request = Self::default();
        let mut left = Left { profiles: PROFILES_MAX, labels: LABELS_MAX };
        each_field(Reader::new(message), "request", &["tenant", "series", "normalized"], |number, field| {
            match number {
                2 => {
                    let index = request.series.len();
                    if index == SERIES_MAX {
                        return Err(OtlpError::limit("request", "series", index + 1, SERIES_MAX).into());
                    }
                    let series = request.one(message, field.message()?, index, limits, &mut left)?;
                    request.series.push(series);
                }
                // Not used, but right: the tenant, and whether addresses are normalized.
                1 => _ = field.message()?,
                3 => _ = field.varint()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(request)
    }

    fn one(
        &mut self,
        message: &Bytes,
        series: Reader<'_>,
        index: usize,
        limits: &Limits,
        left: &mut Left,
    ) -> Result<RawSeries, FieldError> {
        let place = format!("series[{index}]");
        let (mut found, mut has_labels, mut label_count) = (RawSeries::default(), false, 0);
        each_field(series, &place, &["labels", "samples"], |number, field| {
            match number {
                1 => {
                    has_labels = true;
                    each_field(field.message()?, &place, &["labels"], |number, field| {
                        if number == 1 {
                            let label = self.label(field.message()?, &place)?;
                            label_count += 1;
                            // One more than is allowed is enough to refuse it.
                            if found.labels.len() <= limits.label_count_max {
                                found.labels.push(label);
                            }
                        }
                        Ok(())
                    })?;
                }
                2 => {
                    left.profiles = left.profiles.checked_sub(1).ok_or_else(|| {
                        OtlpError::limit(&place, "profiles", PROFILES_MAX + 1, PROFILES_MAX)
                    })?;
                    found.profiles.push(raw_profile(message, field.message()?, &place)?);
                }
                _ => {}
            }
            Ok(())
        })?;
        if !has_labels {
            return Err(OtlpError::new(format!("{place}.labels"), Refusal::Missing, "missing").into());
        }
        let limit = limits.label_count_max;
        if label_count > limit {
            let reason = Refusal::Value;
            let message = format!("{label_count} labels, the limit is {limit}");
            return Err(OtlpError::new(format!("series {index}"), reason, message).into());
        }
        left.labels = left
            .labels
            .checked_sub(label_count)
            .ok_or_else(|| OtlpError::limit(&place, "labels", LABELS_MAX + 1, LABELS_MAX))?;
        Ok(found)
    }

    fn label(&mut self, label: Reader<'_>, place: &str) -> Result<(String, String), OtlpError> {
        let (mut name, mut value) = (&[][..], &[][..]);
        each_field(label, place, &["name", "value"], |number, field| {
            match number {
                1 => name = field.message()?.rest(),
                2 => value = field.message()?.rest(),
                _ => {}
            }
            Ok(())
        })?;
        Ok((self.text(name), self.text(value)))
    }

    fn text(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        self.repaired_strings += u64::from(matches!(text, std::borrow::Cow::Owned(_)));
        text.into_owned()
    }

    /// The first `node` label; empty if there is none.
    pub fn node(&self) -> &str {
        let mut labels = self.series.iter().flat_map(|series| &series.labels);
        labels.find(|(name, _)| name == "node").map_or("", |(_, value)| value)
    }

    /// Identifies what a request stores, whoever encoded it: each part with its length, so that no two requests give the
    /// same bytes.
    pub fn hash(&self) -> u128 {
        let mut hash = Xxh3::new();
        hash.update(b"parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw");
        for series in &self.series {
            hash_count(&mut hash, series.labels.len());
            for (name, value) in &series.labels {
                hash_bytes(&mut hash, name.as_bytes());
                hash_bytes(&mut hash, value.as_bytes());
            }
            hash_count(&mut hash, series.profiles.len());
            series.profiles.iter().for_each(|profile| hash_bytes(&mut hash, profile));
        }
        hash.digest128()
    }
}

/// What a request may still have.
struct Left {
    profiles: usize,
    labels: usize,
}

fn raw_profile(message: &Bytes, sample: Reader<'_>, place: &str) -> Result<Bytes, OtlpError> {
    let mut profile = Bytes::new();
    each_field(sample, place, &["raw_profile"], |number, field| {
        if number == 1 {
            let body = field.message()?;
            profile = message.slice(body.offset()..body.offset() + body.remaining());
        }
        Ok(())
    })?;
    Ok(profile)
}

fn hash_count(hash: &mut Xxh3, count: usize) {
    hash.update(&(count as u64).to_le_bytes());
}

fn hash_bytes(hash: &mut Xxh3, bytes: &[u8]) {
    hash_count(hash, bytes.len());
    hash.update(bytes);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A field with a length.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut len = content.len();
        while len > 0x7f {
            bytes.push(len as u8 | 0x80);
            len >>= 7;
        }
        bytes.push(len as u8);
        bytes.extend_from_slice(content);
        bytes
    }

    /// A series as it is encoded.
    pub(in crate::push) fn series(labels: &[(&[u8], &[u8])], profiles: &[&[u8]]) -> Vec<u8> {
        let labels = labels.iter().map(|(name, value)| field(1, &[field(1, name), field(2, value)].concat()));
        let mut series = field(1, &labels.collect::<Vec<_>>().concat());
        profiles.iter().for_each(|profile| series.extend(field(2, &field(1, profile))));
        field(2, &series)
    }

    fn read(message: impl Into<Bytes>) -> Result<RawRequest, PushError> {
        RawRequest::read(&message.into(), &Limits::default())
    }

    #[test]
    fn parts() {
        // Fields of one message that come twice, unknown ones, and others that are merged.
        let message = [
            field(1, b"tenant"),
            series(&[(b"__name__", b"cpu"), (b"node", b"n1")], &[b"one", b""]),
            series(&[], &[]),
            field(9, b"?"),
        ];
        let request = read(message.concat()).unwrap();
        assert_eq!(request.node(), "n1");
        let [first, second] = &request.series[..] else { panic!("{request:?}") };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(first.labels, [pair("__name__", "cpu"), pair("node", "n1")]);
        assert_eq!(first.profiles, [&b"one"[..], b""]);
        assert!(second.labels.is_empty() && second.profiles.is_empty());
    }

    #[test]
    fn text_is_repaired() {
        let request = read(series(&[(b"na\xffme", b"\xfe"), (b"fine", b"")], &[])).unwrap();
        assert_eq!(request.series[0].labels[0], ("na\u{fffd}me".to_owned(), "\u{fffd}".to_owned()));
        assert_eq!(request.repaired_strings, 2);
    }

    #[test]
    fn wrong_requests() {
        let check = |message: Vec<u8>, reason: Refusal, expected: &str| {
            let error = read(message).unwrap_err();
            assert_eq!((error.refusal(), error.to_string().as_str()), (reason, expected));
        };
        check(field(2, b""), Refusal::Missing, "series[0].labels: missing");
        check(vec![0x12, 5, 1], Refusal::Malformed, "request: cut short at byte 2");
        check(
            vec![0x09, 1, 2, 3, 4, 5, 6, 7, 8],
            Refusal::WrongType,
            "request: tenant has the wrong wire type or is cut short at byte 1",
        );
        check(
            vec![0x10, 5],
            Refusal::WrongType,
            "request: series has the wrong wire type or is cut short at byte 2",
        );
        check(
            [series(&[], &[]), series(&vec![(&b""[..], &b""[..]); 70], &[])].concat(),
            Refusal::Value,
            "series 1: 70 labels, the limit is 64",
        );
        let many = series(&[], &[]).repeat(SERIES_MAX + 1);
        check(many, Refusal::TooLarge, "request: 65537 series, the limit is 65536");
        let many = series(&[], &vec![&b""[..]; PROFILES_MAX + 1]);
        check(many, Refusal::TooLarge, "series[0]: 65537 profiles, the limit is 65536");
        let many = series(&[(&b""[..], &b""[..]); 64], &[]).repeat(LABELS_MAX / 64 + 1);
        check(many, Refusal::TooLarge, "series[16384]: 1048577 labels, the limit is 1048576");
    }

    #[test]
    fn hashes_tell_requests_apart() {
        let hash =
            |labels: &[(&[u8], &[u8])], profiles: &[&[u8]]| read(series(labels, profiles)).unwrap().hash();
        let first = hash(&[(b"a", b"bc")], &[b"x", b"y"]);
        assert_eq!(first, hash(&[(b"a", b"bc")], &[b"x", b"y"]));
        for other in [
            hash(&[(b"ab", b"c")], &[b"x", b"y"]),
            hash(&[(b"a", b"bc")], &[b"xy"]),
            hash(&[(b"a", b"bc")], &[b"y", b"x"]),
            hash(&[], &[b"x", b"y"]),
        ] {
            assert_ne!(first, other);
        }
    }
}
