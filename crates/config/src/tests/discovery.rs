use super::*;

fn discovery(lines: &str) -> Discovery {
    job(lines).discoveries.remove(0)
}

#[test]
fn defaults_are_those_of_prometheus() {
    let Discovery::File(file) = discovery("file_sd_configs: [{files: [targets/*.json, /x/y.yml]}]") else {
        panic!()
    };
    assert_eq!(file.files, ["/etc/parca/targets/*.json", "/x/y.yml"].map(std::path::PathBuf::from));
    assert_eq!(file.refresh_interval, Duration::from_secs(300));

    let Discovery::Http(http) = discovery("http_sd_configs: [{url: 'https://u:p@sd.test/x'}]") else {
        panic!()
    };
    assert_eq!(http.refresh_interval, Duration::from_secs(60));
    assert_eq!(Discovery::Http(http).subject(), "https://u:xxxxx@sd.test/x");

    let Discovery::Dns(dns) = discovery("dns_sd_configs: [{names: [_pprof._tcp.test]}]") else { panic!() };
    assert_eq!((dns.record, dns.port, dns.refresh_interval), (DnsRecord::Srv, 0, Duration::from_secs(30)));

    let Discovery::Consul(consul) = discovery("consul_sd_configs: [{}]") else { panic!() };
    assert_eq!(consul.url.as_str(), "http://localhost:8500/");
    assert_eq!((consul.tag_separator.as_str(), consul.allow_stale), (",", true));
    assert_eq!(consul.refresh_interval, Duration::from_secs(30));

    let Discovery::Docker(docker) = discovery("docker_sd_configs: [{host: 'unix:///var/run/docker.sock'}]")
    else {
        panic!()
    };
    assert_eq!((docker.port, docker.host_networking_host.as_str()), (80, "localhost"));
    assert!(docker.match_first_network);
    assert_eq!(docker.refresh_interval, Duration::from_secs(60));
    assert_eq!(Discovery::Docker(docker).subject(), "unix:///var/run/docker.sock");
}

#[test]
fn what_is_given_counts() {
    let Discovery::Consul(consul) = discovery(
        "consul_sd_configs:\n- server: consul.test:8501\n  scheme: https\n  path_prefix: /a/\n  username: u\n  password: p\n  token: t\n  services: [api]\n  tags: [http]\n  tls_config: {ca_file: ca.pem}",
    ) else {
        panic!()
    };
    assert_eq!(consul.url.as_str(), "https://consul.test:8501/a");
    let inline = |text: &str| Some(SecretSource::Inline(Secret::new(text)));
    assert_eq!(
        consul.http_client.credentials,
        Some(Credentials::Basic { username: inline("u"), password: inline("p") })
    );
    assert_eq!(consul.http_client.tls.ca, Some(SecretSource::File("/etc/parca/ca.pem".into())));
    assert!(!format!("{consul:?}").contains("\"t\""), "secrets do not show");
    let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
    assert!(consul.watches("api", &tags(&["http", "x"])));
    assert!(!consul.watches("api", &tags(&["x"])) && !consul.watches("db", &tags(&["http"])));

    // Those of the job and those of its discoveries are apart; the order is that of the kinds.
    let job = job(
        "bearer_token: job\nhttp_sd_configs: [{url: 'http://a/', bearer_token: sd}, {url: 'http://b/'}]\ndns_sd_configs: [{names: [x], type: a, port: 1}]",
    );
    let kinds: Vec<_> = job.discoveries.iter().map(|d| (d.kind(), d.subject())).collect();
    let expected = [("http", "http://a/"), ("http", "http://b/"), ("dns", "x")];
    assert_eq!(kinds, expected.map(|(kind, subject)| (kind, subject.to_owned())));
    let [Discovery::Http(first), Discovery::Http(second), _] = job.discoveries.as_slice() else { panic!() };
    assert_ne!(first.http_client.credentials, job.http_client.credentials);
    assert_eq!(second.http_client.credentials, None);
}

#[test]
fn refused() {
    let check = |lines: &str, expected: &str| {
        check_job_refused(lines, &format!("parca.yaml:{expected}"));
    };
    check(
        "file_sd_configs:\n- refresh_interval: 1m",
        "4: scrape_configs[0].file_sd_configs[0].files: file service discovery config must contain at least one path name",
    );
    check(
        "file_sd_configs:\n- files:\n  - a.json\n  - '*/b.json'",
        "6: scrape_configs[0].file_sd_configs[0].files[1]: path name \"*/b.json\" is not valid for file discovery",
    );
    check(
        "file_sd_configs: [{files: [a.json], refresh_interval: 0s}]",
        "3: scrape_configs[0].file_sd_configs[0].refresh_interval: must be longer than 0",
    );
    check("http_sd_configs: [{}]", "3: scrape_configs[0].http_sd_configs[0].url: URL is missing");
    check(
        "http_sd_configs:\n- url: ftp://x/",
        "4: scrape_configs[0].http_sd_configs[0].url: URL scheme must be 'http' or 'https'",
    );
    check(
        "http_sd_configs:\n- url: http://x/\n  basic_auth: {username: a}\n  bearer_token: b",
        "6: scrape_configs[0].http_sd_configs[0].bearer_token: at most one of basic_auth & bearer_token must be configured",
    );
    check(
        "http_sd_configs:\n- url: http://x/\n  oauth2: {}",
        "5: scrape_configs[0].http_sd_configs[0].oauth2: is not supported yet",
    );
    check(
        "dns_sd_configs: [{}]",
        "3: scrape_configs[0].dns_sd_configs[0].names: DNS-SD config must contain at least one SRV record name",
    );
    check(
        "dns_sd_configs: [{names: [x], type: TXT}]",
        "3: scrape_configs[0].dns_sd_configs[0].type: invalid DNS-SD records type TXT",
    );
    check(
        "dns_sd_configs: [{names: [x], type: A}]",
        "3: scrape_configs[0].dns_sd_configs[0].port: a port is required in DNS-SD configs for all record types except SRV",
    );
    check(
        "consul_sd_configs: [{server: ' '}]",
        "3: scrape_configs[0].consul_sd_configs[0].server: consul SD configuration requires a server address",
    );
    check(
        "consul_sd_configs:\n- server: 'a b'",
        "4: scrape_configs[0].consul_sd_configs[0].server: \"a b\" is not the address of a server",
    );
    check(
        "consul_sd_configs: [{token: t, bearer_token: u}]",
        "3: scrape_configs[0].consul_sd_configs[0].token: at most one of consul SD token, authorization, or oauth2 can be configured",
    );
    check(
        "consul_sd_configs: [{username: t, basic_auth: {username: u}}]",
        "3: scrape_configs[0].consul_sd_configs[0].username: at most one of consul SD configuration username and password and basic auth can be configured",
    );
    check("docker_sd_configs: [{}]", "3: scrape_configs[0].docker_sd_configs[0].host: host missing");
    check(
        "docker_sd_configs: [{host: 'ssh://x'}]",
        "3: scrape_configs[0].docker_sd_configs[0].host: \"ssh\" is none of unix, tcp, http and https",
    );
    check(
        "docker_sd_configs: [{host: 'unix://'}]",
        "3: scrape_configs[0].docker_sd_configs[0].host: the path of the socket is missing",
    );
    check(
        "docker_sd_configs: [{host: 'unix:///x', filter: x}]",
        "3: scrape_configs[0].docker_sd_configs[0].filter: unknown field `filter`",
    );
}

#[test]
fn kubernetes_discoveries() {
    let place = "parca.yaml:3: scrape_configs[0].kubernetes_sd_configs[0]";
    let refused = |settings: &str, expected: &str| {
        check_job_refused(&format!("kubernetes_sd_configs: [{{{settings}}}]"), &format!("{place}{expected}"));
    };
    let roles = "one of pod, service, endpoints, endpointslice, node, ingress";
    refused("", &format!(".role: role is missing: {roles}"));
    refused("role: pods", &format!(".role: \"pods\" is not {roles}"));
    refused("role: pod, api_server: a", ".api_server: \"a\" is not a URL: relative URL without a base");
    refused(
        "role: pod, api_server: 'http://a', kubeconfig_file: b",
        ".kubeconfig_file: at most one of api_server & kubeconfig_file must be configured",
    );
    refused("role: pod, bearer_token: t", ".api_server: settings of the HTTP client need an api_server");
    refused(
        "role: pod, kubeconfig_file: b, namespaces: {own_namespace: true}",
        ".namespaces.own_namespace: only a process in the cluster has a namespace of its own",
    );
    refused(
        "role: service, attach_metadata: {node: true}",
        ".attach_metadata.node: targets of role service are on no node",
    );
    refused(
        "role: endpoints, selectors: [{role: pod}, {role: node}]",
        ".selectors[1].role: node objects are not looked at for role endpoints",
    );
    refused(
        "role: pod, selectors: [{role: pod, label: a}, {role: pod, field: b}]",
        ".selectors[1].role: there are two selectors of role pod",
    );
    let text = "kubernetes_sd_configs: [{role: endpointslice, kubeconfig_file: k, attach_metadata: {node: true}, \
                selectors: [{role: node, label: a=b}, {role: pod, field: c=d}], namespaces: {names: [shop]}}]";
    if !cfg!(feature = "kubernetes") {
        check_job_refused(
            text,
            &format!(
                "{place}: this build has no discovery by Kubernetes: it was built without the feature `kubernetes`"
            ),
        );
        return;
    }
    let job = job(text);
    let Discovery::Kubernetes(discovery) = &job.discoveries[0] else { panic!("{job:?}") };
    assert_eq!(job.discoveries[0].subject(), "endpointslice of /etc/parca/k");
    assert!(discovery.attach_node && !discovery.own_namespace && discovery.namespaces == ["shop"]);
    let selectors: Vec<_> = discovery
        .selectors
        .iter()
        .map(|(role, selector)| (role.as_str(), selector.label.as_deref(), selector.field.as_deref()))
        .collect();
    assert_eq!(selectors, [("pod", None, Some("c=d")), ("node", Some("a=b"), None)]);
}
