//! A sender, and a reader: programs that are told an address, a token, and an authority to trust.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use decima_testkit::pprof::ProfileBuilder;
use tempfile::TempDir;

use crate::{authority::Authority, pod::program};

/// What a real agent pushed.
const AGENT_REQUEST: &str = "../../fixtures/agent-v2/01010-s158-client.bin";
/// What each profile of the sender adds up to.
pub(crate) const PROFILE_NS: i64 = 450_000_000;

/// Somebody who trusts an authority.
pub(crate) struct Sender {
    folder: TempDir,
}

impl Sender {
    pub(crate) fn trusting(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        Self { folder }
    }

    /// Pushes a profile of now over TLS. What was said of it, or why it was refused.
    pub(crate) fn push(&self, address: &str, token: Option<&str>) -> Result<String, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64;
        let profile = ProfileBuilder::cpu()
            .at(now)
            .sample(&["hash", "handle", "main"], &[300_000_000])
            .sample(&["handle", "main"], &[PROFILE_NS - 300_000_000]);
        let path = self.path("cpu.pb.gz");
        fs::write(&path, profile.gzip()).unwrap();
        let path = path.display().to_string();
        self.decima(&["upload", &path, "--label", "service=shop"], address, token)
    }

    /// The sum of everything that was pushed, as a reader gets it.
    pub(crate) fn total(&self, address: &str, token: Option<&str>) -> Result<i64, String> {
        let selector = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{service=\"shop\"}";
        let answer = self.decima(&["query", selector, "--format", "json"], address, token)?;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        Ok(answer["total"].as_i64().unwrap())
    }

    /// Has Parca Agent's connection send a request that an agent once made. The name of the status, or why it got none.
    pub(crate) fn agent(&self, address: &str, token: &str) -> Result<String, String> {
        fs::write(self.path("token"), token).unwrap();
        let Output { status, stdout, stderr } = Command::new(program("DECIMA_AGENT"))
            .arg(format!("--remote-store-address={address}"))
            .arg(format!("--remote-store-bearer-token-file={}", self.path("token").display()))
            .arg("--remote-store-grpc-max-connection-retries=0")
            .env("SSL_CERT_FILE", self.path("ca.pem"))
            .env("AGENT_REQUEST", Path::new(env!("CARGO_MANIFEST_DIR")).join(AGENT_REQUEST))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
    }

    fn decima(&self, arguments: &[&str], address: &str, token: Option<&str>) -> Result<String, String> {
        let mut command = Command::new(program("DECIMA_BINARY"));
        command.args(arguments).arg(format!("--address=https://{address}")).arg("--tls-ca");
        command.arg(self.path("ca.pem")).stdin(Stdio::null());
        if let Some(token) = token {
            fs::write(self.path("token"), token).unwrap();
            command.arg("--bearer-token-file").arg(self.path("token"));
        }
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
