//! Independent answers: what other programs read from the same profiles and from our files.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{product::Product, scratch::Scratch, skip};
use crate::{
    pack,
    process::{Step, have, say},
    tally::Tally,
};

/// Profiles of real senders, and what another implementation read from them.
const FIXTURES: &str = "fixtures/pprof";
const EXPECTED: &str = "fixtures/pprof/expected.json";
/// The merge that the documentation shows.
const MERGE_SQL: &str = "docs/format/merge.sql";
/// Packages that read our files.
const READERS: &str = "xtask/oracles/requirements.txt";
/// What charms are checked with.
const CHARMCRAFT: &str = "xtask/oracles/charmcraft.txt";
/// The Python library of the relation, its framework, and what they did.
const PARCA_STORE: &str = "crates/parca-store/tests/differential";

/// One sample type of one fixture.
struct Fixture {
    file: String,
    /// Name under which it is uploaded: one a file, so that they do not add up.
    name: String,
    sample_type: String,
    profile_type: String,
}

/// All sample types with values of all fixtures.
fn fixtures() -> anyhow::Result<Vec<Fixture>> {
    let expected: Value = serde_json::from_slice(&fs::read(EXPECTED)?)?;
    let mut found = Vec::new();
    for entry in expected.as_array().context("a list")? {
        let file = entry["file"].as_str().context("a file")?;
        let name = file.split('.').next().unwrap_or(file).replace('-', "_");
        let period_type = entry["period_type"].as_str().unwrap_or_default();
        let delta = if entry["duration_nanos"].as_i64().unwrap_or_default() > 0 { ":delta" } else { "" };
        for (value_type, count) in entry["samples_with_value_not_zero"].as_object().into_iter().flatten() {
            let sample_type = value_type.split(':').next().unwrap_or_default();
            // Counts of samples are multiplied by the period in reports, as Parca does.
            if value_type != "samples:count" && count.as_i64() > Some(0) {
                found.push(Fixture {
                    file: stored_as(file),
                    name: name.clone(),
                    sample_type: sample_type.to_owned(),
                    profile_type: format!("{name}:{value_type}:{}{delta}", period(period_type)),
                });
            }
        }
    }
    if found.is_empty() {
        bail!("{EXPECTED} lists nothing");
    }
    Ok(found)
}

/// Path of a fixture, which may be kept compressed as its sender writes it.
fn stored_as(file: &str) -> String {
    let path = format!("{FIXTURES}/{file}");
    if Path::new(&path).exists() { path } else { format!("{path}.zst") }
}

/// A profile without a period type has two empty parts in its type.
fn period(period_type: &str) -> &str {
    if period_type.is_empty() { ":" } else { period_type }
}

/// Uploads every fixture once.
fn upload_all(product: &Product, fixtures: &[Fixture]) -> anyhow::Result<()> {
    let files: BTreeMap<&str, &str> = fixtures.iter().map(|f| (f.file.as_str(), f.name.as_str())).collect();
    files.iter().try_for_each(|(file, name)| product.upload(Path::new(file), name))
}

/// `go tool pprof` reads the same functions from the file as it was sent and from the report of what was stored.
pub(super) fn go_pprof() -> anyhow::Result<Tally> {
    if !have("go") {
        return Ok(skip("go is not here"));
    }
    let scratch = Scratch::new("go-pprof")?;
    let product = Product::start_quiet(&scratch.path().join("data"), scratch.path())?;
    let fixtures = fixtures()?;
    upload_all(&product, &fixtures)?;
    let mut tally = Tally::default();
    // Go does not read zstd.
    for fixture in fixtures.iter().filter(|fixture| !fixture.file.ends_with(".zst")) {
        let report = scratch.path().join("report.pb.gz");
        fs::write(&report, product.query(&fixture.profile_type, "pprof")?)?;
        let original = top(Path::new(&fixture.file), Some(&fixture.sample_type))?;
        let stored = top(&report, None)?;
        tally += if original == stored && !original.is_empty() {
            Tally::PASSED
        } else {
            say(&format!("FAIL {}: go tool pprof -top differs", fixture.profile_type));
            original
                .iter()
                .filter(|row| !stored.contains(row))
                .take(5)
                .for_each(|row| say(&format!("  sent   {row}")));
            stored
                .iter()
                .filter(|row| !original.contains(row))
                .take(5)
                .for_each(|row| say(&format!("  stored {row}")));
            Tally::FAILED
        };
    }
    Ok(tally)
}

/// Rows `flat cumulative function` of `go tool pprof -top`, sorted; functions without any value are left out.
fn top(file: &Path, sample_type: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut step = Step::new("go").args(["tool", "pprof", "-top", "-trim=false", "-symbolize=none"]);
    if let Some(sample_type) = sample_type {
        step = step.arg(format!("-sample_index={sample_type}"));
    }
    let text = step.arg(file).output_quiet()?;
    let rows = text.lines().skip_while(|line| !line.trim_start().starts_with("flat ")).skip(1);
    let mut rows: Vec<String> = rows
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (flat, _, _, cumulative, _) =
                (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
            let function = words.collect::<Vec<_>>().join(" ");
            (flat != "0" || cumulative != "0").then(|| format!("{flat} {cumulative} {function}"))
        })
        .collect();
    rows.sort();
    Ok(rows)
}

/// DuckDB and pyarrow read every file of a block, and the documented merge gives what the store answers.
pub(super) fn parquet() -> anyhow::Result<Tally> {
    if !have("python3") {
        return Ok(skip("python3 is not here"));
    }
    let python = python("target/python", READERS)?;
    let scratch = Scratch::new("parquet")?;
    let data = scratch.path().join("data");
    let product = Product::start_quiet(&data, scratch.path())?;
    let fixtures = fixtures()?;
    upload_all(&product, &fixtures)?;
    let mut expected = Vec::new();
    for fixture in &fixtures {
        let answer: Value = serde_json::from_slice(&product.query(&fixture.profile_type, "json")?)?;
        expected.push(json!({
            "profile_name": fixture.name, "sample_type": fixture.sample_type, "functions": answer["functions"],
        }));
    }
    product.terminate()?;
    let expected_path = scratch.path().join("expected.json");
    fs::write(&expected_path, serde_json::to_vec(&expected)?)?;
    super::count(
        Step::new(&python).arg("xtask/oracles/parquet.py").arg(data).arg(MERGE_SQL).arg(expected_path),
    )
}

/// The Python library of `parca_store` still does what was recorded of it, which the Rust tests compare ours with.
pub(super) fn parca_store() -> anyhow::Result<Tally> {
    if !have("python3") {
        return Ok(skip("python3 is not here"));
    }
    let python = python_with_ops()?;
    super::count(Step::new(&python).arg(format!("{PARCA_STORE}/record.py")).arg("--check"))
}

/// A Python in which charms run.
pub(super) fn python_with_ops() -> anyhow::Result<String> {
    python("target/python-ops", &format!("{PARCA_STORE}/requirements.txt"))
}

/// Charmcraft finds nothing wrong with the charm's files, as they are packed here.
pub(super) fn charmcraft() -> anyhow::Result<Tally> {
    if !have("python3") {
        return Ok(skip("python3 is not here"));
    }
    if !have("musl-gcc") {
        return Ok(skip("musl-gcc is not here"));
    }
    let python = python("target/python-charmcraft", CHARMCRAFT)?;
    let mut tally = Tally::default();
    for charm in pack::run(pack::Wanted::Charm)? {
        let step = Step::new(&python).args(["-m", "charmcraft", "analyse", "--format", "json"]).arg(&charm);
        let found: Vec<Value> = serde_json::from_str(&step.output_quiet()?)?;
        for check in found {
            let (name, result) = (&check["name"], check["result"].as_str().unwrap_or_default());
            // Attributes are what it takes the charm for, not what it thinks of it.
            match (check["check_type"].as_str(), result) {
                (Some("attribute"), _) | (_, "nonapplicable") => {}
                (_, "ok") => tally += Tally::PASSED,
                _ => {
                    say(&format!("{}: {name}: {result}: {}", charm.display(), check["text"]));
                    tally += Tally::FAILED;
                }
            }
        }
    }
    Ok(if tally == Tally::default() { Tally::FAILED } else { tally })
}

/// A Python in a folder of its own with the packages that a file lists.
fn python(folder: &str, requirements: &str) -> anyhow::Result<String> {
    let installed = Path::new(folder).join("installed.txt");
    let python = format!("{folder}/bin/python");
    if fs::read(&installed).ok() != fs::read(requirements).ok() {
        Step::new("python3").args(["-m", "venv", "--clear", folder]).run()?;
        let quiet =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements];
        Step::new(&python).args(quiet).run()?;
        fs::copy(requirements, installed)?;
    }
    Ok(python)
}
