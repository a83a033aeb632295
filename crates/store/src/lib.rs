//! Here is a batch of samples, it is durable when you get your answer; here is a snapshot of everything acknowledged.
//!
//! Start at [`Store`]. Reading is [`source`].

pub mod error;
pub mod source;
pub mod store;

pub use error::{AppendError, OpenError, ReadError};
pub use store::{Appended, Settings, Store};
