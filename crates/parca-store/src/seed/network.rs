//! The bind address of a binding, as ops reads it from what `network-get` answers.

use serde_json::Value;

use super::ip::{self, Address};

/// ops raises an error on this answer, and the hook fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// A part of the answer has another type than ops iterates over or reads from.
    #[error("network-get: {part} has another shape")]
    Shape {
        /// Which part.
        part: &'static str,
    },
    /// A text is not a network, or has bits outside of it.
    #[error("network-get: {text:?} does not appear to be an IPv4 or IPv6 network")]
    NotNetwork {
        /// The text.
        text: String,
    },
}

/// The first address of the first interface that has one, if it is an IP address.
///
/// Every address and every egress subnet is read, as ops does: one that cannot be read fails the whole.
pub(crate) fn bind_address(network: &Value) -> Result<Option<Address>, NetworkError> {
    let Value::Object(network) = network else { return Err(NetworkError::Shape { part: "the answer" }) };
    let mut first = None;
    for interface in list(network.get("bind-addresses"), "bind-addresses")? {
        let Value::Object(interface) = interface else {
            return Err(NetworkError::Shape { part: "an entry of bind-addresses" });
        };
        let addresses = interface.get("addresses").filter(|addresses| is_truthy(addresses));
        for address in list(addresses, "addresses")? {
            let address = read_address(address)?;
            first.get_or_insert(address);
        }
    }
    list(network.get("ingress-addresses"), "ingress-addresses")?;
    for subnet in list(network.get("egress-subnets"), "egress-subnets")? {
        check_network(subnet, "an egress subnet")?;
    }
    Ok(first.flatten())
}

/// An entry of `addresses`: its address if it is an IP address, after the checks of its subnet.
fn read_address(entry: &Value) -> Result<Option<Address>, NetworkError> {
    let Value::Object(entry) = entry else {
        return Err(NetworkError::Shape { part: "an entry of addresses" });
    };
    let value = entry.get("value").or_else(|| entry.get("address")).filter(|value| is_truthy(value));
    match entry.get("cidr").filter(|cidr| is_truthy(cidr)) {
        Some(cidr) => check_network(cidr, "cidr")?,
        None => value.map_or(Ok(()), |value| check_network(value, "value"))?,
    }
    Ok(value.and_then(Value::as_str).and_then(Address::parse))
}

fn check_network(value: &Value, part: &'static str) -> Result<(), NetworkError> {
    match value {
        Value::String(text) if ip::is_network(text) => Ok(()),
        Value::String(text) => Err(NetworkError::NotNetwork { text: text.clone() }),
        _ => Err(NetworkError::Shape { part }),
    }
}

/// What Python would iterate over; absent counts as empty, null does not.
fn list<'a>(value: Option<&'a Value>, part: &'static str) -> Result<&'a [Value], NetworkError> {
    match value {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(NetworkError::Shape { part }),
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Result<Option<String>, NetworkError> {
        let network = serde_json::from_str(answer).unwrap();
        bind_address(&network).map(|address| address.map(|address| address.to_string()))
    }

    #[test]
    fn the_first_address() {
        let check = |answer: &str, expected: Option<&str>| {
            assert_eq!(read(answer).unwrap().as_deref(), expected, "{answer}");
        };
        check(
            r#"{"bind-addresses":[{"addresses":[{"value":"10.1.2.3","cidr":"10.1.0.0/16"}]}]}"#,
            Some("10.1.2.3"),
        );
        check(
            r#"{"bind-addresses":[{"addresses":[]},{"addresses":[{"value":"FD00::1"}]}]}"#,
            Some("fd00::1"),
        );
        check(r#"{"bind-addresses":[{"addresses":[{"value":""},{"value":"10.0.0.1"}]}]}"#, None);
        check(r#"{"bind-addresses":[{"addresses":[{"address":"10.0.0.1"}]}]}"#, Some("10.0.0.1"));
        check(r#"{"bind-addresses":[{"addresses":[{"value":null,"address":"10.0.0.1"}]}]}"#, None);
        check(r#"{"bind-addresses":[{"addresses":[{"value":"parca","cidr":"10.0.0.0/8"}]}]}"#, None);
        for nothing in [
            "{}",
            r#"{"bind-addresses":[]}"#,
            r#"{"bind-addresses":[{}]}"#,
            r#"{"bind-addresses":[{"addresses":null}]}"#,
            r#"{"bind-addresses":[{"addresses":[{}]}]}"#,
        ] {
            check(nothing, None);
        }
    }

    #[test]
    fn what_ops_refuses() {
        let shape =
            |answer: &str| assert!(matches!(read(answer), Err(NetworkError::Shape { .. })), "{answer}");
        shape("null");
        shape(r#"{"bind-addresses":null}"#);
        shape(r#"{"egress-subnets":null}"#);
        shape(r#"{"ingress-addresses":null}"#);
        shape(r#"{"bind-addresses":["x"]}"#);
        let network = |answer: &str, text: &str| {
            assert_eq!(read(answer), Err(NetworkError::NotNetwork { text: text.to_owned() }));
        };
        network(r#"{"bind-addresses":[{"addresses":[{"value":"parca"}]}]}"#, "parca");
        network(
            r#"{"bind-addresses":[{"addresses":[{"value":"10.1.2.3","cidr":"10.1.2.3/16"}]}]}"#,
            "10.1.2.3/16",
        );
        network(r#"{"bind-addresses":[{"addresses":[{"value":"10.1.2.3"},{"value":"x"}]}]}"#, "x");
        network(
            r#"{"bind-addresses":[{"addresses":[{"value":"10.1.2.3"}]}],"egress-subnets":["10.1.2.3/8"]}"#,
            "10.1.2.3/8",
        );
    }
}
