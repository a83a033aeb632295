//! The files that a configuration names: whether they can be used as they are now.

use std::{collections::BTreeSet, fs, path::Path};

use decima_config::{
    Config, Credentials, Discovery, HttpClientConfig, KubernetesApi, KubernetesDiscovery, SecretSource,
};

use crate::discovery;

/// What is wrong with credentials, certificates and files of targets, one line each.
pub fn wrong_files(config: &Config) -> Vec<String> {
    let mut wrong = BTreeSet::new();
    for job in &config.scrape_configs {
        let mut clients = vec![&job.http_client];
        for discovery in &job.discoveries {
            clients.extend(discovery.http_client());
            if let Discovery::File(file) = discovery {
                wrong.extend(discovery::wrong_files(file));
            }
            if let Discovery::Kubernetes(KubernetesDiscovery {
                api: KubernetesApi::Kubeconfig(path), ..
            }) = discovery
            {
                wrong.extend(unreadable(path));
            }
        }
        for path in clients.into_iter().flat_map(files) {
            wrong.extend(unreadable(path));
        }
    }
    wrong.into_iter().collect()
}

fn unreadable(path: &Path) -> Option<String> {
    let error = fs::read_to_string(path).err()?;
    Some(format!("{}: cannot be read: {error}", path.display()))
}

/// The files of an HTTP client.
fn files(client: &HttpClientConfig) -> Vec<&Path> {
    let credentials: Vec<&SecretSource> = match &client.credentials {
        None => Vec::new(),
        Some(Credentials::Basic { username, password }) => username.iter().chain(password).collect(),
        Some(Credentials::Authorization { credentials, .. }) => credentials.iter().collect(),
    };
    let tls = [&client.tls.ca, &client.tls.cert, &client.tls.key].into_iter().flatten();
    let headers = client.headers.iter().flat_map(|(_, values)| values);
    let sources = credentials.into_iter().chain(tls).chain(headers);
    sources
        .filter_map(|source| match source {
            SecretSource::File(path) => Some(path.as_path()),
            SecretSource::Inline(_) => None,
        })
        .collect()
}
