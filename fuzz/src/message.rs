//! A target for messages of our services, as their codec reads them.

use decima_proto::{
    Malformed,
    parca::{
        debuginfo::v1alpha1::{
            InitiateUploadRequest, MarkUploadFinishedRequest, ShouldInitiateUploadRequest, UploadRequest,
        },
        profilestore::v1alpha1::{WriteArrowRequest, WriteRequest},
        query::v1alpha1::{LabelsRequest, QueryRangeRequest, QueryRequest},
    },
};
use prost::{Message, Name, bytes::Bytes};

/// The number of a kind of message, then the message: what prost refuses has a place that is in it.
pub fn message(input: &[u8]) {
    let Some((&kind, message)) = input.split_first() else { return };
    let check = match kind {
        0 => check::<WriteArrowRequest>,
        1 => check::<WriteRequest>,
        2 => check::<UploadRequest>,
        3 => check::<InitiateUploadRequest>,
        4 => check::<ShouldInitiateUploadRequest>,
        5 => check::<MarkUploadFinishedRequest>,
        6 => check::<QueryRequest>,
        7 => check::<QueryRangeRequest>,
        8 => check::<LabelsRequest>,
        _ => return,
    };
    check(message);
}

fn check<M: Message + Default + Name>(message: &[u8]) {
    let read = decima_proto::decode::<M>(&Bytes::copy_from_slice(message));
    assert_eq!(read.is_ok(), M::decode(message).is_ok());
    let Err(malformed) = read else { return };
    let is_placed = match &malformed {
        Malformed::At { field, offset, .. } => field.starts_with(M::NAME) && *offset <= message.len(),
        Malformed::Unexplained { .. } => false,
    };
    assert!(is_placed, "{malformed}");
}
