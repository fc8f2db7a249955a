//! When dataloaders load: as soon as a request can go no further without them.
//!
//! The usual loader waits a millisecond for further keys, which makes every nested read slower and the number of SQL
//! statements a matter of luck. Here its batches run on the request's own task, and only once every resolver waits:
//! then all keys of that level are known, whatever the machine is busy with.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_graphql::runtime::Timer;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::{FutureObj, Spawn, SpawnError};
use futures_util::{FutureExt, future};

/// The batches that one request's loaders have asked for and that do not run yet.
#[derive(Clone, Default)]
pub struct Batches(Arc<Mutex<Vec<FutureObj<'static, ()>>>>);

impl Spawn for Batches {
    fn spawn_obj(&self, batch: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        Ok(())
    }
}

/// Loaders need not wait: their batches begin late enough.
pub struct NoDelay;

impl Timer for NoDelay {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        future::ready(()).boxed()
    }
}

impl Batches {
    /// Drives a request to its end, starting batches whenever it stalls.
    pub async fn drive<T>(&self, execution: impl Future<Output = T>) -> T {
        let mut execution = pin!(execution);
        let mut running = FuturesUnordered::new();
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(result) = execution.as_mut().poll(cx) {
                    return Poll::Ready(result);
                }
                running.extend(self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
                // A finished batch has answers for resolvers, so they go on before anything else is loaded.
                match running.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}
