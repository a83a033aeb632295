//! The pprof format (`perftools.profiles.Profile`, protobuf), read and written.
//!
//! [`decode()`] turns a decompressed message into a [`SampleBatch`](crate::SampleBatch) whose strings are spans of that
//! message; [`ProfileBuilder`] writes one for `go tool pprof`. Compression is [`crate::compression`]'s.
//!
//! The parts of the message that are read (numbers are field numbers; `str` is an index into the string table):
//!
//! ```text
//! Profile  = 1 sample_type ValueType*, 2 sample Sample*, 3 mapping Mapping*, 4 location Location*, 5 function Function*,
//!            6 string_table string*, 7 drop_frames str, 8 keep_frames str, 9 time_nanos, 10 duration_nanos,
//!            11 period_type ValueType, 12 period, 13 comment str*, 14 default_sample_type str, 15 doc_url str
//! ValueType = 1 type str, 2 unit str
//! Sample   = 1 location_id*, leaf first, 2 value*, one per sample type, 3 label Label*
//! Label    = 1 key str, 2 str str | 3 num, 4 num_unit str
//! Mapping  = 1 id, 2 memory_start, 3 memory_limit, 4 file_offset, 5 filename str, 6 build_id str,
//!            7 has_functions, 8 has_filenames, 9 has_line_numbers, 10 has_inline_frames
//! Location = 1 id, 2 mapping_id, 3 address, 4 line Line*, innermost first, 5 is_folded
//! Line     = 1 function_id, 2 line, 3 column
//! Function = 1 id, 2 name str, 3 system_name str, 4 filename str, 5 start_line
//! ```
//!
//! A profile is refused, with the field's path and byte offset, unless: string 0 is empty; ids of mappings, functions and
//! locations are unique in their table and not 0 (those that are not 1, 2, 3 … in this order take a slower way); every reference is in range (0 = none, except for locations of samples and keys
//! of labels); every sample has one value per sample type, and there is one. Fields may come in any order, repeated
//! numbers packed or not; unknown fields are skipped; text that is not UTF-8 is repaired and counted.
//!
//! Nothing here panics on foreign bytes or holds more than a small multiple of their length; start at [`decode()`].

mod attributes;
mod decode;
mod encode;
mod error;
mod explain;

pub use crate::wire::MalformedReason;
pub use decode::{Profile, decode};
pub use encode::{Label, LabelValue, ProfileBuilder};
pub use error::{DecodeError, Foreign};

/// Bounds on one profile. Tables have fixed bounds too, far above real profiles (see the constants in `decode::read`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Locations of one stacktrace; deeper ones are refused.
    pub stack_depth_max: usize,
    /// Sample types; ddtrace sends 19.
    pub sample_types_max: usize,
    /// Attribute columns of one profile.
    pub attribute_count_max: usize,
    /// Bytes of the key or unit of a sample label.
    pub attribute_name_bytes_max: usize,
    /// Bytes of the text of a sample label.
    pub attribute_value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stack_depth_max: 8192,
            sample_types_max: 64,
            attribute_count_max: 64,
            attribute_name_bytes_max: 1024,
            attribute_value_bytes_max: 4096,
        }
    }
}
