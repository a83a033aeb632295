//! The program under measurement: starting, stopping, and what it used.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tonic::transport::{Channel, Endpoint};

/// The kernel's clock ticks per second (`USER_HZ`), fixed by its interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running store; killed when dropped.
pub(crate) struct Server {
    child: Child,
    channel: Channel,
}

impl Server {
    /// Starts the program on a free port, without scraping anything, and waits until it listens.
    pub(crate) async fn start(
        binary: &Path,
        storage: &Path,
        scratch: &Path,
        flags: &[String],
    ) -> anyhow::Result<Self> {
        let config = scratch.join("nothing-to-scrape.yaml");
        std::fs::write(&config, "scrape_configs: []\n")?;
        let mut child = Command::new(binary)
            .args(["serve", "--http-address=127.0.0.1:0", "--log-level=warn", "--config-path"])
            .arg(config)
            .arg("--storage-path")
            .arg(storage)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("standard output is piped")?).read_line(&mut line)?;
        let Some(url) = line.split_whitespace().next_back().filter(|word| word.starts_with("http://")) else {
            bail!("it did not say where it is but {line:?}");
        };
        let channel = Endpoint::from_shared(url.trim_end_matches('/').to_owned())?.connect().await?;
        Ok(Self { child, channel })
    }

    /// A connection to it.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// User and system time that it used, in seconds.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in parentheses, which may hold spaces.
        let (_, fields) = stat.rsplit_once(')').context("stat has a name")?;
        let ticks = |at: usize| fields.split_whitespace().nth(at).and_then(|field| field.parse::<f64>().ok());
        let (user, system) =
            (ticks(11).context("stat has a user time")?, ticks(12).context("stat has a system time")?);
        Ok((user + system) / TICKS_PER_SECOND)
    }

    /// Resident memory now and at most so far, in KiB.
    pub(crate) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Ok((value("VmRSS:").context("no VmRSS")?, value("VmHWM:").context("no VmHWM")?))
    }

    /// Waits until it has used less than 3 % of a core for three seconds, or for `limit`.
    pub(crate) async fn settle(&self, limit: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut quiet = 0;
        while quiet < 3 && started.elapsed() < limit {
            let before = self.cpu()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            quiet = if self.cpu()? - before < 0.03 { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits; an error unless it ends well.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("it ended with {status} after SIGTERM");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    /// Number of files.
    pub(crate) files: u64,
    /// Their lengths.
    pub(crate) bytes: u64,
    /// What they take on disk.
    pub(crate) allocated: u64,
}

/// Sizes below a data directory: files of blocks by their name, the others by what they are for.
pub(crate) fn sizes_by_kind(storage: &Path) -> anyhow::Result<BTreeMap<String, Size>> {
    let mut kinds: BTreeMap<String, Size> = BTreeMap::new();
    let mut open = vec![storage.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let inside = path.strip_prefix(storage)?;
            // `<tenant>/blocks/<block>/<file>`, `<tenant>/log/…`, `<tenant>/manifest/…`, and the lock.
            let parts: Vec<_> = inside.iter().collect();
            let kind = match parts.as_slice() {
                [_, blocks, _, file] if *blocks == "blocks" => Some(*file),
                [_, kind, ..] => Some(*kind),
                other => other.first().copied(),
            };
            let metadata = path.metadata()?;
            let size = kinds.entry(kind.unwrap_or_default().to_string_lossy().into_owned()).or_default();
            size.files += 1;
            size.bytes += metadata.len();
            size.allocated += metadata.blocks() * 512;
        }
    }
    Ok(kinds)
}
