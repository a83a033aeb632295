//! Ports that the model opens towards this application.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::{HookTools, ToolError};
use crate::names::NameError;

/// A port, or a range of ports, of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    protocol: Protocol,
    first: u16,
    last: u16,
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo; it has no port, and 0 stands in its place.
    Icmp,
}

impl Port {
    /// One TCP port.
    pub const fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, first: port, last: port }
    }

    /// One UDP port.
    pub const fn udp(port: u16) -> Self {
        Self { protocol: Protocol::Udp, first: port, last: port }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => return f.write_str("icmp"),
        };
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}/{protocol}"),
            (first, last) => write!(f, "{first}-{last}/{protocol}"),
        }
    }
}

impl FromStr for Port {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let port = || {
            if text == "icmp" {
                return Some(Self { protocol: Protocol::Icmp, first: 0, last: 0 });
            }
            let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                _ => return None,
            };
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(Self { protocol, first: first.parse().ok()?, last: last.parse().ok()? })
        };
        port().filter(|port| port.first <= port.last).ok_or_else(|| NameError {
            text: text.chars().take(64).collect(),
            expected: "a port (number/protocol)",
        })
    }
}

impl HookTools {
    /// What is open; what this hook opened or closed does not count yet.
    pub fn opened_ports(&self) -> Result<BTreeSet<Port>, ToolError> {
        const TOOL: &str = "opened-ports";
        let ports: Option<Vec<String>> = self.ask(TOOL, &["--format=json"])?;
        let ports = ports.unwrap_or_default();
        ports
            .iter()
            .map(|port| port.parse().map_err(|source| ToolError::Name { tool: TOOL, source }))
            .collect()
    }

    /// Opens a port when the hook ends.
    pub fn open_port(&self, port: Port) -> Result<(), ToolError> {
        self.tell("open-port", &[&port.to_string()])
    }

    /// Closes a port when the hook ends.
    pub fn close_port(&self, port: Port) -> Result<(), ToolError> {
        self.tell("close-port", &[&port.to_string()])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::expecting;
    use super::*;

    #[test]
    fn text_form() {
        let check = |text: &str, expected: Option<&str>| {
            let port = text.parse::<Port>().ok().map(|port| port.to_string());
            assert_eq!(port.as_deref(), expected, "{text}");
        };
        check("7994/tcp", Some("7994/tcp"));
        check("7994", Some("7994/tcp"));
        check("100-200/udp", Some("100-200/udp"));
        check("icmp", Some("icmp"));
        check("200-100/udp", None);
        check("70000/tcp", None);
        check("1/sctp", None);
        check("", None);
    }

    #[test]
    fn opening() {
        let tools = expecting("opened-ports --format=json", "", "[\"7993/tcp\",\"7994/tcp\"]");
        assert_eq!(tools.opened_ports().unwrap(), BTreeSet::from([Port::tcp(7993), Port::tcp(7994)]));
        expecting("open-port 7994/tcp", "", "").open_port(Port::tcp(7994)).unwrap();
        expecting("close-port 7994/udp", "", "").close_port(Port::udp(7994)).unwrap();
    }
}
