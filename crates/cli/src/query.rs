//! `decima query`: what the page shows for a selector, as text.

mod collapsed;
mod top;

use std::{
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use decima_proto::parca::query::v1alpha1::{
    MergeProfile, QueryRequest, QueryResponse,
    query_request::{Mode, Options, ReportType},
    query_response::Report,
    query_service_client::QueryServiceClient,
};
use prost_types::Timestamp;
use tonic::metadata::MetadataMap;

use crate::{
    args::{Query, QueryFormat},
    client::{self, MESSAGE_BYTES_MAX, Store},
};

/// Things that a reader must know about an answer, in its metadata.
const NOTICE: &str = "x-decima-notice";

/// Asks and prints. Notices go to standard error, so that the report stays as it is.
pub(crate) async fn run(flags: Query) -> anyhow::Result<()> {
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let request = request(&flags, now_ms);
    let store = Store::connect(&flags.remote).await?;
    let mut client = QueryServiceClient::with_origin(store.channel, store.origin)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (metadata, answer, _) = client.query(request).await.map_err(client::refused)?.into_parts();
    tell_notices(&metadata)?;
    let printed = render(&answer, &flags)?;
    match io::stdout().lock().write_all(&printed) {
        // Whoever reads us (`head`) has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

fn request(flags: &Query, now_ms: i64) -> QueryRequest {
    let timestamp = |time_ms: i64| Timestamp {
        seconds: time_ms.div_euclid(1000),
        nanos: (time_ms.rem_euclid(1000) * 1_000_000) as i32,
    };
    let report = match flags.format {
        QueryFormat::Top | QueryFormat::Json => ReportType::Top,
        QueryFormat::Pprof | QueryFormat::Collapsed => ReportType::Pprof,
    };
    QueryRequest {
        mode: Mode::Merge.into(),
        options: Some(Options::Merge(MergeProfile {
            query: flags.selector.clone(),
            start: Some(timestamp(flags.from.unix_ms(now_ms))),
            end: Some(timestamp(flags.to.unix_ms(now_ms))),
        })),
        report_type: report.into(),
        ..QueryRequest::default()
    }
}

fn tell_notices(metadata: &MetadataMap) -> io::Result<()> {
    for notice in metadata.get_all(NOTICE) {
        writeln!(io::stderr().lock(), "notice: {}", notice.to_str().unwrap_or("(not text)"))?;
    }
    Ok(())
}

fn render(answer: &QueryResponse, flags: &Query) -> anyhow::Result<Vec<u8>> {
    match (&answer.report, flags.format) {
        (Some(Report::Top(report)), QueryFormat::Top) => {
            Ok(top::table(report, answer.total, flags.rows).into_bytes())
        }
        (Some(Report::Top(report)), QueryFormat::Json) => {
            let mut json = serde_json::to_vec_pretty(&top::json(report, answer.total))?;
            json.push(b'\n');
            Ok(json)
        }
        (Some(Report::Pprof(profile)), QueryFormat::Pprof) => Ok(profile.to_vec()),
        (Some(Report::Pprof(profile)), QueryFormat::Collapsed) => Ok(collapsed::lines(profile)?.into_bytes()),
        _ => bail!("the store gave another report than was asked for"),
    }
}
