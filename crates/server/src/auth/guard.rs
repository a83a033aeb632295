//! What stands before every request: asks for a decision, answers refusals in the request's own protocol, and ends what was
//! let in when its token ends.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use decima_ingest::push::{self, Senders};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::sync::watch;
use tonic::Status;

use super::{
    decision::{self, Admission, Asked, NO_TOKEN, Refusal, Rules, WRONG_TOKEN},
    need::{self, Need},
    scope::{Anonymous, Scope},
    session::{self, Sessions},
    site::{Origins, Site},
    tokens::{Digest, Tokens, TokensError, random_token},
};
use crate::{
    grpc,
    metrics::Metrics,
    service::{origin, protocol_of, protocol_of_http},
    settings::{Holder, Settings, Transport},
    status,
    web::{self, Stripped},
};

const ENDED: &str = "the token is not valid any more";

/// What is received of a request that was refused: as much as the largest message of those that are not.
const DRAINED_BYTES_MAX: usize = 64 << 20;
/// And for how long.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

/// The tokens as they are now; `None` where none are asked for.
pub(crate) type CurrentTokens = Option<watch::Receiver<Arc<Tokens>>>;

/// Decides about every request of a server.
pub(crate) struct Guard {
    rules: Rules,
    tokens: CurrentTokens,
    path_prefix: Arc<str>,
    own_token: String,
    metrics: Arc<Metrics>,
    /// Whose refused pushes are noted, once there are any: it listens before the store is open.
    senders: OnceLock<Arc<Senders>>,
}

/// The protocol of a request, which is that of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Grpc,
    GrpcWeb,
    GrpcWebText,
    Http,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        if !grpc::is_grpc(headers) {
            return Self::Http;
        }
        match headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) {
            Some(value) if value.starts_with(b"application/grpc-web-text") => Self::GrpcWebText,
            Some(value) if value.starts_with(b"application/grpc-web") => Self::GrpcWeb,
            _ => Self::Grpc,
        }
    }
}

impl Guard {
    /// With a token of its own for the server's questions to itself.
    pub(crate) fn new(
        settings: &Settings,
        tokens: CurrentTokens,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TokensError> {
        let own_token = random_token()?;
        let rules = Rules {
            anonymous: settings.access.anonymous,
            origins: Origins::new(&settings.cors_allowed_origins),
            client_certificates: settings.tls.as_ref().is_some_and(|files| files.client_ca.is_some()),
            own: Digest::of(&own_token),
            sessions: Sessions::new()?,
        };
        let (path_prefix, senders) = (settings.path_prefix.as_str().into(), OnceLock::new());
        Ok(Self { rules, tokens, path_prefix, own_token, metrics, senders })
    }

    /// Notes pushes that are refused from now on as their senders'.
    pub(crate) fn show_senders(&self, senders: Arc<Senders>) {
        // Set once: a server serves once.
        let _ = self.senders.set(senders);
    }

    /// Notes a push that is refused.
    fn note(&self, form: Form, request: &Request, refusal: Refusal) {
        let path = request.uri().path();
        let protocol = if form == Form::Http {
            match web::strip_prefix(request.uri(), &self.path_prefix) {
                Stripped::Path(uri) => protocol_of_http(uri.path()),
                Stripped::Answer(_) => None,
            }
        } else {
            let service = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
            path.get(service..).and_then(protocol_of)
        };
        if let (Some(senders), Some(protocol)) = (self.senders.get(), protocol) {
            let reason = match refusal {
                Refusal::Forbidden(_) => push::Refusal::Forbidden,
                Refusal::Unauthenticated(_) => push::Refusal::Unauthenticated,
            };
            senders.note_not_let_in(&origin(protocol, request.extensions()), reason, refusal.message());
        }
    }

    /// By which the server's metrics and profiles can be asked for, whatever the rules are.
    pub(crate) fn own_token(&self) -> &str {
        &self.own_token
    }

    fn need(&self, form: Form, request: &Request) -> Need {
        if form != Form::Http {
            return need::of_grpc(request.uri().path());
        }
        match web::strip_prefix(request.uri(), &self.path_prefix) {
            Stripped::Path(uri) => need::of_http(uri.path()),
            // Nothing is there, or only the way to the page.
            Stripped::Answer(_) => Need::Page,
        }
    }

    fn refuse(&self, form: Form, refusal: Refusal) -> Response {
        self.metrics.refused(match refusal {
            Refusal::Forbidden(_) => "forbidden",
            Refusal::Unauthenticated(_) => "unauthenticated",
        });
        tracing::debug!(?form, reason = refusal.message(), "refused a request");
        refused(form, refusal)
    }
}

/// Lets a request in, or answers it.
pub(crate) async fn enforce(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let form = Form::of(request.headers());
    let need = guard.need(form, &request);
    let tokens = guard.tokens.as_ref().map(|tokens| Arc::clone(&tokens.borrow()));
    let asked = asked(need, form, &request);
    match decision::decide(&guard.rules, tokens.as_deref(), &asked, now_s()) {
        Err(refusal) => {
            guard.note(form, &request, refusal);
            tokio::spawn(drain(request.into_body()));
            guard.refuse(form, refusal)
        }
        Ok(_) if need == Need::Session => answer_session(&guard, tokens.as_deref(), &asked)
            .unwrap_or_else(|refusal| guard.refuse(form, refusal)),
        Ok(Admission::Anybody) => next.run(request).await,
        Ok(admission) => {
            if let Admission::Holder(digest) = admission {
                request.extensions_mut().insert(Holder::from(digest));
            }
            until_revoked(&guard, admission, need, form, next.run(request)).await
        }
    }
}

/// Receives what belongs to a request that was refused. An HTTP/2 stream whose body nobody takes is reset, and clients that
/// are still sending then never see the answer.
async fn drain(mut body: Body) {
    let mut left_bytes = DRAINED_BYTES_MAX;
    let receive = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            match left_bytes.checked_sub(size) {
                Some(left) => left_bytes = left,
                None => return,
            }
        }
    };
    // Who sends slower than this has had its answer.
    let _ = tokio::time::timeout(DRAINED_WITHIN, receive).await;
}

fn asked<'a>(need: Need, form: Form, request: &'a Request) -> Asked<'a> {
    let headers = request.headers();
    let host = || headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    Asked {
        need,
        method: request.method(),
        headers,
        host: request.uri().authority().map(http::uri::Authority::as_str).or_else(host),
        native: form == Form::Grpc && request.version() == Version::HTTP_2,
        transport: request.extensions().get::<Transport>().copied().unwrap_or_default(),
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Gives an answer as long as its token is valid. The work for it ends with the token too.
async fn until_revoked(
    guard: &Arc<Guard>,
    admission: Admission,
    need: Need,
    form: Form,
    answer: impl Future<Output = Response>,
) -> Response {
    let mut revoked: Revoked = Box::pin(revocation(Arc::clone(guard), admission, need));
    let response = tokio::select! {
        response = answer => response,
        () = &mut revoked => return guard.refuse(form, Refusal::Unauthenticated(ENDED)),
    };
    response.map(|inner| Body::new(UntilRevoked { inner, revoked: Some(revoked), form }))
}

/// Ends when what was let in is not let in any more.
async fn revocation(guard: Arc<Guard>, admission: Admission, need: Need) {
    if let Some(mut tokens) = guard.tokens.clone() {
        let stands = |tokens: &Arc<Tokens>| decision::stands(admission, tokens, &guard.rules, need);
        if tokens.wait_for(|tokens| !stands(tokens)).await.is_ok() {
            return;
        }
    }
    // Nobody changes them any more.
    std::future::pending::<()>().await;
}

type Revoked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of an answer, cut off when the token ends: with a status where the protocol has room for one, else as broken.
struct UntilRevoked {
    inner: Body,
    /// `None` once it was cut off.
    revoked: Option<Revoked>,
    form: Form,
}

impl http_body::Body for UntilRevoked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(revoked) = &mut self.revoked else { return Poll::Ready(None) };
        if revoked.as_mut().poll(context).is_pending() {
            return Pin::new(&mut self.inner).poll_frame(context);
        }
        self.revoked = None;
        self.inner = Body::empty();
        if self.form != Form::Grpc {
            return Poll::Ready(Some(Err(axum::Error::new(Status::unauthenticated(ENDED)))));
        }
        let answer = refused(Form::Grpc, Refusal::Unauthenticated(ENDED));
        let mut trailers = answer.into_parts().0.headers;
        trailers.remove(header::CONTENT_TYPE);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.revoked.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn refused(form: Form, refusal: Refusal) -> Response {
    let status = match refusal {
        Refusal::Forbidden(message) => Status::permission_denied(message),
        Refusal::Unauthenticated(message) => Status::unauthenticated(message),
    };
    let web = match form {
        Form::Grpc => return grpc::to_response(&status),
        Form::GrpcWeb => "application/grpc-web+proto",
        Form::GrpcWebText => "application/grpc-web-text+proto",
        Form::Http => {
            let mut response = status::to_rest(&status);
            if matches!(refusal, Refusal::Unauthenticated(_)) {
                let challenge = HeaderValue::from_static("Bearer realm=\"decima\"");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            return response;
        }
    };
    let mut response = grpc::to_response(&status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(web));
    response
}

/// What the page wants to know before it asks for anything.
#[derive(Serialize)]
struct SessionState<'a> {
    /// Whether questions need somebody who is signed in.
    required: bool,
    /// Who is.
    name: Option<&'a str>,
}

/// Signing in (POST with a token), out (DELETE), and who is in (GET).
fn answer_session(guard: &Guard, tokens: Option<&Tokens>, asked: &Asked<'_>) -> Result<Response, Refusal> {
    let site = decision::of_page(&guard.rules, asked)?;
    let none = Tokens::default();
    let known = tokens.unwrap_or(&none);
    Ok(match *asked.method {
        Method::GET => {
            let grant = decision::signed_in(&guard.rules, known, asked, site, now_s());
            let required = tokens.is_some() && guard.rules.anonymous != Anonymous::Read;
            let state = SessionState { required, name: grant.map(|grant| grant.name.as_str()) };
            let json = serde_json::to_vec(&state).unwrap_or_default();
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, json).into_response()
        }
        Method::POST => {
            let grant = known.find(&Digest::of(decision::bearer(asked.headers).ok_or(NO_TOKEN)?));
            let grant = grant.ok_or(WRONG_TOKEN)?;
            if !Scope::allows(grant.scope, Need::Read) {
                return Err(Refusal::Forbidden("this token only writes; the page needs one that reads"));
            }
            if !is_secure(asked, site) {
                return Ok(status::to_rest(&Status::failed_precondition("signing in needs HTTPS")));
            }
            set_cookie(&guard.rules.sessions.sign_in(grant, now_s()))
        }
        Method::DELETE => set_cookie(&session::sign_out()),
        _ => status::to_rest(&Status::unimplemented("Method Not Allowed")),
    })
}

/// Whether the browser sees HTTPS: from us, or from a proxy before us. It says so itself of the page's own origin, and keeps
/// the cookie accordingly; what other pages came by tells nothing.
fn is_secure(asked: &Asked<'_>, site: Site) -> bool {
    let origin = asked.headers.get(header::ORIGIN).filter(|_| site == Site::Own).map(HeaderValue::as_bytes);
    asked.transport.tls || origin.is_some_and(|origin| origin.starts_with(b"https://"))
}

fn set_cookie(cookie: &str) -> Response {
    const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::from_str(cookie) {
        Ok(value) => (StatusCode::NO_CONTENT, HeaderMap::from_iter([(header::SET_COOKIE, value), NO_STORE]))
            .into_response(),
        // Names of tokens are visible ASCII.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware::from_fn_with_state, routing::get};
    use tower::ServiceExt as _;

    use super::*;
    use crate::settings::Peer;

    /// A router behind a guard whose tokens can be changed.
    fn bench() -> (Router, watch::Sender<Arc<Tokens>>, String) {
        let mut tokens = Tokens::default();
        let token = tokens.create("a", Scope::Admin).unwrap();
        let (change, current) = watch::channel(Arc::new(tokens));
        let guard = Guard::new(&Settings::default(), Some(current), Arc::new(Metrics::new())).unwrap();
        let endless = || async {
            let first = futures::stream::iter([Ok::<_, std::convert::Infallible>("first")]);
            Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
        };
        let router = Router::new()
            .route("/metrics", get(endless))
            .route("/debug/pprof/profile", get(std::future::pending::<()>))
            .fallback(endless)
            .layer(from_fn_with_state(Arc::new(guard), enforce));
        (router, change, token)
    }

    fn request(path: &str, token: &str, content_type: &'static str) -> Request {
        http::Request::get(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", content_type)
            .body(Body::empty())
            .unwrap()
    }

    #[tokio::test]
    async fn a_body_ends_with_its_token() {
        for (content_type, has_status) in
            [("application/grpc", true), ("application/grpc-web", false), ("", false)]
        {
            let (router, change, token) = bench();
            let path =
                if content_type.is_empty() { "/metrics" } else { "/parca.query.v1alpha1.QueryService/Query" };
            let response = router.oneshot(request(path, &token, content_type)).await.unwrap();
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
            change.send_replace(Arc::new(Tokens::default()));
            match body.frame().await.unwrap() {
                Ok(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    assert!(has_status, "{content_type}");
                    assert_eq!(trailers.get("grpc-status").unwrap(), "16");
                }
                Err(_) => assert!(!has_status, "{content_type}"),
            }
            assert!(body.frame().await.is_none());
        }
    }

    #[tokio::test]
    async fn refused_pushes_are_those_of_their_address() {
        let mut tokens = Tokens::default();
        let reader = tokens.create("a", Scope::Read).unwrap();
        let (_change, current) = watch::channel(Arc::new(tokens));
        let guard = Guard::new(&Settings::default(), Some(current), Arc::new(Metrics::new())).unwrap();
        let senders = Arc::new(Senders::default());
        guard.show_senders(Arc::clone(&senders));
        let router = Router::new().layer(from_fn_with_state(Arc::new(guard), enforce));
        for (path, token, content_type) in [
            ("/parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow", "?", "application/grpc"),
            ("/parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow", "?", "application/grpc"),
            ("/api/x/parca.debuginfo.v1alpha1.DebuginfoService/Upload", &reader, "application/grpc"),
            ("/v1development/profiles", &reader, "application/json"),
            // No pushes.
            ("/api/profiles/query", "?", ""),
            ("/parca.query.v1alpha1.QueryService/Query", "?", "application/grpc"),
        ] {
            let mut request = request(path, token, content_type);
            request.extensions_mut().insert(Peer(([10, 0, 0, 7], 1).into()));
            router.clone().oneshot(request).await.unwrap();
        }
        let all = senders.all();
        let [sender] = &all[..] else { panic!("{all:?}") };
        assert_eq!(sender.id(), "10.0.0.7");
        let counts: Vec<_> =
            sender.counts.iter().map(|(way, counts)| (way.name(), counts.refused_requests.clone())).collect();
        let refused = |reason, count| [(reason, count)].into();
        assert_eq!(
            counts,
            [
                ("write_arrow", refused(push::Refusal::Unauthenticated, 2)),
                ("otlp_http", refused(push::Refusal::Forbidden, 1)),
                ("debuginfo", refused(push::Refusal::Forbidden, 1)),
            ]
        );
    }

    #[tokio::test]
    async fn work_ends_with_its_token() {
        let (router, change, token) = bench();
        let answer = tokio::spawn(router.oneshot(request("/debug/pprof/profile", &token, "")));
        tokio::task::yield_now().await;
        change.send_replace(Arc::new(Tokens::default()));
        assert_eq!(answer.await.unwrap().unwrap().status(), 401);
    }

    #[tokio::test]
    async fn other_changes_end_nothing() {
        let (router, change, token) = bench();
        let response = router.oneshot(request("/metrics", &token, "")).await.unwrap();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        change.send_modify(|tokens| {
            Arc::make_mut(tokens).create("b", Scope::Read).unwrap();
        });
        drop(change);
        assert!(futures::FutureExt::now_or_never(body.frame()).is_none());
    }

    #[tokio::test]
    async fn refusals_speak_the_protocol_of_the_request() {
        let check = async |path: &str, content_type: &'static str, expected: (u16, &str, &str)| {
            let (router, _change, _) = bench();
            let response = router.oneshot(request(path, "wrong", content_type)).await.unwrap();
            let header =
                |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap());
            let got = (response.status().as_u16(), header("content-type"), header("grpc-status"));
            assert_eq!(got, expected, "{path}");
            assert_eq!(header("www-authenticate").is_empty(), !header("grpc-status").is_empty());
        };
        let method = "/parca.query.v1alpha1.QueryService/Query";
        check(method, "application/grpc+proto", (200, "application/grpc", "16")).await;
        check(method, "application/grpc-web+proto", (200, "application/grpc-web+proto", "16")).await;
        check(method, "application/grpc-web-text", (200, "application/grpc-web-text+proto", "16")).await;
        check("/api/agents", "", (401, "application/json", "")).await;
    }
}
