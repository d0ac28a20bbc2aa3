//! Body of a response behind the layer: the app's, or the page's.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::events::Events;
use super::flights::Flight;

pin_project! {
    /// Body of a response behind the layer: the app's, or the page's.
    #[derive(Debug)]
    pub struct MaintenanceBody<R> {
        #[pin]
        kind: Kind<R>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<R> {
        Page { rest: Bytes },
        Events { events: Box<Events> },
        App { #[pin] body: R, flight: Option<Flight> },
    }
}

impl<R> MaintenanceBody<R> {
    /// Returns a body that is in memory.
    pub(super) fn page(rest: Bytes) -> Self {
        Self { kind: Kind::Page { rest } }
    }

    /// Returns a stream of events.
    pub(super) fn events(events: Events) -> Self {
        Self { kind: Kind::Events { events: Box::new(events) } }
    }

    /// Returns the app's body. Its request is in the app until the body is dropped.
    pub(super) fn app(body: R, flight: Option<Flight>) -> Self {
        Self { kind: Kind::App { body, flight } }
    }
}

impl<R: Body<Data = Bytes>> Body for MaintenanceBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().kind.project() {
            KindProjection::Page { rest } if rest.is_empty() => Poll::Ready(None),
            KindProjection::Page { rest } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(rest))))),
            KindProjection::Events { events } => events.poll(cx).map(|event| Some(Ok(Frame::data(event?)))),
            KindProjection::App { body, .. } => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Page { rest } => rest.is_empty(),
            Kind::Events { .. } => false,
            Kind::App { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Page { rest } => SizeHint::with_exact(rest.len() as u64),
            Kind::Events { .. } => SizeHint::default(),
            Kind::App { body, .. } => body.size_hint(),
        }
    }
}
