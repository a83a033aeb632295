//! `cargo xtask bench`: sends a fleet's load to the release build, asks it everything, kills it, asks again.
//!
//! CPU time is the server's own, so that a busy machine does not change it much; it is read in ticks of 10 ms, hence
//! the many repeats of small queries. Every answer is compared with the sums of what was acknowledged, and one that is
//! not exact makes the bench fail.

mod ledger;
mod load;
mod questions;
mod server;

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use decima_testkit::fleet::{Fleet, Shape};

use crate::{ledger::Ledger, questions::Questions, server::Server};

/// Measures the store with the load of a fleet.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Services of the fleet.
    #[arg(long, default_value_t = 200)]
    services: usize,
    /// Functions of all services together.
    #[arg(long, default_value_t = 20_000)]
    functions: usize,
    /// Distinct stacktraces of a service at least.
    #[arg(long, default_value_t = 2_000)]
    stacks_min: usize,
    /// Distinct stacktraces of a service at most.
    #[arg(long, default_value_t = 5_000)]
    stacks_max: usize,
    /// Pods of a service.
    #[arg(long, default_value_t = 5)]
    pods: usize,
    /// Profiles that each service sends.
    #[arg(long, default_value_t = 20)]
    profiles_per_service: usize,
    /// Samples altogether, about, instead of a number of profiles.
    #[arg(long, conflicts_with = "profiles_per_service")]
    samples: Option<usize>,
    /// Time that the load spans; a service sends every 10 s when left out.
    #[arg(long)]
    hours: Option<f64>,
    /// Ask for flame graphs while the load is sent.
    #[arg(long)]
    asking: bool,
    /// Samples in a profile.
    #[arg(long, default_value_t = 1_000)]
    samples_per_profile: usize,
    /// Seed of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests in flight.
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// Repeats of each small query; those that read everything are asked a fifth as often.
    #[arg(long, default_value_t = 100)]
    repeats: usize,
    /// The program to measure.
    #[arg(long, default_value = "target/release/decima")]
    binary: PathBuf,
    /// Data directory to use and keep; a temporary one when left out. Must be empty.
    #[arg(long)]
    storage_path: Option<PathBuf>,
    /// Further flags for the server.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(bench(&options))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            say("WRONG: an answer was not exact");
            ExitCode::FAILURE
        }
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

const HOUR_NS: f64 = 3.6e12;

/// Writes a line to standard output.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Runs everything; whether every answer was exact.
async fn bench(options: &Options) -> anyhow::Result<bool> {
    let fleet = build(options)?;
    let temporary = tempfile::tempdir()?;
    let storage = options.storage_path.clone().unwrap_or_else(|| temporary.path().join("data"));
    let start = || Server::start(&options.binary, &storage, temporary.path(), &options.flags);

    let server = start().await?;
    let ledger = ingest(&server, &fleet, options).await?;
    let questions = Questions::new(&fleet, &ledger, options.repeats);
    let mut exact = questions.ask_all(&server, "in memory, after the load").await?;
    memory(&server, "peak of load and queries")?;

    server.kill()?;
    let killed = restart(&start, &questions, "kill -9 with a full log").await?;
    exact &= killed.1;
    exact &= questions.ask_all(&killed.0, "after kill -9").await?;

    let flushing = Instant::now();
    let cpu = killed.0.cpu()?;
    killed.0.terminate()?;
    say(&format!("flush and stop        {:>9.1} ms wall, {cpu:.2} s CPU before it", ms(flushing.elapsed())));
    sizes(&storage, ledger.samples())?;

    let (server, range_exact) = restart(&start, &questions, "SIGTERM").await?;
    exact &= range_exact;
    exact &= questions.ask_all(&server, "from blocks").await?;
    memory(&server, "peak of queries from blocks")?;
    server.terminate()?;
    Ok(exact)
}

fn build(options: &Options) -> anyhow::Result<Fleet> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let started = Instant::now();
    let profiles_per_service = options.samples.map_or(options.profiles_per_service, |samples| {
        samples.div_ceil((options.services * options.samples_per_profile).max(1))
    });
    let default_ns = Shape::default().interval_ns;
    let fleet = Fleet::new(Shape {
        seed: options.seed,
        services: options.services,
        functions: options.functions,
        stacks_min: options.stacks_min,
        stacks_max: options.stacks_max,
        pods: options.pods,
        profiles_per_service,
        samples_per_profile: options.samples_per_profile,
        interval_ns: options
            .hours
            .map_or(default_ns, |hours| (hours * HOUR_NS / profiles_per_service.max(1) as f64) as i64),
        end_ns: (now.as_secs() / 10 * 10) as i64 * 1_000_000_000,
    });
    say(&format!(
        "load: {} services, {} profiles each, {} distinct stacktraces, built in {:.1} s",
        options.services,
        profiles_per_service,
        fleet.stacktraces(),
        started.elapsed().as_secs_f64()
    ));
    Ok(fleet)
}

/// Sends the load and prints what it cost, with what was asked meanwhile.
async fn ingest(server: &Server, fleet: &Fleet, options: &Options) -> anyhow::Result<Ledger> {
    let before = server.cpu()?;
    let asker = options.asking.then(|| questions::Asker::start(server, fleet));
    let sent = load::send(server, fleet, options.concurrency).await?;
    if let Some(asker) = asker {
        say(&format!("meanwhile             {} flame graphs were asked for", asker.stop()));
    }
    let acknowledged = server.cpu()? - before;
    server.settle(Duration::from_secs(60)).await?;
    let settled = server.cpu()? - before;
    let (profiles, samples) = (sent.ledger.profiles() as f64, sent.ledger.samples() as f64);
    say(&format!(
        "ingest                {profiles} profiles, {samples} samples, {:.0} kB gzip each; wall {:.1} s, p50 {:.1} ms, p99 {:.1} ms",
        sent.bytes as f64 / profiles / 1e3,
        sent.wall.as_secs_f64(),
        ms(sent.quantile(0.5)),
        ms(sent.quantile(0.99)),
    ));
    say(&format!(
        "ingest CPU            {:.2} ms per profile ({:.2} ms until the last answer); per core {:.0} profiles/s, {:.0} samples/s",
        settled * 1e3 / profiles,
        acknowledged * 1e3 / profiles,
        profiles / settled,
        samples / settled,
    ));
    Ok(sent.ledger)
}

/// Starts again, tells how long the first answer took, and whether it was exact.
async fn restart<F: Future<Output = anyhow::Result<Server>>>(
    start: impl Fn() -> F,
    questions: &Questions,
    after: &str,
) -> anyhow::Result<(Server, bool)> {
    let started = Instant::now();
    let server = start().await?;
    let exact = questions.first_answer(&server).await?;
    let took = ms(started.elapsed());
    let verdict = if exact { "exact" } else { "WRONG" };
    say(&format!(
        "restart after {after}: first answer after {took:.0} ms, {:.2} s CPU, {verdict}",
        server.cpu()?
    ));
    Ok((server, exact))
}

fn memory(server: &Server, what: &str) -> anyhow::Result<()> {
    let (now, peak) = server.memory()?;
    say(&format!(
        "memory                {:.0} MiB {what}, {:.0} MiB now",
        peak as f64 / 1024.0,
        now as f64 / 1024.0
    ));
    Ok(())
}

/// Prints what lies on disk, by kind of file.
fn sizes(storage: &std::path::Path, samples: u64) -> anyhow::Result<()> {
    let kinds = server::sizes_by_kind(storage)?;
    let total: u64 = kinds.values().map(|kind| kind.allocated).sum();
    for (kind, size) in kinds {
        let per_sample = size.bytes as f64 / samples as f64;
        say(&format!(
            "at rest               {kind:<24} {:>12} bytes in {:>4} files  {per_sample:.3} B/sample",
            size.bytes, size.files
        ));
    }
    say(&format!("at rest, all (du)     {total} bytes  {:.2} B/sample", total as f64 / samples as f64));
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
