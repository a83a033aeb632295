//! Which architectures there are, which of them build here, and static programs for them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use object::{Endianness, elf, read::elf::FileHeader};

use crate::process::{Step, have, say};

/// One that charms, images and Rust have different names for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Architecture {
    /// As Juju, Docker and Debian call it.
    pub(super) name: &'static str,
    /// As Rust calls it, in `cfg(target_arch)`.
    rust: &'static str,
    /// The target with musl's C library.
    target: &'static str,
    /// The C compiler of musl for it, where it is not the machine's own.
    cross_compiler: &'static str,
    /// What a C compiler for it is told besides.
    c_flags: &'static str,
    /// Its number in an ELF header.
    machine: elf::Machine,
}

/// Those that the charm names.
pub(super) const ALL: &[Architecture] = &[
    Architecture {
        name: "amd64",
        rust: "x86_64",
        target: "x86_64-unknown-linux-musl",
        cross_compiler: "x86_64-linux-musl-gcc",
        c_flags: "",
        machine: elf::EM_X86_64,
    },
    Architecture {
        name: "arm64",
        rust: "aarch64",
        target: "aarch64-unknown-linux-musl",
        cross_compiler: "aarch64-linux-musl-gcc",
        // GCC has its functions for atomics ask glibc what the processor can.
        c_flags: "-mno-outline-atomics",
        machine: elf::EM_AARCH64,
    },
];

/// Those whose compilers are here; an error if there is none.
pub(super) fn that_build_here() -> anyhow::Result<Vec<&'static Architecture>> {
    let (here, left_out): (Vec<_>, Vec<_>) = ALL.iter().partition(|one| have(one.compiler()));
    for one in left_out {
        say(&format!("left out: {}, as {} is not here", one.name, one.compiler()));
    }
    if here.is_empty() {
        bail!("no C compiler of musl is here (Debian: apt-get install musl-tools)");
    }
    Ok(here)
}

impl Architecture {
    fn is_ours(&self) -> bool {
        self.rust == env::consts::ARCH
    }

    fn compiler(&self) -> &'static str {
        if self.is_ours() { "musl-gcc" } else { self.cross_compiler }
    }

    /// Builds a program of the workspace for release, with all that its package can have, and makes sure that it is static.
    pub(super) fn build(&self, package: &str, program: &str) -> anyhow::Result<PathBuf> {
        self.install()?;
        let mut step = Step::new("cargo")
            .args(["build", "--release", "--target", self.target])
            .args(["--package", package, "--bin", program, "--all-features"])
            .env(&format!("CC_{}", self.target.replace('-', "_")), self.compiler())
            .env(&format!("CFLAGS_{}", self.target.replace('-', "_")), self.c_flags);
        if let Some(commit) = commit() {
            step = step.env("DECIMA_COMMIT", &commit);
        }
        if !self.is_ours() {
            let target = self.target.replace('-', "_").to_uppercase();
            step = step.env(&format!("CARGO_TARGET_{target}_LINKER"), self.compiler());
        }
        step.run()?;
        let path = Path::new("target").join(self.target).join("release").join(program);
        let built = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.check(&built).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// Rust's standard library for the target, from rustup unless it is here.
    fn install(&self) -> anyhow::Result<()> {
        let folder =
            Step::new("rustc").args(["--print", "target-libdir", "--target", self.target]).output()?;
        if Path::new(folder.trim()).is_dir() {
            return Ok(());
        }
        Step::new("rustup").args(["target", "add", self.target]).run()
    }

    /// An error unless a program is of this architecture and asks for no interpreter, which is what loads libraries.
    fn check(&self, program: &[u8]) -> anyhow::Result<()> {
        let header = elf::FileHeader64::<Endianness>::parse(program)?;
        let endian = header.endian()?;
        if header.e_machine(endian) != self.machine {
            bail!("is not of {}", self.name);
        }
        let segments = header.program_headers(endian, program)?;
        if segments.iter().any(|segment| segment.p_type.get(endian) == elf::PT_INTERP) {
            bail!("is not static");
        }
        Ok(())
    }
}

/// The source that is built, as the programs tell it; none outside of a clone.
fn commit() -> Option<String> {
    let describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let commit = Step::new("git").args(describe).output_quiet().ok()?;
    Some(commit.trim().to_owned()).filter(|commit| !commit.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_tell_their_source() {
        let Some(commit) = commit() else {
            assert!(!Path::new("../.git").exists(), "a clone has a commit");
            return;
        };
        let hash = commit.strip_suffix("-dirty").unwrap_or(&commit);
        assert!(hash.len() >= 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
    }

    #[test]
    fn a_program_that_loads_libraries_is_refused() {
        let ours = ALL.iter().find(|one| one.is_ours()).unwrap();
        let mut program = fs::read(env::current_exe().unwrap()).unwrap();
        assert_eq!(ours.check(&program).unwrap_err().to_string(), "is not static");
        let other = ALL.iter().find(|one| !one.is_ours()).unwrap();
        assert_eq!(other.check(&program).unwrap_err().to_string(), format!("is not of {}", other.name));
        // A header without segments asks for nothing.
        program.truncate(64);
        program[56..58].fill(0);
        assert!(ours.check(&program).is_ok());
        assert!(ours.check(b"#!/bin/sh\n").is_err());
    }
}
