//! Log lines on standard error.

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::args::{LogFormat, LogLevel};

/// Libraries that tell about every scrape of ourselves, and about single HTTP/2 frames.
const QUIET: &str = "pprof=warn,h2=info,hyper=info,hyper_util=info,tower=info,rustls=info,reqwest=info";

/// Sends log lines of this process to standard error from now on. Must be called once.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let filter = match level {
        "info" | "debug" => EnvFilter::new(format!("{level},{QUIET}")),
        _ => EnvFilter::new(level),
    };
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Logfmt => {
            registry.with(tracing_logfmt::builder().layer().with_writer(std::io::stderr)).init();
        }
        LogFormat::Json => {
            registry
                .with(
                    tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr),
                )
                .init();
        }
    }
}
