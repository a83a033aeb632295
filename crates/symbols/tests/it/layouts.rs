//! What a file says of an address, for layouts that no tool here writes.

use std::path::Path;

use decima_symbols::{Answer, ObjectFiles, Options, Source, Symbolizer, Unresolved};

use crate::fuzz::elf_of;

fn corpus(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(path)).unwrap()
}

fn open(file: Vec<u8>, options: Options) -> Symbolizer {
    Symbolizer::open(ObjectFiles::of(file), options).unwrap()
}

/// `name file:line (start line)` of each frame.
fn said(answer: &Answer) -> Vec<String> {
    let frame = |frame: &decima_symbols::Frame| {
        let function = &frame.function;
        format!("{} {}:{} ({})", function.name, function.filename, frame.line, function.start_line)
    };
    answer.frames().iter().map(frame).collect()
}

#[test]
fn tables_of_go() {
    let check = |table: &str, address, expected: &[&str]| {
        let file = elf_of(&[(".gopclntab", 0x10_0000, &corpus(&format!("pclntab/{table}")))]);
        let answer = open(file, Options::default()).symbolize(address);
        assert_eq!(said(&answer), expected, "{table} {address:#x}");
        if let Answer::Resolved(symbols) = answer {
            assert_eq!(symbols.source, Source::GoLineTable);
        }
    };
    check(
        "inlined-go120",
        0x1014,
        &["main.inner /src/b.go:20 (25)", "main.middle /src/a.go:10 (15)", "main.outer /src/a.go:10 (9)"],
    );
    check(
        "inlined-go118",
        0x1014,
        &["main.inner /src/b.go:20 (0)", "main.middle /src/a.go:10 (0)", "main.outer /src/a.go:10 (0)"],
    );
    check("inlined-go120", 0x1040, &["main.main /src/a.go:40 (39)"]);
    check("inlined-go120", 0x1080, &[]);
    check("inlined-go120", 0xfff, &[]);
    check("count-overflow", 0x1014, &[]);
}

#[test]
fn reasons() {
    let check = |file: Vec<u8>, options, address, expected| {
        assert_eq!(open(file, options).symbolize(address), Answer::Unresolved(expected));
    };
    let program = || corpus("elf/program-dwarf5");
    check(program(), Options::default(), 0, Unresolved::InNoFunction);
    check(program(), Options::default(), u64::MAX, Unresolved::InNoFunction);
    check(elf_of(&[]), Options::default(), 0x1000, Unresolved::NoSymbols);
    let bomb = open(corpus("elf/compressed-bomb"), Options::default());
    assert_eq!(bomb.symbolize(0x2000), Answer::Unresolved(Unresolved::TooLarge));
    // Its symbols are not compressed.
    assert_eq!(bomb.symbolize(0x1000).frames().len(), 1);
}

/// Nobody waits for more than was asked, and what was begun goes on.
#[test]
fn deadlines() {
    let symbolizer = open(corpus("elf/program-dwarf5"), Options::default());
    let addresses: Vec<_> = (0x1000..0x1040).collect();
    let none = symbolizer.symbolize_all(&addresses, &|| false);
    assert!(none.iter().all(|answer| *answer == Answer::Unresolved(Unresolved::Deadline)));
    let all = symbolizer.symbolize_all(&addresses, &|| true);
    assert!(all.iter().any(|answer| answer.frames().len() > 1));
    assert_eq!(symbolizer.symbolize_all(&addresses, &|| false), all, "answers are remembered");
    symbolizer.release();
    assert_eq!(symbolizer.symbolize_all(&addresses, &|| false), all);
}

/// With less memory than a unit needs answers are the same.
#[test]
fn little_memory() {
    let file = corpus("elf/program-dwarf5");
    let addresses: Vec<_> = (0x1000..0x1040).collect();
    let roomy = open(file.clone(), Options::default());
    let plenty = roomy.symbolize_all(&addresses, &|| true);
    let options = Options { memory_max_bytes: 64 << 10, cache_max_bytes: 1 << 10, ..Options::default() };
    let little = open(file, options);
    assert_eq!(little.symbolize_all(&addresses, &|| true), plenty);
    assert!(little.memory_bytes() < 128 << 10, "{}", little.memory_bytes());
    let (read, answers) = (roomy.memory_bytes(), little.memory_bytes());
    assert!(read > answers, "{read} is not more than {answers}");
    roomy.release();
    assert!(roomy.memory_bytes() < read, "what was read is held no more");
}
