//! The simulation, which is a workspace of its own (the reason stands in its Cargo.toml): it shares the lock file and the folder of
//! artifacts with everything else.

use std::{fs, path::Path};

use crate::process::Step;

const MANIFEST: &str = "sim/Cargo.toml";

/// A cargo command on the simulation.
pub(crate) fn cargo(command: &str) -> anyhow::Result<Step> {
    // Cargo leaves out what is not needed of it, so it differs and is copied each time.
    fs::copy("Cargo.lock", Path::new(MANIFEST).with_file_name("Cargo.lock"))?;
    let target = std::env::current_dir()?.join("target").display().to_string();
    Ok(Step::new("cargo").args([command, "--manifest-path", MANIFEST]).env("CARGO_TARGET_DIR", &target))
}

/// Runs lives; an error if one of them broke the model.
pub(crate) fn run(flags: &[String]) -> anyhow::Result<()> {
    cargo("run")?.args(["--quiet", "--"]).args(flags).run()
}
