//! One request and its answer over the socket, and the envelope that answers come in.

use std::{error::Error, future::Future, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::UnixStream;

use super::{Pebble, PebbleError};

/// An answer is read up to here; a file that is pulled comes in one.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A body to send, with its type.
pub(super) struct Body {
    pub(super) content_type: String,
    pub(super) bytes: Bytes,
}

/// What came back, before it is read.
pub(super) struct Answer {
    pub(super) content_type: String,
    pub(super) bytes: Bytes,
}

/// What answers come in.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    status_code: u16,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    change: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
    #[serde(default)]
    kind: String,
}

fn broken(source: impl Into<Box<dyn Error + Send + Sync>>) -> PebbleError {
    PebbleError::Exchange { source: source.into() }
}

impl Pebble {
    /// Asks for something to read.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, PebbleError> {
        let answer =
            self.exchange(Method::GET, &with_query(path, query), None, "application/json", self.timeout)?;
        result(open(&answer)?)
    }

    /// The same with time for the daemon to wait in.
    pub(super) fn get_slowly<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        wait: Duration,
    ) -> Result<T, PebbleError> {
        let path = with_query(path, query);
        let answer = self.exchange(Method::GET, &path, None, "application/json", self.timeout + wait)?;
        result(open(&answer)?)
    }

    /// Tells something and reads what comes of it.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, PebbleError> {
        result(self.tell(path, body)?)
    }

    /// Begins something that goes on in the daemon, and gives the identifier of the change.
    pub(super) fn begin(&self, path: &str, body: &impl Serialize) -> Result<String, PebbleError> {
        let envelope = self.tell(path, body)?;
        envelope.change.ok_or_else(|| broken("the answer names no change"))
    }

    fn tell(&self, path: &str, body: &impl Serialize) -> Result<Envelope, PebbleError> {
        let bytes = serde_json::to_vec(body).map_err(|source| PebbleError::Answer { source })?;
        let body = Body { content_type: "application/json".to_owned(), bytes: bytes.into() };
        open(&self.exchange(Method::POST, path, Some(body), "application/json", self.timeout)?)
    }

    /// Sends a body of another type and reads what comes of it.
    pub(super) fn post_body<T: DeserializeOwned>(&self, path: &str, body: Body) -> Result<T, PebbleError> {
        result(open(&self.exchange(Method::POST, path, Some(body), "application/json", self.timeout)?)?)
    }

    /// Asks for something that does not come in the envelope; a refusal still does.
    pub(super) fn get_raw(
        &self,
        path: &str,
        query: &[(&str, &str)],
        accept: &str,
    ) -> Result<Answer, PebbleError> {
        let answer = self.exchange(Method::GET, &with_query(path, query), None, accept, self.timeout)?;
        if answer.content_type.starts_with("application/json") {
            open(&answer)?;
        }
        Ok(answer)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        accept: &str,
        timeout: Duration,
    ) -> Result<Answer, PebbleError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, accept);
        let bytes = match body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, body.content_type);
                body.bytes
            }
        };
        let request = request.body(Full::new(bytes)).map_err(broken)?;
        blocking(async {
            let late = |_| PebbleError::Late { timeout };
            tokio::time::timeout(timeout, self.send(request)).await.map_err(late)?
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, PebbleError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| PebbleError::Connect { socket: self.socket.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends when the sender is dropped; a failure of it shows in the answer.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(broken)?;
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(broken)?;
        Ok(Answer { content_type, bytes: body.to_bytes() })
    }
}

/// Runs to the end on this thread. Making a runtime each time costs less than a hook tool's start by far.
pub(super) fn blocking<T>(future: impl Future<Output = Result<T, PebbleError>>) -> Result<T, PebbleError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    runtime.block_on(future)
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{path}?{query}")
}

/// Opens the envelope; a refusal is an error.
fn open(answer: &Answer) -> Result<Envelope, PebbleError> {
    let envelope: Envelope =
        serde_json::from_slice(&answer.bytes).map_err(|source| PebbleError::Answer { source })?;
    if envelope.r#type == "error" {
        let refusal = serde_json::from_value(envelope.result)
            .unwrap_or(Refusal { message: "no reason given".to_owned(), kind: String::new() });
        return Err(PebbleError::Refused {
            status: envelope.status_code,
            kind: refusal.kind,
            message: refusal.message,
        });
    }
    Ok(envelope)
}

fn result<T: DeserializeOwned>(envelope: Envelope) -> Result<T, PebbleError> {
    serde_json::from_value(envelope.result).map_err(|source| PebbleError::Answer { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> Result<Value, PebbleError> {
        let answer = Answer { content_type: String::new(), bytes: Bytes::copy_from_slice(text.as_bytes()) };
        result(open(&answer)?)
    }

    #[test]
    fn envelopes() {
        assert_eq!(opened(r#"{"type":"sync","status-code":200,"result":{"a":1}}"#).unwrap()["a"], 1);
        let error =
            opened(r#"{"type":"error","status-code":404,"result":{"message":"no such","kind":"not-found"}}"#);
        let error = error.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.is_not_found()), ("Pebble: no such", true));
        assert!(matches!(opened(r#"{"type":"error","result":3}"#), Err(PebbleError::Refused { .. })));
        assert!(matches!(opened("<html>"), Err(PebbleError::Answer { .. })));
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(with_query("/v1/files", &[("path", "/a b&c=ü")]), "/v1/files?path=%2Fa+b%26c%3D%C3%BC");
        assert_eq!(with_query("/v1/files", &[]), "/v1/files");
    }

    #[test]
    fn nobody_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = Pebble::at(folder.path().join("pebble.socket")).system().unwrap_err();
        assert!(error.is_unavailable(), "{error}");
    }
}
