//! Background work. Every replica runs all of it; the database decides who does what.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::db::{SystemReason, idempotency, payments};
use crate::error::Result;
use crate::services::{Services, settlement};

/// How often what has had its day is swept out.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// How long Stripe's event ids are kept. Stripe tries for three days to deliver an event.
const EVENTS_KEPT: chrono::Duration = chrono::Duration::days(30);

/// Does background work until `stop`, and finishes what it has begun. Work is looked for every `poll`, and at once when
/// `services.work` is notified. A failure is logged and tried again: nothing here ends the process.
pub async fn run(services: Arc<Services>, poll: Duration, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let mut polls = tokio::time::interval(poll);
    polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sweeps = tokio::time::interval(SWEEP_EVERY);
    loop {
        let done = tokio::select! {
            () = &mut stop => return,
            () = services.work.notified() => settle(&services).await,
            _ = polls.tick() => find_and_settle(&services).await,
            _ = sweeps.tick() => sweep(&services).await,
        };
        if let Err(error) = done {
            error.log();
        }
    }
}

/// What does not find, or cannot settle, does not keep the other from trying.
async fn find_and_settle(services: &Services) -> Result<()> {
    let found = settlement::find_unpaid(services).await;
    settle(services).await.and(found)
}

/// Settles what is due, and comes back for more after others had their turn.
async fn settle(services: &Services) -> Result<()> {
    if settlement::settle_due(services).await? > 0 {
        services.work.notify_one();
    }
    Ok(())
}

async fn sweep(services: &Services) -> Result<()> {
    let tx = services.db.system(SystemReason::Sweep, None).await?;
    idempotency::sweep(&tx).await?;
    tx.commit().await?;
    let tx = services.db.system(SystemReason::Sweep, None).await?;
    payments::forget_events(&tx, services.sources.now() - EVENTS_KEPT).await?;
    tx.commit().await
}
