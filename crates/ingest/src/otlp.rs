//! OTLP profiles (`opentelemetry.proto.collector.profiles.v1development`): a request in, a sample batch out.
//!
//! The parts that are read, in the numbers of opentelemetry-proto 1.10; `index` leads into a table of the dictionary, whose
//! row 0 stands for nothing:
//!
//! ```text
//! request    = 1 resource_profiles*, 2 dictionary
//! dictionary = 1 mapping*, 2 location*, 3 function*, 4 link*, 5 string*, 6 attribute*, 7 stack*
//! resource_profiles = 1 resource { 1 attributes* }, 2 scope_profiles { 1 scope { 1 name, 3 attributes* }, 2 profiles* }*
//! profile    = 1 sample_type, 2 samples*, 3 time fixed64, 4 duration, 5 period_type, 6 period, 11 attribute index*
//! sample     = 1 stack index, 2 attribute index*, 3 link index, 4 value*, 5 time fixed64*
//! stack = 1 location index*      location = 1 mapping index, 2 address, 3 line*, 4 attribute index*
//! line  = 1 function index, 2 line, 3 column     function = 1 name, 2 system_name, 3 filename, 4 start_line
//! mapping = 1 start, 2 limit, 3 offset, 4 filename, 5 attribute index*     link = 1 trace_id, 2 span_id
//! attribute = 1 key, 2 value, 3 unit     value type = 1 type, 2 unit
//! key value = 1 key, 2 value, 3 key index       value = 1 text | 2 bool | 3 int | 4 double | 5 array | 6 map | 7 bytes | 8 text index
//! ```
//! Up to 1.9 a sample was `1 stack index, 2 value*, 3 attribute index*, 4 link index, 5 time*`, and nothing on the wire says
//! which it is: see [`layout`]. The message is read by hand for that reason, and because a string that is not UTF-8 must not
//! cost the message.
//!
//! Attributes of resource, scope and profile become labels of the series, but for those that name a process or thread;
//! attributes of samples stay such, numbers as numbers. A profile that is wrong is left out and told about; a dictionary that
//! is wrong makes the request wrong. No I/O, no clock. Start at [`decode`].

mod attribute;
mod dictionary;
pub(crate) mod error;
mod layout;
#[cfg(test)]
mod malformed;
mod profile;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use decima_profile::{SampleBatch, batch::StringId, wire::Reader};

use self::{
    attribute::{KeyValue, Labels},
    dictionary::Dictionary,
    layout::Votes,
    profile::RawProfile,
};
pub use self::{error::OtlpError, layout::Layout};
use crate::push::{Limits, Refusal};

/// Rows of all tables of a dictionary. Each takes a hundred bytes in memory, and two on the wire if it is empty.
const TABLE_ROWS_MAX: usize = 1 << 21;
/// Resources, scopes and profiles of a request, together. A profiler sends one of each for every process.
const PARTS_MAX: usize = 1 << 17;
/// Attributes of one resource, scope or profile.
const ATTRIBUTES_MAX: usize = 1 << 10;
/// Attributes of all profiles, those of their resources and scopes included.
const PAIRS_MAX: usize = 1 << 21;
/// Entries of all stacks.
const ENTRIES_MAX: usize = 1 << 25;
/// Samples of a request.
const SAMPLES_MAX: usize = 1 << 20;
/// Times of all samples of a request; each becomes a row.
const ROWS_MAX: usize = 1 << 22;
/// Cells of all attribute columns of a profile, absent ones included.
const CELLS_MAX: usize = 1 << 24;

/// A decoded request.
#[derive(Debug, Default)]
pub struct Decoded {
    /// All samples of the profiles that were right.
    pub batch: SampleBatch,
    /// Profiles that were right, those without samples included.
    pub profiles: u64,
    /// Profiles that were wrong and are left out, by the kind of mistake.
    pub rejected_profiles: BTreeMap<Refusal, u64>,
    /// What was wrong with the first of these.
    pub rejection: Option<OtlpError>,
    /// Strings that were not UTF-8 and were repaired.
    pub repaired_strings: u64,
    /// Name of the host, if the resources tell it.
    pub node: String,
    /// The layout, if the samples left no doubt about it.
    pub layout: Option<Layout>,
    /// GNU build IDs and hashes of files that have both.
    pub object_files: Vec<(String, String)>,
}

/// Decodes a request.
///
/// `layout` is known for JSON, which names its fields; `remembered` is what the sender's last message had, for messages that
/// could be either. `received_ns` is the time of profiles that have none.
pub fn decode(
    message: &[u8],
    limits: &Limits,
    layout: Option<Layout>,
    remembered: Option<Layout>,
    received_ns: i64,
) -> Result<Decoded, OtlpError> {
    let request = Request::read(message)?;
    let mut dictionary = Dictionary::read(message, &request.dictionaries, limits)?;
    let profiles = request.profiles(&mut dictionary)?;
    let mut votes = Votes::default();
    for profile in &profiles {
        votes.add(&profile.raw, dictionary.attributes.len());
    }
    let layout = layout.or_else(|| votes.winner());
    let used = layout.or(remembered).unwrap_or_default();
    let mut decoded = Decoded { layout, ..Decoded::default() };
    let mut rows_left = ROWS_MAX;
    for profile in &profiles {
        if decoded.node.is_empty() {
            decoded.node = profile.labels.node(&dictionary);
        }
        match profile.raw.series(used, &profile.labels, &mut dictionary, limits, received_ns, &mut rows_left)
        {
            Ok(series) => {
                decoded.profiles += 1;
                decoded.batch.series.extend(series);
            }
            Err(error) => {
                *decoded.rejected_profiles.entry(error.reason).or_default() += 1;
                decoded.rejection.get_or_insert(error);
            }
        }
    }
    decoded.repaired_strings = dictionary.repaired;
    let text = |id| dictionary.strings.get(id).to_owned();
    decoded.object_files = dictionary.aliases.iter().map(|&(gnu, hash)| (text(gnu), text(hash))).collect();
    let series = std::mem::take(&mut decoded.batch.series);
    decoded.batch = dictionary.into_batch(series);
    Ok(decoded)
}

/// Name of the host, as far as a request that is wrong tells it: by the attributes of its resources, whose keys and values
/// may be in a dictionary that is wrong; empty if it does not.
pub(crate) fn node_of_wrong(message: &[u8]) -> String {
    let Ok(request) = Request::read(message) else { return String::new() };
    // A dictionary of its strings alone, which may be right where the rest is not.
    let mut dictionary = Dictionary::of_strings(message, &request.dictionaries);
    for &resource in &request.resources {
        let mut pairs = Vec::new();
        // What comes before a mistake counts.
        let _ = error::each_field(resource, "", &["resource"], |number, field| {
            if number == 1 {
                attributes(field.message()?, 1, "", &mut dictionary, &mut pairs)?;
            }
            Ok(())
        });
        let mut labels = Labels::new(0);
        labels.add(&pairs);
        let node = labels.node(&dictionary);
        if !node.is_empty() {
            return node;
        }
    }
    String::new()
}

/// The parts of a request.
struct Request<'a> {
    resources: Vec<Reader<'a>>,
    /// A message that was concatenated has several; they are one.
    dictionaries: Vec<Reader<'a>>,
}

/// A profile with what its resource and scope say.
struct Placed<'a> {
    labels: Labels,
    raw: RawProfile<'a>,
}

impl<'a> Request<'a> {
    fn read(message: &'a [u8]) -> Result<Self, OtlpError> {
        let mut request = Self { resources: Vec::new(), dictionaries: Vec::new() };
        error::each_field(
            Reader::new(message),
            "request",
            &["resource_profiles", "dictionary"],
            |number, field| {
                match number {
                    1 => push(&mut request.resources, field.message()?, "request", "resources", PARTS_MAX)?,
                    2 => push(
                        &mut request.dictionaries,
                        field.message()?,
                        "request",
                        "dictionaries",
                        PARTS_MAX,
                    )?,
                    _ => {}
                }
                Ok(())
            },
        )?;
        Ok(request)
    }

    fn profiles(&self, dictionary: &mut Dictionary) -> Result<Vec<Placed<'a>>, OtlpError> {
        let mut profiles = Vec::new();
        let mut samples_left = SAMPLES_MAX;
        let (mut parts_left, mut pairs_left) = (PARTS_MAX - self.resources.len(), PAIRS_MAX);
        for (index, &resource) in self.resources.iter().enumerate() {
            let place = format!("resource_profiles[{index}]");
            let (mut of_resource, mut scopes) = (Vec::new(), Vec::new());
            error::each_field(resource, &place, &["resource", "scope_profiles"], |number, field| {
                match number {
                    1 => attributes(field.message()?, 1, &place, dictionary, &mut of_resource)?,
                    2 => push(&mut scopes, field.message()?, &place, "scopes", parts_left)?,
                    _ => {}
                }
                Ok(())
            })?;
            parts_left -= scopes.len();
            for (index, &scope) in scopes.iter().enumerate() {
                let place = format!("{place}.scope_profiles[{index}]");
                let (mut name, mut of_scope, mut found) = (0, Vec::new(), Vec::new());
                error::each_field(scope, &place, &["scope", "profiles"], |number, field| {
                    match number {
                        1 => {
                            name = scope_name(field.message()?, &place, dictionary)?;
                            attributes(field.message()?, 3, &place, dictionary, &mut of_scope)?;
                        }
                        2 => push(&mut found, field.message()?, &place, "profiles", parts_left)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                parts_left -= found.len();
                for (index, &profile) in found.iter().enumerate() {
                    let place = format!("{place}.profiles[{index}]");
                    let raw = RawProfile::read(profile, place, &mut samples_left)?;
                    let mut labels = Labels::new(name);
                    labels.of_profile(&raw.attributes, dictionary, &raw.place)?;
                    labels.add(&of_scope);
                    labels.add(&of_resource);
                    pairs_left = pairs_left.checked_sub(labels.len()).ok_or_else(|| {
                        OtlpError::limit(&raw.place, "attributes of profiles", PAIRS_MAX + 1, PAIRS_MAX)
                    })?;
                    profiles.push(Placed { labels, raw });
                }
            }
        }
        Ok(profiles)
    }
}

/// Adds to what is listed, of which there may be so many; of `PARTS_MAX` in all, if that is more.
fn push<'a>(
    list: &mut Vec<Reader<'a>>,
    part: Reader<'a>,
    place: &str,
    what: &str,
    count_max: usize,
) -> Result<(), OtlpError> {
    if list.len() == count_max {
        let what = format!("{what} or more");
        return Err(OtlpError::limit(place, &what, PARTS_MAX - count_max + list.len() + 1, PARTS_MAX));
    }
    list.push(part);
    Ok(())
}

/// Attributes in a field of a resource or scope.
fn attributes(
    message: Reader<'_>,
    attribute_field: u32,
    place: &str,
    dictionary: &mut Dictionary,
    found: &mut Vec<KeyValue>,
) -> Result<(), OtlpError> {
    // The former of a resource, the latter of a scope.
    error::each_field(message, place, &["attributes", "", "attributes"], |number, field| {
        if number == attribute_field {
            if found.len() == ATTRIBUTES_MAX {
                return Err(OtlpError::limit(place, "attributes", found.len() + 1, ATTRIBUTES_MAX).into());
            }
            found.push(KeyValue::read(field.message()?, place, dictionary)?);
        }
        Ok(())
    })
}

fn scope_name(message: Reader<'_>, place: &str, dictionary: &mut Dictionary) -> Result<StringId, OtlpError> {
    let mut name = 0;
    error::each_field(message, place, &["name"], |number, field| {
        if number == 1 {
            name = dictionary.text(field.message()?);
        }
        Ok(())
    })?;
    Ok(name)
}
