//! Starting and stopping.

use std::time::Duration;

use decima_server::{Server, Settings};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::TestServer;

/// The answer to a request without a body, on a connection of its own.
async fn ask(address: std::net::SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("{head} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn answers_probes_before_the_store_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start([listener.into()], Settings::default()).unwrap();
    let address = server.addresses()[0];
    assert!(ask(address, "GET /healthy").await.starts_with("HTTP/1.1 200"));
    assert!(ask(address, "GET /ready").await.starts_with("HTTP/1.1 503"));
    assert!(ask(address, "GET /api/profiles/types").await.starts_with("HTTP/1.1 503"));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let status = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn stops_and_lets_go_of_the_port() {
    let server = TestServer::start().await;
    let address = server.address;
    let _idle = TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), server.stop())
        .await
        .expect("an idle connection does not hold it")
        .unwrap();
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn half_a_request_does_not_hold_others() {
    let server = TestServer::start().await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    assert_eq!(server.get("/healthy").await.status(), 200);
}

#[tokio::test]
async fn those_who_watch_are_told_and_do_not_hold_it() {
    let server = TestServer::start().await;
    let mut client = HealthClient::new(server.channel().await);
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let stopped = tokio::spawn(server.stop());
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    assert!(watch.message().await.unwrap().is_none());
    tokio::time::timeout(Duration::from_secs(10), stopped).await.unwrap().unwrap().unwrap();
}
