//! How the API is reached: kube's client over the HTTP client of every other request, or as a kubeconfig says.
//!
//! Over ours, the settings of a configuration count, and tokens and certificates that are renewed in their files do too.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use decima_config::{
    Credentials, HttpClientConfig, KubernetesApi, KubernetesDiscovery, SecretSource, TlsConfig,
};
use http::{Request, Response, Uri};
use http_body_util::{Either, Limited};
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use reqwest::Url;
use tower::service_fn;

use crate::http_client::{HttpClient, HttpError};

/// How long the head of an answer may take, and an answer that is no watch as a whole.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection of a kubeconfig may be silent. Watches are ended by the server after five minutes.
const SILENCE_MAX: Duration = Duration::from_secs(330);
/// Longest answer that is no watch: a page of 500 objects, of which none is larger than etcd's 1.5 MiB.
const ANSWER_BYTES_MAX: usize = 800 << 20;

/// Where a pod finds who it is.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const HOST_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
const PORT_VARIABLE: &str = "KUBERNETES_SERVICE_PORT";

/// A cluster that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("not in a pod: {variable} is not set, so api_server or kubeconfig_file is needed")]
    NotInPod { variable: &'static str },
    #[error("cannot read {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{text:?} is not the URL of a server")]
    Url { text: String },
    #[error("{} cannot be used", path.display())]
    Kubeconfig {
        path: PathBuf,
        #[source]
        source: KubeconfigError,
    },
    #[error("no client can be made of {}", path.display())]
    Client {
        path: PathBuf,
        #[source]
        source: kube::Error,
    },
}

/// What a process in a cluster is told of it.
pub(super) struct Pod {
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    /// With the token, the certificate of the API's authority and the name of the namespace.
    pub(super) service_account: PathBuf,
}

impl Pod {
    pub(super) fn of_this_process() -> Self {
        Self {
            host: std::env::var(HOST_VARIABLE).ok(),
            port: std::env::var(PORT_VARIABLE).ok(),
            service_account: SERVICE_ACCOUNT.into(),
        }
    }

    fn url(&self) -> Result<Url, ConnectError> {
        let given =
            |value: &Option<String>, variable| value.clone().ok_or(ConnectError::NotInPod { variable });
        let (host, port) = (given(&self.host, HOST_VARIABLE)?, given(&self.port, PORT_VARIABLE)?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let text = format!("https://{host}:{port}");
        Url::parse(&text).map_err(|_| ConnectError::Url { text })
    }

    async fn namespace(&self) -> Result<String, ConnectError> {
        let path = self.service_account.join("namespace");
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(ConnectError::File { path, source }),
        }
    }
}

/// A client, and the namespaces to look at; none for all.
pub(super) async fn connect(
    config: &KubernetesDiscovery,
    pod: &Pod,
) -> Result<(Client, Vec<String>), ConnectError> {
    let mut namespaces = config.namespaces.clone();
    if config.own_namespace {
        namespaces.push(pod.namespace().await?);
    }
    namespaces.sort();
    namespaces.dedup();
    let client = match &config.api {
        KubernetesApi::Server(url) => over_http(config.http_client.clone(), url.clone()),
        KubernetesApi::InCluster => over_http(of_service_account(&pod.service_account), pod.url()?),
        KubernetesApi::Kubeconfig(path) => of_kubeconfig(path).await?,
    };
    Ok((client, namespaces))
}

/// How a pod shows who it is.
fn of_service_account(folder: &Path) -> HttpClientConfig {
    let file = |name| Some(SecretSource::File(folder.join(name)));
    HttpClientConfig {
        credentials: Some(Credentials::Authorization {
            scheme: "Bearer".to_owned(),
            credentials: file("token"),
        }),
        tls: TlsConfig { ca: file("ca.crt"), ..TlsConfig::default() },
        ..HttpClientConfig::default()
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn over_http(settings: HttpClientConfig, server: Url) -> Client {
    let http = std::sync::Arc::new(HttpClient::new(settings));
    let service = service_fn(move |request: Request<Body>| {
        let (http, server) = (http.clone(), server.clone());
        async move {
            let (head, _) = request.into_parts();
            let watches = is_watch(&head.uri);
            let request = http.request(head.method, below(server, &head.uri)).await?.headers(head.headers);
            let request = if watches { request } else { request.timeout(ANSWER_TIMEOUT) };
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await?;
            let response = answered.map_err(HttpError::Request)?;
            Ok::<_, BoxError>(bounded(response.into(), watches))
        }
    });
    Client::new(service, "default")
}

async fn of_kubeconfig(path: &Path) -> Result<Client, ConnectError> {
    let unusable = |source| ConnectError::Kubeconfig { path: path.to_owned(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)?;
    config.read_timeout = Some(SILENCE_MAX);
    config.reset_reader_on_write = true;
    let client =
        Client::try_from(config).map_err(|source| ConnectError::Client { path: path.to_owned(), source })?;
    let service = service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            let watches = is_watch(request.uri());
            client.send(request).await.map(|response| bounded(response, watches))
        }
    });
    Ok(Client::new(service, "default"))
}

/// The URL of what is asked for, which is a path and a query.
fn below(mut server: Url, asked: &Uri) -> Url {
    let path = format!("{}{}", server.path().trim_end_matches('/'), asked.path());
    server.set_path(&path);
    server.set_query(asked.query());
    server
}

fn is_watch(asked: &Uri) -> bool {
    asked.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
}

/// Bounds an answer, unless it goes on for as long as something is watched.
fn bounded<B>(response: Response<B>, watches: bool) -> Response<Either<B, Limited<B>>> {
    response.map(|body| match watches {
        true => Either::Left(body),
        false => Either::Right(Limited::new(body, ANSWER_BYTES_MAX)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |server: &str, asked: &str, expected: &str| {
            let url = below(Url::parse(server).unwrap(), &asked.parse().unwrap());
            assert_eq!(url.as_str(), expected);
        };
        check("http://a:1", "/api/v1/pods?limit=500", "http://a:1/api/v1/pods?limit=500");
        check("https://a/k8s/clusters/c/", "/api/v1/pods", "https://a/k8s/clusters/c/api/v1/pods");
        assert!(is_watch(&"/api/v1/pods?&watch=true&x=1".parse().unwrap()));
        assert!(!is_watch(&"/api/v1/pods?limit=500".parse().unwrap()));
    }

    #[test]
    fn a_process_that_is_in_no_pod_is_told_so() {
        let pod = |host: Option<&str>| Pod {
            host: host.map(str::to_owned),
            port: Some("443".to_owned()),
            service_account: PathBuf::new(),
        };
        assert_eq!(pod(Some("10.96.0.1")).url().unwrap().as_str(), "https://10.96.0.1/");
        assert_eq!(pod(Some("fd00::1")).url().unwrap().as_str(), "https://[fd00::1]/");
        let error = pod(None).url().unwrap_err().to_string();
        assert!(error.starts_with("not in a pod: KUBERNETES_SERVICE_HOST is not set"), "{error}");
    }
}
