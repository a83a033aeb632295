//! Every kind of question, with the answer that the ledger gives.

use std::{future::Future, time::Instant};

use anyhow::{Context, bail};
use decima_proto::parca::query::v1alpha1::{
    GroupBy, LabelsRequest, MergeProfile, ProfileTypesRequest, QueryRangeRequest, QueryRequest,
    ValuesRequest,
    query_request::{Mode, Options, ReportType},
    query_response::Report,
    query_service_client::QueryServiceClient,
};
use decima_testkit::fleet::{Fleet, PROFILE_TYPE};
use prost::Message;
use prost_types::{Duration, Timestamp};
use tonic::transport::Channel;

use crate::{ledger::Ledger, ms, say, server::Server};

/// Answers up to this size are read; Parca's own limit is 64 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Points of a range query.
const STEPS: i64 = 60;
/// The service that is asked for alone, if there are so many.
const ONE_SERVICE: usize = 7;

/// What is asked, and what is right.
pub(crate) struct Questions {
    start: Timestamp,
    end: Timestamp,
    step: Duration,
    one: String,
    all_value: i64,
    one_value: i64,
    services: i64,
    repeats: usize,
}

/// An answer so far as the ledger can check it.
struct Answer {
    value: i64,
    bytes: usize,
}

impl Questions {
    /// Questions over the whole time of the load.
    pub(crate) fn new(fleet: &Fleet, ledger: &Ledger, repeats: usize) -> Self {
        let shape = fleet.shape();
        let timestamp = |time_ns: i64| Timestamp {
            seconds: time_ns / 1_000_000_000,
            nanos: (time_ns % 1_000_000_000) as i32,
        };
        let one = ONE_SERVICE.min(shape.services - 1);
        Self {
            start: timestamp(shape.start_ns()),
            end: timestamp(shape.end_ns + 1_000_000_000),
            step: Duration {
                seconds: ((shape.end_ns - shape.start_ns()) / 1_000_000_000 / STEPS).max(1),
                nanos: 0,
            },
            one: format!("{PROFILE_TYPE}{{job=\"{}\"}}", Fleet::service_name(one)),
            all_value: ledger.value(),
            one_value: ledger.service_value(one),
            services: shape.services as i64,
            repeats: repeats.max(1),
        }
    }

    /// Asks until there is an answer, at most for a minute. Whether it was exact.
    pub(crate) async fn first_answer(&self, server: &Server) -> anyhow::Result<bool> {
        let started = Instant::now();
        loop {
            match self.range(client(server), format!("{PROFILE_TYPE}{{}}"), &[]).await {
                Ok(answer) => return Ok(answer.value == self.all_value),
                Err(error) if started.elapsed().as_secs() > 60 => return Err(error),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    }

    /// Asks every question, prints what each cost. Whether all answers were exact.
    pub(crate) async fn ask_all(&self, server: &Server, state: &str) -> anyhow::Result<bool> {
        let everything = || format!("{PROFILE_TYPE}{{}}");
        let (few, many) = (self.repeats.div_ceil(5), self.repeats);
        let (all, one) = (self.all_value, self.one_value);
        let own = || self.one.clone();
        let client = || client(server);
        say(&format!("queries {state}:"));
        let mut exact = true;
        exact &= ask(server, "flame graph of all", few, all, || self.flame(client(), everything())).await?;
        exact &= ask(server, "flame graph of one", many, one, || self.flame(client(), own())).await?;
        exact &= ask(server, "top of all", few, all, || self.top(client(), everything())).await?;
        exact &= ask(server, "top of one", many, one, || self.top(client(), own())).await?;
        exact &= ask(server, "range of all", many, all, || self.range(client(), everything(), &[])).await?;
        exact &=
            ask(server, "range of all by job", many, all, || self.range(client(), everything(), &["job"]))
                .await?;
        exact &= ask(server, "range of one", many, one, || self.range(client(), own(), &[])).await?;
        exact &= ask(server, "label names", many, 4, || self.labels(client())).await?;
        exact &= ask(server, "values of job", many, self.services, || self.values(client())).await?;
        exact &= ask(server, "profile types", many, 1, || self.types(client())).await?;
        Ok(exact)
    }

    fn merge(&self, query: String, report: ReportType) -> QueryRequest {
        QueryRequest {
            mode: Mode::Merge.into(),
            options: Some(Options::Merge(MergeProfile {
                query,
                start: Some(self.start),
                end: Some(self.end),
            })),
            report_type: report.into(),
            ..QueryRequest::default()
        }
    }

    async fn flame(&self, mut client: Client, query: String) -> anyhow::Result<Answer> {
        let request = QueryRequest {
            // What a page 1,000 pixels wide asks for.
            node_trim_threshold: Some(0.1),
            group_by: Some(GroupBy { fields: vec!["function_name".to_owned()] }),
            ..self.merge(query, ReportType::FlamegraphArrow)
        };
        let answer = client.query(request).await?.into_inner();
        let Some(Report::FlamegraphArrow(report)) = &answer.report else {
            bail!("no flame graph in the answer")
        };
        Ok(Answer { value: answer.total, bytes: report.record.len() })
    }

    async fn top(&self, mut client: Client, query: String) -> anyhow::Result<Answer> {
        let answer = client.query(self.merge(query, ReportType::Top)).await?.into_inner();
        let bytes = answer.encoded_len();
        let Some(Report::Top(top)) = answer.report else { bail!("no top in the answer") };
        Ok(Answer { value: top.list.iter().map(|node| node.flat).sum(), bytes })
    }

    async fn range(&self, mut client: Client, query: String, sum_by: &[&str]) -> anyhow::Result<Answer> {
        let request = QueryRangeRequest {
            query,
            start: Some(self.start),
            end: Some(self.end),
            step: Some(self.step),
            sum_by: sum_by.iter().map(|&label| label.to_owned()).collect(),
            ..QueryRangeRequest::default()
        };
        let answer = client.query_range(request).await?.into_inner();
        let value = answer.series.iter().flat_map(|series| &series.samples).map(|sample| sample.value).sum();
        Ok(Answer { value, bytes: answer.encoded_len() })
    }

    async fn labels(&self, mut client: Client) -> anyhow::Result<Answer> {
        let request = LabelsRequest {
            start: Some(self.start),
            end: Some(self.end),
            profile_type: Some(PROFILE_TYPE.to_owned()),
            ..LabelsRequest::default()
        };
        let answer = client.labels(request).await?.into_inner();
        Ok(Answer { value: answer.label_names.len() as i64, bytes: answer.encoded_len() })
    }

    async fn values(&self, mut client: Client) -> anyhow::Result<Answer> {
        let request = ValuesRequest {
            label_name: "job".to_owned(),
            start: Some(self.start),
            end: Some(self.end),
            profile_type: Some(PROFILE_TYPE.to_owned()),
            ..ValuesRequest::default()
        };
        let answer = client.values(request).await?.into_inner();
        Ok(Answer { value: answer.label_values.len() as i64, bytes: answer.encoded_len() })
    }

    async fn types(&self, mut client: Client) -> anyhow::Result<Answer> {
        let request = ProfileTypesRequest { start: Some(self.start), end: Some(self.end) };
        let answer = client.profile_types(request).await?.into_inner();
        Ok(Answer { value: answer.types.len() as i64, bytes: answer.encoded_len() })
    }
}

type Client = QueryServiceClient<Channel>;

fn client(server: &Server) -> Client {
    QueryServiceClient::new(server.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Asks one question once (cold, if nothing asked it before) and then `repeats` times, and prints one line.
async fn ask<F: Future<Output = anyhow::Result<Answer>>>(
    server: &Server,
    name: &str,
    repeats: usize,
    expected: i64,
    question: impl Fn() -> F,
) -> anyhow::Result<bool> {
    let before = server.cpu()?;
    let started = Instant::now();
    let first = question().await.with_context(|| name.to_owned())?;
    let (first_wall, first_cpu) = (started.elapsed(), server.cpu()? - before);
    let before = server.cpu()?;
    let mut walls = Vec::with_capacity(repeats);
    let mut exact = first.value == expected;
    for _ in 0..repeats {
        let started = Instant::now();
        exact &= question().await.with_context(|| name.to_owned())?.value == expected;
        walls.push(started.elapsed());
    }
    walls.sort_unstable();
    let cpu = (server.cpu()? - before) / repeats as f64;
    let verdict =
        if exact { "exact".to_owned() } else { format!("WRONG: {} rather than {expected}", first.value) };
    say(&format!(
        "  {name:<20} first {:>8.1} ms ({:>4.0} ms CPU)  then {:>8.2} ms, {:>7.2} ms CPU  {:>9} B  {verdict}",
        ms(first_wall),
        first_cpu * 1e3,
        ms(walls[walls.len() / 2]),
        cpu * 1e3,
        first.bytes,
    ));
    Ok(exact)
}
