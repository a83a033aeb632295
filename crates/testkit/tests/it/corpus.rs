//! The corpora of the fuzz targets, replayed, also changed at random.
//!
//! Mutants are no substitute for a fuzzer that sees which code an input reaches, but need nothing that a test has not.

use std::{
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
};

use decima_testkit::random::Random;

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

/// Not mutated: a block's files have checksums, which the target leaves out, and where overflow is checked, as in tests, the reader of
/// Parquet panics on offsets that contradict each other.
const UNMUTATED: &str = "block_file";
/// How many mutants of each corpus there are; `DECIMA_MUTANTS` says another number.
const MUTANTS: u64 = 100;

#[test]
fn mutants_of_every_corpus_do_no_harm() {
    let mutants = std::env::var("DECIMA_MUTANTS").ok().map_or(MUTANTS, |number| number.parse().unwrap());
    let wanted = std::env::var("DECIMA_TARGET").ok();
    let chosen =
        TARGETS.iter().zip(0..).filter(|((target, _), _)| wanted.as_ref().is_none_or(|w| w == target));
    for ((target, check), number) in chosen.filter(|((target, _), _)| *target != UNMUTATED) {
        let inputs = inputs(target);
        for mutant in 0..mutants {
            let input = mutated(&inputs, &mut Random::of(&[number, mutant]));
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| check(&input)));
            if done.is_err() {
                let file = std::env::temp_dir().join(format!("decima-{target}-{mutant}"));
                std::fs::write(&file, input).unwrap();
                panic!("{target} fails with mutant {mutant}, which is in {}", file.display());
            }
        }
    }
}

/// One of the inputs with some changes, each of a kind that formats of lengths, offsets and counts suffer from.
fn mutated(inputs: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(6) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = random.below(bytes.len());
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.bits() as u8,
            2 => {
                let edges = [0, 1, 0x7f, 0x80, 0xff, u64::from(u32::MAX), u64::MAX, i64::MAX as u64];
                let number = edges[random.below(edges.len())].to_le_bytes();
                let length = (end - at).min(1 << random.below(4));
                bytes[at..at + length].copy_from_slice(&number[..length]);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let other = &inputs[random.below(inputs.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
    }
    bytes
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
