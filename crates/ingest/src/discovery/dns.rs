//! Targets from DNS records, asked for as the system's resolver is configured, search list included.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use decima_config::{
    DnsDiscovery, DnsRecord,
    labels::{self, Labels},
};
use hickory_resolver::{
    TokioResolver,
    net::NetError,
    proto::rr::{Name, RData, Record, RecordType},
};

use super::{
    Findings, TargetGroup,
    findings::Groups,
    groups::{ADDRESS, host_port},
};
use crate::error_chain::error_chain;

const NAME: &str = "__meta_dns_name";
const SRV_TARGET: &str = "__meta_dns_srv_record_target";
const SRV_PORT: &str = "__meta_dns_srv_record_port";
const MX_TARGET: &str = "__meta_dns_mx_record_target";
const NS_TARGET: &str = "__meta_dns_ns_record_target";

/// Names that were not answered for.
#[derive(Debug)]
struct DnsError {
    /// The first of them.
    name: String,
    reason: String,
    /// How many others there are.
    more: usize,
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not resolve {:?}: {}", self.name, self.reason)?;
        if self.more > 0 {
            write!(f, " (and {} more names)", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for DnsError {}

/// Asks again and again.
pub(super) async fn run(config: &DnsDiscovery, findings: &Findings) {
    let mut ticks = super::refresh_ticks(config.refresh_interval);
    let mut groups = Groups::new();
    loop {
        ticks.tick().await;
        // The system's configuration may have changed.
        match resolver() {
            Ok(resolver) => match ask(config, &resolver, &mut groups).await {
                Ok(()) => findings.found(groups.clone()),
                Err(error) => findings.found_partly(groups.clone(), &error),
            },
            Err(error) => findings.failed(&error),
        }
    }
}

fn resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    // Whoever asks every 30 s wants to know what is now.
    builder.options_mut().cache_size = 0;
    builder.build()
}

/// Asks for every name. A name that is answered for replaces its group, also by none; others keep theirs.
async fn ask(config: &DnsDiscovery, resolver: &TokioResolver, groups: &mut Groups) -> Result<(), DnsError> {
    let record_type = match config.record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Ns => RecordType::NS,
        DnsRecord::Srv => RecordType::SRV,
    };
    let mut failed: Option<DnsError> = None;
    for name in &config.names {
        let records = match resolver.lookup(name.as_str(), record_type).await {
            Ok(lookup) => lookup.answers().to_vec(),
            // The name does not exist, or has no records of this type: an answer too.
            Err(error) if error.is_no_records_found() && !is_server_failure(&error) => Vec::new(),
            Err(error) => {
                match &mut failed {
                    Some(failed) => failed.more += 1,
                    None => {
                        failed = Some(DnsError { name: name.clone(), reason: error_chain(&error), more: 0 });
                    }
                }
                continue;
            }
        };
        let targets = records.iter().filter_map(|record| target(config, name, record)).collect();
        groups.insert(name.clone(), TargetGroup { targets, labels: Labels::new() });
    }
    failed.map_or(Ok(()), Err)
}

/// Whether an answer without records says that the server could not tell.
fn is_server_failure(error: &NetError) -> bool {
    use hickory_resolver::{
        net::{DnsError, NoRecords},
        proto::op::ResponseCode,
    };
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
            ![ResponseCode::NoError, ResponseCode::NXDomain].contains(response_code)
        }
        _ => true,
    }
}

/// The target of a record; `None` for one of another type, such as the CNAME on the way to an address.
fn target(config: &DnsDiscovery, name: &str, record: &Record) -> Option<Labels> {
    let mut target = BTreeMap::from([(NAME.to_owned(), name.to_owned())]);
    let (host, port) = match (config.record, &record.data) {
        (DnsRecord::A, RData::A(address)) => (IpAddr::V4(address.0).to_string(), config.port),
        (DnsRecord::Aaaa, RData::AAAA(address)) => (IpAddr::V6(address.0).to_string(), config.port),
        (DnsRecord::Srv, RData::SRV(srv)) => {
            labels::set(&mut target, SRV_TARGET, srv.target.to_ascii());
            labels::set(&mut target, SRV_PORT, srv.port.to_string());
            (without_root(&srv.target), srv.port)
        }
        (DnsRecord::Mx, RData::MX(mx)) => {
            labels::set(&mut target, MX_TARGET, mx.exchange.to_ascii());
            (without_root(&mx.exchange), config.port)
        }
        (DnsRecord::Ns, RData::NS(ns)) => {
            labels::set(&mut target, NS_TARGET, ns.0.to_ascii());
            (without_root(&ns.0), config.port)
        }
        _ => return None,
    };
    target.insert(ADDRESS.to_owned(), host_port(&host, port));
    Some(target)
}

/// A name as people write it.
fn without_root(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
