//! What a connection is doing and since when, and how long that may go on.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Version;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the first request of a connection, and for the head of each.
    pub head: Duration,
    /// Between two requests.
    pub keep_alive: Duration,
    /// For taking the next part of an answer.
    pub reading: Duration,
    /// How many connections there are at once. Further ones wait to be accepted.
    pub connections: usize,
    /// How many of them may come from one address, or network of 64 bits in IPv6. Further ones are closed.
    pub connections_per_address: usize,
}

/// What a connection is doing, and since when.
pub(super) struct Activity {
    patience: Patience,
    state: Mutex<State>,
}

struct State {
    /// Requests that are not answered to the end.
    running: usize,
    /// Since when the next part of an answer has been there to be taken, by the answer's number.
    offered: BTreeMap<u64, Instant>,
    /// How many answers there were.
    answers: u64,
    /// When the last request ended or, in HTTP/1, the last byte was sent.
    quiet_since: Instant,
    /// When the first byte came that belongs to no request yet.
    head_since: Option<Instant>,
    /// Since when the client's socket takes nothing of what is there for it.
    stuck_since: Option<Instant>,
    /// The version of the last request.
    version: Option<Version>,
}

impl Activity {
    pub(super) fn new(patience: Patience) -> Self {
        let state = State {
            running: 0,
            offered: BTreeMap::new(),
            answers: 0,
            quiet_since: Instant::now(),
            head_since: None,
            stuck_since: None,
            version: None,
        };
        Self { patience, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When patience ends, unless something happens before.
    pub(super) fn deadline(&self) -> Instant {
        let Patience { head, keep_alive, reading, .. } = self.patience;
        let state = self.state();
        if let Some(since) = state.offered.values().copied().chain(state.stuck_since).min() {
            return since + reading;
        }
        match *state {
            // Requests have limits of their own. This is only when to look again.
            State { running: 1.., .. } => Instant::now() + keep_alive.min(reading),
            State { version: None, quiet_since, .. } => quiet_since + head,
            // In HTTP/2 there are frames that belong to no request.
            State { head_since: Some(since), version: Some(version), .. } if version != Version::HTTP_2 => since + head,
            State { quiet_since, .. } => quiet_since + keep_alive,
        }
    }

    /// Resolves at the deadline, which may have moved since the timer was set.
    pub(super) fn poll_overdue(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline();
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// Takes note that bytes have come.
    pub(super) fn received(&self) {
        let mut state = self.state();
        if state.running == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    /// Takes note of an attempt to send: whether the client took anything.
    pub(super) fn sent<T>(&self, attempt: &Poll<T>) {
        let mut state = self.state();
        if attempt.is_pending() {
            state.stuck_since.get_or_insert_with(Instant::now);
            return;
        }
        state.stuck_since = None;
        // In HTTP/2, what is sent may be no more than the answer to a ping.
        if state.version.is_some_and(|version| version != Version::HTTP_2) {
            state.quiet_since = Instant::now();
        }
    }
}

/// A request that is not answered to the end, until it is dropped.
pub(super) struct Running(Arc<Activity>);

impl Running {
    pub(super) fn begin(activity: &Arc<Activity>, version: Version) -> Self {
        let mut state = activity.state();
        state.running += 1;
        state.head_since = None;
        state.version = Some(version);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = state.running.saturating_sub(1);
        state.quiet_since = Instant::now();
    }
}

/// How large the parts are in which answers are handed on. The client must take what is left of the last one while the
/// connection is idle, and each of the others within [`Patience::reading`].
const PART: usize = 16 * 1024;

/// The body of an answer. It is handed on part by part, as the client takes it: hyper asks for the next one only when there
/// is room for it, which in HTTP/2 is the client's to say. The request is over when all of it has been handed on.
pub(super) struct Answer {
    body: Body,
    /// What is left of the body's last frame.
    rest: Bytes,
    number: u64,
    running: Running,
}

impl Answer {
    pub(super) fn new(body: Body, running: Running) -> Self {
        let mut state = running.0.state();
        state.answers += 1;
        let number = state.answers;
        state.offered.insert(number, Instant::now());
        drop(state);
        Self { body, rest: Bytes::new(), number, running }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let part = self.rest.split_to(self.rest.len().min(PART));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = self.next(cx);
        let mut state = self.running.0.state();
        if next.is_ready() {
            state.offered.insert(self.number, Instant::now());
        } else {
            // Now it is the client who waits.
            state.offered.remove(&self.number);
        }
        drop(state);
        next
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, mut hint) = (u64::try_from(self.rest.len()).unwrap_or(u64::MAX), self.body.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint.set_lower(hint.lower().saturating_add(left));
        hint
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.running.0.state().offered.remove(&self.number);
    }
}
