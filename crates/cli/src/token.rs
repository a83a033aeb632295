//! `decima token`: the tokens file, changed so that whoever reads it sees the old one or the new one.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use anyhow::Context;
use decima_server::auth::{Scope, TOKENS_BYTES_MAX, Tokens};
use tempfile::NamedTempFile;

use crate::args::Token;

/// Runs one of the commands.
pub(crate) fn run(command: Token) -> anyhow::Result<()> {
    match command {
        Token::Create { file, name, scope } => create(&file, &name, scope),
        Token::List { file } => list(&file),
        Token::Revoke { file, name } => revoke(&file, &name),
    }
}

fn create(file: &Path, name: &str, scope: Scope) -> anyhow::Result<()> {
    let file = &Place::of(file)?;
    let _turn = file.take_turn()?;
    let mut tokens = if file.path.exists() { read(&file.path)? } else { Tokens::default() };
    let token = tokens.create(name, scope)?;
    file.replace(&tokens)?;
    writeln!(io::stdout().lock(), "{token}").context("cannot write to standard output")
}

fn list(file: &Path) -> anyhow::Result<()> {
    let tokens = read(file)?;
    let mut stdout = io::stdout().lock();
    for grant in tokens.grants() {
        writeln!(stdout, "{}\t{}\t{}", grant.name, grant.scope, grant.sha256)?;
    }
    Ok(())
}

fn revoke(file: &Path, name: &str) -> anyhow::Result<()> {
    let file = &Place::of(file)?;
    let _turn = file.take_turn()?;
    let mut tokens = read(&file.path)?;
    tokens.revoke(name)?;
    file.replace(&tokens)
}

fn read(path: &Path) -> anyhow::Result<Tokens> {
    let text = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(path)?.take(TOKENS_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = text().with_context(|| path.display().to_string())?;
    Tokens::parse(&text).with_context(|| path.display().to_string())
}

/// Where a tokens file is, behind whatever leads there.
struct Place {
    path: PathBuf,
    directory: PathBuf,
}

impl Place {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = match path.parent() {
            Some(directory) if directory != Path::new("") => directory.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { path, directory })
    }

    /// Waits until nobody else changes files here: of two that read, change and write at once, one would be lost.
    fn take_turn(&self) -> anyhow::Result<File> {
        let directory = File::open(&self.directory).with_context(|| self.directory.display().to_string())?;
        directory.lock().with_context(|| format!("cannot lock {}", self.directory.display()))?;
        Ok(directory)
    }

    /// Puts a new file, which only its owner may read, in the place of the old one. It stays that of whom it was.
    fn replace(&self, tokens: &Tokens) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            // Made with mode 0600.
            let mut new = NamedTempFile::new_in(&self.directory)?;
            new.write_all(tokens.render().as_bytes())?;
            if let Ok(old) = fs::metadata(&self.path) {
                let made = new.as_file().metadata()?;
                if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
                    chown(new.path(), Some(old.uid()), Some(old.gid()))?;
                }
            }
            new.as_file().sync_all()?;
            new.persist(&self.path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
