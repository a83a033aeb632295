//! Here is an object with those that belong to it, gives you its targets with Prometheus' labels. Pure.

use std::collections::BTreeMap;

use decima_config::labels::{self, Labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    cluster::{Cluster, Key, key},
    objects::{
        Container, Endpoint, EndpointAddress, EndpointPort, EndpointSlice, Endpoints, Ingress, Node, Pod,
        Reference, Service,
    },
};
use crate::discovery::{
    TargetGroup,
    groups::{ADDRESS, host_port, sanitized},
};

const PREFIX: &str = "__meta_kubernetes_";
/// Label of an endpoint slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Which address of a node counts, the first that there is.
const NODE_ADDRESSES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

fn set(labels: &mut Labels, name: &str, value: impl Into<String>) {
    labels::set(labels, format!("{PREFIX}{name}"), value);
}

fn set_some(labels: &mut Labels, name: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        set(labels, name, value.to_string());
    }
}

/// Name, labels and annotations of an object, and which of the latter there are.
fn set_meta(labels: &mut Labels, role: &str, meta: &ObjectMeta) {
    set_some(labels, &format!("{role}_name"), meta.name.as_ref());
    for (kind, values) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
        for (name, value) in values.iter().flatten() {
            let name = sanitized(name);
            set(labels, &format!("{role}_{kind}_{name}"), value.as_str());
            set(labels, &format!("{role}_{kind}present_{name}"), "true");
        }
    }
}

fn set_namespace(labels: &mut Labels, meta: &ObjectMeta) {
    set_some(labels, "namespace", meta.namespace.as_ref());
}

/// Labels of the node, if there is one of this name; nodes are known if their labels are wanted.
fn set_node(labels: &mut Labels, cluster: &Cluster, name: Option<&str>) {
    let node = name.and_then(|name| cluster.nodes.objects.get(&(String::new(), name.to_owned())));
    if let Some(node) = node {
        set_meta(labels, "node", &node.metadata);
    }
}

/// One target per port of each container, or one for the container if it has no port.
pub(super) fn of_pod(pod: &Pod, cluster: &Cluster) -> TargetGroup {
    let mut group = TargetGroup::default();
    let ip = pod.status.pod_ip.as_str();
    // It is being started, or was evicted.
    if ip.is_empty() {
        return group;
    }
    group.labels = pod_labels(pod);
    set_namespace(&mut group.labels, &pod.metadata);
    set_node(&mut group.labels, cluster, pod.spec.node_name.as_deref());
    for (container, init) in containers(pod) {
        let mut labels = container_labels(container, init);
        set_some(&mut labels, "pod_container_id", container_id(pod, container, init));
        let ports = container.ports.as_deref().unwrap_or_default();
        if ports.is_empty() {
            labels
                .insert(ADDRESS.to_owned(), if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() });
            group.targets.push(labels);
            continue;
        }
        for port in ports {
            let mut target = labels.clone();
            set_container_port(&mut target, port.container_port, &port.name, &port.protocol);
            target.insert(ADDRESS.to_owned(), host_port(ip, port.container_port));
            group.targets.push(target);
        }
    }
    group
}

fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let main = pod.spec.containers.iter().flatten().map(|container| (container, false));
    main.chain(pod.spec.init_containers.iter().flatten().map(|container| (container, true)))
}

fn pod_labels(pod: &Pod) -> Labels {
    let mut labels = Labels::new();
    set_meta(&mut labels, "pod", &pod.metadata);
    let ready = pod.status.conditions.iter().flatten().find(|condition| condition.kind == "Ready");
    let own = [
        ("pod_ip", pod.status.pod_ip.clone()),
        ("pod_ready", ready.map_or_else(|| "unknown".to_owned(), |ready| ready.status.to_ascii_lowercase())),
        ("pod_phase", pod.status.phase.clone()),
        ("pod_node_name", pod.spec.node_name.clone().unwrap_or_default()),
        ("pod_host_ip", pod.status.host_ip.clone()),
        ("pod_uid", pod.metadata.uid.clone().unwrap_or_default()),
    ];
    for (name, value) in own {
        set(&mut labels, name, value);
    }
    let owners = pod.metadata.owner_references.iter().flatten();
    if let Some(controller) = owners.into_iter().find(|owner| owner.controller == Some(true)) {
        set(&mut labels, "pod_controller_kind", controller.kind.as_str());
        set(&mut labels, "pod_controller_name", controller.name.as_str());
    }
    labels
}

fn container_id<'a>(pod: &'a Pod, container: &Container, init: bool) -> Option<&'a str> {
    let status = &pod.status;
    let statuses = if init { &status.init_container_statuses } else { &status.container_statuses };
    let status = statuses.iter().flatten().find(|status| status.name == container.name)?;
    Some(&status.container_id)
}

fn container_labels(container: &Container, init: bool) -> Labels {
    let mut labels = Labels::new();
    set(&mut labels, "pod_container_name", container.name.as_str());
    set(&mut labels, "pod_container_image", container.image.as_str());
    set(&mut labels, "pod_container_init", init.to_string());
    labels
}

fn set_container_port(labels: &mut Labels, number: u16, name: &str, protocol: &str) {
    set(labels, "pod_container_port_number", number.to_string());
    set(labels, "pod_container_port_name", name);
    set(labels, "pod_container_port_protocol", protocol);
}

/// One target per port, by the name of the service in the cluster's DNS.
pub(super) fn of_service(service: &Service) -> TargetGroup {
    let meta = &service.metadata;
    let host = format!(
        "{}.{}.svc",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default()
    );
    let spec = &service.spec;
    let target = |port: &super::objects::ServicePort| {
        let mut target = Labels::from([(ADDRESS.to_owned(), host_port(&host, port.port))]);
        set(&mut target, "service_port_name", port.name.as_str());
        set(&mut target, "service_port_number", port.port.to_string());
        set(&mut target, "service_port_protocol", port.protocol.as_str());
        set(&mut target, "service_type", spec.kind.as_str());
        match spec.kind.as_str() {
            "ExternalName" => set(&mut target, "service_external_name", spec.external_name.as_str()),
            _ => set(&mut target, "service_cluster_ip", spec.cluster_ip.as_str()),
        }
        if spec.kind == "LoadBalancer" {
            set(&mut target, "service_loadbalancer_ip", spec.load_balancer_ip.as_str());
        }
        target
    };
    TargetGroup {
        targets: spec.ports.iter().flatten().map(target).collect(),
        labels: service_labels(service),
    }
}

fn service_labels(service: &Service) -> Labels {
    let mut labels = Labels::new();
    set_meta(&mut labels, "service", &service.metadata);
    set_namespace(&mut labels, &service.metadata);
    labels
}

/// One target: the kubelet.
pub(super) fn of_node(node: &Node) -> TargetGroup {
    let mut group = TargetGroup::default();
    let mut addresses: BTreeMap<&str, &str> = BTreeMap::new();
    for address in node.status.addresses.iter().flatten() {
        addresses.entry(&address.kind).or_insert(&address.address);
    }
    // None of them is what a node has in its first seconds.
    let Some(host) = NODE_ADDRESSES.iter().find_map(|kind| addresses.get(kind)) else { return group };
    set_meta(&mut group.labels, "node", &node.metadata);
    set(&mut group.labels, "node_provider_id", node.spec.provider_id.as_str());
    let port = node.status.daemon_endpoints.kubelet_endpoint.port;
    let mut target = Labels::from([(ADDRESS.to_owned(), host_port(host, port))]);
    labels::set(&mut target, "instance", node.metadata.name.clone().unwrap_or_default());
    for (kind, address) in addresses {
        set(&mut target, &format!("node_address_{}", sanitized(kind)), address);
    }
    group.targets.push(target);
    group
}

/// One target per path of each host.
pub(super) fn of_ingress(ingress: &Ingress) -> TargetGroup {
    let mut group = TargetGroup::default();
    set_meta(&mut group.labels, "ingress", &ingress.metadata);
    set_namespace(&mut group.labels, &ingress.metadata);
    let spec = &ingress.spec;
    set_some(&mut group.labels, "ingress_class_name", spec.ingress_class_name.as_ref());
    for rule in spec.rules.iter().flatten() {
        let mut hosts = spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten());
        let scheme = if hosts.any(|pattern| is_host(pattern, &rule.host)) { "https" } else { "http" };
        let paths = rule.http.as_ref().and_then(|http| http.paths.as_ref());
        let paths = match paths {
            Some(paths) => paths.iter().map(|path| path.path.as_str()).collect(),
            None => vec!["/"],
        };
        for path in paths {
            let mut target = Labels::from([(ADDRESS.to_owned(), rule.host.clone())]);
            set(&mut target, "ingress_scheme", scheme);
            set(&mut target, "ingress_host", rule.host.as_str());
            set(&mut target, "ingress_path", if path.is_empty() { "/" } else { path });
            group.targets.push(target);
        }
    }
    group
}

/// Whether a host is meant, by its name or by `*` in place of its first part.
fn is_host(pattern: &str, host: &str) -> bool {
    pattern == host
        || match (pattern.strip_prefix("*."), host.split_once('.')) {
            (Some(pattern), Some((_, rest))) => pattern == rest,
            _ => false,
        }
}

/// Pods that endpoints stand for, with the ports that have a target already.
type SeenPods<'a> = BTreeMap<Key, (&'a Pod, Vec<u16>)>;

/// What an endpoint's target has of the pod that it stands for.
fn set_pod<'a>(
    target: &mut Labels,
    seen: &mut SeenPods<'a>,
    cluster: &'a Cluster,
    reference: Option<&Reference>,
    port: Option<u16>,
) {
    let Some(reference) = reference.filter(|reference| reference.kind == "Pod") else { return };
    let key = (reference.namespace.clone(), reference.name.clone());
    let Some(pod) = cluster.pods.objects.get(&key) else { return };
    target.extend(pod_labels(pod));
    let (_, ports) = seen.entry(key).or_insert((pod, Vec::new()));
    ports.extend(port);
    for (container, init) in containers(pod) {
        let found = container.ports.iter().flatten().find(|given| Some(given.container_port) == port);
        if let Some(found) = found {
            target.extend(container_labels(container, init));
            set_container_port(target, found.container_port, &found.name, &found.protocol);
        }
    }
}

/// Targets for the ports of pods that no endpoint has.
fn other_ports(seen: &SeenPods<'_>, cluster: &Cluster) -> Vec<Labels> {
    let mut targets = Vec::new();
    for (pod, ports) in seen.values() {
        let ip = pod.status.pod_ip.as_str();
        for (container, init) in containers(pod).filter(|_| !ip.is_empty()) {
            for port in container.ports.iter().flatten() {
                if ports.contains(&port.container_port) {
                    continue;
                }
                let mut target = pod_labels(pod);
                target.extend(container_labels(container, init));
                set_container_port(&mut target, port.container_port, &port.name, &port.protocol);
                set_node(&mut target, cluster, pod.spec.node_name.as_deref());
                target.insert(ADDRESS.to_owned(), host_port(ip, port.container_port));
                targets.push(target);
            }
        }
    }
    targets
}

/// One target per address and port, and those of their pods' other ports.
pub(super) fn of_endpoints(endpoints: &Endpoints, cluster: &Cluster) -> TargetGroup {
    let mut group = TargetGroup::default();
    set_meta(&mut group.labels, "endpoints", &endpoints.metadata);
    set_namespace(&mut group.labels, &endpoints.metadata);
    if let Some(service) = cluster.services.objects.get(&key(&endpoints.metadata)) {
        group.labels.extend(service_labels(service));
    }
    let mut seen = SeenPods::new();
    for subset in endpoints.subsets.iter().flatten() {
        for port in subset.ports.iter().flatten() {
            let ready = subset.addresses.iter().flatten().map(|address| (address, true));
            let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
            for (address, ready) in ready.chain(not_ready) {
                let mut target = Labels::new();
                set(&mut target, "endpoint_port_name", port.name.as_str());
                set(&mut target, "endpoint_port_protocol", port.protocol.as_str());
                set(&mut target, "endpoint_ready", ready.to_string());
                set_address(&mut target, address, cluster);
                set_pod(&mut target, &mut seen, cluster, address.target_ref.as_ref(), Some(port.port));
                target.insert(ADDRESS.to_owned(), host_port(&address.ip, port.port));
                group.targets.push(target);
            }
        }
    }
    group.targets.extend(other_ports(&seen, cluster));
    group
}

fn set_address(target: &mut Labels, address: &EndpointAddress, cluster: &Cluster) {
    set(target, "endpoint_hostname", address.hostname.as_str());
    set_some(target, "endpoint_node_name", address.node_name.as_ref());
    if let Some(reference) = &address.target_ref {
        set(target, "endpoint_address_target_kind", reference.kind.as_str());
        set(target, "endpoint_address_target_name", reference.name.as_str());
    }
    set_node(target, cluster, node_of(address.target_ref.as_ref(), address.node_name.as_deref()));
}

/// The node that an endpoint is, or else is on.
fn node_of<'a>(reference: Option<&'a Reference>, node_name: Option<&'a str>) -> Option<&'a str> {
    match reference {
        Some(reference) if reference.kind == "Node" => Some(&reference.name),
        _ => node_name,
    }
}

/// One target per address and port, and those of their pods' other ports.
pub(super) fn of_endpoint_slice(slice: &EndpointSlice, cluster: &Cluster) -> TargetGroup {
    let mut group = TargetGroup::default();
    set_meta(&mut group.labels, "endpointslice", &slice.metadata);
    set_namespace(&mut group.labels, &slice.metadata);
    set(&mut group.labels, "endpointslice_address_type", slice.address_type.as_str());
    let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
    let key = service.map(|name| (slice.metadata.namespace.clone().unwrap_or_default(), name.clone()));
    if let Some(service) = key.and_then(|key| cluster.services.objects.get(&key)) {
        group.labels.extend(service_labels(service));
    }
    let mut seen = SeenPods::new();
    for endpoint in slice.endpoints.iter().flatten() {
        for port in slice.ports.iter().flatten() {
            for address in &endpoint.addresses {
                let mut target = slice_target(endpoint, port, cluster);
                set_pod(&mut target, &mut seen, cluster, endpoint.target_ref.as_ref(), port.port);
                let address = port.port.map_or(address.clone(), |port| host_port(address, port));
                target.insert(ADDRESS.to_owned(), address);
                group.targets.push(target);
            }
        }
    }
    group.targets.extend(other_ports(&seen, cluster));
    group
}

fn slice_target(endpoint: &Endpoint, port: &EndpointPort, cluster: &Cluster) -> Labels {
    let mut target = Labels::new();
    let conditions = &endpoint.conditions;
    let own = [
        ("port_name", port.name.clone()),
        ("port_protocol", port.protocol.clone()),
        ("port", port.port.map(|port| port.to_string())),
        ("port_app_protocol", port.app_protocol.clone()),
        ("endpoint_conditions_ready", conditions.ready.map(|ready| ready.to_string())),
        ("endpoint_conditions_serving", conditions.serving.map(|serving| serving.to_string())),
        (
            "endpoint_conditions_terminating",
            conditions.terminating.map(|terminating| terminating.to_string()),
        ),
        ("endpoint_hostname", endpoint.hostname.clone()),
        ("endpoint_zone", endpoint.zone.clone()),
        ("endpoint_node_name", endpoint.node_name.clone()),
        ("address_target_kind", endpoint.target_ref.as_ref().map(|reference| reference.kind.clone())),
        ("address_target_name", endpoint.target_ref.as_ref().map(|reference| reference.name.clone())),
    ];
    for (name, value) in own {
        set_some(&mut target, &format!("endpointslice_{name}"), value);
    }
    for (name, value) in endpoint.deprecated_topology.iter().flatten() {
        let name = sanitized(name);
        set(&mut target, &format!("endpointslice_endpoint_topology_{name}"), value.as_str());
        set(&mut target, &format!("endpointslice_endpoint_topology_present_{name}"), "true");
    }
    set_node(&mut target, cluster, node_of(endpoint.target_ref.as_ref(), endpoint.node_name.as_deref()));
    target
}
