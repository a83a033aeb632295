//! Some answers as bytes: a length (4 bytes, little endian), XXH3 of the body (8 bytes), the body, a message.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::Arc,
};

use decima_symbols::{Answer, Frame, Function, Source, Symbols, Unresolved};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

/// Answers in one piece at most.
pub(super) const ANSWERS_MAX: usize = 4096;
/// Longest body. Names are bounded where they are read, so that this is far beyond what is written.
const BODY_MAX: u32 = 1 << 30;

/// The body.
#[derive(Clone, PartialEq, Message)]
struct Piece {
    /// Each once.
    #[prost(message, repeated, tag = "1")]
    functions: Vec<KeptFunction>,
    #[prost(message, repeated, tag = "2")]
    answers: Vec<KeptAnswer>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct KeptFunction {
    #[prost(string, tag = "1")]
    name: String,
    /// Empty if it is the name.
    #[prost(string, tag = "2")]
    system_name: String,
    #[prost(string, tag = "3")]
    filename: String,
    #[prost(uint32, tag = "4")]
    start_line: u32,
}

#[derive(Clone, PartialEq, Message)]
struct KeptAnswer {
    #[prost(uint64, tag = "1")]
    address: u64,
    /// Innermost first: places of functions in the piece.
    #[prost(uint32, repeated, tag = "2")]
    functions: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    lines: Vec<u32>,
    #[prost(uint32, repeated, tag = "4")]
    columns: Vec<u32>,
    /// 1 DWARF, 2 Go's line table, 3 a symbol table.
    #[prost(uint32, tag = "5")]
    source: u32,
    /// Without functions: the word for why.
    #[prost(string, tag = "6")]
    unresolved: String,
}

const SOURCES: [Source; 3] = [Source::Dwarf, Source::GoLineTable, Source::SymbolTable];

/// Appends some answers, at most [`ANSWERS_MAX`].
pub(super) fn write(answers: &[(u64, Answer)], bytes: &mut Vec<u8>) {
    let mut piece = Piece::default();
    let mut known: HashMap<Arc<Function>, u32> = HashMap::new();
    for (address, answer) in answers {
        let mut kept = KeptAnswer { address: *address, ..KeptAnswer::default() };
        match answer {
            Answer::Unresolved(reason) => reason.as_str().clone_into(&mut kept.unresolved),
            Answer::Resolved(symbols) => {
                for frame in &symbols.frames {
                    let function = *known.entry(Arc::clone(&frame.function)).or_insert_with(|| {
                        piece.functions.push(keep(&frame.function));
                        piece.functions.len() as u32 - 1
                    });
                    kept.functions.push(function);
                    kept.lines.push(frame.line);
                    kept.columns.push(frame.column);
                }
                let source = SOURCES.iter().position(|&source| source == symbols.source);
                kept.source = source.map_or(0, |source| source as u32 + 1);
            }
        }
        piece.answers.push(kept);
    }
    let body = piece.encode_to_vec();
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&xxh3_64(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
}

fn keep(function: &Function) -> KeptFunction {
    let same = function.system_name == function.name;
    KeptFunction {
        name: function.name.clone(),
        system_name: if same { String::new() } else { function.system_name.clone() },
        filename: function.filename.clone(),
        start_line: function.start_line,
    }
}

/// A piece that was read.
pub(super) struct Answers {
    /// With their addresses.
    pub(super) answers: Vec<(u64, Answer)>,
    /// Size of the piece.
    pub(super) size_bytes: u64,
}

/// The next piece; `None` at the end.
pub(super) fn read(reader: &mut impl Read) -> io::Result<Option<Answers>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = [0; 12];
    match reader.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => reader.read_exact(&mut head[1..])?,
    }
    let (length, sum) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().map_err(|_| damaged("no length"))?);
    let sum = u64::from_le_bytes(sum.try_into().map_err(|_| damaged("no checksum"))?);
    if length > BODY_MAX {
        return Err(damaged("a piece is too long"));
    }
    // Not more than is there, whatever the length says.
    let mut body = Vec::new();
    reader.take(length.into()).read_to_end(&mut body)?;
    if body.len() != length as usize || xxh3_64(&body) != sum {
        return Err(damaged("a checksum is wrong"));
    }
    let piece = Piece::decode(&*body).map_err(io::Error::other)?;
    let answers = answers(piece).ok_or_else(|| damaged("a function is missing"))?;
    Ok(Some(Answers { answers, size_bytes: 12 + u64::from(length) }))
}

fn answers(piece: Piece) -> Option<Vec<(u64, Answer)>> {
    let functions: Vec<_> = piece
        .functions
        .into_iter()
        .map(|KeptFunction { name, system_name, filename, start_line }| {
            let system_name = if system_name.is_empty() { name.clone() } else { system_name };
            Arc::new(Function { name, system_name, filename, start_line })
        })
        .collect();
    let answer = |kept: KeptAnswer| {
        if kept.functions.is_empty() {
            let reason = Unresolved::ALL.into_iter().find(|reason| reason.as_str() == kept.unresolved)?;
            return Some((kept.address, Answer::Unresolved(reason)));
        }
        let places = kept.functions.iter().zip(&kept.lines).zip(&kept.columns);
        let frame = |((function, &line), &column): ((&u32, &u32), &u32)| {
            Some(Frame { function: Arc::clone(functions.get(*function as usize)?), line, column })
        };
        let frames = places.map(frame).collect::<Option<Vec<_>>>()?;
        let source = *SOURCES.get((kept.source as usize).checked_sub(1)?)?;
        (frames.len() == kept.functions.len())
            .then(|| (kept.address, Answer::Resolved(Arc::new(Symbols { frames, source }))))
    };
    piece.answers.into_iter().map(answer).collect()
}
