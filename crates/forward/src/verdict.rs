//! What a failed attempt says about its request. Pure.

use std::error::Error as _;

use tonic::{Code, Status};

/// What to do with a request that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The remote store is away, busy, or does not let this process in: none of that is the request's fault.
    Later,
    /// It may be the request or the remote store: tried a few times.
    Doubtful,
    /// It will be refused each time.
    Never,
}

/// Tells by a status.
///
/// A missing or wrong token (`Unauthenticated`) and one that may not write (`PermissionDenied`) keep requests waiting:
/// either is mended at the remote store or in the token's file, and is true of every request alike, so that dropping would
/// lose all of them. Parca has no codes for much of what is wrong with a request (`Unknown`, `Internal`), and gives the same
/// for its own faults; a proxy without a backend answers 404, which gRPC makes `Unimplemented` of.
pub(crate) fn of(status: &Status) -> Verdict {
    match status.code() {
        Code::ResourceExhausted if is_too_large(status.message()) => Verdict::Never,
        Code::Internal if status.message().starts_with(UNREADABLE) => Verdict::Never,
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Cancelled
        | Code::Unauthenticated
        | Code::PermissionDenied => Verdict::Later,
        // The connection broke: what the remote store itself says has no cause here.
        Code::Unknown | Code::Internal if status.source().is_some() => Verdict::Later,
        Code::Unknown | Code::Internal | Code::Unimplemented | Code::DataLoss | Code::Ok => Verdict::Doubtful,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::AlreadyExists => Verdict::Never,
    }
}

/// What gRPC for Go says of a message that is no message of its type, in the words that Parca was recorded to answer with.
const UNREADABLE: &str = "grpc: error unmarshalling request";

/// What gRPC for Go, tonic and Decima say of messages beyond their limit, under the code of a server that is busy.
fn is_too_large(message: &str) -> bool {
    ["larger than max", "too large", "larger than a message may be"]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let check = |code: Code, message: &str, expected: Verdict| {
            assert_eq!(of(&Status::new(code, message)), expected, "{code:?} {message}");
        };
        check(Code::Unavailable, "connection refused", Verdict::Later);
        check(Code::ResourceExhausted, "out of memory for samples", Verdict::Later);
        check(Code::ResourceExhausted, "grpc: received message larger than max (7 vs. 4)", Verdict::Never);
        check(
            Code::ResourceExhausted,
            "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
            Verdict::Never,
        );
        check(Code::DeadlineExceeded, "", Verdict::Later);
        check(Code::Unauthenticated, "no token", Verdict::Later);
        check(Code::PermissionDenied, "the token may only read", Verdict::Later);
        check(Code::InvalidArgument, "invalid profile", Verdict::Never);
        check(Code::Unknown, "invalid profile type at row 3", Verdict::Doubtful);
        check(
            Code::Internal,
            "grpc: error unmarshalling request: string field contains invalid UTF-8",
            Verdict::Never,
        );
        check(Code::Internal, "failed to write: grpc: error unmarshalling request", Verdict::Doubtful);
        check(Code::Unimplemented, "unknown method WriteArrow", Verdict::Doubtful);
    }

    #[test]
    fn a_broken_connection_is_nobodys_fault() {
        let status = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert_eq!((status.code(), of(&status)), (Code::Unknown, Verdict::Later));
    }
}
