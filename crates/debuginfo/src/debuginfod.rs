//! A client of debuginfod servers: do they have a build ID, and the file if they do.
//!
//! Servers are asked at once, and the first in the list that has the file wins. Answers are remembered, also that there
//! is none; a server that fails is asked again soon.

use std::{
    fs::File,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use decima_symbols::BuildId;
use futures::future::join_all;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use reqwest::{Client, StatusCode, Url};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::Semaphore;

/// Build IDs whose answers are remembered.
const REMEMBERED_MAX: usize = 8192;
/// GNU build IDs are 20 bytes, other hashes of linkers 8 to 64; what is not hexadecimal no debuginfod knows.
const HEX_DIGITS_MIN: usize = 8;
/// How long a server that cannot be reached is left alone, whatever the build ID: on a machine without a way out, every sender
/// would wait for each of its files.
const UNREACHABLE_FOR: Duration = Duration::from_secs(30);

/// Which servers, and bounds on asking them.
#[derive(Debug, Clone)]
pub struct DebuginfodOptions {
    /// Servers in order of preference: hosts, for which https is used, or URLs.
    pub servers: Vec<String>,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// Requests at one time.
    pub concurrent_max: usize,
    /// Largest file that is taken.
    pub file_max_bytes: u64,
    /// How long "no" is believed. Distributions publish debug information some hours after the program.
    pub absent_for: Duration,
    /// How long a server that failed is left alone for this build ID.
    pub failed_for: Duration,
}

impl Default for DebuginfodOptions {
    fn default() -> Self {
        Self {
            servers: vec!["debuginfod.elfutils.org".to_owned()],
            request_timeout: Duration::from_secs(300),
            concurrent_max: 8,
            file_max_bytes: 2_000_000_000,
            absent_for: Duration::from_secs(6 * 3600),
            failed_for: Duration::from_secs(600),
        }
    }
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DebuginfodError {
    /// A server's name is none.
    #[error("debuginfod server {server:?} is neither a host nor a URL")]
    Server {
        /// What it is.
        server: String,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// What servers say of a build ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// This one has it.
    Found {
        /// Its URL.
        server: String,
    },
    /// None has it.
    Absent,
    /// None has it that answered, and not all answered.
    Failed,
}

/// A file that a server gave.
pub struct Fetched {
    /// Its URL.
    pub server: String,
    /// The file, without a name.
    pub file: File,
    /// Its size.
    pub size_bytes: u64,
}

struct Server {
    url: Url,
    /// When it could not be reached last.
    unreachable: Mutex<Option<Instant>>,
}

impl Server {
    fn is_left_alone(&self) -> bool {
        self.unreachable.lock().is_some_and(|at| at.elapsed() < UNREACHABLE_FOR)
    }

    fn failed(&self, error: &reqwest::Error) {
        if error.is_connect() || error.is_timeout() {
            *self.unreachable.lock() = Some(Instant::now());
        }
    }
}

/// The client.
pub struct Debuginfod {
    client: Client,
    servers: Vec<Server>,
    options: DebuginfodOptions,
    requests: Semaphore,
    remembered: Cache<BuildId, (Lookup, Instant)>,
}

impl Debuginfod {
    /// Makes a client; asks nobody yet.
    ///
    /// # Errors
    /// If a server's name is not one, or TLS cannot be set up.
    pub fn new(options: DebuginfodOptions) -> Result<Self, DebuginfodError> {
        let servers = options
            .servers
            .iter()
            .map(|server| Ok(Server { url: server_url(server)?, unreachable: Mutex::new(None) }));
        let servers = servers.collect::<Result<_, _>>()?;
        let tls = |error: rustls::Error| DebuginfodError::Tls { reason: error.to_string() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(tls)?
            .with_platform_verifier()
            .map_err(tls)?
            .with_no_client_auth();
        let client = Client::builder()
            .user_agent(concat!("decima/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(config)
            .timeout(options.request_timeout)
            .build()
            .map_err(DebuginfodError::Client)?;
        Ok(Self {
            client,
            servers,
            requests: Semaphore::new(options.concurrent_max.max(1)),
            remembered: Cache::new(REMEMBERED_MAX),
            options,
        })
    }

    /// Whether a server has the debug information of a build ID. Only the head of the answer is read.
    pub async fn find(&self, build_id: &BuildId) -> Lookup {
        if !is_hex(build_id) || self.servers.is_empty() {
            return Lookup::Absent;
        }
        if let Some(lookup) = self.remembered(build_id) {
            return lookup;
        }
        let answers = join_all(self.servers.iter().map(|server| self.ask(server, build_id))).await;
        let mut lookup = Lookup::Absent;
        for (server, answer) in self.servers.iter().zip(answers) {
            match answer {
                Some(Some(_)) => {
                    lookup = Lookup::Found { server: server.url.to_string() };
                    break;
                }
                Some(None) => {}
                None => lookup = Lookup::Failed,
            }
        }
        // Whom nobody asked may know it once asked.
        if lookup != Lookup::Failed || !self.servers.iter().any(Server::is_left_alone) {
            self.remember(build_id, lookup.clone());
        }
        lookup
    }

    /// Fetches the debug information of a build ID into a file of this folder.
    ///
    /// # Errors
    /// [`Lookup::Absent`] or [`Lookup::Failed`] if nobody gives it.
    pub async fn fetch(&self, build_id: &BuildId, folder: &std::path::Path) -> Result<Fetched, Lookup> {
        let server = match self.find(build_id).await {
            Lookup::Found { server } => server,
            nobody => return Err(nobody),
        };
        let Some(url) = self.servers.iter().map(|known| &known.url).find(|url| url.as_str() == server) else {
            return Err(Lookup::Absent);
        };
        let Ok(permit) = self.requests.acquire().await else { return Err(Lookup::Failed) };
        let fetched = self.download(url, build_id, folder).await;
        drop(permit);
        let nobody = match fetched {
            Ok(Some((file, size_bytes))) => return Ok(Fetched { server, file, size_bytes }),
            Ok(None) => Lookup::Absent,
            Err(error) => {
                tracing::warn!(%build_id, server, error = &*error, "debuginfod does not give a file");
                Lookup::Failed
            }
        };
        self.remember(build_id, nobody.clone());
        Err(nobody)
    }

    async fn download(
        &self,
        server: &Url,
        build_id: &BuildId,
        folder: &std::path::Path,
    ) -> Result<Option<(File, u64)>, Box<dyn std::error::Error + Send + Sync>> {
        let mut response = self.client.get(file_url(server, build_id)?).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        response.error_for_status_ref()?;
        let mut file = tempfile::tempfile_in(folder)?;
        let mut size_bytes = 0u64;
        while let Some(chunk) = response.chunk().await? {
            size_bytes += chunk.len() as u64;
            if size_bytes > self.options.file_max_bytes {
                return Err(format!("the file is larger than {} bytes", self.options.file_max_bytes).into());
            }
            file = tokio::task::spawn_blocking(move || file.write_all(&chunk).map(|()| file)).await??;
        }
        Ok(Some((file, size_bytes)))
    }

    /// `None` if the server failed, `Some(None)` if it does not have the file.
    async fn ask(&self, server: &Server, build_id: &BuildId) -> Option<Option<()>> {
        let _permit = self.requests.acquire().await.ok()?;
        if server.is_left_alone() {
            return None;
        }
        // A server without it may have to ask others; all of them together get no longer than a sender waits.
        const ASK_TIMEOUT: Duration = Duration::from_secs(10);
        let request = self.client.get(file_url(&server.url, build_id).ok()?);
        let url = &server.url;
        match request.timeout(ASK_TIMEOUT.min(self.options.request_timeout)).send().await {
            Ok(response) if response.status() == StatusCode::OK => Some(Some(())),
            Ok(response) if response.status() == StatusCode::NOT_FOUND => Some(None),
            Ok(response) => {
                tracing::debug!(%url, %build_id, status = %response.status(), "debuginfod fails");
                None
            }
            Err(error) => {
                server.failed(&error);
                tracing::debug!(%url, %build_id, error = &error as &dyn std::error::Error, "debuginfod fails");
                None
            }
        }
    }

    fn remembered(&self, build_id: &BuildId) -> Option<Lookup> {
        let (lookup, at) = self.remembered.get(build_id)?;
        let believed = match lookup {
            Lookup::Found { .. } => return Some(lookup),
            Lookup::Absent => self.options.absent_for,
            Lookup::Failed => self.options.failed_for,
        };
        (at.elapsed() < believed).then_some(lookup)
    }

    fn remember(&self, build_id: &BuildId, lookup: Lookup) {
        self.remembered.insert(build_id.clone(), (lookup, Instant::now()));
    }
}

fn server_url(server: &str) -> Result<Url, DebuginfodError> {
    let invalid = || DebuginfodError::Server { server: server.to_owned() };
    let text = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    let mut url: Url = text.parse().map_err(|_| invalid())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(invalid());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn file_url(server: &Url, build_id: &BuildId) -> Result<Url, String> {
    server.join(&format!("buildid/{build_id}/debuginfo")).map_err(|error| error.to_string())
}

fn is_hex(build_id: &BuildId) -> bool {
    let text = build_id.as_str();
    text.len() >= HEX_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
