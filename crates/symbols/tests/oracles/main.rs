//! Symbols of programs that are compiled here, compared with what other programs read from the same files.
//!
//! A main function of its own: a test that cannot run because a tool is missing must be counted as skipped, which the
//! standard harness cannot know before it runs.

#![expect(clippy::print_stdout, clippy::panic, clippy::unwrap_used, reason = "this is a test program")]

mod go;
mod names;
mod native;
mod stubs;
mod tools;

use std::process::ExitCode;

/// How a test ended if it did not fail.
pub(crate) enum Outcome {
    Passed,
    /// This tool is not here.
    Skipped(&'static str),
}

/// A test by name.
pub(crate) struct Test {
    name: String,
    run: Box<dyn Fn() -> Result<Outcome, String>>,
}

impl Test {
    pub(crate) fn new(name: impl Into<String>, run: impl Fn() -> Result<Outcome, String> + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for test in native::tests().into_iter().chain(go::tests()).chain(names::tests()).chain(stubs::tests()) {
        if !wanted.is_empty() && !wanted.iter().any(|word| test.name.contains(word.as_str())) {
            continue;
        }
        match (test.run)() {
            Ok(Outcome::Passed) => {
                println!("ok: {}", test.name);
                passed += 1;
            }
            Ok(Outcome::Skipped(tool)) => {
                println!("skipped: {}: {tool} is not here", test.name);
                skipped += 1;
            }
            Err(reason) => {
                println!("FAILED: {}: {reason}", test.name);
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
