//! The real daemon, or what it answered when the exchanges were recorded.
//!
//! `DECIMA_PEBBLE` names the program (`cargo xtask test` builds it where Go is at hand); with `DECIMA_BLESS` too, the
//! exchanges are recorded anew. Without it, the recorded ones are played: the client must send the same bytes again.

use std::{
    fs,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use decima_juju::pebble::Pebble;
use serde::{Deserialize, Serialize};

use super::conformance;

const RECORDED: &str = "tests/pebble/recorded.json";
/// The folder of files in recorded exchanges, as paths are part of them.
const RECORDED_FOLDER: &str = "/tmp/decima-juju-recorded";

/// One exchange, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Exchange {
    request: String,
    response: String,
}

#[test]
fn does_what_the_client_expects() {
    let folder = tempfile::tempdir().unwrap();
    match std::env::var_os("DECIMA_PEBBLE") {
        None => play(folder.path()),
        Some(program) if std::env::var_os("DECIMA_BLESS").is_some() => {
            record(Path::new(&program), folder.path());
        }
        Some(program) => {
            let daemon = Daemon::start(Path::new(&program), folder.path());
            let work = folder.path().join("work").display().to_string();
            all(&daemon.pebble(), &work);
            conformance::large_file(&daemon.pebble(), &work);
        }
    }
}

fn all(pebble: &Pebble, folder: &str) {
    conformance::system(pebble);
    conformance::files(pebble, folder);
    conformance::services(pebble);
    conformance::a_service_that_does_not_start(pebble, |_| {});
    conformance::output(pebble, |_| {});
    conformance::checks(pebble);
    conformance::the_plan_is_what_was_asked_for(pebble);
    conformance::what_is_not_there(pebble);
}

/// The daemon, ended when dropped.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(program: &Path, folder: &Path) -> Self {
        let socket = folder.join("daemon.socket");
        let child = Command::new(program)
            .args(["run", "--create-dirs"])
            .env("PEBBLE", folder.join("pebble"))
            .env("PEBBLE_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, socket };
        for _ in 0..200 {
            if daemon.pebble().system().is_ok() {
                return daemon;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{} does not answer", program.display());
    }

    fn pebble(&self) -> Pebble {
        Pebble::at(&self.socket)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn record(program: &Path, folder: &Path) {
    let _ = fs::remove_dir_all(RECORDED_FOLDER);
    let daemon = Daemon::start(program, folder);
    let socket = folder.join("recorder.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let recorded = Arc::new(Mutex::new(Vec::new()));
    thread::spawn({
        let (recorded, upstream) = (Arc::clone(&recorded), daemon.socket.clone());
        move || {
            for client in listener.incoming() {
                let exchange = pass_on(&client.unwrap(), &upstream).unwrap();
                recorded.lock().unwrap().push(exchange);
            }
        }
    });
    all(&Pebble::at(&socket), RECORDED_FOLDER);
    thread::sleep(Duration::from_millis(200));
    fs::write(RECORDED, serde_json::to_string_pretty(&*recorded.lock().unwrap()).unwrap() + "\n").unwrap();
    let _ = fs::remove_dir_all(RECORDED_FOLDER);
}

/// Passes one connection on to the daemon, both ways, and gives what went over it.
fn pass_on(client: &UnixStream, upstream: &Path) -> io::Result<Exchange> {
    let server = UnixStream::connect(upstream)?;
    let (to_server, from_client) = (server.try_clone()?, client.try_clone()?);
    let request = thread::spawn(move || copy(&from_client, &to_server));
    let response = copy(&server, client)?;
    let request = request.join().unwrap()?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(io::Error::other);
    Ok(Exchange { request: text(request)?, response: text(response)? })
}

fn copy(mut from: &UnixStream, mut to: &UnixStream) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1 << 16]);
    loop {
        let length = from.read(&mut buffer).unwrap_or(0);
        if length == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return Ok(all);
        }
        all.extend_from_slice(&buffer[..length]);
        to.write_all(&buffer[..length])?;
    }
}

fn play(folder: &Path) {
    let text = fs::read_to_string(RECORDED).unwrap_or_else(|error| panic!("{RECORDED}: {error}"));
    let recorded: Vec<Exchange> = serde_json::from_str(&text).unwrap();
    assert!(!recorded.is_empty());
    let socket = folder.join("player.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let played = thread::spawn(move || {
        for (number, exchange) in recorded.iter().enumerate() {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = vec![0; exchange.request.len()];
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let read = client.read_exact(&mut request);
            let request = String::from_utf8_lossy(&request);
            assert!(
                read.is_ok() && request == exchange.request,
                "exchange {number}: {request:?} is not {:?}",
                exchange.request
            );
            client.write_all(exchange.response.as_bytes()).unwrap();
        }
    });
    let client = thread::spawn(move || all(&Pebble::at(&socket), RECORDED_FOLDER));
    let (played, client) = (played.join(), client.join());
    played.expect("the client sends what was recorded");
    client.expect("the client reads what was recorded");
}
