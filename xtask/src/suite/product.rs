//! The real program, running for a test: started on a free port, killed when dropped.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout},
};

use anyhow::{Context, bail};

use crate::process::Step;

/// Names another program to test than the one that cargo builds.
const BINARY_VARIABLE: &str = "DECIMA_BINARY";

/// The program that tests run.
pub(super) fn binary() -> String {
    std::env::var(BINARY_VARIABLE).unwrap_or_else(|_| "target/debug/decima".to_owned())
}

/// Builds the program, for a step that runs without the tests of the crates (they build it too).
pub(super) fn build() -> anyhow::Result<()> {
    match std::env::var_os(BINARY_VARIABLE) {
        Some(_) => Ok(()),
        // With what the tests of the crates have.
        None => Step::new("cargo")
            .args(["build", "--quiet", "--package", "decima-cli", "--features", "s3,dns,kubernetes"])
            .run(),
    }
}

/// A running store.
pub(super) struct Product {
    child: Child,
    /// Held open: a store that cannot write its line would end.
    _stdout: BufReader<ChildStdout>,
    url: String,
}

impl Product {
    /// Starts it on a data directory; samples of any age are taken. It scrapes itself.
    pub(super) fn start(storage: &Path) -> anyhow::Result<Self> {
        Self::with_flags(storage, &[])
    }

    /// Starts it so that nothing is stored but what a test uploads. `scratch` is for its configuration.
    pub(super) fn start_quiet(storage: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let config = scratch.join("nothing-to-scrape.yaml");
        std::fs::write(&config, "scrape_configs: []\n")?;
        Self::with_flags(storage, &[&format!("--config-path={}", config.display())])
    }

    fn with_flags(storage: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let mut child = Step::new(&binary())
            .args([
                "serve",
                "--http-address=127.0.0.1:0",
                "--retention=0",
                "--log-level=warn",
                "--storage-path",
            ])
            .arg(storage)
            .args(flags)
            .start()?;
        let mut stdout = BufReader::new(child.stdout.take().context("standard output is piped")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Some(url) = line.split_whitespace().next_back().filter(|word| word.starts_with("http://")) else {
            bail!("the store did not say where it is but {line:?}");
        };
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { child, _stdout: stdout, url })
    }

    /// Where it is, without a slash at the end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Asks it to stop and waits until it has flushed.
    pub(super) fn terminate(mut self) -> anyhow::Result<()> {
        Step::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).run()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the store ended with {status} after SIGTERM");
        }
        Ok(())
    }

    /// Stores a file under a profile name of its own.
    pub(super) fn upload(&self, file: &Path, name: &str) -> anyhow::Result<()> {
        let told = Step::new(&binary())
            .args(["upload", "--address", &self.url, "--label", "service=oracle", "--name", name])
            .arg(file)
            .output()?;
        if !told.contains("stored ") {
            bail!("upload said {told:?}");
        }
        Ok(())
    }

    /// What `decima query` prints for everything of one profile type.
    pub(super) fn query(&self, profile_type: &str, format: &str) -> anyhow::Result<Vec<u8>> {
        let selector = format!("{{__name__=\"{profile_type}\"}}");
        Step::new(&binary())
            .args(["query", &selector, "--from", "2000-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"])
            .args(["--format", format, "--address", &self.url])
            .output_bytes()
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
