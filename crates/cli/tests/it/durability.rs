//! What was acknowledged is there, whatever happens to the process.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use decima_testkit::fleet::{Fleet, PROFILE_TYPE, Shape};

use crate::process::{Server, decima, run, stderr};

/// A small fleet whose profiles end now.
pub(crate) fn fleet() -> Fleet {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Fleet::new(Shape {
        services: 4,
        functions: 2_400,
        stacks_min: 100,
        stacks_max: 200,
        samples_per_profile: 60,
        profiles_per_service: 60,
        end_ns: now.as_nanos() as i64,
        ..Shape::default()
    })
}

/// A file to upload, with what it adds.
pub(crate) struct Upload {
    file: PathBuf,
    service: String,
    pub(crate) value: i64,
}

pub(crate) fn uploads(fleet: &Fleet, folder: &Path, count: usize) -> Vec<Upload> {
    let services = fleet.shape().services;
    (0..count)
        .map(|at| {
            let request = fleet.request(at % services, at / services);
            let file = folder.join(format!("{at}.pb.gz"));
            std::fs::write(&file, &request.pprof).unwrap();
            Upload { file, service: Fleet::service_name(request.service), value: request.value }
        })
        .collect()
}

/// Uploads; whether it was acknowledged.
pub(crate) fn upload(url: &str, upload: &Upload) -> bool {
    let output = decima()
        .arg("upload")
        .arg(&upload.file)
        .args(["--name=process_cpu", "--label", &format!("job={}", upload.service), "--address", url])
        .output()
        .unwrap();
    output.status.success()
}

/// Total of everything uploaded, in nanoseconds.
pub(crate) fn total(server: &Server) -> i64 {
    let output = run(&[
        "query",
        PROFILE_TYPE,
        "--from=1h",
        "--to=now-0s",
        "--format=collapsed",
        "--address",
        server.url(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum()
}

/// Three senders at once, until they have sent everything or are told to stop.
pub(crate) struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<(i64, i64)>>,
}

impl Senders {
    /// Begins to send these uploads.
    pub(crate) fn start(url: &str, all: &Arc<Vec<Upload>>, range: Range<usize>) -> Self {
        let (next, stop) = (Arc::new(AtomicUsize::new(range.start)), Arc::new(AtomicBool::new(false)));
        let threads = (0..3).map(|_| {
            let (all, next, stop, url) = (all.clone(), next.clone(), stop.clone(), url.to_owned());
            std::thread::spawn(move || {
                let (mut acknowledged, mut unknown) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(at).filter(|_| at < range.end) else { break };
                    let sum = if upload(&url, one) { &mut acknowledged } else { &mut unknown };
                    *sum += one.value;
                }
                (acknowledged, unknown)
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Sums of what was acknowledged and of what may have been taken.
    pub(crate) fn stop(self) -> (i64, i64) {
        self.stop.store(true, Ordering::Relaxed);
        let sums = self.threads.into_iter().map(|thread| thread.join().unwrap());
        sums.fold((0, 0), |(sent, lost), (more, unknown)| (sent + more, lost + unknown))
    }
}

/// Flags of a store in which nothing is but what a test uploads.
pub(crate) fn quiet(folder: &Path) -> String {
    let path = folder.join("none.yaml");
    std::fs::write(&path, "scrape_configs: []\n").unwrap();
    format!("--config-path={}", path.display())
}

#[test]
fn acknowledged_profiles_survive_kill_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (data, quiet) = (folder.path().join("data"), quiet(folder.path()));
    let fleet = fleet();
    let mut expected = 0;
    let server = Server::start(&data, &[&quiet]);
    for one in uploads(&fleet, folder.path(), 12) {
        assert!(upload(server.url(), &one));
        expected += one.value;
    }
    assert_eq!(total(&server), expected);
    server.kill();

    let server = Server::start(&data, &[&quiet]);
    assert_eq!(total(&server), expected, "after kill -9");
    let more = uploads(&fleet, folder.path(), 16).split_off(12);
    for one in &more {
        assert!(upload(server.url(), one));
        expected += one.value;
    }
    assert_eq!(total(&server), expected, "log replayed, then added to");
    server.signal("TERM");
    assert!(server.wait().0.success());

    let server = Server::start(&data, &[&quiet]);
    assert_eq!(total(&server), expected, "after SIGTERM");
    for one in &more {
        assert!(upload(server.url(), one), "a repeat is acknowledged");
    }
    assert_eq!(total(&server), expected, "repeats are known after a flush and a restart");
    server.kill();
    assert_eq!(total(&Server::start(&data, &[&quiet])), expected, "after a second kill -9");
}

#[test]
fn a_second_process_on_the_same_directory_ends_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Server::start(&data, &[]);
    let second = run(&["--http-address=127.0.0.1:0", "--storage-path", data.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("in use by another process"), "{}", stderr(&second));
    assert!(second.stdout.is_empty(), "it does not say where it is");
    first.kill();
    let third = Server::start(&data, &[]);
    third.signal("TERM");
    assert!(third.wait().0.success(), "a lock does not outlive its process");
}
