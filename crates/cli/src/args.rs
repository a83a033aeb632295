//! The command line as typed: every flag, its value parsed, nothing checked against anything else.
//!
//! Flags carry Parca's names where Parca has one, and its ways to write values: `--flag=false`, an empty value (which
//! means the default), `15d`, `512MiB`, `:7070`. Flags of Parca without meaning here are in [`crate::parca_flags`].
//! What the flags mean together is [`crate::settings`].

use std::{ffi::OsString, path::PathBuf, sync::LazyLock};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use decima_server::auth::Scope;
use decima_symbols::demangle;

use crate::{
    given::given,
    parca_flags::ParcaFlags,
    value::{self, Bytes, ListenAddress, Moment, Span},
};

/// Continuous profiling: stores profiles, answers queries, shows flame graphs.
#[derive(Debug, Parser)]
#[command(name = "decima", version, about, args_conflicts_with_subcommands = true, max_term_width = 120)]
pub(crate) struct Arguments {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Flags of `serve`, for starts without a subcommand.
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the store with its page and its scraper (the default).
    Serve(Box<Serve>),
    /// Store pprof files in a running store.
    Upload(Upload),
    /// Print what the page shows for a selector.
    Query(Query),
    /// List what a store holds.
    Inspect(Inspect),
    /// Check a configuration file.
    CheckConfig(CheckConfig),
    /// List the object files of a running store, and upload more: what addresses are symbolised with.
    #[command(subcommand)]
    Debuginfo(Debuginfo),
    /// Make, list and revoke tokens of a tokens file.
    #[command(subcommand)]
    Token(Token),
}

/// Flags of `decima serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration in Parca's format. Without one, the store scrapes itself.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) config_path: Option<value::Maybe<PathBuf>>,
    /// Address to listen on: `host:port`, `:port` for all interfaces, port 0 for any free one. May be repeated. `http://` or
    /// `https://` before it says how; else it is TLS if there is a certificate, except on loopback. [default:
    /// 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS", value_parser = value::optional(ListenAddress::parse))]
    pub(crate) http_address: Vec<value::Maybe<ListenAddress>>,
    /// Parca's old name for --http-address; wins over it.
    #[arg(long, value_name = "ADDRESS", hide = true, value_parser = value::optional(ListenAddress::parse))]
    pub(crate) port: Option<value::Maybe<ListenAddress>>,
    /// Data directory, unless `object_storage` of the configuration names a bucket.
    #[arg(long, value_name = "DIR", default_value = "data", value_parser = value::or_default(value::path, "data"))]
    pub(crate) storage_path: PathBuf,
    /// What this process does. [default: all]
    #[arg(long, value_name = "ROLE", value_parser = value::optional(value::choice::<Role>))]
    pub(crate) role: Option<value::Maybe<Role>>,
    /// Directory for the log, on a disk of this machine; else it is beside the blocks.
    #[arg(long, value_name = "DIR", value_parser = value::optional(value::path))]
    pub(crate) log_path: Option<value::Maybe<PathBuf>>,
    /// Begin a new log although the one that the blocks belong to is elsewhere. What only that one holds is lost.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = value::or_default(value::flag, "false"))]
    pub(crate) abandon_log: bool,
    /// Directory, on a disk of this machine, for what queries read of blocks in a bucket. It may be deleted at any time.
    #[arg(long, value_name = "DIR", value_parser = value::optional(value::path))]
    pub(crate) read_cache_path: Option<value::Maybe<PathBuf>>,
    /// Size of what is kept there; 0 = nothing.
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = value::or_default(Bytes::parse, "10GiB"))]
    pub(crate) read_cache_size: Bytes,
    /// Least severe messages to log.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = value::or_default(value::choice::<LogLevel>, "info"))]
    pub(crate) log_level: LogLevel,
    /// How to write log lines.
    #[arg(long, value_name = "FORMAT", default_value = "logfmt", value_parser = value::or_default(value::choice::<LogFormat>, "logfmt"))]
    pub(crate) log_format: LogFormat,
    /// Path under which everything is served, when a proxy in front keeps it.
    #[arg(long, value_name = "PATH", default_value = "")]
    pub(crate) path_prefix: String,
    /// Origins whose pages may call this server; `*` for all. Separated by commas or given several times.
    #[arg(long, value_name = "ORIGINS", value_delimiter = ',')]
    pub(crate) cors_allowed_origins: Vec<String>,
    /// How long samples are kept; 0 = for ever.
    #[arg(long, value_name = "DURATION", default_value = "15d", value_parser = value::or_default(Span::parse, "15d"))]
    pub(crate) retention: Span,
    /// How long samples stay as they came, before they become sums of 10 s without sample attributes; 0 = for as long as they are
    /// kept. [default: 7d, or never with `--retention=0` alone]
    #[arg(long, value_name = "DURATION", value_parser = value::optional(Span::parse))]
    pub(crate) retention_raw: Option<value::Maybe<Span>>,
    /// How long it takes until samples are sums of an hour instead of 10 s; 0 = never. [default: 30d, or never with
    /// `--retention=0` alone]
    #[arg(long = "retention-10s", value_name = "DURATION", value_parser = value::optional(Span::parse))]
    pub(crate) retention_10s: Option<value::Maybe<Span>>,
    /// Size of log and blocks. The coarsest and oldest blocks go before it is reached; at it profiles are refused. 0 = no limit.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = value::or_default(Bytes::parse, "0"))]
    pub(crate) storage_max_bytes: Bytes,
    /// How far ahead of this machine's clock a sample may be.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = value::or_default(Span::parse, "10m"))]
    pub(crate) ahead_max: Span,
    /// Memory for samples that are not in a block yet. Writers wait, then are refused, beyond it.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = value::or_default(Bytes::parse, "1GiB"))]
    pub(crate) head_memory: Bytes,
    /// Memory for decoded parts of blocks.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = value::or_default(Bytes::parse, "256MiB"))]
    pub(crate) cache_memory: Bytes,
    /// Memory for what queries read and add up, all together. They wait for it in their order; one that needs more is refused.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = value::or_default(Bytes::parse, "1GiB"))]
    pub(crate) query_memory: Bytes,
    /// Memory that merging blocks may take; blocks that need more stay as they are. 0 = blocks are never merged.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = value::or_default(Bytes::parse, "256MiB"))]
    pub(crate) compaction_memory: Bytes,
    /// Labels that tell which samples belong together on disk; the first one that a series has counts.
    #[arg(
        long,
        value_name = "LABELS",
        value_delimiter = ',',
        default_value = "job,service_name,service,container,comm"
    )]
    pub(crate) partition_labels: Vec<String>,
    /// Labels of agents that belong to single samples and make no series; others that turn out to differ within a thread are found.
    #[arg(long, value_name = "LABELS", value_delimiter = ',', default_value = "cpu,thread_id,thread_name")]
    pub(crate) sample_labels: Vec<String>,
    /// Answer queries without damaged blocks, and say what is missing, rather than fail.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = value::or_default(value::flag, "false"))]
    pub(crate) allow_partial: bool,
    /// Whom to let in.
    #[command(flatten)]
    pub(crate) access: Access,
    /// Bounds on what one request may carry.
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Object files.
    #[command(flatten)]
    pub(crate) debuginfo: ObjectFiles,
    /// Sending on instead of storing.
    #[command(flatten)]
    pub(crate) forward: Forward,
    /// Whether the program was started under Parca's name.
    #[arg(skip)]
    pub(crate) as_parca: bool,
    /// Flags that may be without effect and were given, see [`crate::given`].
    #[arg(skip)]
    pub(crate) given: Vec<&'static str>,
    /// Parca's flags without meaning here.
    #[command(flatten)]
    pub(crate) parca: ParcaFlags,
}

/// Whom to let in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// Who may do what, as `decima token` writes it. Changes are taken within seconds; an empty file lets nobody in. Without
    /// this flag everybody may do everything.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) auth_tokens_file: Option<value::Maybe<PathBuf>>,
    /// What needs no token although there is a tokens file. [default: none]
    #[arg(long, value_name = "WHAT", value_parser = value::optional(value::choice::<AnonymousMode>))]
    pub(crate) auth_anonymous: Option<value::Maybe<AnonymousMode>>,
    /// Certificate of the server, with those between it and its authority, PEM. Changes are taken within seconds.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) tls_cert_file: Option<value::Maybe<PathBuf>>,
    /// Key of this certificate, PEM.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) tls_key_file: Option<value::Maybe<PathBuf>>,
    /// Authorities of clients, PEM: with TLS, everything but health needs a certificate of theirs, besides a token. Addresses
    /// without TLS ask for none.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) tls_client_ca_file: Option<value::Maybe<PathBuf>>,
}

/// What needs no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnonymousMode {
    /// Health only.
    None,
    /// And metrics and profiles of the server itself.
    Metrics,
    /// And questions.
    Read,
}

/// Bounds on what one request may carry or ask for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Size of one decompressed profile.
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = value::or_default(Bytes::parse, "128MiB"))]
    pub(crate) profile_size_max: Bytes,
    /// Labels of one series.
    #[arg(long, value_name = "N", default_value = "64", value_parser = value::or_default(value::count, "64"))]
    pub(crate) label_count_max: usize,
    /// Length of a label name.
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = value::or_default(Bytes::parse, "1KiB"))]
    pub(crate) label_name_size_max: Bytes,
    /// Length of a label value.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = value::or_default(Bytes::parse, "4KiB"))]
    pub(crate) label_value_size_max: Bytes,
    /// Locations of one stacktrace.
    #[arg(long, value_name = "N", default_value = "8192", value_parser = value::or_default(value::count, "8192"))]
    pub(crate) stack_depth_max: usize,
    /// Nodes of a flame graph unless the request asks for another number.
    #[arg(long, value_name = "N", default_value = "16384", value_parser = value::or_default(value::count, "16384"))]
    pub(crate) flamegraph_nodes: usize,
    /// Nodes of a flame graph that a request may ask for.
    #[arg(long, value_name = "N", default_value = "1048576", value_parser = value::or_default(value::count, "1048576"))]
    pub(crate) flamegraph_nodes_max: usize,
    /// Size of one report.
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = value::or_default(Bytes::parse, "64MiB"))]
    pub(crate) report_size_max: Bytes,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Takes profiles and answers queries.
    All,
    /// Only answers queries, beside the one process that writes to the same bucket.
    Query,
}

/// Object files: which are taken, kept and asked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Debuginfo")]
pub(crate) struct ObjectFiles {
    /// Size of one uploaded object file.
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = value::or_default(Bytes::parse, "1GB"))]
    pub(crate) debuginfo_upload_max_size: Bytes,
    /// How long one upload may take.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = value::or_default(Span::parse, "15m"))]
    pub(crate) debuginfo_upload_max_duration: Span,
    /// How long an object file is kept that nothing needs; 0 = for ever.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = value::or_default(Span::parse, "30d"))]
    pub(crate) debuginfo_retention: Span,
    /// Size of all object files; beyond it those go that were not needed for longest.
    #[arg(long, value_name = "SIZE", default_value = "20GB", value_parser = value::or_default(Bytes::parse, "20GB"))]
    pub(crate) debuginfo_retention_size: Bytes,
    /// Folder for object files while they are fetched, and for the answers of symbolisation. [default: `debuginfo-cache` in the data directory]
    #[arg(long, value_name = "DIR", value_parser = value::optional(value::path))]
    pub(crate) debuginfo_cache_dir: Option<value::Maybe<PathBuf>>,
    /// debuginfod servers that are asked for object files which nobody uploaded, by build ID, first one first; `none` for
    /// none. Separated by commas or given several times. [default: none]
    #[arg(long, value_name = "SERVERS", value_delimiter = ',')]
    pub(crate) debuginfod_upstream_servers: Vec<String>,
    /// How names of C++ and Rust are shown: `simple` (neither parameters nor template arguments), `templates` (no parameters),
    /// `full`, or `none` (as in the file).
    #[arg(long, value_name = "MODE", default_value = "simple", value_parser = value::or_default(value::demangle_mode, "simple"))]
    pub(crate) symbolizer_demangle_mode: demangle::Mode,
    /// Memory for what is read of object files, besides the files themselves, which the system maps.
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = value::or_default(Bytes::parse, "512MiB"))]
    pub(crate) symbolizer_memory: Bytes,
    /// Size of the answers of symbolisation that are kept on disk, so that nothing is read again after a restart; 0 = none.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = value::or_default(Bytes::parse, "256MiB"))]
    pub(crate) symbolizer_cache_size: Bytes,
    /// How long a query waits for functions; what is not known by then stays an address until the next query.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = value::or_default(Span::parse, "2s"))]
    pub(crate) symbolizer_timeout: Span,
    /// How long a debuginfod server may take for one file.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = value::or_default(Span::parse, "5m"))]
    pub(crate) debuginfod_http_request_timeout: Span,
}

/// Sending on to another store instead of storing.
#[derive(Debug, Args)]
#[command(next_help_heading = "Forwarding")]
pub(crate) struct Forward {
    /// `all`: store, and answer queries. `forwarder` or `scraper-only`, which are the same: send everything that is scraped or
    /// comes in on to --store-address, by way of a spool in the data directory.
    #[arg(long, value_name = "MODE", default_value = "all", value_parser = value::or_default(value::choice::<Mode>, "all"))]
    pub(crate) mode: Mode,
    /// The remote store: `host:port`, with TLS unless --insecure, or a URL.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) store_address: Option<String>,
    /// Token to show to the remote store. Others on this machine can see it in the list of processes: a file is better.
    #[arg(long, value_name = "TOKEN", env = "PARCA_BEARER_TOKEN", hide_env_values = true)]
    pub(crate) bearer_token: Option<String>,
    /// File with the token to show. It goes before --bearer-token, and changes are taken within seconds.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) bearer_token_file: Option<value::Maybe<PathBuf>>,
    /// Speak to the remote store without TLS.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = value::or_default(value::flag, "false"))]
    pub(crate) insecure: Option<bool>,
    /// Do not look at the certificate of the remote store.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = value::or_default(value::flag, "false"))]
    pub(crate) insecure_skip_verify: Option<bool>,
    /// Authorities to trust for the remote store instead of the system's, PEM.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) store_ca_file: Option<value::Maybe<PathBuf>>,
    /// Labels of everything that is sent on, `name=value`, separated by semicolons or given several times; they win over
    /// those of senders and targets.
    #[arg(long, value_name = "LABELS", value_parser = value::pairs)]
    pub(crate) external_label: Vec<value::Pairs>,
    /// Headers of requests to the remote store, written the same way.
    #[arg(long, value_name = "HEADERS", value_parser = value::pairs)]
    pub(crate) grpc_headers: Vec<value::Pairs>,
    /// Size of the spool. Beyond it, the oldest requests are dropped.
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = value::or_default(Bytes::parse, "4GiB"))]
    pub(crate) spool_max_bytes: Bytes,
    /// Size of the object files in the spool, beside the requests; beyond it no more are taken, and senders ask again. 0 = none.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = value::or_default(Bytes::parse, "2GiB"))]
    pub(crate) spool_debuginfo_max_bytes: Bytes,
    /// How long requests and object files may wait in the spool; older ones are dropped.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = value::or_default(Span::parse, "24h"))]
    pub(crate) spool_max_age: Span,
}

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Stores profiles and answers queries.
    All,
    /// Sends everything on.
    Forwarder,
    /// Sends everything on.
    ScraperOnly,
}

/// Severity of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what is odd.
    Warn,
    /// And what happens now and then.
    Info,
    /// And what happens all the time.
    Debug,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Where a running store is.
#[derive(Debug, Args)]
pub(crate) struct Remote {
    /// URL of the running store, with its path prefix if it has one.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7070", value_parser = value::or_default(value::store_url, "http://127.0.0.1:7070"))]
    pub(crate) address: String,
    /// Token to show. Others on this machine can see it in the list of processes: a file is better.
    #[arg(long, value_name = "TOKEN", env = "DECIMA_BEARER_TOKEN", hide_env_values = true)]
    pub(crate) bearer_token: Option<String>,
    /// File with the token to show.
    #[arg(long, value_name = "FILE", conflicts_with = "bearer_token", value_parser = value::optional(value::path))]
    pub(crate) bearer_token_file: Option<value::Maybe<PathBuf>>,
    /// Authorities to trust instead of the system's, PEM.
    #[arg(long, value_name = "FILE", value_parser = value::optional(value::path))]
    pub(crate) tls_ca: Option<value::Maybe<PathBuf>>,
    /// Send requests, and the token, without TLS.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = value::or_default(value::flag, "false"))]
    pub(crate) insecure: bool,
}

/// Flags of `decima token`.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it, for the only time.
    Create {
        /// Tokens file; made if it is not there.
        #[arg(long, value_name = "FILE", value_parser = value::file)]
        file: PathBuf,
        /// Whom it is for.
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it allows: read, write or admin.
        #[arg(long, value_name = "SCOPE")]
        scope: Scope,
    },
    /// Print names, scopes and hashes.
    List {
        /// Tokens file.
        #[arg(long, value_name = "FILE", value_parser = value::file)]
        file: PathBuf,
    },
    /// Take a token away.
    Revoke {
        /// Tokens file.
        #[arg(long, value_name = "FILE", value_parser = value::file)]
        file: PathBuf,
        /// Whom it was for.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
}

/// Flags of `decima debuginfo`.
#[derive(Debug, Subcommand)]
pub(crate) enum Debuginfo {
    /// List all files.
    List {
        /// Where the store is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Print all that is known of a build ID.
    Show {
        /// The build ID, under any name that the file is known by.
        #[arg(value_name = "BUILD ID")]
        build_id: String,
        /// Where the store is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Upload ELF files: programs, shared libraries, or their debug information.
    Upload(DebuginfoUpload),
}

/// Flags of `decima debuginfo upload`.
#[derive(Debug, Args)]
pub(crate) struct DebuginfoUpload {
    /// Files.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Build ID, if it is not the one in the file; only with one file.
    #[arg(long, value_name = "BUILD ID")]
    pub(crate) build_id: Option<String>,
    /// The file is the program as it runs, beside debug information that is uploaded too.
    #[arg(long)]
    pub(crate) executable: bool,
    /// Upload it although the store has it already.
    #[arg(long)]
    pub(crate) force: bool,
    /// Where the store is.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Flags of `decima upload`.
#[derive(Debug, Args)]
pub(crate) struct Upload {
    /// Pprof files (gzip, zstd or plain); `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Label of the stored series, may be repeated.
    #[arg(long = "label", short = 'l', value_name = "NAME=VALUE", value_parser = value::label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Profile name; derived from the sample types when left out or empty.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Where the store is.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Flags of `decima query`.
#[derive(Debug, Args)]
pub(crate) struct Query {
    /// Profile type and matchers, such as `process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{job="api"}`.
    #[arg(value_name = "SELECTOR")]
    pub(crate) selector: String,
    /// Start: RFC 3339, Unix seconds or milliseconds, or an age such as `1h`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = value::or_default(Moment::parse, "1h"))]
    pub(crate) from: Moment,
    /// End, written like the start, or `now`.
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = value::or_default(Moment::parse, "now"))]
    pub(crate) to: Moment,
    /// What to print.
    #[arg(long, value_name = "FORMAT", default_value = "top", value_parser = value::or_default(value::choice::<QueryFormat>, "top"))]
    pub(crate) format: QueryFormat,
    /// Rows of `top` to print; 0 = all.
    #[arg(long, value_name = "N", default_value = "40", value_parser = value::or_default(value::count_or_zero, "40"))]
    pub(crate) rows: usize,
    /// Where the store is.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What `decima query` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueryFormat {
    /// Functions by flat value.
    Top,
    /// A gzip pprof profile.
    Pprof,
    /// `root;…;leaf value` lines.
    Collapsed,
    /// Functions as JSON.
    Json,
}

/// Flags of `decima inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Data directory. Its store may be running.
    #[arg(value_name = "DIR", required_unless_present = "config_path", conflicts_with = "config_path")]
    pub(crate) directory: Option<PathBuf>,
    /// Configuration whose `object_storage` names the store.
    #[arg(long, value_name = "FILE", value_parser = value::path)]
    pub(crate) config_path: Option<PathBuf>,
    /// Read everything and recompute sums and checksums.
    #[arg(long)]
    pub(crate) verify: bool,
    /// List the series of each block, too.
    #[arg(long)]
    pub(crate) series: bool,
    /// Ask the running store at --address how far the merging of its blocks is.
    #[arg(long)]
    pub(crate) progress: bool,
    /// Where the store runs.
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Flags of `decima check-config`.
#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Do not look at the files that it names: credentials, certificates, lists of targets.
    #[arg(long)]
    pub(crate) syntax_only: bool,
}

/// Source that this was built from, if whoever built it said so.
const COMMIT: &str = match option_env!("DECIMA_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What follows `parca,`. Scripts read the number from the third word.
static PARCA_VERSION: LazyLock<String> =
    LazyLock::new(|| format!("version {} (commit: {COMMIT})", env!("CARGO_PKG_VERSION")));

impl Arguments {
    /// Reads the command line, without a panic or an exit. A program that is called `parca` answers as Parca does.
    pub(crate) fn parse_from_line(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let line: Vec<_> = line.into_iter().collect();
        let as_parca = line.first().is_some_and(|program| PathBuf::from(program).ends_with("parca"));
        let mut command = Self::command();
        if as_parca {
            // Parca lets the last of several win.
            command = command.display_name("parca,").version(PARCA_VERSION.as_str()).args_override_self(true);
        }
        let matches = command.try_get_matches_from_mut(line)?;
        let mut arguments = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        arguments.serve.as_parca = as_parca;
        arguments.serve.given = given(&matches);
        if let Some(Command::Serve(serve)) = &mut arguments.command {
            serve.as_parca = as_parca;
            serve.given = matches.subcommand().map(|(_, matches)| given(matches)).unwrap_or_default();
        }
        Ok(arguments)
    }
}
