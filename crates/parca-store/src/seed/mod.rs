//! What Python and its `ops` framework make of a text or an answer, where the relation's first library lets that be seen.
//!
//! Pure: texts in, texts out. The rules are those of Python 3.11 and ops 3.9, with which the recorded results of
//! `tests/differential` were made.

pub(crate) mod ip;
pub(crate) mod network;
pub(crate) mod url;
