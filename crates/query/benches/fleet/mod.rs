//! A generated fleet as one source in memory. The same numbers every time.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use decima_profile::ProfileType;
use decima_store::{
    ReadError,
    source::{
        Each, Function, Line, Mapping, Point, SampleRun, ScanRequest, Series, SeriesTable, Snapshot, Source,
        Symbols, TimeRange, Tree,
    },
};

pub(crate) const TYPE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta";

const STACKTRACES: usize = 3_400;
const SAMPLES: usize = 20_000;
const PODS: usize = 5;
const PROFILES: usize = 20;
/// Locations of libraries that all services have, and of one service alone.
const SHARED_LOCATIONS: usize = 40_000;
const OWN_LOCATIONS: usize = 200;
const DEPTH: usize = 25;
/// Locations that one location calls.
const CALLEES: usize = 6;

/// The sequence of Knuth's linear congruential generator, high bits.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

struct Fleet {
    table: Arc<SeriesTable>,
    symbols: Arc<Symbols>,
    trees: Vec<Arc<Tree>>,
    /// By series: stacktraces and values, sorted by time.
    samples: Vec<(Vec<u32>, Vec<i64>)>,
    points: Vec<Vec<Point>>,
}

pub(crate) fn snapshot(services: usize) -> Snapshot {
    let mut random = Random(7);
    let mut series = Vec::new();
    let mut samples = Vec::new();
    let mut points = Vec::new();
    let mut trees = Vec::new();
    for service in 0..services {
        trees.push(Arc::new(tree(&mut random, service)));
        for pod in 0..PODS {
            let count = SAMPLES / PODS;
            let labels = [
                ("pod", format!("s{service}-{pod}")),
                ("service", format!("s{service}")),
                ("zone", "a".to_owned()),
            ];
            series.push(Series {
                profile_type: Arc::new(ProfileType::parse(TYPE).expect("a type")),
                labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
                period: 10_000_000,
                duration_ns: 10_000_000_000,
                partition: service as u32,
                range: TimeRange { start_ns: 0, end_ns: 3_600_000_000_000 },
                sample_count: count as u64,
            });
            // A few stacktraces have most samples.
            let stacktrace = |random: &mut Random| {
                let bound = 1 + random.below(STACKTRACES);
                random.below(bound) as u32
            };
            let stacktraces: Vec<u32> = (0..count).map(|_| stacktrace(&mut random)).collect();
            let values = (0..count).map(|_| 10_000_000 * (1 + random.below(30) as i64)).collect();
            samples.push((stacktraces, values));
            points.push(
                (0..PROFILES as i64)
                    .map(|n| Point {
                        time_ns: n * 180_000_000_000,
                        bucket_ns: 0,
                        sum: 1,
                        count: 10,
                        duration_ns: 1,
                        instants: 1,
                    })
                    .collect(),
            );
        }
    }
    let symbols = Arc::new(symbols(services));
    let table = SeriesTable {
        series,
        partitions: trees.iter().map(|tree: &Arc<Tree>| tree.size()).collect(),
        location_count: symbols.location_count() as u64,
        shared_location_count: 0,
        location_bytes: 0,
        attributes: Arc::default(),
        resolution_ns: 0,
    };
    let fleet = Fleet { table: Arc::new(table), symbols, trees, samples, points };
    let nodes: usize = fleet.trees.iter().map(|tree| tree.parent.len()).sum();
    eprintln!("{services} services, {nodes} nodes, {} locations", fleet.symbols.location_count());
    Snapshot { sources: vec![Arc::new(fleet)] }
}

fn symbols(services: usize) -> Symbols {
    let mut symbols = Symbols { first_line: vec![0], ..Symbols::default() };
    symbols.strings.push("");
    let file = symbols.strings.push("/usr/bin/service");
    symbols.mappings.push(Mapping { file, build_id: file, ..Mapping::default() });
    let locations = SHARED_LOCATIONS + services * OWN_LOCATIONS;
    let mut random = Random(11);
    // Four locations a function, as call sites are.
    for function in 0..locations.div_ceil(4) {
        let name = symbols.strings.push(&format!(
            "company/package{}.(*Type{}).Method{function}",
            function % 97,
            function % 13
        ));
        symbols.functions.push(Function { name, system_name: name, filename: file, start_line: 10 });
    }
    for location in 0..locations {
        symbols.location_mapping.push(0);
        symbols.location_address.push(0x40_0000 + location as u64 * 16);
        symbols.location_frame_type.push(0);
        let lines = if random.below(8) == 0 { 2 } else { 1 };
        for line in 0..lines {
            let function = ((location / 4 + line * 31) % symbols.functions.len()) as u32;
            symbols.lines.push(Line { function, line: 10 + (location % 50) as i64, column: 0 });
        }
        symbols.first_line.push(symbols.lines.len() as u32);
    }
    symbols
}

/// One of the locations that a location calls: a quarter are the service's own.
fn callee(service: usize, location: u32, choice: usize) -> u32 {
    let mut random = Random(u64::from(location) * CALLEES as u64 + choice as u64);
    random.below(2);
    let own = random.below(4) == 0;
    let called = if own {
        SHARED_LOCATIONS + service * OWN_LOCATIONS + random.below(OWN_LOCATIONS)
    } else {
        let bound = 1 + random.below(SHARED_LOCATIONS);
        random.below(bound)
    };
    called as u32
}

/// A tree in preorder whose upper levels many stacktraces share.
fn tree(random: &mut Random, service: usize) -> Tree {
    let mut children: Vec<Vec<(u32, u32)>> = vec![Vec::new()];
    let mut ends = Vec::with_capacity(STACKTRACES);
    for _ in 0..STACKTRACES {
        let (mut node, mut location) = (0u32, 0u32);
        for depth in 0..DEPTH - 5 + random.below(10) {
            let reuse = !children[node as usize].is_empty() && random.below(28) >= depth;
            if reuse {
                let known = &children[node as usize];
                (location, node) = known[random.below(known.len())];
                continue;
            }
            location = callee(service, location, random.below(CALLEES));
            let known = children[node as usize].iter().find(|(l, _)| *l == location);
            node = match known {
                Some(&(_, child)) => child,
                None => {
                    let new = children.len() as u32;
                    children[node as usize].push((location, new));
                    children.push(Vec::new());
                    new
                }
            };
        }
        ends.push(node);
    }
    let mut tree = Tree { parent: vec![0], location: vec![0], leaf: Vec::new(), subtree_sizes: Vec::new() };
    let mut place = vec![0u32; children.len()];
    let mut open: Vec<(u32, usize)> = vec![(0, 0)];
    while let Some((node, next)) = open.pop() {
        if let Some(&(location, child)) = children[node as usize].get(next) {
            open.push((node, next + 1));
            place[child as usize] = tree.parent.len() as u32;
            tree.parent.push(place[node as usize]);
            tree.location.push(location);
            open.push((child, 0));
        }
    }
    tree.leaf = ends.iter().map(|&node| place[node as usize]).collect();
    tree.leaf.sort_unstable();
    tree.index_preorder().expect("in preorder");
    tree
}

#[async_trait]
impl Source for Fleet {
    fn name(&self) -> &str {
        "fleet"
    }

    fn range(&self) -> TimeRange {
        TimeRange::ALL
    }

    async fn series(&self) -> Result<Arc<SeriesTable>, ReadError> {
        Ok(Arc::clone(&self.table))
    }

    async fn symbols(&self, _partitions: &[u32]) -> Result<Arc<Symbols>, ReadError> {
        Ok(Arc::clone(&self.symbols))
    }

    async fn trees(&self, partitions: &[u32], wanted: Range<usize>) -> Result<Vec<Arc<Tree>>, ReadError> {
        Ok(partitions[wanted].iter().map(|&p| Arc::clone(&self.trees[p as usize])).collect())
    }

    async fn scan(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError> {
        for &series in &request.series {
            let (stacktraces, values) = &self.samples[series as usize];
            sink(SampleRun {
                series,
                partition: self.table.series[series as usize].partition,
                times_ns: Each::Constant(0),
                durations_ns: Each::Constant(0),
                stacktraces,
                values,
                attributes: &[],
            });
        }
        Ok(())
    }

    async fn points(
        &self,
        request: &ScanRequest,
        sink: &mut (dyn for<'a> FnMut(u32, &'a [Point]) + Send),
    ) -> Result<(), ReadError> {
        request.series.iter().for_each(|&series| sink(series, &self.points[series as usize]));
        Ok(())
    }
}
