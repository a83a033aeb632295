//! What object files there are, and whether they are whole: for `decima inspect`, beside a running store. Changes nothing.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use xxhash_rust::xxh3::Xxh3;

use super::{folder_of, root, stored_path};
use crate::record::{checksum_text, codec};

/// What is kept of object files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileInventory {
    /// Files that are held.
    pub files: u64,
    /// Their size.
    pub size_bytes: u64,
    /// Objects that no record names.
    pub unknown: Vec<String>,
    /// What is not as it should be, one line each.
    pub findings: Vec<String>,
}

/// Lists the object files of a store; with `verify` also reads them, and checks their checksums.
///
/// # Errors
/// If the object store cannot be listed. What cannot be read of it is a finding.
pub async fn inspect(objects: &dyn ObjectStore, verify: bool) -> Result<FileInventory, object_store::Error> {
    let mut inventory = FileInventory::default();
    let listed: Vec<_> = objects.list(Some(&root())).try_collect().await?;
    let mut sizes: HashMap<Path, u64> = HashMap::new();
    let mut records = Vec::new();
    for meta in listed {
        if meta.location.as_ref().ends_with(".json") {
            records.push(meta.location);
        } else {
            sizes.insert(meta.location, meta.size);
        }
    }
    let mut unread: HashSet<Option<String>> = HashSet::new();
    for path in records {
        let found = match objects.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let record = found.map_err(|e| e.to_string()).and_then(|bytes| {
            let told = |e: codec::RecordError| match std::error::Error::source(&e) {
                Some(source) => format!("{e}: {source}"),
                None => e.to_string(),
            };
            codec::decode(&bytes).map_err(told)
        });
        let record = match record {
            Ok(record) => record,
            Err(reason) => {
                inventory.findings.push(format!("{path}: {reason}"));
                unread.insert(folder_of(&path));
                continue;
            }
        };
        let (Some(stored), Some(object)) = (record.stored(), stored_path(&record)) else { continue };
        inventory.files += 1;
        inventory.size_bytes += stored.size_bytes;
        match sizes.remove(&object) {
            None => inventory.findings.push(format!("{object}: it is missing, and {path} names it")),
            Some(size_bytes) if size_bytes != stored.size_bytes => {
                let expected = stored.size_bytes;
                inventory.findings.push(format!("{object}: it has {size_bytes} bytes, and had {expected}"));
            }
            Some(_) if verify => inventory.findings.extend(damage(objects, &object, &stored.checksum).await),
            Some(_) => {}
        }
    }
    let left = sizes.into_keys().filter(|path| !unread.contains(&folder_of(path)));
    inventory.unknown.extend(left.map(|path| path.to_string()));
    inventory.unknown.sort_unstable();
    inventory.findings.sort_unstable();
    Ok(inventory)
}

/// What is wrong with a file.
async fn damage(objects: &dyn ObjectStore, object: &Path, checksum: &Option<String>) -> Option<String> {
    let expected = checksum.as_ref()?;
    let read = async {
        let mut hash = Xxh3::new();
        let mut chunks = objects.get(object).await?.into_stream();
        while let Some(chunk) = chunks.try_next().await? {
            hash.update(&chunk);
        }
        Ok::<_, object_store::Error>(checksum_text(hash.digest()))
    };
    match read.await {
        Ok(found) if found == *expected => None,
        Ok(found) => Some(format!("{object}: its checksum is {found}, and was {expected}")),
        Err(error) => Some(format!("{object}: {error}")),
    }
}
