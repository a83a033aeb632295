//! The configuration file while the store runs.

use std::{path::Path, sync::Arc};

use decima_config::Config;
use decima_ingest::scrape::Scraper;
use decima_server::Reloaded;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// What the file says, now and later.
pub(crate) type Current = watch::Receiver<Arc<Config>>;

/// Reads the file, which must be right.
pub(crate) fn open(path: &Path) -> anyhow::Result<Reloaded<Config>> {
    // An error of this one says no more than it has to.
    Config::load(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let build = move |contents: &[Vec<u8>]| {
        let text = std::str::from_utf8(contents.first().map_or(&[], Vec::as_slice))?;
        Ok(Config::parse(text, &name, &directory)?)
    };
    Ok(Reloaded::open(decima_server::CONFIG, vec![path.to_owned()], Box::new(build))?)
}

/// Scrapes what the configuration says, for ever.
pub(crate) async fn apply(mut current: Current, scraper: &Scraper) {
    let mut before: Option<Arc<Config>> = None;
    loop {
        let config = Arc::clone(&current.borrow_and_update());
        if before.is_some_and(|before| before.object_storage != config.object_storage) {
            tracing::warn!("object_storage has changed: only what is scraped is taken while the store runs");
        }
        scraper.apply(&config);
        before = Some(config);
        if current.changed().await.is_err() {
            // Nobody follows the file any more.
            return std::future::pending().await;
        }
    }
}

/// SIGHUP.
pub(crate) struct ReloadSignal(Signal);

impl ReloadSignal {
    /// From now on the signal does not end the process.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Looks at all files whenever the signal comes.
    pub(crate) async fn serve(mut self, reloads: decima_server::Reloads) {
        while self.0.recv().await.is_some() {
            tracing::info!("looking at configuration, tokens and certificates as they are now");
            reloads.ask();
        }
    }
}
