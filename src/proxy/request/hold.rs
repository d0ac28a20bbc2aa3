//! Held requests: they wait for their route.
//!
//! A held request keeps its head, its unread body and a fallback page, but no snapshot.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::hold::Signal;
use crate::live::Generation;
use crate::plan::config::{Hold, RouteConfig};
use crate::plan::snapshot::{Closure, Route};
use crate::plan::verdict::Verdict;
use crate::proxy::error::Error;
use crate::proxy::http::fields::Fields;
use crate::proxy::http::trace::Traced;
use crate::proxy::worker::{Live, Worker};
use crate::telemetry::{RouteCell, RouteMeter};

use super::body::Body;
use super::exchange::{Exchange, Progress, verdict};
use super::record::RequestRecord;
use super::respond;
use super::response_context::ResponseContext;

/// Event that interrupts the wait of a request.
enum Wakeup {
    Signal(Signal),
    /// The request has waited for too long.
    TimedOut,
    /// The process is ending.
    Ending,
}

/// Place of a held request in its queue. Dropping it frees the place.
struct QueuePosition {
    worker: Rc<Worker>,
    route: Arc<RouteMeter>,
    ticket: u64,
    /// False once the proxy has ended the wait. If still true on drop, the client has left.
    client_left: bool,
}

/// Request that waits, without the generation in which it came.
pub(crate) struct Held {
    record: RequestRecord,
    context: ResponseContext,
    version: Version,
    fields: Fields,
    trace: Option<Traced>,
    request: Request<Incoming>,
    position: QueuePosition,
    until: Instant,
    /// The page from the request's arrival, in case the wait times out and the route has no page any more.
    closure: Arc<Closure>,
    config: Arc<RouteConfig>,
}

/// Result of a request's wait.
pub(crate) enum Waited {
    /// The route did not come back in time: the answer is the page.
    Answered(Response<Body>),
    /// The request is to be decided again.
    Released(Box<Exchange>, Request<Incoming>),
}

/// Lets a request wait for its route, if there is a place.
///
/// # Errors
/// Returns the page as the answer if there is no place.
pub(crate) fn begin<S>(
    exchange: Exchange,
    route: &Route,
    closure: &Closure,
    request: Request<Incoming>,
) -> Result<Held, Progress<S>> {
    let generation = Rc::clone(&exchange.generation);
    let meter = Arc::clone(&generation.routes[route.index]);
    let policy = route.config.policy.hold;
    let worker = &exchange.record.worker;
    let ending = worker.draining().is_some();
    let position =
        if ending { None } else { QueuePosition::take(worker, &meter, policy, exchange.client(request.headers())) };
    let (Some(position), Some(kept)) = (position, &route.closure) else {
        if !ending {
            meter.workers[worker.id].hold_overflow.increment();
        }
        let answer = respond::page(closure, &route.config, &generation, &request, &exchange.context);
        return Err(exchange.answer(request, move |exchange| exchange.record.shown("hold", &meter, answer)));
    };
    let (closure, config) = (Arc::clone(kept), Arc::clone(&route.config));
    let Exchange { mut record, context, version, fields, trace, .. } = exchange;
    let until = record.started + policy.max_wait;
    record.set_waiting(&meter);
    Ok(Held { record, context, version, fields, trace, request, position, until, closure, config })
}

impl Held {
    /// Waits for the route, and decides the request again by what is live then.
    pub(crate) async fn wait(self) -> Waited {
        self.watch_client(true);
        let mut limit = std::pin::pin!(sleep_until(self.until));
        loop {
            let signal = match self.position.next_wakeup(limit.as_mut()).await {
                Wakeup::Signal(Signal::GiveWay) => return self.give_up(|cell| cell.hold_overflow.increment()).await,
                Wakeup::Signal(signal) => signal,
                Wakeup::TimedOut => return self.give_up(|cell| cell.hold_timeout.increment()).await,
                Wakeup::Ending => return self.give_up(|_| {}).await,
            };
            let generation = self.record.worker.generation();
            match (signal, self.decide(&generation)) {
                // The route was flagged again meanwhile.
                (_, Ok(Verdict::Hold(route, _))) if route.config.name == self.position.route.name => {
                    self.position.requeue()
                }
                // The request is not forwarded before its turn.
                (Signal::Look, Ok(Verdict::Forward(..))) => {}
                (_, decided) => {
                    if matches!(decided, Ok(Verdict::Forward(..))) {
                        self.position.cell().hold_released.increment();
                    }
                    return self.release(&generation);
                }
            }
        }
    }

    fn decide<'g>(&self, generation: &'g Live) -> Result<Verdict<'g>, Error> {
        verdict(generation, &self.request, self.fields, &self.record)
    }

    /// Leaves the queue, to be decided again by this generation.
    fn release(mut self, generation: &Live) -> Waited {
        self.watch_client(false);
        self.record.resume(generation);
        let (exchange, request, _) = self.leave(generation);
        Waited::Released(Box::new(exchange), request)
    }

    /// Answers with the page, since the wait is over and the route is not back.
    async fn give_up(mut self, count: fn(&RouteCell)) -> Waited {
        let generation = self.record.worker.generation();
        self.watch_client(false);
        self.record.resume(&generation);
        count(self.position.cell());
        let answer = self.page(&generation);
        let (exchange, request, route) = self.leave(&generation);
        exchange.settle(request).await;
        Waited::Answered(exchange.record.shown("hold", &route, answer))
    }

    fn page(&self, generation: &Generation) -> Response<Body> {
        let newest = generation.snapshot.route(&self.position.route.name);
        let newest = newest.and_then(|route| Some((route.closure.as_ref()?, &route.config)));
        let (closure, config) = newest.unwrap_or((&self.closure, &self.config));
        respond::page(closure, config, generation, &self.request, &self.context)
    }

    /// Leaves the queue, and returns the parts of the request.
    fn leave(mut self, generation: &Live) -> (Exchange, Request<Incoming>, Arc<RouteMeter>) {
        self.position.client_left = false;
        let route = Arc::clone(&self.position.route);
        let trusted = self.record.connection.peer.is_trusted(&generation.snapshot.trusted_proxies);
        let Self { record, context, version, fields, trace, request, .. } = self;
        let generation = Rc::clone(generation);
        let exchange = Exchange { record, generation, context, version, trusted, waited: true, fields, trace };
        (exchange, request, route)
    }

    /// Starts or stops watching whether the client leaves. HTTP/2 reports that by itself. Over HTTP/1 the socket is
    /// watched, even if an unread body is in the way.
    fn watch_client(&self, watch: bool) {
        if self.version != Version::HTTP_2 {
            self.record.connection.activity.request.hold(watch);
        }
    }
}

impl QueuePosition {
    /// Takes a place at the end of the queue. Fails if the places of all workers are taken and no other client exceeds
    /// its share.
    fn take(worker: &Rc<Worker>, route: &Arc<RouteMeter>, policy: Hold, client: Option<IpAddr>) -> Option<Self> {
        let ticket = worker.holds.enter(&route.name, policy, client)?;
        let position = Self { worker: Rc::clone(worker), route: Arc::clone(route), ticket, client_left: true };
        position.cell().held.rise();
        position.cell().held_total.increment();
        Some(position)
    }

    fn cell(&self) -> &RouteCell {
        &self.route.workers[self.worker.id]
    }

    /// Waits for a signal from the queue, the end of `limit`, or the end of the process. Cancel safe.
    async fn next_wakeup(&self, mut limit: Pin<&mut Sleep>) -> Wakeup {
        poll_fn(|cx| {
            if self.worker.draining().is_some() {
                return Poll::Ready(Wakeup::Ending);
            }
            if let Some(signal) = self.worker.holds.poll_signal(&self.route.name, self.ticket, cx.waker()) {
                return Poll::Ready(Wakeup::Signal(signal));
            }
            limit.as_mut().poll(cx).map(|()| Wakeup::TimedOut)
        })
        .await
    }

    /// Goes back to the same place in the queue.
    fn requeue(&self) {
        self.worker.holds.requeue(&self.route.name, self.ticket);
    }
}

impl Drop for QueuePosition {
    fn drop(&mut self) {
        self.worker.holds.leave(&self.route.name, self.ticket);
        self.cell().held.fall();
        if self.client_left {
            self.cell().aborted.increment();
        }
    }
}
