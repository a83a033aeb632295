//! `decima check-config`: whether a configuration would be taken, and what is wrong with the files that it names.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use anyhow::{Context as _, bail};
use decima_config::{Config, ScrapeConfig, format_duration};
use decima_ingest::files::wrong_files;

use crate::args::CheckConfig;

/// Reads the file as `serve` does; an error names file, line and field.
pub(crate) fn run(flags: &CheckConfig) -> anyhow::Result<()> {
    let config = Config::load(&flags.file)?;
    if let Some(bucket) = config.object_storage.as_ref().filter(|_| !flags.syntax_only) {
        bucket.check().context("object_storage of the configuration")?;
    }
    let wrong = if flags.syntax_only { Vec::new() } else { wrong_files(&config) };
    let mut text = String::new();
    for job in &config.scrape_configs {
        let _ = writeln!(text, "  {}", describe(job));
    }
    for wrong in &wrong {
        let _ = writeln!(text, "  {wrong}");
    }
    let (file, jobs) = (flags.file.display(), config.scrape_configs.len());
    let verdict = if wrong.is_empty() { "fine" } else { "files are wrong" };
    write!(io::stdout().lock(), "{file}: {verdict}, {jobs} scrape jobs\n{text}")?;
    if !wrong.is_empty() {
        bail!("{file}: {} files that it names cannot be used", wrong.len());
    }
    Ok(())
}

/// A job in one line.
fn describe(job: &ScrapeConfig) -> String {
    let targets: usize = job.static_configs.iter().map(|group| group.targets.len()).sum();
    let mut text = format!(
        "{}: {} profiles every {}",
        job.job_name,
        job.endpoints.len(),
        format_duration(job.scrape_interval)
    );
    if targets > 0 {
        let _ = write!(text, ", {targets} static targets");
    }
    for discovery in &job.discoveries {
        let _ = write!(text, ", {} ({})", discovery.kind(), discovery.subject());
    }
    text
}
