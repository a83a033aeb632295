//! Numbers of a forwarder.

use std::fmt;

use decima_forward::{Counts, FileCounts, Method};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
};
use tonic::Code;

use super::{encode_counters, encode_gauge};
use crate::status;

/// Writes what became of requests and object files.
pub(super) fn encode(encoder: &mut DescriptorEncoder, counts: &Counts) -> Result<(), fmt::Error> {
    let by_method = [
        ("forward_requests_spooled", "Requests that were put into the spool", &counts.spooled),
        ("forward_requests", "Requests that the remote store has taken", &counts.forwarded),
    ];
    for (name, help, by_method) in by_method {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (method, &count) in by_method {
            ConstCounter::new(count).encode(family.encode_family(&[("method", method.name())])?)?;
        }
    }
    let by_code = [
        ("forward_attempts_failed", "Attempts that are repeated", &counts.failed_attempts),
        ("forward_requests_refused", "Requests dropped since the remote store refused them", &counts.refused),
    ];
    for (name, help, by_code) in by_code {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (&(method, code), &count) in by_code {
            let labels: [(&str, &str); 2] =
                [("method", Method::name(method)), ("code", status::code_name(Code::from_i32(code)))];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let mut family = encoder.encode_descriptor(
        "forward_requests_dropped",
        "Requests that were taken and are not sent on, by reason",
        None,
        MetricType::Counter,
    )?;
    for (reason, &count) in &counts.dropped {
        ConstCounter::new(count).encode(family.encode_family(&[("reason", reason.name())])?)?;
    }
    let counters = [
        ("forward_bytes", "Bytes of requests that the remote store has taken", counts.forwarded_bytes),
        (
            "forward_left_out",
            "Samples and profiles that the remote store left out of requests that it took",
            counts.left_out,
        ),
    ];
    encode_counters(encoder, &counters)?;
    let oldest_ms = counts.spool_oldest_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    let gauges = [
        (
            "forward_remote_good",
            "1 if the remote store takes requests, as far as the last attempt tells",
            u64::from(counts.remote_good == Some(true)),
        ),
        ("spool_bytes", "Bytes of the spool", counts.spool_bytes),
        ("spool_bytes_limit", "Bytes that the spool may have", counts.spool_bytes_max),
        ("spool_requests", "Requests that wait in the spool or are under way", counts.spool_requests),
        (
            "spool_oldest_timestamp_seconds",
            "When the oldest of them came; 0 if there is none",
            oldest_ms / 1000,
        ),
    ];
    for (name, help, amount) in gauges {
        encode_gauge(encoder, name, help, amount)?;
    }
    encode_files(encoder, &counts.object_files)
}

fn encode_files(encoder: &mut DescriptorEncoder, counts: &FileCounts) -> Result<(), fmt::Error> {
    let counters = [
        ("forward_debuginfo_spooled", "Object files that were put into the spool", counts.spooled),
        ("forward_debuginfo", "Object files that the remote store has taken", counts.forwarded),
        ("forward_debuginfo_bytes", "Bytes of object files that it has taken", counts.forwarded_bytes),
        ("forward_debuginfo_not_wanted", "Object files that it did not want", counts.not_wanted),
    ];
    encode_counters(encoder, &counters)?;
    let mut family = encoder.encode_descriptor(
        "forward_debuginfo_attempts_failed",
        "Attempts to send object files that are repeated",
        None,
        MetricType::Counter,
    )?;
    for (&code, &count) in &counts.failed_attempts {
        let code = status::code_name(Code::from_i32(code));
        ConstCounter::new(count).encode(family.encode_family(&[("code", code)])?)?;
    }
    let mut family = encoder.encode_descriptor(
        "forward_debuginfo_dropped",
        "Object files that were taken and are not sent on, by reason",
        None,
        MetricType::Counter,
    )?;
    for (reason, &count) in &counts.dropped {
        ConstCounter::new(count).encode(family.encode_family(&[("reason", reason.name())])?)?;
    }
    let gauges = [
        ("spool_debuginfo_files", "Object files that wait in the spool or are under way", counts.waiting),
        ("spool_debuginfo_bytes", "Bytes of these, and of those that are being received", counts.bytes),
        ("spool_debuginfo_bytes_limit", "Bytes that object files in the spool may have", counts.bytes_max),
    ];
    for (name, help, amount) in gauges {
        encode_gauge(encoder, name, help, amount)?;
    }
    Ok(())
}
