//! `decima serve`: the order in which the parts start and stop.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context;
use decima_store::Store;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{logging, settings::Settings, value::Address};

/// Runs the store until a signal asks it to stop, then flushes.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    logging::start(settings.log_level, settings.log_format);
    for flag in &settings.without_effect {
        tracing::warn!(flag, "this flag of Parca has no effect here");
    }
    let mut stop = StopSignals::listen()?;
    let store = Store::open(settings.store.clone()).await?;
    let listener = bind(&settings.address).await?;
    announce(&page_url(listener.local_addr()?, &settings.path_prefix))?;
    stop.next().await;
    tracing::info!("stopping");
    store.close().await.context("cannot flush the head; the log still holds its samples")
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
fn announce(url: &str) -> io::Result<()> {
    tracing::info!(url, "listening");
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "Decima is at {url}")?;
    stdout.flush()
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
