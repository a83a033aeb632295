//! `TelemetryService`: agents that ended by a fault, told by the process that had started them.
//!
//! Each report is counted as its sender's and shown as its last error until it pushes again; the log has a line for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use decima_ingest::push::{Origin, Outcome, Protocol, Refusal, Senders};
use decima_profile::wire::{Fault, Reader};
use decima_proto::{
    Encoded,
    parca::telemetry::v1alpha1::{ReportPanicResponse, telemetry_service_server},
};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use super::{note_refused, origin};

/// Bytes of a report: what an agent keeps of its standard error, and room for the rest.
pub(crate) const REPORT_BYTES_MAX: usize = 5 << 20;
/// Tags of `ReportPanicRequest.stderr` and `.metadata`, and of key and value of an entry.
const STDERR: u32 = 0x0a;
const METADATA: u32 = 0x12;
const KEY: u32 = 0x0a;
const VALUE: u32 = 0x12;
/// How a line begins with which Go, Rust or the system say why a program ends, in the order of their worth.
const REASONS: [&str; 5] = ["panic:", "fatal error:", "runtime:", "thread '", "SIG"];
/// Bytes of the line that is logged.
const REASON_BYTES_MAX: usize = 500;
/// Entries of metadata that are logged, and bytes of each.
const ENTRIES_MAX: usize = 16;
const ENTRY_BYTES_MAX: usize = 100;
/// Reports that are logged within a while; all are counted.
const LOGGED_MAX: u32 = 20;
const LOGGED_WITHIN: Duration = Duration::from_secs(60);

/// The service.
#[derive(Clone)]
pub(crate) struct TelemetryService {
    senders: Arc<Senders>,
    /// Since when reports are counted for the log, and how many there were.
    logged: Arc<Mutex<(Instant, u32)>>,
}

/// What a report says, as far as it is told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    /// The line that says why.
    reason: String,
    /// `key=value` of the agent, its machine and its settings, with spaces between.
    about: String,
}

impl Report {
    /// Reads a report, or says in which place it is wrong.
    fn read(message: &[u8]) -> Result<Self, (&'static str, Fault)> {
        let (mut stderr, mut entries) = (&[][..], Vec::new());
        let mut reader = Reader::new(message);
        let at = |place| move |fault| (place, fault);
        while !reader.is_done() {
            match reader.field().map_err(at("ReportPanicRequest"))? {
                (STDERR, len) => stderr = reader.body(len).map_err(at("ReportPanicRequest.stderr"))?.rest(),
                (METADATA, len) => {
                    let at = at("ReportPanicRequest.metadata");
                    let entry = reader.body(len).map_err(at)?;
                    if entries.len() < ENTRIES_MAX {
                        entries.push(read_entry(entry).map_err(at)?);
                    }
                }
                field => reader.skip(field).map_err(at("ReportPanicRequest"))?,
            }
        }
        entries.sort();
        Ok(Self { reason: reason(&String::from_utf8_lossy(stderr)), about: entries.join(" ") })
    }
}

fn read_entry(mut entry: Reader<'_>) -> Result<String, Fault> {
    let (mut key, mut value) = (&[][..], &[][..]);
    while !entry.is_done() {
        match entry.field()? {
            (KEY, len) => key = entry.body(len)?.rest(),
            (VALUE, len) => value = entry.body(len)?.rest(),
            field => entry.skip(field)?,
        }
    }
    let text = |bytes| on_one_line(&String::from_utf8_lossy(bytes), ENTRY_BYTES_MAX);
    Ok(format!("{}={}", text(key), text(value)))
}

/// The line that says why a program ended: the first that begins as such lines do, or else the last that is not empty.
fn reason(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let known = REASONS.iter().find_map(|reason| lines().find(|line| line.starts_with(reason)));
    on_one_line(known.or_else(|| lines().next_back()).unwrap_or("without a word"), REASON_BYTES_MAX)
}

fn on_one_line(text: &str, bytes_max: usize) -> String {
    let mut line: String = text.replace(char::is_control, " ");
    if line.len() > bytes_max {
        line.truncate(line.floor_char_boundary(bytes_max));
        line.push('…');
    }
    line
}

impl TelemetryService {
    pub(crate) fn new(senders: Arc<Senders>) -> Self {
        Self { senders, logged: Arc::new(Mutex::new((Instant::now(), 0))) }
    }

    fn note(&self, report: Report, origin: &Origin) {
        let Report { reason, about } = report;
        let rejection = format!("the agent ended: {reason}");
        let outcome = Outcome { took: origin.received.elapsed(), rejection, ..Outcome::default() };
        self.senders.note("", origin, outcome);
        if self.is_logged(origin.received) {
            let address = origin.address.map(|address| address.to_string()).unwrap_or_default();
            tracing::warn!(address, reason, about, "an agent ended by a fault");
        }
    }

    fn is_logged(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock();
        if now.saturating_duration_since(logged.0) >= LOGGED_WITHIN {
            *logged = (now, 0);
        }
        logged.1 = logged.1.saturating_add(1);
        logged.1 <= LOGGED_MAX
    }
}

#[tonic::async_trait]
impl telemetry_service_server::TelemetryService for TelemetryService {
    async fn report_panic(&self, request: Request<Encoded>) -> Result<Response<ReportPanicResponse>, Status> {
        let origin = origin(Protocol::Telemetry, request.extensions());
        let message: Bytes = request.into_inner().0;
        match Report::read(&message) {
            Ok(report) => self.note(report, &origin),
            Err((place, fault)) => {
                let words = format!("{place}: {} at byte {}", fault.reason, fault.offset);
                note_refused(&self.senders, &origin, Refusal::Malformed, &words);
                return Err(Status::invalid_argument(words));
            }
        }
        Ok(Response::new(ReportPanicResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(tag: u32, content: &[u8]) -> Vec<u8> {
        let mut field = vec![tag as u8];
        prost::encoding::encode_varint(content.len() as u64, &mut field);
        field.extend_from_slice(content);
        field
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        field(METADATA, &[field(KEY, key.as_bytes()), field(VALUE, value.as_bytes())].concat())
    }

    #[test]
    fn what_is_told() {
        let check = |stderr: &str, expected: &str| {
            let report = Report::read(&field(STDERR, stderr.as_bytes())).unwrap();
            assert_eq!(report, Report { reason: expected.to_owned(), about: String::new() });
        };
        check(
            "time=1 msg=hello\npanic: no map\u{7}s\n\ngoroutine 1 [running]:\nmain.main()\n",
            "panic: no map s",
        );
        check("fatal error: out of memory\nruntime: x", "fatal error: out of memory");
        check("one\ntwo\n\n", "two");
        check("", "without a word");
        check(&"x".repeat(1000), &format!("{}…", "x".repeat(REASON_BYTES_MAX)));
        let about = [entry("version", "1\n2"), entry("arch", "amd64")].concat();
        assert_eq!(Report::read(&about).unwrap().about, "arch=amd64 version=1 2");
        let many = entry("k", &"v".repeat(1000)).repeat(1000);
        assert!(Report::read(&many).unwrap().about.len() < ENTRIES_MAX * (ENTRY_BYTES_MAX + 8));
        let place = |message: &[u8]| Report::read(message).unwrap_err().0;
        assert_eq!(place(&[STDERR as u8, 5]), "ReportPanicRequest.stderr");
        assert_eq!(place(&[METADATA as u8, 2, KEY as u8, 5]), "ReportPanicRequest.metadata");
        assert_eq!(place(&[METADATA as u8]), "ReportPanicRequest");
    }

    #[test]
    fn the_log_is_not_flooded() {
        let service = TelemetryService::new(Arc::default());
        let start = Instant::now();
        let logged = (0..100).filter(|_| service.is_logged(start)).count();
        assert_eq!(logged, LOGGED_MAX as usize);
        assert!(service.is_logged(start + LOGGED_WITHIN));
    }
}
