//! Targets that discoveries find, and jobs that change.

use super::*;

/// Lines of a job without static targets that fetches memory profiles.
fn found_job(name: &str, lines: &str) -> String {
    let off =
        ["block", "goroutine", "mutex", "process_cpu"].map(|name| format!("{name}: {{enabled: false}}"));
    let mut text = format!(
        "- job_name: {name}\n  scrape_interval: 1h\n  scrape_timeout: 2h\n  profiling_config: {{pprof_config: {{{}}}}}\n",
        off.join(", ")
    );
    for line in lines.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn targets_file(path: &Path, addresses: &[String]) {
    let text = serde_json::json!([{ "targets": addresses, "labels": { "env": "test" } }]).to_string();
    // As writers do who care.
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

impl Bench {
    fn active(&self) -> Vec<String> {
        self.scraper
            .targets(TargetState::Active)
            .into_iter()
            .map(|target| target.labels["instance"].clone())
            .collect()
    }

    async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !reached(self) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{what}: {:?} {:?}",
                self.active(),
                self.scraper.jobs()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn quick() -> Settings {
    Settings { sync_interval: Duration::from_millis(10), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_of_a_file_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.json");
    let bench = Bench::with(quick()).await;
    let rules = "relabel_configs:\n- {source_labels: [__address__], regex: 'drop.*', action: drop}\n- {source_labels: [__meta_filepath], regex: '.*/(.*)', target_label: file}";
    bench.apply(&format!(
        "scrape_configs:\n{}",
        found_job("api", &format!("file_sd_configs: [{{files: ['{}']}}]\n{rules}", path.display()))
    ));
    bench
        .until("it tells that there is no file", |bench| {
            bench.scraper.jobs()[0].discoveries[0].last_error.ends_with("targets.json: is not there")
        })
        .await;
    targets_file(&path, &["a:1".into(), "b:1".into(), "drop:1".into()]);
    bench.until("targets come", |bench| bench.active() == ["a:1", "b:1"]).await;
    let target = bench.scraper.targets(TargetState::Active).remove(0);
    let expected = [
        ("__name__", "memory"),
        ("env", "test"),
        ("file", "targets.json"),
        ("instance", "a:1"),
        ("job", "api"),
    ];
    assert_eq!(target.labels, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let job = bench.scraper.jobs().remove(0);
    assert_eq!((job.unknown, job.good, job.bad, job.dropped, job.error.as_str()), (2, 0, 0, 1, ""));
    assert_eq!((job.discoveries[0].kind, job.discoveries[0].targets), ("file", 3));
    assert_eq!(job.discoveries[0].last_error, "");
    std::fs::write(&path, "[{").unwrap();
    bench
        .until("a bad file is told", |bench| !bench.scraper.jobs()[0].discoveries[0].last_error.is_empty())
        .await;
    assert_eq!(bench.active(), ["a:1", "b:1"]);
    targets_file(&path, &["b:1".into(), "c:1".into()]);
    bench.until("targets change", |bench| bench.active() == ["b:1", "c:1"]).await;
    std::fs::remove_file(&path).unwrap();
    bench.until("targets go", |bench| bench.active().is_empty()).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.json");
    let addresses: Vec<String> = (0..50).map(|n| format!("a{n:02}:1")).collect();
    targets_file(&path, &addresses);
    let bench = Bench::with(Settings { targets_per_job_max: 30, ..quick() }).await;
    bench.apply(&format!(
        "scrape_configs:\n{}",
        found_job("api", &format!("file_sd_configs: [{{files: ['{}']}}]", path.display()))
    ));
    bench.until("the first ones are scraped", |bench| bench.active().len() == 30).await;
    assert_eq!(bench.active(), addresses[..30]);
    assert_eq!(bench.scraper.jobs()[0].error, "20 targets are beyond the 30 of a job and not scraped");
    targets_file(&path, &addresses[10..40]);
    bench.until("others take the places that are free", |bench| bench.active() == addresses[10..40]).await;
    assert_eq!(bench.scraper.jobs()[0].error, "");
    bench.stop().await;
}

/// A target is undisturbed if it still knows how its last scrape went: its interval is an hour.
#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_not_disturbed_by_a_reload() {
    let (program, address) = Program::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.json");
    targets_file(&path, &[address.to_string()]);
    let bench = Bench::with(quick()).await;
    // The first scrape comes within the interval, so this one is short, and the others look at the same loop.
    let job = |interval: &str, lines: &str| {
        found_job("api", &format!("file_sd_configs: [{{files: ['{}']}}]\n{lines}", path.display()))
            .replace("scrape_interval: 1h", &format!("scrape_interval: {interval}"))
    };
    let config = |jobs: &[String]| format!("scrape_configs:\n{}", jobs.concat());
    bench.apply(&config(&[job("1s", "")]));
    let before = bench.status(good).await;
    let good_still = |bench: &Bench| {
        bench.scraper.targets(TargetState::Active).iter().any(|now| {
            now.url == before.url && now.health == TargetHealth::Good && now.last_scrape >= before.last_scrape
        })
    };
    // Another job, a rule that changes nothing, a static target, another discovery: each at once, and never unknown.
    let other = found_job("other", "static_configs: [{targets: ['x:1']}]");
    let rule = "relabel_configs: [{target_label: unused, replacement: ''}]";
    let more = "static_configs: [{targets: ['y:1']}]";
    let changed = format!("http_sd_configs: [{{url: 'http://{address}/nowhere'}}]");
    for jobs in [
        vec![job("1s", ""), other.clone()],
        vec![other.clone(), job("1s", "")],
        vec![job("1s", rule)],
        vec![job("1s", more)],
        vec![job("1s", &changed)],
    ] {
        bench.apply(&config(&jobs));
        assert!(good_still(&bench), "{jobs:?}");
    }
    bench
        .until("the new discovery has answered", |bench| bench.scraper.jobs()[0].discoveries[1].failures > 0)
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(good_still(&bench), "a discovery that fails takes nothing away from others");
    // What is fetched in another way starts anew.
    bench.apply(&config(&[job("1h", "")]));
    bench.until("the target is there again", |bench| bench.active().len() == 1).await;
    assert!(!good_still(&bench));
    assert!(!program.asked().is_empty());
    bench.stop().await;
}
