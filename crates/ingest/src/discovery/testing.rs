//! What tests of discoveries share.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use decima_config::{Config, Discovery, labels::Labels};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use super::{Findings, Status, run};

/// Serves `routes` on loopback for as long as the test runs.
pub(super) async fn serve(routes: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

/// The only discovery of a job that has these lines.
pub(super) fn discovery(lines: &str) -> Discovery {
    let mut text = "scrape_configs:\n- job_name: api\n".to_owned();
    for line in lines.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    let config = Config::parse(&text, "parca.yaml", std::path::Path::new("")).unwrap();
    config.scrape_configs[0].discoveries[0].clone()
}

/// A discovery that runs.
pub(super) struct Running {
    findings: Findings,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(discovery: Discovery) -> Self {
        let findings = Findings::new(&discovery, "api", Arc::new(Notify::new()));
        let task = tokio::spawn({
            let findings = findings.clone();
            async move { run(&discovery, &findings).await }
        });
        Self { findings, task }
    }

    /// What is found, with the labels of groups, once `reached` says that it is what is waited for.
    pub(super) async fn until(&self, reached: impl Fn(&[Labels], &Status) -> bool) -> (Vec<Labels>, Status) {
        for _ in 0..6000 {
            let mut targets = Vec::new();
            for group in self.findings.groups() {
                targets.extend(group.targets.iter().map(|target| {
                    let mut labels = group.labels.clone();
                    labels.extend(target.clone());
                    labels
                }));
            }
            let status = self.findings.status();
            if reached(&targets, &status) {
                return (targets, status);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?} {:?}", self.findings.groups(), self.findings.status());
    }

    /// The addresses found, once there are `count`.
    pub(super) async fn addresses(&self, count: usize) -> Vec<String> {
        let (targets, _) = self.until(|targets, _| targets.len() == count).await;
        targets.iter().map(|labels| labels["__address__"].clone()).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Labels as lines, without the prefix.
pub(super) fn show(labels: &Labels, prefix: &str) -> String {
    labels.iter().map(|(name, value)| format!("{}={value}\n", name.trim_start_matches(prefix))).collect()
}
