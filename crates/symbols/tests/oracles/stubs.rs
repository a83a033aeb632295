//! Stubs of calls to other files, against `objdump`.

use std::{collections::BTreeMap, process::Command};

use decima_symbols::{ObjectFiles, Options, Symbolizer};

use crate::{
    Outcome, Test,
    tools::{have, run, source},
};

/// Ways in which linkers lay them out.
const LAYOUTS: [(&str, &[&str]); 4] = [
    ("lazy", &["-Wl,-z,lazy"]),
    ("now", &["-Wl,-z,now"]),
    ("for indirect branches", &["-fcf-protection=full", "-Wl,-z,ibtplt"]),
    ("stripped", &["-s"]),
];

pub(crate) fn tests() -> Vec<Test> {
    let test = |&(name, flags): &(&str, &'static [&str])| {
        Test::new(format!("stubs: {name}"), move || {
            if cfg!(target_arch = "x86_64") { check(flags) } else { Ok(Outcome::Skipped("x86-64")) }
        })
    };
    LAYOUTS.iter().map(test).collect()
}

fn check(flags: &[&str]) -> Result<Outcome, String> {
    for tool in ["cc", "objdump"] {
        if !have(tool) {
            return Ok(Outcome::Skipped(tool));
        }
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let sources = ["chain.c", "other.c"].map(|name| source(name).to_string_lossy().into_owned());
    let arguments = [flags, &["-O1", "-o", "program", &sources[0], &sources[1]]].concat();
    run(folder.path(), "cc", &arguments)?;
    let program = folder.path().join("program");
    let listed = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(&program).output();
    let listed = listed.map_err(|error| format!("objdump: {error}"))?;
    let expected: BTreeMap<u64, String> =
        String::from_utf8_lossy(&listed.stdout).lines().filter_map(stub).collect();
    if !expected.values().any(|name| name == "printf@plt") {
        return Err(format!("objdump knows no stub of printf: {expected:?}"));
    }
    let bytes = std::fs::read(&program).map_err(|error| error.to_string())?;
    let symbolizer =
        Symbolizer::open(ObjectFiles::of(bytes), Options::default()).map_err(|e| e.to_string())?;
    for (&start, name) in &expected {
        for address in [start, start + 5] {
            let answer = symbolizer.symbolize(address);
            let got: Vec<_> = answer.frames().iter().map(|frame| frame.function.name.as_str()).collect();
            if got != [name] {
                return Err(format!("{address:#x}: {got:?}, and objdump says {name}"));
            }
        }
    }
    Ok(Outcome::Passed)
}

/// `0000000000001050 <printf@plt>:`
fn stub(line: &str) -> Option<(u64, String)> {
    let (address, name) = line.strip_suffix(">:")?.split_once(" <")?;
    let address = u64::from_str_radix(address, 16).ok()?;
    name.ends_with("@plt").then(|| (address, name.to_owned()))
}
