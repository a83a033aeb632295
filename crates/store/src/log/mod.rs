//! The log: what makes an acknowledgement true before the head is flushed.
//!
//! A sequence of immutable objects `log/<epoch>/<seq>`, each what one group of requests added to the head ([`codec`]).
//! An object is put create-if-absent, so that two processes can never both write one position; recovery reads from
//! the manifest's floor to the first gap.

pub mod codec;
pub(crate) mod columns;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod replay;
pub(crate) mod varint;
