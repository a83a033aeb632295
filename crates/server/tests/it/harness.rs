//! A server of a test with a store in a temporary directory, and a plain HTTP client.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use decima_debuginfo::{Debuginfo, DebuginfoOptions, Resolver, ResolverOptions};
use decima_ingest::push::{Limits, Push};
use decima_query::{Engine, Symbolizer};
use decima_server::{Handles, ServeError, Server, Settings};
use decima_store::Store;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::transport::Channel;

/// A running server. Dropping it kills it; [`TestServer::stop`] stops it as a signal would.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
    data: tempfile::TempDir,
}

/// Largest object file that the server takes.
pub(crate) const UPLOAD_MAX_BYTES: u64 = 4 << 20;

/// Settings of a store that a test fills.
pub(crate) fn store_settings(path: &std::path::Path) -> decima_store::Settings {
    decima_store::Settings {
        path: path.to_owned(),
        head_memory_bytes: 256 << 20,
        retention: None,
        tiers: decima_store::Tiers::default(),
        storage_max_bytes: None,
        ahead_max: Duration::from_secs(600),
        partition_labels: vec!["job".to_owned()],
        cache_bytes: 64 << 20,
        compaction_memory_bytes: 0,
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::within(settings, Limits::default()).await
    }

    /// With other limits of what one request may carry.
    pub(crate) async fn within(settings: Settings, limits: Limits) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(store_settings(data.path())).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start([listener.into()], settings).unwrap();
        let address = server.addresses()[0];
        let debuginfo = DebuginfoOptions {
            upload_max_bytes: UPLOAD_MAX_BYTES,
            cache_folder: data.path().join("cache"),
            objects_folder: Some(data.path().to_owned()),
            ..DebuginfoOptions::default()
        };
        let debuginfo = Debuginfo::open(store.objects(), debuginfo, None).await.unwrap();
        let debuginfo = Arc::new(debuginfo);
        let resolver = Resolver::new(Arc::clone(&debuginfo), ResolverOptions::default());
        let symbolizer = Symbolizer::new(Arc::new(resolver), Duration::from_secs(60));
        store.symbolize_with(Arc::new(symbolizer.clone()));
        let server = server.with_symbolizer(symbolizer.clone());
        let handles = Handles {
            debuginfo,
            engine: Engine::new(store.clone(), decima_query::engine::Settings::default())
                .with_symbolizer(symbolizer),
            push: Push::new(store, limits),
        };
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(server.serve(handles, async {
            let _ = stopped.await;
        }));
        let server = Self { address, stop, served, data };
        server.until_ready().await;
        server
    }

    async fn until_ready(&self) {
        for _ in 0..500 {
            if self.get("/ready").await.status() == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server does not become ready");
    }

    /// Where its objects are.
    pub(crate) fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// A gRPC channel.
    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(Request::builder().method(Method::GET).uri(path), Bytes::new()).await
    }

    /// A request to a path of this server.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut request = request.body(Full::new(body.into())).unwrap();
        let path = request.uri().to_string();
        *request.uri_mut() = Uri::try_from(format!("http://{}{path}", self.address)).unwrap();
        let (parts, body) = client.request(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    /// Stops as after a signal.
    pub(crate) async fn stop(self) -> Result<(), ServeError> {
        let _ = self.stop.send(());
        self.served.await.unwrap()
    }
}

/// A header of an answer, empty if it is not there.
pub(crate) fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The body of an answer as text.
pub(crate) fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}
