//! Addresses and networks as Python's `ipaddress` reads and writes them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An address, with the zone that Python lets an IPv6 address have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The address.
    pub(crate) ip: IpAddr,
    /// What stands behind `%`.
    pub(crate) zone: Option<String>,
}

impl Address {
    /// Reads an address; `None` for whatever else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Some(Self { ip: ip.into(), zone: None });
        }
        if text.contains('/') {
            return None;
        }
        let (ip, zone) = match text.split_once('%') {
            Some((_, zone)) if zone.is_empty() || zone.contains('%') => return None,
            Some((ip, zone)) => (ip, Some(zone.to_owned())),
            None => (text, None),
        };
        Some(Self { ip: ip.parse::<Ipv6Addr>().ok()?.into(), zone })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            // Python writes mapped addresses like all others, Rust with the IPv4 address in the end.
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                let groups = ip.segments();
                write!(f, "::ffff:{:x}:{:x}", groups[6], groups[7])?;
            }
            ip => write!(f, "{ip}")?,
        }
        match &self.zone {
            Some(zone) => write!(f, "%{zone}"),
            None => Ok(()),
        }
    }
}

/// Whether Python takes it as a network: an address, alone or with a prefix or mask, without bits outside of it.
pub(crate) fn is_network(text: &str) -> bool {
    let (address, mask) = match text.split_once('/') {
        Some((_, mask)) if mask.contains('/') => return false,
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    match Address::parse(address).map(|address| address.ip) {
        Some(IpAddr::V4(ip)) => mask
            .map_or(Some(32), |mask| prefix(mask, 32).or_else(|| prefix_of_mask(mask)))
            .is_some_and(|prefix| u32::from(ip).checked_shl(prefix).unwrap_or(0) == 0),
        Some(IpAddr::V6(ip)) => mask
            .map_or(Some(128), |mask| prefix(mask, 128))
            .is_some_and(|prefix| u128::from(ip).checked_shl(prefix).unwrap_or(0) == 0),
        None => false,
    }
}

/// A length in bits, in digits only; zeros before it are fine.
fn prefix(text: &str, max: u32) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = text.trim_start_matches('0');
    let prefix = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    (prefix <= max).then_some(prefix)
}

/// The length of a mask in dotted form, which may also be inverted.
fn prefix_of_mask(text: &str) -> Option<u32> {
    let mask = u32::from(text.parse::<Ipv4Addr>().ok()?);
    let of = |mask: u32| (mask.leading_ones() + mask.trailing_zeros() >= 32).then(|| mask.leading_ones());
    of(mask).or_else(|| of(!mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Option<&str>| {
            let address = Address::parse(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text:?}");
        };
        check("10.1.2.3", Some("10.1.2.3"));
        check("010.1.2.3", None);
        check("10.1.2", None);
        check("10.1.2.3 ", None);
        check("10.1.2.256", None);
        check("", None);
        check("None", None);
        check("FD00:0:0::1", Some("fd00::1"));
        check("::ffff:1.2.3.4", Some("::ffff:102:304"));
        check("::ffff:0:0", Some("::ffff:0:0"));
        check("::1.2.3.4", Some("::102:304"));
        check("1:0:0:2:0:0:0:3", Some("1:0:0:2::3"));
        check("1:0:2:3:4:5:6:7", Some("1:0:2:3:4:5:6:7"));
        check("1:0:0:2:0:0:3:4", Some("1::2:0:0:3:4"));
        check("::", Some("::"));
        check("fe80::1%eth0", Some("fe80::1%eth0"));
        check("FE80::1%Eth0", Some("fe80::1%Eth0"));
        check("fe80::1%", None);
        check("fe80::1%a%b", None);
        check("fe80::1%a/b", None);
        check("[fd00::1]", None);
        check("1::2:3:4:5:6:7:8", None);
        check("parca", None);
    }

    #[test]
    fn networks() {
        let check = |text: &str, expected: bool| assert_eq!(is_network(text), expected, "{text:?}");
        check("10.1.2.3", true);
        check("10.1.0.0/16", true);
        check("10.1.0.0/016", true);
        check("10.1.2.3/16", false);
        check("10.1.2.3/32", true);
        check("10.1.2.3/33", false);
        check("10.1.0.0/255.255.0.0", true);
        check("10.1.0.0/0.0.255.255", true);
        check("10.1.0.0/255.0.255.0", false);
        check("0.0.0.0/0", true);
        check("0.0.0.0/0.0.0.0", true);
        check("10.0.0.0/", false);
        check("10.0.0.0/8/8", false);
        check("10.0.0.0/+8", false);
        check("fd00::/8", true);
        check("fd00::1/64", false);
        check("fd00::1", true);
        check("fe80::1%eth0", true);
        check("fd00::/255.0.0.0", false);
        check("parca", false);
        check("", false);
    }
}
