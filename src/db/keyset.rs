//! Pages of any list, by keyset: the one place that knows how a page is cut out of a sorted list.

use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;
use diesel::sql_types::{BigInt, Nullable};
use diesel::{Expression, Queryable, Selectable};
use uuid::Uuid;

use super::session::TenantTx;
use super::sql::{Bind, Select, Sql};
use super::walled::Loads;
use crate::domain::page::{KeyKind, ListId, Page, Position, SortKey, Window};
use crate::error::Result;

/// A list: where its rows come from, which of them, and in which order.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// What follows `from`.
    from: Sql,
    /// Conditions, each with its own ` and `.
    conditions: Sql,
    /// What the list is sorted by, and the id that decides between equals.
    key: &'static str,
    kind: KeyKind,
    id: &'static str,
    descending: bool,
    /// What is selected beside each row: the key itself where no column of the row holds it.
    extra: &'static str,
}

impl Listing {
    /// All rows of a table, sorted by `key` and then by `id`.
    pub(super) fn new(from: Sql, (key, kind): (&'static str, KeyKind), id: &'static str, descending: bool) -> Self {
        Self { from, conditions: Sql::default(), key, kind, id, descending, extra: "null::bigint" }
    }

    /// The key is a number that no column of the row holds, so it is selected beside the row.
    pub(super) fn with_computed_key(mut self) -> Self {
        self.extra = self.key;
        self
    }

    /// Only rows for which this holds.
    pub(super) fn only(mut self, condition: Sql) -> Self {
        self.conditions.push(" and ");
        self.conditions.append(condition);
        self
    }

    /// Only rows for which this holds, when there is a value to compare with.
    pub(super) fn only_if<T: Into<Bind>>(self, condition: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.only(Sql::new(condition).bind(value)),
            None => self,
        }
    }

    /// How many rows there are.
    pub(super) async fn count(&self, tx: &TenantTx) -> Result<i64> {
        let mut sql = Sql::new("select count(*) from ");
        sql.append(self.from.clone());
        sql.push(" where true");
        sql.append(self.conditions.clone());
        tx.tx().get(sql.returning::<BigInt>()).await
    }

    /// One page. `position` tells where a row stands, from the row and the computed key.
    pub(super) async fn page<R>(
        self,
        tx: &TenantTx,
        list: ListId,
        window: &Window,
        position: impl Fn(&R, Option<i64>) -> (SortKey, Uuid),
    ) -> Result<Page<R>>
    where
        R: Selectable<Pg> + Queryable<<R::SelectExpression as Expression>::SqlType, Pg> + Send + 'static,
        R::SelectExpression: QueryFragment<Pg> + Send + 'static,
        <R::SelectExpression as Expression>::SqlType: Send + 'static,
        for<'q> Select<R, Nullable<BigInt>>: Loads<'q, (R, Option<i64>)>,
    {
        window.check_key(self.kind)?;
        let query = self.page_sql(window).selecting::<R, Nullable<BigInt>>();
        let mut rows: Vec<(R, Option<i64>)> = tx.tx().load(query).await?;
        let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        if window.backward {
            rows.reverse();
        }
        let behind = window.bound.is_some() || window.offset > 0;
        let (has_next, has_previous) = if window.backward { (behind, more) } else { (more, behind) };
        let rows = rows
            .into_iter()
            .map(|(row, computed)| {
                let (key, id) = position(&row, computed);
                (list.cursor(&Position { key, id }), row)
            })
            .collect();
        Ok(Page { rows, has_next, has_previous })
    }

    /// Everything behind the column list. One row more than asked tells whether there are more.
    fn page_sql(self, window: &Window) -> Sql {
        let descending = self.descending != window.backward;
        let mut sql = Sql::new(&format!(", {} from ", self.extra));
        sql.append(self.from);
        sql.push(" where true");
        sql.append(self.conditions);
        if let Some(bound) = &window.bound {
            let beyond = if descending { '<' } else { '>' };
            let key: Bind = match bound.key.clone() {
                SortKey::Int(n) => n.into(),
                SortKey::Time(t) => t.into(),
                SortKey::Text(text) => text.into(),
                SortKey::Id(id) => id.into(),
            };
            let behind = format!(" and ({}, {}) {beyond} (?, ?)", self.key, self.id);
            sql.append(Sql::new(&behind).bind(key).bind(bound.id));
        }
        let order = if descending { "desc" } else { "asc" };
        let order = format!(" order by {} {order}, {} {order} limit ?", self.key, self.id);
        sql.append(Sql::new(&order).bind(window.limit + 1));
        if window.offset > 0 {
            sql.append(Sql::new(" offset ?").bind(window.offset));
        }
        sql
    }
}
