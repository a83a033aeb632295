//! The page, probes, metrics, other origins.

use decima_server::Settings;
use http::Request;

use crate::harness::{TestServer, header, text};

fn with_prefix(prefix: &str) -> Settings {
    Settings { path_prefix: prefix.to_owned(), ..Settings::default() }
}

/// The script that the page loads, below `assets/`.
fn script(html: &str) -> &str {
    let end = html.find(".js\"").expect("the page loads a script") + ".js".len();
    &html[html[..end].rfind("assets/").unwrap()..end]
}

#[tokio::test]
async fn the_page_and_its_files() {
    let server = TestServer::start().await;
    for view in ["/", "/targets", "/settings", "/?expression_a=x"] {
        let page = server.get(view).await;
        assert_eq!(page.status(), 200, "{view}");
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&page, "cache-control"), "no-cache");
        assert_eq!(header(&page, "x-content-type-options"), "nosniff");
        assert!(header(&page, "content-security-policy").starts_with("default-src 'self';"));
        assert!(!text(&page).contains("{{"), "the template is filled in");
    }
    assert_eq!(server.get("/nothing").await.status(), 404);
    assert_eq!(server.get("/index.html").await.status(), 404);

    assert_eq!(server.get("/api/forwarding").await.status(), 404, "this server keeps what it takes");
    let page = server.get("/").await;
    assert!(text(&page).contains(r#"name="decima-forwards" content="""#));
    let path = format!("/{}", script(text(&page)));
    let file = server.get(&path).await;
    assert_eq!(file.status(), 200, "{path}");
    assert_eq!(header(&file, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(header(&file, "x-content-type-options"), "nosniff");
    for (path, etag) in [(path.as_str(), header(&file, "etag")), ("/", header(&page, "etag"))] {
        let again = server.send(Request::get(path).header("if-none-match", etag), "").await;
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.body().is_empty());
    }
}

#[tokio::test]
async fn below_a_prefix() {
    let server = TestServer::with(with_prefix("/a/b")).await;
    let page = server.get("/a/b/").await;
    assert_eq!(page.status(), 200);
    assert!(text(&page).contains("/a/b"), "{}", text(&page));
    assert_eq!(server.get(&format!("/a/b/{}", script(text(&page)))).await.status(), 200);
    assert_eq!(server.get("/a/b/targets").await.status(), 200);
    let redirect = server.get("/a/b?x=1").await;
    assert_eq!((redirect.status().as_u16(), header(&redirect, "location")), (308, "/a/b/?x=1"));
    assert_eq!(server.get("/a/b/api/profiles/types").await.status(), 200);
    assert_eq!(server.get("/a/b/metrics").await.status(), 200);
    for elsewhere in ["/", "/a", "/a/bc/", "/api/profiles/types", "/metrics"] {
        assert_eq!(server.get(elsewhere).await.status(), 404, "{elsewhere}");
    }
    for probe in ["/ready", "/a/b/ready", "/healthy", "/a/b/healthy"] {
        assert_eq!(server.get(probe).await.status(), 200, "{probe}");
    }
    let call = Request::post("/a/b/api/parca.query.v1alpha1.QueryService/HasProfileData")
        .header("content-type", "application/grpc-web+proto");
    assert_eq!(server.send(call, &b"\0\0\0\0\0"[..]).await.status(), 200);
}

#[tokio::test]
async fn large_answers_are_compressed() {
    let server = TestServer::start().await;
    let page = server.get("/").await;
    let path = format!("/{}", script(text(&page)));
    let size = server.get(&path).await.body().len();
    assert!(size > 1024, "{path} is too small for this test");
    for encoding in ["gzip", "zstd"] {
        let file = server.send(Request::get(&path).header("accept-encoding", encoding), "").await;
        assert_eq!(header(&file, "content-encoding"), encoding);
        assert!(file.body().len() < size);
    }
    let call = Request::post("/parca.query.v1alpha1.QueryService/HasProfileData")
        .header("content-type", "application/grpc-web+proto")
        .header("accept-encoding", "gzip, br, zstd");
    assert_eq!(header(&server.send(call, &b"\0\0\0\0\0"[..]).await, "content-encoding"), "");
}

#[tokio::test]
async fn metrics_count_requests() {
    let server = TestServer::start().await;
    server.get("/api/profiles/types").await;
    let metrics = server.get("/metrics").await;
    assert!(header(&metrics, "content-type").starts_with("application/openmetrics-text"));
    let line = r#"decima_requests_total{method="parca.query.v1alpha1.QueryService/ProfileTypes",protocol="rest",code="OK"} 1"#;
    assert!(text(&metrics).lines().any(|l| l == line), "{}", text(&metrics));
    for line in ["decima_ready 1", "decima_writes_accepted_total 0"] {
        assert!(text(&metrics).lines().any(|l| l == line), "{}", text(&metrics));
    }
}

#[tokio::test]
async fn other_origins() {
    let preflight = async |origins: &[&str], origin: &str| {
        let cors_allowed_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        let server = TestServer::with(Settings { cors_allowed_origins, ..Settings::default() }).await;
        let request = Request::options("/api/parca.query.v1alpha1.QueryService/Query")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-grpc-web");
        let response = server.send(request, "").await;
        assert_eq!(header(&response, "access-control-allow-credentials"), "");
        (
            header(&response, "access-control-allow-origin").to_owned(),
            header(&response, "access-control-allow-headers").to_owned(),
        )
    };
    let headers = || "content-type,x-grpc-web".to_owned();
    assert_eq!(preflight(&[], "http://a").await, (String::new(), String::new()));
    assert_eq!(preflight(&["*"], "http://a").await, ("*".to_owned(), headers()));
    assert_eq!(preflight(&["http://a", "http://b"], "http://b").await, ("http://b".to_owned(), headers()));
    assert_eq!(preflight(&["http://a"], "http://a.evil").await.0, "");
}
