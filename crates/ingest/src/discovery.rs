//! Targets as they are discovered, before labels of the job and relabelling.
//!
//! Whatever finds targets gives the scraper the groups it knows, all of them each time
//! ([`Scraper::discovered`](crate::scrape::Scraper::discovered)); the list of a configuration is simply given once.

use crate::labels::Labels;

/// Targets that share labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TargetGroup {
    /// Labels of each target, `__address__` among them.
    pub targets: Vec<Labels>,
    /// Labels of all; those of a target win.
    pub labels: Labels,
}
