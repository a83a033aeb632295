//! The one place where a failure becomes a status: [`ErrorKind`] → gRPC code → HTTP status.

use std::error::Error;

use axum::response::{IntoResponse, Response};
use decima_base::ErrorKind;
use decima_debuginfo::DebuginfoError;
use decima_forward::{ForwardError, UploadError};
use decima_ingest::push::{PushError, Refusal};
use decima_query::QueryError;
use http::{StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};

/// gRPC's code for a kind of failure.
pub(crate) fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
    }
}

/// HTTP's status for a gRPC code, as gRPC-Gateway maps them.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // 499, "client closed request", has no name in the registry.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// gRPC's name of a code, as metrics show it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// The status of a query that was not answered. Logs what is our own fault.
pub(crate) fn of_query(error: &QueryError) -> Status {
    of(error.kind(), error)
}

/// The status of a write that was refused. Logs what is our own fault.
pub(crate) fn of_push(error: &PushError) -> Status {
    of(error.kind(), error)
}

/// How the codec begins to say that bytes are no message, which it calls a fault of our own. The first is left out of what is
/// told, which names message, field and byte.
const NO_MESSAGE: [&str; 5] = [
    decima_proto::NO_MESSAGE,
    "Error decompressing",
    "Unexpected EOF decoding stream",
    "protocol error: received message",
    "Missing request message",
];
/// How it says that a message is too large.
const TOO_LARGE: [&str; 2] = ["Error, decoded message length too large", "Error decompressing: size limit"];

/// What the codec says of a message, as everybody else says it, with the kind of mistake; `None` if it is not the codec that
/// speaks.
pub(crate) fn of_codec(status: &Status) -> Option<(Refusal, Status)> {
    let begins = |texts: &[&str]| texts.iter().any(|text| status.message().starts_with(text));
    let (reason, code) = match status.code() {
        Code::OutOfRange | Code::ResourceExhausted if begins(&TOO_LARGE) => {
            (Refusal::TooLarge, Code::ResourceExhausted)
        }
        Code::Internal if begins(&NO_MESSAGE) => (Refusal::Malformed, Code::InvalidArgument),
        _ => return None,
    };
    let message = status.message();
    let message = message.strip_prefix(decima_proto::NO_MESSAGE).unwrap_or(message);
    Some((reason, Status::new(code, shortened(message.to_owned()))))
}

/// The status of a step of an upload that was refused, with the codes that Parca's senders look for.
pub(crate) fn of_debuginfo(error: &DebuginfoError) -> Status {
    match error {
        DebuginfoError::NotWanted { .. } | DebuginfoError::NotInitiated | DebuginfoError::NothingUploaded => {
            Status::failed_precondition(error.to_string())
        }
        DebuginfoError::SameInvalid { .. } => Status::already_exists(error.to_string()),
        _ => of(error.kind(), error),
    }
}

/// The status of a write that is not sent on. Logs what is our own fault.
pub(crate) fn of_forward(error: &ForwardError) -> Status {
    of(error.kind(), error)
}

/// The status of a step of an upload into a spool that was refused.
pub(crate) fn of_upload(error: &UploadError) -> Status {
    match error {
        UploadError::Refused(error) => of_debuginfo(error),
        // The code upon which agents begin anew in five minutes.
        UploadError::NoRoom { .. } => Status::failed_precondition(error.to_string()),
        UploadError::Field { .. } | UploadError::Size { .. } => of(ErrorKind::InvalidArgument, error),
        UploadError::Write(_) => of(ErrorKind::Unavailable, error),
        UploadError::Remote(status) => status.clone(),
    }
}

/// The status of a request that waited or worked for too long.
pub(crate) fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the request took longer than its deadline")
}

fn of(kind: ErrorKind, error: &(dyn Error + 'static)) -> Status {
    match kind {
        ErrorKind::Internal => {
            tracing::error!(error = %chain(error), "a request failed");
            return Status::internal("internal error; the server's log says more");
        }
        ErrorKind::Corrupt | ErrorKind::Unavailable => {
            tracing::warn!(error = %chain(error), "a request failed");
        }
        _ => {}
    }
    Status::new(code(kind), shortened(error.to_string()))
}

/// Messages go into headers, which clients bound; some quote what they were given.
const MESSAGE_BYTES_MAX: usize = 2048;

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The body of a REST answer that failed.
#[derive(Serialize)]
struct Failure<'a> {
    code: i32,
    message: &'a str,
    details: [(); 0],
}

/// A status as the answer of the REST gateway.
pub(crate) fn to_rest(status: &Status) -> Response {
    let failure = Failure { code: status.code() as i32, message: status.message(), details: [] };
    let body = serde_json::to_vec(&failure).unwrap_or_default();
    (http_status(status.code()), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_codes_and_http() {
        let check = |kind: ErrorKind, expected: (Code, u16)| {
            let code = code(kind);
            assert_eq!((code, http_status(code).as_u16()), expected);
        };
        check(ErrorKind::NotFound, (Code::NotFound, 404));
        check(ErrorKind::InvalidArgument, (Code::InvalidArgument, 400));
        check(ErrorKind::Conflict, (Code::Aborted, 409));
        check(ErrorKind::ResourceExhausted, (Code::ResourceExhausted, 429));
        check(ErrorKind::Unavailable, (Code::Unavailable, 503));
        check(ErrorKind::DeadlineExceeded, (Code::DeadlineExceeded, 504));
        check(ErrorKind::Corrupt, (Code::DataLoss, 500));
        check(ErrorKind::Unimplemented, (Code::Unimplemented, 501));
        check(ErrorKind::Internal, (Code::Internal, 500));
    }

    #[test]
    fn internal_messages_stay_inside() {
        let status = of_query(&QueryError::Internal { message: "node 7 of tree 3".to_owned() });
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("tree"));
    }

    #[test]
    fn words_of_the_codec() {
        let check = |status: Status, expected: Option<(Refusal, Code)>| {
            let got = of_codec(&status).map(|(reason, status)| (reason, status.code()));
            assert_eq!(got, expected, "{status:?}");
        };
        let no_message = prost::bytes::Bytes::from_static(&[7]);
        let error = <prost_types::Timestamp as prost::Message>::decode(no_message).unwrap_err();
        check(Status::internal(error.to_string()), Some((Refusal::Malformed, Code::InvalidArgument)));
        let told =
            of_codec(&Status::internal(format!("{}X.y: cut short at byte 1", decima_proto::NO_MESSAGE)));
        assert_eq!(told.unwrap().1.message(), "X.y: cut short at byte 1");
        check(
            Status::out_of_range(
                "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes",
            ),
            Some((Refusal::TooLarge, Code::ResourceExhausted)),
        );
        check(Status::internal("internal error; the server's log says more"), None);
        check(Status::resource_exhausted("out of memory"), None);
        check(Status::invalid_argument("failed to decode Protobuf message"), None);
    }

    #[test]
    fn messages_fit_headers() {
        let message = "ü".repeat(5000);
        let status = of_query(&QueryError::InvalidArgument { message });
        assert_eq!(status.message().chars().count(), 1025);
        assert!(status.message().ends_with("ü…"));
    }
}
