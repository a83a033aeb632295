//! First answer of a fresh symbolizer, and an answer that is cached.
//!
//! The file is `DECIMA_DEBUGINFO`, by default this program itself.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints what it found"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use decima_symbols::{ObjectFiles, Options, Symbolizer, elf::Elf};

fn file() -> Vec<u8> {
    let path = std::env::var_os("DECIMA_DEBUGINFO").map(Into::into);
    let path = path.unwrap_or_else(|| std::env::current_exe().expect("own path"));
    std::fs::read(path).expect("a readable file")
}

/// Addresses all over the code.
fn addresses(file: &[u8]) -> Vec<u64> {
    let segments = Elf::parse(file).expect("an ELF file").segments();
    let code = segments.iter().filter(|segment| segment.executable).max_by_key(|segment| segment.size_bytes);
    let code = code.expect("code");
    (0..4096).map(|index| code.address + code.size_bytes / 4096 * index).collect()
}

fn symbolize(criterion: &mut Criterion) {
    let file: &'static [u8] = file().leak();
    let addresses = addresses(file);
    let open = || Symbolizer::open(ObjectFiles::of(file), Options::default()).expect("an ELF file");

    let mut group = criterion.benchmark_group("symbolize");
    group.sample_size(10);
    group.bench_function("first", |bencher| bencher.iter(|| open().symbolize(addresses[2048])));
    group.bench_function("all", |bencher| {
        bencher.iter(|| open().symbolize_all(&addresses, &|| true));
    });
    let warm = open();
    let answers = warm.symbolize_all(&addresses, &|| true);
    let resolved = answers.iter().filter(|answer| !answer.frames().is_empty()).count();
    println!(
        "{} MB, {resolved} of {} resolved, {} kB held",
        file.len() >> 20,
        answers.len(),
        warm.memory_bytes() >> 10
    );
    let mut next = addresses.iter().cycle();
    group.bench_function("cached", |bencher| {
        bencher.iter(|| black_box(warm.symbolize(*next.next().expect("endless"))));
    });
    group.finish();
}

criterion_group!(benches, symbolize);
criterion_main!(benches);
