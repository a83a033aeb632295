//! A source whose samples are in memory, built from plain samples.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use async_trait::async_trait;
use decima_profile::ProfileType;
use decima_store::{
    ReadError,
    source::{
        AttributeRun, AttributeTable, Each, Function, Line, Mapping, NO_MAPPING, Point, SampleRun,
        ScanRequest, Series, SeriesTable, Snapshot, Source, StringColumn, Symbols, TimeRange, Tree,
    },
};

/// A line of a location.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct LineSpec {
    pub(crate) name: String,
    pub(crate) system_name: String,
    pub(crate) filename: String,
    pub(crate) start_line: i64,
    pub(crate) line: i64,
}

/// A location by content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct LocationSpec {
    /// (file, build ID).
    pub(crate) mapping: Option<(String, String)>,
    pub(crate) address: u64,
    /// Innermost first.
    pub(crate) lines: Vec<LineSpec>,
}

/// A sample by content.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) profile_type: String,
    /// Sorted by name.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) period: i64,
    pub(crate) time_ns: i64,
    pub(crate) duration_ns: i64,
    /// Leaf first.
    pub(crate) stack: Vec<LocationSpec>,
    pub(crate) value: i64,
    /// Attributes; a value of digits is kept as a number.
    pub(crate) attributes: Vec<(String, String)>,
}

struct Row {
    time_ns: i64,
    duration_ns: i64,
    stacktrace: u32,
    value: i64,
    attributes: Vec<(String, String)>,
}

/// A source in memory.
pub(crate) struct MemorySource {
    name: String,
    table: SeriesTable,
    symbols: Symbols,
    trees: Vec<Tree>,
    rows: Vec<Vec<Row>>,
    /// Width of its points; 0 = exact times.
    bucket_ns: i64,
    broken: bool,
}

/// A source with these samples; points are exact unless they have a `bucket_ns`.
pub(crate) fn source(name: &str, samples: &[Sample], bucket_ns: i64) -> MemorySource {
    let mut builder =
        Builder { symbols: Symbols { first_line: vec![0], ..Symbols::default() }, ..Builder::default() };
    builder.string("");
    let mut attributes = AttributeTable::default();
    for sample in samples {
        let series = builder.add(sample);
        let range = TimeRange { start_ns: sample.time_ns, end_ns: sample.time_ns };
        for (name, value) in sample.attributes.iter().filter(|(_, value)| !value.is_empty()) {
            attributes.entry(name).add(series, value, range);
        }
    }
    let table = SeriesTable {
        partitions: builder.trees.iter().map(Tree::size).collect(),
        location_count: builder.symbols.location_count() as u64,
        shared_location_count: 0,
        location_bytes: 0,
        series: builder.series,
        attributes: Arc::new(attributes),
        resolution_ns: 0,
    };
    let (symbols, trees, rows) = (builder.symbols, builder.trees, builder.rows);
    MemorySource { name: name.to_owned(), table, symbols, trees, rows, bucket_ns, broken: false }
}

impl MemorySource {
    /// A source that cannot be read.
    pub(crate) fn broken(name: &str) -> Self {
        Self { broken: true, ..source(name, &[], 0) }
    }

    fn check(&self) -> Result<(), ReadError> {
        if !self.broken {
            return Ok(());
        }
        Err(ReadError::Corrupt {
            block: self.name.clone(),
            file: "series".to_owned(),
            reason: "made so".to_owned(),
        })
    }
}

/// A snapshot of sources.
pub(crate) fn snapshot(sources: Vec<MemorySource>) -> Snapshot {
    Snapshot { sources: sources.into_iter().map(|source| Arc::new(source) as Arc<dyn Source>).collect() }
}

#[derive(Default)]
struct Builder {
    symbols: Symbols,
    trees: Vec<Tree>,
    series: Vec<Series>,
    rows: Vec<Vec<Row>>,
    strings: HashMap<String, u32>,
    mappings: HashMap<Mapping, u32>,
    functions: HashMap<Function, u32>,
    locations: HashMap<LocationSpec, u32>,
    partitions: HashMap<String, u32>,
    nodes: HashMap<(u32, u32, u32), u32>,
    stacktraces: HashMap<(u32, u32), u32>,
}

impl Builder {
    fn string(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.strings.get(text) {
            return id;
        }
        let id = self.symbols.strings.push(text);
        self.strings.insert(text.to_owned(), id);
        id
    }

    fn location(&mut self, spec: &LocationSpec) -> u32 {
        if let Some(&id) = self.locations.get(spec) {
            return id;
        }
        let mapping = match &spec.mapping {
            None => NO_MAPPING,
            Some((file, build_id)) => {
                let mapping = Mapping {
                    file: self.string(file),
                    build_id: self.string(build_id),
                    ..Mapping::default()
                };
                let mappings = &mut self.symbols.mappings;
                *self.mappings.entry(mapping).or_insert_with(|| {
                    mappings.push(mapping);
                    mappings.len() as u32 - 1
                })
            }
        };
        for line in &spec.lines {
            let function = Function {
                name: self.string(&line.name),
                system_name: self.string(&line.system_name),
                filename: self.string(&line.filename),
                start_line: line.start_line,
            };
            let functions = &mut self.symbols.functions;
            let function = *self.functions.entry(function).or_insert_with(|| {
                functions.push(function);
                functions.len() as u32 - 1
            });
            self.symbols.lines.push(Line { function, line: line.line, column: 0 });
        }
        self.symbols.location_mapping.push(mapping);
        self.symbols.location_address.push(spec.address);
        self.symbols.location_frame_type.push(0);
        self.symbols.first_line.push(self.symbols.lines.len() as u32);
        let id = self.symbols.location_count() as u32 - 1;
        self.locations.insert(spec.clone(), id);
        id
    }

    /// Adds a sample and gives its series.
    fn add(&mut self, sample: &Sample) -> u32 {
        let service = sample.labels.iter().find(|(name, _)| name == "service").map_or("", |(_, value)| value);
        let next = self.partitions.len() as u32;
        let partition = *self.partitions.entry(service.to_owned()).or_insert(next);
        if partition as usize == self.trees.len() {
            self.trees.push(Tree {
                parent: vec![0],
                location: vec![0],
                leaf: Vec::new(),
                subtree_sizes: Vec::new(),
            });
        }
        let mut node = 0;
        for location in sample.stack.iter().rev() {
            let location = self.location(location);
            let tree = &mut self.trees[partition as usize];
            node = *self.nodes.entry((partition, node, location)).or_insert_with(|| {
                tree.parent.push(node);
                tree.location.push(location);
                tree.parent.len() as u32 - 1
            });
        }
        let tree = &mut self.trees[partition as usize];
        let stacktrace = *self.stacktraces.entry((partition, node)).or_insert_with(|| {
            tree.leaf.push(node);
            tree.leaf.len() as u32 - 1
        });
        let profile_type = ProfileType::parse(&sample.profile_type).unwrap();
        let at = self.series.iter().position(|s| {
            *s.profile_type == profile_type && s.labels[..] == sample.labels[..] && s.period == sample.period
        });
        let at = at.unwrap_or_else(|| {
            self.series.push(Series {
                profile_type: Arc::new(profile_type),
                labels: sample.labels.clone().into(),
                period: sample.period,
                duration_ns: sample.duration_ns,
                partition,
                range: TimeRange { start_ns: i64::MAX, end_ns: i64::MIN },
                sample_count: 0,
            });
            self.rows.push(Vec::new());
            self.series.len() - 1
        });
        let series = &mut self.series[at];
        series.range.start_ns = series.range.start_ns.min(sample.time_ns);
        series.range.end_ns = series.range.end_ns.max(sample.time_ns);
        series.sample_count += 1;
        self.rows[at].push(Row {
            time_ns: sample.time_ns,
            duration_ns: sample.duration_ns,
            stacktrace,
            value: sample.value,
            attributes: sample.attributes.clone(),
        });
        at as u32
    }
}

/// Rows of a run: small, so that several runs of a series are the usual case.
const RUN_ROWS: usize = 3;

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn range(&self) -> TimeRange {
        TimeRange::ALL
    }

    async fn series(&self) -> Result<Arc<SeriesTable>, ReadError> {
        self.check()?;
        Ok(Arc::new(self.table.clone()))
    }

    async fn symbols(&self, _partitions: &[u32]) -> Result<Arc<Symbols>, ReadError> {
        Ok(Arc::new(self.symbols.clone()))
    }

    async fn trees(&self, partitions: &[u32], wanted: Range<usize>) -> Result<Vec<Arc<Tree>>, ReadError> {
        let tree = |&partition: &u32| {
            let mut tree = self.trees[partition as usize].clone();
            // Those that happen to be in preorder are read as a block's are.
            let _ = tree.index_preorder();
            Arc::new(tree)
        };
        Ok(partitions[wanted].iter().map(tree).collect())
    }

    async fn scan(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError> {
        for &series in &request.series {
            let rows: Vec<&Row> =
                self.rows[series as usize].iter().filter(|row| request.range.contains(row.time_ns)).collect();
            for rows in rows.chunks(RUN_ROWS) {
                let column = |value: fn(&Row) -> i64| rows.iter().map(|row| value(row)).collect::<Vec<_>>();
                let (times, durations) = (column(|r| r.time_ns), column(|r| r.duration_ns));
                let times_ns = if request.with_times { Each::Rows(&times) } else { Each::Constant(i64::MIN) };
                let durations_ns =
                    if request.with_times { Each::Rows(&durations) } else { Each::Constant(i64::MIN) };
                let columns: Vec<Column> =
                    request.attributes.iter().map(|name| Column::new(rows, name)).collect();
                let attributes: Vec<Option<AttributeRun<'_>>> = columns.iter().map(Column::run).collect();
                sink(SampleRun {
                    series,
                    partition: self.table.series[series as usize].partition,
                    times_ns,
                    durations_ns,
                    stacktraces: &rows.iter().map(|row| row.stacktrace).collect::<Vec<_>>(),
                    values: &column(|r| r.value),
                    attributes: &attributes,
                });
            }
        }
        Ok(())
    }

    async fn points(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(u32, &'a [Point]) + Send),
    ) -> Result<(), ReadError> {
        for &series in &request.series {
            let mut points: BTreeMap<(i64, i64), Point> = BTreeMap::new();
            let mut full = Vec::new();
            for row in &self.rows[series as usize] {
                // A series may have both kinds of points.
                let bucket_ns = if row.value % 3 == 0 { 0 } else { self.bucket_ns };
                let time_ns = match bucket_ns {
                    0 => row.time_ns,
                    width => row.time_ns - row.time_ns.rem_euclid(width),
                };
                let point = points.entry((time_ns, bucket_ns)).or_insert(Point {
                    time_ns,
                    bucket_ns,
                    sum: 0,
                    count: 0,
                    duration_ns: i64::MAX,
                    instants: 1,
                });
                match point.sum.checked_add(row.value) {
                    Some(sum) => point.sum = sum,
                    None => {
                        full.push(*point);
                        (point.sum, point.count) = (row.value, 0);
                    }
                }
                point.count += 1;
                point.duration_ns = point.duration_ns.min(row.duration_ns);
            }
            full.extend(points.into_values());
            full.sort_by_key(|point| (point.time_ns, point.bucket_ns));
            sink(series, &full);
        }
        Ok(())
    }
}

enum Column {
    Absent,
    Text(Vec<u32>, StringColumn),
    Integer(Vec<Option<i64>>),
}

impl Column {
    fn new(rows: &[&Row], name: &str) -> Self {
        let value = |row: &Row| {
            row.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let values: Vec<String> = rows.iter().map(|row| value(row)).collect();
        if values.iter().all(String::is_empty) {
            return Self::Absent;
        }
        if values.iter().all(|value| value.is_empty() || value.parse::<i64>().is_ok()) {
            return Self::Integer(values.iter().map(|value| value.parse().ok()).collect());
        }
        let distinct: BTreeSet<&String> = values.iter().collect();
        let mut dictionary = StringColumn::default();
        dictionary.push("");
        let ids: HashMap<&String, u32> = distinct
            .into_iter()
            .map(|text| (text, if text.is_empty() { 0 } else { dictionary.push(text) }))
            .collect();
        Self::Text(values.iter().map(|value| ids[value]).collect(), dictionary)
    }

    fn run(&self) -> Option<AttributeRun<'_>> {
        match self {
            Self::Absent => None,
            Self::Text(ids, dictionary) => Some(AttributeRun::Text { ids, dictionary }),
            Self::Integer(values) => Some(AttributeRun::Integer(values)),
        }
    }
}
