//! Where targets are found besides `static_configs`, with Prometheus' settings and defaults.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use reqwest::Url;

use super::{HttpClientConfig, Secret};

/// A way to find targets.
#[derive(Debug, Clone, PartialEq)]
pub enum Discovery {
    /// Files with lists of targets.
    File(FileDiscovery),
    /// A URL that answers with a list of targets.
    Http(HttpDiscovery),
    /// DNS records.
    Dns(DnsDiscovery),
    /// Services of a Consul catalog.
    Consul(ConsulDiscovery),
    /// Containers of a Docker engine.
    Docker(DockerDiscovery),
    /// Objects of a Kubernetes cluster.
    Kubernetes(KubernetesDiscovery),
}

impl Discovery {
    /// The word that names the way, as in `file_sd_configs`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Consul(_) => "consul",
            Self::Docker(_) => "docker",
            Self::Kubernetes(_) => "kubernetes",
        }
    }

    /// How its requests are made, if it makes any of HTTP.
    pub fn http_client(&self) -> Option<&HttpClientConfig> {
        match self {
            Self::File(_) | Self::Dns(_) => None,
            Self::Http(http) => Some(&http.http_client),
            Self::Consul(consul) => Some(&consul.http_client),
            Self::Docker(docker) => Some(&docker.http_client),
            Self::Kubernetes(kubernetes) => Some(&kubernetes.http_client),
        }
    }

    /// What is looked at, for people: files, a URL. Never a secret.
    pub fn subject(&self) -> String {
        match self {
            Self::File(file) => {
                let files: Vec<_> = file.files.iter().map(|path| path.display().to_string()).collect();
                files.join(", ")
            }
            Self::Http(http) => without_password(&http.url),
            Self::Dns(dns) => dns.names.join(", "),
            Self::Consul(consul) => without_password(&consul.url),
            Self::Docker(docker) => match &docker.host {
                DockerHost::Unix { socket, .. } => format!("unix://{}", socket.display()),
                DockerHost::Http(url) => without_password(url),
            },
            Self::Kubernetes(kubernetes) => {
                let cluster = match &kubernetes.api {
                    KubernetesApi::InCluster => "this cluster".to_owned(),
                    KubernetesApi::Server(url) => without_password(url),
                    KubernetesApi::Kubeconfig(path) => path.display().to_string(),
                };
                format!("{} of {cluster}", kubernetes.role.as_str())
            }
        }
    }
}

/// A URL that can be shown.
fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // Only URLs without a host refuse, and they have no password.
    if url.password().is_some() {
        let _ = url.set_password(Some("xxxxx"));
    }
    url.to_string()
}

/// Files with lists of targets, JSON or YAML by their extension.
#[derive(Debug, Clone, PartialEq)]
pub struct FileDiscovery {
    /// Paths; the last part of one may have a `*`.
    pub files: Vec<PathBuf>,
    /// After how long a file is read again although nothing tells that it has changed.
    pub refresh_interval: Duration,
}

/// A URL that answers with a list of targets, JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpDiscovery {
    /// Asked with GET.
    pub url: Url,
    /// From one request to the next, and how long one may take.
    pub refresh_interval: Duration,
    /// How requests are made.
    pub http_client: HttpClientConfig,
}

/// DNS records, of the servers that the system asks.
#[derive(Debug, Clone, PartialEq)]
pub struct DnsDiscovery {
    /// Names to ask for.
    pub names: Vec<String>,
    /// Type of the records.
    pub record: DnsRecord,
    /// Port of targets; SRV records have their own.
    pub port: u16,
    /// From one question to the next.
    pub refresh_interval: Duration,
}

/// A type of DNS records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsRecord {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Name servers.
    Ns,
    /// Hosts with ports.
    Srv,
}

/// Services of a Consul catalog.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsulDiscovery {
    /// Of the server, path prefix included; the API is below it.
    pub url: Url,
    /// Token to show.
    pub token: Option<Secret>,
    /// Datacenter to ask for; that of the server if not given.
    pub datacenter: Option<String>,
    /// Namespace to ask for.
    pub namespace: Option<String>,
    /// Admin partition to ask for.
    pub partition: Option<String>,
    /// What is put around and between tags in their label.
    pub tag_separator: String,
    /// Services to look at; all if empty.
    pub services: Vec<String>,
    /// Tags that an instance must have, all of them.
    pub tags: Vec<String>,
    /// What a node's metadata must say.
    pub node_meta: BTreeMap<String, String>,
    /// Filter of the catalog, in Consul's language.
    pub filter: Option<String>,
    /// Whether servers that are no leader may answer.
    pub allow_stale: bool,
    /// Least time from one answer to the next question.
    pub refresh_interval: Duration,
    /// How requests are made.
    pub http_client: HttpClientConfig,
}

impl ConsulDiscovery {
    /// Whether a service is looked at; `tags` are those of all its instances.
    pub fn watches(&self, service: &str, tags: &[String]) -> bool {
        let named = self.services.is_empty() || self.services.iter().any(|wanted| wanted == service);
        named && self.tags.iter().all(|wanted| tags.contains(wanted))
    }
}

/// Containers of a Docker engine.
#[derive(Debug, Clone, PartialEq)]
pub struct DockerDiscovery {
    /// Where the engine listens.
    pub host: DockerHost,
    /// Port of containers that have none.
    pub port: u16,
    /// Filters of the list of containers, by name.
    pub filters: BTreeMap<String, Vec<String>>,
    /// Address of containers that have the network of the host.
    pub host_networking_host: String,
    /// Whether only the first network of a container counts.
    pub match_first_network: bool,
    /// From one request to the next, and how long one may take.
    pub refresh_interval: Duration,
    /// How requests are made; of no effect on a socket.
    pub http_client: HttpClientConfig,
}

/// Where a Docker engine listens.
#[derive(Debug, Clone, PartialEq)]
pub enum DockerHost {
    /// A Unix socket.
    Unix {
        /// Its path.
        socket: PathBuf,
        /// The engine as requests over it name it.
        url: Url,
    },
    /// HTTP.
    Http(Url),
}

/// Objects of a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct KubernetesDiscovery {
    /// Where the API is.
    pub api: KubernetesApi,
    /// What becomes a target.
    pub role: KubernetesRole,
    /// Namespaces to look at; all if empty and the own one is not asked for either.
    pub namespaces: Vec<String>,
    /// Whether the namespace that this process runs in is looked at besides.
    pub own_namespace: bool,
    /// Which objects of a kind are looked at; all of a kind that is not in here.
    pub selectors: BTreeMap<KubernetesRole, KubernetesSelector>,
    /// Whether targets get the labels of their node.
    pub attach_node: bool,
    /// How requests are made to a server that is given by its URL.
    pub http_client: HttpClientConfig,
}

/// Where the API of a Kubernetes cluster is, and how this process shows who it is.
#[derive(Debug, Clone, PartialEq)]
pub enum KubernetesApi {
    /// The cluster that this process runs in, by its service account.
    InCluster,
    /// A URL.
    Server(Url),
    /// As a file for `kubectl` says.
    Kubeconfig(PathBuf),
}

/// A kind of objects that can be targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KubernetesRole {
    /// Ports of containers.
    Pod,
    /// Ports of services, by their names.
    Service,
    /// Addresses behind services.
    Endpoints,
    /// The same in slices.
    EndpointSlice,
    /// Kubelets.
    Node,
    /// Paths of ingresses.
    Ingress,
}

impl KubernetesRole {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pod, Self::Service, Self::Endpoints, Self::EndpointSlice, Self::Node, Self::Ingress];

    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Node => "node",
            Self::Ingress => "ingress",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether objects of a kind are looked at for targets of this role, labels of nodes left aside.
    pub fn looks_at(self, kind: Self) -> bool {
        let behind = matches!(self, Self::Endpoints | Self::EndpointSlice);
        kind == self || behind && matches!(kind, Self::Pod | Self::Service)
    }

    /// Whether targets of this role are on a node.
    pub fn is_on_node(self) -> bool {
        matches!(self, Self::Pod | Self::Endpoints | Self::EndpointSlice)
    }
}

/// Which objects of a kind are looked at, in Kubernetes' language.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KubernetesSelector {
    /// By their labels.
    pub label: Option<String>,
    /// By their fields.
    pub field: Option<String>,
}
