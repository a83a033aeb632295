//! Descriptors of the methods that the gateway offers.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

/// One method.
pub(super) struct Method {
    /// `package.Service/Method`.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) input: MessageDescriptor,
    /// What it gives.
    pub(super) output: MessageDescriptor,
}

/// The methods.
pub(super) struct Schema {
    pub(super) query: Method,
    pub(super) query_range: Method,
    pub(super) profile_types: Method,
    pub(super) labels: Method,
    pub(super) values: Method,
    pub(super) has_profile_data: Method,
    pub(super) series: Method,
    pub(super) write_raw: Method,
    pub(super) write: Method,
    pub(super) write_arrow: Method,
    pub(super) should_initiate_upload: Method,
    pub(super) initiate_upload: Method,
    pub(super) mark_upload_finished: Method,
    pub(super) report_panic: Method,
    pub(super) object_files: Method,
    pub(super) agents: Method,
    pub(super) targets: Method,
    pub(super) senders: Method,
    pub(super) jobs: Method,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "compiled in; a test reads it")]
    let pool = DescriptorPool::decode(decima_proto::DESCRIPTORS).expect("our descriptors decode");
    let method = |name: &'static str| {
        let (service, method) = name.split_once('/').unwrap_or_default();
        let found = pool.get_service_by_name(service).and_then(|s| s.methods().find(|m| m.name() == method));
        #[expect(clippy::expect_used, reason = "compiled in; a test reads it")]
        let found = found.expect("our descriptors have our methods");
        Method { name, input: found.input(), output: found.output() }
    };
    Schema {
        query: method("parca.query.v1alpha1.QueryService/Query"),
        query_range: method("parca.query.v1alpha1.QueryService/QueryRange"),
        profile_types: method("parca.query.v1alpha1.QueryService/ProfileTypes"),
        labels: method("parca.query.v1alpha1.QueryService/Labels"),
        values: method("parca.query.v1alpha1.QueryService/Values"),
        has_profile_data: method("parca.query.v1alpha1.QueryService/HasProfileData"),
        series: method("parca.query.v1alpha1.QueryService/Series"),
        write_raw: method("parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw"),
        write: method("parca.profilestore.v1alpha1.ProfileStoreService/Write"),
        write_arrow: method("parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow"),
        should_initiate_upload: method("parca.debuginfo.v1alpha1.DebuginfoService/ShouldInitiateUpload"),
        initiate_upload: method("parca.debuginfo.v1alpha1.DebuginfoService/InitiateUpload"),
        mark_upload_finished: method("parca.debuginfo.v1alpha1.DebuginfoService/MarkUploadFinished"),
        report_panic: method("parca.telemetry.v1alpha1.TelemetryService/ReportPanic"),
        object_files: method("decima.debuginfo.v1alpha1.ObjectFileService/List"),
        agents: method("parca.profilestore.v1alpha1.AgentsService/Agents"),
        targets: method("parca.scrape.v1alpha1.ScrapeService/Targets"),
        senders: method("decima.ingest.v1alpha1.IngestService/Senders"),
        jobs: method("decima.ingest.v1alpha1.IngestService/Jobs"),
    }
});

impl Schema {
    /// The one there is.
    pub(super) fn get() -> &'static Self {
        &SCHEMA
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_whole() {
        assert_eq!(Schema::get().query.input.full_name(), "parca.query.v1alpha1.QueryRequest");
    }
}
