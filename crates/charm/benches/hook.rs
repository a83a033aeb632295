//! `cargo xtask bench hook`: how much time of its own a hook takes, in a model with a relation on every endpoint.
//!
//! Its own is the processor time of the charm's program, without the hook tools that it starts and without Pebble: those
//! are Juju's, and simulated here. The kernel counts it for each process apart, in nanoseconds; it is read when the
//! program has ended and before it is forgotten. A busy machine changes it little.
//!
//! Ends with 1 if a hook takes longer than it may.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use decima_juju_fake::{Agent, Event, Model, hook_tools_example, pebble::FakePebble};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a hook may take of its own time, in nanoseconds.
const LIMIT_NS: u64 = 50_000_000;
/// Hooks of each kind.
const REPEATS: usize = 50;
/// Makes this program the meter of another one: a file to write to follows, then the program.
const METER: &str = "--meter";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().position(|argument| argument == METER) {
        Some(at) => meter(Path::new(&arguments[at + 1]), &arguments[at + 2]),
        None => measure(),
    }
}

/// Runs a program and writes its processor time to a file.
fn meter(file: &Path, program: &str) -> ExitCode {
    let mut child = Command::new(program).spawn().unwrap();
    let pid = Pid::from_child(&child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let times = fs::read_to_string(format!("/proc/{}/schedstat", pid.as_raw_nonzero())).unwrap();
    fs::write(file, times.split_whitespace().next().unwrap()).unwrap();
    match child.wait().unwrap().code() {
        Some(code) => ExitCode::from(code.clamp(0, 255) as u8),
        None => ExitCode::FAILURE,
    }
}

/// A unit in a model with a relation on every endpoint.
struct Unit {
    agent: Agent,
    _pebble: FakePebble,
    folder: tempfile::TempDir,
}

impl Unit {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut model = Model::new("parca-k8s/0");
        let endpoints = [
            "parca-store-endpoint",
            "external-parca-store-endpoint",
            "profiling-endpoint",
            "self-profiling-endpoint",
            "metrics-endpoint",
            "grafana-source",
            "ingress",
            "certificates",
            "s3",
            "logging",
        ];
        for (number, endpoint) in endpoints.into_iter().enumerate() {
            model.relate(number as u64, endpoint, "other", &["other/0", "other/1"]);
        }
        let said = [
            (1, "remote-store-address", "far:7070"),
            (1, "remote-store-insecure", "false"),
            (2, "scrape_jobs", r#"[{"static_configs": [{"targets": ["*:6060"]}]}]"#),
            (6, "external_host", "10.0.0.9"),
            (8, "endpoint", "http://minio:9000"),
            (8, "bucket", "parca"),
            (8, "access-key", "access"),
            (8, "secret-key", "secret"),
        ];
        for (number, key, value) in said {
            let bag = &mut model.relations.get_mut(&number).unwrap().remote_app_bag;
            bag.insert(key.to_owned(), value.to_owned());
        }
        let agent = Agent::new(folder.path(), &model).unwrap();
        let agent = agent.with_tools(&hook_tools_example("hook-tools").unwrap()).unwrap();
        let container = folder.path().join("containers/parca");
        fs::create_dir_all(&container).unwrap();
        let pebble = FakePebble::start(&container.join("pebble.socket")).unwrap();
        Self { agent, _pebble: pebble, folder }
    }

    /// Runs a hook; gives the charm's own time in nanoseconds and the number of hook tools that it called.
    fn hook(&self, event: Event) -> (u64, usize) {
        let file = self.folder.path().join("time");
        let containers = self.folder.path().join("containers");
        let event = event.var("DECIMA_CHARM_CONTAINERS", &containers.display().to_string());
        let mut meter = Command::new(env::current_exe().unwrap());
        meter.arg(METER).arg(&file).arg(env!("CARGO_BIN_EXE_dispatch"));
        let outcome = self.agent.run(&event, &mut meter).unwrap();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        (fs::read_to_string(file).unwrap().parse().unwrap(), outcome.calls.len())
    }
}

fn measure() -> ExitCode {
    let mut is_over = false;
    let mut tell = |what: &str, hooks: Vec<(u64, usize)>, took_s: f64| {
        let mut times: Vec<u64> = hooks.iter().map(|(time, _)| *time).collect();
        times.sort_unstable();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        is_over |= median > LIMIT_NS;
        let ms = |ns: u64| ns as f64 / 1e6;
        let line = format!(
            "{what}: {:.1} ms of its own (most {:.1}), {} hook tools, {:.0} ms with all of them",
            ms(median),
            ms(most),
            hooks[0].1,
            took_s * 1e3 / hooks.len() as f64,
        );
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{line}").unwrap();
    };
    let started = Instant::now();
    let first = (0..REPEATS / 10).map(|_| Unit::new().hook(Event::pebble_ready("parca"))).collect();
    tell("first hook, which writes everything", first, started.elapsed().as_secs_f64());
    let unit = Unit::new();
    unit.hook(Event::pebble_ready("parca"));
    let started = Instant::now();
    let settled = (0..REPEATS).map(|_| unit.hook(Event::hook("update-status"))).collect();
    tell("a hook that changes nothing", settled, started.elapsed().as_secs_f64());
    if is_over {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "error: a hook takes more than {} ms of its own", LIMIT_NS / 1_000_000).unwrap();
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
