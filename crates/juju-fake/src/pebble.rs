//! A simulated Pebble behind a unix socket.
//!
//! It keeps layers, files, services and changes in memory and runs nothing: a service is active because it was started.
//! A test can make a service fail to start, a check go down, and read every request that came.
//!
//! Start at [`FakePebble::start`].

mod answer;
mod daemon;
mod files;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use serde_json::Value;

use self::daemon::Daemon;

/// A daemon that answers until it is dropped.
#[derive(Debug)]
pub struct FakePebble {
    socket: PathBuf,
    daemon: Arc<Mutex<Daemon>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakePebble {
    /// Listens at a path, in a folder that is there.
    pub fn start(socket: &Path) -> io::Result<Self> {
        let daemon = Arc::new(Mutex::new(Daemon::default()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let listener = std::os::unix::net::UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let thread = answer::serve(listener, Arc::clone(&daemon), stopped)?;
        Ok(Self { socket: socket.to_owned(), daemon, stop: Some(stop), thread: Some(thread) })
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every request so far, as `POST /v1/services replan`.
    pub fn requests(&self) -> Vec<String> {
        self.daemon().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.daemon().requests.clear();
    }

    /// The plan, as JSON.
    pub fn plan(&self) -> Value {
        self.daemon().plan()
    }

    /// The services that run.
    pub fn running(&self) -> BTreeSet<String> {
        self.daemon().running.keys().cloned().collect()
    }

    /// How often a service was started.
    pub fn starts(&self, service: &str) -> u64 {
        self.daemon().starts.get(service).copied().unwrap_or_default()
    }

    /// Files by path: content and permissions in octal digits.
    pub fn files(&self) -> BTreeMap<String, (Vec<u8>, String)> {
        self.daemon().files.clone()
    }

    /// Puts a file there, as an image or the workload would.
    pub fn put_file(&self, path: &str, content: &[u8]) {
        self.daemon().files.insert(path.to_owned(), (content.to_owned(), "644".to_owned()));
    }

    /// Lets a service fail when it is started, with what it says; `None` lets it start again.
    pub fn fail_service(&self, service: &str, message: Option<&str>) {
        let mut daemon = self.daemon();
        match message {
            Some(message) => drop(daemon.failing.insert(service.to_owned(), message.to_owned())),
            None => drop(daemon.failing.remove(service)),
        }
    }

    /// Has a service write a line.
    pub fn say(&self, service: &str, line: &str) {
        self.daemon().output.push((service.to_owned(), line.to_owned()));
    }

    /// Ends a service, as if it had crashed.
    pub fn end_service(&self, service: &str) {
        self.daemon().running.remove(service);
    }

    /// Makes a check of the plan hold or fail.
    pub fn set_check(&self, check: &str, up: bool) {
        let mut daemon = self.daemon();
        if up {
            daemon.down.remove(check);
        } else {
            daemon.down.insert(check.to_owned());
        }
    }
}

impl Drop for FakePebble {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}
