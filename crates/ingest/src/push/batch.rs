//! A request as received in, one batch out. No I/O, no clock.

use std::fmt::Display;

use bytes::Bytes;
use decima_config::SampleType;
use decima_profile::{
    ProfileType, SampleBatch, attribute_name,
    batch::{SeriesSamples, Strings},
    compression::decompress,
    pprof,
};

use super::{
    Limits, PushError, RawSeries, Refusal,
    labels::{self, SeriesLabels},
};

/// Decompressed bytes of all profiles of a request. A message of 64 MiB (the most that the server takes) may hold a
/// thousand times as much; real requests hold three to ten times.
const REQUEST_PLAIN_BYTES_MAX: usize = 512 << 20;

/// A decoded request.
#[derive(Debug, Clone, Default)]
pub struct Decoded {
    /// All samples; no series if there are none.
    pub batch: SampleBatch,
    /// Profiles, those without samples included.
    pub profiles: u64,
    /// Bytes of these profiles as received.
    pub received_bytes: u64,
    /// Strings that were not UTF-8 and were repaired.
    pub repaired_strings: u64,
    /// The first `node` label; empty if there is none.
    pub node: String,
}

/// Decodes all profiles of a request into one batch, or names the first series, sample and field that is wrong.
///
/// `received_ns` is the time of profiles that have none.
pub fn batch_of(series: &[RawSeries], limits: &Limits, received_ns: i64) -> Result<Decoded, PushError> {
    let mut request = Request {
        limits,
        pprof_limits: pprof_limits(limits),
        received_ns,
        plain_bytes_left: REQUEST_PLAIN_BYTES_MAX,
        decoded: Decoded::default(),
    };
    for (index, raw) in series.iter().enumerate() {
        let labels = labels::check(&raw.labels, limits)
            .map_err(|e| invalid(Refusal::Value, &format!("series {index}"), e))?;
        for (sample, profile) in raw.profiles.iter().enumerate() {
            request.profile(profile, &labels, &raw.keep).map_err(|message| {
                invalid(Refusal::Malformed, &format!("series {index}, sample {sample}"), message)
            })?;
        }
    }
    request.decoded.node = node(series);
    Ok(request.decoded)
}

/// The first `node` label of a request.
pub(super) fn node(series: &[RawSeries]) -> String {
    let mut labels = series.iter().flat_map(|series| &series.labels);
    labels.find(|(name, _)| name == "node").map(|(_, value)| value.clone()).unwrap_or_default()
}

fn pprof_limits(limits: &Limits) -> pprof::Limits {
    pprof::Limits {
        stack_depth_max: limits.stack_depth_max,
        attribute_count_max: limits.label_count_max,
        attribute_name_bytes_max: limits.label_name_bytes_max,
        attribute_value_bytes_max: limits.label_value_bytes_max,
        ..pprof::Limits::default()
    }
}

fn invalid(reason: Refusal, place: &str, why: impl Display) -> PushError {
    PushError::InvalidArgument { reason, message: format!("{place}: {why}") }
}

struct Request<'a> {
    limits: &'a Limits,
    pprof_limits: pprof::Limits,
    received_ns: i64,
    plain_bytes_left: usize,
    decoded: Decoded,
}

impl Request<'_> {
    /// Adds a profile of the series with `labels`; of its sample types those to `keep`, or all if that is empty.
    fn profile(
        &mut self,
        received: &Bytes,
        labels: &SeriesLabels,
        keep: &[SampleType],
    ) -> Result<(), String> {
        let limit = self.limits.profile_bytes_max.min(self.plain_bytes_left);
        let plain = decompress(received, limit).map_err(|e| format!("raw_profile: {e}"))?;
        self.plain_bytes_left -= plain.len();
        let profile =
            pprof::decode(plain, &self.pprof_limits).map_err(|e| format!("invalid profile: {e}"))?;
        self.decoded.profiles += 1;
        self.decoded.received_bytes += received.len() as u64;
        self.decoded.repaired_strings += profile.repaired_strings as u64;
        let mut batch = profile.batch;
        batch.series.retain(|series| {
            let is_type = |kept: &SampleType| {
                kept.kind == series.profile_type.sample_type && kept.unit == series.profile_type.sample_unit
            };
            keep.is_empty() || keep.iter().any(is_type)
        });
        for series in &mut batch.series {
            check_type(&series.profile_type, self.limits)?;
            series.profile_type.name.clone_from(&labels.name);
            if profile.time_ns == 0 {
                series.times_ns = vec![self.received_ns];
            }
            name_attributes(series, &labels.labels, &mut batch.strings);
            series.labels.clone_from(&labels.labels);
        }
        if batch.series.is_empty() {
            return Ok(());
        }
        if self.decoded.batch.series.is_empty() {
            self.decoded.batch = batch;
        } else {
            self.decoded.batch.append(batch);
        }
        Ok(())
    }
}

/// The parts of a type are joined with colons, and each is kept with every series.
fn check_type(profile_type: &ProfileType, limits: &Limits) -> Result<(), String> {
    let parts = [
        ("sample_type.type", &profile_type.sample_type),
        ("sample_type.unit", &profile_type.sample_unit),
        ("period_type.type", &profile_type.period_type),
        ("period_type.unit", &profile_type.period_unit),
    ];
    for (field, text) in parts {
        let limit = limits.label_value_bytes_max;
        if text.len() > limit {
            return Err(format!("invalid profile: {field} has {} bytes, the limit is {limit}", text.len()));
        }
        if text.contains(':') {
            return Err(format!(
                "invalid profile: {field} {text:?} contains ':', which separates the parts of a profile type"
            ));
        }
    }
    Ok(())
}

/// Puts `exported_` before the names of attributes that are labels of the series too.
fn name_attributes(series: &mut SeriesSamples, labels: &[(String, String)], strings: &mut Strings) {
    let is_label = |name: &str| labels.binary_search_by(|(label, _)| label.as_str().cmp(name)).is_ok();
    for index in 0..series.attributes.len() {
        let Some(attribute) = series.attributes.get(index) else { continue };
        let name = strings.get(attribute.name);
        if !is_label(name) {
            continue;
        }
        let is_attribute = |name: &str| series.attributes.iter().any(|other| strings.get(other.name) == name);
        let name = attribute_name::unique(name, |name| is_label(name) || is_attribute(name)).into_owned();
        if let Some(attribute) = series.attributes.get_mut(index) {
            attribute.name = strings.push(&name);
        }
    }
}
