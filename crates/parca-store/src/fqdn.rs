//! The name by which this host is found.

/// The name of this host with its domain, found by looking up its address; its bare name if there is none with a dot.
///
/// In a pod this is `<app>-<n>.<app>-endpoints.<model>.svc.cluster.local`, from `/etc/hosts`. May ask a name server.
pub fn fqdn() -> String {
    let bare = dns_lookup::get_hostname().unwrap_or_else(|_| "localhost".to_owned());
    let found = || {
        let address = dns_lookup::lookup_host(&bare).ok()?.next()?;
        dns_lookup::lookup_addr(&address).ok()
    };
    // An address without a name comes back as the address itself.
    let is_name = |name: &String| name.contains('.') && name.parse::<std::net::IpAddr>().is_err();
    found().filter(is_name).unwrap_or(bare)
}
