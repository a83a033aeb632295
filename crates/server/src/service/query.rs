//! `QueryService`: the ways out.

mod from_proto;
mod to_proto;

use std::sync::Arc;

use decima_proto::parca::query::v1alpha1::{
    HasProfileDataRequest, HasProfileDataResponse, LabelsRequest, LabelsResponse, ProfileTypesRequest,
    ProfileTypesResponse, QueryRangeRequest, QueryRangeResponse, QueryRequest, QueryResponse, SeriesRequest,
    SeriesResponse, ShareProfileRequest, ShareProfileResponse, ValuesRequest, ValuesResponse,
    query_service_server,
};
use decima_query::{Engine, ReportAnswer, UnresolvedAddresses};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{
    Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
};

use crate::status;

/// Metadata key of [`Extras::focus`].
const FOCUS: &str = "x-decima-focus";
/// Metadata key of [`Extras::node_max`].
const MAX_NODES: &str = "x-decima-max-nodes";
/// Metadata key of [`Extras::reasons`].
const REASONS: &str = "x-decima-reasons";
/// Metadata key of [`Extras::frame_types`].
const FRAME_TYPES: &str = "x-decima-frame-types";
/// Metadata key, and HTTP header, of each thing that a reader must know about an answer.
pub(crate) const NOTICE: &str = "x-decima-notice";
/// Metadata of an answer: a JSON array of which files have addresses without functions, and why.
pub(crate) const UNRESOLVED: &str = "x-decima-unresolved";

/// Rows of [`UNRESOLVED`] at most: headers are bounded, and who lacks more files than that has one reason for all.
const UNRESOLVED_ROWS_MAX: usize = 20;

/// What a request for a report may say beyond its message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    /// Names of frames from the root; only the subtree below them is expanded.
    pub(crate) focus: Vec<String>,
    /// Nodes of a flame graph at most; 0 = the engine's default.
    pub(crate) node_max: usize,
    /// Whether flame graphs and tables say of each frame without a function why, in a column of its own.
    pub(crate) reasons: bool,
    /// Whether they say of each frame what runs it, in another.
    pub(crate) frame_types: bool,
}

impl Extras {
    /// Reads `x-decima-focus` (JSON array of names), `x-decima-max-nodes`, `x-decima-reasons` and `x-decima-frame-types`.
    pub(crate) fn from_metadata(metadata: &MetadataMap) -> Result<Self, Status> {
        let text = |key: &'static str| match metadata.get(key).map(MetadataValue::to_str) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Status::invalid_argument(format!("{key}: not ASCII; write \\u escapes"))),
        };
        let extras = Self::parse(FOCUS, text(FOCUS)?, MAX_NODES, text(MAX_NODES)?)?;
        Ok(Self {
            reasons: Self::parse_flag(REASONS, text(REASONS)?)?,
            frame_types: Self::parse_flag(FRAME_TYPES, text(FRAME_TYPES)?)?,
            ..extras
        })
    }

    /// Reads `true` or `false`, naming what is wrong; `false` if nothing is said.
    pub(crate) fn parse_flag(name: &str, text: Option<&str>) -> Result<bool, Status> {
        match text {
            None | Some("" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                Err(Status::invalid_argument(format!("{name}: {other:?} is neither true nor false")))
            }
        }
    }

    /// Reads both from text, naming what is wrong.
    pub(crate) fn parse(
        focus_name: &str,
        focus: Option<&str>,
        node_max_name: &str,
        node_max: Option<&str>,
    ) -> Result<Self, Status> {
        let focus =
            focus.filter(|text| !text.is_empty()).map(serde_json::from_str).transpose().map_err(|error| {
                Status::invalid_argument(format!("{focus_name}: not a JSON array of names: {error}"))
            })?;
        let node_max =
            node_max.filter(|text| !text.is_empty()).map(str::parse).transpose().map_err(|error| {
                Status::invalid_argument(format!("{node_max_name}: not a number of nodes: {error}"))
            })?;
        let (focus, node_max) = (focus.unwrap_or_default(), node_max.unwrap_or_default());
        Ok(Self { focus, node_max, ..Self::default() })
    }
}

/// Whether the buffers of Arrow records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordBuffers {
    /// LZ4, as Parca's clients get them.
    Compressed,
    /// As they are, for readers whose transport compresses.
    Plain,
}

/// Who answers.
#[derive(Clone)]
pub(crate) enum Answers {
    /// This process.
    Engine(Engine),
    /// Another one, to which this one sends everything on: its address.
    Elsewhere(String),
}

/// The service.
#[derive(Clone)]
pub(crate) struct QueryService {
    answers: Answers,
    permits: Arc<Semaphore>,
}

impl QueryService {
    /// At most `concurrency` queries are worked on at once.
    pub(crate) fn new(answers: Answers, concurrency: usize) -> Self {
        Self { answers, permits: Arc::new(Semaphore::new(concurrency)) }
    }

    fn engine(&self) -> Result<&Engine, Status> {
        match &self.answers {
            Answers::Engine(engine) => Ok(engine),
            Answers::Elsewhere(address) => Err(Status::unimplemented(format!(
                "this process forwards profiles to {address} and keeps none: ask there"
            ))),
        }
    }

    /// A report as the engine gives it.
    pub(crate) async fn report(
        &self,
        request: QueryRequest,
        extras: Extras,
        buffers: RecordBuffers,
    ) -> Result<ReportAnswer, Status> {
        let request = from_proto::report(request, extras, buffers)?;
        let _permit = self.permit().await?;
        self.engine()?.query(request).await.map_err(|error| status::of_query(&error))
    }

    /// A report as a message, with its notices as metadata.
    pub(crate) async fn report_message(
        &self,
        request: QueryRequest,
        extras: Extras,
    ) -> Result<Response<QueryResponse>, Status> {
        let mut answer = self.report(request, extras, RecordBuffers::Compressed).await?;
        let notices = std::mem::take(&mut answer.notices);
        let unresolved = unresolved_header(&answer.unresolved);
        let mut response = with_notices(to_proto::report(answer), &notices);
        if let Some(value) = unresolved.and_then(|text| MetadataValue::try_from(text).ok()) {
            response.metadata_mut().insert(UNRESOLVED, value);
        }
        Ok(response)
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.permits.acquire().await.map_err(|_| Status::unavailable("the server is stopping"))
    }
}

/// An answer with what its reader must know, which Parca's messages have no field for.
fn with_notices<M>(message: M, notices: &[String]) -> Response<M> {
    let mut response = Response::new(message);
    for notice in notices {
        if let Ok(value) = MetadataValue::try_from(header_text(notice)) {
            response.metadata_mut().append(NOTICE, value);
        }
    }
    response
}

/// What [`UNRESOLVED`] says; `None` if there is nothing to say.
pub(crate) fn unresolved_header(rows: &[UnresolvedAddresses]) -> Option<String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Row<'a> {
        file: &'a str,
        build_id: &'a str,
        reason: &'static str,
        message: String,
        addresses: u64,
    }
    let rows: Vec<_> = rows
        .iter()
        .take(UNRESOLVED_ROWS_MAX)
        .map(|row| Row {
            file: &row.file,
            build_id: &row.build_id,
            reason: row.reason.as_str(),
            message: row.reason.to_string(),
            addresses: row.addresses,
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let json = serde_json::to_string(&rows).ok()?;
    Some(header_text(&json))
}

/// Text that a header can hold: characters outside printable ASCII become `?`.
pub(crate) fn header_text(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

#[tonic::async_trait]
impl query_service_server::QueryService for QueryService {
    async fn query_range(
        &self,
        request: Request<QueryRangeRequest>,
    ) -> Result<Response<QueryRangeResponse>, Status> {
        let request = from_proto::query_range(request.into_inner())?;
        let _permit = self.permit().await?;
        let answer = self.engine()?.query_range(request).await.map_err(|error| status::of_query(&error))?;
        Ok(with_notices(to_proto::query_range(answer.series), &answer.notices))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let extras = Extras::from_metadata(request.metadata())?;
        self.report_message(request.into_inner(), extras).await
    }

    async fn series(&self, _: Request<SeriesRequest>) -> Result<Response<SeriesResponse>, Status> {
        Err(Status::unimplemented("parca.query.v1alpha1.QueryService/Series is not offered"))
    }

    async fn profile_types(
        &self,
        request: Request<ProfileTypesRequest>,
    ) -> Result<Response<ProfileTypesResponse>, Status> {
        let request = request.into_inner();
        let range = from_proto::range(request.start, request.end)?;
        let types = self.engine()?.profile_types(range).await.map_err(|error| status::of_query(&error))?;
        Ok(Response::new(to_proto::profile_types(types)))
    }

    async fn labels(&self, request: Request<LabelsRequest>) -> Result<Response<LabelsResponse>, Status> {
        let request = from_proto::labels(request.into_inner())?;
        let _permit = self.permit().await?;
        let label_names = self.engine()?.labels(request).await.map_err(|error| status::of_query(&error))?;
        Ok(Response::new(LabelsResponse { label_names, warnings: Vec::new() }))
    }

    async fn values(&self, request: Request<ValuesRequest>) -> Result<Response<ValuesResponse>, Status> {
        let (name, request) = from_proto::values(request.into_inner())?;
        let _permit = self.permit().await?;
        let label_values =
            self.engine()?.values(&name, request).await.map_err(|error| status::of_query(&error))?;
        Ok(Response::new(ValuesResponse { label_values, warnings: Vec::new() }))
    }

    async fn share_profile(
        &self,
        _: Request<ShareProfileRequest>,
    ) -> Result<Response<ShareProfileResponse>, Status> {
        Err(Status::unimplemented("parca.query.v1alpha1.QueryService/ShareProfile is not offered"))
    }

    async fn has_profile_data(
        &self,
        _: Request<HasProfileDataRequest>,
    ) -> Result<Response<HasProfileDataResponse>, Status> {
        let has_data = self.engine()?.has_profile_data().await.map_err(|error| status::of_query(&error))?;
        Ok(Response::new(HasProfileDataResponse { has_data }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extras_from_metadata() {
        let check = |pairs: &[(&'static str, &str)], expected: Result<Extras, &str>| {
            let mut metadata = MetadataMap::new();
            for (key, value) in pairs {
                metadata.insert(*key, value.parse().unwrap());
            }
            match (Extras::from_metadata(&metadata), expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected),
                (Err(status), Err(start)) => assert!(status.message().starts_with(start), "{status:?}"),
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            }
        };
        check(&[], Ok(Extras::default()));
        check(
            &[
                ("x-decima-focus", r#"["root","k\u00fche"]"#),
                ("x-decima-max-nodes", "5"),
                ("x-decima-reasons", "true"),
            ],
            Ok(Extras {
                focus: vec!["root".to_owned(), "kühe".to_owned()],
                node_max: 5,
                reasons: true,
                frame_types: false,
            }),
        );
        check(&[("x-decima-frame-types", "true")], Ok(Extras { frame_types: true, ..Extras::default() }));
        check(&[("x-decima-frame-types", "yes")], Err("x-decima-frame-types: \"yes\" is neither"));
        check(&[("x-decima-focus", "main")], Err("x-decima-focus: "));
        check(&[("x-decima-max-nodes", "-1")], Err("x-decima-max-nodes: "));
        check(&[("x-decima-reasons", "1")], Err("x-decima-reasons: \"1\" is neither"));
    }
}
