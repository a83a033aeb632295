//! Buckets in a cloud, by kind.

use std::sync::Arc;

use object_store::ObjectStore;

use super::{
    BucketError,
    http::{Connector, retry},
};

type Client = Result<Arc<dyn ObjectStore>, BucketError>;

fn unusable(error: object_store::Error) -> BucketError {
    BucketError::Client(Box::new(error))
}

#[cfg(feature = "s3")]
pub(super) fn client_s3(s3: &super::S3) -> Client {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

    use super::S3Encryption;

    // Credentials that the settings do not name are those of the environment and the machine.
    let mut builder =
        if s3.access_key.is_empty() { AmazonS3Builder::from_env() } else { AmazonS3Builder::new() };
    if !s3.access_key.is_empty() {
        builder = builder.with_access_key_id(&s3.access_key).with_secret_access_key(&s3.secret_key.0);
    }
    if !s3.session_token.0.is_empty() {
        builder = builder.with_token(&s3.session_token.0);
    }
    if !s3.sts_endpoint.is_empty() {
        builder = builder.with_config(AmazonS3ConfigKey::StsEndpoint, &s3.sts_endpoint);
    }
    let (url, in_host) = s3_url(s3);
    if let Some(url) = url {
        builder = builder.with_endpoint(url);
    }
    builder = match &s3.encryption {
        S3Encryption::Bucket => builder,
        S3Encryption::S3 => {
            let key = "aws_server_side_encryption".parse().map_err(unusable)?;
            builder.with_config(key, "AES256")
        }
        S3Encryption::Kms { key_id } => builder.with_sse_kms_encryption(key_id),
        S3Encryption::Customer { key_file } => {
            builder.with_ssec_encryption(STANDARD.encode(super::http::read(key_file)?))
        }
    };
    let client = builder
        .with_bucket_name(&s3.bucket)
        .with_region(s3_region(s3))
        .with_virtual_hosted_style_request(in_host)
        .with_allow_http(s3.insecure)
        .with_http_connector(Connector::new(&s3.http)?)
        .with_retry(retry(&s3.http))
        .build()
        .map_err(unusable)?;
    Ok(Arc::new(client))
}

/// URL of the endpoint, if one is named, and whether the bucket is part of its host name.
#[cfg(feature = "s3")]
fn s3_url(s3: &super::S3) -> (Option<String>, bool) {
    use super::BucketLookup;

    let host = s3.endpoint.split(':').next().unwrap_or_default();
    let is_amazon =
        host.is_empty() || host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
    let in_host = match s3.lookup {
        // A certificate for `*.s3…` is not one for a name with more dots.
        BucketLookup::Auto => is_amazon && !s3.bucket.contains('.'),
        BucketLookup::VirtualHosted => true,
        BucketLookup::Path => false,
    };
    if s3.endpoint.is_empty() {
        return (None, in_host);
    }
    let scheme = if s3.insecure { "http" } else { "https" };
    let url = if in_host {
        format!("{scheme}://{}.{}", s3.bucket, s3.endpoint)
    } else {
        format!("{scheme}://{}", s3.endpoint)
    };
    (Some(url), in_host)
}

/// The region: as it is said, or as an endpoint of Amazon's has it in its name.
#[cfg(feature = "s3")]
fn s3_region(s3: &super::S3) -> &str {
    if !s3.region.is_empty() {
        return &s3.region;
    }
    let named = s3.endpoint.split_once(".amazonaws.com").map(|(name, _)| name);
    let region = named.and_then(|name| name.rsplit('.').next()).filter(|region| region.contains('-'));
    region.unwrap_or("us-east-1")
}

#[cfg(feature = "gcs")]
pub(super) fn client_gcs(gcs: &super::Gcs) -> Client {
    use object_store::gcp::GoogleCloudStorageBuilder;

    let builder = if gcs.service_account.0.is_empty() {
        GoogleCloudStorageBuilder::from_env()
    } else {
        GoogleCloudStorageBuilder::new().with_service_account_key(&gcs.service_account.0)
    };
    let client = builder
        .with_bucket_name(&gcs.bucket)
        .with_http_connector(Connector::new(&gcs.http)?)
        .with_retry(retry(&gcs.http))
        .build()
        .map_err(unusable)?;
    Ok(Arc::new(client))
}

#[cfg(feature = "azure")]
pub(super) fn client_azure(azure: &super::Azure) -> Client {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

    let parts = connection_parts(&azure.connection_string.0);
    let part = |name: &str| parts.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let account = Some(azure.account.as_str()).filter(|name| !name.is_empty()).or(part("AccountName"));
    let key = Some(azure.account_key.0.as_str()).filter(|key| !key.is_empty()).or(part("AccountKey"));
    let account = account.ok_or_else(|| BucketError::Setting {
        setting: "storage_account",
        reason: "is missing".to_owned(),
    })?;
    let mut builder = match (key, part("SharedAccessSignature")) {
        (None, None) if azure.client_secret.0.is_empty() => MicrosoftAzureBuilder::from_env(),
        _ => MicrosoftAzureBuilder::new(),
    };
    if let Some(key) = key {
        builder = builder.with_access_key(key);
    } else if let Some(signature) = part("SharedAccessSignature") {
        builder = builder.with_config(AzureConfigKey::SasKey, signature);
    } else if !azure.client_secret.0.is_empty() {
        builder = builder.with_client_secret_authorization(
            &azure.client_id,
            &azure.client_secret.0,
            &azure.tenant_id,
        );
    } else if !azure.user_assigned_id.is_empty() {
        builder = builder.with_client_id(&azure.user_assigned_id);
    }
    let named = part("BlobEndpoint").map(str::to_owned);
    let by_domain = Some(azure.endpoint.as_str())
        .filter(|domain| !domain.is_empty() && *domain != "blob.core.windows.net")
        .map(|domain| format!("https://{account}.{domain}"));
    if let Some(url) = by_domain.or(named) {
        builder = builder.with_allow_http(url.starts_with("http://")).with_endpoint(url);
    }
    let client = builder
        .with_account(account)
        .with_container_name(&azure.container)
        .with_http_connector(Connector::new(&azure.http)?)
        .with_retry(retry(&azure.http))
        .build()
        .map_err(unusable)?;
    Ok(Arc::new(client))
}

/// `Name=Value;Name=Value`; values may have `=` in them.
#[cfg(feature = "azure")]
fn connection_parts(text: &str) -> Vec<(String, String)> {
    text.split(';')
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(all(test, feature = "s3", feature = "azure"))]
mod tests {
    use super::*;
    use crate::bucket::{BucketLookup, S3};

    #[test]
    fn urls_of_s3() {
        let check = |endpoint: &str, bucket: &str, lookup: BucketLookup, expected: (Option<&str>, bool)| {
            let s3 = S3 { endpoint: endpoint.to_owned(), bucket: bucket.to_owned(), lookup, ..S3::default() };
            let (url, in_host) = s3_url(&s3);
            assert_eq!((url.as_deref(), in_host), expected, "{endpoint} {bucket}");
        };
        let amazon = "s3.eu-west-1.amazonaws.com";
        check("", "b", BucketLookup::Auto, (None, true));
        check(amazon, "b", BucketLookup::Auto, (Some("https://b.s3.eu-west-1.amazonaws.com"), true));
        check(amazon, "b.c", BucketLookup::Auto, (Some("https://s3.eu-west-1.amazonaws.com"), false));
        check("minio:9000", "b", BucketLookup::Auto, (Some("https://minio:9000"), false));
        check("minio:9000", "b", BucketLookup::VirtualHosted, (Some("https://b.minio:9000"), true));
        check(amazon, "b", BucketLookup::Path, (Some("https://s3.eu-west-1.amazonaws.com"), false));
    }

    #[test]
    fn regions_of_s3() {
        let check = |endpoint: &str, region: &str, expected: &str| {
            let s3 = S3 { endpoint: endpoint.to_owned(), region: region.to_owned(), ..S3::default() };
            assert_eq!(s3_region(&s3), expected, "{endpoint}");
        };
        check("", "", "us-east-1");
        check("s3.amazonaws.com", "", "us-east-1");
        check("s3.eu-west-1.amazonaws.com", "", "eu-west-1");
        check("s3.dualstack.eu-west-1.amazonaws.com", "", "eu-west-1");
        check("s3.cn-north-1.amazonaws.com.cn", "", "cn-north-1");
        check("s3.eu-west-1.amazonaws.com", "us-west-2", "us-west-2");
        check("minio:9000", "", "us-east-1");
    }

    #[test]
    fn connection_strings() {
        let parts = connection_parts("AccountName=a;AccountKey=k==; BlobEndpoint=http://h:1/a;");
        let parts: Vec<_> = parts.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(parts, [("AccountName", "a"), ("AccountKey", "k=="), ("BlobEndpoint", "http://h:1/a")]);
    }
}
