//! Names that the charm's metadata, the workload and this program have to agree on.

/// The container of the workload.
pub const CONTAINER: &str = "parca";
/// Names another folder than Juju's for the sockets of the containers, for tests.
pub const CONTAINERS_VARIABLE: &str = "DECIMA_CHARM_CONTAINERS";
/// The service in the container, and the label of the layer that describes it.
pub const SERVICE: &str = "parca";

/// The check that says whether it serves.
pub const CHECK: &str = "ready";

/// Where senders push.
pub const GRPC_PORT: u16 = 7993;
/// Where people and scrapers read.
pub const HTTP_PORT: u16 = 7994;
/// Where the store listens for its own pod only, without TLS.
pub const LOCAL_PORT: u16 = 7070;

/// The folder of everything that the charm writes for the workload.
pub const ETC: &str = "/etc/parca";
/// Configuration of the workload.
pub const CONFIG_FILE: &str = "/etc/parca/parca.yaml";
/// Hashes of the tokens that the workload takes.
pub const TOKENS_FILE: &str = "/etc/parca/tokens.json";
/// The certificate that the workload serves with, and those between it and the authority.
pub const CERTIFICATE_FILE: &str = "/etc/parca/server.crt";
/// Its private key.
pub const KEY_FILE: &str = "/etc/parca/server.key";
/// Authorities that the workload trusts besides the system's.
pub const TRUSTED: &str = "/etc/parca/trusted";
/// The authority's certificate: others of its are trusted too.
pub const CA_FILE: &str = "/etc/parca/trusted/ca.crt";
/// Authorities that sign for the endpoint of a bucket.
pub const S3_CA_FILE: &str = "/etc/parca/s3_ca.crt";
/// The token that the workload sends to another store.
pub const FORWARD_TOKEN_FILE: &str = "/etc/parca/store-token";
/// Where the storage `profiles` is mounted. What another charm left there is not touched.
pub const STORAGE: &str = "/var/lib/parca";
/// Our part of it.
pub const DATA: &str = "/var/lib/parca/decima";
/// Where samples go that are not to outlive the pod.
pub const TRANSIENT_DATA: &str = "/tmp/decima";

/// Senders are told here how to reach the store.
pub const STORE: &str = "parca-store-endpoint";
/// Another store to which everything is sent on.
pub const EXTERNAL_STORE: &str = "external-parca-store-endpoint";
/// Targets to be scraped.
pub const PROFILING: &str = "profiling-endpoint";
/// Another store scrapes this one.
pub const SELF_PROFILING: &str = "self-profiling-endpoint";
/// Prometheus scrapes this store.
pub const METRICS: &str = "metrics-endpoint";
/// Grafana reads from this store.
pub const GRAFANA: &str = "grafana-source";
/// Traefik leads to this store.
pub const INGRESS: &str = "ingress";
/// A bucket to store profiles in.
pub const S3: &str = "s3";
/// An authority gives this store a certificate.
pub const CERTIFICATES: &str = "certificates";
/// Loki takes the workload's output.
pub const LOGGING: &str = "logging";
/// Other units of this application.
pub const PEERS: &str = "parca-peers";

/// Name of the job by which the store scrapes itself.
pub const SELF_JOB: &str = "parca";

/// Name of this charm, as it tells others.
pub const CHARM: &str = "parca-k8s";
