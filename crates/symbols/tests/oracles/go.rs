//! Go against its own runtime, which every Go program has in it, and against `go tool addr2line`.

use std::path::Path;

use decima_symbols::{ObjectFiles, Options, Source, Symbolizer};

use crate::{
    Outcome, Test,
    tools::{self, have, source},
};

const ADDRESSES: u64 = 4000;

struct Case {
    name: &'static str,
    arguments: &'static [&'static str],
    cgo: bool,
}

const CASES: &[Case] = &[
    Case { name: "Go", arguments: &[], cgo: false },
    Case { name: "Go stripped", arguments: &["-ldflags=-s -w"], cgo: false },
    Case { name: "Go not inlined", arguments: &["-gcflags=-l -N"], cgo: false },
    Case { name: "Go PIE", arguments: &["-buildmode=pie"], cgo: false },
    Case { name: "Go PIE stripped", arguments: &["-buildmode=pie", "-ldflags=-s -w"], cgo: false },
    Case { name: "Go with C", arguments: &["-ldflags=-linkmode=external"], cgo: true },
    Case {
        name: "Go with C stripped",
        arguments: &["-ldflags=-linkmode=external -s -w"],
        cgo: true,
    },
    Case {
        name: "Go with C PIE stripped",
        arguments: &["-buildmode=pie", "-ldflags=-linkmode=external -s -w"],
        cgo: true,
    },
];

pub(crate) fn tests() -> Vec<Test> {
    CASES.iter().map(|case| Test::new(case.name, || check(case))).collect()
}

fn check(case: &Case) -> Result<Outcome, String> {
    if !have("go") {
        return Ok(Outcome::Skipped("go"));
    }
    if case.cgo && !have("gcc") {
        return Ok(Outcome::Skipped("gcc"));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = folder.path();
    build(case, folder)?;
    let file = std::fs::read(folder.join("program")).map_err(|error| error.to_string())?;
    let addresses = tools::addresses(&file, ADDRESSES);
    let symbolizer = Symbolizer::open(ObjectFiles::of(file), Options::default()).map_err(|error| error.to_string())?;
    let answers = symbolizer.symbolize_all(&addresses, &|| true);
    let main = main_address(&symbolizer, &addresses)?;
    let runtime = tools::ask(folder, "./program", &[&format!("{main:x}")], &addresses)?;
    let mut differ = Vec::new();
    let (mut compared, mut inlined) = (0, 0);
    for (address, answer) in addresses.iter().zip(&answers) {
        let own = tools::own(answer);
        let said = &runtime[address];
        let of_go = matches!(answer, decima_symbols::Answer::Resolved(found) if found.source == Source::GoLineTable);
        // What is not Go's the runtime does not know.
        if said.is_empty() && !of_go {
            continue;
        }
        compared += 1;
        inlined += usize::from(own.len() > 1);
        if *said != own {
            differ.push(format!("{address:#x}: {own:?}, not {said:?}"));
        }
    }
    if compared < 1000 || (inlined == 0 && case.name != "Go not inlined") {
        return Err(format!("{compared} compared, {inlined} inlined"));
    }
    if !differ.is_empty() {
        differ.insert(0, format!("{} of {compared} differ", differ.len()));
        differ.truncate(6);
        return Err(differ.join("\n    "));
    }
    Ok(Outcome::Passed)
}

fn build(case: &Case, folder: &Path) -> Result<(), String> {
    let output = std::process::Command::new("go")
        .args(["build", "-o"])
        .arg(folder.join("program"))
        .args(case.arguments)
        .current_dir(source("gomod"))
        .env("CGO_ENABLED", if case.cgo || case.arguments.contains(&"-buildmode=pie") { "1" } else { "0" })
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
    (0..near).rev().map(|address| address + 1).find(|&address| !is_main(address - 1)).ok_or_else(|| "endless".into())
}
