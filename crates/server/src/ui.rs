//! The page: the built bundle, compiled in.
//!
//! `index.html` answers for all views; everything else is a file under the name it has in the bundle. Files below `assets/`
//! carry a hash in their names and never change.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "src/ui/bundle"]
struct Bundle;

const INDEX: &str = "index.html";
/// Views of the page, which it tells apart itself.
const VIEWS: [&str; 3] = ["/", "/targets", "/settings"];

/// Nothing from elsewhere, nothing inline; nobody may frame it.
const SECURITY: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";

/// `index.html` as this server gives it.
struct Index {
    html: Bytes,
    etag: String,
}

/// What the page knows before it asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The server is open to everybody on the network, of which the page warns.
    pub(crate) open: bool,
    /// It has no profiles, but sends on what it gets.
    pub(crate) forwards: bool,
}

/// The page below a path prefix.
pub(crate) fn routes(path_prefix: &str, page: Page) -> Router {
    let mut routes = Router::new();
    for view in VIEWS {
        routes = routes.route(view, get(index));
    }
    routes.fallback(get(file)).with_state(Arc::new(Index::render(path_prefix, page)))
}

impl Index {
    /// Fills in the template. The prefix is a plain path: the settings say so.
    fn render(path_prefix: &str, page: Page) -> Self {
        let template = Bundle::get(INDEX).map(|file| file.data).unwrap_or_default();
        let yes = |is_so: bool| if is_so { "yes" } else { "" };
        let html = String::from_utf8_lossy(&template)
            .replace("{{.PathPrefix}}", path_prefix)
            .replace("{{.Open}}", yes(page.open))
            .replace("{{.Forwards}}", yes(page.forwards))
            .replace("{{.Version}}", env!("CARGO_PKG_VERSION"));
        let etag = format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(html.as_bytes()));
        Self { html: html.into(), etag }
    }
}

async fn index(State(index): State<Arc<Index>>, headers: HeaderMap) -> Response {
    answer(&headers, INDEX, &index.etag, index.html.clone())
}

async fn file(uri: Uri, headers: HeaderMap) -> Response {
    let name = uri.path().trim_start_matches('/');
    match Bundle::get(name) {
        Some(file) if name != INDEX => {
            let etag = etag(&file);
            let content = match file.data {
                std::borrow::Cow::Borrowed(content) => Bytes::from_static(content),
                std::borrow::Cow::Owned(content) => content.into(),
            };
            answer(&headers, name, &etag, content)
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer(asked: &HeaderMap, name: &str, etag: &str, content: Bytes) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    // Compression on the way may have made the tag a weak one.
    let known =
        known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { content.into_response() };
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
    let caching = if name.starts_with("assets/") { IMMUTABLE } else { REVALIDATE };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn etag(file: &EmbeddedFile) -> String {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        // Writing to a string does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Media types of what a bundle holds.
fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
