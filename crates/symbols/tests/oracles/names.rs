//! Names of C++ functions, compared with what `c++filt` makes of them.
//!
//! The names of `sources/names.txt` must all be the same; they are of libstdc++, LLVM and Node. `DECIMA_NAMES=FILE` says how many
//! of a list of one's own are, one name a line, and prints some that are not (`nm -D --defined-only LIBRARY` gives such a list).

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use decima_symbols::demangle::{Mode, demangle};

use crate::{
    Outcome, Test,
    tools::{have, source},
};

/// Names printed that differ, from all over the list.
const PRINTED_MAX: usize = 40;

pub(crate) fn tests() -> Vec<Test> {
    let wanted = std::env::var_os("DECIMA_NAMES");
    vec![
        Test::new("names: those of the list", || all(&source("names.txt"), true)),
        Test::new("names: those of DECIMA_NAMES", move || match &wanted {
            Some(file) => all(Path::new(file), false),
            None => Ok(Outcome::Passed),
        }),
    ]
}

fn all(list: &Path, must_agree: bool) -> Result<Outcome, String> {
    if !have("c++filt") {
        return Ok(Outcome::Skipped("c++filt"));
    }
    let text = std::fs::read_to_string(list).map_err(|error| format!("{}: {error}", list.display()))?;
    let names: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let [full, short] = [filter(list, &[])?, filter(list, &["-p"])?];
    let mut differing = Vec::new();
    let mut compared = 0usize;
    for ((name, full), short) in names.iter().zip(&full).zip(&short) {
        // What c++filt cannot read is no oracle; without parameters it still writes those of enclosing functions and behind thunks.
        let is_local = name.starts_with("_ZZ") || name.starts_with("_ZT");
        for (mode, expected) in [(Mode::Full, full), (Mode::Templates, short)] {
            if expected == name || (is_local && mode == Mode::Templates) {
                continue;
            }
            compared += 1;
            let got = demangle(name, mode).unwrap_or_else(|| (*name).to_owned());
            if !same(&got, expected) {
                differing.push(format!("{name} {mode:?}\n  {got}\n  {expected}"));
            }
        }
    }
    if compared == 0 {
        return Err("nothing was compared".to_owned());
    }
    let step = differing.len().div_ceil(PRINTED_MAX).max(1);
    let told = differing.iter().step_by(step).cloned().collect::<Vec<_>>().join("\n");
    let sum = format!("{} of {compared} differ", differing.len());
    if must_agree {
        return if differing.is_empty() { Ok(Outcome::Passed) } else { Err(format!("{sum}\n{told}")) };
    }
    println!("{told}\n{sum}");
    Ok(Outcome::Passed)
}

/// Versions of `c++filt` differ in where they put spaces.
fn same(got: &str, expected: &str) -> bool {
    let plain = |text: &str| text.replace("> ", ">").replace(" (", "(");
    plain(got) == plain(expected)
}

/// What `c++filt` makes of the names of a file.
fn filter(list: &Path, arguments: &[&str]) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("c++filt: {error}");
    let output = Command::new("c++filt")
        .args(arguments)
        .stdin(File::open(list).map_err(failed)?)
        .stderr(Stdio::null())
        .output()
        .map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}
