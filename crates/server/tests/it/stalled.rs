//! Senders that begin a stream and go no further: others are served meanwhile, and the stream ends.

use std::time::Duration;

use decima_proto::parca::{
    debuginfo::v1alpha1::{
        InitiateUploadRequest, UploadInfo, UploadRequest, debuginfo_service_client::DebuginfoServiceClient,
        upload_request::Data,
    },
    profilestore::v1alpha1::{WriteRequest, profile_store_service_client::ProfileStoreServiceClient},
};
use decima_server::{Bounds, Settings};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

use crate::{
    harness::{TestServer, text},
    senders::{exchange, exchanges, write_request},
};

/// A server whose senders may pause for so long.
async fn server(stream_pause_max: Duration) -> TestServer {
    TestServer::with(Settings {
        bounds: Bounds { stream_pause_max, ..Bounds::default() },
        ..Settings::default()
    })
    .await
}

const FOR_EVER: Duration = Duration::from_secs(3600);
const A_MOMENT: Duration = Duration::from_millis(300);

async fn store(server: &TestServer) -> ProfileStoreServiceClient<Channel> {
    ProfileStoreServiceClient::new(server.channel().await)
}

/// Sends the samples of an exchange and takes the question, but does not answer it. The stream is open until the sender is
/// dropped.
async fn stall(
    mut client: ProfileStoreServiceClient<Channel>,
    first: WriteRequest,
) -> (
    mpsc::Sender<WriteRequest>,
    Result<tonic::Streaming<decima_proto::parca::profilestore::v1alpha1::WriteResponse>, Status>,
) {
    let (sender, requests) = mpsc::channel(1);
    sender.send(first).await.unwrap();
    let answers = client.write(ReceiverStream::new(requests)).await;
    (sender, answers.map(tonic::Response::into_inner))
}

#[tokio::test]
async fn stalled_exchanges_keep_nobody_out() {
    let server = server(FOR_EVER).await;
    let (samples, locations) = exchanges().remove(0);
    let good = async || {
        let mut client = store(&server).await;
        exchange(&mut client, write_request(&samples), Some(write_request(&locations))).await.unwrap();
    };
    let mut stalled = Vec::new();
    let mut connect = async |count| {
        for _ in 0..count {
            let (client, first) = (store(&server).await, stalled.len());
            for _ in 0..100 {
                stalled.push(stall(client.clone(), write_request(&samples)).await);
            }
            // One of them at least has its question, so that the others of the connection have come too.
            let (_, answers) = &mut stalled[first];
            if let Ok(answers) = answers {
                answers.message().await.unwrap();
            }
        }
    };
    // As many connections as leave places to their address, then more.
    connect(3).await;
    good().await;
    connect(3).await;
    good().await;
}

fn upload_client(channel: Channel) -> DebuginfoServiceClient<Channel> {
    DebuginfoServiceClient::new(channel)
}

/// Begins an upload, and sends so many messages of it: the first says what follows. The stream is open until the sender is
/// dropped.
async fn begin_upload(
    client: &mut DebuginfoServiceClient<Channel>,
    build_id: &str,
    chunks: usize,
) -> (mpsc::Sender<UploadRequest>, ReceiverStream<UploadRequest>) {
    let initiate = InitiateUploadRequest {
        build_id: build_id.to_owned(),
        hash: "h".to_owned(),
        size: 1 << 16,
        ..InitiateUploadRequest::default()
    };
    let instructions = client.initiate_upload(initiate).await.unwrap().into_inner().upload_instructions;
    let upload_id = instructions.unwrap().upload_id;
    let (sender, requests) = mpsc::channel(4);
    let info = UploadInfo { build_id: build_id.to_owned(), upload_id, r#type: 0 };
    sender.send(UploadRequest { data: Some(Data::Info(info)) }).await.unwrap();
    for _ in 0..chunks {
        sender.send(UploadRequest { data: Some(Data::ChunkData(vec![7; 1 << 10].into())) }).await.unwrap();
    }
    (sender, ReceiverStream::new(requests))
}

#[tokio::test]
async fn stalled_uploads_keep_nobody_out() {
    let server = server(FOR_EVER).await;
    let mut stalled = Vec::new();
    for connection in 0..4 {
        let mut client = upload_client(server.channel().await);
        for upload in 0..8 {
            let build_id = format!("abcd{connection:02}{upload:02}");
            let (sender, requests) = begin_upload(&mut client, &build_id, 1).await;
            let mut client = client.clone();
            stalled.push((sender, tokio::spawn(async move { client.upload(requests).await })));
        }
        if connection == 0 {
            // Those that have not begun to send hold nothing.
            let (sender, requests) = mpsc::channel(1);
            let mut client = client.clone();
            let upload = tokio::spawn(async move { client.upload(ReceiverStream::new(requests)).await });
            stalled.push((sender, upload));
        }
    }
    drop(stalled.split_off(8));
    let mut client = upload_client(server.channel().await);
    let (sender, requests) = begin_upload(&mut client, "abcd9999", 1).await;
    drop(sender);
    assert_eq!(client.upload(requests).await.unwrap().into_inner().size, 1 << 10);
}

#[tokio::test]
async fn what_stalls_ends_by_name() {
    let server = server(A_MOMENT).await;
    let (samples, locations) = exchanges().remove(0);
    let words = "the sender has sent nothing for 300ms";
    let (_sender, answers) = stall(store(&server).await, write_request(&samples)).await;
    let mut answers = answers.unwrap();
    assert!(answers.message().await.unwrap().is_some());
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, words));
    let mut client = upload_client(server.channel().await);
    let (_sender, requests) = begin_upload(&mut client, "abcd", 2).await;
    let status = client.upload(requests).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, words));
    let metrics = server.get("/metrics").await;
    for protocol in ["write", "debuginfo"] {
        let line = format!(
            r#"decima_sender_writes_total{{sender="127.0.0.1",address="127.0.0.1",protocol="{protocol}",outcome="refused",reason="stalled"}} 1"#
        );
        assert!(text(&metrics).contains(&line), "{line}: {}", text(&metrics));
    }
    // The place is free again.
    let mut client = store(&server).await;
    exchange(&mut client, write_request(&samples), Some(write_request(&locations))).await.unwrap();
}
