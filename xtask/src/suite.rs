//! `cargo xtask test`: every test there is, each step timed, the last line the sum.
//!
//! A step sets up for itself what it needs. What this machine cannot give is counted as skipped, never as passed, and a
//! runner that ends without counting its tests counts as one that failed.

mod oracles;
mod product;
mod scratch;
mod system;

use std::{path::Path, time::Instant};

use anyhow::bail;

use self::{product::Product, scratch::Scratch};
use crate::{
    process::{Step, have, say},
    sim,
    tally::Tally,
    ui,
};

/// A named part of the suite.
struct Part {
    name: &'static str,
    run: fn() -> anyhow::Result<Tally>,
}

/// In the order in which they run: what fails soonest first.
const PARTS: &[Part] = &[
    Part { name: "rust", run: rust },
    Part { name: "sim", run: sim },
    Part { name: "page", run: page },
    Part { name: "pebble", run: pebble },
    Part { name: "parca-store", run: oracles::parca_store },
    Part { name: "charmcraft", run: oracles::charmcraft },
    Part { name: "go-pprof", run: oracles::go_pprof },
    Part { name: "parquet", run: oracles::parquet },
    Part { name: "system", run: system::run },
    Part { name: "parca-client", run: parca_client },
    Part { name: "browser", run: browser },
];

/// Runs all parts or one of them; an error if any test failed.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<()> {
    if let Some(name) = only
        && !PARTS.iter().any(|part| part.name == name)
    {
        let names: Vec<_> = PARTS.iter().map(|part| part.name).collect();
        bail!("no such step: {name} (there are {})", names.join(", "));
    }
    if only
        .is_some_and(|name| !["rust", "sim", "page", "pebble", "parca-store", "charmcraft"].contains(&name))
    {
        product::build()?;
    }
    let mut sum = Tally::default();
    for part in PARTS.iter().filter(|part| only.is_none_or(|name| name == part.name)) {
        say(&format!("== {}", part.name));
        let started = Instant::now();
        let tally = (part.run)().unwrap_or_else(|error| {
            say(&format!("{}: {error:#}", part.name));
            Tally::FAILED
        });
        say(&format!("== {}: {tally} in {:.1} s", part.name, started.elapsed().as_secs_f64()));
        sum += tally;
    }
    say(&sum.to_string());
    if sum.failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

/// Runs a runner and sums its closing lines.
fn count(step: Step) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let succeeded = step.watch(|line| tally += Tally::from_line(line).unwrap_or_default())?;
    if tally == Tally::default() || (!succeeded && tally.failed == 0) {
        tally += Tally::FAILED;
    }
    Ok(tally)
}

fn skip(why: &str) -> Tally {
    say(&format!("skipped: {why}"));
    Tally::SKIPPED
}

/// Unit, integration and documentation tests of every crate.
fn rust() -> anyhow::Result<Tally> {
    count(Step::new("cargo").args(["test", "--workspace", "--no-fail-fast", "--quiet"]))
}

/// The store on a simulated machine, for some seeds.
fn sim() -> anyhow::Result<Tally> {
    count(sim::cargo("test")?.arg("--quiet"))
}

/// Unit tests of the page.
fn page() -> anyhow::Result<Tally> {
    if !have("npm") {
        return Ok(skip("npm is not here"));
    }
    let folder = Path::new(ui::SOURCE);
    ui::install(folder)?;
    let report = folder.join("node_modules/.vitest-report.json");
    let held = Step::new("npx")
        .args([
            "vitest",
            "run",
            "--reporter=default",
            "--reporter=json",
            "--outputFile.json=node_modules/.vitest-report.json",
        ])
        .within(folder)
        .run();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report)?)?;
    let number = |key: &str| report[key].as_u64().unwrap_or_default();
    let mut tally = Tally {
        passed: number("numPassedTests"),
        failed: number("numFailedTests"),
        skipped: number("numPendingTests"),
    };
    if held.is_err() && tally.failed == 0 {
        tally += Tally::FAILED;
    }
    Ok(tally)
}

/// Builds the real Pebble, as a static program; none without Go.
fn pebble_daemon() -> anyhow::Result<Option<String>> {
    const FOLDER: &str = "crates/juju/tests/pebble";
    const PROGRAM: &str = "target/pebble/pebble";
    if !have("go") {
        return Ok(None);
    }
    let program = std::env::current_dir()?.join(PROGRAM);
    let output = program.display().to_string();
    Step::new("go")
        .args(["build", "-mod=mod", "-o", &output, "github.com/canonical/pebble/cmd/pebble"])
        .env("CGO_ENABLED", "0")
        .within(Path::new(FOLDER))
        .run()?;
    Ok(Some(output))
}

/// The client of Pebble against the real daemon; what it once answered is played among the tests of the crates.
fn pebble() -> anyhow::Result<Tally> {
    let Some(output) = pebble_daemon()? else { return Ok(skip("go is not here")) };
    // All packages, so that it is the build of the step before.
    count(
        Step::new("cargo")
            .args(["test", "--workspace", "--quiet", "--test", "it", "pebble::real::"])
            .env("DECIMA_PEBBLE", &output),
    )
}

/// Parca's own client, from npm, against the real program.
fn parca_client() -> anyhow::Result<Tally> {
    const FOLDER: &str = "crates/server/tests/parca-client";
    if !have("npm") {
        return Ok(skip("npm is not here"));
    }
    ui::install(Path::new(FOLDER))?;
    let scratch = Scratch::new("parca-client")?;
    let product = Product::start_quiet(&scratch.path().join("data"), scratch.path())?;
    count(Step::new("node").args(["run.mjs", "--base", product.url()]).within(Path::new(FOLDER)))
}

/// The page in a real browser, against the real program with profiles of itself.
fn browser() -> anyhow::Result<Tally> {
    if !have("npm") {
        return Ok(skip("npm is not here"));
    }
    if !have("chromium") && std::env::var_os("CHROMIUM").is_none() {
        return Ok(skip("chromium is not here"));
    }
    if !Path::new(ui::SOURCE).join("node_modules").exists() {
        ui::install(Path::new(ui::SOURCE))?;
    }
    let scratch = Scratch::new("browser")?;
    let product = Product::start(&scratch.path().join("data"))?;
    count(Step::new("node").args(["ui/e2e/run.mjs", "--base", product.url(), "--shots"]).arg(scratch.path()))
}
