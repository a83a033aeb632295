//! Columns of a batch, and how their values are read.

use std::{collections::HashMap, ops::Range};

use super::{
    body::{Budget, Buffer, Bytes, Unread},
    error::{ArrowError, Fault},
    schema::{Dictionary, Field, Kind},
};

/// Stands for null among the codes of a dictionary.
pub(crate) const NULL: u32 = u32::MAX;

/// Dictionaries by id, as they are when a batch comes.
pub(super) type Dictionaries<'a> = HashMap<i64, Array<'a>>;

/// A column, or a part of one, as it came: nothing is decompressed or checked before it is asked for.
#[derive(Debug)]
pub(crate) struct Array<'a> {
    pub(super) field: &'a Field,
    pub(super) len: usize,
    pub(super) null_count: usize,
    /// As the format orders them; for columns with a dictionary those of the indices.
    pub(super) buffers: Vec<Buffer<'a>>,
    pub(super) children: Vec<Array<'a>>,
    /// Whether this holds the values of the field's dictionary rather than indices into it.
    pub(super) is_dictionary: bool,
}

/// A value of a column of text or bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'t> {
    /// Known to be UTF-8.
    Text(&'t str),
    /// Not looked at, or not UTF-8.
    Bytes(&'t [u8]),
}

impl<'t> Value<'t> {
    /// Its bytes.
    pub(crate) fn bytes(self) -> &'t [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Values beside each other: a look at all of them takes less than one at each.
struct Values<'t> {
    bytes: &'t [u8],
    text: Option<&'t str>,
}

impl<'t> Values<'t> {
    fn of(bytes: &'t [u8]) -> Self {
        Self { bytes, text: std::str::from_utf8(bytes).ok() }
    }

    /// `None` if it is not there.
    fn get(&self, range: Range<usize>) -> Option<Value<'t>> {
        match self.text.and_then(|text| text.get(range.clone())) {
            Some(text) => Some(Value::Text(text)),
            None => self.bytes.get(range).map(Value::Bytes),
        }
    }
}

/// A record batch with what its columns refer to.
pub(crate) struct Batch<'a, 's> {
    pub(super) columns: Vec<Array<'a>>,
    pub(super) rows: usize,
    pub(super) dictionaries: &'s Dictionaries<'a>,
    pub(super) budget: &'s Budget,
}

/// A list column: where the entries of each row are in the child.
pub(crate) struct Lists<'b, 'a> {
    /// First entry and number of entries, checked against the child; both 0 for null.
    pub(crate) spans: Vec<(u32, u32)>,
    /// What the spans lead into.
    pub(crate) entries: &'b Array<'a>,
}

impl<'a> Array<'a> {
    /// Its name.
    pub(crate) fn name(&self) -> &'a str {
        &self.field.name
    }

    /// Where it is, for error messages.
    pub(crate) fn path(&self) -> &'a str {
        &self.field.path
    }

    /// Its rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether it is run-end encoded.
    pub(crate) fn is_runs(&self) -> bool {
        self.dictionary().is_none() && self.field.kind == Kind::RunEnds
    }

    /// The part of a struct with this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.field.name == name)
    }

    /// The parts of a struct.
    pub(crate) fn children(&self) -> &[Self] {
        &self.children
    }

    /// Says that this should have been something else.
    #[cold]
    pub(crate) fn wrong_type(&self, expected: &'static str) -> ArrowError {
        ArrowError::column(self.path(), Fault::WrongType { found: self.field.kind.name(), expected })
    }

    /// A fault of one of its rows.
    #[cold]
    pub(crate) fn at(&self, row: usize, fault: Fault) -> ArrowError {
        ArrowError::row(self.path(), row, fault)
    }

    /// A fault by which none of its rows can be read.
    #[cold]
    pub(crate) fn rows(&self, fault: Fault) -> ArrowError {
        ArrowError::rows(self.path(), self.len, fault)
    }

    fn fault(&self, fault: Fault) -> ArrowError {
        ArrowError::column(self.path(), fault)
    }

    fn dictionary(&self) -> Option<Dictionary> {
        self.field.dictionary.filter(|_| !self.is_dictionary)
    }

    /// The bytes of a buffer, at least so many of them.
    fn buffer<'b>(
        &self,
        index: usize,
        name: &'static str,
        needed: usize,
        budget: &'b Budget,
    ) -> Result<Bytes<'a, 'b>, ArrowError> {
        let bytes = match self.buffers.get(index) {
            Some(buffer) => buffer.read(budget).map_err(|unread| {
                self.rows(match unread {
                    Unread::Damaged(damage) => Fault::Compression { index, buffer: name, damage },
                    Unread::TooLarge(fault) => fault,
                })
            })?,
            None => Bytes::Borrowed(&[]),
        };
        if bytes.len() < needed {
            return Err(self.rows(Fault::CutShort { buffer: name, found: bytes.len(), needed }));
        }
        Ok(bytes)
    }
}

impl<'a> Batch<'a, '_> {
    /// Its rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Its columns.
    pub(crate) fn columns(&self) -> &[Array<'a>] {
        &self.columns
    }

    /// The column with this name.
    pub(crate) fn column(&self, name: &str) -> Option<&Array<'a>> {
        self.columns.iter().find(|column| column.field.name == name)
    }

    /// The column with this name, or a fault that it is missing.
    pub(crate) fn required(&self, name: &str) -> Result<&Array<'a>, ArrowError> {
        self.column(name).ok_or_else(|| ArrowError::column(name, Fault::Missing))
    }

    /// The values behind a column's indices, if it has a dictionary.
    pub(crate) fn dictionary_of(&self, array: &Array<'a>) -> Result<Option<&Array<'a>>, ArrowError> {
        let Some(dictionary) = array.dictionary() else { return Ok(None) };
        match self.dictionaries.get(&dictionary.id) {
            Some(values) => Ok(Some(values)),
            None => Err(array.fault(Fault::Inconsistent("its dictionary was not sent"))),
        }
    }

    /// Which rows are not null; `None` if all are.
    pub(crate) fn validity(&self, array: &Array<'a>) -> Result<Option<Vec<bool>>, ArrowError> {
        let has_bitmap = !matches!(array.field.kind, Kind::Null | Kind::RunEnds | Kind::Union { .. })
            || array.dictionary().is_some();
        if array.null_count == 0 || !has_bitmap {
            return Ok(None);
        }
        let needed = array.len.div_ceil(8);
        let bits = array.buffer(0, "validity bits", needed, self.budget)?;
        let mut valid = Vec::with_capacity(8 * needed);
        for &byte in bits.iter().take(needed) {
            valid.extend((0..8).map(|bit| byte >> bit & 1 == 1));
        }
        valid.truncate(array.len);
        Ok(Some(valid))
    }

    /// Whole numbers of any width, behind a dictionary, run ends or neither; negative ones in two's complement, times in
    /// nanoseconds, null as 0.
    pub(crate) fn integers(&self, array: &Array<'a>) -> Result<Vec<u64>, ArrowError> {
        if let Some(values) = self.dictionary_of(array)? {
            let values = self.integers(values)?;
            let codes = self.codes(array, values.len())?;
            return Ok(looked_up(&codes, values));
        }
        let mut numbers = match array.field.kind {
            Kind::RunEnds => {
                let (ends, values) = self.runs(array)?;
                return Ok(expand(&ends, &self.integers(values)?, array.len));
            }
            Kind::Integer { width, is_signed } => self.fixed(array, width, is_signed)?,
            Kind::Timestamp { unit_ns } => {
                let mut times = self.fixed(array, 8, true)?;
                if unit_ns != 1 {
                    times.iter_mut().for_each(|time| *time = (*time as i64).saturating_mul(unit_ns) as u64);
                }
                times
            }
            Kind::Null => return Ok(vec![0; array.len]),
            _ => return Err(array.wrong_type("integer")),
        };
        if let Some(valid) = self.validity(array)? {
            numbers.iter_mut().zip(valid).for_each(|(number, valid)| *number *= u64::from(valid));
        }
        Ok(numbers)
    }

    fn fixed(&self, array: &Array<'a>, width: usize, is_signed: bool) -> Result<Vec<u64>, ArrowError> {
        let len = array.len;
        let bytes = array.buffer(1, "values", len.saturating_mul(width), self.budget)?;
        Ok(widened(&bytes, len, width, is_signed))
    }

    /// Indices into a dictionary of `count` values; [`NULL`] for null.
    pub(crate) fn codes(&self, array: &Array<'a>, count: usize) -> Result<Vec<u32>, ArrowError> {
        let Some(dictionary) = array.dictionary() else { return Err(array.wrong_type("dictionary")) };
        let len = array.len;
        let width = dictionary.index_width;
        let bytes = array.buffer(1, "indices", len.saturating_mul(width), self.budget)?;
        let valid = self.validity(array)?;
        let mut codes: Vec<u32> = match width {
            // The usual case, and the largest column of a request: the locations of its stacktraces.
            4 => bytes.as_chunks::<4>().0.iter().take(len).map(|word| u32::from_le_bytes(*word)).collect(),
            _ => widened(&bytes, len, width, false)
                .into_iter()
                .map(|code| u32::try_from(code).unwrap_or(NULL - 1))
                .collect(),
        };
        let limit = count.min(NULL as usize - 1) as u32;
        let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid[row]);
        let are_wrong = |codes: &[u32]| codes.iter().fold(false, |wrong, &code| wrong | (code >= limit));
        if are_wrong(&codes)
            && let Some(row) = (0..len).find(|&row| codes[row] >= limit && is_valid(row))
        {
            let found = i128::from(widened(&bytes, len, width, false)[row]);
            return Err(array.at(row, Fault::OutOfRange { what: "dictionary index", found, count }));
        }
        if let Some(valid) = valid {
            // All bits of it: a branch for each would be wrong half of the time.
            codes.iter_mut().zip(valid).for_each(|(code, valid)| *code |= NULL * u32::from(!valid));
        }
        Ok(codes)
    }

    /// Where each run ends (exclusive, the last one at the end of the column), and the values of the runs.
    pub(crate) fn runs<'b>(&self, array: &'b Array<'a>) -> Result<(Vec<u32>, &'b Array<'a>), ArrowError> {
        let (Kind::RunEnds, [ends, values]) = (array.field.kind, array.children.as_slice()) else {
            return Err(array.wrong_type("run-end encoded"));
        };
        let Kind::Integer { width, .. } = ends.field.kind else {
            return Err(array.wrong_type("run-end encoded with integers as run ends"));
        };
        if ends.len > values.len {
            return Err(array.at(values.len, Fault::Inconsistent("it has more run ends than values")));
        }
        let mut before = 0;
        let mut checked = Vec::with_capacity(ends.len);
        for (run, end) in self.fixed(ends, width, true)?.into_iter().enumerate() {
            let end = end as i64;
            if end <= before {
                let reason = Fault::Inconsistent("run ends must be positive and grow");
                return Err(array.at(run, reason));
            }
            before = end;
            checked.push(u32::try_from(end.min(array.len as i64)).unwrap_or(u32::MAX));
        }
        if before < array.len as i64 {
            let fault = Fault::OutOfRange {
                what: "the last row of",
                found: array.len as i128,
                count: before as usize,
            };
            return Err(array.at(before as usize, fault));
        }
        Ok((checked, values))
    }

    /// Hands the value of each row (text or binary, `None` for null) to `visit`.
    pub(crate) fn visit_bytes(
        &self,
        array: &Array<'a>,
        mut visit: impl FnMut(usize, Option<Value<'_>>),
    ) -> Result<(), ArrowError> {
        let len = array.len;
        let valid = self.validity(array)?;
        let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid[row]);
        match array.field.kind {
            Kind::Bytes { is_large } => {
                let width = if is_large { 8 } else { 4 };
                // Writers may leave out the offsets of nothing.
                let needed = if len == 0 { 0 } else { (len + 1).saturating_mul(width) };
                let offsets = array.buffer(1, "offsets", needed, self.budget)?;
                let text = array.buffer(2, "text", 0, self.budget)?;
                if len == 0 {
                    return Ok(());
                }
                let offsets = widened(&offsets, len + 1, width, false);
                let text = Values::of(&text);
                for (row, pair) in offsets.windows(2).enumerate() {
                    let [start, end] = pair else { continue };
                    if !is_valid(row) {
                        visit(row, None);
                        continue;
                    }
                    let found = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
                    let Some(value) = found.and_then(|(start, end)| text.get(start..end)) else {
                        let (found, count) = (i128::from(*end), text.bytes.len());
                        return Err(array.at(row, Fault::OutOfRange { what: "offset", found, count }));
                    };
                    visit(row, Some(value));
                }
            }
            Kind::FixedBytes { width } => {
                let bytes = array.buffer(1, "values", len.saturating_mul(width), self.budget)?;
                for row in 0..len {
                    visit(row, is_valid(row).then(|| Value::Bytes(&bytes[row * width..(row + 1) * width])));
                }
            }
            Kind::Views => self.visit_views(array, is_valid, visit)?,
            Kind::Null => (0..len).for_each(|row| visit(row, None)),
            _ => return Err(array.wrong_type("text")),
        }
        Ok(())
    }

    /// ```text
    /// view = length i32, 12 bytes of text | length i32, 4 bytes of text, buffer i32, offset i32
    /// ```
    fn visit_views(
        &self,
        array: &Array<'a>,
        is_valid: impl Fn(usize) -> bool,
        mut visit: impl FnMut(usize, Option<Value<'_>>),
    ) -> Result<(), ArrowError> {
        const INLINE: usize = 12;
        let views = array.buffer(1, "views", array.len.saturating_mul(16), self.budget)?;
        let texts: Vec<_> = (2..array.buffers.len())
            .map(|index| array.buffer(index, "text", 0, self.budget))
            .collect::<Result<_, _>>()?;
        let texts: Vec<Values<'_>> = texts.iter().map(|text| Values::of(text)).collect();
        for (row, view) in views.as_chunks::<16>().0.iter().take(array.len).enumerate() {
            if !is_valid(row) {
                visit(row, None);
                continue;
            }
            let word = |at: usize| -> usize {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&view[at..at + 4]);
                u32::from_le_bytes(bytes) as usize
            };
            let len = word(0);
            let value = if len <= INLINE {
                view.get(4..4 + len).map(Value::Bytes)
            } else {
                texts.get(word(8)).and_then(|text| text.get(word(12)..word(12).checked_add(len)?))
            };
            let Some(value) = value else {
                let fault =
                    Fault::OutOfRange { what: "view of bytes", found: len as i128, count: texts.len() };
                return Err(array.at(row, fault));
            };
            visit(row, Some(value));
        }
        Ok(())
    }

    /// A list column of any of the four forms.
    pub(crate) fn lists<'b>(&self, array: &'b Array<'a>) -> Result<Lists<'b, 'a>, ArrowError> {
        let len = array.len;
        let [entries] = array.children.as_slice() else { return Err(array.wrong_type("list")) };
        if array.dictionary().is_some() {
            return Err(array.wrong_type("list without a dictionary"));
        }
        let valid = self.validity(array)?;
        let spans = Spans { array, valid: valid.as_deref(), count: entries.len };
        let width = |is_large| if is_large { 8 } else { 4 };
        let spans = match array.field.kind {
            Kind::List { .. } if len == 0 => Vec::new(),
            Kind::List { is_large } => {
                let width = width(is_large);
                let offsets = array.buffer(1, "offsets", (len + 1).saturating_mul(width), self.budget)?;
                let offsets = widened(&offsets, len + 1, width, false);
                spans.checked(offsets.windows(2).map(|pair| (pair[0], pair[1].wrapping_sub(pair[0]))))?
            }
            Kind::ListViews { is_large } => {
                let width = width(is_large);
                let offsets = array.buffer(1, "offsets", len.saturating_mul(width), self.budget)?;
                let sizes = array.buffer(2, "sizes", len.saturating_mul(width), self.budget)?;
                if is_large {
                    let offsets = widened(&offsets, len, width, false);
                    let sizes = widened(&sizes, len, width, false);
                    spans.checked(offsets.iter().copied().zip(sizes.iter().copied()))?
                } else {
                    spans.checked(words(&offsets).zip(words(&sizes)).take(len))?
                }
            }
            Kind::FixedList { size } => {
                spans.checked((0..len as u64).map(|row| (row * size as u64, size as u64)))?
            }
            _ => return Err(array.wrong_type("list")),
        };
        Ok(Lists { spans, entries })
    }
}

/// What lists are checked against.
struct Spans<'b, 'a> {
    array: &'b Array<'a>,
    valid: Option<&'b [bool]>,
    /// Entries that there are.
    count: usize,
}

impl Spans<'_, '_> {
    /// First entry and number of entries of each row, of (start, size).
    fn checked(
        &self,
        pairs: impl Iterator<Item = (u64, u64)> + Clone,
    ) -> Result<Vec<(u32, u32)>, ArrowError> {
        match self.valid {
            Some(valid) => self.all(pairs.zip(valid.iter().copied())),
            None => self.all(pairs.map(|pair| (pair, true))),
        }
    }

    fn all(
        &self,
        rows: impl Iterator<Item = ((u64, u64), bool)> + Clone,
    ) -> Result<Vec<(u32, u32)>, ArrowError> {
        let limit = (self.count as u64).min(u64::from(NULL) - 1);
        // Nothing is where it may, without a branch that would be wrong half of the time.
        let rows = rows.map(|((start, size), valid)| {
            let there = u64::from(valid & (size != 0));
            (start * there, size * there)
        });
        let mut last = 0;
        let mut spans = Vec::with_capacity(self.array.len);
        spans.extend(rows.clone().map(|(start, size)| {
            last = last.max(start.saturating_add(size));
            (start as u32, size as u32)
        }));
        if last <= limit {
            return Ok(spans);
        }
        let ends = rows.map(|(start, size)| i128::from(start) + i128::from(size));
        let wrong = ends.enumerate().find(|&(_, end)| end > i128::from(limit));
        let (row, found) = wrong.unwrap_or_default();
        Err(self.array.at(row, Fault::OutOfRange { what: "end of a list,", found, count: self.count }))
    }
}

/// Little-endian numbers of 4 bytes.
fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + Clone {
    bytes.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_le_bytes(*word)))
}

/// Little-endian numbers of `width` bytes as 64 bits. The caller has checked the length.
fn widened(bytes: &[u8], len: usize, width: usize, is_signed: bool) -> Vec<u64> {
    fn each<const N: usize>(bytes: &[u8], len: usize, widen: impl Fn([u8; N]) -> u64) -> Vec<u64> {
        bytes.as_chunks::<N>().0.iter().take(len).map(|chunk| widen(*chunk)).collect()
    }
    match (width, is_signed) {
        (1, false) => each::<1>(bytes, len, |[byte]| u64::from(byte)),
        (1, true) => each::<1>(bytes, len, |[byte]| i64::from(byte as i8) as u64),
        (2, false) => each::<2>(bytes, len, |b| u64::from(u16::from_le_bytes(b))),
        (2, true) => each::<2>(bytes, len, |b| i64::from(i16::from_le_bytes(b)) as u64),
        (4, false) => each::<4>(bytes, len, |b| u64::from(u32::from_le_bytes(b))),
        (4, true) => each::<4>(bytes, len, |b| i64::from(i32::from_le_bytes(b)) as u64),
        _ => each::<8>(bytes, len, u64::from_le_bytes),
    }
}

/// The values that codes stand for, the default one for [`NULL`].
pub(crate) fn looked_up<T: Copy + Default>(codes: &[u32], mut values: Vec<T>) -> Vec<T> {
    // What is null has a place behind the others: to ask for each would be a guess that is wrong half of the time.
    let null = values.len();
    values.push(T::default());
    codes.iter().map(|&code| values[null.min(code as usize)]).collect()
}

/// One value a row out of one a run.
pub(crate) fn expand<T: Copy>(ends: &[u32], values: &[T], len: usize) -> Vec<T> {
    let mut rows = Vec::with_capacity(len);
    for (&end, &value) in ends.iter().zip(values) {
        let end = (end as usize).min(len);
        // Most runs of what differs between samples have one row.
        if end == rows.len() + 1 {
            rows.push(value);
        } else {
            rows.resize(end.max(rows.len()), value);
        }
    }
    rows
}
