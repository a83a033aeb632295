//! How messages of our services are read from the wire: by prost, and by [`Malformed`] once prost has refused one.

use std::marker::PhantomData;

use prost::{
    Message, Name,
    bytes::{Buf as _, Bytes},
};
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf},
};
use tonic_prost::ProstEncoder;

use crate::Malformed;

/// Begins what [`Codec`] says of bytes that are no message: prost's own words, so that this is told in the same way by services
/// that others have generated.
pub const NO_MESSAGE: &str = "failed to decode Protobuf message: ";

/// Decodes a message, or says which of its fields is wrong, and where.
pub fn decode<M: Message + Default + Name>(message: &Bytes) -> Result<M, Malformed> {
    // Fields of bytes are slices of it.
    M::decode(message.clone()).map_err(|error| Malformed::explain(&M::full_name(), message, error))
}

/// The codec of our services and their clients: encodes as tonic's does, and decodes with [`decode`].
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + 'static,
    U: Message + Default + Name + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Decoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Decoder(PhantomData)
    }
}

/// The half of [`Codec`] that decodes.
#[derive(Debug, Clone)]
pub struct Decoder<U>(PhantomData<U>);

impl<U: Message + Default + Name> tonic::codec::Decoder for Decoder<U> {
    type Item = U;
    type Error = Status;

    /// The code is gRPC's for this, which blames the other side of a call; a server knows better.
    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let message = buf.copy_to_bytes(buf.remaining());
        decode(&message).map(Some).map_err(|malformed| Status::internal(format!("{NO_MESSAGE}{malformed}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
