//! Native gRPC through tonic's clients.

use decima_proto::parca::{
    profilestore::v1alpha1::{
        AgentsRequest, Label, LabelSet, RawProfileSeries, RawSample, WriteRawRequest,
        agents_service_client::AgentsServiceClient, profile_store_service_client::ProfileStoreServiceClient,
    },
    query::v1alpha1::{
        HasProfileDataRequest, QueryRequest, SeriesRequest, query_service_client::QueryServiceClient,
    },
};
use decima_testkit::pprof::ProfileBuilder;
use tonic::{Code, Request, codec::CompressionEncoding};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::TestServer;

pub(crate) fn write_request(labels: &[(&str, &str)], profile: Vec<u8>) -> WriteRawRequest {
    let labels = labels.iter().map(|&(name, value)| Label { name: name.to_owned(), value: value.to_owned() });
    WriteRawRequest {
        series: vec![RawProfileSeries {
            labels: Some(LabelSet { labels: labels.collect() }),
            samples: vec![RawSample { raw_profile: profile.into(), executable_info: Vec::new() }],
        }],
        ..WriteRawRequest::default()
    }
}

fn cpu_profile() -> Vec<u8> {
    ProfileBuilder::cpu().sample(&["work", "main"], &[10_000_000]).gzip()
}

#[tokio::test]
async fn writes_in_every_encoding() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let labels = [("__name__", "process_cpu"), ("job", "test")];
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = ProfileStoreServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding).accept_compressed(encoding);
        }
        client.write_raw(write_request(&labels, cpu_profile())).await.unwrap();
    }
}

#[tokio::test]
async fn remembers_who_pushed() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let labels = [("__name__", "process_cpu"), ("node", "n1")];
    let mut client = ProfileStoreServiceClient::new(channel.clone());
    client.write_raw(write_request(&labels, cpu_profile())).await.unwrap();
    let agents =
        AgentsServiceClient::new(channel).agents(AgentsRequest {}).await.unwrap().into_inner().agents;
    assert_eq!(
        agents.iter().map(|agent| (agent.id.as_str(), agent.last_error.as_str())).collect::<Vec<_>>(),
        [("n1", "")]
    );
    assert!(agents[0].last_push.is_some() && agents[0].last_push_duration.is_some());
}

#[tokio::test]
async fn missing_labels_are_refused() {
    let server = TestServer::start().await;
    let mut request = write_request(&[], Vec::new());
    request.series[0].labels = None;
    let status = ProfileStoreServiceClient::new(server.channel().await).write_raw(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "series[0].labels: missing"));
}

#[tokio::test]
async fn large_messages_come_through() {
    let server = TestServer::start().await;
    let mut client =
        ProfileStoreServiceClient::new(server.channel().await).max_encoding_message_size(128 << 20);
    // Not a profile: it is its size that counts here.
    let labels = [("__name__", "process_cpu")];
    let status = client.write_raw(write_request(&labels, vec![0xff; 63 << 20])).await.err();
    assert!(status.as_ref().is_none_or(|s| s.code() == Code::InvalidArgument), "{status:?}");
    let status = client.write_raw(write_request(&labels, vec![0xff; 65 << 20])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
}

#[tokio::test]
async fn what_is_not_offered_says_its_name() {
    let server = TestServer::start().await;
    let channel = server.channel().await;
    let status = QueryServiceClient::new(channel.clone()).series(SeriesRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);

    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path =
        http::uri::PathAndQuery::from_static("/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    let codec = tonic_prost::ProstCodec::<HasProfileDataRequest, HasProfileDataRequest>::default();
    let status = client.unary(Request::new(HasProfileDataRequest {}), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "opentelemetry.proto.collector.logs.v1.LogsService/Export is not offered");
}

#[tokio::test]
async fn wrong_queries_are_refused() {
    let server = TestServer::start().await;
    let mut client = QueryServiceClient::new(server.channel().await);
    let status = client.query(QueryRequest { report_type: 5, ..QueryRequest::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = client.query(QueryRequest::default()).await.unwrap_err();
    // Grafana's plugin looks for these words.
    assert!(status.message().contains("invalid report type"), "{status:?}");
}

#[tokio::test]
async fn health_of_each_service() {
    let server = TestServer::start().await;
    let mut client = HealthClient::new(server.channel().await);
    for service in [
        "",
        "parca.profilestore.v1alpha1.ProfileStoreService",
        "parca.profilestore.v1alpha1.AgentsService",
        "parca.query.v1alpha1.QueryService",
        "parca.scrape.v1alpha1.ScrapeService",
    ] {
        let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "{service}");
    }
    let unknown = HealthCheckRequest { service: "other".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_lists_the_services() {
    use tokio_stream::StreamExt as _;
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = TestServer::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(server.channel().await)
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("not a list of services");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["parca.query.v1alpha1.QueryService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}

/// What clients of Python ask for.
#[tokio::test]
async fn reflection_speaks_its_older_version_too() {
    use tokio_stream::StreamExt as _;
    use tonic_reflection::pb::v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let server = TestServer::start().await;
    let symbol = MessageRequest::FileContainingSymbol("parca.query.v1alpha1.QueryService".to_owned());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut answers = ServerReflectionClient::new(server.channel().await)
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::FileDescriptorResponse(files)) = answer else { panic!("{answer:?}") };
    assert!(!files.file_descriptor_proto.is_empty());
}
