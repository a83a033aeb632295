//! `ProfileStoreService`: the ways in.

use std::{panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use decima_forward::Forwarder;
use decima_ingest::push::{Origin, Protocol, Push, Refusal};
use decima_proto::{
    Encoded,
    parca::profilestore::v1alpha1::{
        WriteArrowRequest, WriteArrowResponse, WriteRawResponse, WriteRequest, WriteResponse,
        profile_store_service_server,
    },
};
use decima_store::Appended;
use futures::FutureExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataValue};
use xxhash_rust::xxh3::Xxh3;

use super::{Way, note_refused, origin};
use crate::{
    shares::{self, Party, Progress, Shares},
    status,
};

/// Time for all of an exchange in the first schema. The agent's own `Write` has no deadline; Parca gives it 5 s, which a
/// slow link does not always make.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Exchanges in the first schema under way at once; others wait. Each holds decoded samples until its sender goes on, and
/// must not keep other writes from being worked on meanwhile. An agent has one at a time, every few seconds.
const EXCHANGES: shares::Bounds = shares::Bounds { all: 256, sender: 64, connection: 16 };

/// Metadata of an answer: samples of the request that are stored now.
pub(crate) const SAMPLES: &str = "x-decima-samples";
/// Metadata of an answer: samples of the request that were outside the bounds of time.
pub(crate) const REJECTED: &str = "x-decima-rejected";
/// Metadata of an answer: whether the store had the same request already.
pub(crate) const DUPLICATE: &str = "x-decima-duplicate";

/// The service.
#[derive(Clone)]
pub(crate) struct ProfileStoreService {
    way: Way,
    permits: Arc<Semaphore>,
    exchanges: Arc<Shares>,
}

/// Messages of an exchange as they come.
pub(crate) trait Requests: Stream<Item = Result<WriteRequest, Status>> + Unpin + Send {}

impl<R: Stream<Item = Result<WriteRequest, Status>> + Unpin + Send> Requests for R {}

/// The message that follows the question, when it is waited for.
trait Second: Future<Output = Result<Option<WriteRequest>, Status>> + Send {}

impl<F: Future<Output = Result<Option<WriteRequest>, Status>> + Send> Second for F {}

impl ProfileStoreService {
    /// As many writes are worked on at once as there are `permits`.
    pub(crate) fn new(way: Way, permits: Arc<Semaphore>) -> Self {
        Self { way, permits, exchanges: Arc::new(Shares::new(EXCHANGES)) }
    }

    async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Status> {
        self.permits.acquire().await.map_err(|_| Status::unavailable("the server is stopping"))
    }

    /// Begins an exchange in the first schema: its messages come one by one, and so do its answers. A failure is the last.
    pub(crate) fn begin(
        &self,
        requests: impl Requests + 'static,
        sender: (Party, Progress),
        origin: Origin,
    ) -> ReceiverStream<Result<WriteResponse, Status>> {
        let (answers, stream) = mpsc::channel(1);
        let service = self.clone();
        tokio::spawn(async move {
            let exchange = service.exchange(requests, sender, origin, &answers);
            let exchange = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange);
            // The stream must not end as if all were well.
            let status = match AssertUnwindSafe(exchange).catch_unwind().await {
                Ok(Ok(Ok(()))) => return,
                Ok(Ok(Err(status))) => match status::of_codec(&status) {
                    Some((reason, status)) => service.refused(&origin, reason, status),
                    None if status.code() == Code::DeadlineExceeded => {
                        service.refused(&origin, Refusal::Stalled, status)
                    }
                    None => status,
                },
                Ok(Err(_)) => service.refused(&origin, Refusal::Stalled, status::deadline_exceeded()),
                Err(panic) => {
                    crate::log_panic(&*panic);
                    Status::internal("internal error; the server's log says more")
                }
            };
            // Nobody is left to tell if the sender is gone.
            let _ = answers.send(Err(status)).await;
        });
        ReceiverStream::new(stream)
    }

    /// Both messages of an exchange in the first schema.
    async fn exchange(
        &self,
        mut requests: impl Requests,
        (party, progress): (Party, Progress),
        origin: Origin,
        answers: &mpsc::Sender<Result<WriteResponse, Status>>,
    ) -> Result<(), Status> {
        // Until it comes, nothing is held.
        let Some(first) = requests.next().await.transpose()? else { return Ok(()) };
        let place = self.exchanges.place(party).await;
        let second = async { place.hold(requests.next(), &progress).await?.transpose() };
        match &self.way {
            Way::Store(push) => self.exchange_with_store(push, first, second, origin, answers).await,
            Way::Forward(forwarder) => {
                self.exchange_to_forward(forwarder, first, second, origin, answers).await
            }
        }
    }

    async fn exchange_with_store(
        &self,
        push: &Push,
        first: WriteRequest,
        second: impl Second,
        origin: Origin,
        answers: &mpsc::Sender<Result<WriteResponse, Status>>,
    ) -> Result<(), Status> {
        let half = {
            let _permit = self.permit().await?;
            push.begin_write(first.record.clone(), &origin).await.map_err(|error| status::of_push(&error))?
        };
        let second = match half.question().map_err(|error| status::of_push(&error))? {
            // No samples: nothing is asked for, and the agent takes the end for that.
            None => Bytes::new(),
            Some(question) => self.ask(question, second, &origin, answers).await?,
        };
        let _permit = self.permit().await?;
        let hash = stream_hash("Write", &[&first.record, &second]);
        push.end_write(half, second, &origin, Some(hash)).await.map_err(|error| status::of_push(&error))?;
        Ok(())
    }

    /// Asks the sender here for all stacktraces: the remote store, which may be away, asks for them later and gets them.
    async fn exchange_to_forward(
        &self,
        forwarder: &Forwarder,
        first: WriteRequest,
        second: impl Second,
        origin: Origin,
        answers: &mpsc::Sender<Result<WriteResponse, Status>>,
    ) -> Result<(), Status> {
        let question = {
            let _permit = self.permit().await?;
            forwarder.question(&first.record, &origin).map_err(|error| status::of_forward(&error))?
        };
        // Nothing to send on without samples.
        let Some(question) = question else { return Ok(()) };
        let second = self.ask(question, second, &origin, answers).await?;
        let _permit = self.permit().await?;
        forwarder.write(first.record, second, &origin).await.map_err(|error| status::of_forward(&error))
    }

    /// Sends the question and waits for the locations.
    async fn ask(
        &self,
        question: Vec<u8>,
        second: impl Second,
        origin: &Origin,
        answers: &mpsc::Sender<Result<WriteResponse, Status>>,
    ) -> Result<Bytes, Status> {
        if answers.send(Ok(WriteResponse { record: question.into() })).await.is_err() {
            return Err(Status::cancelled("the sender is gone"));
        }
        second.await?.map(|second| second.record).ok_or_else(|| {
            let message = "the stream ends without the locations that were asked for";
            self.refused(origin, Refusal::Missing, Status::invalid_argument(message))
        })
    }

    /// The status, noted as its sender's.
    fn refused(&self, origin: &Origin, reason: Refusal, status: Status) -> Status {
        note_refused(self.way.senders(), origin, reason, status.message());
        status
    }
}

#[tonic::async_trait]
impl profile_store_service_server::ProfileStoreService for ProfileStoreService {
    async fn write_raw(&self, request: Request<Encoded>) -> Result<Response<WriteRawResponse>, Status> {
        let origin = origin(Protocol::WriteRaw, request.extensions());
        let Encoded(message) = request.into_inner();
        let push = match &self.way {
            Way::Store(push) => push,
            Way::Forward(forwarder) => {
                let _permit = self.permit().await?;
                forwarder.write_raw(message, &origin).await.map_err(|error| status::of_forward(&error))?;
                return Ok(Response::new(WriteRawResponse {}));
            }
        };
        let _permit = self.permit().await?;
        let appended = push.push_raw(message, &origin).await.map_err(|error| status::of_push(&error))?;
        Ok(told(WriteRawResponse {}, appended))
    }

    type WriteStream = Pin<Box<dyn Stream<Item = Result<WriteResponse, Status>> + Send>>;

    async fn write(
        &self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let origin = origin(Protocol::Write, request.extensions());
        let sender = (Party::of(request.extensions()), Progress::of(request.extensions()));
        Ok(Response::new(Box::pin(self.begin(request.into_inner(), sender, origin))))
    }

    async fn write_arrow(
        &self,
        request: Request<WriteArrowRequest>,
    ) -> Result<Response<WriteArrowResponse>, Status> {
        let origin = origin(Protocol::WriteArrow, request.extensions());
        let stream = request.into_inner().ipc_buffer;
        let push = match &self.way {
            Way::Store(push) => push,
            Way::Forward(forwarder) => {
                let _permit = self.permit().await?;
                forwarder.write_arrow(stream, &origin).await.map_err(|error| status::of_forward(&error))?;
                return Ok(Response::new(WriteArrowResponse {}));
            }
        };
        let hash = stream_hash("WriteArrow", &[&stream]);
        let _permit = self.permit().await?;
        let appended = push.write_arrow(stream, &origin, Some(hash)).await;
        Ok(told(WriteArrowResponse {}, appended.map_err(|error| status::of_push(&error))?))
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

/// Identifies what Arrow streams store: each with its length, so that no two requests give the same bytes.
fn stream_hash(method: &str, streams: &[&Bytes]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(b"parca.profilestore.v1alpha1.ProfileStoreService/");
    hash.update(method.as_bytes());
    for stream in streams {
        hash.update(&(stream.len() as u64).to_le_bytes());
        hash.update(stream);
    }
    hash.digest128()
}
