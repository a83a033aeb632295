//! `object_storage.bucket.config` by kind of bucket: the keys that Parca takes (those of thanos objstore) → [`Bucket`].
//!
//! Keys that only tune its client (pools, part sizes, traces) are taken and mean nothing. Keys that would change what is
//! stored or how it is protected work or are refused.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use decima_store::bucket::{Azure, BucketKind, BucketLookup, Gcs, Http, S3, S3Encryption, Secret};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{parse_duration, raw::shortened};

/// Kinds that Parca has and this store has not.
const NOT_BUILT: [&str; 6] = ["SWIFT", "COS", "ALIYUNOSS", "BOS", "OCI", "OBS"];

/// What is wrong with the settings of a bucket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// There is no such kind.
    Kind(String),
    /// A key below `config`, dotted, and the reason.
    Key(String, String),
}

/// Reads the settings of a bucket of this kind.
pub(super) fn kind(kind: &str, config: BTreeMap<String, Value>) -> Result<BucketKind, Wrong> {
    match kind.to_ascii_uppercase().as_str() {
        "FILESYSTEM" => filesystem(fields(config)?),
        "S3" => s3(fields(config)?),
        "GCS" => gcs(fields(config)?),
        "AZURE" => azure(fields(config)?),
        other if NOT_BUILT.contains(&other) => Err(Wrong::Kind(format!(
            "buckets of type {other} are not supported; FILESYSTEM, S3, GCS and AZURE are"
        ))),
        _ => Err(Wrong::Kind(format!(
            "there are no buckets of type {kind:?}; FILESYSTEM, S3, GCS and AZURE are supported"
        ))),
    }
}

/// The fields of one kind; unknown ones are errors.
fn fields<T: DeserializeOwned>(config: BTreeMap<String, Value>) -> Result<T, Wrong> {
    let object = without_null(Value::Object(config.into_iter().collect()));
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        Wrong::Key(
            if path == "." { String::new() } else { path },
            shortened(&error.into_inner().to_string()).to_owned(),
        )
    })
}

/// A key without a value says nothing.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_null(value)))
                .collect(),
        ),
        other => other,
    }
}

fn required(key: &str, text: &str) -> Result<(), Wrong> {
    if text.is_empty() { Err(Wrong::Key(key.to_owned(), format!("{key} is missing"))) } else { Ok(()) }
}

fn unsupported<T>(key: &str) -> Result<T, Wrong> {
    Err(Wrong::Key(key.to_owned(), "is not supported".to_owned()))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Filesystem {
    directory: String,
}

fn filesystem(raw: Filesystem) -> Result<BucketKind, Wrong> {
    required("directory", &raw.directory)?;
    Ok(BucketKind::Filesystem { directory: raw.directory.into() })
}

/// The settings of an HTTP client.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct HttpConfig {
    idle_conn_timeout: String,
    response_header_timeout: String,
    insecure_skip_verify: bool,
    tls_config: TlsConfig,
    #[serde(rename = "tls_handshake_timeout")]
    _tls_handshake_timeout: Value,
    #[serde(rename = "expect_continue_timeout")]
    _expect_continue_timeout: Value,
    #[serde(rename = "max_idle_conns")]
    _max_idle_conns: Value,
    #[serde(rename = "max_idle_conns_per_host")]
    _max_idle_conns_per_host: Value,
    #[serde(rename = "max_conns_per_host")]
    _max_conns_per_host: Value,
    #[serde(rename = "disable_compression")]
    _disable_compression: Value,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TlsConfig {
    ca_file: String,
    cert_file: String,
    key_file: String,
    server_name: String,
    insecure_skip_verify: bool,
}

fn path(text: String) -> Option<PathBuf> {
    Some(text).filter(|text| !text.is_empty()).map(PathBuf::from)
}

fn duration(key: &str, text: &str) -> Result<Option<Duration>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    match parse_duration(text) {
        Ok(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
        Err(error) => Err(Wrong::Key(format!("http_config.{key}"), error.to_string())),
    }
}

fn http(raw: HttpConfig, retries_max: usize) -> Result<Http, Wrong> {
    if !raw.tls_config.server_name.is_empty() {
        return unsupported("http_config.tls_config.server_name");
    }
    Ok(Http {
        idle_timeout: duration("idle_conn_timeout", &raw.idle_conn_timeout)?,
        response_timeout: duration("response_header_timeout", &raw.response_header_timeout)?,
        insecure_skip_verify: raw.insecure_skip_verify || raw.tls_config.insecure_skip_verify,
        ca_file: path(raw.tls_config.ca_file),
        cert_file: path(raw.tls_config.cert_file),
        key_file: path(raw.tls_config.key_file),
        retries_max,
    })
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawS3 {
    bucket: String,
    endpoint: String,
    region: String,
    access_key: String,
    secret_key: String,
    session_token: String,
    insecure: bool,
    signature_version2: bool,
    aws_sdk_auth: bool,
    put_user_metadata: BTreeMap<String, String>,
    bucket_lookup_type: String,
    sse_config: Sse,
    sts_endpoint: String,
    http_config: HttpConfig,
    max_retries: usize,
    #[serde(rename = "disable_dualstack")]
    _disable_dualstack: Value,
    #[serde(rename = "trace")]
    _trace: Value,
    #[serde(rename = "list_objects_version")]
    _list_objects_version: Value,
    #[serde(rename = "send_content_md5")]
    _send_content_md5: Value,
    #[serde(rename = "disable_multipart")]
    _disable_multipart: Value,
    #[serde(rename = "part_size")]
    _part_size: Value,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Sse {
    #[serde(rename = "type")]
    kind: String,
    kms_key_id: String,
    kms_encryption_context: BTreeMap<String, String>,
    encryption_key: String,
}

fn s3(raw: RawS3) -> Result<BucketKind, Wrong> {
    required("bucket", &raw.bucket)?;
    if raw.signature_version2 {
        return unsupported("signature_version2");
    }
    if !raw.put_user_metadata.is_empty() {
        return unsupported("put_user_metadata");
    }
    if raw.aws_sdk_auth && !raw.access_key.is_empty() {
        return Err(Wrong::Key("aws_sdk_auth".to_owned(), "contradicts access_key".to_owned()));
    }
    if raw.access_key.is_empty() != raw.secret_key.is_empty() {
        let reason = "access_key and secret_key need each other".to_owned();
        return Err(Wrong::Key("access_key".to_owned(), reason));
    }
    let lookup = match raw.bucket_lookup_type.as_str() {
        "" | "auto" => BucketLookup::Auto,
        "virtual-hosted" => BucketLookup::VirtualHosted,
        "path" => BucketLookup::Path,
        other => {
            let reason = format!("{other:?} is none of \"auto\", \"virtual-hosted\" and \"path\"");
            return Err(Wrong::Key("bucket_lookup_type".to_owned(), reason));
        }
    };
    Ok(BucketKind::S3(Box::new(S3 {
        encryption: encryption(raw.sse_config)?,
        bucket: raw.bucket,
        endpoint: raw.endpoint,
        region: raw.region,
        access_key: raw.access_key,
        secret_key: Secret(raw.secret_key),
        session_token: Secret(raw.session_token),
        insecure: raw.insecure,
        lookup,
        sts_endpoint: raw.sts_endpoint,
        http: http(raw.http_config, raw.max_retries)?,
    })))
}

fn encryption(raw: Sse) -> Result<S3Encryption, Wrong> {
    if !raw.kms_encryption_context.is_empty() {
        return unsupported("sse_config.kms_encryption_context");
    }
    match raw.kind.as_str() {
        "" => Ok(S3Encryption::Bucket),
        "SSE-S3" => Ok(S3Encryption::S3),
        "SSE-KMS" => {
            required("sse_config.kms_key_id", &raw.kms_key_id)?;
            Ok(S3Encryption::Kms { key_id: raw.kms_key_id })
        }
        "SSE-C" => {
            required("sse_config.encryption_key", &raw.encryption_key)?;
            Ok(S3Encryption::Customer { key_file: raw.encryption_key.into() })
        }
        other => {
            let reason = format!("{other:?} is none of \"SSE-S3\", \"SSE-KMS\" and \"SSE-C\"");
            Err(Wrong::Key("sse_config.type".to_owned(), reason))
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawGcs {
    bucket: String,
    service_account: String,
    http_config: HttpConfig,
    max_retries: usize,
    #[serde(rename = "use_grpc")]
    _use_grpc: Value,
    #[serde(rename = "grpc_conn_pool_size")]
    _grpc_conn_pool_size: Value,
    #[serde(rename = "chunk_size_bytes")]
    _chunk_size_bytes: Value,
}

fn gcs(raw: RawGcs) -> Result<BucketKind, Wrong> {
    required("bucket", &raw.bucket)?;
    Ok(BucketKind::Gcs(Box::new(Gcs {
        bucket: raw.bucket,
        service_account: Secret(raw.service_account),
        http: http(raw.http_config, raw.max_retries)?,
    })))
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawAzure {
    storage_account: String,
    storage_account_key: String,
    storage_connection_string: String,
    storage_create_container: bool,
    container: String,
    endpoint: String,
    user_assigned_id: String,
    az_tenant_id: String,
    client_id: String,
    client_secret: String,
    http_config: HttpConfig,
    max_retries: usize,
    #[serde(rename = "msi_resource")]
    _msi_resource: Value,
    #[serde(rename = "reader_config")]
    _reader_config: Value,
    #[serde(rename = "pipeline_config")]
    _pipeline_config: Value,
}

fn azure(raw: RawAzure) -> Result<BucketKind, Wrong> {
    required("container", &raw.container)?;
    if raw.storage_connection_string.is_empty() {
        required("storage_account", &raw.storage_account)?;
    }
    if raw.storage_create_container {
        return unsupported("storage_create_container");
    }
    Ok(BucketKind::Azure(Box::new(Azure {
        account: raw.storage_account,
        account_key: Secret(raw.storage_account_key),
        connection_string: Secret(raw.storage_connection_string),
        container: raw.container,
        endpoint: raw.endpoint,
        user_assigned_id: raw.user_assigned_id,
        tenant_id: raw.az_tenant_id,
        client_id: raw.client_id,
        client_secret: Secret(raw.client_secret),
        http: http(raw.http_config, raw.max_retries)?,
    })))
}
