//! The agent: holds the model, runs hooks, keeps or drops what they changed.

use std::{
    env,
    ffi::OsString,
    fs,
    io::Read,
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Output, Stdio},
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{
    event::Event,
    model::{ActionOutcome, Model},
    tools::{self, Call, TOOLS},
};

/// Tells a hook tool where the session lies. Juju's own tools find their agent by it too.
const ADDRESS: &str = "JUJU_AGENT_SOCKET_ADDRESS";

/// Plays Juju's agent for one unit. What it keeps lies in one folder.
#[derive(Debug)]
pub struct Agent {
    folder: PathBuf,
    charm: PathBuf,
}

impl Agent {
    /// Takes a folder, which must exist, and a model into it.
    pub fn new(folder: &Path, model: &Model) -> anyhow::Result<Self> {
        let folder = fs::canonicalize(folder)?;
        let charm = folder.join("charm");
        fs::create_dir_all(&charm)?;
        let agent = Self { folder, charm };
        agent.set_model(model)?;
        Ok(agent)
    }

    /// Makes a program that calls [`tool_main`] the hook tools of hooks that run as processes.
    pub fn with_tools(self, program: &Path) -> anyhow::Result<Self> {
        let program =
            fs::canonicalize(program).with_context(|| format!("no hook tools at {}", program.display()))?;
        let folder = self.tools();
        fs::create_dir_all(&folder)?;
        for tool in TOOLS {
            let link = folder.join(tool);
            if !link.exists() {
                symlink(&program, link)?;
            }
        }
        Ok(self)
    }

    /// The folder that hooks run in, which holds the charm's files.
    pub fn charm_folder(&self) -> &Path {
        &self.charm
    }

    /// The model as it is.
    pub fn model(&self) -> anyhow::Result<Model> {
        read(&self.folder.join("model.json"))
    }

    /// Puts another model in its place.
    pub fn set_model(&self, model: &Model) -> anyhow::Result<()> {
        write(&self.folder.join("model.json"), model)
    }

    /// Changes the model.
    pub fn change(&self, change: impl FnOnce(&mut Model)) -> anyhow::Result<()> {
        let mut model = self.model()?;
        change(&mut model);
        self.set_model(&model)
    }

    /// Runs a charm for an event, keeps what it changed if it ends with 0, and tells what happened.
    ///
    /// Of the command only the program and its arguments are taken: the environment is the agent's, the folder the
    /// charm's unless the command names another.
    pub fn run(&self, event: &Event, command: &mut Command) -> anyhow::Result<Outcome> {
        let path = self.folder.join("session.json");
        write(&path, &self.begin(event)?)?;
        command.env_clear().envs(self.environment(event)?).stdin(Stdio::null());
        if command.get_current_dir().is_none() {
            command.current_dir(&self.charm);
        }
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let session: Session = read(&path)?;
        let (calls, action) = (session.calls.clone(), session.action.clone());
        self.end(session, output.status.success())?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            calls,
            action,
        })
    }

    /// Begins a hook in this process; what its tools change is in the model after [`Self::end`].
    pub fn begin(&self, event: &Event) -> anyhow::Result<Session> {
        let model = self.model()?;
        Ok(Session {
            pending: model.clone(),
            committed: model,
            event: event.clone(),
            calls: Vec::new(),
            action: ActionOutcome::default(),
        })
    }

    /// Ends a hook: a success keeps what it changed, a failure keeps only what acts at once (status, log, version).
    pub fn end(&self, session: Session, success: bool) -> anyhow::Result<()> {
        self.set_model(&if success { session.pending } else { session.committed })
    }

    /// The environment of a hook, as Juju builds it from scratch.
    pub fn environment(&self, event: &Event) -> anyhow::Result<Vec<(String, OsString)>> {
        let model = self.model()?;
        let mut path = OsString::from(self.tools());
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let hook_name = if event.action.is_some() { "" } else { &event.name };
        let mut vars: Vec<(String, OsString)> = [
            ("CHARM_DIR", self.charm.as_os_str()),
            ("JUJU_CHARM_DIR", self.charm.as_os_str()),
            ("JUJU_CONTEXT_ID", format!("{}-{}-5577006791947779410", model.unit, event.name).as_ref()),
            ("JUJU_HOOK_NAME", hook_name.as_ref()),
            (ADDRESS, self.folder.join("session.json").as_os_str()),
            ("JUJU_AGENT_SOCKET_NETWORK", "unix".as_ref()),
            ("JUJU_UNIT_NAME", model.unit.as_ref()),
            ("JUJU_MODEL_NAME", model.name.as_ref()),
            ("JUJU_MODEL_UUID", model.uuid.as_ref()),
            ("JUJU_API_ADDRESSES", "10.152.183.1:17070".as_ref()),
            ("JUJU_MACHINE_ID", "".as_ref()),
            ("JUJU_PRINCIPAL_UNIT", "".as_ref()),
            ("JUJU_AVAILABILITY_ZONE", "".as_ref()),
            ("JUJU_VERSION", "3.6.8".as_ref()),
            ("CLOUD_API_VERSION", "".as_ref()),
            ("JUJU_CHARM_HTTP_PROXY", "".as_ref()),
            ("JUJU_CHARM_HTTPS_PROXY", "".as_ref()),
            ("JUJU_CHARM_FTP_PROXY", "".as_ref()),
            ("JUJU_CHARM_NO_PROXY", "".as_ref()),
            ("JUJU_DISPATCH_PATH", event.dispatch_path().as_ref()),
            ("PATH", path.as_ref()),
            ("LANG", "C.UTF-8".as_ref()),
            ("TERM", "tmux-256color".as_ref()),
            ("DEBIAN_FRONTEND", "noninteractive".as_ref()),
        ]
        .into_iter()
        .map(|(name, value): (&str, &std::ffi::OsStr)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in &event.vars {
            vars.retain(|(other, _)| other != name);
            vars.push((name.clone(), value.into()));
        }
        Ok(vars)
    }

    fn tools(&self) -> PathBuf {
        self.folder.join("tools")
    }
}

/// What came of a hook that ran as a process.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// The tools that it called, in order.
    pub calls: Vec<Call>,
    /// What an action told.
    pub action: ActionOutcome,
}

/// A hook that runs: the model as it was, and as it will be if the hook ends well.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    pub(crate) committed: Model,
    pub(crate) pending: Model,
    pub(crate) event: Event,
    pub(crate) calls: Vec<Call>,
    pub(crate) action: ActionOutcome,
}

impl Session {
    /// Calls a hook tool.
    pub fn tool(&mut self, tool: &str, arguments: &[&str], input: &[u8]) -> Output {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (code, stdout, stderr) = match tools::call(self, tool, &arguments, input) {
            Ok(stdout) => (0, stdout, String::new()),
            Err(refusal) => (refusal.code, String::new(), format!("ERROR {}\n", refusal.message)),
        };
        self.calls.push(Call { tool: tool.to_owned(), arguments });
        let status = ExitStatus::from_raw(i32::from(code) << 8);
        Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() }
    }

    /// The model as it will be if the hook ends well.
    pub fn pending(&self) -> &Model {
        &self.pending
    }

    /// The tools that were called, in order.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// What an action told so far.
    pub fn action(&self) -> &ActionOutcome {
        &self.action
    }
}

/// The main function of a program that is all hook tools: it does what the name says by which it was called.
pub fn tool_main() -> ExitCode {
    match tool_process() {
        Ok(output) => {
            use std::io::Write;
            let written = std::io::stdout().write_all(&output.stdout);
            let told = std::io::stderr().write_all(&output.stderr);
            match (written.and(told), output.status.code()) {
                (Ok(()), Some(code)) => ExitCode::from(code.clamp(0, 255) as u8),
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "ERROR simulated agent: {error:#}");
            ExitCode::from(3)
        }
    }
}

fn tool_process() -> anyhow::Result<Output> {
    let mut arguments = env::args();
    let program = arguments.next().unwrap_or_default();
    let tool = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some(address) = env::var_os(ADDRESS) else { bail!("{ADDRESS} is not set") };
    let arguments: Vec<String> = arguments.collect();
    let mut input = Vec::new();
    if tools::reads_input(&arguments) {
        std::io::stdin().read_to_end(&mut input)?;
    }
    let path = PathBuf::from(address);
    let mut session: Session = read(&path)?;
    let output = session.tool(&tool, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &input);
    write(&path, &session)?;
    Ok(output)
}

/// The program of an example that calls [`tool_main`], as cargo builds it for the tests of the example's package.
///
/// For integration tests of other packages, which cargo gives no way to a program of this one.
pub fn hook_tools_example(name: &str) -> anyhow::Result<PathBuf> {
    let test = env::current_exe()?;
    let folder =
        test.parent().and_then(Path::parent).context("tests are built two folders below the target")?;
    let program = folder.join("examples").join(name);
    if !program.exists() {
        bail!("{} is not there: build the examples of the package", program.display());
    }
    Ok(program)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// By replacement, so that a hook that is killed leaves no half of a file.
fn write<T: Serialize>(path: &Path, what: &T) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(what)?)?;
    fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
}
