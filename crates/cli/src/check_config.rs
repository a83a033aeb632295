//! `decima check-config`: whether a configuration would be taken.

use std::io::{self, Write};

use decima_ingest::config::Config;

use crate::args::CheckConfig;

/// Reads the file as `serve` does; an error names file, line and field.
pub(crate) fn run(flags: &CheckConfig) -> anyhow::Result<()> {
    let config = Config::load(&flags.file)?;
    let jobs = config.scrape_configs.len();
    writeln!(io::stdout().lock(), "{}: fine, {jobs} scrape jobs", flags.file.display())?;
    Ok(())
}
