//! Columns and their types, from the schema message.

use arrow_ipc::{Endianness, Field as WireField, Schema as WireSchema, TimeUnit, Type};

use super::{
    error::{ArrowError, Fault},
    framing::SUBSTITUTE,
};

/// Fields of a schema, nested ones included. Labels are the only ones whose number depends on the sender.
const FIELDS_MAX: usize = 4096;
/// Depth of nested types; the deepest real one has eight.
const DEPTH_MAX: usize = 32;
/// Bytes of a path in error messages; names are the sender's.
const PATH_BYTES_MAX: usize = 200;

/// What a stream holds.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(super) fields: Vec<Field>,
    /// Key-value pairs of the whole.
    metadata: Vec<(String, String)>,
    /// Names that were not UTF-8 and were repaired.
    pub(crate) repaired_names: u64,
}

/// A column, or a part of one.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Where it is, for error messages.
    pub(super) path: String,
    /// The type of its values; those of the dictionary, if there is one.
    pub(super) kind: Kind,
    pub(super) dictionary: Option<Dictionary>,
    pub(super) children: Vec<Field>,
}

/// How values are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dictionary {
    pub(super) id: i64,
    /// Bytes of an index.
    pub(super) index_width: usize,
}

/// A type, as far as it matters for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Integer {
        width: usize,
        is_signed: bool,
    },
    /// 64-bit numbers of so many nanoseconds.
    Timestamp {
        unit_ns: i64,
    },
    /// Values of a fixed width that nobody reads.
    Opaque {
        width: usize,
    },
    FixedBytes {
        width: usize,
    },
    Bytes {
        is_large: bool,
    },
    Views,
    List {
        is_large: bool,
    },
    ListViews {
        is_large: bool,
    },
    FixedList {
        size: usize,
    },
    Struct,
    RunEnds,
    Union {
        is_dense: bool,
    },
}

impl Kind {
    /// What error messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Integer { .. } => "integer",
            Self::Timestamp { .. } => "timestamp",
            Self::Opaque { .. } => "number",
            Self::FixedBytes { .. } => "fixed-size binary",
            Self::Bytes { .. } | Self::Views => "text",
            Self::List { .. } | Self::ListViews { .. } | Self::FixedList { .. } => "list",
            Self::Struct => "struct",
            Self::RunEnds => "run-end encoded",
            Self::Union { .. } => "union",
        }
    }
}

impl Schema {
    pub(super) fn of(wire: WireSchema<'_>, offset: usize, repaired_names: u64) -> Result<Self, ArrowError> {
        if wire.endianness() != Endianness::Little {
            return Err(ArrowError::column("(schema)", Fault::Unsupported("big-endian streams")));
        }
        let metadata = wire.custom_metadata().map(|pairs| {
            let pair = |p: arrow_ipc::KeyValue<'_>| {
                (p.key().unwrap_or_default().to_owned(), p.value().unwrap_or_default().to_owned())
            };
            pairs.iter().map(pair).collect()
        });
        let mut left = FIELDS_MAX;
        let wire = wire.fields().ok_or_else(|| ArrowError::framing("the schema has no fields", offset))?;
        let fields = wire.iter().map(|field| Field::of(field, "", 0, &mut left)).collect::<Result<_, _>>()?;
        let mut schema = Self { fields, metadata: metadata.unwrap_or_default(), repaired_names };
        if repaired_names > 0 {
            schema.fields.iter_mut().for_each(Field::repair);
        }
        Ok(schema)
    }

    /// The value of a key of the metadata.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
}

impl Field {
    /// Puts U+FFFD in place of substitutes.
    fn repair(&mut self) {
        for text in [&mut self.name, &mut self.path] {
            if text.contains(SUBSTITUTE) {
                *text = text.replace(SUBSTITUTE, "\u{fffd}");
            }
        }
        self.children.iter_mut().for_each(Self::repair);
    }

    fn of(wire: WireField<'_>, parent: &str, depth: usize, left: &mut usize) -> Result<Self, ArrowError> {
        let name = wire.name().unwrap_or_default();
        let path = path(parent, name);
        let limit = |what, found, limit| ArrowError::column(&path, Fault::Limit { what, found, limit });
        if depth >= DEPTH_MAX {
            return Err(limit("levels of nesting", depth + 1, DEPTH_MAX));
        }
        *left = left.checked_sub(1).ok_or_else(|| limit("columns", FIELDS_MAX + 1, FIELDS_MAX))?;
        let wrong = |what| ArrowError::column(&path, Fault::Inconsistent(what));
        let kind = kind(wire).ok_or_else(|| wrong("its type is incomplete or unknown"))?;
        let children: Vec<Self> = match wire.children() {
            Some(children) => children
                .iter()
                .map(|child| Self::of(child, &path, depth + 1, left))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let expected = match kind {
            Kind::List { .. } | Kind::ListViews { .. } | Kind::FixedList { .. } => Some(1),
            Kind::RunEnds => Some(2),
            Kind::Struct | Kind::Union { .. } => None,
            _ => Some(0),
        };
        if expected.is_some_and(|expected| expected != children.len()) {
            return Err(wrong("its type has the wrong number of children"));
        }
        if let (Kind::RunEnds, Some(ends)) = (kind, children.first())
            && (ends.dictionary.is_some() || !matches!(ends.kind, Kind::Integer { .. }))
        {
            return Err(ArrowError::column(
                &path,
                Fault::WrongType { found: ends.kind.name(), expected: "integers as run ends" },
            ));
        }
        let dictionary = match wire.dictionary() {
            None => None,
            Some(encoding) => {
                // Absent means 32 bits, signed.
                let bits = encoding.indexType().map_or(32, |index| index.bitWidth());
                let width =
                    integer_width(bits).ok_or_else(|| wrong("its indices have an impossible width"))?;
                Some(Dictionary { id: encoding.id(), index_width: width })
            }
        };
        Ok(Self { name: name.to_owned(), path, kind, dictionary, children })
    }
}

/// Names of list items (`item`) and run values (`values`) are noise.
fn path(parent: &str, name: &str) -> String {
    let mut path = match (parent, name) {
        ("", name) => name.to_owned(),
        (parent, "item" | "values" | "run_ends") => parent.to_owned(),
        (parent, name) => format!("{parent}.{name}"),
    };
    if path.is_empty() {
        path.push_str("(without a name)");
    }
    if path.len() > PATH_BYTES_MAX {
        path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
        path.push('…');
    }
    path
}

fn integer_width(bits: i32) -> Option<usize> {
    matches!(bits, 8 | 16 | 32 | 64).then_some(bits as usize / 8)
}

fn kind(field: WireField<'_>) -> Option<Kind> {
    let opaque = |width| Some(Kind::Opaque { width });
    match field.type_type() {
        Type::Null => Some(Kind::Null),
        Type::Bool => Some(Kind::Bool),
        Type::Int => {
            let int = field.type_as_int()?;
            Some(Kind::Integer { width: integer_width(int.bitWidth())?, is_signed: int.is_signed() })
        }
        Type::Timestamp => {
            let unit_ns = match field.type_as_timestamp()?.unit() {
                TimeUnit::SECOND => 1_000_000_000,
                TimeUnit::MILLISECOND => 1_000_000,
                TimeUnit::MICROSECOND => 1000,
                TimeUnit::NANOSECOND => 1,
                _ => return None,
            };
            Some(Kind::Timestamp { unit_ns })
        }
        Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
            arrow_ipc::Precision::HALF => opaque(2),
            arrow_ipc::Precision::SINGLE => opaque(4),
            _ => opaque(8),
        },
        Type::Decimal => opaque(usize::try_from(field.type_as_decimal()?.bitWidth()).ok()? / 8),
        Type::Date => match field.type_as_date()?.unit() {
            arrow_ipc::DateUnit::DAY => opaque(4),
            _ => opaque(8),
        },
        Type::Time => opaque(usize::try_from(field.type_as_time()?.bitWidth()).ok()? / 8),
        Type::Interval => match field.type_as_interval()?.unit() {
            arrow_ipc::IntervalUnit::YEAR_MONTH => opaque(4),
            arrow_ipc::IntervalUnit::DAY_TIME => opaque(8),
            _ => opaque(16),
        },
        Type::Duration => opaque(8),
        Type::FixedSizeBinary => Some(Kind::FixedBytes {
            width: usize::try_from(field.type_as_fixed_size_binary()?.byteWidth()).ok()?,
        }),
        Type::Binary | Type::Utf8 => Some(Kind::Bytes { is_large: false }),
        Type::LargeBinary | Type::LargeUtf8 => Some(Kind::Bytes { is_large: true }),
        Type::BinaryView | Type::Utf8View => Some(Kind::Views),
        Type::List | Type::Map => Some(Kind::List { is_large: false }),
        Type::LargeList => Some(Kind::List { is_large: true }),
        Type::ListView => Some(Kind::ListViews { is_large: false }),
        Type::LargeListView => Some(Kind::ListViews { is_large: true }),
        Type::FixedSizeList => {
            Some(Kind::FixedList { size: usize::try_from(field.type_as_fixed_size_list()?.listSize()).ok()? })
        }
        Type::Struct_ => Some(Kind::Struct),
        Type::RunEndEncoded => Some(Kind::RunEnds),
        Type::Union => {
            Some(Kind::Union { is_dense: field.type_as_union()?.mode() == arrow_ipc::UnionMode::Dense })
        }
        _ => None,
    }
}
