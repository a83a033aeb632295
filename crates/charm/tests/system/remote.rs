//! A store elsewhere, with TLS and tokens, which no charm of ours runs.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{authority::Authority, pod::program};

/// Its name, in the hosts file of the tests.
pub(crate) const HOST: &str = "remote.elsewhere.svc.cluster.local";
/// Its port.
pub(crate) const PORT: u16 = 7443;

/// The store; killed when dropped.
pub(crate) struct Remote {
    child: Child,
    folder: TempDir,
}

impl Remote {
    /// Starts it with a certificate of an authority. It takes nothing without a token.
    pub(crate) fn start(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key) = authority.certify(HOST);
        fs::write(path("server.crt"), certificate).unwrap();
        fs::write(path("server.key"), key).unwrap();
        fs::write(path("tokens.json"), "{\"tokens\": []}\n").unwrap();
        fs::write(path("parca.yaml"), "scrape_configs: []\n").unwrap();
        let child = Command::new(program("DECIMA_BINARY"))
            .arg(format!("--http-address=https://{HOST}:{PORT}"))
            .arg(format!("--config-path={}", path("parca.yaml")))
            .arg(format!("--tls-cert-file={}", path("server.crt")))
            .arg(format!("--tls-key-file={}", path("server.key")))
            .arg(format!("--auth-tokens-file={}", path("tokens.json")))
            .arg("--auth-anonymous=read")
            .arg(format!("--storage-path={}", path("data")))
            .arg("--log-level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Host and port.
    pub(crate) fn address() -> String {
        format!("{HOST}:{PORT}")
    }

    /// Makes a token with which profiles are taken.
    pub(crate) fn token(&self, name: &str) -> String {
        self.tokens(&["create", "--scope=write", "--name", name]).trim().to_owned()
    }

    /// Revokes it.
    pub(crate) fn revoke(&self, name: &str) {
        self.tokens(&["revoke", "--name", name]);
    }

    fn tokens(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program("DECIMA_BINARY"));
        command.arg("token").args(arguments).arg("--file").arg(self.folder.path().join("tokens.json"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
