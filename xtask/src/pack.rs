//! `cargo xtask pack`: what is handed out, in `target/pack`: the store as one static program, the context of its image,
//! and the charm, a file for every base and architecture.
//!
//! Everything is built with musl's C library and linked whole, so the programs depend on nothing of the system they run
//! on. An architecture whose tools are not here is left out, which is said.
//!
//! Start at [`run`].

mod architecture;
mod charm;
mod image;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use self::architecture::Architecture;
use crate::process::say;

/// Where everything is written.
pub(crate) const FOLDER: &str = "target/pack";

/// The version of everything here.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is to be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The charm, the program and the image.
    Everything,
    /// The charm alone, whose program is built in a fraction of the time.
    Charm,
}

/// Packs for every architecture that builds here. Gives the files of the charm.
pub(crate) fn run(wanted: Wanted) -> anyhow::Result<Vec<PathBuf>> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder)?;
    let mut charms = Vec::new();
    for architecture in architecture::that_build_here()? {
        let dispatch = architecture.build("decima-charm", "dispatch")?;
        charms.extend(charm::write_all(folder, architecture, &dispatch)?);
        if wanted == Wanted::Everything {
            let store = architecture.build("decima-cli", "decima")?;
            program(folder, architecture, &store)?;
            image::write(folder, architecture, &store)?;
        }
    }
    Ok(charms)
}

/// The store by itself, named as what it is.
fn program(folder: &Path, architecture: &Architecture, store: &Path) -> anyhow::Result<()> {
    let path = folder.join(format!("decima-{VERSION}-linux-{}", architecture.name));
    fs::copy(store, &path).with_context(|| format!("cannot write {}", path.display()))?;
    say(&path.display().to_string());
    Ok(())
}
