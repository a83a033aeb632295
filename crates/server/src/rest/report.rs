//! `GET /api/profiles/query`: any report as JSON, and for pages and downloads the raw bytes of some.
//!
//! ```text
//! Accept: application/vnd.apache.arrow.stream  and a report of Arrow records → the IPC stream, buffers not compressed
//! Accept: application/octet-stream             and REPORT_TYPE_PPROF         → the gzip file
//! ```
//! What surrounds a record in the message (`total`, `unit` …) is then in headers.

use std::sync::Arc;

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use decima_proto::parca::query::v1alpha1::{QueryRequest, query_request::ReportType};
use decima_query::{ArrowRecord, Report, ReportAnswer};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use tonic::{Status, metadata::MetadataMap};

use super::{Gateway, Pairs, from_pairs, schema::Schema, write_message};
use crate::service::query::{Extras, NOTICE, RecordBuffers, UNRESOLVED, header_text, unresolved_header};

/// Media type of an Arrow IPC stream.
const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";
/// Media type by which a pprof file is asked for.
const OCTET_STREAM: &str = "application/octet-stream";

/// Parameter: JSON array of names of frames from the root; only the subtree below them is expanded.
const FOCUS: &str = "focus";
/// Parameter: nodes of a flame graph at most.
const MAX_NODES: &str = "max_nodes";
/// Parameter that asks why frames have no function; see [`Extras::reasons`].
const REASONS: &str = "reasons";
/// Parameter that asks what runs each frame; see [`Extras::frame_types`].
const FRAME_TYPES: &str = "frame_types";

const TOTAL: HeaderName = HeaderName::from_static("x-decima-total");
const FILTERED: HeaderName = HeaderName::from_static("x-decima-filtered");
const UNIT: HeaderName = HeaderName::from_static("x-decima-unit");
const TRIMMED: HeaderName = HeaderName::from_static("x-decima-trimmed");
const HEIGHT: HeaderName = HeaderName::from_static("x-decima-height");

/// Headers that pages of other origins may read.
pub(crate) const EXPOSED: [HeaderName; 7] = [
    TOTAL,
    FILTERED,
    UNIT,
    TRIMMED,
    HEIGHT,
    HeaderName::from_static(NOTICE),
    HeaderName::from_static(UNRESOLVED),
];

/// What of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Raw,
}

pub(super) async fn query(
    State(gateway): State<Arc<Gateway>>,
    Query(pairs): Query<Pairs>,
    parts: Parts,
) -> Response {
    let method = &Schema::get().query;
    let answer = async {
        let extras = extras(&pairs, &parts.headers)?;
        let request: QueryRequest = from_pairs(method, &pairs)?.decode()?;
        match form(request.report_type, &parts.headers) {
            Form::Json => write_message(method, gateway.query.report_message(request, extras).await?),
            Form::Raw => raw(gateway.query.report(request, extras, RecordBuffers::Plain).await?),
        }
    };
    gateway.observe(method, &parts.headers, answer).await
}

/// What the headers say, as in gRPC, unless the parameters do.
fn extras(pairs: &Pairs, headers: &HeaderMap) -> Result<Extras, Status> {
    let last = |name: &str| pairs.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let (focus, node_max) = (last(FOCUS), last(MAX_NODES));
    let mut extras = Extras::parse(FOCUS, focus, MAX_NODES, node_max)?;
    let from_headers = Extras::from_metadata(&MetadataMap::from_headers(headers.clone()))?;
    if focus.is_none() {
        extras.focus = from_headers.focus;
    }
    if node_max.is_none() {
        extras.node_max = from_headers.node_max;
    }
    let flag = |name, from_header| match last(name) {
        Some(text) => Extras::parse_flag(name, Some(text)),
        None => Ok(from_header),
    };
    extras.reasons = flag(REASONS, from_headers.reasons)?;
    extras.frame_types = flag(FRAME_TYPES, from_headers.frame_types)?;
    Ok(extras)
}

fn form(report_type: i32, headers: &HeaderMap) -> Form {
    let wanted = match ReportType::try_from(report_type) {
        Ok(ReportType::FlamegraphArrow | ReportType::Flamechart | ReportType::TableArrow) => ARROW_STREAM,
        Ok(ReportType::Pprof) => OCTET_STREAM,
        _ => return Form::Json,
    };
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let media_types = accepted.flat_map(|value| value.split(',')).filter_map(|part| part.split(';').next());
    if media_types.into_iter().any(|media_type| media_type.trim().eq_ignore_ascii_case(wanted)) {
        Form::Raw
    } else {
        Form::Json
    }
}

fn raw(answer: ReportAnswer) -> Result<Response, Status> {
    let mut headers = HeaderMap::new();
    headers.insert(TOTAL, answer.total.into());
    headers.insert(FILTERED, answer.filtered.into());
    for notice in &answer.notices {
        headers.append(NOTICE, text(notice));
    }
    if let Some(rows) = unresolved_header(&answer.unresolved) {
        headers.insert(UNRESOLVED, text(&rows));
    }
    // The same address answers in several forms.
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    let body = match answer.report {
        Report::FlamegraphArrow(record) => {
            headers.insert(HEIGHT, record.height.into());
            arrow(record, &mut headers)
        }
        Report::TableArrow(record) => arrow(record, &mut headers),
        Report::Pprof(bytes) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
            let attachment = HeaderValue::from_static(r#"attachment; filename="profile.pb.gz""#);
            headers.insert(header::CONTENT_DISPOSITION, attachment);
            bytes
        }
        Report::Top(_) | Report::Callgraph(_) | Report::ProfileMetadata { .. } => {
            tracing::error!("the engine gave another report than was asked for");
            return Err(Status::internal("internal error; the server's log says more"));
        }
    };
    Ok((headers, body).into_response())
}

fn arrow(record: ArrowRecord, headers: &mut HeaderMap) -> Vec<u8> {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ARROW_STREAM));
    headers.insert(UNIT, text(&record.unit));
    headers.insert(TRIMMED, record.trimmed.into());
    record.record
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::try_from(header_text(text)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let check = |report: ReportType, accept: &'static str, expected: Form| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(form(report as i32, &headers), expected, "{accept}");
        };
        check(ReportType::FlamegraphArrow, "application/vnd.apache.arrow.stream", Form::Raw);
        check(ReportType::TableArrow, "text/html, Application/vnd.apache.arrow.stream;q=0.9", Form::Raw);
        check(ReportType::TableArrow, "*/*", Form::Json);
        check(ReportType::Top, "application/vnd.apache.arrow.stream", Form::Json);
        check(ReportType::Pprof, "application/octet-stream", Form::Raw);
        check(ReportType::Pprof, "application/vnd.apache.arrow.stream", Form::Json);
    }

    #[test]
    fn parameters_win_over_headers() {
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("x-decima-focus"), HeaderValue::from_static(r#"["a"]"#)),
            (HeaderName::from_static("x-decima-max-nodes"), HeaderValue::from_static("5")),
        ]);
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let pairs = [("max_nodes", "7"), ("reasons", "true"), ("frame_types", "true")].map(pair).to_vec();
        let expected = Extras { focus: vec!["a".to_owned()], node_max: 7, reasons: true, frame_types: true };
        assert_eq!(extras(&pairs, &headers).unwrap(), expected);
    }

    #[test]
    fn raw_answers_carry_their_totals() {
        let record =
            ArrowRecord { record: vec![1, 2], unit: "nanoseconds".to_owned(), height: 7, trimmed: 3 };
        let response = raw(ReportAnswer {
            report: Report::FlamegraphArrow(record),
            total: -5,
            filtered: 4,
            unresolved: Vec::new(),
            notices: vec!["ä sum saturated".to_owned()],
        })
        .unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-decima-total"), "-5");
        assert_eq!(header("x-decima-filtered"), "4");
        assert_eq!(header("x-decima-unit"), "nanoseconds");
        assert_eq!(header("x-decima-trimmed"), "3");
        assert_eq!(header("x-decima-height"), "7");
        assert_eq!(header("x-decima-notice"), "? sum saturated");
        assert_eq!(header("content-type"), ARROW_STREAM);
    }
}
