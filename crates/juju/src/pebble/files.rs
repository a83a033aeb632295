//! Files of the container. Each travels in one message, so they are to be small: configurations, certificates.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Pebble, PebbleError,
    exchange::{Answer, Body, blocking},
};

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile<'a> {
    /// Where: an absolute path.
    pub path: &'a str,
    /// What.
    pub content: &'a [u8],
    /// Who may do what, as `0o644`.
    pub permissions: u32,
}

/// A file or a folder, by name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FileEntry {
    /// Where it is.
    pub path: String,
    /// Its last part.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileKind,
    /// How long it is, if it is a file.
    #[serde(default)]
    pub size: Option<u64>,
    /// Who may do what, in octal digits.
    #[serde(default)]
    pub permissions: String,
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Directory,
    /// A link by name.
    Symlink,
    /// A socket, a device, …
    #[serde(other)]
    Other,
}

/// What became of one path of a request.
#[derive(Deserialize)]
struct PathResult {
    #[serde(default)]
    path: String,
    error: Option<PathRefusal>,
}

#[derive(Deserialize)]
struct PathRefusal {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Pebble {
    /// Writes a file in the place of what is there; folders above it are made. The daemon replaces it in one step.
    pub fn push(&self, file: &NewFile<'_>) -> Result<(), PebbleError> {
        check_path(file.path)?;
        let request = json!({"action": "write", "files": [
            {"path": file.path, "make-dirs": true, "permissions": format!("{:03o}", file.permissions)},
        ]});
        let results = self.post_body("/v1/files", multipart(&request, file))?;
        all_done(results)
    }

    /// The content of a file.
    pub fn pull(&self, path: &str) -> Result<Vec<u8>, PebbleError> {
        check_path(path)?;
        let answer =
            self.get_raw("/v1/files", &[("action", "read"), ("path", path)], "multipart/form-data")?;
        let (content, results) = blocking(read_parts(answer))?;
        all_done(results)?;
        content.ok_or_else(|| PebbleError::Exchange { source: "the answer holds no file".into() })
    }

    /// What is in a folder.
    pub fn list(&self, path: &str) -> Result<Vec<FileEntry>, PebbleError> {
        check_path(path)?;
        let entries: Option<Vec<FileEntry>> = self.get("/v1/files", &[("action", "list"), ("path", path)])?;
        Ok(entries.unwrap_or_default())
    }

    /// What a path itself is.
    pub fn file(&self, path: &str) -> Result<FileEntry, PebbleError> {
        check_path(path)?;
        let query = [("action", "list"), ("path", path), ("itself", "true")];
        let entries: Vec<FileEntry> = self.get("/v1/files", &query)?;
        let not_found = || PebbleError::File {
            path: path.to_owned(),
            kind: "not-found".to_owned(),
            message: "nothing is listed".to_owned(),
        };
        entries.into_iter().next().ok_or_else(not_found)
    }

    /// Makes a folder, and those above it; one that is there stays.
    pub fn make_dir(&self, path: &str, permissions: u32) -> Result<(), PebbleError> {
        check_path(path)?;
        let body = json!({"action": "make-dirs", "dirs": [
            {"path": path, "make-parents": true, "permissions": format!("{permissions:03o}")},
        ]});
        all_done(self.post("/v1/files", &body)?)
    }

    /// Removes a file, or a folder with all that is in it; nothing there is fine.
    pub fn remove(&self, path: &str) -> Result<(), PebbleError> {
        check_path(path)?;
        let body = json!({"action": "remove", "paths": [{"path": path, "recursive": true}]});
        all_done(self.post("/v1/files", &body)?)
    }
}

fn check_path(path: &str) -> Result<(), PebbleError> {
    if path.starts_with('/') && !path.chars().any(char::is_control) {
        return Ok(());
    }
    Err(PebbleError::Path { path: path.to_owned() })
}

/// The first refusal of a path, if there is one: the request as a whole succeeds nevertheless.
fn all_done(results: Option<Vec<PathResult>>) -> Result<(), PebbleError> {
    for result in results.unwrap_or_default() {
        if let Some(PathRefusal { kind, message }) = result.error {
            return Err(PebbleError::File { path: result.path, kind, message });
        }
    }
    Ok(())
}

/// The form that a file is sent in: a part that says what is to be done, and one with the content.
///
/// The daemon takes no boundary of less than 32 characters.
fn multipart(request: &Value, file: &NewFile<'_>) -> Body {
    let request = request.to_string();
    let boundary = (0_u32..)
        .map(|number| format!("decima-{number:032x}"))
        .find(|boundary| !contains(file.content, boundary.as_bytes()) && !request.contains(boundary))
        .unwrap_or_default();
    let name = file.path.replace('\\', "\\\\").replace('"', "\\\"");
    let mut bytes = Vec::with_capacity(file.content.len() + request.len() + 512);
    bytes.extend_from_slice(
        format!(
            "--{boundary}\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n\
             {request}\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Disposition: form-data; name=\"files\"; filename=\"{name}\"\r\n\r\n"
        )
        .as_bytes(),
    );
    bytes.extend_from_slice(file.content);
    bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Body { content_type: format!("multipart/form-data; boundary={boundary}"), bytes: bytes.into() }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Reads the form that a file comes in.
async fn read_parts(answer: Answer) -> Result<(Option<Vec<u8>>, Option<Vec<PathResult>>), PebbleError> {
    #[derive(Deserialize)]
    struct Response {
        result: Option<Vec<PathResult>>,
    }
    let broken = |error: multer::Error| PebbleError::Exchange { source: error.into() };
    let boundary = multer::parse_boundary(&answer.content_type).map_err(broken)?;
    let body = futures::stream::iter([Ok::<Bytes, std::convert::Infallible>(answer.bytes)]);
    let mut parts = multer::Multipart::new(body, boundary);
    let (mut content, mut results) = (None, None);
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name() {
            Some("files") => content = Some(part.bytes().await.map_err(broken)?.to_vec()),
            Some("response") => {
                let text = part.bytes().await.map_err(broken)?;
                let response: Response =
                    serde_json::from_slice(&text).map_err(|source| PebbleError::Answer { source })?;
                results = response.result;
            }
            _ => {}
        }
    }
    Ok((content, results))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, text: &[u8]) -> Result<Vec<u8>, PebbleError> {
        let answer = Answer { content_type: content_type.to_owned(), bytes: Bytes::copy_from_slice(text) };
        let (content, results) = blocking(read_parts(answer))?;
        all_done(results)?;
        Ok(content.unwrap_or_default())
    }

    #[test]
    fn what_is_written_can_be_read() {
        for content in [
            &b""[..],
            b"a\r\nb",
            b"--decima-00000000000000000000000000000000",
            b"decima-00000000000000000000000000000000decima-00000000000000000000000000000001",
            &[0, 255, 10],
        ] {
            let file = NewFile { path: "/etc/a \"b\"", content, permissions: 0o600 };
            let body = multipart(&json!({"action": "write"}), &file);
            assert_eq!(read(&body.content_type, &body.bytes).unwrap(), content);
        }
    }

    #[test]
    fn a_refusal_of_the_path() {
        let text = "--b\r\nContent-Disposition: form-data; name=\"response\"\r\n\r\n{\"type\":\"sync\",\"result\":[{\"path\":\"/x\",\"error\":{\"message\":\"open /x: no such file or directory\",\"kind\":\"not-found\"}}]}\r\n--b--\r\n";
        let error = read("multipart/form-data; boundary=b", text.as_bytes()).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.is_not_found()),
            ("Pebble: /x: open /x: no such file or directory", true)
        );
    }

    #[test]
    fn what_is_no_form() {
        assert!(read("text/html", b"x").is_err());
        assert!(read("multipart/form-data; boundary=b", b"--b\r\nnonsense").is_err());
    }

    #[test]
    fn paths() {
        let check = |path: &str, expected: bool| assert_eq!(check_path(path).is_ok(), expected, "{path:?}");
        check("/etc/parca/parca.yaml", true);
        check("etc", false);
        check("", false);
        check("/a\r\nb", false);
    }
}
