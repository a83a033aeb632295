//! Runs lives of a store by seed: `sim --seeds 10000`, or one of them with its journal: `sim --seed 7`; with `--full-disk` on a disk
//! that is full and stays so.
#![expect(clippy::print_stdout, reason = "the journal and the findings are the output")]

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use clap::Parser;
use decima_sim::life;

#[derive(Parser)]
#[command(about = "Runs a whole store on a simulated machine and bucket, and holds it against the model")]
struct Flags {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs one seed and prints its journal.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Lives on a disk that is full and stays so, in place of what else may happen.
    #[arg(long)]
    full_disk: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let run = if flags.full_disk { life::run_on_a_full_disk } else { life::run };
    if let Some(seed) = flags.seed {
        let outcome = run(seed);
        for line in outcome.journal {
            println!("{line}");
        }
        return conclude(seed, outcome.failure);
    }
    let began = Instant::now();
    let (next, failures) = (AtomicU64::new(flags.from), AtomicU64::new(0));
    let end = flags.from.saturating_add(flags.seeds);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    if let Some(failure) = run(seed).failure {
                        failures.fetch_add(1, Ordering::Relaxed);
                        println!("seed {seed}: {failure}");
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    println!("seeds {}..{end} in {:.1} s", flags.from, began.elapsed().as_secs_f64());
    println!("{} passed, {failures} failed, 0 skipped", flags.seeds - failures);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn conclude(seed: u64, failure: Option<String>) -> ExitCode {
    match failure {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            println!("seed {seed}: {failure}");
            ExitCode::FAILURE
        }
    }
}
