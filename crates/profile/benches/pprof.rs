//! What taking one profile in costs: inflating, decoding, and building one as the query engine does.
//!
//! The profile is of the shape of a CPU profile of a service: 1,000 samples of 25 locations from 20,000 stacktraces'
//! worth of shared prefixes, 3,500 locations, 2,000 functions with real-looking names. It is the same every time.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use decima_profile::{
    batch::{Function, Line, Mapping},
    compression::{decompress, gzip},
    pprof::{Limits, ProfileBuilder, decode},
};

/// Numbers that look random and are the same every time (xorshift64).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn profile(samples: u32) -> Vec<u8> {
    let mut random = Sequence(0x9e37_79b9_7f4a_7c15);
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count");
    builder.sample_type("cpu", "nanoseconds");
    let file = builder.string("/usr/local/bin/checkout");
    let build_id = builder.string("7c70e08457648609a728f201858408269834e0eb");
    let mapping =
        builder.mapping(&Mapping { start: 0x40_0000, limit: 0x400_0000, offset: 0, file, build_id });
    let functions: Vec<u32> = (0..2000)
        .map(|i| {
            let name = builder.string(&format!(
                "github.com/example/checkout/internal/module{:02}.(*Handler).method{i:04}",
                i % 37
            ));
            let filename =
                builder.string(&format!("/src/internal/module{:02}/handler{:02}.go", i % 37, i % 11));
            builder.function(&Function {
                name,
                system_name: name,
                filename,
                start_line: random.below(900) as i64,
            })
        })
        .collect();
    let locations: Vec<u32> = (0..3500)
        .map(|_| {
            let lines = 1 + random.below(10) / 9;
            let lines: Vec<Line> = (0..lines)
                .map(|_| Line {
                    function: functions[random.below(functions.len() as u64) as usize],
                    line: random.below(1000) as i64,
                    column: 0,
                })
                .collect();
            builder.location(mapping, 0x40_0000 + random.below(0x300_0000), &lines)
        })
        .collect();
    let mut stacktrace = Vec::new();
    for _ in 0..samples {
        let depth = 5 + random.below(41) as usize;
        stacktrace.clear();
        // Towards the root there are fewer locations to choose from.
        stacktrace.extend((0..depth).map(|height| {
            let choice = locations.len() * (depth - height) / depth;
            locations[random.below(choice.max(1) as u64) as usize]
        }));
        let count = 1 + random.below(4) as i64;
        builder.sample(&stacktrace, &[count, count * 10_000_000], &[]);
    }
    builder.period("cpu", "nanoseconds", 10_000_000);
    builder.time(1_795_366_939_729_767_987, 10_000_000_000);
    builder.encode()
}

fn pprof(criterion: &mut Criterion) {
    let plain = match std::env::var_os("PPROF_FILE") {
        Some(path) => decompress(&std::fs::read(path).unwrap_or_default(), 1 << 30).unwrap_or_default(),
        None => profile(1000),
    };
    let compressed = gzip(&plain);
    let limits = Limits::default();
    let mut group = criterion.benchmark_group("pprof, 1,000 samples");
    group.throughput(Throughput::Bytes(plain.len() as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter_batched(|| plain.clone(), |bytes| decode(bytes, &limits), BatchSize::SmallInput);
    });
    group.bench_function("inflate", |bencher| {
        bencher.iter(|| decompress(black_box(&compressed), plain.len()));
    });
    group.bench_function("build", |bencher| bencher.iter(|| profile(black_box(1000))));
    group.finish();
}

criterion_group!(benches, pprof);
criterion_main!(benches);
