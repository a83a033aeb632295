//! Bytes of a profile in, tables of a batch out, in one pass.
//!
//! The tables of a profile may come in any order (Go writes samples first, the strings they need last), so references
//! cannot be checked where they are read. The pass only keeps the largest of each kind; when one turns out too large,
//! [`super::explain`] walks the message again, slowly, to say which it was. Rows are appended to the batch's columns as
//! they are met: nothing is allocated per sample.

mod read;
mod renumber;

use std::mem::take;

use super::{
    DecodeError, Foreign, Limits,
    attributes::{self, RawLabel},
    explain::{self, Counts},
};
use crate::{
    ProfileType,
    batch::{Function, Line, Location, Mapping, SampleBatch, SeriesSamples, StringId, Strings},
};

/// A decoded profile: a batch with one series per sample type that has samples, to be given its name and labels.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// The tables, and the series in the order of their sample types. Profile types have no name yet, series no labels;
    /// each series has one time for all samples, [`time_ns`](Self::time_ns).
    pub batch: SampleBatch,
    /// Unix time of the profile; 0 if it does not say.
    pub time_ns: i64,
    /// Strings that were not UTF-8; their bad bytes are U+FFFD now.
    pub repaired_strings: usize,
}

/// Decodes a decompressed profile.
///
/// Ids may be any unique numbers but 0. Values of 0 are skipped; sample types without any other have no series. A function without a name gets its system
/// name as name. Sample labels become attributes; the `n`th label of the same name in one sample is an attribute of its own.
pub fn decode(bytes: Vec<u8>, limits: &Limits) -> Result<Profile, DecodeError> {
    if let Some(found) = Foreign::of(&bytes) {
        return Err(DecodeError::Foreign { found });
    }
    if bytes.len() >= u32::MAX as usize {
        return Err(DecodeError::Limit {
            field: "profile".to_owned(),
            what: "bytes",
            limit: u32::MAX as usize - 1,
            offset: bytes.len(),
        });
    }
    let mut decoder = Decoder::default();
    decoder.profile(&bytes, limits)?;
    if decoder.needed.has_other_ids {
        let counted = renumber::renumber(&bytes)?;
        decoder = Decoder::default();
        decoder.profile(&counted, limits)?;
        decoder.check().map_err(|counts| explain::explain(&bytes, &counts.with_any_id()))?;
        return decoder.finish(counted, limits);
    }
    decoder.check().map_err(|counts| explain::explain(&bytes, &counts))?;
    decoder.finish(bytes, limits)
}

/// What all references of a kind need their table to have.
#[derive(Default)]
struct Needed {
    /// Largest index of a string.
    string: u32,
    /// Rows; more than a table can have if an id is too large or must not be 0 but is.
    mappings: u64,
    functions: u64,
    locations: u64,
    has_line_without_function: bool,
    has_key_zero: bool,
    /// Some id is not the number of its row.
    has_other_ids: bool,
}

#[derive(Default)]
struct Decoder {
    spans: Vec<(u32, u32)>,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    lines: Vec<Line>,
    locations: Vec<Location>,
    stacktrace_offsets: Vec<u32>,
    stacktrace_locations: Vec<u32>,
    /// Type and unit.
    sample_types: Vec<(StringId, StringId)>,
    /// Values of the kept samples, sample by sample.
    values: Vec<i64>,
    labels: Vec<RawLabel>,
    sample_count: usize,
    /// Values of the first sample, which all others must match.
    values_per_sample: usize,
    has_uneven_values: bool,
    needed: Needed,
    period_type: (StringId, StringId),
    period: i64,
    time_ns: i64,
    duration_ns: i64,
}

impl Decoder {
    /// Checks what could not be checked before the end; if it fails, gives what [`explain`] needs to say why.
    fn check(&self) -> Result<(), Counts> {
        let counts = Counts {
            strings: self.spans.len().max(1),
            mappings: self.mappings.len(),
            functions: self.functions.len(),
            locations: self.locations.len(),
            sample_types: self.sample_types.len(),
        };
        let needed = &self.needed;
        let is_sound = (needed.string as usize) < counts.strings
            && needed.mappings <= counts.mappings as u64
            && needed.functions <= counts.functions as u64
            && needed.locations <= counts.locations as u64
            && !needed.has_key_zero
            && !self.has_uneven_values
            && (self.sample_count == 0
                || self.values_per_sample == counts.sample_types && counts.sample_types > 0);
        if is_sound { Ok(()) } else { Err(counts) }
    }

    fn finish(mut self, bytes: Vec<u8>, limits: &Limits) -> Result<Profile, DecodeError> {
        self.complete_functions();
        let repaired = repaired_strings(&bytes, &self.spans);
        let repaired_strings = repaired.len();
        let mut strings = Strings::over_spans(bytes, take(&mut self.spans), repaired);
        let series = self.series(&mut strings, limits)?;
        let batch = SampleBatch {
            strings,
            mappings: self.mappings,
            functions: self.functions,
            lines: self.lines,
            locations: self.locations,
            stacktrace_offsets: self.stacktrace_offsets,
            stacktrace_locations: self.stacktrace_locations,
            series,
        };
        Ok(Profile { batch, time_ns: self.time_ns, repaired_strings })
    }

    /// Gives nameless functions their system name, and lines without a function a nameless one.
    fn complete_functions(&mut self) {
        let is_empty = |id: StringId| self.spans.get(id as usize).is_none_or(|&(_, len)| len == 0);
        for function in &mut self.functions {
            if is_empty(function.name) {
                function.name = function.system_name;
            }
        }
        if self.needed.has_line_without_function {
            let nameless = self.functions.len() as u32;
            self.functions.push(Function::default());
            for line in self.lines.iter_mut().filter(|line| line.function == u32::MAX) {
                line.function = nameless;
            }
        }
    }

    fn series(&self, strings: &mut Strings, limits: &Limits) -> Result<Vec<SeriesSamples>, DecodeError> {
        let columns = attributes::columns(&self.labels, strings, self.stacktrace_offsets.len() - 1, limits)?;
        let width = self.values_per_sample;
        let non_zero_count = self.values.iter().filter(|&&value| value != 0).count();
        attributes::check_cells(columns.len(), non_zero_count, strings.buffer().len())?;
        let mut series = Vec::with_capacity(width);
        for (index, &(sample_type, sample_unit)) in self.sample_types.iter().enumerate() {
            let mut stacktraces = Vec::new();
            let mut values = Vec::new();
            for (row, sample) in self.values.chunks_exact(width.max(1)).enumerate() {
                if let Some(&value) = sample.get(index)
                    && value != 0
                {
                    stacktraces.push(row as u32);
                    values.push(value);
                }
            }
            if values.is_empty() {
                continue;
            }
            series.push(SeriesSamples {
                profile_type: ProfileType {
                    name: String::new(),
                    sample_type: strings.get(sample_type).to_owned(),
                    sample_unit: strings.get(sample_unit).to_owned(),
                    period_type: strings.get(self.period_type.0).to_owned(),
                    period_unit: strings.get(self.period_type.1).to_owned(),
                    delta: self.duration_ns != 0,
                },
                labels: Vec::new(),
                period: self.period,
                duration_ns: self.duration_ns,
                times_ns: vec![self.time_ns],
                // A kept sample has the stacktrace of its own row.
                attributes: columns.iter().filter_map(|column| column.at_rows(&stacktraces)).collect(),
                stacktraces,
                values,
            });
        }
        Ok(series)
    }
}

/// The strings that are not UTF-8, by index, with U+FFFD in place of the bad bytes.
fn repaired_strings(bytes: &[u8], spans: &[(u32, u32)]) -> Vec<(usize, String)> {
    /// Strings looked at together: they lie one after the other, and one look at the whole range, tags and lengths
    /// included, is much faster than one at each.
    const TOGETHER: usize = 32;
    let mut repaired = Vec::new();
    for (chunk_index, chunk) in spans.chunks(TOGETHER).enumerate() {
        let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { continue };
        let range = first.0 as usize..(last.0 + last.1) as usize;
        if bytes.get(range).is_some_and(<[u8]>::is_ascii) {
            continue;
        }
        for (index, &(start, len)) in chunk.iter().enumerate() {
            let text = bytes.get(start as usize..(start + len) as usize).unwrap_or_default();
            if std::str::from_utf8(text).is_err() {
                repaired.push((chunk_index * TOGETHER + index, String::from_utf8_lossy(text).into_owned()));
            }
        }
    }
    repaired
}
