//! What a request needs its sender to be allowed to do, by its method or path alone.
//!
//! What is not listed needs most: a service that is added later is closed until somebody decides otherwise.

/// What a request is about, as far as permission goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Whether the server lives: for everybody, from everywhere.
    Health,
    /// The page itself, which holds nothing of anybody, so that it can ask for a token.
    Page,
    /// Signing in and out.
    Session,
    /// Numbers and profiles of the server itself.
    Metrics,
    /// Questions.
    Read,
    /// Profiles and debug information coming in.
    Write,
    /// Everything else.
    Admin,
}

/// What the services need.
const SERVICES: [(&str, Need); 14] = [
    ("grpc.health.v1.Health", Need::Health),
    ("grpc.reflection.v1.ServerReflection", Need::Read),
    ("grpc.reflection.v1alpha.ServerReflection", Need::Read),
    ("parca.query.v1alpha1.QueryService", Need::Read),
    ("decima.debuginfo.v1alpha1.ObjectFileService", Need::Read),
    ("decima.ingest.v1alpha1.IngestService", Need::Read),
    ("parca.scrape.v1alpha1.ScrapeService", Need::Read),
    ("parca.profilestore.v1alpha1.AgentsService", Need::Read),
    ("parca.profilestore.v1alpha1.ProfileStoreService", Need::Write),
    ("opentelemetry.proto.collector.profiles.v1development.ProfilesService", Need::Write),
    // Not offered; agents that send these too shall hear that rather than that they may not.
    ("opentelemetry.proto.collector.logs.v1.LogsService", Need::Write),
    ("opentelemetry.proto.collector.trace.v1.TraceService", Need::Write),
    ("parca.debuginfo.v1alpha1.DebuginfoService", Need::Write),
    ("parca.telemetry.v1alpha1.TelemetryService", Need::Write),
];

/// Where the page signs in and out, below the path prefix.
pub(crate) const SESSION_PATH: &str = "/api/session";

/// Paths of the gateway, and what they need.
const REST: [(&str, Need); 23] = [
    (SESSION_PATH, Need::Session),
    ("/api/profiles/query", Need::Read),
    ("/api/profiles/query_range", Need::Read),
    ("/api/profiles/types", Need::Read),
    ("/api/profiles/labels", Need::Read),
    ("/api/profiles/has_profile_data", Need::Read),
    ("/api/profiles/series", Need::Read),
    ("/api/profiles/share", Need::Read),
    ("/api/debuginfo", Need::Read),
    ("/api/agents", Need::Read),
    ("/api/targets", Need::Read),
    ("/api/senders", Need::Read),
    ("/api/jobs", Need::Read),
    ("/api/forwarding", Need::Read),
    ("/api/profiles/writeraw", Need::Write),
    ("/api/profiles/writearrow", Need::Write),
    ("/api/profiles/write", Need::Write),
    ("/api/upload", Need::Write),
    ("/api/shouldinitiateupload", Need::Write),
    ("/api/initiateupload", Need::Write),
    ("/api/markuploadfinished", Need::Write),
    ("/api/telemetry/panic", Need::Write),
    (crate::otlp_http::PATH, Need::Write),
];

/// The need of a gRPC or gRPC-Web request. The last two segments of its path name the method.
pub(crate) fn of_grpc(path: &str) -> Need {
    let mut segments = path.rsplit('/');
    let service = segments.nth(1).unwrap_or_default();
    SERVICES.iter().find(|(name, _)| *name == service).map_or(Need::Admin, |&(_, need)| need)
}

/// The need of any other request, by its path below the path prefix.
pub(crate) fn of_http(path: &str) -> Need {
    if let Some(&(_, need)) = REST.iter().find(|(known, _)| *known == path) {
        return need;
    }
    match path {
        "/ready" | "/healthy" => Need::Health,
        "/metrics" | "/debug/pprof" => Need::Metrics,
        "/" | "/targets" | "/settings" | "/favicon.ico" | "/robots.txt" => Need::Page,
        _ if path.starts_with("/assets/") => Need::Page,
        _ if path.starts_with("/debug/pprof/") => Need::Metrics,
        _ if path.starts_with("/api/profiles/labels/") => Need::Read,
        _ => Need::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        let check = |path: &str, need: Need| assert_eq!(of_grpc(path), need, "{path}");
        check("/grpc.health.v1.Health/Check", Need::Health);
        check("/grpc.health.v1.Health/Watch", Need::Health);
        check("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Need::Read);
        check("/parca.query.v1alpha1.QueryService/Query", Need::Read);
        check("/parca.scrape.v1alpha1.ScrapeService/Targets", Need::Read);
        check("/parca.profilestore.v1alpha1.AgentsService/Agents", Need::Read);
        check("/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw", Need::Write);
        check("/parca.profilestore.v1alpha1.ProfileStoreService/Write", Need::Write);
        check("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", Need::Write);
        check("/parca.debuginfo.v1alpha1.DebuginfoService/Upload", Need::Write);
        check("/parca.telemetry.v1alpha1.TelemetryService/ReportPanic", Need::Write);
        // Whatever precedes the last two segments.
        check("/api/parca.query.v1alpha1.QueryService/Query", Need::Read);
        check("/grpc.health.v1.Health/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw", Need::Write);
        check("/grpc.health.v1.Health/Check/", Need::Admin);
        check("/some.other.Service/Call", Need::Admin);
        check("/metrics", Need::Admin);
        check("", Need::Admin);
    }

    #[test]
    fn every_service_that_is_offered_has_its_need() {
        let pool = prost_reflect::DescriptorPool::decode(decima_proto::DESCRIPTORS).unwrap();
        for service in pool.services() {
            let path = format!("/{}/Any", service.full_name());
            assert_ne!(of_grpc(&path), Need::Admin, "{path}");
        }
    }

    #[test]
    fn paths() {
        let check = |path: &str, need: Need| assert_eq!(of_http(path), need, "{path}");
        check("/ready", Need::Health);
        check("/healthy", Need::Health);
        check("/", Need::Page);
        check("/assets/index-1.js", Need::Page);
        check("/metrics", Need::Metrics);
        check("/debug/pprof/", Need::Metrics);
        check("/debug/pprof", Need::Metrics);
        check("/debug/pprofx", Need::Admin);
        check("/debug/pprof/profile", Need::Metrics);
        check("/api/session", Need::Session);
        check("/api/profiles/query", Need::Read);
        check("/api/profiles/labels/job/values", Need::Read);
        check("/api/targets", Need::Read);
        check("/api/profiles/writeraw", Need::Write);
        check("/api/initiateupload", Need::Write);
        check("/v1development/profiles", Need::Write);
        check("/api/profiles/new", Need::Admin);
        check("/api/profiles/query/", Need::Admin);
        check("/readyz", Need::Admin);
        check("//metrics", Need::Admin);
        check("/%6detrics", Need::Admin);
        check("/index.html", Need::Admin);
    }
}
