//! Flags of a process that sends everything on, checked against each other.

use std::path::Path;

use decima_forward::settings::{ObjectFiles, Remote, Settings, Token, Trust};
use tonic::transport::Uri;

use crate::{
    args::{self, Forward, Mode},
    settings::UsageError,
    value::{Maybe, Pairs},
};

/// A spool smaller than this could not hold a single large request.
const SPOOL_MIN_BYTES: u64 = 128 << 20;
/// What is in the data directory of a forwarder.
const SPOOL_FOLDER: &str = "spool";
/// Begins an address as gRPC writes it: a name to look up, which every address here is.
const DNS: &str = "dns:///";

/// What the flags come to.
pub(crate) struct Forwarding {
    /// Where to send everything on to, unless this is a store.
    pub(crate) forward: Option<Settings>,
    /// Flags that were given to a store, for which they have no meaning.
    pub(crate) without_effect: Vec<&'static str>,
}

/// Checks the flags of forwarding.
pub(crate) fn forwarding(
    flags: Forward,
    debuginfo: &args::ObjectFiles,
    storage_path: &Path,
    profile_bytes_max: usize,
) -> Result<Forwarding, UsageError> {
    let wrong = |flag, reason: &str| Err(UsageError { flag, reason: reason.to_owned() });
    let address = flags.store_address.as_deref().map(str::trim).filter(|address| !address.is_empty());
    if flags.mode == Mode::All {
        if address.is_some() {
            return wrong(
                "store-address",
                "needs --mode=forwarder (or scraper-only): --mode=all stores by itself",
            );
        }
        return Ok(Forwarding { forward: None, without_effect: given(&flags) });
    }
    let Some(address) = address else {
        return wrong("mode", "needs --store-address, which says where to send everything on to");
    };
    if flags.spool_max_bytes.0 < SPOOL_MIN_BYTES {
        return wrong("spool-max-bytes", "must be at least 128MiB");
    }
    if flags.spool_max_age.0.is_zero() {
        return wrong("spool-max-age", "must be above 0");
    }
    let origin = origin(address, flags.insecure == Some(true))?;
    let trust = trust(&flags, &origin)?;
    let file = flags.bearer_token_file.and_then(|Maybe(path)| path).map(Token::File);
    let inline = flags.bearer_token.filter(|token| !token.trim().is_empty()).map(Token::Inline);
    let all = |pairs: Vec<Pairs>| pairs.into_iter().flat_map(|Pairs(pairs)| pairs).collect();
    let forward = Settings {
        remote: Remote { origin, trust, token: file.or(inline), headers: all(flags.grpc_headers) },
        external_labels: all(flags.external_label),
        spool_path: storage_path.join(SPOOL_FOLDER),
        spool_bytes_max: flags.spool_max_bytes.0,
        spool_age_max: flags.spool_max_age.0,
        object_files: ObjectFiles {
            bytes_max: flags.spool_debuginfo_max_bytes.0,
            file_bytes_max: debuginfo.debuginfo_upload_max_size.0,
            upload_max_duration: debuginfo.debuginfo_upload_max_duration.0,
        },
        profile_bytes_max,
    };
    if forward.external_labels.iter().any(|(name, _)| name == "__name__") {
        return wrong("external-label", "__name__ is what tells profiles apart");
    }
    Ok(Forwarding { forward: Some(forward), without_effect: Vec::new() })
}

/// The flags of Parca among those that were given.
fn given(flags: &Forward) -> Vec<&'static str> {
    let all = [
        ("insecure", flags.insecure.is_some()),
        ("insecure-skip-verify", flags.insecure_skip_verify.is_some()),
        ("bearer-token", flags.bearer_token.as_deref().is_some_and(|token| !token.is_empty())),
        ("bearer-token-file", matches!(flags.bearer_token_file, Some(Maybe(Some(_))))),
        ("external-label", !flags.external_label.is_empty()),
        ("grpc-headers", !flags.grpc_headers.is_empty()),
    ];
    all.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
}

/// The URL of the remote store. Without a scheme, TLS is what `insecure` leaves out.
fn origin(address: &str, insecure: bool) -> Result<Uri, UsageError> {
    let flag = "store-address";
    let wrong = |reason: &str| UsageError { flag, reason: reason.to_owned() };
    let address = address.strip_prefix(DNS).unwrap_or(address);
    let url = match address.split_once("://") {
        None if insecure => format!("http://{address}"),
        None => format!("https://{address}"),
        Some(("https", _)) if insecure => {
            return Err(wrong("begins with https://, and --insecure means without TLS"));
        }
        Some(("http", _)) if !insecure => {
            return Err(wrong("begins with http://: that needs --insecure, which means without TLS"));
        }
        Some(("http" | "https", _)) => address.to_owned(),
        Some(_) => return Err(wrong("expected host:port or a URL such as https://store:7070")),
    };
    let origin: Uri =
        url.trim_end_matches('/').parse().map_err(|_| wrong("is neither host:port nor a URL"))?;
    if origin.host().is_none_or(str::is_empty) {
        return Err(wrong("has no host"));
    }
    Ok(origin)
}

fn trust(flags: &Forward, origin: &Uri) -> Result<Trust, UsageError> {
    let is_tls = origin.scheme_str() == Some("https");
    let skip_verify = flags.insecure_skip_verify == Some(true);
    let file = flags.store_ca_file.as_ref().and_then(|Maybe(path)| path.clone());
    let wrong = |flag, reason: &str| Err(UsageError { flag, reason: reason.to_owned() });
    match file {
        Some(_) if !is_tls => wrong("store-ca-file", "has no meaning with --insecure"),
        Some(_) if skip_verify => wrong("store-ca-file", "has no meaning with --insecure-skip-verify"),
        Some(path) => Ok(Trust::File(path)),
        None if skip_verify => Ok(Trust::Anyone),
        None => Ok(Trust::System),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args::Arguments;

    fn checked(line: &[&str]) -> Result<Forwarding, UsageError> {
        let line = std::iter::once("decima").chain(line.iter().copied()).map(OsString::from);
        let flags = Arguments::parse_from_line(line).expect("flags parse").serve;
        forwarding(flags.forward, &flags.debuginfo, Path::new("data"), 1)
    }

    #[test]
    fn where_it_is() {
        let check = |flags: &[&str], expected: Result<&str, &str>| {
            let flags: Vec<_> = ["--mode=scraper-only"].iter().chain(flags).copied().collect();
            let got = checked(&flags).map(|forwarding| forwarding.forward.unwrap().remote.origin.to_string());
            assert_eq!(got.as_deref().map_err(|error| error.flag), expected, "{flags:?}");
        };
        check(&["--store-address=store:7070"], Ok("https://store:7070/"));
        check(&["--store-address=store:7070", "--insecure"], Ok("http://store:7070/"));
        check(&["--store-address=store:7070", "--insecure=false"], Ok("https://store:7070/"));
        check(&["--store-address=dns:///store:7070"], Ok("https://store:7070/"));
        check(&["--store-address=https://store/parca/"], Ok("https://store/parca"));
        check(&["--store-address=http://store:7070", "--insecure"], Ok("http://store:7070/"));
        check(&["--store-address=http://store:7070"], Err("store-address"));
        check(&["--store-address=https://store:7070", "--insecure"], Err("store-address"));
        check(&["--store-address=ftp://store"], Err("store-address"));
        check(&["--store-address=a b"], Err("store-address"));
        check(&["--store-address="], Err("mode"));
        check(&[], Err("mode"));
    }

    #[test]
    fn what_does_not_fit() {
        let check = |flags: &[&str], expected: Option<&str>| {
            let flags: Vec<_> =
                ["--mode=forwarder", "--store-address=store:1"].iter().chain(flags).copied().collect();
            assert_eq!(checked(&flags).err().map(|error| error.flag), expected, "{flags:?}");
        };
        check(&[], None);
        check(&["--store-ca-file=ca.pem"], None);
        check(&["--store-ca-file="], None);
        check(&["--store-ca-file=ca.pem", "--insecure"], Some("store-ca-file"));
        check(&["--store-ca-file=ca.pem", "--insecure-skip-verify"], Some("store-ca-file"));
        check(&["--spool-max-bytes=1MiB"], Some("spool-max-bytes"));
        check(&["--spool-max-age=0"], Some("spool-max-age"));
        check(&["--external-label=__name__=cpu"], Some("external-label"));
        check(&["--bearer-token=", "--bearer-token-file=", "--external-label=", "--grpc-headers="], None);
    }

    #[test]
    fn what_is_shown_and_added() {
        let line = [
            "--mode=forwarder",
            "--store-address=store:1",
            "--bearer-token=secret",
            "--external-label=region=eu;zone=1",
            "--external-label=rack=7",
            "--grpc-headers=projectid=a=b",
            "--spool-debuginfo-max-bytes=3GiB",
            "--debuginfo-upload-max-size=2GB",
        ];
        let settings = checked(&line).unwrap().forward.unwrap();
        assert!(matches!(&settings.remote.token, Some(Token::Inline(token)) if token == "secret"));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.external_labels, [pair("region", "eu"), pair("zone", "1"), pair("rack", "7")]);
        assert_eq!(settings.remote.headers, [pair("projectid", "a=b")]);
        assert_eq!(settings.spool_path, Path::new("data/spool"));
        let ObjectFiles { bytes_max, file_bytes_max, .. } = settings.object_files;
        assert_eq!((bytes_max, file_bytes_max), (3 << 30, 2_000_000_000));
        let with_file: Vec<_> = line.into_iter().chain(["--bearer-token-file=token"]).collect();
        let token = checked(&with_file).unwrap().forward.unwrap().remote.token;
        assert!(matches!(token, Some(Token::File(_))), "the file goes before");
    }

    #[test]
    fn a_store_has_no_use_for_them() {
        let check = |flags: &[&str], expected: &[&str]| {
            let Forwarding { forward, without_effect } = checked(flags).unwrap();
            assert!(forward.is_none());
            assert_eq!(without_effect, expected);
        };
        check(&[], &[]);
        check(&["--mode=", "--store-address=", "--bearer-token=x"], &["bearer-token"]);
        check(&["--mode=all", "--insecure=false", "--external-label=a=b"], &["insecure", "external-label"]);
        assert_eq!(checked(&["--store-address=store:1"]).err().unwrap().flag, "store-address");
    }
}
