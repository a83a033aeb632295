//! The server as clients see it: started in this process on a port of its own, asked over sockets.

// `cfg(test)` tells clippy that these may unwrap.
#[cfg(test)]
mod debuginfo;
#[cfg(test)]
mod forward;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod grpc_web;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod life;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod page;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod senders;
#[cfg(test)]
mod stalled;
