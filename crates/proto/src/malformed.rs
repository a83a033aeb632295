//! Says what is wrong with a message of which only *that* something is wrong is known: prost names neither byte nor, mostly,
//! field.
//!
//! This walks the message by its descriptor as prost reads it, until it meets the first fault. It runs at most once per
//! refused message, holds nothing of it, and goes no deeper than prost does.

use std::sync::LazyLock;

use prost::{DecodeError, encoding::WireType};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

/// Messages inside one another, as many as prost reads.
const DEPTH_MAX: usize = 100;

static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(crate::DESCRIPTORS).ok());

/// A message that is none of its kind.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// Something in it is wrong.
    #[error("{field}: {reason} at byte {offset}")]
    At {
        /// The message's name and the path of the field in it, such as `QueryRequest.merge.start.seconds`; the path of a
        /// message if none of its fields can be told.
        field: String,
        /// What is wrong.
        reason: Reason,
        /// Where in the message's bytes.
        offset: usize,
    },
    /// Nothing was found that is wrong, though something is.
    #[error("{message}: {error}")]
    Unexplained {
        /// The message's name.
        message: String,
        /// What prost says.
        error: DecodeError,
    },
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A value or the contents of a field reach beyond the end of the message around it.
    #[error("cut short")]
    CutShort,
    /// A varint has more than 64 bits.
    #[error("varint of more than 64 bits")]
    VarintTooLong,
    /// A tag has the field number 0 or one above 2^29 - 1.
    #[error("impossible field number")]
    FieldNumber,
    /// The wire type is none of those that there are.
    #[error("unknown wire type")]
    UnknownWireType,
    /// A known field has another wire type than the schema says.
    #[error("wrong wire type")]
    WrongWireType,
    /// A group ends that has not begun.
    #[error("end of another group")]
    GroupEnd,
    /// Text is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// There is too much inside one another.
    #[error("nested too deeply")]
    TooDeep,
}

impl Malformed {
    /// What is wrong with the bytes of a message that prost has refused.
    #[cold]
    pub(crate) fn explain(message: &str, bytes: &[u8], error: DecodeError) -> Self {
        let descriptor = POOL.as_ref().and_then(|pool| pool.get_message_by_name(message));
        descriptor.and_then(|descriptor| first_fault(&descriptor, bytes)).unwrap_or_else(|| {
            let name = message.rsplit('.').next().unwrap_or(message);
            Self::Unexplained { message: name.to_owned(), error }
        })
    }
}

/// The first fault of a message.
fn first_fault(descriptor: &MessageDescriptor, bytes: &[u8]) -> Option<Malformed> {
    let mut walk = Walk { bytes, at: 0, path: vec![descriptor.name().to_owned()] };
    let (reason, offset) = walk.message(descriptor, bytes.len(), 0).err()?;
    Some(Malformed::At { field: walk.path.join("."), reason, offset })
}

type Fault = (Reason, usize);

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// From the outside in; what is wrong is in the last one.
    path: Vec<String>,
}

impl Walk<'_> {
    /// The fields up to `end`, which is not behind the end of the bytes.
    fn message(&mut self, descriptor: &MessageDescriptor, end: usize, depth: usize) -> Result<(), Fault> {
        // How often each field was seen.
        let mut seen: Vec<(u32, usize)> = Vec::new();
        while self.at < end {
            let start = self.at;
            let (number, wire_type) = self.key(end)?;
            let Some(field) = descriptor.get_field(number) else {
                self.skip(wire_type, number, start, end, depth)?;
                continue;
            };
            let index = match seen.iter_mut().find(|(known, _)| *known == number) {
                Some((_, count)) => {
                    *count += 1;
                    *count
                }
                None => {
                    seen.push((number, 0));
                    0
                }
            };
            let is_repeated = field.is_list() || field.is_map();
            self.path.push(if is_repeated {
                format!("{}[{index}]", field.name())
            } else {
                field.name().to_owned()
            });
            self.value(&field, wire_type, start, end, depth)?;
            self.path.pop();
        }
        Ok(())
    }

    fn value(
        &mut self,
        field: &FieldDescriptor,
        wire_type: WireType,
        start: usize,
        end: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        let kind = field.kind();
        let own = kind.wire_type();
        if wire_type != own {
            let is_packed = field.is_list() && wire_type == WireType::LengthDelimited;
            if !is_packed {
                return Err((Reason::WrongWireType, start));
            }
            let packed_end = self.length(end)?;
            while self.at < packed_end {
                self.number(own, packed_end)?;
            }
            return Ok(());
        }
        if wire_type != WireType::LengthDelimited {
            return self.number(own, end);
        }
        let value_start = self.at;
        if matches!(kind, Kind::Message(_)) && depth == DEPTH_MAX {
            return Err((Reason::TooDeep, value_start));
        }
        let value_end = self.length(end)?;
        match &kind {
            Kind::Message(descriptor) => self.message(descriptor, value_end, depth + 1)?,
            Kind::String => {
                let text = self.bytes.get(self.at..value_end).unwrap_or_default();
                if let Err(error) = std::str::from_utf8(text) {
                    return Err((Reason::NotUtf8, self.at + error.valid_up_to()));
                }
            }
            _ => {}
        }
        self.at = value_end;
        Ok(())
    }

    /// The number and the wire type of the next field.
    fn key(&mut self, end: usize) -> Result<(u32, WireType), Fault> {
        let start = self.at;
        let key = self.varint(end)?;
        let key = u32::try_from(key).map_err(|_| (Reason::FieldNumber, start))?;
        let wire_type =
            WireType::try_from(u64::from(key & 7)).map_err(|_| (Reason::UnknownWireType, start))?;
        if key >> 3 == 0 {
            return Err((Reason::FieldNumber, start));
        }
        Ok((key >> 3, wire_type))
    }

    fn varint(&mut self, end: usize) -> Result<u64, Fault> {
        let start = self.at;
        let mut value = 0u64;
        for (i, &byte) in self.bytes.get(start..end).unwrap_or_default().iter().enumerate() {
            if i == 9 && byte > 1 {
                return Err((Reason::VarintTooLong, start));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.at = start + i + 1;
                return Ok(value);
            }
        }
        Err((Reason::CutShort, start))
    }

    /// Where what has its length here ends.
    fn length(&mut self, end: usize) -> Result<usize, Fault> {
        let len = self.varint(end)?;
        match usize::try_from(len) {
            Ok(len) if len <= end - self.at => Ok(self.at + len),
            _ => Err((Reason::CutShort, self.at)),
        }
    }

    /// A value of a wire type that has no length before it.
    fn number(&mut self, wire_type: WireType, end: usize) -> Result<(), Fault> {
        let width = match wire_type {
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            _ => return self.varint(end).map(|_| ()),
        };
        if width > end - self.at {
            return Err((Reason::CutShort, self.at));
        }
        self.at += width;
        Ok(())
    }

    /// A field that the descriptor does not have; `start` is where its key is.
    fn skip(
        &mut self,
        wire_type: WireType,
        number: u32,
        start: usize,
        end: usize,
        depth: usize,
    ) -> Result<(), Fault> {
        if depth == DEPTH_MAX {
            return Err((Reason::TooDeep, start));
        }
        match wire_type {
            WireType::LengthDelimited => self.at = self.length(end)?,
            WireType::EndGroup => return Err((Reason::GroupEnd, start)),
            WireType::StartGroup => loop {
                let start = self.at;
                match self.key(end)? {
                    (inner, WireType::EndGroup) if inner == number => break,
                    (_, WireType::EndGroup) => return Err((Reason::GroupEnd, start)),
                    (inner, wire_type) => self.skip(wire_type, inner, start, end, depth + 1)?,
                }
            },
            _ => self.number(wire_type, end)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::{Message, Name, bytes::Bytes};

    use crate::{
        decode,
        parca::{
            debuginfo::v1alpha1::{
                DebuginfoType, InitiateUploadRequest, ShouldInitiateUploadRequest, UploadInfo, UploadRequest,
                upload_request::Data,
            },
            profilestore::v1alpha1::{AgentsResponse, RawProfileSeries, WriteArrowRequest, WriteRequest},
            query::v1alpha1::{Filter, MergeProfile, QueryRequest, QueryResponse, query_request::Options},
        },
    };

    fn check<M: Message + Default + Name>(bytes: &[u8], expected: &str) {
        let malformed = decode::<M>(&Bytes::copy_from_slice(bytes)).err().unwrap();
        assert_eq!(malformed.to_string(), expected);
    }

    #[test]
    fn faults_have_their_field_and_their_byte() {
        check::<WriteArrowRequest>(&[0x0a, 5, 1], "WriteArrowRequest.ipc_buffer: cut short at byte 2");
        check::<WriteArrowRequest>(&[0x0a], "WriteArrowRequest.ipc_buffer: cut short at byte 1");
        check::<WriteArrowRequest>(&[0x08, 5], "WriteArrowRequest.ipc_buffer: wrong wire type at byte 0");
        check::<WriteArrowRequest>(
            &[0x0a, 0, 0x0b],
            "WriteArrowRequest.ipc_buffer: wrong wire type at byte 2",
        );
        check::<WriteArrowRequest>(&[0x0a, 0, 0x14], "WriteArrowRequest: end of another group at byte 2");
        check::<WriteArrowRequest>(
            &[0x13, 0x08, 1, 0x1c],
            "WriteArrowRequest: end of another group at byte 3",
        );
        check::<WriteArrowRequest>(&[0x13, 0x08], "WriteArrowRequest: cut short at byte 2");
        check::<WriteRequest>(&[0x0a, 0, 0x02, 0], "WriteRequest: impossible field number at byte 2");
        check::<WriteRequest>(&[0x0f], "WriteRequest: unknown wire type at byte 0");
        check::<WriteRequest>(&[0xff; 11], "WriteRequest: varint of more than 64 bits at byte 0");
        check::<WriteRequest>(&[0x13; 101], "WriteRequest: nested too deeply at byte 100");
        let size = [&[0x10][..], &[0xff; 11]].concat();
        let words = "InitiateUploadRequest.size: varint of more than 64 bits at byte 1";
        check::<InitiateUploadRequest>(&size, words);
        let words = "ShouldInitiateUploadRequest.build_id: not UTF-8 at byte 3";
        check::<ShouldInitiateUploadRequest>(&[0x0a, 2, b'a', 0xff], words);
        let info = [0x0a, 6, 0x0a, 1, b'a', 0x12, 1, 0xfe];
        check::<UploadRequest>(&info, "UploadRequest.info.upload_id: not UTF-8 at byte 7");
        check::<UploadRequest>(&[0x0a, 3, 0x0a, 5, b'a'], "UploadRequest.info.build_id: cut short at byte 4");
        let labels = [0x0a, 7, 0x0a, 0, 0x0a, 3, 0x12, 1, 0xff];
        check::<RawProfileSeries>(&labels, "RawProfileSeries.labels.labels[1].value: not UTF-8 at byte 8");
    }

    fn samples() -> Vec<Vec<u8>> {
        let upload = |data| UploadRequest { data: Some(data) }.encode_to_vec();
        let info = UploadInfo {
            build_id: "abcd".to_owned(),
            upload_id: "ü".to_owned(),
            r#type: DebuginfoType::Sources as i32,
        };
        let query = QueryRequest {
            options: Some(Options::Merge(MergeProfile {
                query: "cpu{}".to_owned(),
                start: Some(prost_types::Timestamp { seconds: 300, nanos: 7 }),
                end: None,
            })),
            filter: vec![Filter::default(); 3],
            group_by: Some(Default::default()),
            node_trim_threshold: Some(0.5),
            ..QueryRequest::default()
        };
        vec![
            upload(Data::Info(info)),
            upload(Data::ChunkData(vec![1, 2, 3].into())),
            query.encode_to_vec(),
            InitiateUploadRequest { build_id: "b".to_owned(), size: 1 << 40, ..Default::default() }
                .encode_to_vec(),
        ]
    }

    /// Whether a fault is found in exactly what prost refuses.
    fn agrees<M: Message + Default + Name>(bytes: &[u8]) {
        let descriptor = super::POOL.as_ref().unwrap().get_message_by_name(&M::full_name()).unwrap();
        let fault = super::first_fault(&descriptor, bytes);
        assert_eq!(fault.is_some(), M::decode(bytes).is_err(), "{} {bytes:x?}: {fault:?}", M::full_name());
    }

    fn all_agree(bytes: &[u8]) {
        agrees::<UploadRequest>(bytes);
        agrees::<InitiateUploadRequest>(bytes);
        agrees::<QueryRequest>(bytes);
        agrees::<QueryResponse>(bytes);
        agrees::<RawProfileSeries>(bytes);
        agrees::<AgentsResponse>(bytes);
    }

    #[test]
    fn prefixes_of_messages() {
        for bytes in samples() {
            (0..=bytes.len()).for_each(|end| all_agree(&bytes[..end]));
        }
    }

    proptest! {
        #[test]
        fn a_fault_is_found_in_what_prost_refuses(
            sample in prop::sample::select(samples()),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = sample;
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            all_agree(&bytes);
        }

        #[test]
        fn and_in_any_bytes(bytes in prop::collection::vec(prop_oneof![0u8..0x40, any::<u8>()], 0..40)) {
            all_agree(&bytes);
        }
    }
}
