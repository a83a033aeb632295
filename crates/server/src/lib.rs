//! The wire: Parca's services over gRPC, gRPC-Web and REST, OTLP, the page, metrics and probes, on one port without TLS.
//!
//! ```text
//! listener ─► grpc ─┬─► service (from_proto ─► ingest, query ─► to_proto)
//!          └► http ─┴─► rest ┘
//! ```
//! Only this crate knows messages and statuses; what is behind it knows neither. A request that panics fails alone.
//! Start at [`Server`]: it listens before the store is open, so that probes get an answer, and serves once it has
//! [`Handles`].

mod deadline;
mod grpc;
mod listener;
mod metrics;
mod otlp_http;
mod rest;
pub mod self_profile;
mod service;
mod settings;
mod status;
mod time;
mod ui;
mod web;

use std::{
    any::Any,
    io,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use axum::{Router, body::Body, response::Response};
use decima_ingest::{push::Push, scrape::Scraper};
use decima_query::Engine;
use decima_store::Store;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tonic::Status;
use tonic_health::ServingStatus;
use tower::Service as _;

pub use crate::settings::{Bounds, Settings};
use crate::{
    metrics::Metrics,
    otlp_http::Receiver,
    rest::Gateway,
    service::{
        agents::AgentsService, otlp::ProfilesService, profile_store::ProfileStoreService,
        query::QueryService, scrape::ScrapeService,
    },
};

/// What a server serves.
#[derive(Clone)]
pub struct Handles {
    /// Answers questions.
    pub engine: Engine,
    /// Takes profiles.
    pub push: Push,
}

/// A server that cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address.
    #[error("the listener has no address")]
    Address(#[source] io::Error),
    /// The compiled-in descriptors cannot be served.
    #[error("the message descriptors cannot be served")]
    Descriptors(#[source] tonic_reflection::server::Error),
}

/// A server that listens. Dropping it stops it at once.
pub struct Server {
    settings: Settings,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    scraper: Option<Scraper>,
    serving: Arc<OnceLock<Router>>,
    stop: watch::Sender<bool>,
    connections: JoinHandle<()>,
}

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Serving,
    Stopping,
}

/// The stage, shared with probes.
#[derive(Debug, Default)]
struct Readiness(AtomicU8);

impl Readiness {
    fn get(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Opening,
            1 => Stage::Serving,
            _ => Stage::Stopping,
        }
    }

    fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Release);
    }
}

impl Server {
    /// Begins to listen. Until [`Server::serve`], `/healthy` answers 200, and everything else that it is not ready.
    ///
    /// Must be called in a Tokio runtime.
    pub fn start(listener: TcpListener, settings: Settings) -> Result<Self, ServeError> {
        let address = listener.local_addr().map_err(ServeError::Address)?;
        let metrics = Arc::new(Metrics::new());
        let readiness = Arc::new(Readiness::default());
        let opening = Entry {
            path_prefix: settings.path_prefix.as_str().into(),
            grpc: Router::new()
                .fallback(|| async { grpc::to_response(&Status::unavailable("the store is being opened")) }),
            http: web::opening(Arc::clone(&readiness)),
        }
        .router(&settings);
        let serving = Arc::new(OnceLock::<Router>::new());
        let (stop, stopped) = watch::channel(false);
        let current = {
            let serving = Arc::clone(&serving);
            move || serving.get().unwrap_or(&opening).clone()
        };
        let bounds = settings.bounds.clone();
        let connections =
            tokio::spawn(listener::run(listener, current, bounds, Arc::clone(&metrics), stopped));
        Ok(Self { settings, address, metrics, readiness, scraper: None, serving, stop, connections })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells about the targets of `scraper`, in `ScrapeService` and among the metrics.
    pub fn with_scraper(mut self, scraper: Scraper) -> Self {
        self.metrics.show_scraper(scraper.clone());
        self.scraper = Some(scraper);
        self
    }

    /// Shows the numbers of `store` among the metrics.
    pub fn with_store(self, store: Store) -> Self {
        self.metrics.show_store(store);
        self
    }

    /// Serves until `shutdown`, then says that it is not serving, takes no further connections, and waits for running
    /// requests at most [`Bounds::drain_timeout`]. When it returns, nothing uses the handles any more, and the store can be
    /// closed.
    pub async fn serve(
        mut self,
        handles: Handles,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        self.metrics.show_push(handles.push.clone());
        let (router, mut health) = self.router(handles)?;
        grpc::set_health(&health, ServingStatus::Serving).await;
        // Set once: `serve` takes the server.
        let _ = self.serving.set(router);
        self.set_stage(Stage::Serving);
        shutdown.await;
        self.set_stage(Stage::Stopping);
        grpc::set_health(&health, ServingStatus::NotServing).await;
        grpc::end_health_watches(&mut health).await;
        let _ = self.stop.send(true);
        if let Err(error) = (&mut self.connections).await {
            tracing::error!(%error, "the listener failed");
        }
        Ok(())
    }

    fn set_stage(&self, stage: Stage) {
        self.readiness.set(stage);
        self.metrics.ready.set(i64::from(stage == Stage::Serving));
    }

    fn router(&self, handles: Handles) -> Result<(Router, tonic_health::server::HealthReporter), ServeError> {
        let bounds = &self.settings.bounds;
        let writes = Arc::new(Semaphore::new(bounds.writes_max));
        let profile_store = ProfileStoreService::new(handles.push.clone(), Arc::clone(&writes));
        let profiles = ProfilesService::new(handles.push.clone(), writes);
        let query = QueryService::new(handles.engine, bounds.queries_max);
        let agents = AgentsService::new(handles.push);
        let scrape = ScrapeService::new(self.scraper.clone());
        let gateway = Arc::new(Gateway {
            profile_store: profile_store.clone(),
            agents: agents.clone(),
            query: query.clone(),
            scrape: scrape.clone(),
            metrics: Arc::clone(&self.metrics),
            bounds: bounds.clone(),
        });
        let receiver = Arc::new(Receiver {
            profiles: profiles.clone(),
            metrics: Arc::clone(&self.metrics),
            bounds: bounds.clone(),
        });
        let services = grpc::Services { profile_store, profiles, agents, query, scrape };
        let (grpc, health) =
            grpc::router(services, Arc::clone(&self.metrics), bounds).map_err(ServeError::Descriptors)?;
        let http = web::routes(
            gateway,
            receiver,
            Arc::clone(&self.metrics),
            Arc::clone(&self.readiness),
            &self.settings,
        );
        let entry = Entry { path_prefix: self.settings.path_prefix.as_str().into(), grpc, http };
        Ok((entry.router(&self.settings), health))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.abort();
    }
}

/// Where a request goes first.
#[derive(Clone)]
struct Entry {
    path_prefix: Arc<str>,
    grpc: Router,
    http: Router,
}

impl Entry {
    /// The whole, with CORS around it.
    fn router(self, settings: &Settings) -> Router {
        let router = Router::new().fallback(move |request: http::Request<Body>| self.clone().answer(request));
        match web::cors(&settings.cors_allowed_origins) {
            Some(cors) => router.layer(cors),
            None => router,
        }
    }

    async fn answer(mut self, mut request: http::Request<Body>) -> Response {
        let answer = if grpc::is_grpc(request.headers()) {
            grpc::prepare(&mut request);
            self.grpc.call(request).await
        } else {
            match web::strip_prefix(request.uri(), &self.path_prefix) {
                web::Stripped::Path(uri) => {
                    *request.uri_mut() = uri;
                    self.http.call(request).await
                }
                web::Stripped::Answer(response) => return response,
            }
        };
        match answer {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Logs what a request panicked with.
fn log_panic(panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    tracing::error!(message, "a request panicked");
}
