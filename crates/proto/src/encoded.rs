//! Messages that are not read where they arrive.

use prost::{
    DecodeError, Message, Name,
    bytes::{Buf, BufMut, Bytes},
    encoding::{self, DecodeContext, WireType, skip_field},
};

use crate::parca::profilestore::v1alpha1::WriteRawRequest;

/// A message as it came: nothing of it is read. For requests with lists, of which two bytes on the wire are a hundred in
/// memory once they are taken apart: who takes them apart counts first, repairs text, knows more than one layout, or hands
/// them on byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded(pub Bytes);

impl Message for Encoded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    /// The whole at once. Of two that are merged the bytes of one follow those of the other, which is what merging means.
    fn merge(&mut self, mut buf: impl Buf) -> Result<(), DecodeError> {
        let rest = buf.copy_to_bytes(buf.remaining());
        self.0 = if self.0.is_empty() { rest } else { [&*self.0, &*rest].concat().into() };
        Ok(())
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        // Not called for a message by itself: only inside another one do fields come one by one.
        let mut whole = self.0.to_vec();
        match wire_type {
            WireType::Varint => {
                let mut number = 0;
                encoding::uint64::merge(wire_type, &mut number, buf, ctx)?;
                encoding::uint64::encode(tag, &number, &mut whole);
            }
            WireType::SixtyFourBit => {
                let mut number = 0;
                encoding::fixed64::merge(wire_type, &mut number, buf, ctx)?;
                encoding::fixed64::encode(tag, &number, &mut whole);
            }
            WireType::ThirtyTwoBit => {
                let mut number = 0;
                encoding::fixed32::merge(wire_type, &mut number, buf, ctx)?;
                encoding::fixed32::encode(tag, &number, &mut whole);
            }
            WireType::LengthDelimited => {
                let mut content = Bytes::new();
                encoding::bytes::merge(wire_type, &mut content, buf, ctx)?;
                encoding::bytes::encode(tag, &content, &mut whole);
            }
            // Nobody writes groups any more.
            WireType::StartGroup | WireType::EndGroup => skip_field(wire_type, tag, buf, ctx)?,
        }
        self.0 = whole.into();
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Stands for messages of several names.
impl Name for Encoded {
    const NAME: &'static str = "Encoded";
    const PACKAGE: &'static str = "";
}

impl From<WriteRawRequest> for Encoded {
    fn from(request: WriteRawRequest) -> Self {
        Self(request.encode_to_vec().into())
    }
}

impl tonic::IntoRequest<Encoded> for WriteRawRequest {
    fn into_request(self) -> tonic::Request<Encoded> {
        tonic::Request::new(self.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        let request =
            WriteRawRequest { tenant: "a".to_owned(), normalized: true, ..WriteRawRequest::default() };
        // Not what an encoder would write: an empty field, and one that nobody knows.
        let mut bytes = request.encode_to_vec();
        bytes.extend_from_slice(&[0x0a, 0, 0x7a, 1, 0xff]);
        let encoded = Encoded::decode(&*bytes).unwrap();
        assert_eq!((encoded.encode_to_vec(), encoded.encoded_len()), (bytes.clone(), bytes.len()));
        assert_eq!(
            Encoded::decode(&[0xff_u8][..]).unwrap().0,
            [0xff_u8][..],
            "not even wrong bytes are read"
        );
    }

    #[test]
    fn merged_inside_another_message() {
        let request =
            WriteRawRequest { tenant: "a".to_owned(), normalized: true, ..WriteRawRequest::default() };
        let mut encoded = Encoded::default();
        encoded.merge_length_delimited(&*request.encode_length_delimited_to_vec()).unwrap();
        assert_eq!(encoded, request.into());
    }
}
