//! A fleet of services that sends CPU profiles: the load by which the store is measured.
//!
//! The shape is that of real fleets: services own most of their functions and share libraries and a kernel; stacktraces
//! grow from common prefixes; few stacktraces are hot and many are rare; a service runs as several pods. Everything
//! follows from [`Shape::seed`] and the coordinates of a thing, so that profiles can be made in any order.
//!
//! ```text
//! functions:  0 … KERNEL   kernel ;  … SHARED   libraries of all ;  then one stretch for each service
//! location = (function, call site) ;  id = function · CALL_SITES + site
//! ```

use crate::{
    pprof::{Function, Line, Location, Mapping, Profile, Sample, StringTable, ValueType},
    random::Random,
};

/// Functions of the kernel.
const KERNEL: usize = 600;
/// Functions that all services share, the kernel's included.
const SHARED: usize = 2000;
/// Places in a function from which it calls others.
const CALL_SITES: usize = 4;
/// Locations of a stacktrace at least.
const DEPTH_MIN: usize = 5;
/// Locations of a stacktrace at most.
const DEPTH_MAX: usize = 60;
/// 100 samples a second, what Go and most others take.
const PERIOD_NS: i64 = 10_000_000;
/// Hosts that the services run on.
const HOSTS: usize = 50;
/// Namespaces that the services are in.
const NAMESPACES: usize = 20;

/// The text form of the profile type that the fleet sends.
pub const PROFILE_TYPE: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta";

/// Which random stream a thing takes its numbers from.
#[derive(Clone, Copy)]
enum Stream {
    Function = 1,
    Service,
    Profile,
    Offset,
    Inline,
}

/// Sizes of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Seed of everything.
    pub seed: u64,
    /// Services.
    pub services: usize,
    /// Functions of all services together.
    pub functions: usize,
    /// Distinct stacktraces of a service at least.
    pub stacks_min: usize,
    /// Distinct stacktraces of a service at most.
    pub stacks_max: usize,
    /// Pods of a service; profiles take turns.
    pub pods: usize,
    /// Profiles that each service sends.
    pub profiles_per_service: usize,
    /// Samples in a profile (fewer if the service has fewer stacktraces).
    pub samples_per_profile: usize,
    /// Time between two profiles of a service, and what one covers.
    pub interval_ns: i64,
    /// Unix time at which the load ends.
    pub end_ns: i64,
}

impl Default for Shape {
    /// Four million samples, 0.7 million stacktraces, 7 million tree nodes.
    fn default() -> Self {
        Self {
            seed: 1,
            services: 200,
            functions: 20_000,
            stacks_min: 2_000,
            stacks_max: 5_000,
            pods: 5,
            profiles_per_service: 20,
            samples_per_profile: 1_000,
            interval_ns: 10_000_000_000,
            end_ns: 0,
        }
    }
}

impl Shape {
    /// Unix time at which the load starts.
    pub fn start_ns(&self) -> i64 {
        self.end_ns - self.profiles_per_service as i64 * self.interval_ns
    }

    /// Functions of one service.
    fn own(&self) -> usize {
        (self.functions.saturating_sub(SHARED) / self.services.max(1)).max(10)
    }
}

/// One profile to send.
#[derive(Debug, Clone)]
pub struct Request {
    /// Index of the service.
    pub service: usize,
    /// Labels of the series, `__name__` among them.
    pub labels: Vec<(String, String)>,
    /// Gzipped pprof.
    pub pprof: Vec<u8>,
    /// Samples in it.
    pub samples: u64,
    /// Sum of their values.
    pub value: i64,
    /// Unix time of the profile.
    pub time_ns: i64,
}

/// A function of the fleet.
#[derive(Debug, Clone)]
struct FleetFunction {
    name: String,
    file: String,
    start_line: i64,
}

/// The services and what they run.
#[derive(Debug, Clone)]
pub struct Fleet {
    shape: Shape,
    functions: Vec<FleetFunction>,
    services: Vec<Service>,
}

/// A service's stacktraces and how often each is seen.
#[derive(Debug, Clone)]
struct Service {
    /// Location ids, leaf first.
    stacktraces: Vec<Vec<u32>>,
    /// Share of all samples, by stacktrace.
    popularity: Vec<f64>,
}

impl Fleet {
    /// Builds all services.
    pub fn new(shape: Shape) -> Self {
        let functions = (0..SHARED + shape.own() * shape.services).map(|id| function(&shape, id)).collect();
        let services = (0..shape.services).map(|id| Service::new(&shape, id)).collect();
        Self { shape, functions, services }
    }

    /// Sizes that it was built with.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Name of a service, the value of its `job` label.
    pub fn service_name(service: usize) -> String {
        format!("svc-{service:03}")
    }

    /// Distinct stacktraces of all services.
    pub fn stacktraces(&self) -> usize {
        self.services.iter().map(|service| service.stacktraces.len()).sum()
    }

    /// The profile that a service sends in one interval.
    pub fn request(&self, service: usize, interval: usize) -> Request {
        let shape = &self.shape;
        let mut random = Random::of(&[shape.seed, Stream::Profile as u64, service as u64, interval as u64]);
        let counts = self.services[service].draw(&mut random, shape.samples_per_profile);
        // Scrapers spread their targets over the interval.
        let offset = Random::of(&[shape.seed, Stream::Offset as u64, service as u64]).unit()
            * shape.interval_ns as f64;
        let time_ns =
            shape.start_ns() + interval as i64 * shape.interval_ns + (offset / 1e6) as i64 * 1_000_000;
        let name = Self::service_name(service);
        let labels = [
            ("__name__", "process_cpu".to_owned()),
            ("job", name.clone()),
            ("namespace", format!("ns-{:02}", service % NAMESPACES)),
            ("node", format!("node-{:03}", service % HOSTS)),
            ("pod", format!("{name}-{}", interval % shape.pods.max(1))),
        ];
        Request {
            service,
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
            samples: counts.len() as u64,
            value: counts.iter().map(|&(_, count)| count * PERIOD_NS).sum(),
            pprof: self.profile(service, &counts, time_ns).gzip(),
            time_ns,
        }
    }

    /// Renders samples as a profiler would: only what they use, in the order of first use.
    fn profile(&self, service: usize, counts: &[(usize, i64)], time_ns: i64) -> Profile {
        let mut strings = StringTable::new();
        let cpu = ValueType { r#type: strings.id("cpu"), unit: strings.id("nanoseconds") };
        let mut locations = Numbering::new(self.functions.len() * CALL_SITES);
        let mut functions = Numbering::new(self.functions.len());
        let mut profile = Profile {
            sample_type: vec![cpu],
            period_type: Some(cpu),
            period: PERIOD_NS,
            time_nanos: time_ns,
            duration_nanos: self.shape.interval_ns,
            ..Profile::default()
        };
        for &(stacktrace, count) in counts {
            let stacktrace = &self.services[service].stacktraces[stacktrace];
            profile.sample.push(Sample {
                location_id: stacktrace.iter().map(|&location| locations.id(location)).collect(),
                value: vec![count * PERIOD_NS],
                label: Vec::new(),
            });
        }
        let binaries = [
            (format!("/app/{}", Self::service_name(service)), service as u64),
            ("/usr/lib/libshared.so.1".to_owned(), u64::MAX),
        ];
        for (at, (file, build)) in binaries.iter().enumerate() {
            profile.mapping.push(Mapping {
                id: at as u64 + 1,
                memory_start: mapping_start(at),
                memory_limit: mapping_start(at) + 0x4000_0000,
                filename: strings.id(file),
                build_id: strings.id(&build_id(self.shape.seed, *build)),
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
                ..Mapping::default()
            });
        }
        for (at, &location) in locations.order.iter().enumerate() {
            let (function, site) = (location as usize / CALL_SITES, location as usize % CALL_SITES);
            let shared = usize::from(function < SHARED);
            let mut line = Vec::with_capacity(2);
            if let Some(inlined) = self.inlined(location) {
                let start = self.functions[inlined].start_line;
                line.push(Line { function_id: functions.id(inlined as u32), line: start + 1, column: 0 });
            }
            let start = self.functions[function].start_line;
            line.push(Line {
                function_id: functions.id(function as u32),
                line: start + 2 + 7 * site as i64,
                column: 0,
            });
            profile.location.push(Location {
                id: at as u64 + 1,
                mapping_id: shared as u64 + 1,
                address: mapping_start(shared) + 0x1011 + 0x240 * function as u64 + 0x33 * site as u64,
                line,
                is_folded: false,
            });
        }
        for (at, &id) in functions.order.iter().enumerate() {
            let function = &self.functions[id as usize];
            let name = strings.id(&function.name);
            profile.function.push(Function {
                id: at as u64 + 1,
                name,
                system_name: name,
                filename: strings.id(&function.file),
                start_line: function.start_line,
            });
        }
        profile.string_table = strings.strings;
        profile
    }

    /// The function inlined at a location: a tenth of them have one, the next of the same owner.
    fn inlined(&self, location: u32) -> Option<usize> {
        let next = location as usize / CALL_SITES + 1;
        let first_of_owner =
            next == KERNEL || (next >= SHARED && (next - SHARED).is_multiple_of(self.shape.own()));
        let mut random = Random::of(&[self.shape.seed, Stream::Inline as u64, u64::from(location)]);
        (!first_of_owner && next < self.functions.len() && random.percent(10)).then_some(next)
    }
}

/// Numbers things from 1 in the order in which they are first asked for.
struct Numbering {
    ids: Vec<u64>,
    order: Vec<u32>,
}

impl Numbering {
    fn new(things: usize) -> Self {
        Self { ids: vec![0; things], order: Vec::new() }
    }

    fn id(&mut self, thing: u32) -> u64 {
        let id = &mut self.ids[thing as usize];
        if *id == 0 {
            self.order.push(thing);
            *id = self.order.len() as u64;
        }
        *id
    }
}

fn mapping_start(mapping: usize) -> u64 {
    0x40_0000 + ((mapping as u64) << 32)
}

fn build_id(seed: u64, binary: u64) -> String {
    let mut random = Random::of(&[seed, binary]);
    format!("{:016x}{:016x}{:08x}", random.bits(), random.bits(), random.bits() as u32)
}

fn function(shape: &Shape, id: usize) -> FleetFunction {
    const VERBS: &[&str] = &[
        "accept", "Apply", "Begin", "check", "Close", "Decode", "dispatch", "Encode", "fetch", "Flush",
        "Load", "merge", "next", "Open", "Parse", "resolve", "Send", "sort",
    ];
    const NOUNS: &[&str] = &[
        "Batch", "Bucket", "Cart", "Cluster", "Document", "Engine", "Frame", "Invoice", "Lease", "Mailbox",
        "Node", "Order", "Packet", "Pool", "Queue", "Router", "Table", "Ticket",
    ];
    const LIBRARIES: &[&str] = &[
        "runtime",
        "net/http",
        "encoding/json",
        "crypto/tls",
        "compress/gzip",
        "database/sql",
        "bufio",
        "reflect",
        "sync",
        "sort",
    ];
    let mut random = Random::of(&[shape.seed, Stream::Function as u64, id as u64]);
    let start_line = 10 + random.below(900) as i64;
    let (verb, noun) = (random.pick(VERBS), random.pick(NOUNS));
    if id < KERNEL {
        return FleetFunction {
            name: format!("__x64_sys_{verb}_{id}"),
            file: "vmlinux".to_owned(),
            start_line,
        };
    }
    let package = if id < SHARED {
        random.pick(LIBRARIES).to_owned()
    } else {
        let service = Fleet::service_name((id - SHARED) / shape.own());
        format!("example.org/fleet/{service}/{}", random.pick(NOUNS).to_lowercase())
    };
    let file = format!("/src/{package}/{}.go", noun.to_lowercase());
    FleetFunction { name: format!("{package}.(*{noun}).{verb}{id}"), file, start_line }
}

impl Service {
    fn new(shape: &Shape, id: usize) -> Self {
        let mut random = Random::of(&[shape.seed, Stream::Service as u64, id as u64]);
        let wanted = shape.stacks_min + random.below(shape.stacks_max.saturating_sub(shape.stacks_min) + 1);
        let mut seen = std::collections::HashSet::with_capacity(wanted);
        // Root first while they grow from each other.
        let mut stacktraces: Vec<Vec<u32>> = Vec::with_capacity(wanted);
        while stacktraces.len() < wanted {
            let grown = grow(shape, id, &stacktraces, &mut random);
            if seen.insert(grown.clone()) {
                stacktraces.push(grown);
            }
        }
        stacktraces.iter_mut().for_each(|stacktrace| stacktrace.reverse());
        Self { popularity: zipf(stacktraces.len(), &mut random), stacktraces }
    }

    /// So many distinct stacktraces by popularity, each with how often it was seen.
    fn draw(&self, random: &mut Random, samples: usize) -> Vec<(usize, i64)> {
        // The smallest of exponential arrival times are a weighted draw without replacement.
        let mut arrivals: Vec<(f64, usize)> = self
            .popularity
            .iter()
            .enumerate()
            .map(|(at, share)| (random.exponential() / share, at))
            .collect();
        arrivals.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        arrivals.truncate(samples);
        let mut drawn: Vec<(usize, i64)> = arrivals
            .iter()
            .map(|&(_, at)| {
                let seen = self.popularity[at] * samples as f64 * random.exponential();
                (at, 1 + seen.min(500.0) as i64)
            })
            .collect();
        drawn.sort_unstable();
        drawn
    }
}

/// A new stacktrace, root first, from a prefix of an earlier one.
fn grow(shape: &Shape, service: usize, earlier: &[Vec<u32>], random: &mut Random) -> Vec<u32> {
    let own = shape.own();
    let own_first = SHARED + service * own;
    let spread = 7.0 * (random.exponential() + random.exponential() + random.exponential());
    let depth = DEPTH_MIN + (spread as usize).min(DEPTH_MAX - DEPTH_MIN);
    let mut grown = match earlier {
        [] => vec![(own_first * CALL_SITES) as u32],
        _ => {
            let base = &earlier[random.low(earlier.len(), 2.0)];
            let fresh = 1 + (6.0 * random.exponential()) as usize;
            base[..depth.saturating_sub(fresh).clamp(1, base.len())].to_vec()
        }
    };
    // Some end in the kernel, most of the rest in libraries.
    let kernel = if random.percent(15) { 2 + random.below(4) } else { 0 };
    while grown.len() < depth {
        let left = depth - grown.len();
        let library_likely = if left < kernel + 6 { 78 } else { 25 };
        let function = if left <= kernel {
            random.low(KERNEL, 2.5)
        } else if random.percent(library_likely) {
            KERNEL + random.low(SHARED - KERNEL, 2.5)
        } else {
            own_first + random.low(own, 1.5)
        };
        grown.push((function * CALL_SITES + random.low(CALL_SITES, 2.0)) as u32);
    }
    grown
}

/// Shares that sum to 1 and fall as 1/rank, ranks in random order.
fn zipf(count: usize, random: &mut Random) -> Vec<f64> {
    let mut shares: Vec<f64> = (1..=count).map(|rank| 1.0 / rank as f64).collect();
    let sum: f64 = shares.iter().sum();
    for at in (1..count).rev() {
        shares.swap(at, random.below(at + 1));
    }
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use prost::Message;

    use super::*;

    fn small() -> Shape {
        Shape {
            services: 3,
            functions: 3_000,
            stacks_min: 300,
            stacks_max: 400,
            end_ns: 1_700_000_000_000_000_000,
            ..Shape::default()
        }
    }

    fn decode(pprof: &[u8]) -> Profile {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(pprof).read_to_end(&mut bytes).unwrap();
        Profile::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let (one, other) = (Fleet::new(small()).request(1, 2), Fleet::new(small()).request(1, 2));
        assert_eq!(one.pprof, other.pprof);
        assert_ne!(one.pprof, Fleet::new(Shape { seed: 2, ..small() }).request(1, 2).pprof);
    }

    #[test]
    fn a_request_tells_its_totals() {
        let request = Fleet::new(small()).request(2, 5);
        let profile = decode(&request.pprof);
        assert_eq!(profile.sample.len() as u64, request.samples);
        assert_eq!(profile.sample.iter().map(|s| s.value[0]).sum::<i64>(), request.value);
        assert!(profile.sample.iter().all(|s| s.value[0] > 0));
        let in_range = small().start_ns()..small().end_ns;
        assert!(in_range.contains(&profile.time_nanos));
        assert!(profile.location.iter().enumerate().all(|(at, l)| l.id == at as u64 + 1));
    }

    #[test]
    fn stacktraces_are_distinct_and_as_deep_as_they_should_be() {
        let service = Service::new(&Shape::default(), 7);
        let depths: Vec<_> = service.stacktraces.iter().map(Vec::len).collect();
        assert!(depths.iter().all(|depth| (DEPTH_MIN..=DEPTH_MAX).contains(depth)));
        let mean = depths.iter().sum::<usize>() as f64 / depths.len() as f64;
        assert!((22.0..29.0).contains(&mean), "{mean}");
        let nodes: std::collections::HashSet<&[u32]> =
            service.stacktraces.iter().flat_map(|s| (0..s.len()).map(|from| &s[from..])).collect();
        let nodes_per_stacktrace = nodes.len() as f64 / depths.len() as f64;
        assert!((8.0..12.0).contains(&nodes_per_stacktrace), "{nodes_per_stacktrace}");
        assert!((service.popularity.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
