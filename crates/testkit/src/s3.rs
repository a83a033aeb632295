//! A real S3 server (s3s over a directory) on loopback, which counts what is asked of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tokio::{net::TcpListener, runtime::Runtime};

/// Name of the only bucket.
pub const BUCKET: &str = "profiles";
/// Who may ask.
pub const ACCESS_KEY: &str = "access";
/// The secret of who may ask.
pub const SECRET_KEY: &str = "secret";

/// A running server; stops when dropped. Its objects stay in its directory.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<BTreeMap<String, u64>>>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts a server over a directory, with one bucket.
    pub fn start(directory: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory.join(BUCKET))?;
        let files =
            s3s_fs::FileSystem::new(directory).map_err(|e| std::io::Error::other(format!("{e:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let requests = Arc::new(Mutex::new(BTreeMap::new()));
        let counts = requests.clone();
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (service, counts) = (service.clone(), counts.clone());
                let counted = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let is_list = request.uri().query().is_some_and(|query| query.contains("list-type"));
                    let kind = if is_list { "LIST" } else { request.method().as_str() };
                    *counts
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry(kind.to_owned())
                        .or_default() += 1;
                    Service::call(&service, request)
                });
                tokio::spawn(async move {
                    // A client that goes away is no failure of the server.
                    let _ = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), counted)
                        .await;
                });
            }
        });
        Ok(Self { address, requests, runtime: Some(runtime) })
    }

    /// Host and port.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Requests so far, by method; `LIST` apart from `GET`.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `parca.yaml` says of the bucket, with nothing to scrape.
    pub fn configuration(&self, prefix: &str) -> String {
        format!(
            "object_storage:\n  bucket:\n    type: S3\n    prefix: {prefix:?}\n    config:\n      bucket: {BUCKET}\n      \
             endpoint: {}\n      insecure: true\n      access_key: {ACCESS_KEY}\n      secret_key: {SECRET_KEY}\n\
             scrape_configs: []\n",
            self.endpoint()
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}
