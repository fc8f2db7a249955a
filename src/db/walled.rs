//! Reads that carry the wall with them: one statement that sets the tenant and reads its rows.
//!
//! PostgreSQL makes a transaction of every statement that stands alone, and what a statement sets for its transaction ends
//! with it. So a read needs no `BEGIN`, no `SET LOCAL` and no `COMMIT`, which cost the server and PostgreSQL as much as reading
//! one row does, and nothing can be left behind on a connection.
//!
//! The order is certain: the condition on the tenant names no row, so it is a one-time filter, which PostgreSQL evaluates
//! before it asks for the first row (`create_gating_plan` in its planner). The policies of the tables compare with a
//! subquery, which is evaluated when the first row is looked for. Were it ever otherwise, no tenant would be set, and no
//! row found.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AsQuery, AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types as st;
use diesel_async::AsyncPgConnection;
use diesel_async::methods::LoadQuery;
use uuid::Uuid;

/// A query that sees this tenant's rows wherever it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walled<Q> {
    tenant: Uuid,
    query: Q,
}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Walled<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("with tenant as materialized (select set_config('app.current_tenant_id', ");
        out.push_bind_param::<st::Uuid, _>(&self.tenant)?;
        out.push_sql("::text, true) as id) select rows.* from (");
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(") as rows where (select id from tenant) is not null");
        Ok(())
    }
}

impl<Q: Query> Query for Walled<Q> {
    type SqlType = Q::SqlType;
}

/// Diesel finds the prepared statement by the type, where the query's own type tells all of it.
impl<Q: QueryId> QueryId for Walled<Q> {
    type QueryId = Walled<Q::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = Q::HAS_STATIC_QUERY_ID;
}

/// A query for rows of `U`, to run in a transaction or walled.
pub(super) trait Loads<'a, U>: LoadQuery<'a, &'a AsyncPgConnection, U> {
    /// The same, walled.
    type Walled: LoadQuery<'a, &'a AsyncPgConnection, U> + Send + 'a;

    /// Sees this tenant's rows only.
    fn walled(self, tenant: Uuid) -> Self::Walled;
}

impl<'a, U, Q> Loads<'a, U> for Q
where
    Q: AsQuery + LoadQuery<'a, &'a AsyncPgConnection, U>,
    Walled<Q::Query>: LoadQuery<'a, &'a AsyncPgConnection, U> + Send + 'a,
{
    type Walled = Walled<Q::Query>;

    fn walled(self, tenant: Uuid) -> Self::Walled {
        Walled { tenant, query: self.as_query() }
    }
}
