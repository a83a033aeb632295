//! Connections: HTTP/1.1 and HTTP/2 without TLS on one port, bounded in number and in time, drained at the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tower::Service as _;

use crate::{
    metrics::Metrics,
    settings::{Bounds, Peer},
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

/// Takes connections until `stop` is set, then lets running requests end within `bounds.drain_timeout`.
///
/// `router` says at each request what answers it.
pub(crate) async fn run(
    listener: TcpListener,
    router: impl Fn() -> Router + Clone + Send + Sync + 'static,
    bounds: Bounds,
    metrics: Arc<Metrics>,
    mut stop: watch::Receiver<bool>,
) {
    let builder = Arc::new(builder(&bounds));
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(bounds.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            // An error means that the server is gone.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((stream, peer, permit)) = accepted else { continue };
        let (builder, router, metrics, watcher) =
            (Arc::clone(&builder), router.clone(), Arc::clone(&metrics), graceful.watcher());
        tokio::spawn(async move {
            metrics.connections.inc();
            let service = service_fn(move |request| answer(router(), request, peer));
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, %peer, "a connection ended early");
            }
            metrics.connections.dec();
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(bounds.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(timeout = ?bounds.drain_timeout, "requests were still running and are cut off");
    }
}

/// The next connection with its place among the open ones.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
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
) -> Result<Response, std::convert::Infallible> {
    request.extensions_mut().insert(Peer(peer));
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
