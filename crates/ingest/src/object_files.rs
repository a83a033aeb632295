//! Names of object files: one file may go by its GNU build ID with one sender and by the hash of its contents with another.
//!
//! Parca Agent reads the first note segment only, and reports a program whose build ID is in the second under a hash;
//! OpenTelemetry's profiler reports both. Mappings are kept as they were sent, since uploads come under the same name; who looks
//! for an object file asks here what else it may be called. Whoever learns two names of a file (a request that has both, an
//! uploaded file that is read) tells it here.
//!
//! Invariants: bounded; a name leads to its file's other names in both directions; no I/O. What is learned is forgotten with the
//! process, and learned again from the next request or file.

use std::collections::HashMap;

use parking_lot::RwLock;

/// Names that are remembered; a program with its libraries has a hundred.
const NAMES_MAX: usize = 100_000;

/// Which names mean the same object file.
#[derive(Debug, Default)]
pub struct ObjectFiles {
    names: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    by_hash: HashMap<String, String>,
    by_build_id: HashMap<String, Vec<String>>,
}

impl ObjectFiles {
    /// Remembers that the file with this GNU build ID (in hex) is also known by this hash. Beyond the bound it is not.
    pub fn learn(&self, build_id: &str, hash: &str) {
        let is_useful = !build_id.is_empty() && !hash.is_empty() && build_id != hash;
        if !is_useful || self.names.read().by_hash.contains_key(hash) {
            return;
        }
        let mut names = self.names.write();
        if names.by_hash.len() < NAMES_MAX {
            names.by_hash.insert(hash.to_owned(), build_id.to_owned());
            names.by_build_id.entry(build_id.to_owned()).or_default().push(hash.to_owned());
        }
    }

    /// All names of the file that has this one: its GNU build ID first, if it is known. The name itself is among them.
    pub fn names(&self, name: &str) -> Vec<String> {
        let names = self.names.read();
        let build_id = names.by_hash.get(name).map_or(name, String::as_str);
        let mut all = vec![build_id.to_owned()];
        all.extend(names.by_build_id.get(build_id).into_iter().flatten().cloned());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_name_leads_to_the_other() {
        let files = ObjectFiles::default();
        files.learn("gnu", "hash");
        files.learn("gnu", "stripped");
        files.learn("gnu", "hash");
        files.learn("other", "hash");
        files.learn("", "x");
        for name in ["gnu", "hash", "stripped"] {
            assert_eq!(files.names(name), ["gnu", "hash", "stripped"]);
        }
        assert_eq!(files.names("unknown"), ["unknown"]);
        assert_eq!(files.names("x"), ["x"]);
    }
}
