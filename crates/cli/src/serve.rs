//! `decima serve`: the order in which the parts start and stop.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context, bail};
use decima_ingest::{
    config::{self, Config},
    push::Push,
    scrape::{self, Scraper},
};
use decima_query::Engine;
use decima_server::{Handles, Server};
use decima_store::Store;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{logging, settings::Settings, value::Address};

/// Runs the store until a signal asks it to stop, then drains and flushes.
///
/// It listens before the store is open, so that probes get an answer while a long log is replayed, and says where it is
/// when it serves.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    logging::start(settings.log_level, settings.log_format);
    for flag in &settings.without_effect {
        tracing::warn!(flag, "this flag of Parca has no effect here");
    }
    let mut stop = StopSignals::listen()?;
    let listener = bind(&settings.address).await?;
    let address = listener.local_addr()?;
    let config = configuration(&settings, address)?;
    tracing::info!(%address, "listening");
    let url = page_url(address, &settings.server.path_prefix);
    let server = Server::start(listener, settings.server)?;
    let store = tokio::select! {
        opened = Store::open(settings.store) => opened?,
        () = stop.next() => return Ok(()),
    };
    let push = Push::new(store.clone(), settings.limits);
    let scraper = Scraper::new(push.clone(), scrape::Settings::default());
    let handles = Handles { engine: Engine::new(store.clone(), settings.query), push };
    let serving = async {
        // Not earlier: both promise that it serves.
        announce(&url);
        scraper.apply(&config);
        stop.next().await;
        tracing::info!("stopping: draining, then flushing");
        scraper.shutdown().await;
    };
    server.with_scraper(scraper.clone()).with_store(store.clone()).serve(handles, serving).await?;
    tokio::select! {
        closed = store.close() => closed.context("cannot flush; the log keeps the samples for the next start")?,
        () = stop.next() => bail!("stopped while flushing; the log keeps the samples for the next start"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What to scrape: what the configuration says, or this store itself if there is none.
fn configuration(settings: &Settings, address: SocketAddr) -> anyhow::Result<Config> {
    let Some(path) = &settings.config_path else {
        return Ok(config::self_scrape(address, &settings.server.path_prefix));
    };
    let config = Config::load(path)?;
    if config.object_storage.is_some() {
        tracing::warn!("object_storage has no effect yet: everything is kept in --storage-path");
    }
    Ok(config)
}

/// Takes the port. Without a host, of all interfaces (both protocols where the system has both).
async fn bind(address: &Address) -> anyhow::Result<TcpListener> {
    let Address { host, port } = address;
    let bound = if host.is_empty() {
        let every: [SocketAddr; 2] =
            [(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()];
        TcpListener::bind(&every[..]).await
    } else {
        TcpListener::bind((host.as_str(), *port)).await
    };
    bound.with_context(|| format!("cannot listen on {host}:{port} (--http-address)"))
}

/// Where a browser on this machine finds the page.
fn page_url(bound: SocketAddr, path_prefix: &str) -> String {
    let reachable = match bound.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}{path_prefix}/", SocketAddr::new(reachable, bound.port()))
}

/// The one line on standard output: scripts read the address from it.
fn announce(url: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "Decima is at {url}").and_then(|()| stdout.flush()) {
        // Nobody reads it; a service goes on.
        tracing::warn!(%error, url, "cannot write the address to standard output");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_urls() {
        let check =
            |bound: &str, prefix: &str, url: &str| assert_eq!(page_url(bound.parse().unwrap(), prefix), url);
        check("127.0.0.1:7070", "", "http://127.0.0.1:7070/");
        check("0.0.0.0:80", "/parca", "http://127.0.0.1:80/parca/");
        check("[::]:7070", "", "http://127.0.0.1:7070/");
        check("[::1]:7070", "", "http://[::1]:7070/");
    }
}
