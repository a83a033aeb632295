//! Files whose content is used while the server runs: looked at every second and when somebody asks for it, taken when they
//! are right, the last right ones kept while they are not.
//!
//! Contents are compared rather than times: files here are small, and what a mount or a clock says of them is not to be
//! relied on. New ones are taken once two reads a little apart agree, so that a file that is being rewritten is not taken
//! half.

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
/// From one read of changed files to the read that confirms it.
const SETTLE: Duration = Duration::from_millis(100);
/// Largest file that is read: a configuration of a thousand jobs is a hundredth of it.
const BYTES_MAX: u64 = 16 << 20;

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
pub type Build<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, Box<dyn Error + Send + Sync>> + Send + Sync>;

/// Asks for a look at all files now, even at those that are the same as before.
#[derive(Debug, Clone)]
pub struct Reloads {
    asked: watch::Sender<u64>,
}

impl Reloads {
    pub(crate) fn new() -> Self {
        Self { asked: watch::Sender::new(0) }
    }

    /// Asks.
    pub fn ask(&self) {
        self.asked.send_modify(|times| *times += 1);
    }
}

/// A value that is made of files, as they are now.
pub struct Reloaded<T> {
    /// What metrics and logs call it.
    name: &'static str,
    files: Vec<PathBuf>,
    build: Build<T>,
    /// What the files held at the last look; `None` if they could not be read.
    seen: Option<Vec<Vec<u8>>>,
    current: watch::Sender<Arc<T>>,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files for the first time. `name` is what metrics and logs call them.
    pub fn open(name: &'static str, files: Vec<PathBuf>, build: Build<T>) -> Result<Self, ReloadError> {
        let contents = read(&files)?;
        let value = build(&contents).map_err(|source| invalid(&files, source))?;
        let (current, _) = watch::channel(Arc::new(value));
        Ok(Self { name, files, build, seen: Some(contents), current })
    }

    /// The value, now and later.
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.current.subscribe()
    }

    /// Looks at the files for ever.
    pub(crate) async fn run(mut self, metrics: Arc<Metrics>, reloads: Reloads) {
        metrics.reloaded(self.name);
        let mut asked = reloads.asked.subscribe();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let again = tokio::select! {
                _ = ticks.tick() => false,
                // The sender lives as long as this clone of it.
                _ = asked.changed() => true,
            };
            let Some(contents) = self.settled().await else { continue };
            match self.look(contents, again) {
                Look::Same => {}
                Look::Taken => {
                    metrics.reloaded(self.name);
                    tracing::info!(what = self.name, "took the files as they are now");
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

    /// What the files hold; `None` while they change.
    async fn settled(&self) -> Option<Contents> {
        let first = self.read().await?;
        if first.as_ref().ok() == self.seen.as_ref() {
            return Some(first);
        }
        tokio::time::sleep(SETTLE).await;
        let second = self.read().await?;
        (first.ok() == second.as_ref().ok().cloned()).then_some(second)
    }

    async fn read(&self) -> Option<Contents> {
        let files = self.files.clone();
        match tokio::task::spawn_blocking(move || read(&files)).await {
            Ok(contents) => Some(contents),
            Err(error) => {
                tracing::error!(%error, "cannot look at files");
                None
            }
        }
    }

    /// Takes or refuses `contents` if they are new, or if somebody wants to know `again`.
    fn look(&mut self, contents: Contents, again: bool) -> Look {
        let contents = match contents {
            Ok(contents) => contents,
            Err(_) if self.seen.is_none() && !again => return Look::Same,
            Err(error) => {
                self.seen = None;
                return Look::Refused(error);
            }
        };
        if self.seen.as_ref() == Some(&contents) && !again {
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

/// What files hold, in their order.
type Contents = Result<Vec<Vec<u8>>, ReloadError>;

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
                let got = format!("{:?}", reloaded.look(read(&reloaded.files), false));
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

    #[test]
    fn the_same_is_looked_at_again_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let mut reloaded = Reloaded::open("word", vec![path.clone()], Box::new(word)).unwrap();
        assert!(matches!(reloaded.look(read(&reloaded.files), true), Look::Taken));
        std::fs::write(&path, "bad").unwrap();
        for again in [false, true] {
            assert!(matches!(reloaded.look(read(&reloaded.files), again), Look::Refused(_)));
        }
    }

    #[tokio::test]
    async fn taken_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let reloaded = Reloaded::open("word", vec![path.clone()], Box::new(word)).unwrap();
        let mut current = reloaded.subscribe();
        let (metrics, reloads) = (Arc::new(Metrics::new()), Reloads::new());
        let running = tokio::spawn(reloaded.run(Arc::clone(&metrics), reloads.clone()));
        std::fs::write(&path, "bad").unwrap();
        while !metrics.render().contains("decima_reload_failures_total{what=\"word\"} 1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(metrics.render().contains("decima_reload_good{what=\"word\"} 0"));
        std::fs::write(&path, "two").unwrap();
        current.changed().await.unwrap();
        assert_eq!(**current.borrow_and_update(), "two");
        reloads.ask();
        current.changed().await.unwrap();
        assert_eq!(**current.borrow(), "two");
        running.abort();
    }
}
