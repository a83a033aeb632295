//! HTTP: requests into calls of the daemon, what it says into the envelope.

use std::{
    convert::Infallible,
    io,
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::daemon::Daemon;

/// What the daemon says.
pub(super) enum Reply {
    /// At once.
    Sync(Value),
    /// By a change that it has made.
    Async(String),
    /// Not.
    Error { status: u16, kind: &'static str, message: String },
    /// A line each.
    Lines(Vec<Value>),
    /// A form, with its boundary.
    Form { boundary: &'static str, bytes: Vec<u8> },
}

impl Reply {
    pub(super) fn error(status: u16, message: impl Into<String>) -> Self {
        Self::Error { status, kind: "", message: message.into() }
    }
}

/// A request as the daemon takes it.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
    /// Contents by file name, if the body is a form; its JSON part is then the body.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl Asked {
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Serves on a thread of its own until it is told to stop.
pub(super) fn serve(
    listener: UnixListener,
    daemon: Arc<Mutex<Daemon>>,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listener = {
        let _guard = runtime.enter();
        tokio::net::UnixListener::from_std(listener)?
    };
    thread::Builder::new().name("fake-pebble".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                let next = std::pin::pin!(listener.accept());
                let accepted = futures::future::select(next, &mut stopped).await;
                let futures::future::Either::Left((Ok((stream, _)), _)) = accepted else { return };
                let daemon = Arc::clone(&daemon);
                let service = service_fn(move |request| answer(request, Arc::clone(&daemon)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
    })
}

async fn answer(
    request: Request<Incoming>,
    daemon: Arc<Mutex<Daemon>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (body, files) = match content_type.and_then(|content_type| multer::parse_boundary(content_type).ok())
    {
        // The daemon takes no shorter ones, and then finds no request in the body.
        Some(boundary) if boundary.len() < 32 => (Value::Null, Vec::new()),
        Some(boundary) => form(body, boundary).await.unwrap_or_default(),
        None => (serde_json::from_slice(&body).unwrap_or_default(), Vec::new()),
    };
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        body,
        files,
    };
    let reply = daemon.lock().unwrap_or_else(PoisonError::into_inner).answer(&asked);
    let (status, content_type, bytes) = written(reply);
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    if let Ok(content_type) = content_type.parse() {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

/// The JSON part of a form and its files.
async fn form(body: Bytes, boundary: String) -> Result<(Value, Vec<(String, Vec<u8>)>), multer::Error> {
    let body = futures::stream::iter([Ok::<_, Infallible>(body)]);
    let mut parts = multer::Multipart::new(body, boundary);
    let (mut request, mut files) = (Value::Null, Vec::new());
    while let Some(part) = parts.next_field().await? {
        let name = part.file_name().map(str::to_owned);
        let is_request = part.name() == Some("request");
        let bytes = part.bytes().await?;
        match name {
            _ if is_request => request = serde_json::from_slice(&bytes).unwrap_or_default(),
            Some(name) => files.push((name, bytes.to_vec())),
            None => {}
        }
    }
    Ok((request, files))
}

fn written(reply: Reply) -> (u16, String, Vec<u8>) {
    let envelope = |kind: &str, code: u16, word: &str, rest: Value| {
        let mut envelope = json!({"type": kind, "status-code": code, "status": word});
        if let (Value::Object(envelope), Value::Object(rest)) = (&mut envelope, rest) {
            envelope.extend(rest);
        }
        (code, "application/json".to_owned(), envelope.to_string().into_bytes())
    };
    match reply {
        Reply::Sync(result) => envelope("sync", 200, "OK", json!({"result": result})),
        Reply::Async(change) => envelope("async", 202, "Accepted", json!({"result": null, "change": change})),
        Reply::Error { status, kind, message } => {
            let mut result = json!({"message": message});
            if !kind.is_empty() {
                result["kind"] = json!(kind);
            }
            envelope("error", status, "Error", json!({"result": result}))
        }
        Reply::Lines(lines) => {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            (200, "application/x-ndjson".to_owned(), text.into_bytes())
        }
        Reply::Form { boundary, bytes } => (200, format!("multipart/form-data; boundary={boundary}"), bytes),
    }
}
