//! What `serve` runs with: flags that fit together, in the words of the crates that they are for.
//!
//! [`Settings::check`] is the only way from [`crate::args`] to here, so that nothing behind it meets a flag.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use decima_debuginfo::{DebuginfoOptions, ResolverOptions, debuginfod::DebuginfodOptions, retention};
use decima_ingest::push::Limits;
use decima_server::{TlsFiles, auth::Anonymous};

use crate::{
    args::{Access, AnonymousMode, LogFormat, LogLevel, ObjectFiles, Role, Serve},
    forwarding::{Forwarding, forwarding},
    given::{OF_STORES, STORAGE_PATH},
    place::PlaceFlags,
    value::{Address, ListenAddress, Maybe, Span},
};

/// Heads smaller than this could not hold a single large request while another one is flushed.
const HEAD_MEMORY_MIN_BYTES: u64 = 16 << 20;

/// With less there is no room to read two blocks and to write one.
const COMPACTION_MEMORY_MIN_BYTES: u64 = 96 << 20;

/// A store below this has no room for two logs and the blocks of them.
const STORAGE_MIN_BYTES: u64 = 512 << 20;
/// A read cache below this cannot hold what one query reads.
const READ_CACHE_MIN_BYTES: u64 = 16 << 20;
/// How long samples stay as they came: a look at last week is at single samples.
const RETENTION_RAW_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
/// When 10 s become an hour: a look at last month is for minutes of an incident, one farther back for a trend.
const RETENTION_TEN_SECONDS_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// Flags that do not fit together or say something impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {reason}")]
pub(crate) struct UsageError {
    /// The flag without dashes.
    pub(crate) flag: &'static str,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// Checked settings of `serve`.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Configuration file, if one was named.
    pub(crate) config_path: Option<PathBuf>,
    /// What this process does.
    pub(crate) role: Role,
    /// Where the store is, if the configuration does not say.
    pub(crate) place: PlaceFlags,
    /// Where to listen; at least one.
    pub(crate) addresses: Vec<ListenAddress>,
    /// What the wire needs to know.
    pub(crate) server: decima_server::Settings,
    /// Least severe messages to log.
    pub(crate) log_level: LogLevel,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// How the store is kept.
    pub(crate) store: decima_store::Settings,
    /// Bounds on what is pushed.
    pub(crate) limits: Limits,
    /// Labels of agents that belong to samples.
    pub(crate) sample_labels: BTreeSet<String>,
    /// Bounds on what is asked.
    pub(crate) query: decima_query::engine::Settings,
    /// How object files are kept.
    pub(crate) debuginfo: DebuginfoOptions,
    /// How they are read.
    pub(crate) resolver: ResolverOptions,
    /// Answers of symbolisation on disk; 0 = none.
    pub(crate) answers_bytes_max: u64,
    /// How long a query waits for that.
    pub(crate) symbolizer_timeout: Duration,
    /// Whom else to ask for them; nobody if it has no servers.
    pub(crate) debuginfod: DebuginfodOptions,
    /// Where to send everything on to, if this is no store.
    pub(crate) forward: Option<decima_forward::Settings>,
    /// Flags that were given and do nothing.
    pub(crate) without_effect: Vec<&'static str>,
}

impl Settings {
    /// Checks the flags of `serve` against each other.
    pub(crate) fn check(flags: Serve) -> Result<Self, UsageError> {
        if flags.head_memory.0 < HEAD_MEMORY_MIN_BYTES {
            return Err(UsageError { flag: "head-memory", reason: "must be at least 16MiB".to_owned() });
        }
        if flags.limits.flamegraph_nodes > flags.limits.flamegraph_nodes_max {
            let most = flags.limits.flamegraph_nodes_max;
            return Err(UsageError {
                flag: "flamegraph-nodes",
                reason: format!("must not be above --flamegraph-nodes-max ({most})"),
            });
        }
        if (1..COMPACTION_MEMORY_MIN_BYTES).contains(&flags.compaction_memory.0) {
            let reason = "must be at least 96MiB, or 0 to merge nothing".to_owned();
            return Err(UsageError { flag: "compaction-memory", reason });
        }
        let storage_max_bytes = Some(flags.storage_max_bytes.0).filter(|bytes| *bytes > 0);
        if storage_max_bytes.is_some_and(|bytes| bytes < STORAGE_MIN_BYTES) {
            let reason = "must be at least 512MiB, or 0 for no limit".to_owned();
            return Err(UsageError { flag: "storage-max-bytes", reason });
        }
        let tls = tls_files(&flags.access)?;
        let addresses = addresses(&flags, tls.is_some())?;
        let role = role(&flags)?;
        let read_cache = read_cache(&flags)?;
        let tiers = tiers(&flags);
        let profile_bytes_max = flags.limits.profile_size_max.as_usize();
        let Forwarding { forward, mut without_effect } =
            forwarding(flags.forward, &flags.debuginfo, &flags.storage_path, profile_bytes_max)?;
        if forward.is_some() {
            without_effect.extend(flags.given.iter().filter(|flag| OF_STORES.contains(*flag)));
        }
        if role == Role::Query && forward.is_some() {
            let reason = "query is over a store, and a forwarder has none".to_owned();
            return Err(UsageError { flag: "role", reason });
        }
        let debuginfo = debuginfo(&flags.debuginfo, &flags.storage_path);
        let debuginfod = debuginfod(&flags.debuginfo, flags.as_parca);
        let resolver = ResolverOptions {
            mode: flags.debuginfo.symbolizer_demangle_mode,
            memory_max_bytes: flags.debuginfo.symbolizer_memory.as_usize(),
            ..ResolverOptions::default()
        };
        Ok(Self {
            addresses,
            role,
            place: PlaceFlags {
                storage_path: flags.storage_path.clone(),
                is_storage_path_given: flags.given.contains(&STORAGE_PATH),
                log_path: flags.log_path.and_then(|Maybe(path)| path),
                abandon_log: flags.abandon_log,
                read_cache,
            },
            config_path: flags.config_path.and_then(|Maybe(path)| path),
            server: decima_server::Settings {
                path_prefix: path_prefix(&flags.path_prefix)?,
                cors_allowed_origins: without_empty(flags.cors_allowed_origins),
                access: access(flags.access)?,
                tls,
                ..decima_server::Settings::default()
            },
            log_level: flags.log_level,
            log_format: flags.log_format,
            store: decima_store::Settings {
                path: flags.storage_path,
                head_memory_bytes: flags.head_memory.0,
                retention: Some(flags.retention.0).filter(|age| !age.is_zero()),
                tiers,
                storage_max_bytes,
                ahead_max: flags.ahead_max.0,
                partition_labels: without_empty(flags.partition_labels),
                cache_bytes: flags.cache_memory.0,
                compaction_memory_bytes: flags.compaction_memory.0,
            },
            sample_labels: without_empty(flags.sample_labels).into_iter().collect(),
            limits: Limits {
                profile_bytes_max: flags.limits.profile_size_max.as_usize(),
                label_count_max: flags.limits.label_count_max,
                label_name_bytes_max: flags.limits.label_name_size_max.as_usize(),
                label_value_bytes_max: flags.limits.label_value_size_max.as_usize(),
                stack_depth_max: flags.limits.stack_depth_max,
            },
            query: decima_query::engine::Settings {
                node_default: flags.limits.flamegraph_nodes,
                node_max: flags.limits.flamegraph_nodes_max,
                report_bytes_max: flags.limits.report_size_max.as_usize(),
                memory_bytes: flags.query_memory.0,
                fold_bytes: flags.query_memory.0 / 2,
                allow_partial: flags.allow_partial,
            },
            debuginfo,
            resolver,
            answers_bytes_max: flags.debuginfo.symbolizer_cache_size.0,
            symbolizer_timeout: flags.debuginfo.symbolizer_timeout.0,
            debuginfod,
            forward,
            without_effect: flags.parca.given.into_iter().chain(without_effect).collect(),
        })
    }
}

/// Ages from which on samples are kept in less detail. Who keeps everything for ever and says nothing of tiers means it.
fn tiers(flags: &Serve) -> decima_store::Tiers {
    let given = |flag: &Option<Maybe<Span>>| flag.as_ref().and_then(|Maybe(span)| *span);
    let (raw, ten_seconds) = (given(&flags.retention_raw), given(&flags.retention_10s));
    if flags.retention.0.is_zero() && raw.is_none() && ten_seconds.is_none() {
        return decima_store::Tiers::default();
    }
    let or = |given: Option<Span>, default| {
        Some(given.map_or(default, |Span(age)| age)).filter(|age| !age.is_zero())
    };
    decima_store::Tiers {
        raw: or(raw, RETENTION_RAW_DEFAULT),
        ten_seconds: or(ten_seconds, RETENTION_TEN_SECONDS_DEFAULT),
    }
}

/// Where parts of blocks are kept, and how many bytes of them.
fn read_cache(flags: &Serve) -> Result<Option<(PathBuf, u64)>, UsageError> {
    let size_bytes = flags.read_cache_size.0;
    if size_bytes > 0 && size_bytes < READ_CACHE_MIN_BYTES {
        let reason = "must be at least 16MiB, or 0 for none".to_owned();
        return Err(UsageError { flag: "read-cache-size", reason });
    }
    let path = flags.read_cache_path.as_ref().and_then(|Maybe(path)| path.clone());
    Ok(path.filter(|_| size_bytes > 0).map(|path| (path, size_bytes)))
}

/// What the process does; a log is only for one that writes.
fn role(flags: &Serve) -> Result<Role, UsageError> {
    let role = match flags.role {
        Some(Maybe(Some(role))) => role,
        _ => Role::All,
    };
    let unused =
        |flag| Err(UsageError { flag, reason: "is not for --role query, which does not write".to_owned() });
    match role {
        Role::Query if matches!(flags.log_path, Some(Maybe(Some(_)))) => unused("log-path"),
        Role::Query if flags.abandon_log => unused("abandon-log"),
        role => Ok(role),
    }
}

fn debuginfo(flags: &ObjectFiles, storage_path: &Path) -> DebuginfoOptions {
    let unused = flags.debuginfo_retention.0;
    let unused_max_ns = if unused.is_zero() { None } else { i64::try_from(unused.as_nanos()).ok() };
    let cache = flags.debuginfo_cache_dir.as_ref().and_then(|Maybe(path)| path.clone());
    DebuginfoOptions {
        upload_max_bytes: flags.debuginfo_upload_max_size.0,
        upload_max_duration: flags.debuginfo_upload_max_duration.0,
        retention: retention::Limits {
            unused_max_ns: unused_max_ns.unwrap_or(i64::MAX),
            bytes_max: flags.debuginfo_retention_size.0,
        },
        cache_folder: cache.unwrap_or_else(|| storage_path.join("debuginfo-cache")),
        ..DebuginfoOptions::default()
    }
}

/// Which servers to ask. Build IDs tell others what runs here, so that nobody is asked unless somebody said so: started
/// under Parca's name, whoever did expects what Parca does.
fn debuginfod(flags: &ObjectFiles, as_parca: bool) -> DebuginfodOptions {
    let given = without_empty(flags.debuginfod_upstream_servers.clone());
    let servers = match given.as_slice() {
        [] if as_parca => DebuginfodOptions::default().servers,
        [none] if none == "none" => Vec::new(),
        _ => given,
    };
    DebuginfodOptions {
        servers,
        request_timeout: flags.debuginfod_http_request_timeout.0,
        file_max_bytes: flags.debuginfo_upload_max_size.0.max(DebuginfodOptions::default().file_max_bytes),
        ..DebuginfodOptions::default()
    }
}

/// Where to listen: on loopback unless flags say otherwise; as Parca does if started under its name.
fn addresses(flags: &Serve, has_certificate: bool) -> Result<Vec<ListenAddress>, UsageError> {
    if let Some(Maybe(Some(address))) = &flags.port {
        return checked_addresses("port", vec![address.clone()], has_certificate);
    }
    let given: Vec<_> = flags.http_address.iter().filter_map(|Maybe(address)| address.clone()).collect();
    if !given.is_empty() {
        return checked_addresses("http-address", given, has_certificate);
    }
    let host = if flags.as_parca { "" } else { "127.0.0.1" };
    Ok(vec![ListenAddress { tls: None, address: Address { host: host.to_owned(), port: 7070 } }])
}

fn checked_addresses(
    flag: &'static str,
    addresses: Vec<ListenAddress>,
    has_certificate: bool,
) -> Result<Vec<ListenAddress>, UsageError> {
    if !has_certificate && addresses.iter().any(|address| address.tls == Some(true)) {
        return Err(UsageError { flag, reason: "https needs --tls-cert-file and --tls-key-file".to_owned() });
    }
    Ok(addresses)
}

fn access(flags: Access) -> Result<decima_server::Access, UsageError> {
    let anonymous = flags.auth_anonymous.and_then(|Maybe(mode)| mode);
    let tokens_file = guard("auth-tokens-file", flags.auth_tokens_file)?;
    if anonymous.is_some() && tokens_file.is_none() {
        let reason = "needs --auth-tokens-file: without one, everybody may do everything".to_owned();
        return Err(UsageError { flag: "auth-anonymous", reason });
    }
    let anonymous = match anonymous {
        None | Some(AnonymousMode::None) => Anonymous::None,
        Some(AnonymousMode::Metrics) => Anonymous::Metrics,
        Some(AnonymousMode::Read) => Anonymous::Read,
    };
    Ok(decima_server::Access { tokens_file, anonymous })
}

/// Without a certificate nobody is let in unnoticed: clients that expect TLS fail. So a blank pair means none.
fn tls_files(flags: &Access) -> Result<Option<TlsFiles>, UsageError> {
    let named = |flag: &Option<Maybe<PathBuf>>| flag.clone().and_then(|Maybe(path)| path);
    let client_ca = guard("tls-client-ca-file", flags.tls_client_ca_file.clone())?;
    let missing = |flag, other| Err(UsageError { flag, reason: format!("needs {other} too") });
    match (named(&flags.tls_cert_file), named(&flags.tls_key_file)) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
        (Some(_), None) => missing("tls-cert-file", "--tls-key-file"),
        (None, Some(_)) => missing("tls-key-file", "--tls-cert-file"),
        (None, None) if client_ca.is_some() => {
            missing("tls-client-ca-file", "--tls-cert-file and --tls-key-file")
        }
        (None, None) => Ok(None),
    }
}

/// A file that keeps others out. Left blank it is one that is missing, not one that was not asked for: a template
/// without a value must not open the store.
fn guard(flag: &'static str, file: Option<Maybe<PathBuf>>) -> Result<Option<PathBuf>, UsageError> {
    match file {
        None => Ok(None),
        Some(Maybe(Some(path))) => Ok(Some(path)),
        Some(Maybe(None)) => Err(UsageError {
            flag,
            reason: "is empty: name the file, or leave the flag out to ask nobody".to_owned(),
        }),
    }
}

/// Gives a prefix the form `/a/b`, or `` for none.
fn path_prefix(text: &str) -> Result<String, UsageError> {
    let path = text.trim_matches('/');
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if !path.chars().all(allowed) || path.contains("//") {
        let reason = format!("{text:?} is not a path of letters, digits, '-', '_', '.', '~' and '/'");
        return Err(UsageError { flag: "path-prefix", reason });
    }
    Ok(if path.is_empty() { String::new() } else { format!("/{path}") })
}

fn without_empty(words: Vec<String>) -> Vec<String> {
    words.into_iter().map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args::Arguments;

    fn checked(flags: &[&str]) -> Result<Settings, UsageError> {
        let line = std::iter::once("decima").chain(flags.iter().copied()).map(OsString::from);
        Settings::check(Arguments::parse_from_line(line).expect("flags parse").serve)
    }

    #[test]
    fn defaults() {
        let settings = checked(&[]).unwrap();
        let address = Address { host: "127.0.0.1".to_owned(), port: 7070 };
        assert_eq!(settings.addresses, [ListenAddress { tls: None, address }]);
        assert!(settings.server.access.tokens_file.is_none() && settings.server.tls.is_none());
        assert_eq!(settings.store.path, PathBuf::from("data"));
        assert_eq!(settings.store.retention, Some(Duration::from_secs(15 * 86_400)));
        assert_eq!(settings.sample_labels, ["cpu", "thread_id", "thread_name"].map(str::to_owned).into());
        assert_eq!(settings.store.partition_labels, ["job", "service_name", "service", "container", "comm"]);
        assert_eq!(settings.config_path, None);
        assert!(settings.server.cors_allowed_origins.is_empty());
        assert!(settings.without_effect.is_empty());
    }

    #[test]
    fn empty_values_are_defaults() {
        let settings = checked(&[
            "--config-path=",
            "--http-address=",
            "--storage-path=",
            "--log-path=",
            "--read-cache-path=",
            "--read-cache-size=",
            "--role=",
            "--abandon-log=",
            "--log-level=",
            "--log-format=",
            "--path-prefix=",
            "--cors-allowed-origins=",
            "--retention=",
            "--retention-raw=",
            "--retention-10s=",
            "--storage-max-bytes=",
            "--head-memory=",
            "--allow-partial=",
            "--port=",
        ])
        .unwrap();
        assert_eq!(settings.config_path, None);
        assert_eq!(settings.addresses[0].address.port, 7070);
        assert_eq!(settings.store.path, PathBuf::from("data"));
        assert!(settings.server.cors_allowed_origins.is_empty());
        assert!(!settings.query.allow_partial);
    }

    #[test]
    fn a_read_cache_has_a_place_and_a_size() {
        let check = |flags: &[&str], expected: Option<(&str, u64)>| {
            let expected = expected.map(|(path, size_bytes)| (PathBuf::from(path), size_bytes));
            assert_eq!(checked(flags).unwrap().place.read_cache, expected, "{flags:?}");
        };
        check(&[], None);
        check(&["--read-cache-path=cache"], Some(("cache", 10 << 30)));
        check(&["--read-cache-path=cache", "--read-cache-size=64MiB"], Some(("cache", 64 << 20)));
        check(&["--read-cache-path=cache", "--read-cache-size=0"], None);
    }

    #[test]
    fn switches() {
        let check = |flag: &str, expected: bool| {
            assert_eq!(checked(&[flag]).unwrap().query.allow_partial, expected, "{flag}");
        };
        check("--allow-partial", true);
        check("--allow-partial=true", true);
        check("--allow-partial=false", false);
    }

    #[test]
    fn addresses() {
        let check = |flags: &[&str], expected: &[(&str, u16)]| {
            let addresses = checked(flags).unwrap().addresses;
            let got: Vec<_> =
                addresses.iter().map(|listen| (listen.address.host.as_str(), listen.address.port)).collect();
            assert_eq!(got, expected, "{flags:?}");
        };
        check(&["--http-address", ":7070"], &[("", 7070)]);
        check(&["--http-address=localhost:7171"], &[("localhost", 7171)]);
        check(&["--http-address=localhost:1", "--http-address=http://:2"], &[("localhost", 1), ("", 2)]);
        check(&["--http-address=localhost:7171", "--port=:9090"], &[("", 9090)]);
    }

    #[test]
    fn under_the_name_of_parca() {
        let parsed = |program: &str, flags: &[&str]| {
            let line = std::iter::once(program).chain(flags.iter().copied()).map(OsString::from);
            Arguments::parse_from_line(line)
        };
        let host = |program: &str, flags: &[&str]| {
            let settings = Settings::check(parsed(program, flags).unwrap().serve).unwrap();
            settings.addresses[0].address.host.clone()
        };
        assert_eq!(host("/parca", &[]), "");
        assert_eq!(host("parca", &["--http-address=localhost:7070"]), "localhost");
        assert_eq!(host("/usr/bin/decima", &[]), "127.0.0.1");
        let version = parsed("/parca", &["--version"]).unwrap_err().to_string();
        let expected = format!("parca, version {} (commit: ", env!("CARGO_PKG_VERSION"));
        assert!(version.starts_with(&expected), "{version}");
    }

    #[test]
    fn the_last_of_several_wins_as_in_parca() {
        let path = |program: &str| {
            let line = [program, "--storage-path=a", "--insecure", "--storage-path=b", "--insecure=no"]
                .map(OsString::from);
            let settings = Settings::check(Arguments::parse_from_line(line).ok()?.serve).ok()?;
            Some(settings.place.storage_path)
        };
        assert_eq!(path("/parca"), Some(PathBuf::from("b")));
        assert_eq!(path("/usr/bin/decima"), None, "a slip of whoever starts it");
        let line =
            ["parca", "--http-address=:1", "--http-address=:2", "--external-label=a=b"].map(OsString::from);
        let settings = Settings::check(Arguments::parse_from_line(line).unwrap().serve).unwrap();
        assert_eq!(settings.addresses.len(), 2, "what may be repeated adds up");
    }

    #[test]
    fn a_forwarder_has_no_use_for_flags_of_stores() {
        let forwarder = ["--mode=forwarder", "--store-address=store:1", "--storage-path=x"];
        let check = |flags: &[&str], expected: &[&str]| {
            let without_effect = |flags: &[&str]| checked(flags).unwrap().without_effect;
            assert_eq!(without_effect(&[&forwarder, flags].concat()), expected, "{flags:?}");
            assert!(without_effect(flags).is_empty(), "{flags:?}");
        };
        check(&[], &[]);
        check(
            &["--debuginfo-cache-dir=x", "--symbolizer-timeout=1s"],
            &["debuginfo-cache-dir", "symbolizer-timeout"],
        );
        check(&["--debuginfo-cache-dir=", "--retention="], &[]);
        check(&["--retention=1d", "--profile-size-max=1MiB"], &["retention"]);
        let line = ["decima", "serve", "--head-memory=1GiB"].iter().chain(&forwarder).map(OsString::from);
        let Some(crate::args::Command::Serve(serve)) = Arguments::parse_from_line(line).unwrap().command
        else {
            panic!("it is serve");
        };
        assert_eq!(Settings::check(*serve).unwrap().without_effect, ["head-memory"]);
    }

    #[test]
    fn access_flags_fit_together() {
        let check = |flags: &[&str], named: Option<&str>| {
            assert_eq!(checked(flags).map(|_| ()).err().map(|error| error.flag), named, "{flags:?}");
        };
        let pair = ["--tls-cert-file=c", "--tls-key-file=k"];
        check(&["--auth-tokens-file=t"], None);
        check(&["--auth-tokens-file=t", "--auth-anonymous=read"], None);
        check(&["--auth-anonymous=read"], Some("auth-anonymous"));
        check(&["--auth-anonymous=none"], Some("auth-anonymous"));
        check(&["--auth-anonymous="], None);
        check(&["--auth-tokens-file="], Some("auth-tokens-file"));
        check(&["--tls-cert-file=", "--tls-key-file="], None);
        check(&["--tls-cert-file=", pair[1]], Some("tls-key-file"));
        check(&[pair[0], pair[1], "--tls-client-ca-file="], Some("tls-client-ca-file"));
        check(&pair, None);
        check(&pair[..1], Some("tls-cert-file"));
        check(&pair[1..], Some("tls-key-file"));
        check(&["--tls-client-ca-file=c"], Some("tls-client-ca-file"));
        check(&["--http-address=https://:7070"], Some("http-address"));
        check(&["--port=https://:7070"], Some("port"));
        check(&["--http-address=http://:7070"], None);
        let with_anonymous = |mode: &str| {
            let mode = format!("--auth-anonymous={mode}");
            checked(&["--auth-tokens-file=t", &mode]).unwrap().server.access.anonymous
        };
        assert_eq!(with_anonymous("none"), Anonymous::None);
        assert_eq!(with_anonymous("metrics"), Anonymous::Metrics);
        assert_eq!(with_anonymous("read"), Anonymous::Read);
        assert_eq!(with_anonymous(""), Anonymous::None);
    }

    #[test]
    fn debuginfod_is_asked_by_whoever_says_so() {
        let check = |flags: &[&str], expected: &[&str]| {
            assert_eq!(checked(flags).unwrap().debuginfod.servers, expected, "{flags:?}");
        };
        check(&[], &[]);
        check(&["--debuginfod-upstream-servers="], &[]);
        check(&["--debuginfod-upstream-servers=none"], &[]);
        check(&["--debuginfod-upstream-servers=a,https://b/c"], &["a", "https://b/c"]);
        let as_parca = |flag: &str| {
            let line = ["/usr/bin/parca", flag].map(OsString::from);
            Settings::check(Arguments::parse_from_line(line).unwrap().serve).unwrap().debuginfod.servers
        };
        assert_eq!(as_parca("--debuginfod-upstream-servers="), ["debuginfod.elfutils.org"]);
        assert!(as_parca("--debuginfod-upstream-servers=none").is_empty());
    }

    #[test]
    fn object_files_have_their_own_retention() {
        let limits = |flags: &[&str]| checked(flags).unwrap().debuginfo.retention;
        assert_eq!(limits(&[]), retention::Limits::default());
        let given = limits(&["--debuginfo-retention=1h", "--debuginfo-retention-size=1MB"]);
        assert_eq!((given.unused_max_ns, given.bytes_max), (3_600_000_000_000, 1_000_000));
        assert_eq!(limits(&["--debuginfo-retention=0"]).unused_max_ns, i64::MAX);
    }

    #[test]
    fn memory_of_a_compaction() {
        let memory =
            |flag: &str| checked(&[flag]).map(|s| s.store.compaction_memory_bytes).map_err(|e| e.flag);
        assert_eq!(memory("--compaction-memory=0"), Ok(0));
        assert_eq!(memory("--compaction-memory=96MiB"), Ok(96 << 20));
        assert_eq!(memory("--compaction-memory=95MiB"), Err("compaction-memory"));
    }

    #[test]
    fn size_of_the_store() {
        let max = |flag: &str| checked(&[flag]).map(|s| s.store.storage_max_bytes).map_err(|e| e.flag);
        assert_eq!(checked(&[]).unwrap().store.storage_max_bytes, None);
        assert_eq!(max("--storage-max-bytes=0"), Ok(None));
        assert_eq!(max("--storage-max-bytes=1GiB"), Ok(Some(1 << 30)));
        assert_eq!(max("--storage-max-bytes=1MiB"), Err("storage-max-bytes"));
    }

    #[test]
    fn tiers() {
        let check = |flags: &[&str], raw_days: Option<u64>, ten_seconds_days: Option<u64>| {
            let days = |days: Option<u64>| days.map(|days| Duration::from_secs(days * 86_400));
            let expected = decima_store::Tiers { raw: days(raw_days), ten_seconds: days(ten_seconds_days) };
            assert_eq!(checked(flags).unwrap().store.tiers, expected, "{flags:?}");
        };
        check(&[], Some(7), Some(30));
        check(&["--retention=365d"], Some(7), Some(30));
        check(&["--retention=0"], None, None);
        check(&["--retention=0", "--retention-raw="], None, None);
        check(&["--retention=0", "--retention-raw=3d"], Some(3), Some(30));
        check(&["--retention=0", "--retention-10s=60d"], Some(7), Some(60));
        check(&["--retention=90d", "--retention-raw=0"], None, Some(30));
        check(&["--retention=90d", "--retention-10s=0"], Some(7), None);
    }

    #[test]
    fn retention_of_zero_is_for_ever() {
        assert_eq!(checked(&["--retention=0"]).unwrap().store.retention, None);
        assert_eq!(
            checked(&["--retention", "36h"]).unwrap().store.retention,
            Some(Duration::from_secs(36 * 3600))
        );
    }

    #[test]
    fn path_prefixes() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let got = checked(&["--path-prefix", text]).map(|settings| settings.server.path_prefix);
            assert_eq!(got.as_deref().map_err(|error| error.flag), expected, "{text}");
        };
        check("", Ok(""));
        check("/", Ok(""));
        check("parca", Ok("/parca"));
        check("/a/b/", Ok("/a/b"));
        check("/a//b", Err("path-prefix"));
        check("/a?b", Err("path-prefix"));
    }

    #[test]
    fn impossible_settings_name_their_flag() {
        let check =
            |flags: &[&str], flag: &str| assert_eq!(checked(flags).map(|_| ()).unwrap_err().flag, flag);
        check(&["--head-memory=1MiB"], "head-memory");
        check(&["--read-cache-path=cache", "--read-cache-size=1MiB"], "read-cache-size");
        check(&["--role=query", "--log-path=log"], "log-path");
        check(&["--role=query", "--abandon-log"], "abandon-log");
        check(&["--flamegraph-nodes=10", "--flamegraph-nodes-max=5"], "flamegraph-nodes");
    }

    #[test]
    fn flags_of_parca_without_meaning_are_named_and_not_read() {
        let settings = checked(&[
            "--enable-persistence",
            "--storage-enable-wal=true",
            "--storage-active-memory=536870912",
            "--insecure=false",
            "--mode",
            "all",
            "--otlp-address=",
            "--external-label=a=b;c=d",
        ])
        .unwrap();
        let mut given = settings.without_effect;
        given.sort_unstable();
        assert_eq!(
            given,
            [
                "enable-persistence",
                "external-label",
                "insecure",
                "otlp-address",
                "storage-active-memory",
                "storage-enable-wal",
            ]
        );
    }
}
