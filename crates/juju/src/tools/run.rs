//! Running a hook tool: as a process, or in a test as a function.

use std::{
    io::{self, Read, Write},
    process::{Child, Command, Output, Stdio},
    thread,
};

/// A tool's answer is read up to here. Juju keeps a databag below 16 MiB, and its JSON may be longer than that.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Something that runs hook tools.
pub trait Run: Send + Sync {
    /// Runs a tool to its end with arguments and standard input. An error means that it could not be run.
    fn run(&self, tool: &str, arguments: &[&str], input: &[u8]) -> io::Result<Output>;
}

impl<F> Run for F
where
    F: Fn(&str, &[&str], &[u8]) -> io::Result<Output> + Send + Sync,
{
    fn run(&self, tool: &str, arguments: &[&str], input: &[u8]) -> io::Result<Output> {
        self(tool, arguments, input)
    }
}

/// Runs the tools that are on the path.
pub(super) struct FromPath;

impl Run for FromPath {
    fn run(&self, tool: &str, arguments: &[&str], input: &[u8]) -> io::Result<Output> {
        let child = Command::new(tool)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        finish(child, input)
    }
}

/// Feeds and drains a child on three threads, as none of its pipes may block another.
fn finish(mut child: Child, input: &[u8]) -> io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (stdout, stderr) = thread::scope(|scope| {
        // A tool that does not read its input ends without it: not a failure of ours.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
        let stderr = scope.spawn(move || drain(stderr));
        (
            drain(stdout),
            stderr.join().unwrap_or_else(|_| Err(io::Error::other("reader of standard error ended"))),
        )
    });
    let status = child.wait()?;
    Ok(Output { status, stdout: stdout?, stderr: stderr? })
}

/// Reads a pipe to its end. More than the bound is an error; the tool then ends on its closed pipe.
fn drain(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_pipes() {
        let script = "cat; printf oops >&2; exit 3";
        let input = vec![b'x'; 1 << 20];
        let output = FromPath.run("sh", &["-c", script], &input).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len(), output.stderr.as_slice()),
            (Some(3), 1 << 20, &b"oops"[..])
        );
    }

    #[test]
    fn input_that_nobody_reads() {
        let output = FromPath.run("true", &[], &vec![b'x'; 1 << 20]).unwrap();
        assert!(output.status.success());
    }

    #[test]
    fn no_such_tool() {
        let error = FromPath.run("a-tool-that-is-not-there", &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
