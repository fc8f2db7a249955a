//! The audit log.

use async_graphql::{Context, Enum, InputObject, Object};
use chrono::{DateTime, Utc};
use futures_util::FutureExt;

use crate::db::audit::{AuditFilter, AuditLogRow};
use crate::domain::audit as domain;
use crate::domain::page::{ListId, PageArgs};
use crate::domain::validation::check_text;
use crate::graphql::context::RequestExt;
use crate::graphql::guards::Access;
use crate::graphql::pagination::Connection;
use crate::graphql::scalars::Id;

/// What was done to an object.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::AuditAction")]
pub enum AuditAction {
    /// It was made.
    Create,
    /// It was changed.
    Update,
    /// It was taken away.
    Delete,
}

/// One change of one object, written by the database itself.
pub struct AuditLog(pub AuditLogRow);

impl From<AuditLogRow> for AuditLog {
    fn from(row: AuditLogRow) -> Self {
        Self(row)
    }
}

/// One change of one object, written by the database itself.
#[Object]
impl AuditLog {
    /// The entry's id.
    pub async fn id(&self) -> Id {
        Id(self.0.id)
    }

    /// Who did it; null when nobody was logged in or a job did.
    async fn user_id(&self) -> Option<Id> {
        self.0.user_id.map(Id)
    }

    /// What was done to the object.
    async fn action(&self) -> AuditAction {
        self.0.action.into()
    }

    /// The kind of object: the name of its table.
    async fn resource(&self) -> &str {
        &self.0.resource
    }

    /// The object's id.
    async fn resource_id(&self) -> Id {
        Id(self.0.resource_id)
    }

    /// The object `before` and `after`, without secrets and personal data.
    async fn changes(&self) -> &serde_json::Value {
        &self.0.changes
    }

    /// The id of the request that did it (`X-Request-Id`).
    async fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// When.
    async fn timestamp(&self) -> DateTime<Utc> {
        self.0.timestamp
    }
}

/// Which entries to list. Conditions add up.
#[derive(InputObject, Clone, Debug, Default)]
pub struct AuditLogFilter {
    /// Only changes of this kind of object: the name of its table, like "orders".
    resource: Option<String>,
    /// Only changes of this object.
    resource_id: Option<Id>,
    /// Only changes by this user.
    user_id: Option<Id>,
}

/// Reads of the audit log.
#[derive(Default)]
pub struct AuditQuery;

#[Object]
impl AuditQuery {
    /// What was changed in the shop, newest first. Requires ADMIN.
    #[graphql(guard = "Access::Admin")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a connection")]
    async fn audit_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first so many, at most 100; 20 if nothing is said.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many, at most 100.")] last: Option<i32>,
        #[graphql(desc = "Before this cursor.")] before: Option<String>,
        #[graphql(desc = "Skip so many, for numbered pages.")] offset: Option<i32>,
        #[graphql(desc = "Which entries.")] filter: Option<AuditLogFilter>,
    ) -> async_graphql::Result<Connection<AuditLog>> {
        let filter = filter.unwrap_or_default();
        let list = AuditFilter {
            resource: filter.resource.map(|name| check_text::<1, 63>("resource", name)).transpose()?,
            resource_id: filter.resource_id.map(|id| id.0),
            user_id: filter.user_id.map(|id| id.0),
        };
        let window = PageArgs { first, after, last, before, offset }.window(ListId::of(&list))?;
        let request = ctx.request();
        let page = list.page(&*request.session.tx().await?, &window).await?;
        request.count_text(page.rows.iter().map(|(_, entry)| entry.changes.to_string().len()).sum())?;
        Ok(Connection::new(page, move |tx| {
            let list = list.clone();
            async move { list.count(tx).await }.boxed()
        }))
    }
}
