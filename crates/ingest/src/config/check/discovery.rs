//! Where targets are found besides `static_configs`.

use std::{sync::LazyLock, time::Duration};

use regex::Regex;
use reqwest::Url;

use super::{Checker, Place, line};
use crate::config::{
    ConfigError, Discovery, FileDiscovery, HttpDiscovery,
    raw::{self, Spanned},
};

const FILE_REFRESH_DEFAULT: Duration = Duration::from_secs(5 * 60);
const HTTP_REFRESH_DEFAULT: Duration = Duration::from_secs(60);

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
            discoveries.push(Discovery::File(self.file_discovery(given, &place)?));
        }
        for (place, given) in entries("http_sd_configs", std::mem::take(&mut raw.http_sd_configs), job) {
            discoveries.push(Discovery::Http(self.http_discovery(given, &place)?));
        }
        Ok(discoveries)
    }

    fn file_discovery(&self, given: raw::FileDiscovery, place: &Place) -> Result<FileDiscovery, ConfigError> {
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
