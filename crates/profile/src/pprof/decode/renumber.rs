//! The same profile with its ids counted 1, 2, 3 … in the order of each table.
//!
//! The format only asks that ids be unique; some writers use addresses or hashes. Nearly all count, and the decoder is
//! fast because it takes an id for a row. This rewrites the few others first: one walk to learn the ids, one to copy the
//! message with each id and each reference replaced. Wire faults were found before; what is refused here is an id that is 0
//! or there twice, and a reference to none.

use std::collections::HashMap;

use crate::{
    pprof::{
        DecodeError,
        encode::{put_bytes, put_varint},
    },
    wire::{BYTES, Fault, Reader, VARINT},
};

/// The tables whose rows have ids.
#[derive(Clone, Copy)]
enum Table {
    Mapping,
    Location,
    Function,
}

/// What is done with a field; fields without a rule are copied.
enum Rule {
    /// The id of the row.
    Own(Table),
    /// The id of a row of a table, or 0.
    Reference(Table),
    Message(&'static [(u32, &'static str, Rule)]),
}

const SAMPLE: &[(u32, &str, Rule)] = &[(1, "location_id", Rule::Reference(Table::Location))];
const MAPPING: &[(u32, &str, Rule)] = &[(1, "id", Rule::Own(Table::Mapping))];
const LINE: &[(u32, &str, Rule)] = &[(1, "function_id", Rule::Reference(Table::Function))];
const LOCATION: &[(u32, &str, Rule)] = &[
    (1, "id", Rule::Own(Table::Location)),
    (2, "mapping_id", Rule::Reference(Table::Mapping)),
    (4, "line", Rule::Message(LINE)),
];
const FUNCTION: &[(u32, &str, Rule)] = &[(1, "id", Rule::Own(Table::Function))];
const PROFILE: &[(u32, &str, Rule)] = &[
    (2, "sample", Rule::Message(SAMPLE)),
    (3, "mapping", Rule::Message(MAPPING)),
    (4, "location", Rule::Message(LOCATION)),
    (5, "function", Rule::Message(FUNCTION)),
];

/// Rewrites a profile that the decoder has read through once.
#[cold]
pub(super) fn renumber(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut ids = Ids::default();
    ids.collect(bytes)?;
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    Rewrite { ids: &ids, path: Vec::new() }.message(Reader::new(bytes), PROFILE, &mut out)?;
    Ok(out)
}

/// Rows by id, counted from 1.
#[derive(Default)]
struct Ids {
    mappings: HashMap<u64, u64>,
    locations: HashMap<u64, u64>,
    functions: HashMap<u64, u64>,
}

impl Ids {
    fn of(&self, table: Table) -> (&HashMap<u64, u64>, &'static str) {
        match table {
            Table::Mapping => (&self.mappings, "mappings"),
            Table::Location => (&self.locations, "locations"),
            Table::Function => (&self.functions, "functions"),
        }
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        while !reader.is_done() {
            let (tag, value) = reader.field().map_err(|fault| path_fault("profile", fault))?;
            let (rows, name) = match tag {
                0x1a => (&mut self.mappings, "mapping"),
                0x22 => (&mut self.locations, "location"),
                0x2a => (&mut self.functions, "function"),
                _ => {
                    reader.skip((tag, value)).map_err(|fault| path_fault("profile", fault))?;
                    continue;
                }
            };
            let row = reader.body(value).map_err(|fault| path_fault(name, fault))?;
            let offset = row.offset();
            let id = own_id(row).map_err(|fault| path_fault(name, fault))?;
            let index = rows.len();
            let field = || format!("{name}[{index}].id");
            if id == 0 {
                return Err(DecodeError::Zero { field: field(), offset });
            }
            if rows.insert(id, index as u64 + 1).is_some() {
                return Err(DecodeError::DuplicateId { field: field(), found: id, offset });
            }
        }
        Ok(())
    }
}

/// The id of a row: its last field 1, or 0.
fn own_id(mut row: Reader<'_>) -> Result<u64, Fault> {
    let mut id = 0;
    while !row.is_done() {
        let (tag, value) = row.field()?;
        if tag == 0x08 {
            id = value;
        } else {
            row.skip((tag, value))?;
        }
    }
    Ok(id)
}

struct Rewrite<'a> {
    ids: &'a Ids,
    /// Fields from the outside in, each with its index among those of its name.
    path: Vec<(&'static str, usize)>,
}

impl Rewrite<'_> {
    /// At most three deep, as the rules are.
    fn message(
        &mut self,
        mut reader: Reader<'_>,
        rules: &'static [(u32, &'static str, Rule)],
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let mut seen = [0usize; 4];
        while !reader.is_done() {
            let copied_from = reader;
            let offset = reader.offset();
            let (tag, value) = reader.field().map_err(|fault| path_fault("profile", fault))?;
            let known = rules.iter().zip(&mut seen).find(|((number, ..), _)| *number == tag >> 3);
            let Some(((number, name, rule), seen)) = known else {
                reader.skip((tag, value)).map_err(|fault| path_fault("profile", fault))?;
                out.extend(copied_from.rest().iter().take(reader.offset() - offset));
                continue;
            };
            self.path.push((name, *seen));
            match (rule, (tag & 7) as u8) {
                (Rule::Message(rules), BYTES) => {
                    *seen += 1;
                    let mut inner = Vec::new();
                    let body = reader.body(value).map_err(|fault| path_fault(name, fault))?;
                    self.message(body, rules, &mut inner)?;
                    put_bytes(out, *number, &inner);
                }
                (Rule::Own(table) | Rule::Reference(table), VARINT) => {
                    *seen += 1;
                    put_varint(out, u64::from(tag));
                    put_varint(out, self.id(*table, value, offset)?);
                }
                (Rule::Reference(table), BYTES) => {
                    let mut packed = reader.body(value).map_err(|fault| path_fault(name, fault))?;
                    let mut inner = Vec::with_capacity(packed.remaining());
                    while !packed.is_done() {
                        let offset = packed.offset();
                        let id = packed.varint().map_err(|fault| path_fault(name, fault))?;
                        put_varint(&mut inner, self.id(*table, id, offset)?);
                        *seen += 1;
                        if let Some(last) = self.path.last_mut() {
                            last.1 = *seen;
                        }
                    }
                    put_bytes(out, *number, &inner);
                }
                // The pass before refuses other wire types.
                _ => reader.skip((tag, value)).map_err(|fault| path_fault(name, fault))?,
            }
            self.path.pop();
        }
        Ok(())
    }

    /// 0 stays 0, whose meaning depends on the field.
    fn id(&self, table: Table, id: u64, offset: usize) -> Result<u64, DecodeError> {
        if id == 0 {
            return Ok(0);
        }
        let (rows, table) = self.ids.of(table);
        match rows.get(&id) {
            Some(&row) => Ok(row),
            None => Err(DecodeError::OutOfRange {
                field: self.path(),
                found: i128::from(id),
                count: rows.len(),
                table,
                offset,
            }),
        }
    }

    fn path(&self) -> String {
        let is_single = |name: &str| matches!(name, "id" | "mapping_id" | "function_id");
        let parts = self.path.iter().map(|(name, index)| {
            if is_single(name) { (*name).to_owned() } else { format!("{name}[{index}]") }
        });
        parts.collect::<Vec<_>>().join(".")
    }
}

#[cold]
fn path_fault(field: &str, fault: Fault) -> DecodeError {
    DecodeError::malformed(field.to_owned(), fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pprof::{Limits, decode};

    /// A reversible change of ids: multiplication by an odd number, which leaves 0 alone.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    fn fixture(name: &str) -> Vec<u8> {
        let path = format!("{}/../../fixtures/corpus/pprof/{name}.pb", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    }

    /// The profile with the id of each row multiplied.
    fn spread(bytes: &[u8]) -> Vec<u8> {
        let mut ids = Ids::default();
        ids.collect(bytes).unwrap();
        for rows in [&mut ids.mappings, &mut ids.locations, &mut ids.functions] {
            rows.values_mut().for_each(|row| *row = row.wrapping_mul(SPREAD));
        }
        let mut out = Vec::new();
        Rewrite { ids: &ids, path: Vec::new() }.message(Reader::new(bytes), PROFILE, &mut out).unwrap();
        out
    }

    #[test]
    fn any_unique_ids_are_as_good_as_counted_ones() {
        for name in
            ["go-labels-cpu", "node-datadog-wall-cpu-labels", "prometheus-mutex", "packed-in-parts", "labels"]
        {
            let counted = fixture(name);
            let spread = spread(&counted);
            assert!(spread.len() > counted.len(), "{name}");
            let expected = decode(counted, &Limits::default()).unwrap();
            let found = decode(spread, &Limits::default()).unwrap();
            let (found, expected) = (found.batch, expected.batch);
            assert_eq!(found.locations, expected.locations, "{name}");
            assert_eq!(found.lines, expected.lines, "{name}");
            assert_eq!(found.functions, expected.functions, "{name}");
            assert_eq!(found.mappings, expected.mappings, "{name}");
            assert_eq!(found.stacktrace_locations, expected.stacktrace_locations, "{name}");
            assert_eq!(found.stacktrace_offsets, expected.stacktrace_offsets, "{name}");
            let values = |batch: &crate::SampleBatch| {
                batch.series.iter().flat_map(|s| s.values.clone()).collect::<Vec<_>>()
            };
            assert_eq!(values(&found), values(&expected), "{name}");
        }
    }

    #[test]
    fn faults_behind_other_ids_are_placed_in_the_original() {
        let spread = spread(&fixture("labels"));
        let mut cut_short = spread.clone();
        cut_short.pop();
        assert!(matches!(decode(cut_short, &Limits::default()), Err(DecodeError::Malformed { .. })));
        // A function is named by a string that does not exist.
        let mut bytes = spread;
        let offset = bytes.len();
        bytes.extend([0x2a, 4, 0x08, 0x7f, 0x10, 0x63]);
        let refusal = decode(bytes, &Limits::default()).unwrap_err();
        let DecodeError::OutOfRange { field, found: 99, offset: found_at, .. } = &refusal else {
            panic!("{refusal}")
        };
        assert!(field.ends_with(".name"), "{field}");
        assert_eq!(*found_at, offset + 4);
    }

    #[test]
    fn ids_there_twice_and_references_to_none_are_refused() {
        let mut twice = fixture("labels");
        twice.extend([0x2a, 2, 0x08, 0x01]);
        let refusal = decode(twice, &Limits::default()).unwrap_err();
        assert!(matches!(refusal, DecodeError::DuplicateId { found: 1, .. }), "{refusal}");
        let mut dangling = spread(&fixture("labels"));
        dangling.extend([0x12, 4, 0x08, 0x05, 0x10, 0x01]);
        let refusal = decode(dangling, &Limits::default()).unwrap_err();
        let DecodeError::OutOfRange { field, found: 5, table: "locations", .. } = &refusal else {
            panic!("{refusal}")
        };
        assert!(field.ends_with("location_id[0]"), "{field}");
    }
}
