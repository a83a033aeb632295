//! The page: building it, and comparing the result with what the server embeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::process::{Step, have, say};

/// Where the sources are.
pub(crate) const SOURCE: &str = "ui";
/// What the server embeds; the build writes here.
const BUNDLE: &str = "crates/server/src/ui/bundle";

/// Builds the page; an error if the bundle that was there is not the same bytes. Leaves that bundle as it was.
pub(crate) fn compare() -> anyhow::Result<()> {
    let bundle = Path::new(BUNDLE);
    let committed = files(bundle)?;
    write()?;
    let built = files(bundle)?;
    let names: BTreeSet<_> = built.keys().chain(committed.keys()).collect();
    let differing: Vec<_> =
        names.into_iter().filter(|name| built.get(*name) != committed.get(*name)).collect();
    if differing.is_empty() {
        say(&format!("{BUNDLE}: {} files, the same bytes as built", committed.len()));
        return Ok(());
    }
    let list: Vec<_> = differing.iter().map(|name| name.display().to_string()).collect();
    replace(bundle, &committed)?;
    bail!("{BUNDLE} is not what {SOURCE} builds: {} (cargo xtask ui --write)", list.join(", "));
}

/// Builds the page into the bundle.
pub(crate) fn write() -> anyhow::Result<()> {
    if !have("npm") {
        bail!("npm is needed to build the page");
    }
    install(Path::new(SOURCE))?;
    Step::new("npm").args(["run", "build"]).within(Path::new(SOURCE)).run()
}

/// Installs exactly the locked packages, running none of their scripts.
pub(crate) fn install(folder: &Path) -> anyhow::Result<()> {
    Step::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .within(folder)
        .run()
}

/// Makes `folder` hold exactly these files.
fn replace(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> anyhow::Result<()> {
    fs::remove_dir_all(folder)?;
    for (name, bytes) in files {
        let to = folder.join(name);
        fs::create_dir_all(to.parent().context("a file stands in a folder")?)?;
        fs::write(to, bytes)?;
    }
    Ok(())
}

/// Every file below a folder, by its path in there.
fn files(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}
