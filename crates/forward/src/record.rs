//! What the spool keeps: one request of a sender, in the form in which the remote store takes it.
//!
//! ```text
//! record = method varint #1, sender fixed64 #2, received_ms int64 #3, part bytes #4 …     (protobuf)
//! ```
//! Requests with one message have one part; an exchange of the agent's first schema has two, samples and locations. No I/O,
//! no clock.

use bytes::Bytes;
use prost::Message as _;

/// How a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Pprof with labels: an encoded `WriteRawRequest`.
    WriteRaw,
    /// The agent's first schema: the records of both `WriteRequest`s.
    Write,
    /// The agent's second schema: the stream of a `WriteArrowRequest`.
    WriteArrow,
    /// OTLP: an encoded `ExportProfilesServiceRequest`.
    Export,
}

impl Method {
    const ALL: [Self; 4] = [Self::WriteRaw, Self::Write, Self::WriteArrow, Self::Export];

    /// As metrics and logs show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteRaw => "write_raw",
            Self::Write => "write",
            Self::WriteArrow => "write_arrow",
            Self::Export => "otlp_export",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::WriteRaw => 1,
            Self::Write => 2,
            Self::WriteArrow => 3,
            Self::Export => 4,
        }
    }

    fn parts(self) -> usize {
        if self == Self::Write { 2 } else { 1 }
    }
}

/// A request on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) method: Method,
    /// The same for the same sender: its requests go on in their order.
    pub(crate) sender: u64,
    /// Unix time at which it came.
    pub(crate) received_ms: i64,
    /// As many as the method has.
    pub(crate) parts: Vec<Bytes>,
}

/// Bytes that are no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of the spool")]
pub(crate) struct NoRecord;

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(uint32, tag = "1")]
    method: u32,
    #[prost(fixed64, tag = "2")]
    sender: u64,
    #[prost(int64, tag = "3")]
    received_ms: i64,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    parts: Vec<Bytes>,
}

impl Record {
    pub(crate) fn encode(self) -> Bytes {
        let Self { method, sender, received_ms, parts } = self;
        Wire { method: method.number(), sender, received_ms, parts }.encode_to_vec().into()
    }

    /// Reads a record; its parts are slices of `bytes`.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, NoRecord> {
        let Wire { method, sender, received_ms, parts } = Wire::decode(bytes).map_err(|_| NoRecord)?;
        let method = Method::ALL.into_iter().find(|known| known.number() == method).ok_or(NoRecord)?;
        if parts.len() != method.parts() {
            return Err(NoRecord);
        }
        Ok(Self { method, sender, received_ms, parts })
    }

    /// Bytes of its parts.
    pub(crate) fn size_bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(method in 0..Method::ALL.len(), sender: u64, received_ms: i64, bytes: Vec<u8>, more: Vec<u8>) {
            let method = Method::ALL[method];
            let mut parts = vec![Bytes::from(bytes), Bytes::from(more)];
            parts.truncate(method.parts());
            let record = Record { method, sender, received_ms, parts };
            prop_assert_eq!(Record::decode(record.clone().encode()), Ok(record));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let _ = Record::decode(bytes.into());
        }
    }

    #[test]
    fn numbers_are_the_format() {
        let numbers: Vec<_> =
            Method::ALL.into_iter().map(|method| (method.number(), method.name())).collect();
        assert_eq!(numbers, [(1, "write_raw"), (2, "write"), (3, "write_arrow"), (4, "otlp_export")]);
    }

    #[test]
    fn parts_must_be_as_many_as_the_method_has() {
        let wire =
            |method, parts: usize| Wire { method, parts: vec![Bytes::new(); parts], ..Wire::default() };
        for (method, parts, good) in [(1, 1, true), (1, 2, false), (2, 2, true), (2, 1, false), (9, 1, false)]
        {
            let decoded = Record::decode(wire(method, parts).encode_to_vec().into());
            assert_eq!(decoded.is_ok(), good, "{method} {parts}");
        }
    }
}
