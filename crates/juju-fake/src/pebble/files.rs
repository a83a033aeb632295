//! Files of the container.

use serde_json::{Value, json};

use super::{
    answer::{Asked, Reply},
    daemon::Daemon,
};

fn absent(path: &str, verb: &str) -> Value {
    json!({"path": path, "error": {"message": format!("{verb} {path}: no such file or directory"), "kind": "not-found"}})
}

pub(super) fn read(daemon: &Daemon, asked: &Asked) -> Reply {
    const BOUNDARY: &str = "01234567890123456789012345678901";
    let path = asked.query("path").unwrap_or_default();
    let mut bytes = Vec::new();
    let result = match daemon.files.get(path) {
        None => absent(path, "open"),
        Some((content, _)) => {
            let head = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"files\"; filename=\"{path}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
            );
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(b"\r\n");
            json!({"path": path})
        }
    };
    let response = json!({"type": "sync", "status-code": 200, "status": "OK", "result": [result]});
    let rest = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"response\"\r\nContent-Type: application/json\r\n\r\n{response}\r\n--{BOUNDARY}--\r\n"
    );
    bytes.extend_from_slice(rest.as_bytes());
    Reply::Form { boundary: BOUNDARY, bytes }
}

pub(super) fn list(daemon: &Daemon, asked: &Asked) -> Reply {
    let path = asked.query("path").unwrap_or_default();
    if !path.starts_with('/') {
        return Reply::error(400, format!("path must be absolute, got {path:?}"));
    }
    if let Some((content, permissions)) = daemon.files.get(path) {
        return Reply::Sync(json!([entry(path, "file", Some(content.len()), permissions)]));
    }
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let inside: Vec<&String> =
        daemon.files.keys().chain(&daemon.folders).filter(|name| name.starts_with(&prefix)).collect();
    if inside.is_empty() && !daemon.folders.contains(path) {
        let message = format!("stat {path}: no such file or directory");
        return Reply::Error { status: 404, kind: "not-found", message };
    }
    if asked.query("itself") == Some("true") {
        return Reply::Sync(json!([entry(path, "directory", None, "755")]));
    }
    let mut names: Vec<String> = inside
        .iter()
        .filter_map(|name| name[prefix.len()..].split('/').next())
        .map(|name| format!("{prefix}{name}"))
        .collect();
    names.sort();
    names.dedup();
    let entries = names.iter().map(|name| match daemon.files.get(name) {
        Some((content, permissions)) => entry(name, "file", Some(content.len()), permissions),
        None => entry(name, "directory", None, "755"),
    });
    Reply::Sync(entries.collect())
}

fn entry(path: &str, kind: &str, size: Option<usize>, permissions: &str) -> Value {
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut entry = json!({
        "path": path, "name": name, "type": kind, "permissions": permissions,
        "last-modified": "2026-01-01T00:00:00Z", "user-id": 0, "user": "root", "group-id": 0, "group": "root",
    });
    if let Some(size) = size {
        entry["size"] = json!(size);
    }
    entry
}

pub(super) fn change(daemon: &mut Daemon, asked: &Asked) -> Reply {
    match asked.body["action"].as_str() {
        Some("write") => write(daemon, asked),
        Some("make-dirs") => {
            let dirs = asked.body["dirs"].as_array().into_iter().flatten();
            let paths = dirs.filter_map(|dir| dir["path"].as_str());
            let results = paths.map(|path| {
                daemon.folders.insert(path.to_owned());
                json!({"path": path})
            });
            Reply::Sync(results.collect())
        }
        Some("remove") => {
            let paths = asked.body["paths"].as_array().into_iter().flatten();
            Reply::Sync(paths.map(|path| remove(daemon, path)).collect())
        }
        _ => Reply::error(400, "invalid action"),
    }
}

fn write(daemon: &mut Daemon, asked: &Asked) -> Reply {
    let mut results = Vec::new();
    for file in asked.body["files"].as_array().into_iter().flatten() {
        let path = file["path"].as_str().unwrap_or_default();
        let Some((_, content)) = asked.files.iter().find(|(name, _)| name == path) else {
            return Reply::error(400, format!("no content for path {path:?}"));
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if daemon.files.contains_key(folder) {
            let message = format!("open {path}: not a directory");
            results.push(json!({"path": path, "error": {"message": message, "kind": "generic-file-error"}}));
            continue;
        }
        let there = daemon.folders.contains(folder)
            || daemon.files.keys().any(|other| other.starts_with(&format!("{folder}/")));
        if !there && file["make-dirs"] != true {
            results.push(absent(path, "open"));
            continue;
        }
        let permissions = file["permissions"].as_str().filter(|digits| !digits.is_empty()).unwrap_or("644");
        daemon.files.insert(path.to_owned(), (content.clone(), permissions.to_owned()));
        results.push(json!({"path": path}));
    }
    Reply::Sync(json!(results))
}

fn remove(daemon: &mut Daemon, asked: &Value) -> Value {
    let path = asked["path"].as_str().unwrap_or_default();
    let recursive = asked["recursive"] == true;
    let prefix = format!("{}/", path.trim_end_matches('/'));
    let there = daemon.files.contains_key(path) || daemon.folders.contains(path);
    let full = daemon.files.keys().chain(&daemon.folders).any(|name| name.starts_with(&prefix));
    if !recursive && full {
        return json!({"path": path, "error": {"message": format!("remove {path}: directory not empty"), "kind": "generic-file-error"}});
    }
    if !recursive && !there {
        return absent(path, "remove");
    }
    daemon.files.retain(|name, _| name != path && !name.starts_with(&prefix));
    daemon.folders.retain(|name| name != path && !name.starts_with(&prefix));
    json!({"path": path})
}
