//! The second schema: every sample with its stacktrace, one message.
//!
//! ```text
//! labels struct<name: text …>, stacktrace list<location>, value, timestamp, producer, sample_type, sample_unit, period_type,
//! period_unit, period, duration        ignored: stacktrace_id, temporality, everything else
//! location = address, frame_type, mapping_file, mapping_build_id, lines list<line>
//! line = line, column, function        function = system_name, filename, start_line
//! ```
//! Lists are views: equal stacktraces share their entries, and others may overlap. The span of entries is what tells
//! stacktraces apart here, so that each distinct one is walked once.

use std::collections::HashMap;

use decima_profile::SampleBatch;

use super::{
    Context, Decoded, ENTRIES_MAX, SECOND, Structs, Text, Totals, bounds, check_version,
    samples::Samples,
    symbols::{self, Symbols},
};
use crate::arrow::{self, Array, ArrowError, Batch, Fault, Lists};

/// Memory for the text of a batch before it is known how much there is, at most.
const TEXT_ROOM_BYTES: usize = 1 << 17;
/// The same for entries of stacktraces.
const ENTRIES_ROOM: usize = 1 << 16;

/// Decodes a request.
pub(crate) fn decode(stream: &[u8], context: Context<'_>) -> Result<Decoded, ArrowError> {
    let (mut decoded, mut totals) = (Decoded::default(), Totals::default());
    arrow::read(stream, bounds(context.limits), context.schemas, |schema, batch| {
        check_version(schema.metadata(super::VERSION_KEY), SECOND)?;
        totals.add(batch.rows())?;
        let is_first = totals.is_first();
        // About half of a stream is text, compressed.
        let text = Text::with_room(stream.len().min(TEXT_ROOM_BYTES));
        decoded.add(record_batch(batch, text, context)?);
        decoded.repaired_strings += if is_first { schema.repaired_names } else { 0 };
        Totals::check(&decoded.batch)
    })?;
    Ok(decoded)
}

fn record_batch(batch: &Batch<'_, '_>, mut text: Text, context: Context<'_>) -> Result<Decoded, ArrowError> {
    let labels: Vec<(&str, &Array<'_>)> = match batch.column("labels") {
        Some(labels) => labels.children().iter().map(|label| (label.name(), label)).collect(),
        None => Vec::new(),
    };
    let mut samples = Samples::read(batch, &labels, &mut text, context)?;
    let column = batch.required("stacktrace")?;
    let lists = batch.lists(column)?;
    let structs = Structs::of(batch, lists.entries)?;
    let symbols = symbols::locations(batch, structs.table, &mut text)?;
    let mut stacktraces = Stacktraces::new();
    let ids = stacktraces.of_rows(column, &lists, &structs, context.limits.stack_depth_max)?;
    let series = samples.series(&ids, &mut text);
    let Symbols { mappings, functions, lines, locations } = symbols;
    Ok(Decoded {
        node: samples.node(&text),
        sample_labels: samples.found,
        repaired_strings: text.repaired,
        batch: SampleBatch {
            strings: text.strings,
            mappings,
            functions,
            lines,
            locations,
            stacktrace_offsets: stacktraces.offsets,
            stacktrace_locations: stacktraces.locations,
            series,
        },
    })
}

/// The distinct stacktraces of a batch.
struct Stacktraces {
    offsets: Vec<u32>,
    locations: Vec<u32>,
}

impl Stacktraces {
    fn new() -> Self {
        Self { offsets: vec![0], locations: Vec::new() }
    }

    /// The stacktrace of each row; null is the empty one.
    fn of_rows(
        &mut self,
        column: &Array<'_>,
        lists: &Lists<'_, '_>,
        structs: &Structs<'_, '_>,
        depth_max: usize,
    ) -> Result<Vec<u32>, ArrowError> {
        let mut ids: HashMap<(u32, u32), u32, foldhash::fast::RandomState> = HashMap::default();
        let mut of_rows = Vec::with_capacity(lists.spans.len());
        self.locations.reserve(lists.entries.len().min(ENTRIES_ROOM));
        for (row, &span) in lists.spans.iter().enumerate() {
            if let Some(&id) = ids.get(&span) {
                of_rows.push(id);
                continue;
            }
            let (start, count) = (span.0, span.1 as usize);
            if count > depth_max {
                let fault =
                    Fault::Limit { what: "locations in one stacktrace", found: count, limit: depth_max };
                return Err(column.at(row, fault));
            }
            let entries = self.locations.len() + count;
            if entries > ENTRIES_MAX {
                let fault =
                    Fault::Limit { what: "entries of stacktraces", found: entries, limit: ENTRIES_MAX };
                return Err(column.at(row, fault));
            }
            structs.extend(&mut self.locations, start..start + span.1);
            let id = (self.offsets.len() - 1) as u32;
            self.offsets.push(self.locations.len() as u32);
            ids.insert(span, id);
            of_rows.push(id);
        }
        Ok(of_rows)
    }
}
