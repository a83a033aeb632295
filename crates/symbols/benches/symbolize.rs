//! First answer of a fresh symbolizer, and an answer that is cached, of a file with 100 MB of debug information.
//!
//! The file is made of one unit of C++ that is linked many times under different names (`g++` and `objcopy` are needed), or is
//! `DECIMA_DEBUGINFO`. Memory that is held is compared with what is allowed.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints what it found"
)]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
};

use criterion::{Criterion, criterion_group, criterion_main};
use decima_symbols::{Answer, ObjectFiles, Options, Symbolizer, elf::Elf};

/// Units of some 4 MB each.
const UNITS: usize = 26;

/// The file, made unless it was before.
fn file() -> Vec<u8> {
    let given = std::env::var_os("DECIMA_DEBUGINFO").map(PathBuf::from);
    std::fs::read(given.unwrap_or_else(made)).expect("a readable file")
}

fn made() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/large.cpp");
    let file = folder.join(format!("large-{UNITS}.so"));
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    if time(&file) > time(&source) {
        return file;
    }
    let run = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).current_dir(folder).status();
        assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?} fails");
    };
    let source = source.to_str().expect("a path in UTF-8");
    run("g++", &["-std=c++20", "-O2", "-g", "-fPIC", "-c", source, "-o", "unit.o"]);
    let units: Vec<String> = (0..UNITS).map(|unit| format!("unit-{unit}.o")).collect();
    for (number, unit) in units.iter().enumerate() {
        run("objcopy", &[&format!("--prefix-symbols=u{number}_"), "unit.o", unit]);
    }
    let target = file.to_str().expect("a path in UTF-8");
    let mut arguments = vec!["-shared", "-nostdlib", "-o", target];
    arguments.extend(units.iter().map(String::as_str));
    run("g++", &arguments);
    for unit in &units {
        std::fs::remove_file(folder.join(unit)).expect("a file that was just made");
    }
    file
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
    let options = Options::default();
    let open = || Symbolizer::open(ObjectFiles::of(file), options).expect("an ELF file");

    let mut group = criterion.benchmark_group("symbolize");
    group.sample_size(10);
    group.bench_function("first", |bencher| bencher.iter(|| open().symbolize(addresses[2048])));
    group.bench_function("all", |bencher| {
        bencher.iter(|| open().symbolize_all(&addresses, &|| true));
    });
    let warm = open();
    let answers = warm.symbolize_all(&addresses, &|| true);
    let inlined = |answer: &&Answer| answer.frames().len() > 1;
    println!(
        "{} MB, {} of {} addresses resolved, {} in what was inlined, {} of {} MiB held",
        file.len() / 1_000_000,
        answers.iter().filter(|answer| !answer.frames().is_empty()).count(),
        answers.len(),
        answers.iter().filter(inlined).count(),
        warm.memory_bytes() >> 20,
        (options.memory_max_bytes + options.cache_max_bytes) >> 20,
    );
    assert!(
        warm.memory_bytes() <= options.memory_max_bytes + options.cache_max_bytes,
        "more is held than allowed"
    );
    let mut next = addresses.iter().cycle();
    group.bench_function("cached", |bencher| {
        bencher.iter(|| black_box(warm.symbolize(*next.next().expect("endless"))));
    });
    group.finish();
}

criterion_group!(benches, symbolize);
criterion_main!(benches);
