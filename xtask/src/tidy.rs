//! `cargo xtask tidy`: the rules that no compiler checks. Each returns what is wrong, as lines that name the place.
//!
//! The table of crates in ARCHITECTURE.md is the input of [`edges`], not a description of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::process::{Step, say};

/// Longer files want splitting by subject, or a reason in [`LONG_FILES`].
const LINES_MAX: usize = 600;
/// `path: reason` lines.
const LONG_FILES: &str = "xtask/long-files.txt";

/// Checks every rule; an error if any is broken.
pub(crate) fn run() -> anyhow::Result<()> {
    let sources = tracked(&["rs", "ts", "tsx", "mjs"])?;
    let documents = tracked(&["md"])?;
    let mut broken = Vec::new();
    broken.extend(edges(&fs::read_to_string("ARCHITECTURE.md")?, &metadata()?)?);
    broken.extend(long_files(&sources)?);
    broken.extend(documents_name_what_is_there(&documents)?);
    broken.extend(reasons(&sources)?);
    broken.extend(wired_tests(&sources)?);
    for line in &broken {
        say(line);
    }
    if !broken.is_empty() {
        bail!("{} rules of tidy are broken", broken.len());
    }
    say(&format!("tidy: {} sources and {} documents keep the rules", sources.len(), documents.len()));
    Ok(())
}

/// Where what a program wrote is.
const GENERATED: &str = "generated";

/// Files that git tracks or would track and people write, by extension.
fn tracked(extensions: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let list = Step::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).output()?;
    let wanted =
        |path: &PathBuf| path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted));
    let mut files: Vec<_> =
        list.lines().map(PathBuf::from).filter(wanted).filter(|path| path.is_file()).collect();
    files.retain(|path| !path.iter().any(|part| part == GENERATED));
    files.sort();
    files.dedup();
    Ok(files)
}

fn metadata() -> anyhow::Result<Value> {
    let json = Step::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    Ok(serde_json::from_str(&json)?)
}

/// The short names of what each crate of the table may use: `store` → {`base`, `profile`}.
fn table(architecture: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut crates = BTreeMap::new();
    let mut inside = false;
    for line in architecture.lines() {
        let cells: Vec<_> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.trim_start().starts_with('|') {
            inside = false;
        } else if let [first, .., last] = cells.as_slice() {
            match (*first, *last) {
                ("crate", "may use") => inside = true,
                _ if !inside || first.starts_with('-') => {}
                (name, uses) => {
                    let uses = uses.split(',').map(|name| name.trim().trim_matches('`').to_owned());
                    crates
                        .insert(name.trim_matches('`').to_owned(), uses.filter(|name| name != "–").collect());
                }
            }
        }
    }
    crates
}

/// Dependencies between our crates that the table does not allow, and rows without a crate or the other way round.
///
/// What a crate's tests use is free, but for `cli`: nothing is above it.
fn edges(architecture: &str, metadata: &Value) -> anyhow::Result<Vec<String>> {
    let allowed = table(architecture);
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().context("cargo metadata lists packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        let short = name.strip_prefix("decima-").unwrap_or(name);
        seen.insert(short.to_owned());
        let Some(allowed) = allowed.get(short) else {
            broken.push(format!("ARCHITECTURE.md: the table of crates has no row for {short}"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(other) = dependency["name"].as_str().and_then(|name| name.strip_prefix("decima-"))
            else {
                continue;
            };
            let for_tests = dependency["kind"] == "dev";
            if !allowed.contains(other) && !for_tests {
                broken.push(format!(
                    "crates/{short}/Cargo.toml: {short} may not use {other} (table in ARCHITECTURE.md)"
                ));
            }
        }
    }
    let absent = allowed.keys().filter(|name| !seen.contains(*name));
    broken.extend(absent.map(|name| format!("ARCHITECTURE.md: there is no crate {name}")));
    Ok(broken)
}

/// Lines of a source before its tests.
fn length(text: &str) -> usize {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| ["tests", "e2e", "benches"].iter().any(|name| part.as_os_str() == *name))
        || path.file_stem().is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with(".test"))
}

fn long_files(sources: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let list = fs::read_to_string(LONG_FILES).with_context(|| format!("cannot read {LONG_FILES}"))?;
    let mut excepted: BTreeMap<&str, &str> = BTreeMap::new();
    let mut broken = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(": ") {
            Some((path, reason)) if reason.len() > 10 => drop(excepted.insert(path, reason)),
            _ => broken.push(format!("{LONG_FILES}: {line:?} is not `path: reason`")),
        }
    }
    for path in sources.iter().filter(|path| !is_test(path)) {
        let lines = length(&fs::read_to_string(path)?);
        let shown = path.display().to_string();
        match (lines > LINES_MAX, excepted.remove(shown.as_str())) {
            (true, None) => broken.push(format!("{shown}: {lines} lines before its tests; split it by subject or give the reason in {LONG_FILES}")),
            (false, Some(_)) => broken.push(format!("{LONG_FILES}: {shown} has {lines} lines and needs no exception")),
            _ => {}
        }
    }
    broken.extend(excepted.keys().map(|path| format!("{LONG_FILES}: there is no source {path}")));
    Ok(broken)
}

/// Folders whose names, in backticks, are meant as paths of this repository.
const PATHS: &[&str] = &[
    "crates/",
    "ui/",
    "docs/",
    "xtask/",
    "fuzz/",
    "fixtures/",
    ".ci/",
    "deploy/",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
];

/// Paths that a document names: targets of relative links, and words in backticks that begin like a path of ours.
fn named_paths(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split([')', '#', ' ']).next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
            paths.push(target.to_owned());
        }
    }
    for word in text.split('`').skip(1).step_by(2) {
        let path = PATHS.iter().any(|prefix| word.starts_with(prefix));
        if path && !word.contains(|c: char| c.is_whitespace() || "*<>{}".contains(c)) {
            paths.push(format!("/{}", word.split("::").next().unwrap_or_default()));
        }
    }
    paths
}

fn documents_name_what_is_there(documents: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for document in documents {
        let folder = document.parent().unwrap_or(Path::new(""));
        for path in named_paths(&fs::read_to_string(document)?) {
            let place = match path.strip_prefix('/') {
                Some(from_root) => PathBuf::from(from_root),
                None => folder.join(&path),
            };
            if !place.exists() {
                broken.push(format!("{}: names {}, which is not there", document.display(), place.display()));
            }
        }
    }
    Ok(broken)
}

/// Marks of unfinished work and of tests left out, which must say why.
fn reasons(sources: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    // Written in two parts, so that this file does not find itself.
    let unfinished = concat!("TO", "DO");
    let ignored = concat!("#[ign", "ore]");
    let mut broken = Vec::new();
    for path in sources {
        for (number, line) in fs::read_to_string(path)?.lines().enumerate() {
            let place = format!("{}:{}", path.display(), number + 1);
            if let Some((_, rest)) = line.split_once(unfinished)
                && rest.strip_prefix(": ").is_none_or(|reason| reason.len() < 10)
            {
                broken.push(format!("{place}: {unfinished} without a reason ({unfinished}: why)"));
            }
            if line.contains(ignored) {
                broken.push(format!("{place}: a test is left out without a reason"));
            }
        }
    }
    Ok(broken)
}

/// Files beside a `tests/it/main.rs` that it does not name: they would never run.
fn wired_tests(sources: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for path in sources {
        let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { continue };
        if !folder.ends_with("tests/it") || stem == "main" {
            continue;
        }
        let main = fs::read_to_string(folder.join("main.rs"))?;
        if !main.contains(&format!("mod {};", stem.to_string_lossy())) {
            broken.push(format!(
                "{}: main.rs beside it has no `mod {};`",
                path.display(),
                stem.to_string_lossy()
            ));
        }
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "text\n\n| crate | responsibility | may use |\n|---|---|---|\n| `base` | ground | – |\n| `store` | keeps | `base`, `profile` |\n\n| a | b |\n|---|---|\n| x | y |\n";

    #[test]
    fn table_of_crates() {
        let crates = table(TABLE);
        assert_eq!(crates.keys().map(String::as_str).collect::<Vec<_>>(), ["base", "store"]);
        assert!(crates["base"].is_empty());
        assert_eq!(crates["store"].iter().map(String::as_str).collect::<Vec<_>>(), ["base", "profile"]);
    }

    #[test]
    fn edges_follow_the_table() {
        let metadata = serde_json::json!({"packages": [
            {"name": "decima-base", "dependencies": [{"name": "decima-store", "kind": null}, {"name": "serde", "kind": null}]},
            {"name": "decima-store", "dependencies": [{"name": "decima-base", "kind": null}, {"name": "decima-testkit", "kind": "dev"}]},
            {"name": "decima-new", "dependencies": []},
        ]});
        let broken = edges(TABLE, &metadata).unwrap();
        assert_eq!(
            broken,
            [
                "crates/base/Cargo.toml: base may not use store (table in ARCHITECTURE.md)",
                "ARCHITECTURE.md: the table of crates has no row for new",
            ]
        );
    }

    #[test]
    fn rows_need_a_crate() {
        let metadata = serde_json::json!({"packages": [{"name": "decima-base", "dependencies": []}]});
        assert_eq!(edges(TABLE, &metadata).unwrap(), ["ARCHITECTURE.md: there is no crate store"]);
    }

    #[test]
    fn tests_do_not_count_as_length() {
        assert_eq!(length("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
    }

    #[test]
    fn paths_in_documents() {
        let text = "See [a](docs/a.md#part), [b](https://example.org), `crates/x/src/lib.rs`, `cargo run`, `docs/*.md`, `base::x`.";
        assert_eq!(named_paths(text), ["docs/a.md", "/crates/x/src/lib.rs"]);
    }
}
