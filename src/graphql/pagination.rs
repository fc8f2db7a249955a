//! Lists as the GraphQL Cursor Connections Specification shapes them, with numbered pages beside.

use std::borrow::Cow;

use async_graphql::{Context, Object, ObjectType, OutputType, SimpleObject, TypeName};
use futures_util::future::BoxFuture;

use crate::db::TenantTx;
use crate::domain::page::Page;
use crate::error::Result;
use crate::graphql::context::RequestExt;

/// Counts a list's rows, if somebody asks.
type Count = Box<dyn for<'a> Fn(&'a TenantTx) -> BoxFuture<'a, Result<i64>> + Send + Sync>;

/// One page of a list.
pub struct Connection<T> {
    edges: Vec<Edge<T>>,
    page_info: PageInfo,
    count: Count,
}

/// A row and its place in the list.
pub struct Edge<T> {
    cursor: String,
    node: T,
}

/// Where a page ends and whether there is more.
#[derive(SimpleObject, Clone, Debug)]
pub struct PageInfo {
    /// Whether rows follow.
    has_next_page: bool,
    /// Whether rows come before.
    has_previous_page: bool,
    /// The first row's cursor.
    start_cursor: Option<String>,
    /// The last row's cursor.
    end_cursor: Option<String>,
}

impl<T> Connection<T> {
    /// A page of rows, and how to count them all.
    pub fn new<R>(
        page: Page<R>,
        count: impl for<'a> Fn(&'a TenantTx) -> BoxFuture<'a, Result<i64>> + Send + Sync + 'static,
    ) -> Self
    where
        T: From<R>,
    {
        let page_info = PageInfo {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: page.rows.first().map(|(cursor, _)| cursor.clone()),
            end_cursor: page.rows.last().map(|(cursor, _)| cursor.clone()),
        };
        let edge = |(cursor, row)| Edge { cursor, node: T::from(row) };
        Self { edges: page.rows.into_iter().map(edge).collect(), page_info, count: Box::new(count) }
    }
}

/// One page of a list.
#[Object(name_type)]
impl<T: ObjectType> Connection<T> {
    /// The rows of this page with their cursors.
    async fn edges(&self) -> &[Edge<T>] {
        &self.edges
    }

    /// The rows of this page.
    async fn nodes(&self) -> Vec<&T> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// Where this page ends and whether there is more.
    async fn page_info(&self) -> &PageInfo {
        &self.page_info
    }

    /// How many rows the whole list has. Costs a query of its own, and only when it is asked for.
    async fn total_count(&self, ctx: &Context<'_>) -> async_graphql::Result<i32> {
        let tx = ctx.request().session.tx().await?;
        let count = (self.count)(&tx).await?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }
}

/// A row and its place in the list.
#[Object(name_type)]
impl<T: ObjectType> Edge<T> {
    /// The row's place: a cursor for `after` and `before`, good for this list with this sort and filter only.
    async fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The row.
    async fn node(&self) -> &T {
        &self.node
    }
}

impl<T: OutputType> TypeName for Connection<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", <T as OutputType>::type_name()).into()
    }
}

impl<T: OutputType> TypeName for Edge<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", <T as OutputType>::type_name()).into()
    }
}
