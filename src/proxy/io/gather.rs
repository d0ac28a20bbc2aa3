//! Joins the small frames of a chunked body: each hop may choose its own chunks (RFC 9112 section 7.1), and a small
//! frame costs as much as a large one.
//!
//! hyper hands a chunk on as soon as it has read it, and reads the next when that was taken. So the task that drives
//! the connection takes all chunks that have arrived, and then wakes the task that sends them on once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::wake::{take_frame, take_own_frame};

/// A body on its way from the task that drives its connection to the one that sends it on.
pub(crate) struct Gather {
    incoming: RefCell<Incoming>,
    gathered: RefCell<Gathered>,
    /// True once the body was polled. Before that, no frame is read.
    wanted: Cell<bool>,
    /// True once the part of the body that had arrived by then was read.
    begun: Cell<bool>,
    /// True for a client's body. Once all of it was taken, the task that drives the connection looks after the client.
    is_upload: bool,
    /// Wakes the task that drives the connection.
    driver: RefCell<Option<Waker>>,
    /// Wakes the task that sends the body on.
    sender: RefCell<Option<Waker>>,
}

/// Frames that have come and were not taken.
#[derive(Default)]
pub(crate) struct Gathered {
    frames: VecDeque<Frame<Bytes>>,
    /// Bytes behind these frames, which came in small ones.
    small: BytesMut,
    /// Bytes of all of them.
    size: usize,
    /// True if frames were taken, or the head was held back, and may not have been written yet.
    leaves: bool,
    /// True if the body began before its head was written, and was not polled yet. It then counts as unfinished, so that
    /// the head is the same as if the body came later.
    unseen: bool,
    end: Option<Result<(), hyper::Error>>,
}

impl Gather {
    /// Gathers an upstream's body. `driver` wakes the task that drives the connection.
    pub(crate) fn new(incoming: Incoming, driver: Option<Waker>) -> Rc<Self> {
        Rc::new(Self { driver: RefCell::new(driver), ..Self::of(incoming, false) })
    }

    /// Gathers a client's body, in the task that drives the connection.
    pub(crate) fn upload(incoming: Incoming) -> Rc<Self> {
        Rc::new(Self::of(incoming, true))
    }

    fn of(incoming: Incoming, is_upload: bool) -> Self {
        Self {
            incoming: RefCell::new(incoming),
            gathered: RefCell::default(),
            wanted: Cell::new(false),
            begun: Cell::new(false),
            is_upload,
            driver: RefCell::default(),
            sender: RefCell::default(),
        }
    }

    /// Reads a frame, in the task that drives the connection. Returns true if there was one: then there may be another.
    pub(crate) fn pump(&self, cx: &Context<'_>) -> bool {
        note(&self.driver, cx);
        let mut gathered = self.gathered.borrow_mut();
        if !self.wanted.get() || gathered.end.is_some() || gathered.size >= MOST_GATHERED {
            drop(gathered);
            self.wake_sender();
            return false;
        }
        let polled = take_own_frame(&mut self.incoming.borrow_mut());
        let (goes_on, head_waits) = (gathered.keep(polled), gathered.unseen);
        drop(gathered);
        if !goes_on {
            self.begun.set(true);
            if head_waits { self.wake_waiting() } else { self.wake_sender() }
        }
        goes_on
    }

    /// Reads the last frames, after the connection has ended.
    pub(crate) fn finish(&self) {
        let mut incoming = self.incoming.borrow_mut();
        while self.gathered.borrow_mut().keep(take_own_frame(&mut incoming)) {}
        self.wake_sender();
    }

    /// Ready once the part of the body that came with the head was read. The head and that part are then sent as one.
    pub(crate) fn poll_begun(&self, cx: &Context<'_>) -> Poll<()> {
        if self.begun.get() || !self.gathered.borrow().is_empty() {
            return Poll::Ready(());
        }
        note(&self.sender, cx);
        if !self.wanted.replace(true) {
            let Some(driver) = self.driver.take() else { return Poll::Ready(()) };
            driver.wake();
        }
        let mut gathered = self.gathered.borrow_mut();
        (gathered.leaves, gathered.unseen) = (true, true);
        Poll::Pending
    }

    /// Returns the next gathered frame, in the task that sends the body on.
    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let first = !self.wanted.replace(true);
        let mut gathered = self.gathered.borrow_mut();
        let full = gathered.size >= MOST_GATHERED;
        let taken = gathered.take_out(cx);
        let ends = self.is_upload && gathered.is_over();
        drop(gathered);
        if taken.is_pending() {
            note(&self.sender, cx);
        }
        if (first || full || ends)
            && let Some(driver) = self.driver.take()
        {
            driver.wake();
        }
        taken
    }

    fn wake_sender(&self) {
        if !self.gathered.borrow().is_empty() {
            self.wake_waiting();
        }
    }

    fn wake_waiting(&self) {
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.small.is_empty() && self.end.is_none()
    }

    /// Returns true if the body has ended, and all of it was taken.
    fn is_over(&self) -> bool {
        self.frames.is_empty() && self.small.is_empty() && matches!(self.end, Some(Ok(()))) && !self.unseen
    }

    /// Keeps the result of a poll. Returns true if it was a frame.
    fn keep(&mut self, polled: Poll<Option<Result<Frame<Bytes>, hyper::Error>>>) -> bool {
        match polled {
            Poll::Pending => false,
            Poll::Ready(None) => {
                self.end = Some(Ok(()));
                false
            }
            Poll::Ready(Some(Err(error))) => {
                self.end = Some(Err(error));
                false
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.add(frame);
                true
            }
        }
    }

    fn add(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.len() < SMALL => {
                self.size += data.len();
                self.small.extend_from_slice(&data);
            }
            Ok(data) => {
                self.close_small();
                self.size += data.len();
                self.frames.push_back(Frame::data(data));
            }
            Err(trailers) => {
                self.close_small();
                self.frames.push_back(trailers);
            }
        }
    }

    fn close_small(&mut self) {
        if !self.small.is_empty() {
            let small = self.small.split().freeze();
            self.frames.push_back(Frame::data(small));
        }
    }

    fn take_out(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.unseen = false;
        if self.frames.is_empty() {
            self.close_small();
        }
        if let Some(frame) = self.frames.pop_front() {
            self.size -= frame.data_ref().map_or(0, Bytes::len);
            self.leaves = true;
            return Poll::Ready(Some(Ok(frame)));
        }
        let left = std::mem::take(&mut self.leaves);
        match &self.end {
            None => Poll::Pending,
            Some(Ok(())) => Poll::Ready(None),
            // An error ends the connection at once, so earlier frames must be written first.
            Some(Err(_)) if left => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Err(_)) => Poll::Ready(self.end.replace(Ok(())).and_then(Result::err).map(Err)),
        }
    }
}

/// Registers a waker.
pub(crate) fn note(waker: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    let mut waker = waker.borrow_mut();
    if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *waker = Some(cx.waker().clone());
    }
}

/// A body, read by the task that sends it on.
pub(crate) enum Source {
    /// From the connection, frame by frame.
    Frames(Incoming),
    /// The same from a client's connection. The last frame, too, wakes the task that drives it: from then on, that task
    /// has to notice if the client leaves.
    Upload(Incoming),
    /// From an HTTP/2 connection, where several frames may be ready. The buffer is allocated with the first small one.
    Ready(Incoming, Option<Box<Gathered>>),
    /// From the task that drives the connection.
    Gathered(Rc<Gather>),
}

impl Source {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self {
            Self::Frames(incoming) => take_frame(incoming, cx),
            Self::Upload(incoming) => Pin::new(incoming).poll_frame(cx),
            Self::Ready(incoming, gathered) => poll_ready(incoming, gathered, cx),
            Self::Gathered(gather) => gather.poll_frame(cx),
        }
    }

    /// Ready once the part of the body that came with the head can be taken. Only gathering takes a turn of another task.
    pub(crate) fn poll_begun(&self, cx: &Context<'_>) -> Poll<()> {
        match self {
            Self::Frames(_) | Self::Upload(_) | Self::Ready(..) => Poll::Ready(()),
            Self::Gathered(gather) => gather.poll_begun(cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Frames(incoming) | Self::Upload(incoming) => incoming.is_end_stream(),
            Self::Ready(incoming, None) => incoming.is_end_stream(),
            Self::Ready(incoming, Some(gathered)) => {
                gathered.is_over() || gathered.is_empty() && incoming.is_end_stream()
            }
            Self::Gathered(gather) => gather.gathered.borrow().is_over(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Frames(incoming) | Self::Upload(incoming) => incoming.size_hint(),
            Self::Ready(incoming, gathered) => {
                plus(incoming.size_hint(), gathered.as_ref().map_or(0, |gathered| gathered.size as u64))
            }
            // Only chunked bodies are gathered.
            Self::Gathered(_) => SizeHint::default(),
        }
    }
}

/// Joins the frames that are ready.
fn poll_ready(
    incoming: &mut Incoming,
    gathered: &mut Option<Box<Gathered>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    if gathered.as_ref().is_none_or(|gathered| gathered.is_empty()) {
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        if !is_small(&polled) || incoming.is_end_stream() {
            return polled;
        }
        gathered.get_or_insert_default().keep(polled);
    }
    let gathered = gathered.get_or_insert_default();
    while gathered.size < SMALL && gathered.end.is_none() && gathered.keep(Pin::new(&mut *incoming).poll_frame(cx)) {}
    gathered.take_out(cx)
}

fn is_small(polled: &Poll<Option<Result<Frame<Bytes>, hyper::Error>>>) -> bool {
    let Poll::Ready(Some(Ok(frame))) = polled else { return false };
    frame.data_ref().is_some_and(|data| data.len() < SMALL)
}

/// Adds the bytes that have already come to those that are expected.
pub(crate) fn plus(mut hint: SizeHint, bytes: u64) -> SizeHint {
    if let Some(upper) = hint.upper() {
        hint.set_upper(upper.saturating_add(bytes));
    }
    hint.set_lower(hint.lower().saturating_add(bytes));
    hint
}

/// A frame of fewer bytes is copied, so that it can be joined with others.
const SMALL: usize = 4 * 1024;

/// Bytes that are gathered at most before they are taken.
const MOST_GATHERED: usize = 32 * 1024;
