//! Requests of `WriteRaw` on their way: external labels are put in, profiles made ready ([`pprof`]), and text of labels that is
//! not UTF-8 is repaired, since a Parca would refuse the message for it. All else stays as it is. No I/O, no clock.

use bytes::{Bytes, BytesMut};
use decima_proto::parca::profilestore::v1alpha1::Label;
use prost::{DecodeError, Message as _};

use crate::{
    fields::{Fields, put},
    labels::External,
    pprof,
};

/// `WriteRawRequest.series`.
const SERIES: u32 = 2;
/// `RawProfileSeries.labels`, `RawProfileSeries.samples`.
const LABELS: u32 = 1;
const SAMPLES: u32 = 2;
/// `LabelSet.labels`, `Label.name`, `Label.value`, `RawSample.raw_profile`.
const LABEL: u32 = 1;
const NAME: u32 = 1;
const VALUE: u32 = 2;
const RAW_PROFILE: u32 = 1;

/// What all series of a request get.
pub(crate) struct Additions<'a> {
    pub(crate) external: &'a External,
    pub(crate) received_ns: i64,
    pub(crate) profile_bytes_max: usize,
}

impl Additions<'_> {
    /// The request as it goes on.
    pub(crate) fn to_request(&self, request: &Bytes) -> Result<Bytes, DecodeError> {
        let mut out = BytesMut::with_capacity(request.len());
        for field in Fields(request.clone()) {
            let field = field?;
            match (field.tag, field.content) {
                (SERIES, Some(series)) => put(SERIES, &self.to_series(series)?, &mut out),
                _ => out.extend_from_slice(&field.whole),
            }
        }
        Ok(out.freeze())
    }

    fn to_series(&self, series: Bytes) -> Result<BytesMut, DecodeError> {
        let (mut labels, mut rest) = (BytesMut::new(), BytesMut::new());
        for field in Fields(series) {
            let field = field?;
            match (field.tag, field.content) {
                // Several of them are one, merged.
                (LABELS, Some(set)) => self.kept(set, &mut labels)?,
                (SAMPLES, Some(sample)) => put(SAMPLES, &self.to_sample(sample)?, &mut rest),
                _ => rest.extend_from_slice(&field.whole),
            }
        }
        for label in self.external.labels() {
            put(LABEL, &label.encode_to_vec(), &mut labels);
        }
        let mut series = BytesMut::with_capacity(labels.len() + rest.len() + 8);
        put(LABELS, &labels, &mut series);
        series.extend_from_slice(&rest);
        Ok(series)
    }

    /// Adds the labels that external ones leave.
    fn kept(&self, set: Bytes, out: &mut BytesMut) -> Result<(), DecodeError> {
        for field in Fields(set) {
            let field = field?;
            let (LABEL, Some(label)) = (field.tag, field.content) else {
                out.extend_from_slice(&field.whole);
                continue;
            };
            let (mut name, mut value) = (Bytes::new(), Bytes::new());
            for part in Fields(label) {
                let part = part?;
                match (part.tag, part.content) {
                    (NAME, Some(text)) => name = text,
                    (VALUE, Some(text)) => value = text,
                    _ => {}
                }
            }
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            if self.external.has(&text(&name)) {
                continue;
            }
            if std::str::from_utf8(&name).is_ok() && std::str::from_utf8(&value).is_ok() {
                out.extend_from_slice(&field.whole);
            } else {
                let label = Label { name: text(&name), value: text(&value) };
                put(LABEL, &label.encode_to_vec(), out);
            }
        }
        Ok(())
    }

    fn to_sample(&self, sample: Bytes) -> Result<BytesMut, DecodeError> {
        let mut out = BytesMut::with_capacity(sample.len());
        for field in Fields(sample) {
            let field = field?;
            match (field.tag, field.content) {
                (RAW_PROFILE, Some(profile)) => {
                    let ready = pprof::ready(&profile, &[], self.received_ns, self.profile_bytes_max);
                    put(RAW_PROFILE, &ready, &mut out);
                }
                _ => out.extend_from_slice(&field.whole),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use decima_proto::parca::profilestore::v1alpha1::{
        ExecutableInfo, LabelSet, RawProfileSeries, RawSample, WriteRawRequest,
    };

    use super::*;

    fn ready(request: impl Into<Bytes>, external: &[(&str, &str)]) -> Bytes {
        let labels = external.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let external = External::new(labels);
        let additions = Additions { external: &external, received_ns: 7, profile_bytes_max: 1 << 20 };
        additions.to_request(&request.into()).unwrap()
    }

    fn label(name: &str, value: &str) -> Label {
        Label { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn what_is_not_changed_stays() {
        let sample = RawSample {
            raw_profile: Bytes::from_static(b"no profile"),
            executable_info: vec![ExecutableInfo { elf_type: 3, load_segment: None }],
        };
        let labels = vec![label("__name__", "cpu"), label("node", "theirs"), label("z", "")];
        let series = RawProfileSeries { labels: Some(LabelSet { labels }), samples: vec![sample] };
        let mut request = WriteRawRequest { tenant: "t".to_owned(), normalized: true, series: vec![series] };
        let mut encoded = request.encode_to_vec();
        encoded.extend_from_slice(&[0x7a, 1, 0xff]);
        assert_eq!(ready(encoded.clone(), &[]), encoded);
        let added = ready(request.encode_to_vec(), &[("node", "ours"), ("a", "b")]);
        let labels = vec![label("__name__", "cpu"), label("z", ""), label("a", "b"), label("node", "ours")];
        request.series[0].labels = Some(LabelSet { labels });
        assert_eq!(WriteRawRequest::decode(added).unwrap(), request);
    }

    #[test]
    fn text_is_repaired() {
        let labels = b"\x0a\x08\x0a\x02a\xff\x12\x02b\xfe";
        let series = [&b"\x0a\x0a"[..], labels].concat();
        let request = [&[0x12, series.len() as u8][..], &series].concat();
        let request = WriteRawRequest::decode(ready(request, &[])).unwrap();
        assert_eq!(request.series[0].labels.as_ref().unwrap().labels, [label("a\u{fffd}", "b\u{fffd}")]);
    }
}
