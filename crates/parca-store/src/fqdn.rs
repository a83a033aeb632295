//! The name by which this host is found.

use std::{fs, net::IpAddr};

/// Where names of this host's own addresses stand; in a pod Kubernetes writes it.
const HOSTS: &str = "/etc/hosts";

/// The name of this host with its domain, found by looking up its address; its bare name if there is none with a dot.
///
/// In a pod this is `<app>-<n>.<app>-endpoints.<model>.svc.cluster.local`, from `/etc/hosts`. May ask a name server.
pub fn fqdn() -> String {
    let names = looked_up(&bare());
    names.into_iter().find(|name| name.contains('.')).unwrap_or_else(bare)
}

/// The same as Python's `socket.getfqdn` has it: without a name with a dot the first that was found, even `localhost`.
pub(crate) fn getfqdn() -> String {
    let names = looked_up(&bare());
    names.iter().find(|name| name.contains('.')).or(names.first()).cloned().unwrap_or_else(bare)
}

fn bare() -> String {
    dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned())
}

/// Names of the first address that a name has, the canonical one first. Only the hosts file says others besides it.
fn looked_up(name: &str) -> Vec<String> {
    let Some(address) = dns_lookup::lookup_host(name).ok().and_then(|mut addresses| addresses.next()) else {
        return Vec::new();
    };
    let hosts = fs::read(HOSTS).unwrap_or_default();
    let names = names_of(address, &String::from_utf8_lossy(&hosts));
    if !names.is_empty() {
        return names;
    }
    // An address without a name comes back as the address itself.
    let name = dns_lookup::lookup_addr(&address).ok();
    name.filter(|name| name.parse::<IpAddr>().is_err()).into_iter().collect()
}

/// The names on the first line of a hosts file that is about an address.
fn names_of(address: IpAddr, hosts: &str) -> Vec<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let found = lines.map(|mut words| (words.next().and_then(|word| word.parse().ok()), words));
    let mut names = found.filter(|(of, _)| *of == Some(address)).map(|(_, names)| names);
    names.next().into_iter().flatten().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_hosts_file() {
        const HOSTS: &str = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\nfe00::0\tip6-mcastprefix\n\
            10.1.2.3\tparca-k8s-0.parca-k8s-endpoints.model.svc.cluster.local\tparca-k8s-0 # ours\n10.1.2.3 again\nnonsense x\n";
        let names = |address: &str| names_of(address.parse().unwrap(), HOSTS);
        assert_eq!(
            names("10.1.2.3"),
            ["parca-k8s-0.parca-k8s-endpoints.model.svc.cluster.local", "parca-k8s-0"]
        );
        assert_eq!(names("fe00::"), ["ip6-mcastprefix"]);
        assert!(names("10.1.2.4").is_empty());
    }

    #[test]
    fn this_host_has_a_name() {
        assert!(!fqdn().is_empty() && !getfqdn().is_empty());
    }
}
