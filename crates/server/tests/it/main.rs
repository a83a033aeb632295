//! The server as clients see it: started in this process on a port of its own, asked over sockets.

mod grpc;
mod grpc_web;
mod harness;
mod life;
mod page;
mod rest;
