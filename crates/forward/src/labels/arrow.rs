//! Labels in Arrow streams: columns added to the schema and to each record batch, with a dictionary of one value each.
//!
//! ```text
//! schema:            … label columns …             → … label columns, those of the sender and ours, by name …
//! dictionary batch:  as it came                    → but for those of columns that ours replace; ours first
//! record batch:      nodes, buffers, body          → nodes and buffers of ours put in, their bytes after the body
//! ```
//! Constraints: what the sender's columns hold is neither decompressed nor read. A column of ours is what the agent's own label
//! columns are: run ends over a dictionary, here of a single run. Everything is checked before it is used; a stream that is
//! wrong is refused.

use std::collections::BTreeSet;

use arrow_ipc::{self as wire, MessageHeader, MetadataVersion};
use bytes::Bytes;
use decima_ingest::arrow::framing::{FramingError, Message, Messages};
use flatbuffers::FlatBufferBuilder;

use super::schema::{Dictionary, Field, Kind, Schema, finish};

const CONTINUATION: [u8; 4] = [0xff; 4];
/// Bodies and buffers begin at multiples of this.
const ALIGNMENT: usize = 8;
/// Name of a label column of the first schema, before the label's.
const PREFIX: &str = "labels.";
/// Name of the column with the labels in the second schema.
const STRUCT: &str = "labels";
/// Length before a buffer in a compressed body that says that it is not compressed.
const NOT_COMPRESSED: [u8; 8] = (-1_i64).to_le_bytes();

/// A stream to which no labels can be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrowError {
    /// It is no stream.
    #[error("not a readable Arrow stream: {0}")]
    Framing(#[from] FramingError),
    /// It contradicts itself.
    #[error("the Arrow stream is inconsistent: {0}")]
    Inconsistent(&'static str),
    /// It is right and not understood.
    #[error("external labels cannot be added to this Arrow stream: {0}")]
    Unsupported(&'static str),
}

/// Where labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Columns of their own, whose names have a prefix (first schema); values are bytes.
    Columns,
    /// Fields of a struct (second schema); values are text.
    Struct,
}

impl Place {
    fn name(self, label: &str) -> String {
        match self {
            Self::Columns => format!("{PREFIX}{label}"),
            Self::Struct => label.to_owned(),
        }
    }

    fn is_label(self, field: &Field) -> bool {
        self == Self::Struct || field.name.starts_with(PREFIX)
    }
}

/// Adds labels, sorted by name, in place of the sender's own of the same names.
pub(super) fn add(stream: &[u8], place: Place, labels: &[(String, String)]) -> Result<Bytes, ArrowError> {
    let mut messages = Messages::new(stream);
    // Without a schema there are no samples.
    let Some(first) = messages.next()? else { return Ok(Bytes::copy_from_slice(stream)) };
    let Some(schema) = first.header.header_as_schema() else {
        return Err(
            FramingError::Stream { what: "the first message is no schema", offset: first.offset }.into()
        );
    };
    let edit = Edit::new(Schema::read(schema)?, place, labels)?;
    let mut out = Vec::with_capacity(stream.len() + 1024 * (labels.len() + 1));
    put(&edit.new.write(first.header.version()), &[], &mut out);
    for (column, (_, value)) in edit.columns.iter().zip(labels) {
        let (metadata, body) = dictionary(column.id, value, first.header.version());
        put(&metadata, &body, &mut out);
    }
    while let Some(message) = messages.next()? {
        match message.header.header_type() {
            MessageHeader::DictionaryBatch => {
                let id = message.header.header_as_dictionary_batch().map(|batch| batch.id());
                if id.is_some_and(|id| !edit.replaced.contains(&id)) {
                    put(message.metadata, message.body, &mut out);
                }
            }
            MessageHeader::RecordBatch => {
                let (metadata, body) = edit.batch(&message)?;
                put(&metadata, &body, &mut out);
            }
            _ => {
                let what = "a message is neither a dictionary nor a record batch";
                return Err(FramingError::Stream { what, offset: message.offset }.into());
            }
        }
    }
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&0_i32.to_le_bytes());
    Ok(out.into())
}

/// A column of ours.
struct Column {
    id: i64,
}

/// What becomes of each field of the schema.
struct Edit {
    old: Vec<Field>,
    new: Schema,
    place: Place,
    /// Fields beside each other in the new schema, at the place of the labels.
    order: Vec<Slot>,
    columns: Vec<Column>,
    /// Dictionaries that nothing uses any more.
    replaced: BTreeSet<i64>,
}

/// Where a field at the place of the labels comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// The sender's, by its place among the old ones.
    Theirs(usize),
    /// Ours.
    Ours,
}

impl Edit {
    fn new(mut schema: Schema, place: Place, labels: &[(String, String)]) -> Result<Self, ArrowError> {
        if place == Place::Struct && !schema.fields.iter().any(|field| field.name == STRUCT) {
            return Err(ArrowError::Inconsistent("there is no column labels"));
        }
        let old = schema.fields.clone();
        let mut ids = BTreeSet::new();
        old.iter().for_each(|field| dictionaries(field, &mut ids));
        let next_id = ids.last().map_or(Some(0), |last| last.checked_add(1));
        let last_id = next_id.and_then(|next| next.checked_add(labels.len() as i64));
        let (Some(next_id), Some(_)) = (next_id, last_id) else {
            return Err(ArrowError::Inconsistent("the id of a dictionary is the largest there can be"));
        };
        let siblings = match place {
            Place::Columns => &mut schema.fields,
            Place::Struct => match schema.fields.iter_mut().find(|field| field.name == STRUCT) {
                Some(Field { kind: Kind::Struct, dictionary: None, children, .. }) => children,
                _ => return Err(ArrowError::Inconsistent("the column labels is no struct")),
            },
        };
        let theirs = std::mem::take(siblings);
        let names: Vec<_> = labels.iter().map(|(label, _)| place.name(label)).collect();
        let mut replaced = BTreeSet::new();
        let mut merged: Vec<(Slot, Field)> = Vec::new();
        for (index, field) in theirs.into_iter().enumerate() {
            if names.contains(&field.name) {
                dictionaries(&field, &mut replaced);
            } else {
                merged.push((Slot::Theirs(index), field));
            }
        }
        let mut columns = Vec::new();
        for (name, id) in names.into_iter().zip(next_id..) {
            let is_after = |(_, field): &(Slot, Field)| place.is_label(field) && field.name > name;
            let is_label = |(_, field): &(Slot, Field)| place.is_label(field);
            let at = merged.iter().position(is_after);
            let at = at.or_else(|| merged.iter().rposition(is_label).map(|last| last + 1)).unwrap_or(0);
            merged.insert(at, (Slot::Ours, column(&name, id, place)));
            columns.push(Column { id });
        }
        let mut used = BTreeSet::new();
        let order = merged.iter().map(|(slot, _)| *slot).collect();
        *siblings = merged.into_iter().map(|(_, field)| field).collect();
        schema.fields.iter().for_each(|field| dictionaries(field, &mut used));
        replaced.retain(|id| !used.contains(id));
        Ok(Self { old, new: schema, place, order, columns, replaced })
    }

    /// A record batch with our columns.
    fn batch(&self, message: &Message<'_>) -> Result<(Vec<u8>, Vec<u8>), ArrowError> {
        let batch = message.header.header_as_record_batch();
        let batch = batch.ok_or(ArrowError::Inconsistent("a record batch without data"))?;
        let rows = batch.length();
        let run_end = i32::try_from(rows).map_err(|_| ArrowError::Inconsistent("the number of rows"))?;
        let mut parts = Parts::of(&batch);
        let mut out = Out {
            body: message.body.to_vec(),
            is_compressed: batch.compression().is_some(),
            ..Out::default()
        };
        let mut ours = |out: &mut Out| {
            let runs = i64::from(rows > 0);
            out.nodes.extend(
                [(rows, 0), (runs, 0), (runs, 0)].map(|(len, nulls)| wire::FieldNode::new(len, nulls)),
            );
            for value in [run_end, 0] {
                out.buffer(&[]);
                out.buffer(value.to_le_bytes().get(..if rows > 0 { 4 } else { 0 }).unwrap_or_default());
            }
        };
        // Theirs are taken in the old order, and put where the new one has them: both are the same but for ours.
        match self.place {
            Place::Columns => parts.siblings(&self.old, &self.order, &mut out, &mut ours)?,
            Place::Struct => {
                for field in &self.old {
                    if field.name == STRUCT {
                        parts.own(field, &mut out, true)?;
                        parts.siblings(&field.children, &self.order, &mut out, &mut ours)?;
                    } else {
                        parts.whole(field, &mut out, true)?;
                    }
                }
            }
        }
        out.finish(&batch, message.header.version())
    }
}

/// A label column: run ends over a dictionary.
fn column(name: &str, id: i64, place: Place) -> Field {
    let part = |name: &str, kind, dictionary, nullable| Field {
        name: name.to_owned(),
        kind,
        dictionary,
        children: Vec::new(),
        nullable,
        metadata: Vec::new(),
    };
    let run_ends = part("run_ends", Kind::Int { bits: 32, is_signed: true }, None, false);
    let text = if place == Place::Columns { Kind::Binary } else { Kind::Utf8 };
    let dictionary = Dictionary { id, index_bits: 32, is_signed: false, is_ordered: false };
    let values = part("values", text, Some(dictionary), true);
    Field { children: vec![run_ends, values], ..part(name, Kind::RunEnds, None, true) }
}

fn dictionaries(field: &Field, ids: &mut BTreeSet<i64>) {
    ids.extend(field.dictionary.map(|dictionary| dictionary.id));
    field.children.iter().for_each(|child| dictionaries(child, ids));
}

/// Nodes and buffers of a batch, taken in the order of the old schema.
struct Parts {
    nodes: std::vec::IntoIter<wire::FieldNode>,
    buffers: std::vec::IntoIter<wire::Buffer>,
    variadic: std::vec::IntoIter<i64>,
}

impl Parts {
    fn of(batch: &wire::RecordBatch<'_>) -> Self {
        let nodes: Vec<_> = batch.nodes().map(|nodes| nodes.iter().copied().collect()).unwrap_or_default();
        let buffers: Vec<_> =
            batch.buffers().map(|buffers| buffers.iter().copied().collect()).unwrap_or_default();
        let variadic: Vec<_> =
            batch.variadicBufferCounts().map(|counts| counts.iter().collect()).unwrap_or_default();
        Self { nodes: nodes.into_iter(), buffers: buffers.into_iter(), variadic: variadic.into_iter() }
    }

    /// Fields beside each other, with ours among them.
    fn siblings(
        &mut self,
        old: &[Field],
        order: &[Slot],
        out: &mut Out,
        ours: &mut impl FnMut(&mut Out),
    ) -> Result<(), ArrowError> {
        let mut next = 0;
        for slot in order {
            match *slot {
                Slot::Ours => ours(out),
                Slot::Theirs(index) => {
                    for replaced in old.get(next..index).unwrap_or_default() {
                        self.whole(replaced, out, false)?;
                    }
                    if let Some(field) = old.get(index) {
                        self.whole(field, out, true)?;
                    }
                    next = index + 1;
                }
            }
        }
        for replaced in old.get(next..).unwrap_or_default() {
            self.whole(replaced, out, false)?;
        }
        Ok(())
    }

    /// A field with those in it.
    fn whole(&mut self, field: &Field, out: &mut Out, keep: bool) -> Result<(), ArrowError> {
        self.own(field, out, keep)?;
        if field.dictionary.is_none() {
            for child in &field.children {
                self.whole(child, out, keep)?;
            }
        }
        Ok(())
    }

    /// A field's own node and buffers.
    fn own(&mut self, field: &Field, out: &mut Out, keep: bool) -> Result<(), ArrowError> {
        let node = self.nodes.next().ok_or(ArrowError::Inconsistent("a batch has too few nodes"))?;
        let count = match field.kind {
            _ if field.dictionary.is_some() => 2,
            Kind::Null | Kind::RunEnds => 0,
            Kind::Struct | Kind::FixedSizeList { .. } => 1,
            Kind::Binary | Kind::LargeBinary | Kind::Utf8 | Kind::LargeUtf8 => 3,
            Kind::ListView | Kind::LargeListView => 3,
            Kind::BinaryView | Kind::Utf8View => {
                let few = || ArrowError::Inconsistent("a batch does not say how many buffers a column has");
                let texts = self.variadic.next().ok_or_else(few)?;
                if keep {
                    out.variadic.push(texts);
                }
                usize::try_from(texts).ok().and_then(|texts| texts.checked_add(2)).ok_or_else(few)?
            }
            _ => 2,
        };
        if keep {
            out.nodes.push(node);
        }
        for _ in 0..count {
            let buffer =
                self.buffers.next().ok_or(ArrowError::Inconsistent("a batch has too few buffers"))?;
            if keep {
                out.buffers.push(buffer);
            }
        }
        Ok(())
    }
}

/// A batch in the making.
#[derive(Default)]
struct Out {
    nodes: Vec<wire::FieldNode>,
    buffers: Vec<wire::Buffer>,
    variadic: Vec<i64>,
    body: Vec<u8>,
    is_compressed: bool,
}

impl Out {
    /// Adds a buffer of ours behind what is there.
    fn buffer(&mut self, bytes: &[u8]) {
        pad(&mut self.body);
        let start = self.body.len();
        if !bytes.is_empty() && self.is_compressed {
            self.body.extend_from_slice(&NOT_COMPRESSED);
        }
        self.body.extend_from_slice(bytes);
        self.buffers.push(wire::Buffer::new(start as i64, (self.body.len() - start) as i64));
        pad(&mut self.body);
    }

    fn finish(
        self,
        batch: &wire::RecordBatch<'_>,
        version: MetadataVersion,
    ) -> Result<(Vec<u8>, Vec<u8>), ArrowError> {
        let mut builder = FlatBufferBuilder::new();
        let compression = batch.compression().map(|compression| {
            let args = wire::BodyCompressionArgs { codec: compression.codec(), method: compression.method() };
            wire::BodyCompression::create(&mut builder, &args)
        });
        let variadic = (!self.variadic.is_empty()).then(|| builder.create_vector(&self.variadic));
        let args = wire::RecordBatchArgs {
            length: batch.length(),
            nodes: Some(builder.create_vector(&self.nodes)),
            buffers: Some(builder.create_vector(&self.buffers)),
            compression,
            variadicBufferCounts: variadic,
        };
        let header = wire::RecordBatch::create(&mut builder, &args).as_union_value();
        let length = self.body.len() as i64;
        Ok((finish(builder, version, MessageHeader::RecordBatch, header, length), self.body))
    }
}

/// The dictionary of a column of ours.
fn dictionary(id: i64, value: &str, version: MetadataVersion) -> (Vec<u8>, Vec<u8>) {
    let mut out = Out { nodes: vec![wire::FieldNode::new(1, 0)], ..Out::default() };
    let mut offsets = 0_i32.to_le_bytes().to_vec();
    // Values come from the command line.
    offsets.extend_from_slice(&i32::try_from(value.len()).unwrap_or(i32::MAX).to_le_bytes());
    for buffer in [&[], offsets.as_slice(), value.as_bytes()] {
        out.buffer(buffer);
    }
    let mut builder = FlatBufferBuilder::new();
    let args = wire::RecordBatchArgs {
        length: 1,
        nodes: Some(builder.create_vector(&out.nodes)),
        buffers: Some(builder.create_vector(&out.buffers)),
        ..Default::default()
    };
    let data = wire::RecordBatch::create(&mut builder, &args);
    let args = wire::DictionaryBatchArgs { id, data: Some(data), isDelta: false };
    let header = wire::DictionaryBatch::create(&mut builder, &args).as_union_value();
    let length = out.body.len() as i64;
    (finish(builder, version, MessageHeader::DictionaryBatch, header, length), out.body)
}

/// Writes a message. Its metadata is padded so that the body begins where it may.
fn put(metadata: &[u8], body: &[u8], out: &mut Vec<u8>) {
    let length = metadata.len().next_multiple_of(ALIGNMENT);
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes());
    out.extend_from_slice(metadata);
    out.resize(out.len() + length - metadata.len(), 0);
    out.extend_from_slice(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
}
