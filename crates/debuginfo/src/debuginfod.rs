//! A client of debuginfod servers: do they have a build ID, and the file if they do.
//!
//! Who wants to know whether there is a file asks all servers at once, and the first in the list that has it wins. Who wants the
//! file asks one after the other, so that each is asked once. What a server gives is the file only if it is ELF and of that build
//! ID. Answers are remembered, also that there is none; a server that fails is asked again soon.

use std::{
    fs::File,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use decima_symbols::{BuildId, Unresolved, elf::Elf};
use futures::future::join_all;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use reqwest::{Client, Response, StatusCode, Url};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::Semaphore;

use crate::files;

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
    /// How long "no" is believed, also of a file that is none. Distributions publish debug information some hours after the program.
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
    /// What is given for it is not the file: no ELF file, or one of another build ID.
    Unusable {
        /// By whom.
        server: String,
    },
    /// None has it that answered, and not all answered.
    Failed,
}

impl Lookup {
    /// Why there is no file; `None` if there is one.
    pub(crate) fn reason(&self) -> Option<Unresolved> {
        match self {
            Self::Found { .. } => None,
            Self::Absent => Some(Unresolved::AbsentAtDebuginfod),
            Self::Unusable { .. } => Some(Unresolved::NotAnObject),
            Self::Failed => Some(Unresolved::DebuginfodFailed),
        }
    }
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

    fn leave_alone(&self) {
        *self.unreachable.lock() = Some(Instant::now());
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

    /// How long "no" is believed.
    pub(crate) fn absent_for(&self) -> Duration {
        self.options.absent_for
    }

    /// What is known of a build ID without asking anybody.
    pub(crate) fn known(&self, build_id: &BuildId) -> Option<Lookup> {
        if !is_hex(build_id) || self.servers.is_empty() {
            return Some(Lookup::Absent);
        }
        let unreachable = || self.servers.iter().all(Server::is_left_alone).then_some(Lookup::Failed);
        self.remembered(build_id).or_else(unreachable)
    }

    /// Whether a server has the debug information of a build ID. Only the head of the answer is read.
    pub async fn find(&self, build_id: &BuildId) -> Lookup {
        if let Some(lookup) = self.known(build_id) {
            return lookup;
        }
        let ask = |server| async move {
            let _permit = self.requests.acquire().await.ok()?;
            self.ask(server, build_id).await
        };
        let answers = join_all(self.servers.iter().map(ask)).await;
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
        self.remember(build_id, lookup)
    }

    /// Fetches the debug information of a build ID into a file of this folder.
    ///
    /// # Errors
    /// Any [`Lookup`] but `Found` if nobody gives it.
    pub async fn fetch(&self, build_id: &BuildId, folder: &std::path::Path) -> Result<Fetched, Lookup> {
        let mut servers: Vec<_> = self.servers.iter().collect();
        match self.known(build_id) {
            None => {}
            // It is asked first.
            Some(Lookup::Found { server: known }) => {
                servers.sort_by_key(|server| server.url.as_str() != known);
            }
            Some(nobody) => return Err(nobody),
        }
        let mut nobody = Lookup::Absent;
        for server in servers {
            match (self.fetch_from(server, build_id, folder).await, &nobody) {
                (Ok(fetched), _) => {
                    self.remember(build_id, Lookup::Found { server: fetched.server.clone() });
                    return Ok(fetched);
                }
                // Who failed may have it.
                (Err(Lookup::Failed), _) | (_, Lookup::Failed) => nobody = Lookup::Failed,
                (Err(unusable @ Lookup::Unusable { .. }), Lookup::Absent) => nobody = unusable,
                (Err(_), _) => {}
            }
        }
        Err(self.remember(build_id, nobody))
    }

    async fn fetch_from(
        &self,
        server: &Server,
        build_id: &BuildId,
        folder: &std::path::Path,
    ) -> Result<Fetched, Lookup> {
        let Ok(_permit) = self.requests.acquire().await else { return Err(Lookup::Failed) };
        let response = match self.ask(server, build_id).await {
            Some(Some(response)) => response,
            Some(None) => return Err(Lookup::Absent),
            None => return Err(Lookup::Failed),
        };
        let url = &server.url;
        let (file, size_bytes) = self.download(response, folder).await.map_err(|error| {
            tracing::warn!(%build_id, %url, error = &*error, "debuginfod does not give a file");
            Lookup::Failed
        })?;
        let server = url.to_string();
        if !is_of(&file, build_id).await {
            tracing::warn!(%build_id, %url, size_bytes, "what debuginfod gives is not ELF or of another build ID");
            return Err(Lookup::Unusable { server });
        }
        Ok(Fetched { server, file, size_bytes })
    }

    async fn download(
        &self,
        mut response: Response,
        folder: &std::path::Path,
    ) -> Result<(File, u64), Box<dyn std::error::Error + Send + Sync>> {
        let mut file = tempfile::tempfile_in(folder)?;
        let mut size_bytes = 0u64;
        while let Some(chunk) = response.chunk().await? {
            size_bytes += chunk.len() as u64;
            if size_bytes > self.options.file_max_bytes {
                return Err(format!("the file is larger than {} bytes", self.options.file_max_bytes).into());
            }
            file = tokio::task::spawn_blocking(move || file.write_all(&chunk).map(|()| file)).await??;
        }
        Ok((file, size_bytes))
    }

    /// Asks for a file, and gives the answer once its head is here. `None` if the server failed, `Some(None)` if it does not have
    /// the file.
    async fn ask(&self, server: &Server, build_id: &BuildId) -> Option<Option<Response>> {
        if server.is_left_alone() {
            return None;
        }
        // A server without it may have to ask others; all of them together get no longer than a sender waits.
        const ASK_TIMEOUT: Duration = Duration::from_secs(10);
        let url = &server.url;
        let request = self.client.get(file_url(url, build_id).ok()?).send();
        match tokio::time::timeout(ASK_TIMEOUT, request).await {
            Ok(Ok(response)) if response.status() == StatusCode::OK => Some(Some(response)),
            Ok(Ok(response)) if response.status() == StatusCode::NOT_FOUND => Some(None),
            Ok(Ok(response)) => {
                tracing::debug!(%url, %build_id, status = %response.status(), "debuginfod fails");
                None
            }
            Ok(Err(error)) => {
                if error.is_connect() || error.is_timeout() {
                    server.leave_alone();
                }
                tracing::debug!(%url, %build_id, error = &error as &dyn std::error::Error, "debuginfod fails");
                None
            }
            Err(_) => {
                server.leave_alone();
                tracing::debug!(%url, %build_id, "debuginfod does not answer in time");
                None
            }
        }
    }

    fn remembered(&self, build_id: &BuildId) -> Option<Lookup> {
        let (lookup, at) = self.remembered.get(build_id)?;
        let believed = match lookup {
            Lookup::Found { .. } => return Some(lookup),
            Lookup::Absent | Lookup::Unusable { .. } => self.options.absent_for,
            Lookup::Failed => self.options.failed_for,
        };
        (at.elapsed() < believed).then_some(lookup)
    }

    fn remember(&self, build_id: &BuildId, lookup: Lookup) -> Lookup {
        // Whom nobody asked may know it once asked.
        if lookup != Lookup::Failed || !self.servers.iter().any(Server::is_left_alone) {
            self.remembered.insert(build_id.clone(), (lookup.clone(), Instant::now()));
        }
        lookup
    }
}

/// Whether a file is ELF, and nothing in it says that it is of another build ID.
async fn is_of(file: &File, build_id: &BuildId) -> bool {
    let Ok(bytes) = files::map(file) else { return false };
    let build_id = build_id.clone();
    // A file that brings out a fault of the reader is of no use either.
    let looking = tokio::task::spawn_blocking(move || names(&bytes, &build_id));
    looking.await.unwrap_or_default()
}

fn names(bytes: &decima_symbols::ObjectBytes, build_id: &BuildId) -> bool {
    let Ok(elf) = Elf::parse((**bytes).as_ref()) else { return false };
    BuildId::gnu(&elf).is_none_or(|gnu| gnu.as_str().eq_ignore_ascii_case(build_id.as_str()))
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
