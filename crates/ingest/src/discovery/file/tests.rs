use std::{
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::discovery::groups::ADDRESS;

/// A folder of files with targets, and those who look at it.
struct Bench {
    folder: tempfile::TempDir,
    files: Files,
}

impl Bench {
    fn new(patterns: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = patterns.iter().map(|pattern| folder.path().join(pattern)).collect();
        let config = FileDiscovery { files, refresh_interval: Duration::from_secs(300) };
        Self { folder, files: Files::new(config, Duration::from_millis(1)) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// What a look finds: names of files with their addresses, and what is wrong.
    fn look(&mut self) -> (Vec<String>, String) {
        let wrong = FilesError::of(self.files.look(Instant::now()));
        let wrong =
            wrong.map(|wrong| wrong.to_string().replace(&format!("{}/", self.folder.path().display()), ""));
        let mut found = Vec::new();
        for group in self.files.groups().values() {
            let path = Path::new(&group.labels[PATH_LABEL]).file_name().unwrap().to_str().unwrap();
            for target in &group.targets {
                found.push(format!("{path} {}", target[ADDRESS]));
            }
        }
        (found, wrong.unwrap_or_default())
    }

    #[track_caller]
    fn check(&mut self, found: &[&str], wrong: &str) {
        let got = self.look();
        assert_eq!(
            (got.0.iter().map(String::as_str).collect::<Vec<_>>(), got.1.as_str()),
            (found.to_vec(), wrong)
        );
    }
}

fn targets(addresses: &[&str]) -> String {
    serde_json::json!([{ "targets": addresses }]).to_string()
}

#[test]
fn files_appear_change_and_disappear() {
    let mut bench = Bench::new(&["*.json", "b.yml"]);
    bench.check(&[], "b.yml: is not there");
    bench.write("a.json", &targets(&["a:1", "a:2"]));
    bench.write("b.yml", "- targets: ['b:1']\n- targets: ['b:2']\n");
    bench.write("other.yml", "- targets: ['no:1']\n");
    bench.check(&["a.json a:1", "a.json a:2", "b.yml b:1", "b.yml b:2"], "");
    // Of the same size, at about the same time.
    bench.write("a.json", &targets(&["a:1", "a:3"]));
    bench.check(&["a.json a:1", "a.json a:3", "b.yml b:1", "b.yml b:2"], "");
    // A file that is gone for a moment keeps its targets.
    fs::remove_file(bench.path("a.json")).unwrap();
    bench.check(&["a.json a:1", "a.json a:3", "b.yml b:1", "b.yml b:2"], "");
    bench.write("a.json", &targets(&["a:4"]));
    bench.check(&["a.json a:4", "b.yml b:1", "b.yml b:2"], "");
    fs::remove_file(bench.path("a.json")).unwrap();
    fs::remove_file(bench.path("b.yml")).unwrap();
    bench.look();
    bench.check(&[], "b.yml: is not there");
}

#[test]
fn what_cannot_be_used_keeps_what_was_there() {
    let mut bench = Bench::new(&["*.json"]);
    bench.write("a.json", &targets(&["a:1"]));
    bench.write("b.json", &targets(&["b:1"]));
    bench.check(&["a.json a:1", "b.json b:1"], "");
    bench.write("a.json", "[{\"targets\": [\"a:2\"");
    let refused = "a.json: not a list of target groups: EOF while parsing a list at line 1 column 19";
    bench.check(&["a.json a:1", "b.json b:1"], refused);
    bench.write("b.json", "[null]");
    bench.check(&["a.json a:1", "b.json b:1"], &format!("{refused} (and 1 more files)"));
    bench.write("a.json", &targets(&["a:2"]));
    bench.check(&["a.json a:2", "b.json b:1"], "b.json: nil target group item found (index 0)");
    // An empty list is one.
    bench.write("b.json", "[]");
    bench.check(&["a.json a:2"], "");
}

#[test]
fn a_folder_instead_of_a_file_is_told() {
    let mut bench = Bench::new(&["*.json"]);
    fs::create_dir(bench.path("a.json")).unwrap();
    bench.check(&[], "a.json: cannot be read: Is a directory (os error 21)");
}

#[test]
fn a_volume_that_is_swapped_as_kubernetes_does_it() {
    let mut bench = Bench::new(&["*.yaml"]);
    for (volume, address) in [("..1", "a:1"), ("..2", "a:2")] {
        fs::create_dir(bench.path(volume)).unwrap();
        fs::write(bench.path(volume).join("a.yaml"), format!("- targets: ['{address}']\n")).unwrap();
    }
    symlink("..1", bench.path("..data")).unwrap();
    symlink("..data/a.yaml", bench.path("a.yaml")).unwrap();
    bench.check(&["a.yaml a:1"], "");
    symlink("..2", bench.path("..data_tmp")).unwrap();
    fs::rename(bench.path("..data_tmp"), bench.path("..data")).unwrap();
    fs::remove_dir_all(bench.path("..1")).unwrap();
    bench.check(&["a.yaml a:2"], "");
}

/// Somebody replaces the file all the time, in every way that there is, and is killed in the middle of some.
#[test]
fn replaced_while_looked_at() {
    let mut bench = Bench::new(&["a.json"]);
    let all: Vec<String> = (0..200).map(|n| format!("a:{n}")).collect();
    let whole = targets(&all.iter().map(String::as_str).collect::<Vec<_>>());
    bench.write("a.json", &whole);
    assert_eq!(bench.look().0.len(), all.len());
    let (path, temporary) = (bench.path("a.json"), bench.path("temporary"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                match round % 3 {
                    0 => {
                        fs::write(&temporary, &whole).unwrap();
                        fs::rename(&temporary, &path).unwrap();
                    }
                    1 => {
                        // A rewrite in two parts.
                        fs::write(&path, &whole[..1000]).unwrap();
                        fs::write(&path, &whole).unwrap();
                    }
                    _ => {
                        // A writer that dies before the rename.
                        fs::write(&temporary, &whole[..round % 1000]).unwrap();
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        // Nobody sees another list than the whole one.
        for _ in 0..50 {
            assert_eq!(bench.look().0.len(), all.len());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(bench.look().0.len(), all.len());
}

#[tokio::test]
async fn found_by_running() {
    let bench = Bench::new(&["a.json"]);
    bench.write("a.json", &targets(&["a:1"]));
    let changed = std::sync::Arc::new(tokio::sync::Notify::new());
    let config = bench.files.config.clone();
    let findings = Findings::new(&decima_config::Discovery::File(config.clone()), "api", changed.clone());
    let running = tokio::spawn({
        let findings = findings.clone();
        async move { run(&config, &findings).await }
    });
    changed.notified().await;
    assert_eq!(findings.groups()[0].targets[0][ADDRESS], "a:1");
    bench.write("a.json", &targets(&["a:2"]));
    changed.notified().await;
    assert_eq!(findings.groups()[0].targets[0][ADDRESS], "a:2");
    running.abort();
}
