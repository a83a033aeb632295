//! Fingerprints of locations and stacktraces: what they are, whatever table they are in.
//!
//! 128 bits with a seed of whoever asks, so that nobody can send two locations with one fingerprint on purpose; at 10⁹ locations the
//! chance of one wrong merge is below 10⁻²⁰. They are kept nowhere.

use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use super::{Function, Line, Mapping, Symbols};

impl Symbols {
    /// The fingerprint of each location: of its address, frame type, mapping and lines. Equal ones of any [`Symbols`] are the same
    /// location, given the same seed.
    pub fn location_fingerprints(&self, seed: u64) -> Vec<u128> {
        let texts = (0..self.strings.len() as u32).map(|id| self.strings.get(id).as_bytes());
        let mut contents = Contents::new(seed, texts, &self.mappings, &self.functions);
        let of = |location: usize| {
            contents.location(
                self.location_mapping[location],
                self.location_address[location],
                self.location_frame_type[location],
                self.location_lines(location as u32),
            )
        };
        (0..self.location_count()).map(of).collect()
    }
}

/// What is hashed of a location beside its lines: its mapping, frame type and address.
const PLACE_BYTES: usize = 40;
/// What is hashed of a line: its function, line and column.
const LINE_BYTES: usize = 32;

/// What no content has, but for one chance in 2¹²⁸.
const NONE: u128 = 0;

/// The fingerprint with this id, or the last one.
fn one_or_none(fingerprints: &[u128], id: u32) -> u128 {
    let last = fingerprints.len().saturating_sub(1);
    fingerprints.get(last.min(id as usize)).copied().unwrap_or(NONE)
}

/// Fingerprints of what locations consist of, by the ids of its rows.
pub(crate) struct Contents {
    seed: u64,
    texts: Vec<u128>,
    /// The last one of these stands for none, so that to read it is no other way.
    mappings: Vec<u128>,
    functions: Vec<u128>,
    /// For locations of several lines.
    scratch: Vec<u8>,
}

impl Contents {
    pub(crate) fn new<'a>(
        seed: u64,
        texts: impl Iterator<Item = &'a [u8]>,
        mappings: &[Mapping],
        functions: &[Function],
    ) -> Self {
        let texts = texts.map(|text| xxh3_128_with_seed(text, seed)).collect();
        let mut contents =
            Self { seed, texts, mappings: Vec::new(), functions: Vec::new(), scratch: Vec::new() };
        contents.mappings = mappings
            .iter()
            .map(|m| {
                let mut row = [0; 56];
                let texts = [m.file, m.build_id].map(|id| contents.text(id).to_le_bytes());
                row[..32].copy_from_slice(texts.as_flattened());
                row[32..].copy_from_slice([m.start, m.limit, m.offset].map(u64::to_le_bytes).as_flattened());
                xxh3_128_with_seed(&row, seed)
            })
            .chain([NONE])
            .collect();
        contents.functions = functions
            .iter()
            .map(|f| {
                let mut row = [0; 56];
                let texts = [f.name, f.system_name, f.filename].map(|id| contents.text(id).to_le_bytes());
                row[..48].copy_from_slice(texts.as_flattened());
                row[48..].copy_from_slice(&f.start_line.to_le_bytes());
                xxh3_128_with_seed(&row, seed)
            })
            .chain([NONE])
            .collect();
        contents
    }

    /// 0 stands for the empty text where there are no texts.
    fn text(&self, id: u32) -> u128 {
        self.texts.get(id as usize).copied().unwrap_or_else(|| xxh3_128_with_seed(&[], self.seed))
    }

    /// The fingerprint of a location. One without a mapping has one that no mapping has, and so does one without lines.
    pub(crate) fn location(&mut self, mapping: u32, address: u64, frame_type: u32, lines: &[Line]) -> u128 {
        const NO_LINE: Line = Line { function: u32::MAX, line: 0, column: 0 };
        let mapping = one_or_none(&self.mappings, mapping);
        let frame_type = self.text(frame_type);
        let mut row = [0; PLACE_BYTES + LINE_BYTES];
        row[..32].copy_from_slice([mapping, frame_type].map(u128::to_le_bytes).as_flattened());
        row[32..PLACE_BYTES].copy_from_slice(&address.to_le_bytes());
        if let [_, _, ..] = lines {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            scratch.extend_from_slice(&row[..PLACE_BYTES]);
            lines.iter().for_each(|line| scratch.extend_from_slice(&self.line(line)));
            let fingerprint = xxh3_128_with_seed(&scratch, self.seed);
            self.scratch = scratch;
            return fingerprint;
        }
        // One line or none: to ask which would be a guess that is wrong half of the time.
        row[PLACE_BYTES..].copy_from_slice(&self.line(lines.first().unwrap_or(&NO_LINE)));
        xxh3_128_with_seed(&row, self.seed)
    }

    fn line(&self, line: &Line) -> [u8; LINE_BYTES] {
        let mut row = [0; LINE_BYTES];
        row[..16].copy_from_slice(&one_or_none(&self.functions, line.function).to_le_bytes());
        row[16..24].copy_from_slice(&line.line.to_le_bytes());
        row[24..].copy_from_slice(&line.column.to_le_bytes());
        row
    }
}

/// The fingerprint of a stacktrace: that of the fingerprints of its locations, leaf first. `scratch` is for them.
pub(crate) fn stacktrace_fingerprint(locations: impl Iterator<Item = u128>, scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    for location in locations {
        scratch.extend_from_slice(&location.to_le_bytes());
    }
    xxh3_128(scratch)
}
