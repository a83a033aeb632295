//! Files whose content is used while the server runs: looked at every second, taken when they are right, the last right
//! ones kept while they are not.
//!
//! Contents are compared rather than times: files here are small, and what a mount or a clock says of them is not to be
//! relied on.

use std::{
    error::Error,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{metrics::Metrics, status};

/// From one look to the next: what was revoked ends about so much later.
const INTERVAL: Duration = Duration::from_secs(1);
/// Largest file that is read.
const BYTES_MAX: u64 = 4 << 20;

/// Files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A file that cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// Of the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Files that do not say what they should.
    #[error("{}", path.display())]
    Invalid {
        /// Of the first of them.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Makes a value of the contents of files.
type Build<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// A value that is made of files, as they are now.
pub(crate) struct Reloaded<T> {
    /// What metrics and logs call it.
    name: &'static str,
    files: Vec<PathBuf>,
    build: Build<T>,
    /// What the files held at the last look; `None` if they could not be read.
    seen: Option<Vec<Vec<u8>>>,
    current: watch::Sender<Arc<T>>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files for the first time.
    pub(crate) fn open(
        name: &'static str,
        files: Vec<PathBuf>,
        build: Build<T>,
    ) -> Result<Self, ReloadError> {
        let contents = read(&files)?;
        let value = build(&contents).map_err(|source| invalid(&files, source))?;
        let (current, _) = watch::channel(Arc::new(value));
        Ok(Self { name, files, build, seen: Some(contents), current })
    }

    /// The value, now and later.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.current.subscribe()
    }

    /// Looks at the files for ever.
    pub(crate) async fn run(mut self, metrics: Arc<Metrics>) {
        metrics.reloaded(self.name);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let files = self.files.clone();
            let contents = match tokio::task::spawn_blocking(move || read(&files)).await {
                Ok(contents) => contents,
                Err(error) => {
                    tracing::error!(%error, "cannot look at files");
                    continue;
                }
            };
            match self.look(contents) {
                Look::Same => {}
                Look::Taken => {
                    metrics.reloaded(self.name);
                    tracing::info!(what = self.name, "took the changed files");
                }
                Look::Refused(error) => {
                    metrics.not_reloaded(self.name);
                    let error = status::chain(&error);
                    tracing::error!(
                        what = self.name,
                        error,
                        "changed files cannot be used; keeping what was there before"
                    );
                }
            }
        }
    }

    fn look(&mut self, contents: Result<Vec<Vec<u8>>, ReloadError>) -> Look {
        let contents = match contents {
            Ok(contents) => contents,
            Err(_) if self.seen.is_none() => return Look::Same,
            Err(error) => {
                self.seen = None;
                return Look::Refused(error);
            }
        };
        if self.seen.as_ref() == Some(&contents) {
            return Look::Same;
        }
        let built = (self.build)(&contents);
        self.seen = Some(contents);
        match built {
            Ok(value) => {
                self.current.send_replace(Arc::new(value));
                Look::Taken
            }
            Err(source) => Look::Refused(invalid(&self.files, source)),
        }
    }
}

/// What came of a look at the files.
#[derive(Debug)]
enum Look {
    /// Nothing has changed.
    Same,
    /// They changed, and were taken.
    Taken,
    /// They changed, and cannot be used.
    Refused(ReloadError),
}

fn invalid(files: &[PathBuf], source: Box<dyn Error + Send + Sync>) -> ReloadError {
    ReloadError::Invalid { path: files.first().cloned().unwrap_or_default(), source }
}

fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, ReloadError> {
    let one =
        |path: &PathBuf| read_one(path).map_err(|source| ReloadError::Read { path: path.clone(), source });
    files.iter().map(one).collect()
}

fn read_one(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(contents: &[Vec<u8>]) -> Result<String, Box<dyn Error + Send + Sync>> {
        match std::str::from_utf8(&contents[0])? {
            "bad" => Err("bad".into()),
            word => Ok(word.to_owned()),
        }
    }

    #[test]
    fn the_last_right_content_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let open = || Reloaded::open("word", vec![path.clone()], Box::new(word));
        assert!(matches!(open(), Err(ReloadError::Read { .. })));
        std::fs::write(&path, "bad").unwrap();
        assert!(matches!(open(), Err(ReloadError::Invalid { .. })));
        std::fs::write(&path, "one").unwrap();
        let mut reloaded = open().unwrap();
        let current = reloaded.subscribe();
        let mut check = |content: Option<&str>, look: &str, word: &str| {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            for look in [look, "Same"] {
                let got = format!("{:?}", reloaded.look(read(&reloaded.files)));
                assert!(got.starts_with(look), "{content:?}: {got}");
            }
            assert_eq!(**current.borrow(), word, "{content:?}");
        };
        check(Some("one"), "Same", "one");
        check(Some("two"), "Taken", "two");
        check(Some("bad"), "Refused", "two");
        check(Some("two"), "Taken", "two");
        check(None, "Refused", "two");
        check(Some("two"), "Taken", "two");
        check(Some(""), "Taken", "");
    }
}
