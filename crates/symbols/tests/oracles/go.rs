//! Go against what DWARF says of the same program, and against Go's own runtime, which every Go program has in it.

use std::path::Path;

use decima_symbols::{Answer, ObjectFiles, Options, Source, Symbolizer};

use crate::{
    Outcome, Test,
    tools::{self, Chains, Frame, have, source},
};

const ADDRESSES: u64 = 4000;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    compile: &'static [&'static str],
    link: &'static str,
    strip: bool,
    extract: bool,
}

const fn case(name: &'static str, compile: &'static [&'static str], link: &'static str, strip: bool) -> Case {
    Case { name, compile, link, strip, extract: false }
}

/// As an agent uploads it.
const fn extracted(case: Case) -> Case {
    Case { extract: true, ..case }
}

const CASES: &[Case] = &[
    case("Go", &[], "", false),
    case("Go stripped", &[], "", true),
    case("Go not inlined", &["-gcflags=all=-l -N"], "", true),
    case("Go PIE", &["-buildmode=pie"], "", false),
    case("Go PIE stripped", &["-buildmode=pie"], "", true),
    case("Go linked with C", &[], "-linkmode=external", false),
    case("Go linked with C stripped", &[], "-linkmode=external", true),
    case("Go linked with C PIE stripped", &["-buildmode=pie"], "-linkmode=external", true),
    extracted(case("Go uploaded", &[], "", false)),
    extracted(case("Go stripped and uploaded", &[], "", true)),
    extracted(case("Go PIE stripped and uploaded", &["-buildmode=pie"], "", true)),
];

pub(crate) fn tests() -> Vec<Test> {
    CASES.iter().map(|case| Test::new(case.name, || check(case))).collect()
}

fn check(case: &Case) -> Result<Outcome, String> {
    let needed = ["go", "gcc", "objcopy", "addr2line", "llvm-symbolizer"];
    if let Some(tool) = needed.into_iter().find(|tool| !have(tool)) {
        return Ok(Outcome::Skipped(tool));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = folder.path();
    build(case, folder)?;
    let strip = if case.strip { "--strip-all" } else { "--compress-debug-sections=none" };
    tools::run(folder, "objcopy", &[strip, "whole", "program"])?;
    let file = std::fs::read(folder.join("program")).map_err(|error| error.to_string())?;
    let addresses = tools::addresses(&file, ADDRESSES);
    let file = if case.extract { tools::extracted(file) } else { file };
    let symbolizer =
        Symbolizer::open(ObjectFiles::of(file), Options::default()).map_err(|error| error.to_string())?;
    let answers = symbolizer.symbolize_all(&addresses, &|| true);

    let llvm_arguments = ["--obj=whole", "--inlines", "--no-demangle", "--output-style=GNU", "-a", "-f"];
    let dwarf = [
        tools::ask(folder, "addr2line", &["-e", "whole", "-a", "-f", "-i"], &addresses)?,
        tools::ask(folder, "llvm-symbolizer", &llvm_arguments, &addresses)?,
    ];
    let main = main_address(&symbolizer, &addresses)?;
    let runtime = tools::ask(folder, "./whole", &[&format!("{main:x}")], &addresses)?;
    let inlined = compare(&symbolizer, &addresses, &answers, &dwarf, &runtime)?;
    let expected = !case.compile.contains(&"-gcflags=all=-l -N");
    if (inlined > 0) == expected { Ok(Outcome::Passed) } else { Err(format!("{inlined} inlined")) }
}

fn compare(
    symbolizer: &Symbolizer,
    addresses: &[u64],
    answers: &[Answer],
    dwarf: &[Chains],
    runtime: &Chains,
) -> Result<usize, String> {
    let mut differ = Vec::new();
    let (mut compared, mut inlined) = (0, 0);
    for (&address, answer) in addresses.iter().zip(answers) {
        let Answer::Resolved(symbols) = answer else { continue };
        if symbols.source != Source::GoLineTable {
            continue;
        }
        let own = tools::own(answer);
        compared += 1;
        inlined += usize::from(own.len() > 1);
        // The runtime tells the innermost function only, and knows routines that have no debug information.
        let of_runtime = &runtime[&address];
        let shown = &symbols.frames[0].function.name;
        // The runtime takes the first address of a function as that of its first instruction, not as one behind a call.
        let entered =
            symbolizer.symbolize(address + 1).frames().last().map(|frame| frame.function.name.clone())
                != symbols.frames.last().map(|frame| frame.function.name.clone());
        let innermost = entered
            || of_runtime
                .first()
                .is_none_or(|said| said.0 == *shown && (&said.1, said.2) == (&own[0].1, own[0].2));
        let known = dwarf.iter().any(|chains| !chains[&address].iter().all(|frame| frame.0.is_empty()));
        if !innermost || (known && !dwarf.iter().any(|chains| same(&chains[&address], &own))) {
            let said: Vec<_> = dwarf.iter().map(|chains| &chains[&address]).collect();
            differ.push(format!("{address:#x}: {own:?}, not one of {said:?}, or {of_runtime:?}"));
        }
    }
    if compared < 1000 {
        return Err(format!("{compared} compared"));
    }
    if !differ.is_empty() {
        differ.insert(0, format!("{} of {compared} differ", differ.len()));
        differ.truncate(8);
        return Err(differ.join("\n    "));
    }
    Ok(inlined)
}

/// Assembler routines have the name of their calling convention in DWARF, and what the compiler made has no line.
fn same(said: &[Frame], own: &[Frame]) -> bool {
    let same = |said: &Frame, own: &Frame| {
        let name = said.0.strip_suffix(".abi0").unwrap_or(&said.0);
        // Generated routines write the dot of a local type as the assembler does.
        name == own.0.replace('·', ".") && (said.2 == 0 || (&said.1, said.2) == (&own.1, own.2))
    };
    said.len() == own.len() && said.iter().zip(own).all(|(said, own)| same(said, own))
}

fn build(case: &Case, folder: &Path) -> Result<(), String> {
    let external = case.link.contains("external");
    // Older tools cannot read DWARF 5 as Go writes it, nor compressed sections.
    let link = format!("-ldflags=-compressdwarf=false {}", case.link);
    let output = std::process::Command::new("go")
        .args(["build", "-o"])
        .arg(folder.join("whole"))
        .args(case.compile)
        .arg(link)
        .current_dir(source("gomod"))
        .env("CGO_ENABLED", if external { "1" } else { "0" })
        .env("GOEXPERIMENT", "nodwarf5")
        .env("GOFLAGS", "-buildvcs=false")
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Where `main.main` begins in the file, by asking for addresses until one is in it.
fn main_address(symbolizer: &Symbolizer, addresses: &[u64]) -> Result<u64, String> {
    let is_main = |address: u64| {
        let answer = symbolizer.symbolize(address);
        answer.frames().last().is_some_and(|frame| frame.function.name == "main.main")
    };
    let near = addresses.iter().copied().find(|&address| is_main(address)).ok_or("main.main is not found")?;
    (1..=near).rev().find(|&address| !is_main(address - 1)).ok_or_else(|| "endless".into())
}
