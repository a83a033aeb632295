//! The schema of `parca.yaml` as text has it, each value that can be wrong with the place where it stands.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_path_to_error::Segment;
pub(super) use serde_saphyr::Spanned;

use super::ConfigError;

/// Key of [`Spanned`] under which serde sees the value itself.
const SPANNED_VALUE: &str = "value";

/// Above this the alternatives to an unknown field are left out.
const REASON_CHARS_MAX: usize = 200;

pub(super) fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
    let invalid = |line, field, reason| ConfigError::Invalid { file: file.to_owned(), line, field, reason };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Err(invalid(1, String::new(), "empty config".to_owned()));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let mut field = String::new();
    let parsed = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        let parsed = Config::deserialize(tracked);
        if parsed.is_err() {
            field = field_path(&track.path());
        }
        parsed
    });
    parsed.map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        invalid(line, field, reason(&error))
    })
}

fn field_path(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("[{index}]")),
            Segment::Map { key } if key == SPANNED_VALUE => {}
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Segment::Unknown => {}
        }
    }
    text
}

/// The reason in one line, without the position, which the error that wraps it has too.
fn reason(error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("duplicate key `{key}`");
    }
    let text = error.to_string();
    let mut line = text.lines().next().unwrap_or_default();
    if let Some(end) = line.find(" at line ") {
        line = &line[..end];
    }
    shortened(line).to_owned()
}

/// Forty names do not help to find the right one.
pub(super) fn shortened(reason: &str) -> &str {
    match reason.find(", expected one of ").filter(|_| reason.len() > REASON_CHARS_MAX) {
        Some(end) => &reason[..end],
        None => reason,
    }
}

/// A section of the file that has the settings of an HTTP client among its own. (`serde(flatten)` would lose the lines.)
macro_rules! section_with_http_client {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$meta])* pub(super) $field: $type,)*

            basic_auth: Option<Spanned<BasicAuth>>,
            authorization: Option<Spanned<Authorization>>,
            oauth2: Option<Spanned<IgnoredAny>>,
            bearer_token: Option<Spanned<String>>,
            bearer_token_file: Option<Spanned<String>>,
            tls_config: Option<Spanned<TlsConfig>>,
            proxy_url: Option<Spanned<String>>,
            no_proxy: Option<Spanned<String>>,
            proxy_from_environment: Option<Spanned<bool>>,
            proxy_connect_header: Option<Spanned<IgnoredAny>>,
            follow_redirects: Option<bool>,
            enable_http2: Option<bool>,
            http_headers: Option<BTreeMap<String, Spanned<HttpHeader>>>,
        }

        impl $name {
            /// Takes the settings of the HTTP client out.
            pub(super) fn take_http_client(&mut self) -> HttpClient {
                HttpClient {
                    basic_auth: self.basic_auth.take(),
                    authorization: self.authorization.take(),
                    oauth2: self.oauth2.take(),
                    bearer_token: self.bearer_token.take(),
                    bearer_token_file: self.bearer_token_file.take(),
                    tls_config: self.tls_config.take(),
                    proxy_url: self.proxy_url.take(),
                    no_proxy: self.no_proxy.take(),
                    proxy_from_environment: self.proxy_from_environment.take(),
                    proxy_connect_header: self.proxy_connect_header.take(),
                    follow_redirects: self.follow_redirects.take(),
                    enable_http2: self.enable_http2.take(),
                    http_headers: self.http_headers.take(),
                }
            }
        }
    };
}

/// The settings of an HTTP client, which several sections have among their own.
#[derive(Default)]
pub(super) struct HttpClient {
    pub(super) basic_auth: Option<Spanned<BasicAuth>>,
    pub(super) authorization: Option<Spanned<Authorization>>,
    pub(super) oauth2: Option<Spanned<IgnoredAny>>,
    pub(super) bearer_token: Option<Spanned<String>>,
    pub(super) bearer_token_file: Option<Spanned<String>>,
    pub(super) tls_config: Option<Spanned<TlsConfig>>,
    pub(super) proxy_url: Option<Spanned<String>>,
    pub(super) no_proxy: Option<Spanned<String>>,
    pub(super) proxy_from_environment: Option<Spanned<bool>>,
    pub(super) proxy_connect_header: Option<Spanned<IgnoredAny>>,
    pub(super) follow_redirects: Option<bool>,
    pub(super) enable_http2: Option<bool>,
    pub(super) http_headers: Option<BTreeMap<String, Spanned<HttpHeader>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) object_storage: Option<Spanned<ObjectStorage>>,
    pub(super) scrape_configs: Option<Vec<Spanned<ScrapeConfig>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectStorage {
    pub(super) bucket: Option<Spanned<Bucket>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bucket {
    #[serde(rename = "type")]
    pub(super) kind: Option<Spanned<String>>,
    pub(super) config: Option<Spanned<BTreeMap<String, Spanned<serde_json::Value>>>>,
    pub(super) prefix: Option<String>,
}

section_with_http_client! {
    ScrapeConfig {
        job_name: Option<Spanned<String>>,
        #[serde(default)]
        params: BTreeMap<String, Vec<String>>,
        scrape_interval: Option<Spanned<String>>,
        scrape_timeout: Option<Spanned<String>>,
        scheme: Option<Spanned<String>>,
        #[serde(default)]
        normalized_addresses: bool,
        profiling_config: Option<ProfilingConfig>,
        #[serde(default)]
        relabel_configs: Vec<Spanned<Option<RelabelConfig>>>,
        #[serde(default)]
        static_configs: Vec<StaticConfig>,

        #[serde(default)]
        file_sd_configs: Vec<Spanned<FileDiscovery>>,
        #[serde(default)]
        http_sd_configs: Vec<Spanned<HttpDiscovery>>,
        #[serde(default)]
        dns_sd_configs: Vec<Spanned<DnsDiscovery>>,
        #[serde(default)]
        kubernetes_sd_configs: Vec<Spanned<KubernetesDiscovery>>,
        #[serde(default)]
        consul_sd_configs: Vec<Spanned<ConsulDiscovery>>,
        #[serde(default)]
        docker_sd_configs: Vec<Spanned<DockerDiscovery>>,

        azure_sd_configs: Option<Spanned<IgnoredAny>>,
        digitalocean_sd_configs: Option<Spanned<IgnoredAny>>,
        dockerswarm_sd_configs: Option<Spanned<IgnoredAny>>,
        ec2_sd_configs: Option<Spanned<IgnoredAny>>,
        eureka_sd_configs: Option<Spanned<IgnoredAny>>,
        gce_sd_configs: Option<Spanned<IgnoredAny>>,
        hetzner_sd_configs: Option<Spanned<IgnoredAny>>,
        ionos_sd_configs: Option<Spanned<IgnoredAny>>,
        kuma_sd_configs: Option<Spanned<IgnoredAny>>,
        lightsail_sd_configs: Option<Spanned<IgnoredAny>>,
        linode_sd_configs: Option<Spanned<IgnoredAny>>,
        marathon_sd_configs: Option<Spanned<IgnoredAny>>,
        nerve_sd_configs: Option<Spanned<IgnoredAny>>,
        nomad_sd_configs: Option<Spanned<IgnoredAny>>,
        openstack_sd_configs: Option<Spanned<IgnoredAny>>,
        ovhcloud_sd_configs: Option<Spanned<IgnoredAny>>,
        puppetdb_sd_configs: Option<Spanned<IgnoredAny>>,
        scaleway_sd_configs: Option<Spanned<IgnoredAny>>,
        serverset_sd_configs: Option<Spanned<IgnoredAny>>,
        stackit_sd_configs: Option<Spanned<IgnoredAny>>,
        triton_sd_configs: Option<Spanned<IgnoredAny>>,
        uyuni_sd_configs: Option<Spanned<IgnoredAny>>,
        vultr_sd_configs: Option<Spanned<IgnoredAny>>,
    }
}

impl ScrapeConfig {
    /// What the file uses of the schema that is known and not built yet: name and line of each key.
    pub(super) fn not_built(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("azure_sd_configs", &self.azure_sd_configs),
            ("digitalocean_sd_configs", &self.digitalocean_sd_configs),
            ("dockerswarm_sd_configs", &self.dockerswarm_sd_configs),
            ("ec2_sd_configs", &self.ec2_sd_configs),
            ("eureka_sd_configs", &self.eureka_sd_configs),
            ("gce_sd_configs", &self.gce_sd_configs),
            ("hetzner_sd_configs", &self.hetzner_sd_configs),
            ("ionos_sd_configs", &self.ionos_sd_configs),
            ("kuma_sd_configs", &self.kuma_sd_configs),
            ("lightsail_sd_configs", &self.lightsail_sd_configs),
            ("linode_sd_configs", &self.linode_sd_configs),
            ("marathon_sd_configs", &self.marathon_sd_configs),
            ("nerve_sd_configs", &self.nerve_sd_configs),
            ("nomad_sd_configs", &self.nomad_sd_configs),
            ("openstack_sd_configs", &self.openstack_sd_configs),
            ("ovhcloud_sd_configs", &self.ovhcloud_sd_configs),
            ("puppetdb_sd_configs", &self.puppetdb_sd_configs),
            ("scaleway_sd_configs", &self.scaleway_sd_configs),
            ("serverset_sd_configs", &self.serverset_sd_configs),
            ("stackit_sd_configs", &self.stackit_sd_configs),
            ("triton_sd_configs", &self.triton_sd_configs),
            ("uyuni_sd_configs", &self.uyuni_sd_configs),
            ("vultr_sd_configs", &self.vultr_sd_configs),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?.referenced.line())))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileDiscovery {
    #[serde(default)]
    pub(super) files: Vec<Spanned<String>>,
    pub(super) refresh_interval: Option<Spanned<String>>,
}

section_with_http_client! {
    HttpDiscovery {
        url: Option<Spanned<String>>,
        refresh_interval: Option<Spanned<String>>,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsDiscovery {
    #[serde(default)]
    pub(super) names: Vec<String>,
    #[serde(rename = "type")]
    pub(super) record: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) refresh_interval: Option<Spanned<String>>,
}

section_with_http_client! {
    ConsulDiscovery {
        server: Option<Spanned<String>>,
        path_prefix: Option<String>,
        token: Option<Spanned<String>>,
        datacenter: Option<String>,
        namespace: Option<String>,
        partition: Option<String>,
        tag_separator: Option<String>,
        scheme: Option<Spanned<String>>,
        username: Option<Spanned<String>>,
        password: Option<Spanned<String>>,
        #[serde(default)]
        services: Vec<String>,
        #[serde(default)]
        tags: Vec<String>,
        #[serde(default)]
        node_meta: BTreeMap<String, String>,
        filter: Option<String>,
        allow_stale: Option<bool>,
        refresh_interval: Option<Spanned<String>>,
    }
}

section_with_http_client! {
    DockerDiscovery {
        host: Option<Spanned<String>>,
        port: Option<u16>,
        #[serde(default)]
        filters: Vec<DockerFilter>,
        host_networking_host: Option<String>,
        match_first_network: Option<bool>,
        refresh_interval: Option<Spanned<String>>,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DockerFilter {
    pub(super) name: String,
    #[serde(default)]
    pub(super) values: Vec<String>,
}

section_with_http_client! {
    KubernetesDiscovery {
        api_server: Option<Spanned<String>>,
        role: Option<Spanned<String>>,
        kubeconfig_file: Option<Spanned<String>>,
        #[serde(default)]
        namespaces: KubernetesNamespaces,
        #[serde(default)]
        selectors: Vec<Spanned<KubernetesSelector>>,
        attach_metadata: Option<Spanned<KubernetesAttach>>,
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesNamespaces {
    pub(super) own_namespace: Option<Spanned<bool>>,
    #[serde(default)]
    pub(super) names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesSelector {
    pub(super) role: String,
    #[serde(default)]
    pub(super) label: String,
    #[serde(default)]
    pub(super) field: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesAttach {
    #[serde(default)]
    pub(super) node: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfilingConfig {
    pub(super) path_prefix: Option<String>,
    #[serde(default)]
    pub(super) pprof_config: BTreeMap<String, Spanned<PprofEndpoint>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PprofEndpoint {
    pub(super) enabled: Option<bool>,
    pub(super) path: Option<String>,
    pub(super) delta: Option<bool>,
    #[serde(default)]
    pub(super) keep_sample_type: Vec<SampleType>,
    pub(super) seconds: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleType {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) unit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelabelConfig {
    #[serde(default)]
    pub(super) source_labels: Vec<String>,
    pub(super) separator: Option<String>,
    pub(super) regex: Option<String>,
    pub(super) modulus: Option<u64>,
    pub(super) target_label: Option<String>,
    pub(super) replacement: Option<String>,
    pub(super) action: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StaticConfig {
    #[serde(default)]
    pub(super) targets: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicAuth {
    pub(super) username: Option<String>,
    pub(super) username_file: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorization {
    #[serde(rename = "type")]
    pub(super) scheme: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) credentials_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsConfig {
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) server_name: Option<String>,
    #[serde(default)]
    pub(super) insecure_skip_verify: bool,
    pub(super) min_version: Option<Spanned<String>>,
    pub(super) max_version: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpHeader {
    #[serde(default)]
    pub(super) values: Vec<String>,
    #[serde(default)]
    pub(super) secrets: Vec<String>,
    #[serde(default)]
    pub(super) files: Vec<String>,
}
