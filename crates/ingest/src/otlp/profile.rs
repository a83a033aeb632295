//! Profiles and their samples: fields as they came first, series once the layout is known.

use std::{borrow::Cow, fmt::Write as _};

use decima_profile::{ProfileType, attribute_name, batch::SeriesSamples, wire::Reader};

use super::{
    ATTRIBUTES_MAX,
    attribute::Labels,
    dictionary::Dictionary,
    error::{OtlpError, Value, each_field},
    layout::Layout,
    rows::Rows,
};
use crate::push::{Limits, Refusal};

/// The eBPF profiler names its scope after itself: by its module in a collector, by the way it was started as a program.
/// All of these are one profile, under the name that Parca gives the first.
const EBPF_PROFILER: &str = "go_opentelemetry_io_ebpf_profiler";
/// Name of a profile whose scope has none, as in Parca.
const UNKNOWN: &str = "unknown";

/// Names of the fields of a profile.
const PROFILE: [&str; 11] = [
    "sample_type",
    "samples",
    "time_unix_nano",
    "duration_nano",
    "period_type",
    "period",
    "profile_id",
    "dropped_attributes_count",
    "original_payload_format",
    "original_payload",
    "attribute_indices",
];
/// Names of the fields of a sample in both layouts.
const SAMPLE: [&str; 5] = [
    "stack_index",
    "attribute_indices (up to 1.9: values)",
    "link_index (up to 1.9: attribute_indices)",
    "values (up to 1.9: link_index)",
    "timestamps_unix_nano",
];

/// A profile as it came.
pub(super) struct RawProfile<'a> {
    pub(super) place: String,
    sample_type: (u64, u64),
    period_type: (u64, u64),
    period: i64,
    time_ns: i64,
    duration_ns: i64,
    pub(super) attributes: Vec<u64>,
    pub(super) samples: Vec<RawSample<'a>>,
}

/// A sample as it came: what fields 2 to 4 mean depends on the layout.
#[derive(Default)]
pub(super) struct RawSample<'a> {
    stack: u64,
    pub(super) fields: [Option<Value<'a>>; 3],
    /// Repeated numbers that were not packed, with the place of their field in `fields`.
    more: Vec<(usize, Value<'a>)>,
    times: Vec<Value<'a>>,
    pub(super) time_count: usize,
}

impl<'a> RawProfile<'a> {
    pub(super) fn read(
        message: Reader<'a>,
        place: String,
        samples_left: &mut usize,
    ) -> Result<Self, OtlpError> {
        let mut profile = Self {
            place: String::new(),
            sample_type: (0, 0),
            period_type: (0, 0),
            period: 0,
            time_ns: 0,
            duration_ns: 0,
            attributes: Vec::new(),
            samples: Vec::new(),
        };
        each_field(message, &place, &PROFILE, |number, field| {
            match number {
                1 => profile.sample_type = value_type(field.message()?, &place)?,
                2 => {
                    let Some(left) = samples_left.checked_sub(1) else {
                        let (found, limit) = (super::SAMPLES_MAX + 1, super::SAMPLES_MAX);
                        return Err(OtlpError::limit(&place, "samples", found, limit).into());
                    };
                    *samples_left = left;
                    let index = profile.samples.len();
                    profile.samples.push(RawSample::read(field.message()?, &place, index)?);
                }
                3 => profile.time_ns = field.fixed64()? as i64,
                4 => profile.duration_ns = field.varint()? as i64,
                5 => profile.period_type = value_type(field.message()?, &place)?,
                6 => profile.period = field.varint()? as i64,
                11 => {
                    let attributes = &mut profile.attributes;
                    // One more than is allowed is enough to refuse it.
                    field.varints(|index| {
                        if attributes.len() <= ATTRIBUTES_MAX {
                            attributes.push(index);
                        }
                    })?;
                }
                _ => {}
            }
            Ok(())
        })?;
        let found = profile.attributes.len();
        if found > ATTRIBUTES_MAX {
            return Err(OtlpError::limit(place, "attributes or more", found, ATTRIBUTES_MAX));
        }
        profile.place = place;
        Ok(profile)
    }

    /// The samples as one series; none if there are none.
    pub(super) fn series(
        &self,
        layout: Layout,
        labels: &Labels,
        dictionary: &mut Dictionary,
        limits: &Limits,
        received_ns: i64,
        rows_left: &mut usize,
    ) -> Result<Option<SeriesSamples>, OtlpError> {
        let profile_type = self.profile_type(labels, dictionary, limits)?;
        let time_ns = if self.time_ns == 0 { received_ns } else { self.time_ns };
        let (labels, constant) = labels.split(dictionary);
        check_labels(&labels, limits, &self.place)?;
        let mut rows = Rows::new(limits, &labels);
        for (index, sample) in self.samples.iter().enumerate() {
            let place = || format!("{}.samples[{index}]", self.place);
            let before = rows.values.len();
            sample.rows(layout, time_ns, dictionary, &mut rows, &place)?;
            let added = rows.values.len() - before;
            *rows_left = rows_left.checked_sub(added).ok_or_else(|| {
                OtlpError::limit(place(), "times of samples", super::ROWS_MAX + 1, super::ROWS_MAX)
            })?;
            for &pair in &constant {
                rows.attribute(pair, before, dictionary, &place)?;
            }
        }
        if rows.values.is_empty() {
            return Ok(None);
        }
        Ok(Some(SeriesSamples {
            profile_type,
            labels,
            period: self.period,
            duration_ns: self.duration_ns,
            attributes: rows.attributes(dictionary),
            times_ns: rows.times_ns,
            stacktraces: rows.stacktraces,
            values: rows.values,
        }))
    }

    fn profile_type(
        &self,
        labels: &Labels,
        dictionary: &Dictionary,
        limits: &Limits,
    ) -> Result<ProfileType, OtlpError> {
        let part = |index: u64, field: &str| -> Result<String, OtlpError> {
            let place = format!("{}.{field}", self.place);
            let text = dictionary.strings.get(dictionary.string(index, &place)?);
            let limit = limits.label_value_bytes_max;
            if text.len() > limit {
                return Err(OtlpError::limit(place, "bytes of text", text.len(), limit));
            }
            if text.contains(':') {
                let message = "contains ':', which separates the parts of a profile type";
                return Err(OtlpError::new(place, Refusal::Value, message));
            }
            Ok(text.to_owned())
        };
        // A dictionary without strings is that of a request without text.
        let optional =
            |index: u64, field: &str| if index == 0 { Ok(String::new()) } else { part(index, field) };
        Ok(ProfileType {
            name: profile_name(dictionary.strings.get(labels.scope)),
            sample_type: optional(self.sample_type.0, "sample_type.type")?,
            sample_unit: optional(self.sample_type.1, "sample_type.unit")?,
            period_type: optional(self.period_type.0, "period_type.type")?,
            period_unit: optional(self.period_type.1, "period_type.unit")?,
            delta: self.duration_ns != 0,
        })
    }
}

/// A profile's name out of its scope's.
pub(super) fn profile_name(scope: &str) -> String {
    let program = scope.rsplit('/').next().unwrap_or_default();
    match scope {
        "" => UNKNOWN.to_owned(),
        _ if program.starts_with("ebpf-profiler") => EBPF_PROFILER.to_owned(),
        _ => attribute_name::sanitized(&in_ascii(scope)).into_owned(),
    }
}

/// A name with what is not ASCII as `_` and the hexadecimal number of each character and `_`, as Prometheus escapes names:
/// otherwise all names of one length in one script would be one.
fn in_ascii(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() * 4);
    for character in name.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            let _ = write!(escaped, "_{:x}_", u32::from(character));
        }
    }
    Cow::Owned(escaped)
}

fn value_type(message: Reader<'_>, place: &str) -> Result<(u64, u64), OtlpError> {
    let mut found = (0, 0);
    each_field(message, place, &["type_strindex", "unit_strindex"], |number, field| {
        match number {
            1 => found.0 = field.varint()?,
            2 => found.1 = field.varint()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

fn check_labels(labels: &[(String, String)], limits: &Limits, place: &str) -> Result<(), OtlpError> {
    if labels.len() > limits.label_count_max {
        return Err(OtlpError::limit(place, "labels", labels.len(), limits.label_count_max));
    }
    for (name, value) in labels {
        check_label(name, value, limits, place)?;
    }
    Ok(())
}

fn check_label(name: &str, value: &str, limits: &Limits, place: &str) -> Result<(), OtlpError> {
    let (name_max, value_max) = (limits.label_name_bytes_max, limits.label_value_bytes_max);
    if name.len() > name_max {
        return Err(OtlpError::limit(place, "bytes of the name of an attribute", name.len(), name_max));
    }
    if value.len() > value_max {
        return Err(OtlpError::limit(place, "bytes of the value of an attribute", value.len(), value_max));
    }
    Ok(())
}

impl<'a> RawSample<'a> {
    fn read(message: Reader<'a>, place: &str, index: usize) -> Result<Self, OtlpError> {
        let mut sample = Self::default();
        let result = each_field(message, place, &SAMPLE, |number, field| {
            match number {
                1 => sample.stack = field.varint()?,
                2..=4 => {
                    let at = number as usize - 2;
                    if field.is_varint().is_none() {
                        field.message()?;
                    }
                    match sample.fields.get_mut(at) {
                        Some(slot @ None) => *slot = Some(field),
                        _ => sample.more.push((at, field)),
                    }
                }
                5 => {
                    field.fixed64s(|_| sample.time_count += 1)?;
                    sample.times.push(field);
                }
                _ => {}
            }
            Ok(())
        });
        // The place is made only when it is needed.
        result.map_err(|error| OtlpError { place: format!("{place}.samples[{index}]"), ..error })?;
        Ok(sample)
    }

    fn numbers(&self, at: usize, place: &impl Fn() -> String) -> Result<Vec<u64>, OtlpError> {
        let mut numbers = Vec::new();
        let first = self.fields.get(at).copied().flatten();
        let more = self.more.iter().filter(|(of, _)| *of == at).map(|(_, field)| *field);
        for field in first.into_iter().chain(more) {
            field.varints(|number| numbers.push(number)).map_err(|_| {
                let message = format!("{} is neither a number nor a list of numbers", SAMPLE[at + 1]);
                OtlpError::new(place(), Refusal::WrongType, message)
            })?;
        }
        Ok(numbers)
    }

    /// Adds a row for each time, or for each value if there are no times; none for values of 0.
    fn rows(
        &self,
        layout: Layout,
        time_ns: i64,
        dictionary: &Dictionary,
        rows: &mut Rows<'_>,
        place: &impl Fn() -> String,
    ) -> Result<(), OtlpError> {
        let [values, attributes, link] = match layout {
            Layout::UpTo1_9 => [0, 1, 2],
            Layout::From1_10 => [2, 0, 1],
        };
        let stack = match self.stack {
            0 => 0,
            index => dictionary.stack(index, &place())?,
        };
        let values = self.numbers(values, place)?;
        let mut times = Vec::with_capacity(self.time_count);
        for field in &self.times {
            // Read once already.
            let _ = field.fixed64s(|time| times.push(time as i64));
        }
        if !values.is_empty() && !times.is_empty() && values.len() != times.len() {
            let message = format!("{} values for {} times", values.len(), times.len());
            return Err(OtlpError::new(place(), Refusal::Value, message));
        }
        let before = rows.values.len();
        let count = values.len().max(times.len());
        for row in 0..count {
            let value = if values.is_empty() { 1 } else { values.get(row).copied().unwrap_or(0) as i64 };
            if value != 0 {
                rows.values.push(value);
                rows.times_ns.push(times.get(row).copied().unwrap_or(time_ns));
                rows.stacktraces.push(stack);
            }
        }
        if rows.values.len() == before {
            return Ok(());
        }
        for index in self.numbers(attributes, place)? {
            if let Some(pair) = dictionary.attribute(index, &place())? {
                rows.attribute(pair, before, dictionary, place)?;
            }
        }
        let link = self.numbers(link, place)?.first().copied().unwrap_or(0);
        let (trace, span) = dictionary.link(link, &place())?;
        for (key, id) in [("trace_id", trace), ("span_id", span)] {
            if id != 0 {
                rows.text(key, id, before, place)?;
            }
        }
        Ok(())
    }
}
