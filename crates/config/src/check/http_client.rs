//! The settings of an HTTP client.

use std::collections::BTreeMap;

use super::{Checker, Place, line};
use crate::{
    ConfigError, Credentials, HttpClientConfig, Proxy, Secret, SecretSource, TlsConfig, TlsVersion,
    raw::{self, Spanned},
};

/// Headers that the client sets itself or that other settings are for.
const HEADERS_RESERVED: [&str; 14] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "user-agent",
];

impl Checker<'_> {
    pub(super) fn http_client(
        &self,
        raw: raw::HttpClient,
        place: &Place,
    ) -> Result<HttpClientConfig, ConfigError> {
        let not_built = [("oauth2", &raw.oauth2), ("proxy_connect_header", &raw.proxy_connect_header)];
        for (key, value) in not_built {
            if let Some(value) = value {
                return self.invalid(place.key(key, line(value)), "is not supported yet");
            }
        }
        Ok(HttpClientConfig {
            credentials: self.credentials(&raw, place)?,
            tls: match raw.tls_config {
                Some(tls) => self.tls(tls, place)?,
                None => TlsConfig::default(),
            },
            proxy: self.proxy(raw.proxy_url, raw.no_proxy, raw.proxy_from_environment, place)?,
            no_redirects: raw.follow_redirects == Some(false),
            http1_only: raw.enable_http2 == Some(false),
            headers: self.headers(raw.http_headers.unwrap_or_default(), place)?,
        })
    }

    fn credentials(&self, raw: &raw::HttpClient, place: &Place) -> Result<Option<Credentials>, ConfigError> {
        let given: Vec<(&str, u64)> = [
            ("basic_auth", raw.basic_auth.as_ref().map(line)),
            ("authorization", raw.authorization.as_ref().map(line)),
            ("bearer_token", raw.bearer_token.as_ref().map(line)),
            ("bearer_token_file", raw.bearer_token_file.as_ref().map(line)),
        ]
        .into_iter()
        .filter_map(|(key, line)| Some((key, line?)))
        .collect();
        if let [(first, _), (second, line), ..] = given.as_slice() {
            return self.invalid(
                place.key(second, *line),
                format!("at most one of {first} & {second} must be configured"),
            );
        }
        if let Some(basic) = &raw.basic_auth {
            let place = place.key("basic_auth", line(basic));
            let username = self.secret(
                "username",
                basic.value.username.as_ref(),
                basic.value.username_file.as_ref(),
                &place,
            )?;
            let password = self.secret(
                "password",
                basic.value.password.as_ref(),
                basic.value.password_file.as_ref(),
                &place,
            )?;
            return Ok(Some(Credentials::Basic { username, password }));
        }
        if let Some(authorization) = &raw.authorization {
            let place = place.key("authorization", line(authorization));
            let given = &authorization.value;
            let scheme = given
                .scheme
                .as_deref()
                .map(str::trim)
                .filter(|scheme| !scheme.is_empty())
                .unwrap_or("Bearer");
            if scheme.eq_ignore_ascii_case("basic") {
                return self.invalid(
                    place.key("type", place.line),
                    "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
                );
            }
            if !scheme.bytes().all(|byte| byte.is_ascii_graphic()) {
                return self.invalid(
                    place.key("type", place.line),
                    format!("{scheme:?} is not a scheme of authorization"),
                );
            }
            let credentials = self.secret(
                "credentials",
                given.credentials.as_ref(),
                given.credentials_file.as_ref(),
                &place,
            )?;
            return Ok(Some(Credentials::Authorization { scheme: scheme.to_owned(), credentials }));
        }
        let bearer = |credentials| Credentials::Authorization {
            scheme: "Bearer".to_owned(),
            credentials: Some(credentials),
        };
        if let Some(token) = &raw.bearer_token {
            return Ok(Some(bearer(SecretSource::Inline(Secret::new(&token.value)))));
        }
        Ok(raw.bearer_token_file.as_ref().map(|file| bearer(self.file(&file.value))))
    }

    fn secret(
        &self,
        key: &str,
        inline: Option<&String>,
        file: Option<&String>,
        place: &Place,
    ) -> Result<Option<SecretSource>, ConfigError> {
        match (inline, file) {
            (Some(_), Some(_)) => {
                let reason = format!("at most one of {key} & {key}_file must be configured");
                self.invalid(place.key(&format!("{key}_file"), place.line), reason)
            }
            (Some(text), None) => Ok(Some(SecretSource::Inline(Secret::new(text)))),
            (None, Some(path)) => Ok(Some(self.file(path))),
            (None, None) => Ok(None),
        }
    }

    fn file(&self, path: &str) -> SecretSource {
        SecretSource::File(self.directory.join(path))
    }

    fn tls(&self, raw: Spanned<raw::TlsConfig>, job: &Place) -> Result<TlsConfig, ConfigError> {
        let place = job.key("tls_config", line(&raw));
        let given = raw.value;
        let cert = self.secret("cert", given.cert.as_ref(), given.cert_file.as_ref(), &place)?;
        let key = self.secret("key", given.key.as_ref(), given.key_file.as_ref(), &place)?;
        if cert.is_some() && key.is_none() {
            let reason =
                "exactly one of key or key_file must be configured when a client certificate is configured";
            return self.invalid(place, reason);
        }
        if key.is_some() && cert.is_none() {
            let reason =
                "exactly one of cert or cert_file must be configured when a client key is configured";
            return self.invalid(place, reason);
        }
        let min_version = self.tls_version("min_version", given.min_version.as_ref(), &place)?;
        let max_version = self.tls_version("max_version", given.max_version.as_ref(), &place)?;
        if min_version.zip(max_version).is_some_and(|(min, max)| min > max) {
            return self.invalid(
                place,
                "tls_config.max_version must be greater than or equal to tls_config.min_version",
            );
        }
        Ok(TlsConfig {
            ca: self.secret("ca", given.ca.as_ref(), given.ca_file.as_ref(), &place)?,
            cert,
            key,
            server_name: given.server_name.filter(|name| !name.is_empty()),
            insecure_skip_verify: given.insecure_skip_verify,
            min_version,
            max_version,
        })
    }

    fn tls_version(
        &self,
        key: &str,
        text: Option<&Spanned<String>>,
        place: &Place,
    ) -> Result<Option<TlsVersion>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        let reason = match text.value.as_str() {
            "TLS12" => return Ok(Some(TlsVersion::Tls12)),
            "TLS13" => return Ok(Some(TlsVersion::Tls13)),
            // A lower bound below what is offered asks for nothing more.
            "TLS10" | "TLS11" if key == "min_version" => return Ok(None),
            version @ ("TLS10" | "TLS11") => {
                format!("{version} is not supported: it is broken; TLS12 and TLS13 are")
            }
            version => format!("unknown TLS version: {version}"),
        };
        self.invalid(place.key(key, line(text)), reason)
    }

    fn proxy(
        &self,
        url: Option<Spanned<String>>,
        no_proxy: Option<Spanned<String>>,
        from_environment: Option<Spanned<bool>>,
        job: &Place,
    ) -> Result<Proxy, ConfigError> {
        let url = url.filter(|url| !url.value.is_empty());
        let no_proxy = no_proxy.filter(|hosts| !hosts.value.is_empty());
        if let Some(environment) = from_environment.filter(|environment| environment.value) {
            if url.is_some() || no_proxy.is_some() {
                let reason =
                    "if proxy_from_environment is configured, proxy_url and no_proxy must not be configured";
                return self.invalid(job.key("proxy_from_environment", line(&environment)), reason);
            }
            return Ok(Proxy::Environment);
        }
        let Some(url) = url else {
            return match no_proxy {
                Some(hosts) => {
                    let reason = "if no_proxy is configured, proxy_url must also be configured";
                    self.invalid(job.key("no_proxy", line(&hosts)), reason)
                }
                None => Ok(Proxy::Direct),
            };
        };
        if let Err(error) = reqwest::Proxy::all(&url.value) {
            let cause =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            return self.invalid(job.key("proxy_url", line(&url)), format!("is not a URL: {cause}"));
        }
        let no_proxy = no_proxy.map_or(String::new(), |hosts| hosts.value);
        Ok(Proxy::Url { url: Secret::new(url.value), no_proxy })
    }

    fn headers(
        &self,
        raw: BTreeMap<String, Spanned<raw::HttpHeader>>,
        job: &Place,
    ) -> Result<Vec<(String, Vec<SecretSource>)>, ConfigError> {
        let mut headers = Vec::with_capacity(raw.len());
        for (name, header) in raw {
            let place = job.key("http_headers", line(&header)).key(&name, line(&header));
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return self.invalid(place, format!("{name:?} is not the name of a header"));
            }
            if HEADERS_RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
                return self.invalid(place, format!("setting header {name:?} is not allowed"));
            }
            let inline = header.value.values.iter().chain(&header.value.secrets);
            let inline = inline.map(|text| SecretSource::Inline(Secret::new(text)));
            let files = header.value.files.iter().map(|path| self.file(path));
            headers.push((name, inline.chain(files).collect()));
        }
        Ok(headers)
    }
}
