//! The store is loaded, killed at a random point and started again, over and over, beside a ledger of what it acknowledged.
//!
//! Each request is a profile with a function of its own, so that an answer tells of each one whether it is there, and whether
//! once: what was acknowledged must be, what was cut off may be, and what was found after a start stays so for ever.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use decima_testkit::{pprof::ProfileBuilder, random::Random};

use crate::process::{Server, decima, run, stderr};

/// Rounds, unless `DECIMA_CRASH_ROUNDS` says another number.
const ROUNDS: u64 = 30;
const SENDERS: u64 = 3;
/// How long a store lives at most before it is killed.
const LIFE_MS: usize = 400;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Sends the profile of a request; whether it was acknowledged.
fn send(url: &str, folder: &Path, round: u64, request: i64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let function = format!("request{request}");
    let profile = ProfileBuilder::cpu().at(now.as_nanos() as i64).sample(&[&function, "main"], &[request]);
    let path = folder.join(format!("{request}.pb.gz"));
    std::fs::write(&path, profile.gzip()).unwrap();
    let label = format!("service=round{round}");
    let output =
        decima().arg("upload").arg(&path).args(["--label", &label, "--address", url]).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    output.status.success()
}

/// The value of each request of a round that is there.
fn found(server: &Server, round: u64) -> BTreeMap<i64, i64> {
    let selector = format!("process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{{service=\"round{round}\"}}");
    let output = run(&["query", &selector, "--from=3h", "--format=collapsed", "--address", server.url()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let requests = text.lines().map(|line| {
        let (stack, value) = line.rsplit_once(' ').unwrap();
        let request = stack.rsplit_once(";request").unwrap().1;
        (request.parse().unwrap(), value.parse().unwrap())
    });
    requests.collect()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kills_at_random_points() {
    let rounds = number("DECIMA_CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("DECIMA_CRASH_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    });
    println!("DECIMA_CRASH_SEED={seed} repeats the points in time of these {rounds} rounds");
    let mut random = Random::of(&[seed]);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let config = folder.path().join("none.yaml");
    std::fs::write(&config, "scrape_configs: []\n").unwrap();
    let start = || Server::start(&data, &[&format!("--config-path={}", config.display())]);

    let next = Arc::new(AtomicI64::new(1));
    let mut ledger: Vec<BTreeMap<i64, i64>> = Vec::new();
    let mut acknowledged_count = 0;
    for round in 0..rounds {
        let server = start();
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (next, stop, url) = (next.clone(), stop.clone(), server.url().to_owned());
                let folder = folder.path().to_owned();
                std::thread::spawn(move || {
                    let mut sent = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let request = next.fetch_add(1, Ordering::Relaxed);
                        sent.push((request, send(&url, &folder, round, request)));
                    }
                    sent
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(random.below(LIFE_MS) as u64));
        if random.percent(30) {
            // It is killed while it writes the head to a block.
            server.signal("TERM");
            std::thread::sleep(Duration::from_millis(random.below(40) as u64));
        }
        server.kill();
        stop.store(true, Ordering::Relaxed);
        let sent: BTreeMap<i64, bool> =
            senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();

        let server = start();
        let found_now = found(&server, round);
        for (request, acknowledged) in &sent {
            assert!(
                found_now.contains_key(request) || !acknowledged,
                "round {round}: request {request} is lost"
            );
            acknowledged_count += u64::from(*acknowledged);
        }
        for (request, value) in &found_now {
            assert!(sent.contains_key(request), "round {round}: request {request} was not sent in it");
            assert_eq!(value, request, "round {round}: request {request} is not there once");
        }
        ledger.push(found_now);
        let earlier = random.below(ledger.len());
        assert_eq!(found(&server, earlier as u64), ledger[earlier], "round {earlier} after round {round}");
        server.kill();
    }
    let server = start();
    for (round, expected) in ledger.iter().enumerate() {
        assert_eq!(found(&server, round as u64), *expected, "round {round} at the end");
    }
    assert!(
        acknowledged_count > rounds,
        "{acknowledged_count} requests were acknowledged in {rounds} rounds"
    );
    println!("{acknowledged_count} requests were acknowledged");
    server.kill();
    let inventory = run(&["inspect", "--verify", data.to_str().unwrap()]);
    assert!(inventory.status.success(), "{}", String::from_utf8_lossy(&inventory.stdout));
}
