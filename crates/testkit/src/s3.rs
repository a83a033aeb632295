//! A real S3 server on loopback, over a directory: s3s, which counts what is asked of it, or the MinIO that [`MINIO`] names.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
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
/// The secret of who may ask, as long as MinIO wants one.
pub const SECRET_KEY: &str = "secret-secret";
/// Variable with the path of a MinIO program, to be started instead of s3s.
pub const MINIO: &str = "DECIMA_TEST_MINIO";

/// How long MinIO may take until it answers.
const START_MAX: Duration = Duration::from_secs(60);
/// How often a free port is looked for: another process may take it before MinIO does.
const PORT_TRIES: usize = 5;

/// A running server; stops when dropped. Its objects stay in its directory.
pub struct Server {
    address: SocketAddr,
    directory: PathBuf,
    program: Program,
}

enum Program {
    S3s { requests: Arc<Mutex<BTreeMap<String, u64>>>, runtime: Option<Runtime> },
    Minio(Child),
}

impl Server {
    /// Starts a server over a directory, with one bucket.
    pub fn start(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory.join(BUCKET))?;
        let (address, program) = match std::env::var_os(MINIO) {
            Some(program) => start_minio(Path::new(&program), directory)?,
            None => start_s3s(directory)?,
        };
        Ok(Self { address, directory: directory.to_owned(), program })
    }

    /// Last parts of the names of all objects that begin with these folders.
    pub fn objects(&self, folders: &str) -> Vec<String> {
        let mut pending = vec![self.directory.join(BUCKET).join(folders)];
        let mut found = Vec::new();
        while let Some(path) = pending.pop() {
            // MinIO has a folder for an object, with this file in it.
            if path.join("xl.meta").is_file() {
                found.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
                continue;
            }
            for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
                match entry.path().is_dir() {
                    true => pending.push(entry.path()),
                    false => found.push(entry.file_name().to_string_lossy().into_owned()),
                }
            }
        }
        found
    }

    /// Host and port.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Requests so far, by method; `LIST` apart from `GET`. Those of MinIO are not known.
    pub fn requests(&self) -> Option<BTreeMap<String, u64>> {
        match &self.program {
            Program::S3s { requests, .. } => {
                Some(requests.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
            Program::Minio(_) => None,
        }
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
        match &mut self.program {
            Program::S3s { runtime, .. } => {
                if let Some(runtime) = runtime.take() {
                    runtime.shutdown_timeout(Duration::from_millis(100));
                }
            }
            Program::Minio(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn start_s3s(directory: &Path) -> io::Result<(SocketAddr, Program)> {
    let files = s3s_fs::FileSystem::new(directory).map_err(|e| io::Error::other(format!("{e:?}")))?;
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
                *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind.to_owned()).or_default() +=
                    1;
                Service::call(&service, request)
            });
            tokio::spawn(async move {
                // A client that goes away is no failure of the server.
                let _ =
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), counted).await;
            });
        }
    });
    Ok((address, Program::S3s { requests, runtime: Some(runtime) }))
}

/// Starts MinIO over a directory, whose folders are its buckets, and waits until it answers.
fn start_minio(program: &Path, directory: &Path) -> io::Result<(SocketAddr, Program)> {
    for _ in 0..PORT_TRIES {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = std::fs::File::create(directory.with_extension("minio.log"))?;
        let mut child = Command::new(program)
            .args(["server", "--quiet", "--address", &address.to_string()])
            .arg(directory)
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let started = Instant::now();
        while child.try_wait()?.is_none() {
            if is_ready(address) {
                return Ok((address, Program::Minio(child)));
            }
            if started.elapsed() > START_MAX {
                let _ = child.kill();
                let _ = child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Err(io::Error::other(format!("{} does not start", program.display())))
}

fn is_ready(address: SocketAddr) -> bool {
    let asked = || -> io::Result<String> {
        let mut stream = std::net::TcpStream::connect(address)?;
        write!(stream, "GET /minio/health/ready HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}
