//! The wire: Parca's services over gRPC, gRPC-Web and REST, OTLP, the page, metrics and probes.
//!
//! ```text
//! listener ─► auth ─► grpc ─┬─► service (from_proto ─► ingest, query ─► to_proto)
//!                 └► http ──┴─► rest ┘
//! ```
//! Only this crate knows messages and statuses; what is behind it knows neither. A request that panics fails alone.
//! Start at [`Server`]: it listens before the store is open, so that probes get an answer, and serves once it has
//! [`Handles`].

pub mod auth;
mod deadline;
mod grpc;
mod inflate;
mod listener;
mod metrics;
mod otlp_http;
mod reload;
mod rest;
pub mod self_profile;
mod service;
mod settings;
mod shares;
mod status;
mod time;
mod tls;
mod transcode;
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
    time::Duration,
};

use axum::{Router, body::Body, middleware::from_fn_with_state, response::Response};
use decima_debuginfo::Debuginfo;
use decima_forward::Forwarder;
use decima_ingest::{push::Push, scrape::Scraper};
use decima_query::{Engine, Symbolizer};
use decima_store::Store;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};
use tonic::Status;
use tonic_health::ServingStatus;
use tower::Service as _;

use crate::{
    auth::{
        Tokens, TokensError,
        guard::{self, Guard},
    },
    inflate::Inflation,
    metrics::Metrics,
    otlp_http::Receiver,
    rest::Gateway,
    service::{
        Way,
        agents::AgentsService,
        debuginfo::{DebuginfoService, Files},
        ingest::IngestService,
        otlp::ProfilesService,
        profile_store::ProfileStoreService,
        query::{Answers, QueryService},
        scrape::ScrapeService,
        telemetry::TelemetryService,
    },
};
pub use crate::{
    listener::Listener,
    metrics::CONFIG,
    reload::{Build, ReloadError, Reloaded, Reloads},
    settings::{Access, Bounds, Settings, TlsFiles},
};

/// What a server serves.
#[derive(Clone)]
pub struct Handles {
    /// Answers questions.
    pub engine: Engine,
    /// Takes profiles.
    pub push: Push,
    /// Takes object files.
    pub debuginfo: Arc<Debuginfo>,
}

/// What is behind the services.
struct Backend {
    way: Way,
    answers: Answers,
    files: Files,
}

/// A server that cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener has no address.
    #[error("the listener has no address")]
    Address(#[source] io::Error),
    /// No listener, or one with TLS and nothing to make TLS of.
    #[error("no listener, or a listener with TLS without certificate and key")]
    Listeners,
    /// The tokens file cannot be used.
    #[error("the tokens file cannot be used")]
    Tokens(#[source] ReloadError),
    /// Certificate, key or authority of clients cannot be used.
    #[error("the files for TLS cannot be used")]
    Tls(#[source] ReloadError),
    /// There are no random bits for a key.
    #[error("no key of its own")]
    Key(#[source] TokensError),
    /// The compiled-in descriptors cannot be served.
    #[error("the message descriptors cannot be served")]
    Descriptors(#[source] tonic_reflection::server::Error),
}

/// A server that listens. Dropping it stops it at once.
pub struct Server {
    settings: Settings,
    addresses: Vec<SocketAddr>,
    guard: Arc<Guard>,
    /// Whether anybody on the network may do anything.
    open: bool,
    metrics: Arc<Metrics>,
    store: Option<Store>,
    readiness: Arc<Readiness>,
    scraper: Option<Scraper>,
    serving: Arc<OnceLock<Router>>,
    stop: watch::Sender<bool>,
    connections: JoinHandle<()>,
    /// Those who look at files. They end with the server.
    followers: JoinSet<()>,
    reloads: Reloads,
}

/// Where a server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Serving,
    /// Another process writes the store now.
    Fenced,
    Stopping,
}

/// How often it is looked whether the store is still this process's.
const FENCED_EVERY: Duration = Duration::from_secs(1);

/// Ends once another process has taken over the store; never without one.
async fn fenced(store: Option<Store>) {
    let Some(store) = store else { return std::future::pending().await };
    while !store.is_fenced() {
        tokio::time::sleep(FENCED_EVERY).await;
    }
}

/// The stage, shared with probes.
#[derive(Debug, Default)]
struct Readiness(AtomicU8);

impl Readiness {
    fn get(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Opening,
            1 => Stage::Serving,
            2 => Stage::Fenced,
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
    /// Reads the files that the settings name: they must be right now. Must be called in a Tokio runtime.
    pub fn start(
        listeners: impl IntoIterator<Item = Listener>,
        settings: Settings,
    ) -> Result<Self, ServeError> {
        let listeners: Vec<_> = listeners.into_iter().collect();
        if listeners.is_empty() || (settings.tls.is_none() && listeners.iter().any(|listener| listener.tls)) {
            return Err(ServeError::Listeners);
        }
        let addresses: Result<Vec<_>, _> =
            listeners.iter().map(|listener| listener.socket.local_addr()).collect();
        let addresses = addresses.map_err(ServeError::Address)?;
        let open =
            settings.access.tokens_file.is_none() && listeners.iter().zip(&addresses).any(is_open(&settings));
        let metrics = Arc::new(Metrics::new());
        let (mut followers, reloads) = (JoinSet::new(), Reloads::new());
        let tokens = match &settings.access.tokens_file {
            None => None,
            Some(path) => {
                let parse =
                    |contents: &[Vec<u8>]| Ok(Tokens::parse(contents.first().map_or(&[], Vec::as_slice))?);
                let tokens = Reloaded::open("tokens", vec![path.clone()], Box::new(parse))
                    .map_err(ServeError::Tokens)?;
                Some(follow(tokens, &mut followers, &metrics, &reloads))
            }
        };
        let tls = match &settings.tls {
            None => None,
            Some(files) => {
                let files = tls::open(files).map_err(ServeError::Tls)?;
                Some(follow(files, &mut followers, &metrics, &reloads))
            }
        };
        let guard = Arc::new(Guard::new(&settings, tokens, Arc::clone(&metrics)).map_err(ServeError::Key)?);
        let readiness = Arc::new(Readiness::default());
        let opening = Entry {
            path_prefix: settings.path_prefix.as_str().into(),
            grpc: Router::new()
                .fallback(|| async { grpc::to_response(&Status::unavailable("the store is being opened")) }),
            http: web::opening(Arc::clone(&readiness)),
        }
        .router(&settings, Arc::clone(&guard));
        let serving = Arc::new(OnceLock::<Router>::new());
        let (stop, stopped) = watch::channel(false);
        let router = {
            let serving = Arc::clone(&serving);
            move || serving.get().unwrap_or(&opening).clone()
        };
        let shared = listener::Shared {
            router,
            bounds: settings.bounds.clone(),
            metrics: Arc::clone(&metrics),
            tls,
            stop: stopped,
        };
        let connections = tokio::spawn(listener::run(listeners, shared));
        Ok(Self {
            settings,
            addresses,
            guard,
            open,
            metrics,
            store: None,
            readiness,
            scraper: None,
            serving,
            stop,
            connections,
            followers,
            reloads,
        })
    }

    /// Where it listens, in the order of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether it lets anybody on the network do anything: it listens beyond loopback, asks for no tokens, and for no
    /// certificates there.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// A token by which this server's own metrics and profiles can be asked for, whatever else it asks for. Made anew at each
    /// start and written nowhere.
    pub fn own_token(&self) -> &str {
        self.guard.own_token()
    }

    /// Looks at further files as at its own: every second, and when [`Server::reloads`] is asked; metrics tell how they are.
    pub fn follow<T: Send + Sync + 'static>(&mut self, files: Reloaded<T>) -> watch::Receiver<Arc<T>> {
        follow(files, &mut self.followers, &self.metrics, &self.reloads)
    }

    /// Asks for a look at all files that are followed.
    pub fn reloads(&self) -> Reloads {
        self.reloads.clone()
    }

    /// Tells about the targets of `scraper`, in `ScrapeService` and among the metrics.
    pub fn with_scraper(mut self, scraper: Scraper) -> Self {
        self.metrics.show_scraper(scraper.clone());
        self.scraper = Some(scraper);
        self
    }

    /// Shows what became of addresses among the metrics.
    pub fn with_symbolizer(self, symbolizer: Symbolizer) -> Self {
        self.metrics.show_symbolizer(symbolizer);
        self
    }

    /// Shows the numbers of `store` among the metrics. Once another process has taken it over, this one is not ready any more.
    pub fn with_store(mut self, store: Store) -> Self {
        self.metrics.show_store(store.clone());
        self.store = Some(store);
        self
    }

    /// Serves until `shutdown`, then says that it is not serving, takes no further connections, and waits for running
    /// requests at most [`Bounds::drain_timeout`]. When it returns, nothing uses the handles any more, and the store can be
    /// closed.
    pub async fn serve(self, handles: Handles, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Handles { engine, push, debuginfo } = handles;
        self.metrics.show_push(push.clone());
        self.metrics.show_debuginfo(Arc::clone(&debuginfo));
        let backend = Backend {
            way: Way::Store(push),
            answers: Answers::Engine(engine),
            files: Files::Here(debuginfo),
        };
        self.serve_backend(backend, shutdown).await
    }

    /// As [`Server::serve`], but what comes in is sent on by `forwarder`, and questions are answered with where that is.
    pub async fn forward(
        self,
        forwarder: Forwarder,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        self.metrics.show_forwarder(forwarder.clone());
        let backend = Backend {
            answers: Answers::Elsewhere(forwarder.address()),
            files: Files::There(forwarder.debuginfo().clone()),
            way: Way::Forward(forwarder),
        };
        self.serve_backend(backend, shutdown).await
    }

    async fn serve_backend(
        mut self,
        backend: Backend,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (router, mut health) = self.router(backend)?;
        grpc::set_health(&health, ServingStatus::Serving).await;
        // Set once: `serve` takes the server.
        let _ = self.serving.set(router);
        self.set_stage(Stage::Serving);
        let mut shutdown = std::pin::pin!(shutdown);
        tokio::select! {
            () = &mut shutdown => {}
            () = fenced(self.store.clone()) => {
                self.set_stage(Stage::Fenced);
                grpc::set_health(&health, ServingStatus::NotServing).await;
                shutdown.await;
            }
        }
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

    fn router(&self, backend: Backend) -> Result<(Router, tonic_health::server::HealthReporter), ServeError> {
        let bounds = &self.settings.bounds;
        let (writes, inflation) = (Arc::new(Semaphore::new(bounds.writes_max)), Inflation::new());
        let profile_store = ProfileStoreService::new(backend.way.clone(), Arc::clone(&writes));
        let profiles = ProfilesService::new(backend.way.clone(), writes);
        let query = QueryService::new(backend.answers, bounds.queries_max);
        let senders = Arc::clone(backend.way.senders());
        let forwarder = backend.way.forwarder().cloned();
        let agents = AgentsService::new(Arc::clone(&senders));
        let ingest = IngestService::new(Arc::clone(&senders), self.scraper.clone());
        let debuginfo = DebuginfoService::new(backend.files, Arc::clone(&senders));
        let scrape = ScrapeService::new(self.scraper.clone());
        let telemetry = TelemetryService::new(Arc::clone(&senders));
        self.guard.show_senders(Arc::clone(&senders));
        let gateway = Arc::new(Gateway {
            profile_store: profile_store.clone(),
            agents: agents.clone(),
            query: query.clone(),
            scrape: scrape.clone(),
            ingest: ingest.clone(),
            debuginfo: debuginfo.clone(),
            telemetry: telemetry.clone(),
            senders: Arc::clone(&senders),
            forwarder,
            metrics: Arc::clone(&self.metrics),
            inflation: inflation.clone(),
            bounds: bounds.clone(),
        });
        let receiver = Arc::new(Receiver {
            profiles: profiles.clone(),
            senders: Arc::clone(&senders),
            metrics: Arc::clone(&self.metrics),
            inflation: inflation.clone(),
            bounds: bounds.clone(),
        });
        let services =
            grpc::Services { profile_store, profiles, agents, query, scrape, ingest, debuginfo, telemetry };
        let (grpc, health) = grpc::router(services, senders, Arc::clone(&self.metrics), inflation, bounds)
            .map_err(ServeError::Descriptors)?;
        let http = web::routes(
            gateway,
            receiver,
            Arc::clone(&self.metrics),
            Arc::clone(&self.readiness),
            &self.settings,
            self.open,
        );
        let entry = Entry { path_prefix: self.settings.path_prefix.as_str().into(), grpc, http };
        Ok((entry.router(&self.settings, Arc::clone(&self.guard)), health))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.abort();
    }
}

/// Hands on a value that is made of files, and looks at them from now on.
fn follow<T: Send + Sync + 'static>(
    reloaded: Reloaded<T>,
    followers: &mut JoinSet<()>,
    metrics: &Arc<Metrics>,
    reloads: &Reloads,
) -> watch::Receiver<Arc<T>> {
    let current = reloaded.subscribe();
    followers.spawn(reloaded.run(Arc::clone(metrics), reloads.clone()));
    current
}

/// Whether anybody on the network reaches a listener and needs no certificate there.
fn is_open(settings: &Settings) -> impl Fn((&Listener, &SocketAddr)) -> bool {
    let certificates = settings.tls.as_ref().is_some_and(|files| files.client_ca.is_some());
    move |(listener, address)| {
        let asks = listener.tls && certificates;
        !asks && !address.ip().to_canonical().is_loopback()
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
    /// The whole, with the guard before it, and CORS around both: preflights need no token, and refusals can be read.
    fn router(self, settings: &Settings, guard: Arc<Guard>) -> Router {
        let router = Router::new()
            .fallback(move |request: http::Request<Body>| self.clone().answer(request))
            .layer(from_fn_with_state(guard, guard::enforce));
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
