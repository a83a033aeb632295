//! What every request to the remote store shows: a token, which is read again when its file changes, and fixed headers.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tonic::{
    Request, Status,
    metadata::{Ascii, AsciiMetadataKey, AsciiMetadataValue, MetadataValue},
    service::Interceptor,
};

use crate::settings::{Remote, Token};

/// A file is looked at at most so often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A token or header that cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("the token cannot be read from {}", path.display())]
    Read {
        /// Of the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds nothing.
    #[error("{} is empty", path.display())]
    Empty {
        /// Of the file.
        path: PathBuf,
    },
    /// The token is none.
    #[error("the token holds what no header can")]
    Token,
    /// The header is none.
    #[error("{name:?} is not a header that can be sent, or its value is not")]
    Header {
        /// Its name.
        name: String,
    },
}

/// What requests show. Clones share it.
#[derive(Clone)]
pub(crate) struct Credentials {
    shared: Arc<Shared>,
}

struct Shared {
    token: Source,
    headers: Vec<(AsciiMetadataKey, AsciiMetadataValue)>,
}

enum Source {
    None,
    Inline(MetadataValue<Ascii>),
    File { path: PathBuf, seen: Mutex<Seen> },
}

struct Seen {
    looked: Instant,
    value: MetadataValue<Ascii>,
    /// Whether the file can be used.
    good: bool,
}

impl Credentials {
    pub(super) fn new(settings: &Remote) -> Result<Self, CredentialsError> {
        let token = match &settings.token {
            None => Source::None,
            Some(Token::Inline(token)) => Source::Inline(bearer(token)?),
            Some(Token::File(path)) => {
                let seen = Seen { looked: Instant::now(), value: read(path)?, good: true };
                Source::File { path: path.clone(), seen: Mutex::new(seen) }
            }
        };
        let headers = settings.headers.iter().map(|(name, value)| {
            let wrong = || CredentialsError::Header { name: name.clone() };
            let key = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
            let key = key.ok().filter(|key| !key.as_str().starts_with("grpc-")).ok_or_else(wrong)?;
            Ok((key, value.parse().map_err(|_| wrong())?))
        });
        Ok(Self { shared: Arc::new(Shared { token, headers: headers.collect::<Result<_, _>>()? }) })
    }

    fn token(&self) -> Option<MetadataValue<Ascii>> {
        match &self.shared.token {
            Source::None => None,
            Source::Inline(value) => Some(value.clone()),
            Source::File { path, seen } => {
                let mut seen = seen.lock();
                if seen.looked.elapsed() >= LOOK_INTERVAL {
                    seen.look(path);
                }
                Some(seen.value.clone())
            }
        }
    }
}

impl Seen {
    /// Reads the file; while it cannot be used, the last token is.
    fn look(&mut self, path: &Path) {
        self.looked = Instant::now();
        match read(path) {
            Ok(value) => {
                if value != self.value {
                    tracing::info!(path = %path.display(), "the token for the remote store has changed");
                }
                self.value = value;
                self.good = true;
            }
            Err(error) => {
                if std::mem::replace(&mut self.good, false) {
                    let error = crate::spool::chain(&error);
                    tracing::warn!(error, "the last token for the remote store is used");
                }
            }
        }
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        for (name, value) in &self.shared.headers {
            metadata.insert(name.clone(), value.clone());
        }
        if let Some(token) = self.token() {
            metadata.insert("authorization", token);
        }
        Ok(request)
    }
}

fn read(path: &Path) -> Result<MetadataValue<Ascii>, CredentialsError> {
    let text = fs::read_to_string(path)
        .map_err(|source| CredentialsError::Read { path: path.to_owned(), source })?;
    if text.trim().is_empty() {
        return Err(CredentialsError::Empty { path: path.to_owned() });
    }
    bearer(&text)
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, CredentialsError> {
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {}", token.trim()).parse().map_err(|_| CredentialsError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Trust;

    fn credentials(token: Option<Token>, headers: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        Credentials::new(&Remote {
            origin: http::Uri::from_static("http://127.0.0.1:1"),
            trust: Trust::System,
            token,
            headers: headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        })
    }

    fn shown(credentials: &Credentials, name: &str) -> Option<String> {
        let request = credentials.clone().call(Request::new(())).unwrap();
        request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn token_and_headers() {
        let both = credentials(Some(Token::Inline("secret\n".into())), &[("X-Scope", "a=b")]).unwrap();
        assert_eq!(shown(&both, "authorization").as_deref(), Some("Bearer secret"));
        assert_eq!(shown(&both, "x-scope").as_deref(), Some("a=b"));
        assert_eq!(shown(&credentials(None, &[]).unwrap(), "authorization"), None);
        for (name, value) in [("a b", "1"), ("grpc-timeout", "1S"), ("x-bin", "1"), ("x", "a\nb"), ("", "1")]
        {
            assert!(
                matches!(credentials(None, &[(name, value)]), Err(CredentialsError::Header { .. })),
                "{name}"
            );
        }
        assert!(matches!(credentials(Some(Token::Inline("a\nb".into())), &[]), Err(CredentialsError::Token)));
    }

    #[test]
    fn a_file_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let open = || credentials(Some(Token::File(path.clone())), &[]);
        assert!(matches!(open(), Err(CredentialsError::Read { .. })));
        fs::write(&path, " \n").unwrap();
        assert!(matches!(open(), Err(CredentialsError::Empty { .. })));
        fs::write(&path, "one\n").unwrap();
        let credentials = open().unwrap();
        let look = || {
            let Source::File { path, seen } = &credentials.shared.token else { panic!("not a file") };
            seen.lock().look(path);
            shown(&credentials, "authorization").unwrap()
        };
        assert_eq!(look(), "Bearer one");
        fs::write(&path, "two").unwrap();
        assert_eq!(look(), "Bearer two");
        fs::write(&path, "").unwrap();
        assert_eq!(look(), "Bearer two", "the last one is used while there is none");
        fs::remove_file(&path).unwrap();
        assert_eq!(look(), "Bearer two");
        fs::write(&path, "three").unwrap();
        assert_eq!(look(), "Bearer three");
    }
}
