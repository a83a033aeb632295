//! Running other programs, and saying what runs.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// Writes a line to standard output; a closed pipe is not our failure.
pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

/// A program to run, with what it is called in messages.
pub(crate) struct Step {
    command: Command,
    shown: String,
}

impl Step {
    /// A program found on the path, without input.
    pub(crate) fn new(program: &str) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { command, shown: program.to_owned() }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.shown = format!("{} {}", self.shown, argument.as_ref().to_string_lossy());
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = S>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in another folder.
    pub(crate) fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs to the end; a failure of the program is an error.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let status = self.command.status().with_context(|| format!("cannot run {}", self.shown))?;
        if !status.success() {
            bail!("{} failed: {status}", self.shown);
        }
        Ok(())
    }

    /// Runs to the end without a word; whether it could be run and succeeded.
    pub(crate) fn succeeds(mut self) -> bool {
        let status = self.command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Runs to the end and gives standard output as text; a failure of the program is an error.
    pub(crate) fn output(self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&self.output_bytes()?).into_owned())
    }

    /// The same, with what it writes to standard error told only if it fails.
    pub(crate) fn output_quiet(mut self) -> anyhow::Result<String> {
        let output = self.command.output().with_context(|| format!("cannot run {}", self.shown))?;
        if !output.status.success() {
            bail!("{} failed: {}\n{}", self.shown, output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs to the end and gives standard output; a failure of the program is an error.
    pub(crate) fn output_bytes(mut self) -> anyhow::Result<Vec<u8>> {
        let output = self
            .command
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run {}", self.shown))?;
        if !output.status.success() {
            bail!("{} failed: {}", self.shown, output.status);
        }
        Ok(output.stdout)
    }

    /// Runs to the end, shows every line of standard output as it comes and gives it to `read`. Whether it succeeded.
    pub(crate) fn watch(mut self, mut read: impl FnMut(&str)) -> anyhow::Result<bool> {
        let mut child = self
            .command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.shown))?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            say(&line);
            read(&line);
        }
        Ok(child.wait()?.success())
    }

    /// Starts it with standard output piped to us.
    pub(crate) fn start(mut self) -> anyhow::Result<Child> {
        self.command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", self.shown))
    }
}

/// Whether a program is on the path.
pub(crate) fn have(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
