//! Here is a `parca.yaml`, gives you a checked [`Config`], or an error that names file, line and field.
//!
//! The schema is Parca's: `object_storage` and `scrape_configs`, the latter with Prometheus' HTTP client, relabelling and
//! target settings inline. Unknown keys are errors; nothing is taken from the environment; relative paths of credential
//! and certificate files are resolved against the configuration's directory.
//!
//! Invariants: a [`Config`] can be acted on without further checks. Secrets never show in `Debug`.
//! Differences to Parca: `follow_redirects` and `enable_http2` default to true as in Prometheus; an entry of
//! `pprof_config` that names a default keeps the default's `delta` unless it sets one; `object_storage` may be left out.
//!
//! Start at [`Config::load`]; [`raw`] is the schema, [`check`] the rules.

mod bucket;
mod check;
mod discovery;
mod duration;
pub mod labels;
mod raw;
pub mod relabel;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use decima_store::bucket::Bucket;
pub use discovery::{
    ConsulDiscovery, Discovery, DnsDiscovery, DnsRecord, DockerDiscovery, DockerHost, FileDiscovery,
    HttpDiscovery, KubernetesApi, KubernetesDiscovery, KubernetesRole, KubernetesSelector,
};
pub use duration::{ParseDurationError, format_duration, parse_duration};

use crate::{labels::Labels, relabel::Rule};

/// Name of the job by which the store scrapes itself.
pub const SELF_JOB: &str = "decima";

/// A checked configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Where blocks go; `None` if the file does not say, then the command line decides.
    pub object_storage: Option<Bucket>,
    /// What to scrape.
    pub scrape_configs: Vec<ScrapeConfig>,
}

/// Targets that share labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TargetGroup {
    /// Labels of each target, `__address__` among them.
    pub targets: Vec<Labels>,
    /// Labels of all; those of a target win.
    pub labels: Labels,
}

/// The build has no such discovery.
#[derive(Debug, thiserror::Error)]
#[error("this build has no discovery by {name}: it was built without the feature `{feature}`")]
pub struct NotBuilt {
    name: &'static str,
    feature: &'static str,
}

impl NotBuilt {
    /// Needs the feature `dns`.
    pub const DNS: Self = Self { name: "DNS", feature: "dns" };
    /// Needs the feature `kubernetes`.
    pub const KUBERNETES: Self = Self { name: "Kubernetes", feature: "kubernetes" };
}

/// One job: targets and how they are scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapeConfig {
    /// Name of the job, the `job` label of its targets.
    pub job_name: String,
    /// Query parameters of every request.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time from one scrape of a profile to the next.
    pub scrape_interval: Duration,
    /// Time after which a scrape is given up; longer than the interval.
    pub scrape_timeout: Duration,
    /// How targets are spoken to unless relabelling says otherwise.
    pub scheme: Scheme,
    /// Whether addresses in the profiles are normalised already.
    pub normalized_addresses: bool,
    /// What to fetch from each target, by profile name. Disabled ones are not in here.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// Applied to the labels of each target.
    pub relabel_configs: Vec<Rule>,
    /// Targets given by name.
    pub static_configs: Vec<TargetGroup>,
    /// Where further targets are found.
    pub discoveries: Vec<Discovery>,
    /// How requests are made.
    pub http_client: HttpClientConfig,
    /// When the first scrape starts.
    pub first_scrape: FirstScrape,
}

impl ScrapeConfig {
    /// Whether both fetch in the same way, whatever targets they have: a target of both can go on as it is.
    pub fn fetches_as(&self, other: &Self) -> bool {
        let Self { relabel_configs, static_configs, discoveries, .. } = other.clone();
        Self { relabel_configs, static_configs, discoveries, ..self.clone() } == *other
    }
}

/// How targets are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Port of an address that has none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// One profile to fetch from each target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Path of the URL, prefix included.
    pub path: String,
    /// For how long the target is to measure, in seconds, sent as `seconds`; `None` for profiles of a state.
    pub delta_seconds: Option<u64>,
    /// Sample types to keep; empty keeps all.
    pub keep_sample_type: Vec<SampleType>,
}

/// Type and unit of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleType {
    /// Type, such as `inuse_space`.
    pub kind: String,
    /// Unit, such as `bytes`.
    pub unit: String,
}

/// When the first scrape of a target starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstScrape {
    /// At a time within the interval that depends on the target only, so that load is spread and restarts do not shift it.
    #[default]
    Spread,
    /// As soon as the target is known.
    AtOnce {
        /// Length of the first delta.
        delta_seconds: u64,
        /// How much later those start that are no deltas: taking them is work, which the delta then shows.
        others_after: Duration,
    },
}

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpClientConfig {
    /// What to authenticate with, if anything.
    pub credentials: Option<Credentials>,
    /// Trust and identity of TLS.
    pub tls: TlsConfig,
    /// Through what requests go.
    pub proxy: Proxy,
    /// Keeps a 3xx answer as the error that it is instead of following it.
    pub no_redirects: bool,
    /// Offers HTTP/1.1 only.
    pub http1_only: bool,
    /// Headers added to every request: name and values.
    pub headers: Vec<(String, Vec<SecretSource>)>,
}

/// What requests authenticate with.
#[derive(Debug, Clone, PartialEq)]
pub enum Credentials {
    /// Basic authentication.
    Basic {
        /// User's name.
        username: Option<SecretSource>,
        /// User's password.
        password: Option<SecretSource>,
    },
    /// An `Authorization` header of a scheme and credentials.
    Authorization {
        /// Such as `Bearer`.
        scheme: String,
        /// What follows it.
        credentials: Option<SecretSource>,
    },
}

/// A secret in the configuration itself, or in a file that is read when it is needed.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretSource {
    /// In the configuration.
    Inline(Secret),
    /// In a file; surrounding white space is not part of it.
    File(PathBuf),
}

/// Text that does not show in logs.
#[derive(Clone, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from `Debug`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Trust and identity of TLS.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TlsConfig {
    /// Certificates to trust instead of the system's, PEM.
    pub ca: Option<SecretSource>,
    /// Own certificate chain, PEM.
    pub cert: Option<SecretSource>,
    /// Key of the own certificate, PEM.
    pub key: Option<SecretSource>,
    /// Name that the server's certificate must have, if not the address's.
    pub server_name: Option<String>,
    /// Trusts any certificate.
    pub insecure_skip_verify: bool,
    /// Lowest version offered; default TLS 1.2, the lowest there is.
    pub min_version: Option<TlsVersion>,
    /// Highest version offered.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS that can be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Through what requests go.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Proxy {
    /// Straight to the target, whatever the environment says.
    #[default]
    Direct,
    /// As `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    Environment,
    /// Through a proxy.
    Url {
        /// Of the proxy; may hold a password.
        url: Secret,
        /// Hosts, domains and networks to reach straight, separated by commas; may be empty.
        no_proxy: String,
    },
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// Of the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not say something that can be done.
    #[error("{file}:{line}: {}{reason}", field_prefix(field))]
    Invalid {
        /// Name of the file as given.
        file: String,
        /// Line, from 1; 0 if it cannot be told.
        line: u64,
        /// Path of the field, such as `scrape_configs[0].scheme`; empty if the text is not YAML.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn field_prefix(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

impl ConfigError {
    /// What a caller can do about it.
    pub fn kind(&self) -> decima_base::ErrorKind {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                decima_base::ErrorKind::NotFound
            }
            Self::Read { .. } => decima_base::ErrorKind::Unavailable,
            Self::Invalid { .. } => decima_base::ErrorKind::InvalidArgument,
        }
    }
}

/// Largest configuration that is read; a thousand jobs are a hundredth of it.
pub const CONFIG_BYTES_MAX: u64 = 16 << 20;

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
        let size_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if size_bytes > CONFIG_BYTES_MAX {
            let reason =
                format!("{size_bytes} bytes are more than the {CONFIG_BYTES_MAX} of a configuration");
            return Err(unreadable(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason)));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, &path.display().to_string(), directory)
    }

    /// Checks a text. `file` names it in errors; relative paths in it are relative to `directory`.
    pub fn parse(text: &str, file: &str, directory: &Path) -> Result<Self, ConfigError> {
        let raw = raw::parse(text, file)?;
        check::Checker { file, directory }.config(raw)
    }
}

/// The configuration by which the store that listens on `address` profiles itself: CPU as `decima_cpu` and memory as
/// `decima_memory`, so that they do not mix with the profiles of others.
///
/// The first scrape of CPU starts at once and takes 5 s; then follows one of 10 s every 10 s. Memory follows 2 s behind. An address that stands for all
/// interfaces is reached by loopback. `path_prefix` is that of the server.
pub fn self_scrape(address: SocketAddr, path_prefix: &str) -> Config {
    const INTERVAL: Duration = Duration::from_secs(10);
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let endpoint = |path, delta_seconds| Endpoint {
        path: check::join_path(path_prefix, path),
        delta_seconds,
        keep_sample_type: Vec::new(),
    };
    let target = [("__address__".to_owned(), SocketAddr::new(host, address.port()).to_string())];
    let job = ScrapeConfig {
        job_name: SELF_JOB.to_owned(),
        params: BTreeMap::new(),
        scrape_interval: INTERVAL,
        scrape_timeout: INTERVAL + check::TIMEOUT_MARGIN,
        scheme: Scheme::Http,
        normalized_addresses: false,
        endpoints: BTreeMap::from([
            ("decima_cpu".to_owned(), endpoint("/debug/pprof/profile", Some(INTERVAL.as_secs()))),
            ("decima_memory".to_owned(), endpoint("/debug/pprof/allocs", None)),
        ]),
        relabel_configs: Vec::new(),
        static_configs: vec![TargetGroup { targets: vec![BTreeMap::from(target)], labels: BTreeMap::new() }],
        discoveries: Vec::new(),
        http_client: HttpClientConfig::default(),
        first_scrape: FirstScrape::AtOnce { delta_seconds: 5, others_after: Duration::from_secs(2) },
    };
    Config { object_storage: None, scrape_configs: vec![job] }
}

#[cfg(test)]
mod tests;
