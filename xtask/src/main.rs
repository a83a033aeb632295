//! The project's automation: `cargo xtask <task>`. Everything that a developer or a machine runs goes through here.
//!
//! Start at [`suite`] for what `cargo xtask test` runs, at [`tidy`] for the rules that no compiler checks.

mod pack;
mod process;
mod sim;
mod suite;
mod tally;
mod tidy;
mod ui;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};

use crate::process::Step;

/// The MinIO that buckets are tested with; releases have no versions that Go knows.
const MINIO: &str = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c";

const USAGE: &str = "usage: cargo xtask <task>

  test [--only STEP]   run every test there is; the last line counts them
  nightly              what takes too long for every change: a thousand kills at random points, ten thousand simulated lives,
                        twenty thousand mutants of each fuzz corpus, a check that the fuzz targets compile, buckets of MinIO
  minio                the last of these: MinIO is built (Go), and the tests of buckets run against it
  sim [FLAGS]          lives of a store on a simulated machine, by seed (-- --help lists its flags)
  tidy                 check the rules that no compiler checks
  ui [--write]         build the page and compare it with the committed bundle; --write updates the bundle
  bench [FLAGS]        generate a load, measure the release build with it, compare every total (-- --help lists its flags)
  bench hook           measure how much time of its own a hook of the charm takes
  pack [--charm]       write the static program, its image's context and the charm to target/pack; or the charm alone
  bless                write the golden files anew from what the code does now
  ci                   what a submission has to pass: format, lints, tidy, page, tests
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, rest)) = arguments.split_first() else {
        process::say(USAGE);
        return ExitCode::from(2);
    };
    let done = root().and_then(|root| {
        std::env::set_current_dir(root)?;
        match (task.as_str(), rest) {
            ("test", []) => suite::run(None),
            ("test", [flag, step]) if flag == "--only" => suite::run(Some(step)),
            ("nightly", []) => nightly(),
            ("minio", []) => minio(),
            ("sim", flags) => sim::run(flags),
            ("tidy", []) => tidy::run(),
            ("ui", []) => ui::compare(),
            ("ui", [flag]) if flag == "--write" => ui::write(),
            ("bench", [what]) if what == "hook" => bench_hook(),
            ("bench", flags) => bench(flags),
            ("pack", []) => pack::run(pack::Wanted::Everything).map(drop),
            ("pack", [flag]) if flag == "--charm" => pack::run(pack::Wanted::Charm).map(drop),
            ("bless", []) => bless(),
            ("ci", []) => Step::new("bash").arg(".ci/run").run(),
            _ => bail!("no such task: {}\n{USAGE}", arguments.join(" ")),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask stands in the workspace")?.to_owned())
}

/// Tests that every change runs in small, at full length.
fn nightly() -> anyhow::Result<()> {
    Step::new("cargo")
        .args(["test", "--package", "decima-cli", "--test", "it", "crashes::", "--", "--nocapture"])
        .env("DECIMA_CRASH_ROUNDS", "1000")
        .run()?;
    fuzz()?;
    sim::run(&["--seeds".to_owned(), "10000".to_owned()])?;
    minio()
}

/// The tests of buckets against MinIO instead of the S3 server that is part of the tests.
fn minio() -> anyhow::Result<()> {
    let folder = root()?.join("target/minio");
    let installed = Step::new("go").args(["install", MINIO]).env("CGO_ENABLED", "0");
    installed.env("GOBIN", &folder.to_string_lossy()).run()?;
    Step::new("cargo")
        .args(["test", "--package", "decima-cli", "--test", "it", "bucket::"])
        .env("DECIMA_TEST_MINIO", &folder.join("minio").to_string_lossy())
        .run()
}

/// The fuzz targets, without a fuzzer. Outside of the workspace, they are compiled by nothing else.
fn fuzz() -> anyhow::Result<()> {
    std::fs::copy("Cargo.lock", "fuzz/Cargo.lock")?;
    Step::new("cargo")
        .args(["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"])
        .run()?;
    Step::new("cargo")
        .args(["test", "--package", "decima-testkit", "--test", "it", "mutants"])
        .env("DECIMA_MUTANTS", "20000")
        .run()
}

fn bench(flags: &[String]) -> anyhow::Result<()> {
    Step::new("cargo").args(["build", "--release", "--package", "decima-cli"]).run()?;
    Step::new("cargo")
        .args([
            "run",
            "--release",
            "--quiet",
            "--package",
            "decima-testkit",
            "--features",
            "bench",
            "--bin",
            "bench",
            "--",
        ])
        .args(flags)
        .run()
}

/// The charm against a simulated agent and a simulated Pebble.
fn bench_hook() -> anyhow::Result<()> {
    let package = ["--package", "decima-charm"];
    Step::new("cargo")
        .args(["build", "--quiet", "--release", "--example", "hook-tools"])
        .args(package)
        .run()?;
    Step::new("cargo").args(["bench", "--quiet", "--bench", "hook"]).args(package).run()
}

/// Both kinds of golden files: those of insta, and those that a test compares by itself.
fn bless() -> anyhow::Result<()> {
    Step::new("cargo")
        .args(["test", "--workspace", "--no-fail-fast"])
        .env("INSTA_UPDATE", "always")
        .env("DECIMA_BLESS", "1")
        .run()
}
