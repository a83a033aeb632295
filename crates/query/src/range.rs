//! Values over time.
//!
//! Sums come from points where they are exact: points of one time, and points of a bucket that lies wholly inside the range and
//! inside one step. Where a bucket does not fit, everything of its series in that time is read from samples, so that points of
//! one time there must wait until it is known whether there is such a bucket. Series whose rows must be looked at are read from
//! samples altogether.
//!
//! A coarse source has sums of wider buckets and nothing finer: each counts whole, at its begin or that of the range, and a state is the
//! mean of its bucket.

use std::sync::Arc;

use decima_profile::ProfileType;
use decima_store::source::{Point, SampleRun, ScanRequest, Snapshot, Source};
use hashbrown::HashMap;

use crate::{
    api::{QueryError, QueryRangeRequest, RangeAnswer, RangeSample, RangeSeries, TimeRange},
    coarse,
    engine::Settings,
    group::{GroupKey, Grouping},
    memory::{QueryMemory, Share},
    plan::{self, Plan, Task, Wanted},
    read::{self, Failures},
    rows::{DROPPED, RowReader, RunGroups},
    selector::Selector,
    sums::SATURATED,
};

/// Points of one answer at most: 100 series of ten thousand points are more than a screen shows.
const SAMPLES_MAX: usize = 2_000_000;

/// What a cell takes in a map that may have just doubled, and once more in what is merged of all sources.
const CELL_BYTES: usize = 4 * size_of::<(i64, Cell)>();
/// What is asked for before anything is read, and each time that it does not suffice.
const GROWTH_BYTES: usize = 1 << 20;

/// Steps derived from a limit are multiples of this, so that stored buckets fit into them.
const STEP_UNIT_NS: i64 = 1_000_000_000;

/// Width of the buckets that are expected; points of others are not used.
const BUCKET_NS: i64 = 1_000_000_000;

const NO_DATA: &str = "No data found for the query, try a different query or time range or no data has been written to be queried yet.";

/// Answers a range request. Parts that cannot be read are left out, and named, if the settings allow it.
pub(crate) async fn query_range(
    snapshot: &Snapshot,
    settings: &Settings,
    memory: &QueryMemory,
    request: &QueryRangeRequest,
) -> Result<RangeAnswer, QueryError> {
    let (profile_type, matchers) = Selector::parse_typed(&request.query)?;
    if request.range.end_ns < request.range.start_ns {
        return Err(QueryError::InvalidArgument { message: "end must not be before start".to_owned() });
    }
    if request.step_ns < 0 {
        return Err(QueryError::InvalidArgument { message: "step must not be negative".to_owned() });
    }
    let wanted = Wanted {
        profile_type: &profile_type,
        matchers: &matchers,
        range: request.range,
        grouping: if profile_type.delta {
            Grouping::Labels(&request.sum_by)
        } else {
            Grouping::EverySeriesLabel
        },
        scale_by_period: profile_type.delta && read::counts_samples(&profile_type),
    };
    let mut failures = Failures::new(settings.allow_partial);
    let tables = read::series_tables(snapshot, &mut failures).await?;
    let Plan { tasks, coarse } = plan::plan(&tables, wanted);
    let buckets = Buckets::new(request).with_resolution(coarse.coarsest_ns());
    let share = Arc::new(memory.take(GROWTH_BYTES as u64).await?);
    let jobs = tasks.into_iter().map(|task| {
        let (source, share) = (Arc::clone(&snapshot.sources[task.source]), Arc::clone(&share));
        (source.name().to_owned(), read_source(source, task, buckets, profile_type.delta, share))
    });
    let reads = read::all(jobs.collect(), &mut failures).await?;
    let mut groups: HashMap<GroupKey, Cells> = HashMap::new();
    for (key, cells) in reads.into_iter().flatten() {
        merge_cells(groups.entry(key).or_default(), &cells);
    }
    groups.retain(|_, cells| !cells.is_empty());
    let saturated = groups.values().flat_map(HashMap::values).any(Cell::is_cut);
    let mut notices = failures.into_notices();
    notices.extend(coarse.notices());
    if groups.is_empty() {
        let mut message = NO_DATA.to_owned();
        notices.iter().for_each(|notice| message = format!("{message} {notice}."));
        return Err(QueryError::NotFound { message });
    }
    let shape = Shape::new(&profile_type, wanted.scale_by_period, buckets);
    let mut series: Vec<RangeSeries> =
        groups.into_iter().map(|(key, cells)| shape.series(key, &cells)).collect();
    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    if saturated {
        notices.push(SATURATED.to_owned());
    }
    Ok(RangeAnswer { series, notices })
}

/// How times fall into buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Buckets {
    range: TimeRange,
    /// 0 = one bucket for everything.
    step_ns: i64,
    /// Whether the step follows from a limit.
    is_derived: bool,
}

impl Buckets {
    fn new(request: &QueryRangeRequest) -> Self {
        let step_ns = match (request.step_ns, request.limit) {
            (0, 0) => 0,
            (0, limit) => {
                let span = i128::from(request.range.end_ns) - i128::from(request.range.start_ns);
                let units = span.div_euclid(i128::from(limit) * i128::from(STEP_UNIT_NS)) + 1;
                i64::try_from(units * i128::from(STEP_UNIT_NS)).unwrap_or(0)
            }
            (step, _) => step,
        };
        Self { range: request.range, step_ns, is_derived: request.step_ns == 0 }
    }

    /// With steps that buckets of a resolution fit into, if they are derived and not much smaller anyway: else a step would have one
    /// bucket more than the next.
    fn with_resolution(self, resolution_ns: i64) -> Self {
        if !self.is_derived || resolution_ns <= 0 || self.step_ns < resolution_ns / 2 {
            return self;
        }
        let wider =
            (self.step_ns - 1).div_euclid(resolution_ns).saturating_add(1).saturating_mul(resolution_ns);
        Self { step_ns: wider, ..self }
    }

    /// Start of the bucket of a time.
    fn start(self, time_ns: i64) -> i64 {
        if self.step_ns == 0 {
            self.range.start_ns
        } else {
            time_ns.saturating_sub(time_ns.rem_euclid(self.step_ns))
        }
    }

    /// What time a bucket covers.
    fn width_ns(self) -> i64 {
        if self.step_ns == 0 { self.range.end_ns.saturating_sub(self.range.start_ns) } else { self.step_ns }
    }

    /// Whether all times that a point's bucket at this time has fall into one bucket here and into the range.
    fn hold_bucket_of(self, time_ns: i64) -> bool {
        let TimeRange { start_ns: first, end_ns: last } = bucket_of(time_ns);
        self.range.contains(first)
            && self.range.contains(last)
            && (self.step_ns == 0 || self.start(first) == self.start(last))
    }
}

/// Times of the point bucket that holds a time.
fn bucket_of(time_ns: i64) -> TimeRange {
    let start_ns = time_ns.saturating_sub(time_ns.rem_euclid(BUCKET_NS));
    TimeRange { start_ns, end_ns: start_ns.saturating_add(BUCKET_NS - 1) }
}

/// Sum of a bucket (delta types) or of one time (others).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    sum: i128,
    count: u64,
    /// The one time that all its samples have.
    time_ns: Option<i64>,
    duration_ns: i64,
    /// How many states of coarse sources are in the sum, which is shown as their mean: a bucket may be in parts in several of them.
    states: u64,
}

impl Cell {
    /// What is shown, cut where it does not fit.
    fn value(&self) -> i64 {
        clamped(self.whole_value())
    }

    fn whole_value(&self) -> i128 {
        if self.states > 0 { coarse::mean(self.sum, self.states) } else { self.sum }
    }

    fn is_cut(&self) -> bool {
        i64::try_from(self.whole_value()).is_err()
    }

    fn add(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.count += other.count;
        if self.time_ns != other.time_ns {
            self.time_ns = None;
        }
        self.states += other.states;
        self.duration_ns = self.duration_ns.min(other.duration_ns);
    }
}

/// A value times a scale.
fn scaled(value: i64, scale: i64) -> i128 {
    i128::from(value) * i128::from(scale)
}

/// The nearest value that fits.
fn clamped(sum: i128) -> i64 {
    sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Cells by bucket start (delta types) or time (others).
type Cells = HashMap<i64, Cell>;

fn add_cell(cells: &mut Cells, at: i64, cell: Cell) {
    cells.entry(at).and_modify(|known| known.add(&cell)).or_insert(cell);
}

fn merge_cells(cells: &mut Cells, others: &Cells) {
    for (&at, cell) in others {
        add_cell(cells, at, *cell);
    }
}

/// Adds up points and samples of one task.
struct Accumulator<'t> {
    task: &'t Task,
    buckets: Buckets,
    delta: bool,
    rows: RowReader<'t>,
    /// By group.
    cells: Vec<Cells>,
    /// Times to read from samples instead, by series.
    unfit: HashMap<u32, Vec<TimeRange>>,
    /// Points of one time that count unless their time is read from samples: series, group, time, cell.
    waiting: Vec<(u32, u32, i64, Cell)>,
    /// Whether points came that are not understood.
    unknown_points: bool,
    cell_count: usize,
    share: &'t Share,
    /// What was asked for.
    taken_bytes: usize,
    /// Why nothing more is added up.
    failed: Option<QueryError>,
}

impl Accumulator<'_> {
    fn cells(&mut self, group: u32) -> &mut Cells {
        let needed = group as usize + 1;
        if needed > self.cells.len() {
            self.cells.resize_with(needed, Cells::default);
        }
        &mut self.cells[group as usize]
    }

    fn add(&mut self, group: u32, time_ns: i64, cell: Cell) {
        let at = if self.delta { self.buckets.start(time_ns) } else { time_ns };
        let cells = self.cells(group);
        let before = cells.len();
        add_cell(cells, at, cell);
        let grown = cells.len() - before;
        self.cell_count += grown;
    }

    /// Whether there may be more: not once the answer is too large, or there is no memory for it.
    fn may_go_on(&mut self) -> bool {
        if self.failed.is_none() {
            self.failed = self.grow().err();
        }
        self.failed.is_none()
    }

    fn grow(&mut self) -> Result<(), QueryError> {
        if self.cell_count > SAMPLES_MAX {
            return Err(QueryError::ResourceExhausted {
                message: format!(
                    "the answer has more than {SAMPLES_MAX} points; ask for a larger step, fewer series or a shorter time"
                ),
            });
        }
        let held_bytes = CELL_BYTES * self.cell_count + 2 * size_of_val(&*self.waiting);
        while held_bytes > self.taken_bytes {
            self.share.grow(GROWTH_BYTES as u64)?;
            self.taken_bytes += GROWTH_BYTES;
        }
        Ok(())
    }

    /// What became of it when everything was given to it.
    fn end(&mut self) -> Result<(), QueryError> {
        if self.may_go_on() { Ok(()) } else { self.failed.take().map_or(Ok(()), Err) }
    }

    fn points(&mut self, id: u32, points: &[Point]) {
        if !self.may_go_on() {
            return;
        }
        let Some(series) = self.task.series(id) else { return };
        let group = self.rows.constant_group(series);
        if self.task.resolution_ns > 0 {
            points.iter().for_each(|point| self.coarse_point(group, series.scale, point));
            return;
        }
        for point in points {
            let cell = Cell {
                sum: scaled(point.sum, series.scale),
                count: point.count,
                time_ns: Some(point.time_ns),
                duration_ns: point.duration_ns,
                states: 0,
            };
            let fits = self.delta && self.buckets.hold_bucket_of(point.time_ns);
            match point.bucket_ns {
                0 if !self.buckets.range.contains(point.time_ns) => {}
                0 if fits => self.add(group, point.time_ns, cell),
                0 => self.waiting.push((id, group, point.time_ns, cell)),
                BUCKET_NS if fits => self.add(group, point.time_ns, Cell { time_ns: None, ..cell }),
                BUCKET_NS => self.reread(id, bucket_of(point.time_ns)),
                _ => self.unknown_points = true,
            }
        }
    }

    fn coarse_point(&mut self, group: u32, scale: i64, point: &Point) {
        let time_ns = point.time_ns.max(self.buckets.range.start_ns);
        let cell = Cell {
            sum: scaled(point.sum, scale),
            count: point.count,
            time_ns: Some(time_ns),
            duration_ns: point.duration_ns,
            states: if self.delta { 0 } else { point.instants },
        };
        self.add(group, time_ns, cell);
    }

    fn reread(&mut self, series: u32, bucket: TimeRange) {
        let range = self.buckets.range;
        let start_ns = bucket.start_ns.max(range.start_ns);
        let end_ns = bucket.end_ns.min(range.end_ns);
        if start_ns <= end_ns {
            self.unfit.entry(series).or_default().push(TimeRange { start_ns, end_ns });
        }
    }

    /// Ends the points: adds those that waited. Returns what to read from samples.
    fn end_points(&mut self) -> HashMap<u32, Vec<TimeRange>> {
        let mut unfit = std::mem::take(&mut self.unfit);
        unfit.values_mut().for_each(join);
        for (series, group, time_ns, cell) in std::mem::take(&mut self.waiting) {
            let is_reread = unfit.get(&series).is_some_and(|ranges| contain(ranges, time_ns));
            if !is_reread {
                self.add(group, time_ns, cell);
            }
        }
        unfit
    }

    fn samples(&mut self, run: &SampleRun<'_>) {
        if !self.may_go_on() {
            return;
        }
        let Some(series) = self.task.series(run.series) else { return };
        let groups = match self.rows.read(series, run) {
            RunGroups::Constant(group) => Err(group),
            RunGroups::Rows(groups) => Ok(groups.to_vec()),
        };
        for (row, &value) in run.values.iter().enumerate() {
            let group = match &groups {
                Err(group) => *group,
                Ok(groups) => groups[row],
            };
            if group == DROPPED {
                continue;
            }
            let time_ns = run.times_ns.get(row);
            let cell = Cell {
                sum: scaled(value, series.scale),
                count: 1,
                time_ns: Some(time_ns),
                duration_ns: run.durations_ns.get(row),
                states: 0,
            };
            self.add(group, time_ns, cell);
        }
    }
}

async fn read_source(
    source: Arc<dyn Source>,
    task: Task,
    buckets: Buckets,
    delta: bool,
    share: Arc<Share>,
) -> Result<Vec<(GroupKey, Cells)>, QueryError> {
    match read_with(&*source, &task, buckets, delta, Read::PointsFirst, &share).await? {
        Some(groups) => Ok(groups),
        None => {
            Ok(read_with(&*source, &task, buckets, delta, Read::Samples, &share).await?.unwrap_or_default())
        }
    }
}

/// What sums are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Points where they are exact.
    PointsFirst,
    /// Samples alone.
    Samples,
}

/// `None` if there are points that are not understood.
async fn read_with(
    source: &dyn Source,
    task: &Task,
    buckets: Buckets,
    delta: bool,
    read: Read,
    share: &Share,
) -> Result<Option<Vec<(GroupKey, Cells)>>, QueryError> {
    let (by_rows, by_points): (Vec<_>, Vec<_>) =
        task.series.iter().partition(|s| read == Read::Samples || task.needs_rows(s));
    let request = |series: Vec<u32>, range| ScanRequest {
        series,
        range,
        attributes: task.attributes.clone(),
        with_times: true,
    };
    let mut accumulator = Accumulator {
        task,
        buckets,
        delta,
        rows: RowReader::new(task),
        cells: Vec::new(),
        unfit: HashMap::new(),
        waiting: Vec::new(),
        unknown_points: false,
        cell_count: 0,
        share,
        taken_bytes: 0,
        failed: None,
    };
    if !by_points.is_empty() {
        let points = request(by_points.iter().map(|s| s.id).collect(), task.range);
        source.points(&points, &mut |series, points| accumulator.points(series, points)).await?;
        if accumulator.unknown_points {
            return Ok(None);
        }
        accumulator.end()?;
        let unfit = accumulator.end_points();
        accumulator.end()?;
        for (range, series) in rereads(unfit) {
            source.scan(&request(series, range), &mut |run| accumulator.samples(&run)).await?;
            accumulator.end()?;
        }
    }
    if !by_rows.is_empty() {
        let rows = request(by_rows.iter().map(|s| s.id).collect(), task.range);
        source.scan(&rows, &mut |run| accumulator.samples(&run)).await?;
        accumulator.end()?;
    }
    let Accumulator { rows, cells, .. } = accumulator;
    Ok(Some(rows.into_groups().into_iter().zip(cells).collect()))
}

/// Sorts ranges and joins neighbours.
fn join(ranges: &mut Vec<TimeRange>) {
    ranges.sort_unstable_by_key(|r| r.start_ns);
    ranges.dedup_by(|next, last| {
        let touches = next.start_ns <= last.end_ns.saturating_add(1);
        if touches {
            last.end_ns = last.end_ns.max(next.end_ns);
        }
        touches
    });
}

/// Whether one of the joined ranges contains a time.
fn contain(ranges: &[TimeRange], time_ns: i64) -> bool {
    let after = ranges.partition_point(|range| range.start_ns <= time_ns);
    after > 0 && ranges[after - 1].contains(time_ns)
}

/// Times to read from samples with the series to read there: the edges of a range are the same for all series.
fn rereads(unfit: HashMap<u32, Vec<TimeRange>>) -> Vec<(TimeRange, Vec<u32>)> {
    let mut by_range: HashMap<(i64, i64), Vec<u32>> = HashMap::new();
    for (series, ranges) in unfit {
        for range in ranges {
            by_range.entry((range.start_ns, range.end_ns)).or_default().push(series);
        }
    }
    let mut all: Vec<_> = by_range
        .into_iter()
        .map(|((start_ns, end_ns), mut series)| {
            series.sort_unstable();
            (TimeRange { start_ns, end_ns }, series)
        })
        .collect();
    all.sort_unstable_by_key(|(range, _)| (range.start_ns, range.end_ns));
    all
}

/// What a series of the answer says beside its samples.
struct Shape<'a> {
    profile_type: &'a ProfileType,
    sample_type: (String, String),
    buckets: Buckets,
}

impl<'a> Shape<'a> {
    fn new(profile_type: &'a ProfileType, scaled: bool, buckets: Buckets) -> Self {
        let ProfileType { sample_type, sample_unit, period_type, period_unit, .. } = profile_type;
        let (kind, unit) = if scaled { (period_type, period_unit) } else { (sample_type, sample_unit) };
        Self { profile_type, sample_type: (kind.clone(), unit.clone()), buckets }
    }

    fn series(&self, key: GroupKey, cells: &Cells) -> RangeSeries {
        let mut labels = key;
        labels.sort_unstable();
        let mut at: Vec<(i64, &Cell)> = cells.iter().map(|(&at, cell)| (at, cell)).collect();
        at.sort_unstable_by_key(|(at, _)| *at);
        let samples = if self.profile_type.delta { self.sums(&at) } else { self.instants(&at) };
        let ProfileType { period_type, period_unit, .. } = self.profile_type;
        RangeSeries {
            labels,
            period_type: (period_type.clone(), period_unit.clone()),
            sample_type: self.sample_type.clone(),
            samples,
        }
    }

    fn sums(&self, cells: &[(i64, &Cell)]) -> Vec<RangeSample> {
        let sample = |&(at, cell): &(i64, &Cell)| {
            let shared = cell.time_ns.is_some() && cell.duration_ns > 0;
            let duration_ns = if shared { cell.duration_ns } else { self.buckets.width_ns() };
            RangeSample {
                time_ns: at,
                value: cell.value(),
                value_per_second: self.rate(cell.value(), duration_ns),
                duration_ns,
                count: cell.count,
            }
        };
        cells.iter().map(sample).collect()
    }

    fn rate(&self, sum: i64, duration_ns: i64) -> f64 {
        let (kind, unit) = (&self.sample_type.0, &self.sample_type.1);
        if duration_ns <= 0 {
            0.0
        } else if kind == "cpu" && unit == "nanoseconds" {
            sum as f64 / duration_ns as f64
        } else {
            sum as f64 / (duration_ns as f64 / 1e9)
        }
    }

    /// Keeps the first time of each bucket: states at an instant do not add up over time.
    fn instants(&self, times: &[(i64, &Cell)]) -> Vec<RangeSample> {
        let mut samples: Vec<RangeSample> = Vec::new();
        let mut bucket = None;
        for &(time_ns, cell) in times {
            let start = self.buckets.start(time_ns);
            // Without a step there is nothing to thin out.
            if self.buckets.step_ns == 0 || bucket != Some(start) {
                bucket = Some(start);
                samples.push(RangeSample {
                    time_ns,
                    value: cell.value(),
                    value_per_second: cell.value() as f64,
                    duration_ns: 0,
                    count: 1,
                });
            } else if let Some(last) = samples.last_mut() {
                last.count += 1;
            }
        }
        samples
    }
}
