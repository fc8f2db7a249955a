//! The audit log: written by triggers only, read here.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use uuid::Uuid;

use super::keyset::Listing;
use super::schema::audit_logs;
use super::session::TenantTx;
use super::sql::Sql;
use crate::domain::audit::AuditAction;
use crate::domain::page::{KeyKind, ListId, Page, SortKey, Window};
use crate::error::Result;

/// One change of one row.
#[derive(Clone, Debug, Queryable, Selectable)]
#[diesel(table_name = audit_logs, check_for_backend(Pg))]
pub struct AuditLogRow {
    /// The entry's id.
    pub id: Uuid,
    /// Who did it; none when nobody was logged in or a job did.
    pub user_id: Option<Uuid>,
    /// What was done.
    pub action: AuditAction,
    /// The table.
    pub resource: String,
    /// The row.
    pub resource_id: Uuid,
    /// The row before and after, without secrets and personal data.
    pub changes: serde_json::Value,
    /// The correlation id of the request that did it.
    pub request_id: Option<String>,
    /// When.
    pub timestamp: DateTime<Utc>,
}

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Only changes in this table.
    pub resource: Option<String>,
    /// Only changes of this row.
    pub resource_id: Option<Uuid>,
    /// Only changes by this user.
    pub user_id: Option<Uuid>,
}

impl AuditFilter {
    fn listing(&self) -> Listing {
        Listing::new(Sql::new("audit_logs"), ("audit_logs.\"timestamp\"", KeyKind::Time), "audit_logs.id", true)
            .only_if("audit_logs.resource = ?", self.resource.clone())
            .only_if("audit_logs.resource_id = ?", self.resource_id)
            .only_if("audit_logs.user_id = ?", self.user_id)
    }

    /// One page of the log, newest first.
    pub async fn page(&self, tx: &TenantTx, window: &Window) -> Result<Page<AuditLogRow>> {
        let position = |row: &AuditLogRow, _| (SortKey::Time(row.timestamp), row.id);
        self.listing().page(tx, ListId::of(self), window, position).await
    }

    /// How many entries there are.
    pub async fn count(&self, tx: &TenantTx) -> Result<i64> {
        self.listing().count(tx).await
    }
}

/// One entry.
pub async fn find(tx: &TenantTx, id: Uuid) -> Result<Option<AuditLogRow>> {
    tx.tx().find(audit_logs::table.filter(audit_logs::id.eq(id)).select(AuditLogRow::as_select())).await
}
