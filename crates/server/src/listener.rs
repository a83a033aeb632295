//! Connections: HTTP/1.1 and HTTP/2, with TLS or without, bounded in number and in time, drained at the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use futures::future::join_all;
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use crate::{
    metrics::Metrics,
    settings::{Bounds, Peer, Transport},
};

/// Bytes in flight on one stream. 64 KiB, HTTP/2's own default, makes a large message wait for the reader every few
/// packets.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes in flight on one connection.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: u32 = 256 << 10;
/// Silent HTTP/2 connections are asked whether they are alive.
const PING_INTERVAL: Duration = Duration::from_secs(60);
/// And closed when they do not answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause when the system has no more file descriptors: they come back as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a server listens, and how it is spoken to there.
#[derive(Debug)]
pub struct Listener {
    /// Takes connections.
    pub socket: TcpListener,
    /// Whether they begin with a handshake of TLS.
    pub tls: bool,
}

impl From<TcpListener> for Listener {
    /// Without TLS.
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: false }
    }
}

/// What all connections of a server share.
#[derive(Clone)]
pub(crate) struct Shared<R> {
    /// Says at each request what answers it.
    pub(crate) router: R,
    pub(crate) bounds: Bounds,
    pub(crate) metrics: Arc<Metrics>,
    /// The pair as it is now.
    pub(crate) tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Takes connections until `stop` is set, then lets running requests end within `bounds.drain_timeout`.
pub(crate) async fn run<R>(listeners: Vec<Listener>, shared: Shared<R>)
where
    R: Fn() -> Router + Clone + Send + Sync + 'static,
{
    let permits = Arc::new(Semaphore::new(shared.bounds.connections_max));
    join_all(listeners.into_iter().map(|listener| run_one(listener, shared.clone(), &permits))).await;
}

async fn run_one<R>(listener: Listener, mut shared: Shared<R>, permits: &Arc<Semaphore>)
where
    R: Fn() -> Router + Clone + Send + Sync + 'static,
{
    let builder = Arc::new(builder(&shared.bounds));
    let graceful = GracefulShutdown::new();
    let tls = if listener.tls { shared.tls.clone() } else { None };
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener.socket, permits) => accepted,
            // An error means that the server is gone.
            _ = shared.stop.wait_for(|stop| *stop) => break,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let loopback = stream.local_addr().is_ok_and(|local| local.ip().to_canonical().is_loopback());
        let transport = Transport { loopback, ..Transport::default() };
        let connection = Connection {
            builder: Arc::clone(&builder),
            router: shared.router.clone(),
            watcher: graceful.watcher(),
            peer,
            transport,
        };
        let (metrics, timeout, tls, stop) =
            (Arc::clone(&shared.metrics), shared.bounds.head_read_timeout, tls.clone(), shared.stop.clone());
        tokio::spawn(async move {
            metrics.connections.inc();
            match tls {
                None => connection.serve(stream).await,
                Some(tls) => connection.serve_tls(stream, &tls, timeout, stop).await,
            }
            metrics.connections.dec();
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(shared.bounds.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(timeout = ?shared.bounds.drain_timeout, "requests were still running and are cut off");
    }
}

/// A connection that was taken and is not served yet.
struct Connection<R> {
    builder: Arc<auto::Builder<TokioExecutor>>,
    router: R,
    watcher: Watcher,
    peer: SocketAddr,
    transport: Transport,
}

impl<R: Fn() -> Router + Clone + Send + Sync + 'static> Connection<R> {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { builder, router, watcher, peer, transport } = self;
        let service = service_fn(move |request| answer(router(), request, peer, transport));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, %peer, "a connection ended early");
        }
    }

    async fn serve_tls(
        mut self,
        stream: TcpStream,
        tls: &watch::Receiver<Arc<ServerConfig>>,
        timeout: Duration,
        mut stop: watch::Receiver<bool>,
    ) {
        let peer = self.peer;
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let accepted = tokio::select! {
            accepted = tokio::time::timeout(timeout, acceptor.accept(stream)) => accepted,
            // Nothing is lost with a handshake, and one that never ends would hold up the end of the server.
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok(Ok(stream)) => {
                // Only certificates that were verified get through a handshake.
                let client_certificate = stream.get_ref().1.peer_certificates().is_some();
                self.transport = Transport { tls: true, client_certificate, ..self.transport };
                self.serve(stream).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    }
}

/// The next connection with its place among the open ones.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers go out whole; waiting for more would only delay them.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn answer(
    mut router: Router,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    transport: Transport,
) -> Result<Response, std::convert::Infallible> {
    request.extensions_mut().insert(Peer(peer));
    request.extensions_mut().insert(transport);
    router.call(request.map(Body::new)).await
}

fn builder(bounds: &Bounds) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.head_read_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(bounds.streams_max)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
