use std::time::Instant;

use axum::body::{Body, to_bytes};
use decima_profile::{compression, pprof};
use http::Request;
use tower::ServiceExt as _;

use super::*;

async fn get_path(path: &str) -> (StatusCode, Vec<u8>) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes().oneshot(request).await.unwrap();
    let status = response.status();
    (status, to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec())
}

async fn get_text(path: &str) -> (StatusCode, String) {
    let (status, body) = get_path(path).await;
    (status, String::from_utf8(body).unwrap())
}

/// What Go's tool asks where a mapping has no functions; without an answer it gives up the whole profile.
#[tokio::test]
async fn who_asks_for_symbols_is_told_that_there_are_none() {
    for method in [http::Method::GET, http::Method::POST] {
        let request =
            Request::builder().method(method).uri("/debug/pprof/symbol").body(Body::from("0x1+0x2"));
        let response = routes().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "num_symbols: 0\n");
    }
}

fn burn(duration: Duration) -> u64 {
    let until = Instant::now() + duration;
    let mut sum = 1u64;
    while Instant::now() < until {
        for i in 0..10_000u64 {
            sum = std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i));
        }
    }
    sum
}

#[inline(never)]
fn burn_before() -> u64 {
    std::hint::black_box(burn(Duration::from_millis(700)))
}

#[inline(never)]
fn burn_meanwhile() -> u64 {
    std::hint::black_box(burn(Duration::from_millis(700)))
}

/// Checks what is in every CPU profile, and gives the samples in which a function of this file is.
fn samples_in(body: &[u8], function: &str) -> i64 {
    let limits = pprof::Limits::default();
    let profile = pprof::decode(compression::decompress(body, 64 << 20).unwrap(), &limits).unwrap();
    let batch = profile.batch;
    let [samples, cpu] = batch.series.as_slice() else { panic!("{:?}", batch.series) };
    for (series, sample_type, unit) in [(samples, "samples", "count"), (cpu, "cpu", "nanoseconds")] {
        let got = &series.profile_type;
        assert_eq!((got.sample_type.as_str(), got.sample_unit.as_str()), (sample_type, unit));
        assert_eq!(
            (got.period_type.as_str(), got.period_unit.as_str(), got.delta),
            ("cpu", "nanoseconds", true)
        );
        assert_eq!(series.period, 20_408_000);
        assert!(series.duration_ns >= 1_000_000_000);
    }
    assert!(batch.mappings.iter().any(|mapping| !batch.strings.get(mapping.file).is_empty()));
    let name = format!("decima_server::self_profile::tests::{function}");
    let is_in = |sample: &usize| {
        let locations = batch.stacktrace(samples.stacktraces[*sample]).iter();
        let mut lines = locations.flat_map(|&id| {
            let location = &batch.locations[id as usize];
            &batch.lines[location.first_line as usize..(location.first_line + location.line_count) as usize]
        });
        lines.any(|line| batch.strings.get(batch.functions[line.function as usize].name) == name)
    };
    (0..samples.values.len()).filter(is_in).map(|sample| samples.values[sample]).sum()
}

/// Each profile has what ran while it was measured, whoever else measures at the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cpu_profiles_show_what_burns_while_they_are_measured() {
    let long = tokio::spawn(get_path("/debug/pprof/profile?seconds=3"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::task::spawn_blocking(burn_before).await.unwrap();
    let short = tokio::spawn(get_path("/debug/pprof/profile?seconds=1"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::task::spawn_blocking(burn_meanwhile).await.unwrap();
    let mut profiles = Vec::new();
    for profile in [long, short] {
        let (status, body) = profile.await.unwrap();
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
        profiles.push(body);
    }
    assert!(samples_in(&profiles[0], "burn_before") > 0);
    assert!(samples_in(&profiles[0], "burn_meanwhile") > 0);
    assert_eq!(samples_in(&profiles[1], "burn_before"), 0);
    assert!(samples_in(&profiles[1], "burn_meanwhile") > 0);
}

#[tokio::test]
async fn refused() {
    let (status, text) = get_text("/debug/pprof/profile?seconds=301").await;
    assert_eq!((status, text.as_str()), (StatusCode::BAD_REQUEST, "seconds: 301 is more than 300\n"));
    assert_eq!(get_text("/debug/pprof/profile?seconds=x").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn memory_without_the_setting() {
    for name in ["allocs", "heap"] {
        let (status, text) = get_text(&format!("/debug/pprof/{name}")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("prof:true"), "{text}");
    }
}

#[tokio::test]
async fn index() {
    let (status, text) = get_text("/debug/pprof/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("href=profile"));
    assert_eq!(get_text("/debug/pprof").await.0, StatusCode::PERMANENT_REDIRECT);
}
