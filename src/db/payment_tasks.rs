//! Orders whose money needs work at Stripe. Tasks are written with their cause and are safe on many replicas.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::schema::payment_tasks;
use super::session::{SystemTx, TenantTx};
use super::sql::Sql;
use crate::error::Result;

/// A task that this process has taken.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct PaymentTask {
    /// The shop.
    pub tenant_id: Uuid,
    /// The order whose money needs work.
    pub order_id: Uuid,
    /// Until when nobody else takes it; also tells whether it was asked for again meanwhile.
    pub due_at: DateTime<Utc>,
    /// How often it was tried before.
    pub attempts: i32,
}

/// Asks for work on an order's money, as soon as this transaction is committed.
pub async fn add(tx: &TenantTx, order_id: Uuid) -> Result<()> {
    let add = Sql::new(
        "insert into payment_tasks (tenant_id, order_id, due_at) values (?, ?, clock_timestamp())
         on conflict (tenant_id, order_id) do update set due_at = excluded.due_at, attempts = 0",
    );
    tx.tx().execute(add.bind(tx.tenant_id()).bind(order_id).returning::<()>()).await.map(|_| ())
}

/// Asks for work on unpaid orders that were placed before this moment. What is free waits for nobody's money.
pub async fn add_unpaid(tx: &SystemTx, placed_before: DateTime<Utc>) -> Result<()> {
    let add = Sql::new(
        "insert into payment_tasks (tenant_id, order_id)
         select tenant_id, id from orders
         where status = 'PENDING' and total_amount > 0 and created_at < ?
           and not exists (select from payment_tasks t where t.tenant_id = orders.tenant_id and t.order_id = orders.id)
         order by created_at limit 1000
         on conflict do nothing",
    );
    tx.tx().execute(add.bind(placed_before).returning::<()>()).await.map(|_| ())
}

/// Takes tasks that are due. Others skip them for two minutes: by then they are done, or their taker is most likely gone.
/// (Were it not, both would do the same, with the same idempotency keys.)
pub async fn take(tx: &SystemTx, limit: i32) -> Result<Vec<PaymentTask>> {
    let take = Sql::new(
        "with due as (
             select tenant_id, order_id from payment_tasks
             where due_at <= now()
             order by due_at limit ?
             for update skip locked
         )
         update payment_tasks t
         set due_at = now() + interval '2 minutes', attempts = t.attempts + 1
         from due
         where t.tenant_id = due.tenant_id and t.order_id = due.order_id
         returning t.tenant_id, t.order_id, t.due_at, t.attempts",
    );
    tx.tx().load(take.bind(limit).returning::<(SqlUuid, SqlUuid, Timestamptz, Integer)>()).await
}

/// Ends a task, unless it was asked for again meanwhile.
pub async fn finish(tx: &SystemTx, task: &PaymentTask) -> Result<()> {
    let done = payment_tasks::table
        .filter(payment_tasks::tenant_id.eq(task.tenant_id))
        .filter(payment_tasks::order_id.eq(task.order_id))
        .filter(payment_tasks::due_at.eq(task.due_at));
    tx.tx().execute(diesel::delete(done)).await.map(|_| ())
}

/// Puts a task off for so many seconds, unless it was asked for again meanwhile.
pub async fn postpone(tx: &SystemTx, task: &PaymentTask, seconds: i32) -> Result<()> {
    let later = Sql::new(
        "update payment_tasks set due_at = now() + make_interval(secs => ?)
         where tenant_id = ? and order_id = ? and due_at = ?",
    );
    let later = later.bind(seconds).bind(task.tenant_id).bind(task.order_id).bind(task.due_at);
    tx.tx().execute(later.returning::<()>()).await.map(|_| ())
}
