//! Where targets are found besides `static_configs`.

mod kubernetes;

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use regex::Regex;
use reqwest::Url;

use super::{Checker, Place, line};
use crate::{
    ConfigError, ConsulDiscovery, Credentials, Discovery, DnsDiscovery, DnsRecord, DockerDiscovery,
    DockerHost, FileDiscovery, HttpDiscovery, NotBuilt, Secret, SecretSource,
    raw::{self, Spanned},
};

const FILE_REFRESH_DEFAULT: Duration = Duration::from_secs(5 * 60);
const HTTP_REFRESH_DEFAULT: Duration = Duration::from_secs(60);
const DNS_REFRESH_DEFAULT: Duration = Duration::from_secs(30);
const CONSUL_REFRESH_DEFAULT: Duration = Duration::from_secs(30);
const DOCKER_REFRESH_DEFAULT: Duration = Duration::from_secs(60);

/// Paths of files with targets: one `*` at most, in the last part, and an extension that tells the format.
#[expect(clippy::expect_used, reason = "a constant that a test compiles")]
static FILE_PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)$").expect("a regular expression")
});

impl Checker<'_> {
    pub(super) fn discoveries(
        &self,
        raw: &mut raw::ScrapeConfig,
        job: &Place,
    ) -> Result<Vec<Discovery>, ConfigError> {
        let mut discoveries = Vec::new();
        for (place, given) in entries("file_sd_configs", std::mem::take(&mut raw.file_sd_configs), job) {
            discoveries.push(Discovery::File(self.file_discovery(&given, &place)?));
        }
        for (place, given) in entries("http_sd_configs", std::mem::take(&mut raw.http_sd_configs), job) {
            discoveries.push(Discovery::Http(self.http_discovery(given, &place)?));
        }
        for (place, given) in entries("dns_sd_configs", std::mem::take(&mut raw.dns_sd_configs), job) {
            discoveries.push(Discovery::Dns(self.dns_discovery(given, &place)?));
        }
        for (place, given) in entries("consul_sd_configs", std::mem::take(&mut raw.consul_sd_configs), job) {
            discoveries.push(Discovery::Consul(self.consul_discovery(given, &place)?));
        }
        for (place, given) in entries("docker_sd_configs", std::mem::take(&mut raw.docker_sd_configs), job) {
            discoveries.push(Discovery::Docker(self.docker_discovery(given, &place)?));
        }
        let given = std::mem::take(&mut raw.kubernetes_sd_configs);
        for (place, given) in entries("kubernetes_sd_configs", given, job) {
            discoveries.push(Discovery::Kubernetes(self.kubernetes_discovery(given, &place)?));
        }
        Ok(discoveries)
    }

    fn file_discovery(
        &self,
        given: &raw::FileDiscovery,
        place: &Place,
    ) -> Result<FileDiscovery, ConfigError> {
        if given.files.is_empty() {
            let reason = "file service discovery config must contain at least one path name";
            return self.invalid(place.key("files", place.line), reason);
        }
        for (index, file) in given.files.iter().enumerate() {
            if !FILE_PATTERN.is_match(&file.value) {
                let reason = format!("path name {:?} is not valid for file discovery", file.value);
                return self.invalid(place.key("files", line(file)).index(index, line(file)), reason);
            }
        }
        let files = given.files.iter().map(|file| self.directory.join(&file.value)).collect();
        let refresh_interval =
            self.refresh_interval(given.refresh_interval.as_ref(), FILE_REFRESH_DEFAULT, place)?;
        Ok(FileDiscovery { files, refresh_interval })
    }

    fn http_discovery(
        &self,
        mut given: raw::HttpDiscovery,
        place: &Place,
    ) -> Result<HttpDiscovery, ConfigError> {
        let url = match &given.url {
            Some(url) if !url.value.is_empty() => self.http_url("url", url, place)?,
            url => {
                let line = url.as_ref().map_or(place.line, line);
                return self.invalid(place.key("url", line), "URL is missing");
            }
        };
        let refresh_interval =
            self.refresh_interval(given.refresh_interval.as_ref(), HTTP_REFRESH_DEFAULT, place)?;
        Ok(HttpDiscovery {
            url,
            refresh_interval,
            http_client: self.http_client(given.take_http_client(), place)?,
        })
    }

    fn dns_discovery(&self, given: raw::DnsDiscovery, place: &Place) -> Result<DnsDiscovery, ConfigError> {
        if given.names.is_empty() {
            let reason = "DNS-SD config must contain at least one SRV record name";
            return self.invalid(place.key("names", place.line), reason);
        }
        let record = match given.record.as_ref().map(|record| (record.value.to_ascii_uppercase(), record)) {
            None => DnsRecord::Srv,
            Some((name, given)) => match name.as_str() {
                "A" => DnsRecord::A,
                "AAAA" => DnsRecord::Aaaa,
                "MX" => DnsRecord::Mx,
                "NS" => DnsRecord::Ns,
                "SRV" => DnsRecord::Srv,
                _ => {
                    let reason = format!("invalid DNS-SD records type {}", given.value);
                    return self.invalid(place.key("type", line(given)), reason);
                }
            },
        };
        let port = given.port.as_ref().map_or(0, |port| port.value);
        if port == 0 && record != DnsRecord::Srv {
            let line = given.port.as_ref().map_or(place.line, line);
            let reason = "a port is required in DNS-SD configs for all record types except SRV";
            return self.invalid(place.key("port", line), reason);
        }
        let refresh_interval =
            self.refresh_interval(given.refresh_interval.as_ref(), DNS_REFRESH_DEFAULT, place)?;
        if !cfg!(feature = "dns") {
            return self.invalid(place.clone(), NotBuilt::DNS.to_string());
        }
        Ok(DnsDiscovery { names: given.names, record, port, refresh_interval })
    }

    fn consul_discovery(
        &self,
        mut given: raw::ConsulDiscovery,
        place: &Place,
    ) -> Result<ConsulDiscovery, ConfigError> {
        let server = given.server.as_ref().map_or("localhost:8500", |server| server.value.trim());
        if server.is_empty() {
            let line = given.server.as_ref().map_or(place.line, line);
            return self
                .invalid(place.key("server", line), "consul SD configuration requires a server address");
        }
        let scheme = match given.scheme.as_ref().map(|scheme| (scheme.value.as_str(), scheme)) {
            None | Some(("", _)) => "http",
            Some((scheme @ ("http" | "https"), _)) => scheme,
            Some((other, scheme)) => {
                let reason = format!("{other:?} is neither \"http\" nor \"https\"");
                return self.invalid(place.key("scheme", line(scheme)), reason);
            }
        };
        let prefix = given.path_prefix.as_deref().unwrap_or_default().trim_matches('/');
        let url = match Url::parse(&format!("{scheme}://{server}/{prefix}")) {
            Ok(url) if url.username().is_empty() && url.password().is_none() => url,
            _ => {
                let line = given.server.as_ref().map_or(place.line, line);
                return self.invalid(
                    place.key("server", line),
                    format!("{server:?} is not the address of a server"),
                );
            }
        };
        let refresh_interval =
            self.refresh_interval(given.refresh_interval.as_ref(), CONSUL_REFRESH_DEFAULT, place)?;
        let mut http_client = self.http_client(given.take_http_client(), place)?;
        if let Some(name) = given.username.as_ref().or(given.password.as_ref()) {
            if http_client.credentials.is_some() {
                let reason = "at most one of consul SD configuration username and password and basic auth can be configured";
                return self.invalid(place.key("username", line(name)), reason);
            }
            let inline = |text: Spanned<String>| SecretSource::Inline(Secret::new(text.value));
            http_client.credentials = Some(Credentials::Basic {
                username: given.username.map(inline),
                password: given.password.map(inline),
            });
        }
        let token = given.token.filter(|token| !token.value.is_empty());
        if let (Some(token), Some(Credentials::Authorization { .. })) = (&token, &http_client.credentials) {
            let reason = "at most one of consul SD token, authorization, or oauth2 can be configured";
            return self.invalid(place.key("token", line(token)), reason);
        }
        let given_text = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(ConsulDiscovery {
            url,
            token: token.map(|token| Secret::new(token.value)),
            datacenter: given_text(given.datacenter),
            namespace: given_text(given.namespace),
            partition: given_text(given.partition),
            tag_separator: given.tag_separator.unwrap_or_else(|| ",".to_owned()),
            services: given.services,
            tags: given.tags,
            node_meta: given.node_meta,
            filter: given_text(given.filter),
            allow_stale: given.allow_stale.unwrap_or(true),
            refresh_interval,
            http_client,
        })
    }

    fn docker_discovery(
        &self,
        mut given: raw::DockerDiscovery,
        place: &Place,
    ) -> Result<DockerDiscovery, ConfigError> {
        let host = match given.host.as_ref().filter(|host| !host.value.is_empty()) {
            Some(host) => self.docker_host(host, place)?,
            None => {
                let line = given.host.as_ref().map_or(place.line, line);
                return self.invalid(place.key("host", line), "host missing");
            }
        };
        let mut filters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for filter in std::mem::take(&mut given.filters) {
            filters.entry(filter.name).or_default().extend(filter.values);
        }
        let refresh_interval =
            self.refresh_interval(given.refresh_interval.as_ref(), DOCKER_REFRESH_DEFAULT, place)?;
        Ok(DockerDiscovery {
            host,
            port: given.port.unwrap_or(80),
            filters,
            host_networking_host: given.host_networking_host.take().unwrap_or_else(|| "localhost".to_owned()),
            match_first_network: given.match_first_network.unwrap_or(true),
            refresh_interval,
            http_client: self.http_client(given.take_http_client(), place)?,
        })
    }

    /// `unix:///path`, or a URL of HTTP; `tcp://` is plain HTTP, as Docker has it.
    fn docker_host(&self, host: &Spanned<String>, place: &Place) -> Result<DockerHost, ConfigError> {
        let place = place.key("host", line(host));
        let text = match host.value.strip_prefix("tcp://") {
            Some(address) => format!("http://{address}"),
            None => host.value.clone(),
        };
        if let Some(socket) = text.strip_prefix("unix://") {
            return match Url::parse("http://docker") {
                Ok(url) if socket.starts_with('/') => Ok(DockerHost::Unix { socket: socket.into(), url }),
                _ => self.invalid(place, "the path of the socket is missing"),
            };
        }
        match Url::parse(&text) {
            Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(DockerHost::Http(url)),
            Ok(url) => {
                self.invalid(place, format!("{:?} is none of unix, tcp, http and https", url.scheme()))
            }
            Err(error) => self.invalid(place, format!("{text:?} is not a URL: {error}")),
        }
    }

    /// A URL of HTTP with a host.
    fn http_url(&self, key: &str, text: &Spanned<String>, place: &Place) -> Result<Url, ConfigError> {
        let place = place.key(key, line(text));
        match Url::parse(&text.value) {
            Ok(url) if !["http", "https"].contains(&url.scheme()) => {
                self.invalid(place, "URL scheme must be 'http' or 'https'")
            }
            Ok(url) if url.host_str().is_none_or(str::is_empty) => {
                self.invalid(place, "host is missing in URL")
            }
            Ok(url) => Ok(url),
            Err(error) => self.invalid(place, format!("{:?} is not a URL: {error}", text.value)),
        }
    }

    fn refresh_interval(
        &self,
        text: Option<&Spanned<String>>,
        default: Duration,
        place: &Place,
    ) -> Result<Duration, ConfigError> {
        let interval = self.duration("refresh_interval", text, place)?.unwrap_or(default);
        if interval.is_zero() {
            let line = text.map_or(place.line, line);
            return self.invalid(place.key("refresh_interval", line), "must be longer than 0");
        }
        Ok(interval)
    }
}

/// The entries of a list of the job, each with its place.
fn entries<T>(key: &str, list: Vec<Spanned<T>>, job: &Place) -> impl Iterator<Item = (Place, T)> {
    let place = job.key(key, job.line);
    list.into_iter().enumerate().map(move |(index, entry)| (place.index(index, line(&entry)), entry.value))
}
