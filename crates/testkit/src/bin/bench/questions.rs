//! Every kind of question, with the answer that the ledger gives.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

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
const HOUR_NS: i64 = 3_600_000_000_000;
/// Between two questions while the load is sent.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
/// So many questions for one service come between two for all.
const ONES_PER_ALL: u64 = 20;

/// What is asked, and what is right.
pub(crate) struct Questions {
    /// All of the load.
    whole: Window,
    /// Its last hour, if it spans several.
    hour: Option<Window>,
    one: String,
    services: i64,
    repeats: usize,
}

/// A time that is asked for, and what is right for it.
#[derive(Clone, Copy)]
struct Window {
    start: Timestamp,
    end: Timestamp,
    step: Duration,
    all_value: i64,
    one_value: i64,
}

impl Window {
    fn new(start_ns: i64, end_ns: i64, ledger: &Ledger, one: usize) -> Self {
        let timestamp = |time_ns: i64| Timestamp {
            seconds: time_ns.div_euclid(1_000_000_000),
            nanos: time_ns.rem_euclid(1_000_000_000) as i32,
        };
        Self {
            start: timestamp(start_ns),
            end: timestamp(end_ns + 1_000_000_000),
            step: Duration { seconds: ((end_ns - start_ns) / 1_000_000_000 / STEPS).max(1), nanos: 0 },
            all_value: ledger.value(start_ns),
            one_value: ledger.service_value(one, start_ns),
        }
    }
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
        let one = ONE_SERVICE.min(shape.services - 1);
        let (start_ns, end_ns) = (shape.start_ns(), shape.end_ns);
        let hour =
            (end_ns - start_ns > 2 * HOUR_NS).then(|| Window::new(end_ns - HOUR_NS, end_ns, ledger, one));
        Self {
            whole: Window::new(start_ns, end_ns, ledger, one),
            hour,
            one: format!("{PROFILE_TYPE}{{job=\"{}\"}}", Fleet::service_name(one)),
            services: shape.services as i64,
            repeats: repeats.max(1),
        }
    }

    /// Asks until there is an answer, at most for a minute. Whether it was exact.
    pub(crate) async fn first_answer(&self, server: &Server) -> anyhow::Result<bool> {
        let started = Instant::now();
        loop {
            match range(client(server), self.whole, everything(), &[]).await {
                Ok(answer) => return Ok(answer.value == self.whole.all_value),
                Err(error) if started.elapsed().as_secs() > 60 => return Err(error),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    }

    /// Asks every question, prints what each cost. Whether all answers were exact.
    pub(crate) async fn ask_all(&self, server: &Server, state: &str) -> anyhow::Result<bool> {
        say(&format!("queries {state}:"));
        let mut exact = self.ask_window(server, self.whole, "").await?;
        if let Some(hour) = self.hour {
            exact &= self.ask_window(server, hour, ", last hour").await?;
        }
        let many = self.repeats;
        let client = || client(server);
        exact &= ask(server, "label names", many, 4, || self.labels(client())).await?;
        exact &= ask(server, "values of job", many, self.services, || self.values(client())).await?;
        exact &= ask(server, "profile types", many, 1, || self.types(client())).await?;
        Ok(exact)
    }

    async fn ask_window(&self, server: &Server, window: Window, when: &str) -> anyhow::Result<bool> {
        let (few, many) = (self.repeats.div_ceil(5), self.repeats);
        let Window { all_value: all, one_value: one, .. } = window;
        let own = || self.one.clone();
        let client = || client(server);
        let name = |what: &str| format!("{what}{when}");
        let mut exact = true;
        exact &= ask(server, &name("flame graph of all"), few, all, || flame(client(), window, everything()))
            .await?;
        exact &=
            ask(server, &name("flame graph of one"), many, one, || flame(client(), window, own())).await?;
        exact &= ask(server, &name("top of all"), few, all, || top(client(), window, everything())).await?;
        exact &= ask(server, &name("top of one"), many, one, || top(client(), window, own())).await?;
        exact &= ask(server, &name("range of all"), many, all, || range(client(), window, everything(), &[]))
            .await?;
        exact &= ask(server, &name("range of all by job"), many, all, || {
            range(client(), window, everything(), &["job"])
        })
        .await?;
        exact &=
            ask(server, &name("range of one"), many, one, || range(client(), window, own(), &[])).await?;
        Ok(exact)
    }

    async fn labels(&self, mut client: Client) -> anyhow::Result<Answer> {
        let request = LabelsRequest {
            start: Some(self.whole.start),
            end: Some(self.whole.end),
            profile_type: Some(PROFILE_TYPE.to_owned()),
            ..LabelsRequest::default()
        };
        let answer = client.labels(request).await?.into_inner();
        Ok(Answer { value: answer.label_names.len() as i64, bytes: answer.encoded_len() })
    }

    async fn values(&self, mut client: Client) -> anyhow::Result<Answer> {
        let request = ValuesRequest {
            label_name: "job".to_owned(),
            start: Some(self.whole.start),
            end: Some(self.whole.end),
            profile_type: Some(PROFILE_TYPE.to_owned()),
            ..ValuesRequest::default()
        };
        let answer = client.values(request).await?.into_inner();
        Ok(Answer { value: answer.label_values.len() as i64, bytes: answer.encoded_len() })
    }

    async fn types(&self, mut client: Client) -> anyhow::Result<Answer> {
        let request = ProfileTypesRequest { start: Some(self.whole.start), end: Some(self.whole.end) };
        let answer = client.profile_types(request).await?.into_inner();
        Ok(Answer { value: answer.types.len() as i64, bytes: answer.encoded_len() })
    }
}

fn everything() -> String {
    format!("{PROFILE_TYPE}{{}}")
}

fn merge(window: Window, query: String, report: ReportType) -> QueryRequest {
    QueryRequest {
        mode: Mode::Merge.into(),
        options: Some(Options::Merge(MergeProfile {
            query,
            start: Some(window.start),
            end: Some(window.end),
        })),
        report_type: report.into(),
        ..QueryRequest::default()
    }
}

async fn flame(mut client: Client, window: Window, query: String) -> anyhow::Result<Answer> {
    let request = QueryRequest {
        // What a page 1,000 pixels wide asks for.
        node_trim_threshold: Some(0.1),
        group_by: Some(GroupBy { fields: vec!["function_name".to_owned()] }),
        ..merge(window, query, ReportType::FlamegraphArrow)
    };
    let answer = client.query(request).await?.into_inner();
    let Some(Report::FlamegraphArrow(report)) = &answer.report else { bail!("no flame graph in the answer") };
    Ok(Answer { value: answer.total, bytes: report.record.len() })
}

async fn top(mut client: Client, window: Window, query: String) -> anyhow::Result<Answer> {
    let answer = client.query(merge(window, query, ReportType::Top)).await?.into_inner();
    let bytes = answer.encoded_len();
    let Some(Report::Top(top)) = answer.report else { bail!("no top in the answer") };
    Ok(Answer { value: top.list.iter().map(|node| node.flat).sum(), bytes })
}

async fn range(mut client: Client, window: Window, query: String, sum_by: &[&str]) -> anyhow::Result<Answer> {
    let request = QueryRangeRequest {
        query,
        start: Some(window.start),
        end: Some(window.end),
        step: Some(window.step),
        sum_by: sum_by.iter().map(|&label| label.to_owned()).collect(),
        ..QueryRangeRequest::default()
    };
    let answer = client.query_range(request).await?.into_inner();
    let value = answer.series.iter().flat_map(|series| &series.samples).map(|sample| sample.value).sum();
    Ok(Answer { value, bytes: answer.encoded_len() })
}

/// Asks for flame graphs until it is stopped. What is answered is not compared: more arrives all the time.
pub(crate) struct Asker {
    answered: Arc<AtomicU64>,
    asking: tokio::task::JoinHandle<()>,
}

impl Asker {
    /// Starts asking: mostly for one service, now and then for all.
    pub(crate) fn start(server: &Server, fleet: &Fleet) -> Self {
        let Questions { whole, one, .. } = Questions::new(fleet, &Ledger::default(), 1);
        let (client, answered) = (client(server), Arc::<AtomicU64>::default());
        let count = Arc::clone(&answered);
        let asking = tokio::spawn(async move {
            for number in 0u64.. {
                let query =
                    if number % (ONES_PER_ALL + 1) == ONES_PER_ALL { everything() } else { one.clone() };
                // There may be no data yet.
                if flame(client.clone(), whole, query).await.is_ok() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { answered, asking }
    }

    /// Stops; how many answers came.
    pub(crate) fn stop(self) -> u64 {
        self.asking.abort();
        self.answered.load(Ordering::Relaxed)
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
        "  {name:<31} first {:>8.1} ms ({:>4.0} ms CPU)  then {:>8.2} ms, {:>7.2} ms CPU  {:>9} B  {verdict}",
        ms(first_wall),
        first_cpu * 1e3,
        ms(walls[walls.len() / 2]),
        cpu * 1e3,
        first.bytes,
    ));
    Ok(exact)
}
