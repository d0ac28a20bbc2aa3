//! Future of a response behind the layer. Only that of a held request is on the heap.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::MaintenanceBody;
use super::events::Events;
use super::flights::Flight;
use super::queue::{Place, Wait, Wakeup};
use super::respond::insert_notice;
use super::watch::Shared;
use super::{Decision, decide};

pin_project! {
    /// Future of a response behind the layer.
    pub struct MaintenanceFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        /// The app works on the request.
        Passed { #[pin] answer: S::Future, notice: Option<HeaderValue>, flight: Option<Flight> },
        Answered { answer: Option<Response<Bytes>> },
        /// A stream of events answers.
        Watching { answer: Option<(Response<Bytes>, Events)> },
        /// The request waits for its route.
        Held { asked: Option<Box<(S, Request<B>)>>, shared: Arc<Shared>, wait: Wait },
    }
}

impl<S: Service<Request<B>>, B> MaintenanceFuture<S, B> {
    pub(super) fn passed(answer: S::Future, notice: Option<HeaderValue>, flight: Flight) -> Self {
        Self { state: State::Passed { answer, notice, flight: Some(flight) } }
    }

    pub(super) fn answered(answer: Response<Bytes>) -> Self {
        Self { state: State::Answered { answer: Some(answer) } }
    }

    pub(super) fn watching(head: Response<Bytes>, events: Events) -> Self {
        Self { state: State::Watching { answer: Some((head, events)) } }
    }

    pub(super) fn held(service: S, request: Request<B>, shared: Arc<Shared>, place: Place) -> Self {
        Self { state: State::Held { asked: Some(Box::new((service, request))), shared, wait: place.wait() } }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for MaintenanceFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaintenanceFuture").finish_non_exhaustive()
    }
}

impl<S, B, R> Future for MaintenanceFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<MaintenanceBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Passed { answer, notice, flight } => {
                    let mut response = ready!(answer.poll(cx))?;
                    insert_notice(&mut response, notice.take());
                    let flight = flight.take();
                    return Poll::Ready(Ok(response.map(|body| MaintenanceBody::app(body, flight))));
                }
                StateProjection::Answered { answer } => {
                    let answer = answer.take().expect("a future is not polled after it has answered");
                    return Poll::Ready(Ok(answer.map(MaintenanceBody::page)));
                }
                StateProjection::Watching { answer } => {
                    let (head, events) = answer.take().expect("a future is not polled after it has answered");
                    return Poll::Ready(Ok(head.map(|_| MaintenanceBody::events(events))));
                }
                StateProjection::Held { asked, shared, wait } => {
                    let (wakeup, place) = ready!(wait.as_mut().poll(cx));
                    let (mut service, request) = *asked.take().expect("a future is not polled after its wait is over");
                    let (live, flight) = shared.enter(request.method());
                    match (wakeup, decide(&live, &request)) {
                        // On hold again, or not before its turn: the request keeps its place.
                        (Wakeup::Turn, Decision::Hold(_)) | (Wakeup::Look, Decision::Pass(_) | Decision::Hold(_)) => {
                            *asked = Some(Box::new((service, request)));
                            *wait = place.wait_on(wakeup);
                            continue;
                        }
                        (Wakeup::Turn | Wakeup::Deadline, Decision::Pass(notice)) => {
                            State::Passed { answer: service.call(request), notice, flight: Some(flight) }
                        }
                        (_, Decision::Answer(page) | Decision::Watch(page))
                        | (Wakeup::Deadline, Decision::Hold(page)) => State::Answered { answer: Some(page) },
                    }
                }
            };
            state.set(next);
        }
    }
}
