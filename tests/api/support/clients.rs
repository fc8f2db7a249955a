//! Clients that go away.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Polls a future so many times before it is dropped, as the server does with the request of a client that is gone.
pub async fn abandoned_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
