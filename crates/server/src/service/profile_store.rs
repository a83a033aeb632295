//! `ProfileStoreService`: the ways in.

use std::{pin::Pin, sync::Arc, time::Instant};

use decima_ingest::push::{Push, RawSeries};
use decima_proto::parca::profilestore::v1alpha1::{
    WriteArrowRequest, WriteArrowResponse, WriteRawRequest, WriteRawResponse, WriteRequest, WriteResponse,
    profile_store_service_server,
};
use decima_store::Appended;
use tokio::sync::Semaphore;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    agents::{Agents, PushOutcome},
    settings::Peer,
    status, time,
};

/// Metadata of an answer: samples of the request that are stored now.
pub(crate) const SAMPLES: &str = "x-decima-samples";
/// Metadata of an answer: samples of the request that were outside the bounds of time.
pub(crate) const REJECTED: &str = "x-decima-rejected";
/// Metadata of an answer: whether the store had the same request already.
pub(crate) const DUPLICATE: &str = "x-decima-duplicate";

/// The service.
#[derive(Clone)]
pub(crate) struct ProfileStoreService {
    push: Push,
    agents: Arc<Agents>,
    permits: Arc<Semaphore>,
}

impl ProfileStoreService {
    /// At most `concurrency` writes are worked on at once.
    pub(crate) fn new(push: Push, agents: Arc<Agents>, concurrency: usize) -> Self {
        Self { push, agents, permits: Arc::new(Semaphore::new(concurrency)) }
    }

    async fn store(&self, series: Vec<RawSeries>, received_ns: i64, hash: u128) -> Result<Appended, Status> {
        let _permit =
            self.permits.acquire().await.map_err(|_| Status::unavailable("the server is stopping"))?;
        self.push.write_raw(series, received_ns, Some(hash)).await.map_err(|error| status::of_push(&error))
    }
}

#[tonic::async_trait]
impl profile_store_service_server::ProfileStoreService for ProfileStoreService {
    async fn write_raw(
        &self,
        request: Request<WriteRawRequest>,
    ) -> Result<Response<WriteRawResponse>, Status> {
        let received = Instant::now();
        let received_ns = time::now_ns();
        let address = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        let request = request.into_inner();
        let hash = request_hash(&request);
        let series = from_proto(request)?;
        let node = node(&series);
        let result = self.store(series, received_ns, hash).await;
        let error = result.as_ref().err().map(|status| status.message().to_owned()).unwrap_or_default();
        self.agents.note(
            &node,
            address,
            PushOutcome { received, received_ns, took: received.elapsed(), error },
        );
        result.map(|appended| told(WriteRawResponse {}, appended))
    }

    type WriteStream = Pin<Box<dyn Stream<Item = Result<WriteResponse, Status>> + Send>>;

    async fn write(
        &self,
        _: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        Err(Status::unimplemented("parca.profilestore.v1alpha1.ProfileStoreService/Write is not offered"))
    }

    async fn write_arrow(
        &self,
        _: Request<WriteArrowRequest>,
    ) -> Result<Response<WriteArrowResponse>, Status> {
        Err(Status::unimplemented(
            "parca.profilestore.v1alpha1.ProfileStoreService/WriteArrow is not offered",
        ))
    }
}

/// An answer with what became of the request, which Parca's messages have no field for.
fn told<M>(message: M, appended: Appended) -> Response<M> {
    let mut response = Response::new(message);
    let metadata = response.metadata_mut();
    metadata.insert(SAMPLES, appended.samples.into());
    metadata.insert(REJECTED, appended.rejected.into());
    metadata.insert(DUPLICATE, MetadataValue::from_static(if appended.duplicate { "true" } else { "false" }));
    response
}

/// Takes a request apart without copying profiles.
fn from_proto(request: WriteRawRequest) -> Result<Vec<RawSeries>, Status> {
    let series = request.series.into_iter().enumerate().map(|(index, series)| {
        let labels = series
            .labels
            .ok_or_else(|| Status::invalid_argument(format!("series[{index}].labels: missing")))?;
        Ok(RawSeries {
            labels: labels.labels.into_iter().map(|label| (label.name, label.value)).collect(),
            profiles: series.samples.into_iter().map(|sample| sample.raw_profile).collect(),
            keep: Vec::new(),
        })
    });
    series.collect()
}

/// The first `node` label of a request.
fn node(series: &[RawSeries]) -> String {
    let labels = series.iter().flat_map(|series| &series.labels);
    let node = labels.filter(|(name, _)| name == "node").map(|(_, value)| value.clone());
    node.into_iter().next().unwrap_or_default()
}

/// Identifies what a request stores, over whichever protocol it came: the method, then each part with its length, so that
/// no two requests give the same bytes.
fn request_hash(request: &WriteRawRequest) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(b"parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw");
    for series in &request.series {
        let labels = series.labels.as_ref().map_or(&[][..], |set| &set.labels);
        hash_count(&mut hash, labels.len());
        for label in labels {
            hash_bytes(&mut hash, label.name.as_bytes());
            hash_bytes(&mut hash, label.value.as_bytes());
        }
        hash_count(&mut hash, series.samples.len());
        for sample in &series.samples {
            hash_bytes(&mut hash, &sample.raw_profile);
        }
    }
    hash.digest128()
}

fn hash_count(hash: &mut Xxh3, count: usize) {
    hash.update(&(count as u64).to_le_bytes());
}

fn hash_bytes(hash: &mut Xxh3, bytes: &[u8]) {
    hash_count(hash, bytes.len());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use decima_proto::parca::profilestore::v1alpha1::{Label, LabelSet, RawProfileSeries, RawSample};

    use super::*;

    fn request(labels: &[(&str, &str)], profiles: &[&'static [u8]]) -> WriteRawRequest {
        let labels = labels.iter().map(|&(name, value)| Label { name: name.into(), value: value.into() });
        let samples = profiles
            .iter()
            .map(|&bytes| RawSample { raw_profile: Bytes::from_static(bytes), ..RawSample::default() });
        WriteRawRequest {
            series: vec![RawProfileSeries {
                labels: Some(LabelSet { labels: labels.collect() }),
                samples: samples.collect(),
            }],
            ..WriteRawRequest::default()
        }
    }

    #[test]
    fn hashes_tell_requests_apart() {
        let first = request_hash(&request(&[("a", "bc")], &[b"x", b"y"]));
        assert_eq!(first, request_hash(&request(&[("a", "bc")], &[b"x", b"y"])));
        for other in [
            request(&[("ab", "c")], &[b"x", b"y"]),
            request(&[("a", "bc")], &[b"xy"]),
            request(&[("a", "bc")], &[b"y", b"x"]),
            request(&[], &[b"x", b"y"]),
        ] {
            assert_ne!(first, request_hash(&other));
        }
    }

    #[test]
    fn labels_are_required() {
        let mut request = request(&[], &[]);
        request.series[0].labels = None;
        let status = from_proto(request).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert_eq!(status.message(), "series[0].labels: missing");
    }

    #[test]
    fn the_first_node_label_counts() {
        let series = from_proto(request(&[("job", "j"), ("node", "n1"), ("node", "n2")], &[])).unwrap();
        assert_eq!(node(&series), "n1");
    }
}
