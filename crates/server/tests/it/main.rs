//! The server as clients see it: started in this process on a port of its own, asked over sockets.

mod harness;
