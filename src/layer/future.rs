//! The future of a response behind the gate. Only one that waits is on the heap.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::MaintenanceBody;
use super::queue::{Place, Turn};
use super::{Decided, decided, tell};

pin_project! {
    /// The future of a response behind the gate.
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
        /// The app works on it.
        Passed { #[pin] answer: S::Future, notice: Option<HeaderValue> },
        Answered { answer: Option<Response<Bytes>> },
        /// It waits for its turn.
        Held { waiting: Option<Box<(S, Request<B>)>>, turn: Turn },
    }
}

impl<S: Service<Request<B>>, B> MaintenanceFuture<S, B> {
    pub(super) fn passed(answer: S::Future, notice: Option<HeaderValue>) -> Self {
        Self { state: State::Passed { answer, notice } }
    }

    pub(super) fn answered(answer: Response<Bytes>) -> Self {
        Self { state: State::Answered { answer: Some(answer) } }
    }

    pub(super) fn held(service: S, request: Request<B>, place: Place) -> Self {
        Self { state: State::Held { waiting: Some(Box::new((service, request))), turn: place.turn() } }
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
                StateProjection::Passed { answer, notice } => {
                    let mut response = ready!(answer.poll(cx))?;
                    tell(&mut response, notice.take());
                    return Poll::Ready(Ok(response.map(MaintenanceBody::app)));
                }
                StateProjection::Answered { answer } => {
                    let answer = answer.take().expect("a future is not polled after it has answered");
                    return Poll::Ready(Ok(answer.map(MaintenanceBody::page)));
                }
                StateProjection::Held { waiting, turn } => {
                    let over = ready!(turn.as_mut().poll(cx));
                    let (mut service, request) =
                        *waiting.take().expect("a future is not polled after its turn has come");
                    // Decided anew, by what is live now: nothing of what it waited for need be so any more.
                    match decided(&over.live(), &request) {
                        Decided::Pass(notice) => State::Passed { answer: service.call(request), notice },
                        Decided::Answer(page) | Decided::Hold(page) => State::Answered { answer: Some(page) },
                    }
                }
            };
            state.set(next);
        }
    }
}
