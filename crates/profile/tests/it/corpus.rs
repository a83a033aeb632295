//! Inputs worth keeping, replayed: those that found a fault once, and one for each way to be wrong.
//!
//! `fixtures/corpus/pprof` is also the starting corpus of the fuzz target. Its files are replayed as they are, and cut
//! at every length if they are small.

use std::path::PathBuf;

use crate::generated::check_any;

#[test]
fn corpus_of_profiles() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus/pprof");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        if bytes.len() <= 4096 {
            (0..bytes.len()).for_each(|end| check_any(bytes[..end].to_vec()));
        }
        check_any(bytes);
    }
    assert!(files >= 10, "{files} files in {}", folder.display());
}
