use std::{net::SocketAddr, time::Duration};

use hickory_resolver::{
    config::{NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::{
        op::{Message, OpCode, ResponseCode},
        rr::rdata::{A, AAAA, CNAME, MX, NS, SRV},
    },
};
use tokio::net::UdpSocket;

use super::*;

/// A server that knows some names and fails for others.
async fn serve() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 4096];
        loop {
            let (size, from) = socket.recv_from(&mut packet).await.unwrap();
            let asked = Message::from_vec(&packet[..size]).unwrap();
            let _ = socket.send_to(&answer(&asked).to_vec().unwrap(), from).await;
        }
    });
    address
}

fn answer(asked: &Message) -> Message {
    let query = asked.queries[0].clone();
    let mut message = Message::response(asked.metadata.id, OpCode::Query);
    message.add_query(query.clone());
    let name = query.name().clone();
    let host = |name: &str| Name::from_ascii(name).unwrap();
    let mut add = |data: RData| {
        message.add_answer(Record::from_rdata(name.clone(), 60, data));
    };
    match (name.to_ascii().as_str(), query.query_type()) {
        ("_pprof._tcp.test.", RecordType::SRV) => {
            add(RData::SRV(SRV::new(0, 0, 6060, host("one.test."))));
            add(RData::SRV(SRV::new(0, 0, 6061, host("two.test."))));
        }
        ("api.test." | "api.search.test.", RecordType::A) => {
            add(RData::CNAME(CNAME(host("real.test."))));
            message.add_answer(Record::from_rdata(host("real.test."), 60, RData::A(A::new(10, 0, 0, 1))));
        }
        ("api.test.", RecordType::AAAA) => add(RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))),
        ("api.test.", RecordType::MX) => add(RData::MX(MX::new(10, host("mail.test.")))),
        ("api.test.", RecordType::NS) => add(RData::NS(NS(host("ns.test.")))),
        ("broken.test.", _) => message.metadata.response_code = ResponseCode::ServFail,
        ("empty.test.", _) => {}
        _ => message.metadata.response_code = ResponseCode::NXDomain,
    }
    message
}

fn resolver_of(server: SocketAddr) -> TokioResolver {
    let mut name_server = NameServerConfig::udp(server.ip());
    for connection in &mut name_server.connections {
        connection.port = server.port();
    }
    let config =
        ResolverConfig::from_parts(None, vec![Name::from_ascii("search.test.").unwrap()], vec![name_server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.cache_size = 0;
    options.attempts = 1;
    options.timeout = Duration::from_secs(30);
    builder.build().unwrap()
}

fn config(record: DnsRecord, names: &[&str]) -> DnsDiscovery {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    DnsDiscovery { names, record, port: 80, refresh_interval: Duration::from_secs(30) }
}

fn show(groups: &Groups) -> Vec<String> {
    let show = |labels: &Labels| {
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    groups.values().flat_map(|group| group.targets.iter().map(show)).collect()
}

#[tokio::test]
async fn records_become_targets() {
    let resolver = resolver_of(serve().await);
    let check = async |record: DnsRecord, name: &str, expected: &[&str]| {
        let mut groups = Groups::new();
        ask(&config(record, &[name]), &resolver, &mut groups).await.unwrap();
        assert_eq!(show(&groups), expected, "{name}");
    };
    check(
        DnsRecord::Srv,
        "_pprof._tcp.test.",
        &[
            "__address__=one.test:6060 __meta_dns_name=_pprof._tcp.test. __meta_dns_srv_record_port=6060 __meta_dns_srv_record_target=one.test.",
            "__address__=two.test:6061 __meta_dns_name=_pprof._tcp.test. __meta_dns_srv_record_port=6061 __meta_dns_srv_record_target=two.test.",
        ],
    )
    .await;
    check(DnsRecord::A, "api.test.", &["__address__=10.0.0.1:80 __meta_dns_name=api.test."]).await;
    check(DnsRecord::A, "api", &["__address__=10.0.0.1:80 __meta_dns_name=api"]).await;
    check(DnsRecord::Aaaa, "api.test.", &["__address__=[fd00::1]:80 __meta_dns_name=api.test."]).await;
    check(
        DnsRecord::Mx,
        "api.test.",
        &["__address__=mail.test:80 __meta_dns_mx_record_target=mail.test. __meta_dns_name=api.test."],
    )
    .await;
    check(
        DnsRecord::Ns,
        "api.test.",
        &["__address__=ns.test:80 __meta_dns_name=api.test. __meta_dns_ns_record_target=ns.test."],
    )
    .await;
    check(DnsRecord::A, "empty.test.", &[]).await;
    check(DnsRecord::A, "nowhere.test.", &[]).await;
}

#[tokio::test]
async fn a_server_that_cannot_tell_keeps_what_was_found() {
    let resolver = resolver_of(serve().await);
    let mut groups = Groups::new();
    let before = TargetGroup {
        targets: vec![Labels::from([(ADDRESS.into(), "old:1".into())])],
        labels: Labels::new(),
    };
    groups.insert("broken.test.".to_owned(), before.clone());
    groups.insert("nowhere.test.".to_owned(), before);
    let config = config(DnsRecord::A, &["broken.test.", "nowhere.test.", "api.test."]);
    let error = ask(&config, &resolver, &mut groups).await.unwrap_err();
    assert!(error.to_string().starts_with("could not resolve \"broken.test.\": "), "{error}");
    let expected = ["__address__=10.0.0.1:80 __meta_dns_name=api.test.", "__address__=old:1"];
    assert_eq!(show(&groups), expected);
}
