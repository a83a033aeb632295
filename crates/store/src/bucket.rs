//! Here is what `object_storage` says, gives you an object store.
//!
//! The settings are those of Parca's configuration (thanos objstore); the `ingest` crate reads them. Buckets in a cloud are
//! features of the build (`s3`, `gcs`, `azure`), so that a build for local disks stays small; what a build lacks is told by
//! name when it is asked for.
//!
//! Invariant: everything is put create-if-absent, so a bucket that ignores this condition is refused by
//! [`crate::Place::probe`] before anything is written to it.

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod cloud;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod http;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use object_store::{ObjectStore, prefix::PrefixStore};

/// A bucket, or a directory that is used as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Kind of bucket, with what it needs.
    pub kind: BucketKind,
    /// Put before every object's name; may be empty.
    pub prefix: String,
}

/// A bucket by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum BucketKind {
    /// A directory of the local file system; a relative one is relative to the working directory.
    Filesystem {
        /// The directory.
        directory: PathBuf,
    },
    /// Amazon S3 and what speaks like it.
    S3(Box<S3>),
    /// Google Cloud Storage.
    Gcs(Box<Gcs>),
    /// Azure Blob Storage.
    Azure(Box<Azure>),
}

/// Text that does not show in logs.
#[derive(Clone, PartialEq, Default)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Amazon S3. Empty texts mean that nothing is said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct S3 {
    /// Name of the bucket.
    pub bucket: String,
    /// Host and port, without a scheme.
    pub endpoint: String,
    /// Region; without one, that of an endpoint of Amazon's, or `us-east-1`.
    pub region: String,
    /// Access key; without one, credentials come from the environment and the machine.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Secret,
    /// Token of a session.
    pub session_token: Secret,
    /// Speak without TLS.
    pub insecure: bool,
    /// How the bucket is named in a request.
    pub lookup: BucketLookup,
    /// Encryption at rest.
    pub encryption: S3Encryption,
    /// Where roles are assumed, a URL.
    pub sts_endpoint: String,
    /// How requests are made.
    pub http: Http,
}

/// How a request names its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BucketLookup {
    /// In the host name where the endpoint is Amazon's, else in the path.
    #[default]
    Auto,
    /// In the host name.
    VirtualHosted,
    /// In the path.
    Path,
}

/// Encryption of objects at rest.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum S3Encryption {
    /// As the bucket is set up.
    #[default]
    Bucket,
    /// With keys of S3.
    S3,
    /// With a key of the key service.
    Kms {
        /// Its name.
        key_id: String,
    },
    /// With a key of ours that comes with each request.
    Customer {
        /// File with the 32 bytes of the key.
        key_file: PathBuf,
    },
}

/// Google Cloud Storage. Empty texts mean that nothing is said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gcs {
    /// Name of the bucket.
    pub bucket: String,
    /// A service account's key, JSON; without one, the default credentials of the application.
    pub service_account: Secret,
    /// How requests are made.
    pub http: Http,
}

/// Azure Blob Storage. Empty texts mean that nothing is said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Azure {
    /// Name of the storage account.
    pub account: String,
    /// Its key.
    pub account_key: Secret,
    /// All of it in one text, as Azure's portal shows it.
    pub connection_string: Secret,
    /// Name of the container.
    pub container: String,
    /// Domain of the service, without the account.
    pub endpoint: String,
    /// Identity that the machine has been given.
    pub user_assigned_id: String,
    /// Directory of an application.
    pub tenant_id: String,
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// How requests are made.
    pub http: Http,
}

/// How requests are made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Http {
    /// How long a connection may be idle.
    pub idle_timeout: Option<Duration>,
    /// How long the head of an answer may take.
    pub response_timeout: Option<Duration>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Authorities to trust besides the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Own certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// How often a request is repeated; the default if 0.
    pub retries_max: usize,
}

/// A bucket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The build has no such buckets.
    #[error("this build has no {kind} buckets: it was built without the feature `{feature}`")]
    NotBuilt {
        /// Kind, as the configuration writes it.
        kind: &'static str,
        /// Feature that has it.
        feature: &'static str,
    },
    /// A file that the settings name cannot be read.
    #[error("cannot read {path} for the bucket")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A setting means nothing.
    #[error("{setting} of the bucket: {reason}")]
    Setting {
        /// Its name in the configuration.
        setting: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The settings do not make a client.
    #[error("the settings of the bucket cannot be used")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Bucket {
    /// The bucket of a directory.
    pub fn directory(directory: impl Into<PathBuf>) -> Self {
        Self { kind: BucketKind::Filesystem { directory: directory.into() }, prefix: String::new() }
    }

    /// The directory of a bucket that is one.
    pub fn local_path(&self) -> Option<PathBuf> {
        match &self.kind {
            BucketKind::Filesystem { directory } => Some(directory.join(self.prefix.trim_matches('/'))),
            BucketKind::S3(_) | BucketKind::Gcs(_) | BucketKind::Azure(_) => None,
        }
    }

    /// Whether this build can use a bucket with these settings. Nothing is asked of the bucket.
    pub fn check(&self) -> Result<(), BucketError> {
        self.client().map(|_| ())
    }

    /// The client of a cloud's bucket, below the prefix; `None` for a directory.
    pub(crate) fn client(&self) -> Result<Option<Arc<dyn ObjectStore>>, BucketError> {
        let objects: Arc<dyn ObjectStore> = match &self.kind {
            BucketKind::Filesystem { .. } => return Ok(None),
            BucketKind::S3(s3) => client_s3(s3)?,
            BucketKind::Gcs(gcs) => client_gcs(gcs)?,
            BucketKind::Azure(azure) => client_azure(azure)?,
        };
        let prefix = self.prefix.trim_matches('/');
        Ok(Some(if prefix.is_empty() { objects } else { Arc::new(PrefixStore::new(objects, prefix)) }))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            BucketKind::Filesystem { directory } => write!(f, "the directory {}", directory.display())?,
            BucketKind::S3(s3) => write!(f, "the S3 bucket {}", s3.bucket)?,
            BucketKind::Gcs(gcs) => write!(f, "the GCS bucket {}", gcs.bucket)?,
            BucketKind::Azure(azure) => write!(f, "the Azure container {}", azure.container)?,
        }
        if self.prefix.is_empty() { Ok(()) } else { write!(f, " below {}", self.prefix) }
    }
}

#[cfg(feature = "s3")]
use cloud::client_s3;

#[cfg(not(feature = "s3"))]
fn client_s3(_: &S3) -> Result<Arc<dyn ObjectStore>, BucketError> {
    Err(BucketError::NotBuilt { kind: "S3", feature: "s3" })
}

#[cfg(feature = "gcs")]
use cloud::client_gcs;

#[cfg(not(feature = "gcs"))]
fn client_gcs(_: &Gcs) -> Result<Arc<dyn ObjectStore>, BucketError> {
    Err(BucketError::NotBuilt { kind: "GCS", feature: "gcs" })
}

#[cfg(feature = "azure")]
use cloud::client_azure;

#[cfg(not(feature = "azure"))]
fn client_azure(_: &Azure) -> Result<Arc<dyn ObjectStore>, BucketError> {
    Err(BucketError::NotBuilt { kind: "AZURE", feature: "azure" })
}
