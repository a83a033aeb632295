//! Arrow columns as Parca's viewers expect them: the narrowest integers, dictionaries of binary text.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Int8Array, Int16Array, Int32Array, Int64Array,
    RecordBatch, StringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
    types::{UInt8Type, UInt16Type, UInt32Type},
};
use arrow_ipc::{
    CompressionType,
    writer::{IpcWriteOptions, StreamWriter},
};
use arrow_schema::{ArrowError, Field, Schema};
use decima_symbols::Unresolved;
use hashbrown::HashMap;

use crate::{
    api::QueryError,
    names::{TextId, Texts},
};

fn internal(error: &ArrowError) -> QueryError {
    QueryError::Internal { message: format!("building an Arrow record: {error}") }
}

/// Unsigned integers in the narrowest type whose largest value stays free.
pub(super) fn narrow_uint(values: &[Option<u64>]) -> ArrayRef {
    let max = values.iter().flatten().max().copied().unwrap_or_default();
    if max < u64::from(u8::MAX) {
        Arc::new(values.iter().map(|v| v.map(|v| v as u8)).collect::<UInt8Array>())
    } else if max < u64::from(u16::MAX) {
        Arc::new(values.iter().map(|v| v.map(|v| v as u16)).collect::<UInt16Array>())
    } else if max < u64::from(u32::MAX) {
        Arc::new(values.iter().map(|v| v.map(|v| v as u32)).collect::<UInt32Array>())
    } else {
        Arc::new(values.iter().copied().collect::<UInt64Array>())
    }
}

/// Signed integers in the narrowest type that holds them all.
pub(super) fn narrow_int(values: &[i64]) -> ArrayRef {
    let min = values.iter().min().copied().unwrap_or_default();
    let max = values.iter().max().copied().unwrap_or_default();
    let fits = |low: i64, high: i64| low <= min && max <= high;
    if fits(i8::MIN.into(), i8::MAX.into()) {
        Arc::new(values.iter().map(|&v| Some(v as i8)).collect::<Int8Array>())
    } else if fits(i16::MIN.into(), i16::MAX.into()) {
        Arc::new(values.iter().map(|&v| Some(v as i16)).collect::<Int16Array>())
    } else if fits(i32::MIN.into(), i32::MAX.into()) {
        Arc::new(values.iter().map(|&v| Some(v as i32)).collect::<Int32Array>())
    } else {
        Arc::new(values.iter().copied().map(Some).collect::<Int64Array>())
    }
}

/// Distinct texts of a column and the place of each row's text among them.
fn dictionary(rows: impl Iterator<Item = Option<TextId>>) -> (Vec<TextId>, Vec<Option<u64>>) {
    let mut distinct = Vec::new();
    let mut places = HashMap::new();
    // Empty text means that it is not known.
    let keys = rows.map(|text| text.filter(|&id| id != 0)).map(|text| {
        text.map(|id| {
            *places.entry(id).or_insert_with(|| {
                distinct.push(id);
                distinct.len() as u64 - 1
            })
        })
    });
    let keys = keys.collect();
    (distinct, keys)
}

/// Texts as a dictionary of binary values with the narrowest index.
pub(super) fn binary_dictionary(
    rows: impl Iterator<Item = Option<TextId>>,
    texts: &Texts,
) -> Result<ArrayRef, QueryError> {
    let (distinct, keys) = dictionary(rows);
    let values: ArrayRef =
        Arc::new(BinaryArray::from_iter_values(distinct.iter().map(|&id| texts.get(id).as_bytes())));
    let keys = narrow_uint(&keys);
    let any = keys.as_any();
    let array: Result<ArrayRef, ArrowError> = if let Some(keys) = any.downcast_ref::<UInt8Array>() {
        DictionaryArray::<UInt8Type>::try_new(keys.clone(), values).map(|a| Arc::new(a) as ArrayRef)
    } else if let Some(keys) = any.downcast_ref::<UInt16Array>() {
        DictionaryArray::<UInt16Type>::try_new(keys.clone(), values).map(|a| Arc::new(a) as ArrayRef)
    } else if let Some(keys) = any.downcast_ref::<UInt32Array>() {
        DictionaryArray::<UInt32Type>::try_new(keys.clone(), values).map(|a| Arc::new(a) as ArrayRef)
    } else {
        return Err(QueryError::Internal { message: "more than 2^32 distinct texts in a column".to_owned() });
    };
    array.map_err(|e| internal(&e))
}

/// Texts as a dictionary of strings; the index has 16 bits if `narrow` and they suffice, else 32.
pub(super) fn string_dictionary(
    rows: impl Iterator<Item = Option<TextId>>,
    texts: &Texts,
    narrow: bool,
) -> Result<ArrayRef, QueryError> {
    let (distinct, keys) = dictionary(rows);
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(distinct.iter().map(|&id| texts.get(id))));
    let array = if narrow && distinct.len() <= usize::from(u16::MAX) {
        let keys: UInt16Array = keys.iter().map(|k| k.map(|k| k as u16)).collect();
        DictionaryArray::<UInt16Type>::try_new(keys, values).map(|a| Arc::new(a) as ArrayRef)
    } else {
        let keys: UInt32Array = keys.iter().map(|k| k.map(|k| k as u32)).collect();
        DictionaryArray::<UInt32Type>::try_new(keys, values).map(|a| Arc::new(a) as ArrayRef)
    };
    array.map_err(|e| internal(&e))
}

/// Sentences that say why frames have no function, as a dictionary of strings.
pub(super) fn unresolved(rows: impl Iterator<Item = Option<Unresolved>>) -> Result<ArrayRef, QueryError> {
    let sentences = StringArray::from_iter_values(Unresolved::ALL.iter().map(ToString::to_string));
    let place = |reason: Unresolved| Unresolved::ALL.iter().position(|&known| known == reason);
    let keys: UInt8Array = rows.map(|reason| reason.and_then(place).map(|place| place as u8)).collect();
    match DictionaryArray::<UInt8Type>::try_new(keys, Arc::new(sentences)) {
        Ok(array) => Ok(Arc::new(array)),
        Err(error) => Err(internal(&error)),
    }
}

/// One batch as an IPC stream. All columns are declared nullable, since all may hold nulls.
pub(super) fn ipc_stream(columns: Vec<(String, ArrayRef)>, compress: bool) -> Result<Vec<u8>, QueryError> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|e| internal(&e))?;
    let options = IpcWriteOptions::default()
        .try_with_compression(compress.then_some(CompressionType::LZ4_FRAME))
        .map_err(|e| internal(&e))?;
    // Growing by doubling would hold a large answer three times.
    let mut stream = Vec::with_capacity(batch.get_array_memory_size() / 8 * 9 + 4096);
    let written = StreamWriter::try_new_with_options(&mut stream, &schema, options).and_then(|mut writer| {
        writer.write(&batch)?;
        writer.finish()
    });
    written.map_err(|e| internal(&e))?;
    Ok(stream)
}
