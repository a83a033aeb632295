//! Arrow's schema message, taken apart and put together again.
//!
//! Only what a field needs for that is known here. Types that no sender of profiles has (intervals, maps, unions) are refused
//! by name.

use arrow_ipc as wire;
use decima_ingest::arrow::framing::SUBSTITUTE;
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use super::arrow::ArrowError;

/// Depth of nested types; the deepest real one has eight.
const DEPTH_MAX: usize = 32;
/// Fields of a schema, nested ones included.
const FIELDS_MAX: usize = 4096;

/// What a stream holds.
pub(super) struct Schema {
    pub(super) fields: Vec<Field>,
    metadata: Vec<(String, String)>,
    features: Vec<wire::Feature>,
}

/// A column, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) dictionary: Option<Dictionary>,
    pub(super) children: Vec<Field>,
    pub(super) nullable: bool,
    pub(super) metadata: Vec<(String, String)>,
}

/// How values are looked up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Dictionary {
    pub(super) id: i64,
    pub(super) index_bits: i32,
    pub(super) is_signed: bool,
    pub(super) is_ordered: bool,
}

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int { bits: i32, is_signed: bool },
    Float(wire::Precision),
    Decimal { precision: i32, scale: i32, bits: i32 },
    Date(wire::DateUnit),
    Time { unit: wire::TimeUnit, bits: i32 },
    Timestamp { unit: wire::TimeUnit, zone: Option<String> },
    Duration(wire::TimeUnit),
    Binary,
    LargeBinary,
    BinaryView,
    Utf8,
    LargeUtf8,
    Utf8View,
    FixedSizeBinary { width: i32 },
    List,
    LargeList,
    ListView,
    LargeListView,
    FixedSizeList { size: i32 },
    Struct,
    RunEnds,
}

impl Schema {
    pub(super) fn read(schema: wire::Schema<'_>) -> Result<Self, ArrowError> {
        if schema.endianness() != wire::Endianness::Little {
            return Err(ArrowError::Unsupported("big-endian streams"));
        }
        let mut left = FIELDS_MAX;
        let fields = schema.fields().ok_or(ArrowError::Inconsistent("the schema has no fields"))?;
        Ok(Self {
            fields: fields.iter().map(|field| Field::read(field, 0, &mut left)).collect::<Result<_, _>>()?,
            metadata: pairs(schema.custom_metadata()),
            features: schema.features().map(|all| all.iter().collect()).unwrap_or_default(),
        })
    }

    /// The schema message.
    pub(super) fn write(&self, version: wire::MetadataVersion) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let fields: Vec<_> = self.fields.iter().map(|field| field.write(&mut builder)).collect();
        let fields = builder.create_vector(&fields);
        let custom_metadata = write_pairs(&self.metadata, &mut builder);
        let features = (!self.features.is_empty()).then(|| builder.create_vector(&self.features));
        let args = wire::SchemaArgs {
            endianness: wire::Endianness::Little,
            fields: Some(fields),
            custom_metadata,
            features,
        };
        let header = wire::Schema::create(&mut builder, &args).as_union_value();
        finish(builder, version, wire::MessageHeader::Schema, header, 0)
    }
}

/// Ends a message.
pub(super) fn finish(
    mut builder: FlatBufferBuilder<'_>,
    version: wire::MetadataVersion,
    header_type: wire::MessageHeader,
    header: WIPOffset<UnionWIPOffset>,
    body_length: i64,
) -> Vec<u8> {
    let args = wire::MessageArgs {
        version,
        header_type,
        header: Some(header),
        bodyLength: body_length,
        custom_metadata: None,
    };
    let message = wire::Message::create(&mut builder, &args);
    builder.finish(message, None);
    builder.finished_data().to_vec()
}

type Pairs<'a> = flatbuffers::Vector<'a, flatbuffers::ForwardsUOffset<wire::KeyValue<'a>>>;

fn pairs(found: Option<Pairs<'_>>) -> Vec<(String, String)> {
    let pair = |pair: wire::KeyValue<'_>| {
        (pair.key().unwrap_or_default().to_owned(), pair.value().unwrap_or_default().to_owned())
    };
    found.map(|found| found.iter().map(pair).collect()).unwrap_or_default()
}

fn write_pairs<'a>(
    pairs: &[(String, String)],
    builder: &mut FlatBufferBuilder<'a>,
) -> Option<WIPOffset<Pairs<'a>>> {
    if pairs.is_empty() {
        return None;
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| {
            let args = wire::KeyValueArgs {
                key: Some(builder.create_string(key)),
                value: Some(builder.create_string(value)),
            };
            wire::KeyValue::create(builder, &args)
        })
        .collect();
    Some(builder.create_vector(&pairs))
}

impl Field {
    fn read(field: wire::Field<'_>, depth: usize, left: &mut usize) -> Result<Self, ArrowError> {
        if depth >= DEPTH_MAX {
            return Err(ArrowError::Unsupported("types nested deeper than 32 levels"));
        }
        *left = left.checked_sub(1).ok_or(ArrowError::Unsupported("more than 4096 columns"))?;
        let dictionary = field.dictionary().map(|dictionary| {
            // Without a type, indices are signed and have 32 bits.
            let (index_bits, is_signed) =
                dictionary.indexType().map_or((32, true), |index| (index.bitWidth(), index.is_signed()));
            Dictionary { id: dictionary.id(), index_bits, is_signed, is_ordered: dictionary.isOrdered() }
        });
        let children = field.children().map(|children| {
            children.iter().map(|child| Self::read(child, depth + 1, left)).collect::<Result<_, _>>()
        });
        Ok(Self {
            // Where a name was repaired.
            name: field.name().unwrap_or_default().replace(SUBSTITUTE, "\u{fffd}"),
            kind: Kind::read(field)?,
            dictionary,
            children: children.transpose()?.unwrap_or_default(),
            nullable: field.nullable(),
            metadata: pairs(field.custom_metadata()),
        })
    }

    fn write<'a>(&self, builder: &mut FlatBufferBuilder<'a>) -> WIPOffset<wire::Field<'a>> {
        let children: Vec<_> = self.children.iter().map(|child| child.write(builder)).collect();
        let children = builder.create_vector(&children);
        let name = builder.create_string(&self.name);
        let custom_metadata = write_pairs(&self.metadata, builder);
        let dictionary = self.dictionary.map(|dictionary| {
            let index = wire::IntArgs { bitWidth: dictionary.index_bits, is_signed: dictionary.is_signed };
            let index = wire::Int::create(builder, &index);
            let args = wire::DictionaryEncodingArgs {
                id: dictionary.id,
                indexType: Some(index),
                isOrdered: dictionary.is_ordered,
                dictionaryKind: wire::DictionaryKind::DenseArray,
            };
            wire::DictionaryEncoding::create(builder, &args)
        });
        let (type_type, type_) = self.kind.write(builder);
        let args = wire::FieldArgs {
            name: Some(name),
            nullable: self.nullable,
            type_type,
            type_: Some(type_),
            dictionary,
            children: Some(children),
            custom_metadata,
        };
        wire::Field::create(builder, &args)
    }
}

impl Kind {
    fn read(field: wire::Field<'_>) -> Result<Self, ArrowError> {
        let incomplete = ArrowError::Inconsistent("the type of a column is incomplete");
        let kind = match field.type_type() {
            wire::Type::Null => Some(Self::Null),
            wire::Type::Bool => Some(Self::Bool),
            wire::Type::Int => {
                field.type_as_int().map(|int| Self::Int { bits: int.bitWidth(), is_signed: int.is_signed() })
            }
            wire::Type::FloatingPoint => {
                field.type_as_floating_point().map(|float| Self::Float(float.precision()))
            }
            wire::Type::Decimal => field.type_as_decimal().map(|decimal| Self::Decimal {
                precision: decimal.precision(),
                scale: decimal.scale(),
                bits: decimal.bitWidth(),
            }),
            wire::Type::Date => field.type_as_date().map(|date| Self::Date(date.unit())),
            wire::Type::Time => {
                field.type_as_time().map(|time| Self::Time { unit: time.unit(), bits: time.bitWidth() })
            }
            wire::Type::Timestamp => field.type_as_timestamp().map(|timestamp| Self::Timestamp {
                unit: timestamp.unit(),
                zone: timestamp.timezone().map(str::to_owned),
            }),
            wire::Type::Duration => field.type_as_duration().map(|duration| Self::Duration(duration.unit())),
            wire::Type::Binary => Some(Self::Binary),
            wire::Type::LargeBinary => Some(Self::LargeBinary),
            wire::Type::BinaryView => Some(Self::BinaryView),
            wire::Type::Utf8 => Some(Self::Utf8),
            wire::Type::LargeUtf8 => Some(Self::LargeUtf8),
            wire::Type::Utf8View => Some(Self::Utf8View),
            wire::Type::FixedSizeBinary => field
                .type_as_fixed_size_binary()
                .map(|binary| Self::FixedSizeBinary { width: binary.byteWidth() }),
            wire::Type::List => Some(Self::List),
            wire::Type::LargeList => Some(Self::LargeList),
            wire::Type::ListView => Some(Self::ListView),
            wire::Type::LargeListView => Some(Self::LargeListView),
            wire::Type::FixedSizeList => {
                field.type_as_fixed_size_list().map(|list| Self::FixedSizeList { size: list.listSize() })
            }
            wire::Type::Struct_ => Some(Self::Struct),
            wire::Type::RunEndEncoded => Some(Self::RunEnds),
            _ => return Err(ArrowError::Unsupported("intervals, maps, unions and unknown types")),
        };
        kind.ok_or(incomplete)
    }

    fn write(&self, builder: &mut FlatBufferBuilder<'_>) -> (wire::Type, WIPOffset<UnionWIPOffset>) {
        macro_rules! kind {
            ($name:ident, $table:ident, $args:expr) => {
                (wire::Type::$name, wire::$table::create(builder, &$args).as_union_value())
            };
        }
        match self {
            Self::Null => kind!(Null, Null, wire::NullArgs {}),
            Self::Bool => kind!(Bool, Bool, wire::BoolArgs {}),
            &Self::Int { bits, is_signed } => kind!(Int, Int, wire::IntArgs { bitWidth: bits, is_signed }),
            &Self::Float(precision) => {
                kind!(FloatingPoint, FloatingPoint, wire::FloatingPointArgs { precision })
            }
            &Self::Decimal { precision, scale, bits } => {
                kind!(Decimal, Decimal, wire::DecimalArgs { precision, scale, bitWidth: bits })
            }
            &Self::Date(unit) => kind!(Date, Date, wire::DateArgs { unit }),
            &Self::Time { unit, bits } => kind!(Time, Time, wire::TimeArgs { unit, bitWidth: bits }),
            Self::Timestamp { unit, zone } => {
                let timezone = zone.as_ref().map(|zone| builder.create_string(zone));
                kind!(Timestamp, Timestamp, wire::TimestampArgs { unit: *unit, timezone })
            }
            &Self::Duration(unit) => kind!(Duration, Duration, wire::DurationArgs { unit }),
            Self::Binary => kind!(Binary, Binary, wire::BinaryArgs {}),
            Self::LargeBinary => kind!(LargeBinary, LargeBinary, wire::LargeBinaryArgs {}),
            Self::BinaryView => kind!(BinaryView, BinaryView, wire::BinaryViewArgs {}),
            Self::Utf8 => kind!(Utf8, Utf8, wire::Utf8Args {}),
            Self::LargeUtf8 => kind!(LargeUtf8, LargeUtf8, wire::LargeUtf8Args {}),
            Self::Utf8View => kind!(Utf8View, Utf8View, wire::Utf8ViewArgs {}),
            &Self::FixedSizeBinary { width } => {
                kind!(FixedSizeBinary, FixedSizeBinary, wire::FixedSizeBinaryArgs { byteWidth: width })
            }
            Self::List => kind!(List, List, wire::ListArgs {}),
            Self::LargeList => kind!(LargeList, LargeList, wire::LargeListArgs {}),
            Self::ListView => kind!(ListView, ListView, wire::ListViewArgs {}),
            Self::LargeListView => kind!(LargeListView, LargeListView, wire::LargeListViewArgs {}),
            &Self::FixedSizeList { size } => {
                kind!(FixedSizeList, FixedSizeList, wire::FixedSizeListArgs { listSize: size })
            }
            Self::Struct => kind!(Struct_, Struct_, wire::Struct_Args {}),
            Self::RunEnds => kind!(RunEndEncoded, RunEndEncoded, wire::RunEndEncodedArgs {}),
        }
    }
}
