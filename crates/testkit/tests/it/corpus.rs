//! The corpora of the fuzz targets, replayed.

use std::path::{Path, PathBuf};

use crate::fuzz::TARGETS;

/// Inputs up to this size are also replayed cut short at every length.
const CUT_BYTES_MAX: usize = 2048;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every input of a target: those kept for fuzzing, and those kept for tests.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folders = ["fuzz/corpus", "fixtures/corpus"].map(|folder| root().join(folder).join(target));
    let mut inputs = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for entry in std::fs::read_dir(folder).unwrap() {
            inputs.push(std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
    inputs
}

#[test]
fn every_corpus_replays() {
    for (target, check) in TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "there is no corpus for {target}");
        for input in inputs {
            check(&input);
            if input.len() <= CUT_BYTES_MAX {
                (0..input.len()).for_each(|end| check(&input[..end]));
            }
        }
    }
}

#[test]
fn every_target_can_be_fuzzed() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        let file = format!("fuzz_targets/{target}.rs");
        assert!(manifest.contains(&format!("path = \"{file}\"")), "fuzz/Cargo.toml does not name {file}");
        let source = std::fs::read_to_string(root().join("fuzz").join(&file)).unwrap();
        assert!(source.contains(&format!("decima_fuzz::{target}(")), "{file} does not call the target");
    }
}
