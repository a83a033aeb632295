//! The context of the image: a root filesystem with the static program and the little that it and its users expect, and
//! the files of `deploy/` that make an image of it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use anyhow::{Context, bail};

use super::{Architecture, VERSION};
use crate::process::say;

/// What makes an image of the root filesystem.
const RECIPES: &[&str] = &["deploy/Dockerfile", "deploy/rockcraft.yaml"];
/// Authorities that the store trusts when it connects to others. Those of the machine that packs.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Who runs it, with the home that Pebble wants there to be.
const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Writes the context of an architecture's image.
pub(super) fn write(folder: &Path, architecture: &Architecture, store: &Path) -> anyhow::Result<()> {
    let folder = folder.join(format!("image-{}", architecture.name));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    root_filesystem(&folder.join("rootfs"), store)?;
    for recipe in RECIPES {
        let text = fs::read_to_string(recipe)?;
        check(&text).context(*recipe)?;
        let name = Path::new(recipe).file_name().context("a recipe is a file")?;
        fs::write(folder.join(name), text)?;
    }
    say(&folder.display().to_string());
    Ok(())
}

/// The version stands in a recipe once more, and is to be the same.
fn check(recipe: &str) -> anyhow::Result<()> {
    let version = recipe.lines().find_map(|line| line.strip_prefix("version: "));
    match version.map(|version| version.trim_matches('"')) {
        Some(other) if other != VERSION => {
            bail!("is of version {other}, the program of {VERSION}")
        }
        _ => Ok(()),
    }
}

fn root_filesystem(root: &Path, store: &Path) -> anyhow::Result<()> {
    let write = |path: &str, content: &[u8], permissions: u32| -> anyhow::Result<()> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(permissions))?;
        Ok(())
    };
    write("parca", &fs::read(store)?, 0o755)?;
    symlink("parca", root.join("decima"))?;
    write("etc/passwd", PASSWD.as_bytes(), 0o644)?;
    write("etc/group", GROUP.as_bytes(), 0o644)?;
    let authorities = fs::read(Path::new("/").join(AUTHORITIES))
        .context("no authorities to trust (Debian: apt-get install ca-certificates)")?;
    write(AUTHORITIES, &authorities, 0o644)?;
    for (path, permissions) in [("root", 0o700), ("tmp", 0o1777), ("var/lib/parca", 0o755)] {
        let path = root.join(path);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(permissions))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_filesystem() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("program");
        fs::write(&store, "program").unwrap();
        let root = folder.path().join("rootfs");
        root_filesystem(&root, &store).unwrap();
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!([mode("parca"), mode("tmp"), mode("root")], [0o755, 0o1777, 0o700]);
        assert_eq!(fs::read_to_string(root.join("decima")).unwrap(), "program");
        assert!(fs::read_to_string(root.join(AUTHORITIES)).unwrap().contains("BEGIN CERTIFICATE"));
    }

    #[test]
    fn versions_agree() {
        for recipe in RECIPES {
            let text = fs::read_to_string(Path::new("..").join(recipe)).unwrap();
            check(&text).unwrap();
        }
        assert!(check("name: a\nversion: \"9.9.9\"\n").is_err());
    }
}
