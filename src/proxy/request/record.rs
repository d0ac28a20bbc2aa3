//! Records of requests: counters of requests in flight and of their results, and a line each in the access log.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::live::Generation;
use crate::plan::lifecycle::ClientCounts;
use crate::plan::verdict::Exemption;
use crate::proxy::connection::ClientConnection;
use crate::proxy::error::{Error, Side};
use crate::proxy::in_flight::{InFlight, Interruption, Subject};
use crate::proxy::io::upload::{Upload, UploadState};
use crate::proxy::upstream::pool::Pool;
use crate::proxy::worker::Worker;
use crate::telemetry::line::Line;
use crate::telemetry::{Cell, Limit, RouteCell, RouteMeter, SERVER_ERROR};

use super::call::{CallOutcome, CallStatus, NO_STATUS};
use super::changes::Changes;
use super::entry::{Entry, is_recorded};

/// Record of one request, open from its head to the end of its response. If it is dropped while open, the client has
/// given up.
pub(crate) struct RequestRecord {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connection: Rc<ClientConnection>,
    pub(crate) in_flight: Rc<InFlight>,
    route: Option<Arc<RouteMeter>>,
    pool: Option<Rc<Pool>>,
    upload: Option<Rc<UploadState>>,
    /// The time at which the head was complete.
    pub(crate) started: Instant,
    /// The same, or the time of release if the request was held: the upstream is not charged for the wait before it.
    pub(crate) released: Instant,
    /// Bytes of an upstream's body that were handed on.
    pub(crate) sent: u64,
    /// The line for the access log, if this request is recorded.
    entry: Option<Box<Entry>>,
    /// The changes to the fields of the answer, if there are any.
    pub(super) changes: Option<Box<Changes>>,
    /// The part of the outcome that is still to come.
    outcome: CallOutcome,
    /// The time of the end; `None` while the request is open.
    ended: Option<Instant>,
}

impl RequestRecord {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        connection: &Rc<ClientConnection>,
        generation: &Generation,
        request: &Request<Incoming>,
        id: &HeaderValue,
    ) -> Self {
        connection.begin_request();
        let entry = is_recorded(generation.snapshot.log.access)
            .then(|| Box::new(Entry::new(connection, generation, request, id)));
        let started = connection.head_arrived(request.version());
        Self {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            in_flight: connection.begin_in_flight(request.version(), started),
            route: None,
            pool: None,
            upload: None,
            started,
            released: started,
            sent: 0,
            entry,
            changes: None,
            outcome: CallOutcome::Known,
            ended: None,
        }
    }

    /// Notes the id of the request's trace.
    pub(crate) fn set_trace(&mut self, id: &str) {
        self.note(|entry| entry.trace = Some(id.into()));
    }

    /// Notes that the request is forwarded on this route, as a generation decided.
    pub(crate) fn start(&mut self, route: &Arc<RouteMeter>, generation: u64, exemption: Exemption) {
        route.workers[self.worker.id].in_flight.rise();
        self.connection.activity.request.forward();
        self.in_flight.start(route, generation, exemption, self.released);
        self.route = Some(Arc::clone(route));
        self.note(|entry| {
            entry.verdict = "forward";
            entry.shown = None;
        });
    }

    /// Notes that the request waits for this route.
    pub(crate) fn set_waiting(&mut self, route: &Arc<RouteMeter>) {
        self.note(|entry| {
            entry.verdict = "hold";
            entry.shown = Some(Arc::clone(route));
        });
    }

    /// Notes that the request has waited, and that this generation decides it again.
    pub(crate) fn resume(&mut self, generation: &Generation) {
        self.released = Instant::now();
        self.note(|entry| {
            entry.generation = generation.snapshot.generation;
            entry.shown = None;
        });
    }

    /// Leaves out of the log what follows a part of the path: it is a token, which serves whoever reads it.
    pub(crate) fn hide_token(&mut self, before: &str) {
        self.note(|entry| entry.path = entry.path.is_some().then(|| format!("{before}…")));
    }

    /// Leaves the query out of the log, because it is a token.
    pub(crate) fn hide_query(&mut self) {
        self.note(|entry| entry.query = entry.query.is_some().then(|| "…".to_owned()));
    }

    /// Notes that the request bypasses the closed route.
    pub(crate) fn set_bypassed(&mut self) {
        if let Some(route) = &self.route {
            route.workers[self.worker.id].bypassed.increment();
        }
        self.note(|entry| entry.verdict = "bypass");
    }

    /// Returns the name of the route on which the request is forwarded.
    pub(crate) fn route_name(&self) -> Option<&str> {
        self.route.as_ref().map(|route| route.name.as_str())
    }

    /// Notes that the request goes to this upstream, and no longer to the one before.
    pub(crate) fn set_upstream(&mut self, pool: &Rc<Pool>, upload: Option<&Rc<UploadState>>) {
        self.leave_upstream();
        self.in_flight.set_upstream(None);
        pool.cell().pending.rise();
        self.pool = Some(Rc::clone(pool));
        if let Some(upload) = upload {
            self.in_flight.set_upload(upload);
        }
        self.upload = upload.cloned();
        self.connection.activity.request.upload(upload.cloned());
    }

    /// Notes that the upstream answered.
    pub(crate) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.in_flight.set_answered();
        if let Some(route) = &self.route {
            let class = usize::from(status.as_u16() / 100).min(SERVER_ERROR);
            let cell = &route.workers[self.worker.id];
            let took = now.saturating_duration_since(self.released);
            cell.upstream[class].increment();
            self.count(cell, status, took);
        }
        self.note(|entry| entry.status = status);
    }

    /// Counts an answer for the guard of the route, and its latency for everybody.
    fn count(&self, cell: &RouteCell, status: StatusCode, took: Duration) {
        let fails = status.as_u16() >= FAILS;
        if fails {
            self.note_failure(cell);
        }
        if self.in_flight.is_ignored() {
            return cell.record_ignored_latency(took);
        }
        cell.record_latency(took);
        cell.record_status(status.as_u16());
        self.observe(cell, |subject| ClientCounts {
            requests: 1,
            failed: u64::from(fails),
            slow: u64::from(took > subject.slow),
            statuses: subject.statuses.filter_map(|named, ()| named.has(status.as_u16()).then_some(1)),
            ..ClientCounts::default()
        });
    }

    /// Notes that a failure was counted, if the guard leaves the request out.
    fn note_failure(&self, cell: &RouteCell) {
        if self.in_flight.is_ignored() {
            cell.ignored_failures.increment();
        }
    }

    /// Notes that the response answers a gRPC call: its status is in this head, or will be in the trailers. Another
    /// HTTP status than 200 says enough by itself.
    pub(crate) fn call_answered(&mut self, status: StatusCode, head: &HeaderMap) {
        if status == StatusCode::OK {
            self.outcome = CallOutcome::InTrailers;
            self.note_call_status(head);
        }
    }

    /// Notes the status of a gRPC call, if these fields have it and it was not known before.
    pub(crate) fn note_call_status(&mut self, fields: &HeaderMap) {
        if self.outcome == CallOutcome::Known {
            return;
        }
        match CallStatus::of(fields) {
            CallStatus::Missing => {}
            CallStatus::Answered => self.outcome = CallOutcome::Known,
            CallStatus::Failed(why) => self.call_failed(why),
        }
    }

    /// Counts a gRPC call that failed, as its client sees it.
    fn call_failed(&mut self, why: &'static str) {
        self.outcome = CallOutcome::Known;
        if let Some(route) = &self.route {
            let cell = &route.workers[self.worker.id];
            cell.calls_failed.increment();
            self.note_failure(cell);
            self.observe(cell, |_| ClientCounts { failed: 1, ..ClientCounts::default() });
        }
        self.note(|entry| entry.error = Some(why));
    }

    /// Ends the record with the page as the answer. `verdict` is the log's word for the reason.
    pub(crate) fn shown<B: Body>(
        mut self,
        verdict: &'static str,
        route: &Arc<RouteMeter>,
        answer: Response<B>,
    ) -> Response<B> {
        route.workers[self.worker.id].maintenance.increment();
        self.note(|entry| {
            entry.verdict = verdict;
            entry.shown = Some(Arc::clone(route));
        });
        self.own(answer)
    }

    /// Ends the record with another answer by the proxy itself. `verdict` is the log's word for it.
    pub(crate) fn answered_here<B: Body>(mut self, verdict: &'static str, answer: Response<B>) -> Response<B> {
        self.note(|entry| entry.verdict = verdict);
        self.own(answer)
    }

    /// Ends the record with a redirect.
    pub(crate) fn redirected<B: Body>(mut self, route: Option<&Arc<RouteMeter>>, answer: Response<B>) -> Response<B> {
        if let Some(route) = route {
            route.workers[self.worker.id].redirected.increment();
        }
        self.note(|entry| {
            entry.verdict = "redirect";
            entry.shown = route.cloned();
        });
        self.own(answer)
    }

    /// Ends the record with a page in the place of the upstream's answer, which was noted before.
    pub(crate) fn replaced<B: Body>(mut self, answer: Response<B>) -> Response<B> {
        self.note(|entry| entry.error = Some("replaced"));
        self.own(answer)
    }

    /// Notes that the answer is an event stream, which ends when its watcher leaves.
    pub(crate) fn set_watching(&mut self) {
        self.note(|entry| {
            entry.verdict = "own";
            entry.status = StatusCode::OK;
        });
    }

    /// Ends the record with an error as the answer.
    pub(crate) fn failed<B: Body>(mut self, error: &Error, answer: Response<B>) -> Response<B> {
        if let Some(limit) = error.limit() {
            self.worker.cell().reached(limit);
        }
        match (&self.route, error.side()) {
            (Some(route), Side::Upstream) => {
                let route_name = route.name.as_str();
                let cell = &route.workers[self.worker.id];
                let took = self.released.elapsed();
                cell.failed.increment();
                self.count(cell, error.status(), took);
                let upstream = self.pool.as_ref().map(|pool| pool.meter.name.as_str());
                let source = std::error::Error::source(error).map(ToString::to_string);
                tracing::debug!(route = route_name, upstream, %error, source, "request failed");
            }
            (None, _) => self.worker.cell().refused.increment(),
            (Some(_), Side::Client) => {}
            (Some(_), Side::Operator) => self.count_drained(|cell| &cell.cut),
        }
        self.note(|entry| {
            entry.error = Some(error.proxy_status());
            if entry.verdict.is_empty() {
                entry.verdict = "refuse";
            }
        });
        self.own(answer)
    }

    fn own<B: Body>(mut self, mut answer: Response<B>) -> Response<B> {
        self.leave_unread();
        if let Some(changes) = self.changes.take() {
            changes.apply_to_own(answer.headers_mut());
        }
        let bytes = answer.body().size_hint().exact().unwrap_or(0);
        self.note(|entry| entry.status = answer.status());
        self.end(bytes, Instant::now());
        answer
    }

    /// Ends the record of a response that was handed on completely.
    pub(crate) fn complete(&mut self, bytes: u64, now: Instant) {
        if self.outcome == CallOutcome::InTrailers {
            self.call_failed(NO_STATUS);
        }
        self.leave_unread();
        self.end(bytes, now);
    }

    /// Ends the record because the upstream sent nothing for too long in the middle of its response.
    pub(crate) fn stalled(&mut self) {
        self.worker.cell().reached(Limit::UpstreamRead);
        self.fail("upstream_stalled");
    }

    /// Ends the record because the response was cut short.
    pub(crate) fn broken(&mut self) {
        // If the client's body failed, hyper ended the exchange with the upstream for that reason.
        match self.upload.as_ref().map(|upload| upload.state.get()) {
            Some(Upload::TooLarge) => {
                self.worker.cell().reached(Limit::BodySize);
                self.cut("body_too_large", |cell| &cell.aborted);
            }
            Some(Upload::TimedOut | Upload::Broken) => self.cut("body_broken_off", |cell| &cell.aborted),
            Some(Upload::Open | Upload::Complete) | None => self.fail("upstream_broke_off"),
        }
    }

    /// Notes that a stream, which would not end by itself, was told to end because its route is down.
    pub(crate) fn count_left(&mut self) {
        self.count_drained(|cell| &cell.left);
    }

    /// Ends the record because the route is down and the drain time is over.
    pub(crate) fn drained(&mut self) {
        self.count_drained(|cell| &cell.cut);
        self.end(self.sent, Instant::now());
    }

    /// Ends the record because the client had stalled while others waited for its upstream connection.
    pub(crate) fn evicted(&mut self) {
        self.worker.cell().reached(Limit::UpstreamConnections);
        self.cut("evicted", |cell| &cell.aborted);
    }

    fn count_drained(&mut self, counted: fn(&RouteCell) -> &Cell) {
        if let Some(route) = &self.route {
            counted(&route.workers[self.worker.id]).increment();
        }
        self.note(|entry| entry.error = Some("drained"));
    }

    /// Ends the client's connection if the upstream did not read the whole request, since the rest may still come.
    fn leave_unread(&self) {
        if self.upload.as_ref().is_some_and(|upload| upload.state.get() != Upload::Complete) {
            self.connection.close_after_answer();
        }
    }

    /// Ends the record of a response that the upstream cut short.
    fn fail(&mut self, why: &'static str) {
        if let Some(route) = &self.route {
            let cell = &route.workers[self.worker.id];
            self.observe(cell, |_| ClientCounts { failed: 1, ..ClientCounts::default() });
            self.note_failure(cell);
        }
        self.cut(why, |cell| &cell.failed);
    }

    /// Reports the client's experience to the guard of the route, if it has one.
    fn observe(&self, cell: &RouteCell, counts: impl FnOnce(&Subject) -> ClientCounts) {
        if let Some(subject) = self.in_flight.subject() {
            cell.record_outcome(subject.client, counts(&subject));
        }
    }

    /// Ends the record of a response that was cut short. `counted` selects the counter for the side at fault.
    fn cut(&mut self, why: &'static str, counted: fn(&RouteCell) -> &Cell) {
        if let Some(route) = &self.route {
            counted(&route.workers[self.worker.id]).increment();
            self.note(|entry| entry.error = Some(why));
            self.end(self.sent, Instant::now());
        }
    }

    fn end(&mut self, bytes: u64, now: Instant) {
        self.ended = Some(now);
        if let Some(entry) = self.entry.take() {
            let route = entry.shown.as_ref().or(self.route.as_ref()).map(|route| route.name.as_str());
            let upstream = self.pool.as_ref().map(|pool| pool.meter.name.as_str());
            let micros = now.saturating_duration_since(self.started).as_micros();
            let request_bytes = self.upload.as_ref().map_or(0, |upload| upload.taken.get());
            self.worker.write_log(&Line {
                bytes,
                request_bytes,
                micros: u64::try_from(micros).unwrap_or(u64::MAX),
                route,
                upstream,
                ..entry.line(&self.connection)
            });
        }
    }

    /// Ends the record of a request that was dropped while it was open.
    fn give_up(&mut self) {
        match self.in_flight.interruption() {
            // The client accepted no bytes, not even those of an orderly end.
            Interruption::Cut => self.count_drained(|cell| &cell.cut),
            Interruption::Evict => self.evicted(),
            Interruption::None | Interruption::Leave => {
                if let Some(route) = &self.route {
                    route.workers[self.worker.id].aborted.increment();
                }
                self.note(|entry| entry.error = Some("aborted"));
            }
        }
        self.end(self.sent, Instant::now());
    }

    fn note(&mut self, note: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            note(entry);
        }
    }

    fn leave_upstream(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.cell().pending.fall();
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.give_up();
        }
        self.leave_upstream();
        if let Some(route) = &self.route {
            route.workers[self.worker.id].in_flight.fall();
            self.in_flight.end();
        }
        self.connection.end_request(self.ended.unwrap_or_else(Instant::now));
    }
}

/// Status from which an answer is a failure.
const FAILS: u16 = 500;
