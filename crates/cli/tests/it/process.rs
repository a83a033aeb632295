//! Running the real program.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    thread::JoinHandle,
};

/// The program, without input.
pub(crate) fn decima() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_decima"));
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    decima().args(arguments).output().expect("the program starts")
}

/// What a program wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running store; killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
    /// The line on standard output.
    pub(crate) line: String,
}

impl Server {
    /// Starts a store on any free port and waits until it says where it is. Panics with its log if it does not.
    pub(crate) fn start(storage: &Path, flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", storage, flags)
    }

    /// The same, listening where it is told to.
    pub(crate) fn start_at(address: &str, storage: &Path, flags: &[&str]) -> Self {
        let mut command = decima();
        command.arg(format!("--http-address={address}")).arg("--storage-path").arg(storage).args(flags);
        Self::running(command)
    }

    /// A command that is to become a store.
    pub(crate) fn running(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut errors = child.stderr.take().expect("piped");
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("standard output can be read");
        if line.is_empty() {
            let status = child.wait();
            panic!("it ended ({status:?}) without saying where it is: {}", log.join().unwrap_or_default());
        }
        Self { child, stdout, log: Some(log), line: line.trim_end().to_owned() }
    }

    /// Where it says that it is.
    pub(crate) fn url(&self) -> &str {
        self.line.split(' ').next_back().expect("the line has words").trim_end_matches('/')
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal (a name that kill(1) knows).
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for its end. Gives its exit status, the rest of standard output, and its log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("standard output can be read");
        let status = self.child.wait().expect("it can be waited for");
        let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        (status, rest, log)
    }

    /// Kills it at once, as a crash would.
    pub(crate) fn kill(self) {
        self.signal("KILL");
        self.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
