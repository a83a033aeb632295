//! The stream: messages, dictionaries, record batches.

use std::sync::Arc;

use arrow_ipc::{BodyCompressionMethod, CompressionType, MessageHeader};

use super::{
    Bounds,
    array::{Array, Batch, Dictionaries},
    body::{Budget, Buffer, Codec},
    error::{ArrowError, Fault},
    framing::{self, Message, Messages},
    schema::{Field, Kind, Schema},
    schemas::Schemas,
};

/// Reads a stream and hands every record batch to `take`, with the schema.
///
/// A stream that ends without a schema is empty: nothing is handed over. Names of columns that are not UTF-8 are repaired. Schemas that are
/// `known` are not read again. `take` decides about the type of its error.
pub(crate) fn read<E: From<ArrowError>>(
    bytes: &[u8],
    bounds: Bounds,
    known: Option<&Schemas>,
    take: impl FnMut(&Schema, &Batch<'_, '_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut messages = Messages::new(bytes);
    if let Some(schema) = known.and_then(|known| messages.next_if(|metadata| known.get(metadata))) {
        return read_after(&schema, messages, bounds, take);
    }
    match messages.next() {
        Ok(None) => Ok(()),
        Ok(Some(first)) => {
            let schema = Arc::new(schema(&first, 0)?);
            // One with a body is no sender's that is known.
            if let (Some(known), true) = (known, first.body.is_empty()) {
                known.insert(first.metadata, schema.clone());
            }
            read_after(&schema, messages, bounds, take)
        }
        Err(error) => {
            let (repaired, names) = framing::with_repaired_names(bytes).ok_or(ArrowError::from(error))?;
            let mut messages = Messages::new(&repaired);
            match messages.next().map_err(ArrowError::from)? {
                Some(first) => read_after(&schema(&first, names)?, messages, bounds, take),
                None => Ok(()),
            }
        }
    }
}

fn schema(first: &Message<'_>, repaired_names: u64) -> Result<Schema, ArrowError> {
    match first.header.header_as_schema() {
        Some(schema) => Schema::of(schema, first.offset, repaired_names),
        None => Err(ArrowError::framing("the first message is no schema", first.offset)),
    }
}

fn read_after<E: From<ArrowError>>(
    schema: &Schema,
    mut messages: Messages<'_>,
    bounds: Bounds,
    mut take: impl FnMut(&Schema, &Batch<'_, '_>) -> Result<(), E>,
) -> Result<(), E> {
    let budget = Budget::new(bounds.plain_bytes_max);
    let mut dictionaries = Dictionaries::new();
    while let Some(message) = messages.next().map_err(ArrowError::from)? {
        match message.header.header_type() {
            MessageHeader::DictionaryBatch => {
                let (id, values) = dictionary(&message, schema, bounds)?;
                dictionaries.insert(id, values);
            }
            MessageHeader::RecordBatch => {
                let (columns, rows) = columns(&message, schema, bounds)?;
                let batch = Batch { columns, rows, dictionaries: &dictionaries, budget: &budget };
                take(schema, &batch)?;
            }
            _ => {
                let what = "a message is neither a dictionary nor a record batch";
                return Err(ArrowError::framing(what, message.offset).into());
            }
        }
    }
    Ok(())
}

fn dictionary<'s>(
    message: &Message<'s>,
    schema: &'s Schema,
    bounds: Bounds,
) -> Result<(i64, Array<'s>), ArrowError> {
    let Some((batch, wire)) =
        message.header.header_as_dictionary_batch().and_then(|batch| Some((batch, batch.data()?)))
    else {
        return Err(ArrowError::framing("a dictionary without data", message.offset));
    };
    let id = batch.id();
    let Some(field) = schema.fields.iter().find_map(|field| with_dictionary(field, id)) else {
        return Err(ArrowError::framing("a dictionary that no column uses", message.offset));
    };
    if batch.isDelta() {
        return Err(ArrowError::column(&field.path, Fault::Unsupported("delta dictionaries")));
    }
    let mut parts = Parts::of(message, wire, bounds)?;
    let values = parts.array(field, true)?;
    Ok((id, values))
}

fn columns<'s>(
    message: &Message<'s>,
    schema: &'s Schema,
    bounds: Bounds,
) -> Result<(Vec<Array<'s>>, usize), ArrowError> {
    let Some(wire) = message.header.header_as_record_batch() else {
        return Err(ArrowError::framing("a record batch without data", message.offset));
    };
    let rows = usize::try_from(wire.length()).unwrap_or(usize::MAX);
    let mut parts = Parts::of(message, wire, bounds)?;
    let mut columns = Vec::with_capacity(schema.fields.len());
    for field in &schema.fields {
        let column = parts.array(field, false)?;
        if column.len != rows {
            let fault = Fault::Inconsistent("its length differs from that of the batch");
            return Err(ArrowError::column(&field.path, fault));
        }
        columns.push(column);
    }
    Ok((columns, rows))
}

/// The field, this or one inside it, whose values are in the dictionary.
fn with_dictionary(field: &Field, id: i64) -> Option<&Field> {
    if field.dictionary.is_some_and(|dictionary| dictionary.id == id) {
        return Some(field);
    }
    field.children.iter().find_map(|child| with_dictionary(child, id))
}

/// Nodes and buffers of a message, taken in the order of the schema.
struct Parts<'a> {
    nodes: Vec<(i64, i64)>,
    buffers: Vec<Buffer<'a>>,
    /// Numbers of text buffers of view columns.
    variadic: Vec<i64>,
    next_node: usize,
    next_buffer: usize,
    next_variadic: usize,
    bounds: Bounds,
}

impl<'a> Parts<'a> {
    fn of(
        message: &Message<'a>,
        wire: arrow_ipc::RecordBatch<'_>,
        bounds: Bounds,
    ) -> Result<Self, ArrowError> {
        let codec = match wire.compression() {
            None => Codec::None,
            Some(compression) if compression.method() != BodyCompressionMethod::BUFFER => {
                return Err(ArrowError::framing("an unknown method of compression", message.offset));
            }
            Some(compression) => match compression.codec() {
                CompressionType::LZ4_FRAME => Codec::Lz4,
                CompressionType::ZSTD => Codec::Zstd,
                _ => return Err(ArrowError::framing("an unknown compression", message.offset)),
            },
        };
        let body = message.body;
        let buffer = |wire: &arrow_ipc::Buffer| {
            let start = usize::try_from(wire.offset()).ok()?;
            let end = start.checked_add(usize::try_from(wire.length()).ok()?)?;
            Some(Buffer { bytes: body.get(start..end)?, codec })
        };
        let buffers: Option<Vec<_>> =
            wire.buffers().map_or(Some(Vec::new()), |b| b.iter().map(buffer).collect());
        let Some(buffers) = buffers else {
            return Err(ArrowError::framing("a buffer outside the body of its message", message.offset));
        };
        let nodes = wire.nodes().map(|n| n.iter().map(|n| (n.length(), n.null_count())).collect());
        let variadic = wire.variadicBufferCounts().map(|counts| counts.iter().collect());
        Ok(Self {
            nodes: nodes.unwrap_or_default(),
            buffers,
            variadic: variadic.unwrap_or_default(),
            next_node: 0,
            next_buffer: 0,
            next_variadic: 0,
            bounds,
        })
    }

    /// The array of a field: its values, or the indices into its dictionary unless this message is the dictionary.
    fn array<'s>(&mut self, field: &'s Field, is_dictionary: bool) -> Result<Array<'s>, ArrowError>
    where
        'a: 's,
    {
        let fault = |fault| ArrowError::column(&field.path, fault);
        let Some(&(len, null_count)) = self.nodes.get(self.next_node) else {
            return Err(fault(Fault::Inconsistent("the message does not say how many rows it has")));
        };
        self.next_node += 1;
        let len = usize::try_from(len).map_err(|_| fault(Fault::Inconsistent("its length is negative")))?;
        if len > self.bounds.rows_max {
            return Err(fault(Fault::Limit { what: "rows", found: len, limit: self.bounds.rows_max }));
        }
        let null_count = usize::try_from(null_count).unwrap_or(usize::MAX);
        let by_index = field.dictionary.is_some() && !is_dictionary;
        let count = match field.kind {
            _ if by_index => 2,
            Kind::Null | Kind::RunEnds => 0,
            Kind::Struct | Kind::FixedList { .. } => 1,
            Kind::Union { is_dense } => 1 + usize::from(is_dense),
            Kind::Bool
            | Kind::Integer { .. }
            | Kind::Timestamp { .. }
            | Kind::Opaque { .. }
            | Kind::FixedBytes { .. }
            | Kind::List { .. } => 2,
            Kind::Bytes { .. } | Kind::ListViews { .. } => 3,
            Kind::Views => {
                let texts = self.variadic.get(self.next_variadic).copied();
                self.next_variadic += 1;
                let texts = texts.and_then(|texts| usize::try_from(texts).ok());
                2 + texts.ok_or_else(|| fault(Fault::Inconsistent("the number of its buffers is missing")))?
            }
        };
        let end = self.next_buffer.saturating_add(count);
        let Some(buffers) = self.buffers.get(self.next_buffer..end) else {
            return Err(fault(Fault::Inconsistent("the message has too few buffers")));
        };
        let buffers = buffers.to_vec();
        self.next_buffer = end;
        let mut children = Vec::new();
        if !by_index {
            for child in &field.children {
                let child_array = self.array(child, false)?;
                if field.kind == Kind::Struct && child_array.len != len {
                    let reason = Fault::Inconsistent("its length differs from that of its struct");
                    return Err(ArrowError::column(&child.path, reason));
                }
                children.push(child_array);
            }
        }
        Ok(Array { field, len, null_count, buffers, children, is_dictionary })
    }
}
