//! The charm's files: zip archives with the program and what Juju reads beside it, cut from `charm/charmcraft.yaml`.
//!
//! A file is the same for the same sources: entries are in order, and have the time that zip archives begin with.

use std::{
    fs,
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use zip::{DateTime, ZipWriter, write::SimpleFileOptions};

use super::Architecture;
use crate::process::say;

/// What the charm declares of itself.
const CHARMCRAFT: &str = "charm/charmcraft.yaml";

/// Keys of `metadata.yaml`, with what charmcraft calls them. All others of charmcraft's are about building.
const METADATA: &[(&str, &str)] = &[
    ("name", "name"),
    ("title", "display-name"),
    ("summary", "summary"),
    ("description", "description"),
    ("assumes", "assumes"),
    ("containers", "containers"),
    ("resources", "resources"),
    ("storage", "storage"),
    ("peers", "peers"),
    ("provides", "provides"),
    ("requires", "requires"),
];

/// Keys of charmcraft's that become no file, or another one than `metadata.yaml`.
const OTHERS: &[&str] = &["type", "platforms", "parts", "config", "actions"];

/// A base that the charm runs on.
#[derive(Debug, PartialEq, Eq)]
struct Base {
    name: String,
    channel: String,
}

/// Writes the charm for every base of an architecture.
pub(super) fn write_all(
    folder: &Path,
    architecture: &Architecture,
    dispatch: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let project = project(&fs::read_to_string(CHARMCRAFT)?).context(CHARMCRAFT)?;
    let dispatch = fs::read(dispatch)?;
    let beside = [("LICENSE", fs::read("LICENSE")?), ("README.md", fs::read("charm/README.md")?)];
    let name = project["name"].as_str().context("the charm has no name")?;
    let mut written = Vec::new();
    for base in bases(&project, architecture.name)? {
        let archive = archive(&project, &base, architecture.name, &dispatch, &beside)?;
        let file = format!("{name}_{}@{}-{}.charm", base.name, base.channel, architecture.name);
        let path = folder.join(file);
        fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
        say(&path.display().to_string());
        written.push(path);
    }
    if written.is_empty() {
        bail!("{CHARMCRAFT} has no platform of {}", architecture.name);
    }
    Ok(written)
}

fn project(text: &str) -> anyhow::Result<Map<String, Value>> {
    let project: Map<String, Value> = serde_saphyr::from_str(text)?;
    let known = |key: &str| OTHERS.contains(&key) || METADATA.iter().any(|(name, _)| *name == key);
    match project.keys().find(|key| !known(key)) {
        Some(key) => bail!("{key} is nothing that is packed"),
        None => Ok(project),
    }
}

/// Bases of one architecture, from platforms such as `ubuntu@24.04:amd64`.
fn bases(project: &Map<String, Value>, architecture: &str) -> anyhow::Result<Vec<Base>> {
    let platforms = project["platforms"].as_object().context("platforms is not a map")?;
    let mut bases = Vec::new();
    for platform in platforms.keys() {
        let parts = platform.split_once(':').and_then(|(base, of)| Some((base.split_once('@')?, of)));
        let Some(((name, channel), of)) = parts else {
            bail!("platform {platform} is not NAME@CHANNEL:ARCHITECTURE")
        };
        if of == architecture {
            bases.push(Base { name: name.to_owned(), channel: channel.to_owned() });
        }
    }
    Ok(bases)
}

/// The files that Juju reads, by name.
fn documents(project: &Map<String, Value>, base: &Base, architecture: &str) -> Vec<(&'static str, Value)> {
    let metadata: Map<String, Value> = METADATA
        .iter()
        .filter_map(|(from, to)| Some(((*to).to_owned(), project.get(*from)?.clone())))
        .collect();
    let manifest =
        json!({"bases": [{"name": base.name, "channel": base.channel, "architectures": [architecture]}]});
    let mut documents = vec![("manifest.yaml", manifest), ("metadata.yaml", Value::Object(metadata))];
    for (key, file) in [("config", "config.yaml"), ("actions", "actions.yaml")] {
        documents.extend(project.get(key).map(|document| (file, document.clone())));
    }
    documents
}

fn archive(
    project: &Map<String, Value>,
    base: &Base,
    architecture: &str,
    dispatch: &[u8],
    beside: &[(&str, Vec<u8>)],
) -> anyhow::Result<Vec<u8>> {
    let mut entries = vec![("dispatch", 0o755, dispatch.to_owned())];
    for (name, document) in documents(project, base, architecture) {
        entries.push((name, 0o644, serde_saphyr::to_string(&document)?.into_bytes()));
    }
    entries.extend(beside.iter().map(|(name, content)| (*name, 0o644, content.clone())));
    entries.push(("version", 0o644, format!("{}\n", super::VERSION).into_bytes()));
    entries.sort();
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, permissions, content) in entries {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(permissions);
        archive.start_file(name, options)?;
        archive.write_all(&content)?;
    }
    Ok(archive.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use zip::ZipArchive;

    use super::*;

    const PROJECT: &str = "
name: a-charm
title: A charm
summary: Short.
description: Long.
type: charm
platforms:
  ubuntu@24.04:amd64:
  ubuntu@26.04:amd64:
  ubuntu@26.04:arm64:
parts: {charm: {plugin: dump}}
containers: {parca: {resource: image}}
config: {options: {a: {type: boolean, default: false}}}
";

    fn unpacked(archive: Vec<u8>) -> BTreeMap<String, (u32, String)> {
        let mut archive = ZipArchive::new(Cursor::new(archive)).unwrap();
        (0..archive.len())
            .map(|index| {
                let mut file = archive.by_index(index).unwrap();
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                (file.name().to_owned(), (file.unix_mode().unwrap() & 0o777, text))
            })
            .collect()
    }

    #[test]
    fn what_juju_reads_is_in_the_archive() {
        let project = project(PROJECT).unwrap();
        let base = Base { name: "ubuntu".to_owned(), channel: "26.04".to_owned() };
        let make =
            || archive(&project, &base, "arm64", b"program", &[("LICENSE", b"free".to_vec())]).unwrap();
        assert_eq!(make(), make(), "it is the same for the same sources");
        let files = unpacked(make());
        assert_eq!(
            files.iter().map(|(name, (mode, _))| (name.as_str(), *mode)).collect::<Vec<_>>(),
            [
                ("LICENSE", 0o644),
                ("config.yaml", 0o644),
                ("dispatch", 0o755),
                ("manifest.yaml", 0o644),
                ("metadata.yaml", 0o644),
                ("version", 0o644),
            ]
        );
        let read = |name: &str| serde_saphyr::from_str::<Value>(&files[name].1).unwrap();
        assert_eq!(
            read("manifest.yaml"),
            json!({"bases": [{"name": "ubuntu", "channel": "26.04", "architectures": ["arm64"]}]})
        );
        assert_eq!(
            read("metadata.yaml"),
            json!({
                "name": "a-charm", "display-name": "A charm", "summary": "Short.", "description": "Long.",
                "containers": {"parca": {"resource": "image"}},
            })
        );
        assert_eq!(read("config.yaml"), json!({"options": {"a": {"type": "boolean", "default": false}}}));
    }

    #[test]
    fn a_file_for_each_base_of_an_architecture() {
        let project = project(PROJECT).unwrap();
        let channels = |architecture: &str| -> Vec<String> {
            bases(&project, architecture).unwrap().into_iter().map(|base| base.channel).collect()
        };
        assert_eq!(channels("amd64"), ["24.04", "26.04"]);
        assert_eq!(channels("arm64"), ["26.04"]);
        assert!(channels("s390x").is_empty());
    }

    #[test]
    fn what_would_be_left_out_silently_is_refused() {
        assert!(project("name: a\ndevices: {}\n").unwrap_err().to_string().contains("devices"));
        let platforms = project("platforms: {amd64: }\n").unwrap();
        assert!(bases(&platforms, "amd64").unwrap_err().to_string().contains("platform amd64"));
    }
}
