//! Here is a task and its source, gives you the sum of the values of each stacktrace, by group and partition.
//!
//! Sums are dense arrays over the stacktrace ids of a partition: an addition costs a nanosecond where a hash map costs ten.
//! They saturate at the ends of `i64` and say so.

use decima_store::{
    ReadError,
    source::{SampleRun, ScanRequest, Source},
};
use hashbrown::HashMap;

use crate::{
    api::QueryError,
    group::GroupKey,
    plan::Task,
    rows::{DROPPED, RowReader, RunGroups},
};

/// Groups of one answer at most: each costs a tree, and nobody reads more.
pub(crate) const GROUPS_MAX: usize = 100_000;

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

/// Sums over the stacktraces of one partition.
#[derive(Debug, Default, Clone)]
pub(crate) struct StackSums {
    pub(crate) group: u32,
    pub(crate) partition: u32,
    /// By stacktrace id; ids beyond the end have none.
    pub(crate) values: Vec<i64>,
    /// Sums of absolute values, only there if a value was negative: then a sum of 0 does not mean that nothing was there.
    pub(crate) weights: Option<Vec<u64>>,
}

impl StackSums {
    fn reserve(&mut self, stacktraces: &[u32]) {
        let needed = stacktraces.iter().max().map_or(0, |&max| max as usize + 1);
        if needed > self.values.len() {
            self.values.resize(needed, 0);
            if let Some(weights) = &mut self.weights {
                weights.resize(needed, 0);
            }
        }
    }

    fn track_weights(&mut self) {
        if self.weights.is_none() {
            self.weights = Some(self.values.iter().map(|v| v.unsigned_abs()).collect());
        }
    }

    /// Adds to a stacktrace that `reserve` has seen; returns whether the sum did not fit.
    fn add(&mut self, stacktrace: u32, value: i64) -> bool {
        let at = stacktrace as usize;
        if let Some(weights) = &mut self.weights {
            weights[at] = weights[at].saturating_add(value.unsigned_abs());
        }
        add_saturating(&mut self.values[at], value)
    }
}

/// Adds, stopping at the ends of the type; returns whether it had to.
pub(crate) fn add_saturating(sum: &mut i64, value: i64) -> bool {
    let (added, overflowed) = sum.overflowing_add(value);
    *sum = if overflowed { sum.saturating_add(value) } else { added };
    overflowed
}

/// Reads the samples of a task.
pub(crate) async fn scan(task: &Task, source: &dyn Source) -> Result<Partial, QueryError> {
    let request = ScanRequest {
        series: task.series.iter().map(|s| s.id).collect(),
        range: task.range,
        attributes: task.attributes.clone(),
        with_times: false,
    };
    let mut accumulator = Accumulator::new(task);
    let read: Result<(), ReadError> = source.scan(&request, &mut |run| accumulator.run(&run)).await;
    read?;
    accumulator.finish()
}

struct Accumulator<'t> {
    task: &'t Task,
    rows: RowReader<'t>,
    sums: Vec<StackSums>,
    places: HashMap<(u32, u32), u32>,
    sample_count: u64,
    saturated: bool,
    scaled: Vec<i64>,
}

impl<'t> Accumulator<'t> {
    fn new(task: &'t Task) -> Self {
        Self {
            task,
            rows: RowReader::new(task),
            sums: Vec::new(),
            places: HashMap::new(),
            sample_count: 0,
            saturated: false,
            scaled: Vec::new(),
        }
    }

    fn run(&mut self, run: &SampleRun<'_>) {
        let Some(series) = self.task.series(run.series) else { return };
        let values = if series.scale == 1 {
            run.values
        } else {
            self.saturated |= scale(run.values, series.scale, &mut self.scaled);
            &self.scaled
        };
        let negative = values.iter().fold(0, |all, v| all | v) < 0;
        match self.rows.read(series, run) {
            RunGroups::Constant(group) => {
                let sums = place(&mut self.sums, &mut self.places, group, run.partition);
                sums.reserve(run.stacktraces);
                if negative {
                    sums.track_weights();
                }
                self.sample_count += values.len() as u64;
                self.saturated |= add_all(sums, run.stacktraces, values);
            }
            RunGroups::Rows(groups) => {
                for ((&group, &stacktrace), &value) in groups.iter().zip(run.stacktraces).zip(values) {
                    if group == DROPPED {
                        continue;
                    }
                    let sums = place(&mut self.sums, &mut self.places, group, run.partition);
                    sums.reserve(&[stacktrace]);
                    if value < 0 {
                        sums.track_weights();
                    }
                    self.sample_count += 1;
                    self.saturated |= sums.add(stacktrace, value);
                }
            }
        }
    }

    fn finish(self) -> Result<Partial, QueryError> {
        if self.rows.group_count() > GROUPS_MAX {
            return Err(QueryError::ResourceExhausted {
                message: format!("group by fewer labels: they make more than {GROUPS_MAX} groups"),
            });
        }
        Ok(Partial {
            groups: self.rows.into_groups(),
            sums: self.sums,
            sample_count: self.sample_count,
            saturated: self.saturated,
        })
    }
}

fn place<'s>(
    sums: &'s mut Vec<StackSums>,
    places: &mut HashMap<(u32, u32), u32>,
    group: u32,
    partition: u32,
) -> &'s mut StackSums {
    // Runs of one series follow each other, so that the last one is nearly always meant.
    let last = sums.len().wrapping_sub(1);
    let at = match sums.last() {
        Some(s) if s.group == group && s.partition == partition => last,
        _ => *places.entry((group, partition)).or_insert_with(|| {
            sums.push(StackSums { group, partition, ..StackSums::default() });
            sums.len() as u32 - 1
        }) as usize,
    };
    &mut sums[at]
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

fn add_all(sums: &mut StackSums, stacktraces: &[u32], values: &[i64]) -> bool {
    let mut saturated = false;
    if sums.weights.is_some() {
        for (&stacktrace, &value) in stacktraces.iter().zip(values) {
            saturated |= sums.add(stacktrace, value);
        }
    } else {
        let all = sums.values.as_mut_slice();
        for (&stacktrace, &value) in stacktraces.iter().zip(values) {
            saturated |= add_saturating(&mut all[stacktrace as usize], value);
        }
    }
    saturated
}
