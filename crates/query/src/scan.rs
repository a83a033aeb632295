//! Here is a task and its source, gives you the sum of the values of each stacktrace, by group and partition.

use decima_store::{
    ReadError,
    source::{Part, SampleRun, ScanRequest, Source},
};
use hashbrown::HashMap;

use crate::{
    api::QueryError,
    coarse,
    group::GroupKey,
    memory::Share,
    plan::Task,
    rows::{DROPPED, RowReader, RunGroups},
    sums::StackSums,
};

/// Groups of one answer at most: each costs a tree, and nobody reads more.
pub(crate) const GROUPS_MAX: usize = 100_000;

/// Rows that are added up before memory is looked at again: as many new sums take some 10 MB at most.
const UNCHECKED_ROWS: usize = 1 << 16;

/// Memory that is asked for at a time at least.
const GROWTH_BYTES: u64 = 1 << 20;

/// What a scan of one task found. Partials of any split of the same samples add up to the same.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// Group keys by number.
    pub(crate) groups: Vec<GroupKey>,
    /// Sums, one for each group and partition met.
    pub(crate) sums: Vec<StackSums>,
    /// Number of samples that count.
    pub(crate) sample_count: u64,
    /// Whether a sum did not fit.
    pub(crate) saturated: bool,
}

/// Reads a part of the samples of a task.
pub(crate) async fn scan(
    task: &Task,
    source: &dyn Source,
    part: Part,
    share: &Share,
) -> Result<Partial, QueryError> {
    let request = ScanRequest {
        series: task.series.iter().map(|s| s.id).collect(),
        range: task.range,
        attributes: task.attributes.clone(),
        with_times: false,
    };
    let mut accumulator = Accumulator::new(task, share);
    let read: Result<(), ReadError> =
        source.scan_part(&request, part, &mut |run| accumulator.run(&run)).await;
    read?;
    accumulator.finish()
}

struct Accumulator<'t> {
    task: &'t Task,
    rows: RowReader<'t>,
    sums: Vec<StackSums>,
    places: HashMap<(u32, u32), u32>,
    /// Whether a group has few stacktraces of its partition.
    sparse: bool,
    sample_count: u64,
    saturated: bool,
    scaled: Vec<i64>,
    share: &'t Share,
    /// What was asked for beyond what was foreseen, in bytes.
    grown_bytes: u64,
    /// Rows since memory was last looked at.
    unchecked_rows: usize,
    failed: Option<QueryError>,
}

impl<'t> Accumulator<'t> {
    fn new(task: &'t Task, share: &'t Share) -> Self {
        Self {
            share,
            grown_bytes: 0,
            unchecked_rows: 0,
            failed: None,
            task,
            rows: RowReader::new(task),
            sums: Vec::new(),
            places: HashMap::new(),
            sparse: task.has_groups(),
            sample_count: 0,
            saturated: false,
            scaled: Vec::new(),
        }
    }

    fn run(&mut self, run: &SampleRun<'_>) {
        if self.failed.is_some() || self.rows.group_count() > GROUPS_MAX {
            return;
        }
        self.unchecked_rows += run.values.len();
        if self.sparse && self.unchecked_rows >= UNCHECKED_ROWS {
            self.unchecked_rows = 0;
            self.failed = self.grow().err();
        }
        let Some(series) = self.task.series(run.series) else { return };
        let values = if let Some(&states) = self.task.states.get(&run.series) {
            divide(run.values, states, &mut self.scaled);
            &self.scaled
        } else if series.scale == 1 {
            run.values
        } else {
            self.saturated |= scale(run.values, series.scale, &mut self.scaled);
            &self.scaled
        };
        let mut places = Places { sums: &mut self.sums, places: &mut self.places, sparse: self.sparse };
        match self.rows.read(series, run) {
            RunGroups::Constant(group) => {
                self.sample_count += values.len() as u64;
                self.saturated |= places.find(group, run.partition).add(run.stacktraces, values);
            }
            RunGroups::Rows(groups) => {
                for ((group, stacktrace), value) in groups.iter().zip(run.stacktraces).zip(values) {
                    if *group == DROPPED {
                        continue;
                    }
                    self.sample_count += 1;
                    let sums = places.find(*group, run.partition);
                    self.saturated |= sums.add(std::slice::from_ref(stacktrace), std::slice::from_ref(value));
                }
            }
        }
    }

    /// Asks for the memory that sums of groups and what is made of them take.
    fn grow(&mut self) -> Result<(), QueryError> {
        let held_bytes: u64 = self.sums.iter().map(|sums| 2 * sums.size_bytes()).sum();
        let more_bytes = held_bytes.saturating_sub(self.grown_bytes);
        if more_bytes >= GROWTH_BYTES {
            self.share.grow(more_bytes)?;
            self.grown_bytes = held_bytes;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Partial, QueryError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.rows.group_count() > GROUPS_MAX {
            return Err(too_many_groups());
        }
        Ok(Partial {
            groups: self.rows.into_groups(),
            sums: self.sums,
            sample_count: self.sample_count,
            saturated: self.saturated,
        })
    }
}

pub(crate) fn too_many_groups() -> QueryError {
    QueryError::ResourceExhausted {
        message: format!("group by fewer labels: they make more than {GROUPS_MAX} groups"),
    }
}

/// Finds the sums of a group in a partition.
struct Places<'a> {
    sums: &'a mut Vec<StackSums>,
    places: &'a mut HashMap<(u32, u32), u32>,
    sparse: bool,
}

impl Places<'_> {
    fn find(&mut self, group: u32, partition: u32) -> &mut StackSums {
        let Self { sums, places, sparse } = self;
        // Runs of one series follow each other, so that the last one is nearly always meant.
        let last = sums.len().wrapping_sub(1);
        let at = match sums.last() {
            Some(s) if s.group == group && s.partition == partition => last,
            _ => *places.entry((group, partition)).or_insert_with(|| {
                sums.push(StackSums::new(group, partition, *sparse));
                sums.len() as u32 - 1
            }) as usize,
        };
        &mut sums[at]
    }
}

/// The nearest whole means.
fn divide(values: &[i64], states: u64, means: &mut Vec<i64>) {
    means.clear();
    means.extend(values.iter().map(|&value| coarse::mean(value.into(), states) as i64));
}

fn scale(values: &[i64], factor: i64, scaled: &mut Vec<i64>) -> bool {
    let mut saturated = false;
    scaled.clear();
    scaled.extend(values.iter().map(|value| {
        value.checked_mul(factor).unwrap_or_else(|| {
            saturated = true;
            value.saturating_mul(factor)
        })
    }));
    saturated
}
