//! Running stored operations: REST's only way to do anything.
//!
//! Each route has one GraphQL operation in `operations/`, which answers under the name `result`. It runs in-process, with
//! the same caller, guards, validation and errors as if the client had sent it.

use std::sync::Arc;

use async_graphql::Variables;
use async_graphql::parser::parse_query;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::envelope::{Failure, Meta, Page, UserError, accepted};
use super::extract::{NoParameters, parameters};
use crate::domain::actor::Caller;
use crate::domain::page::{DEFAULT_PAGE, MAX_OFFSET, MAX_PAGE};
use crate::error::{Error, FieldError};
use crate::graphql::{self, Document, Engine};
use crate::services::auth::Identified;

/// A GraphQL operation that a route runs.
pub struct Operation {
    /// Parsed once. None when it cannot be parsed; a test tries them all.
    document: Option<Arc<Document>>,
}

impl Operation {
    /// Parses an operation and the fragments that it uses.
    pub fn new(source: &'static str) -> Self {
        let hash = Sha256::digest(source).into();
        Self { document: parse_query(source).ok().map(|parsed| Arc::new(Document { hash, parsed })) }
    }

    /// The operation with these variables, an object.
    pub fn with(&self, variables: Value) -> Result<graphql::Operation, Error> {
        let broken = || Error::internal(anyhow::anyhow!("a stored operation that cannot be parsed"));
        let document = self.document.clone().ok_or_else(broken)?;
        Ok(graphql::Operation { document, name: None, variables: Variables::from_json(variables) })
    }
}

/// Defines operations from files in `operations/`, each followed by the fragments that it uses.
macro_rules! operations {
    ($($name:ident = $($file:literal)+;)+) => {
        $(
            static $name: std::sync::LazyLock<$crate::rest::run::Operation> = std::sync::LazyLock::new(|| {
                $crate::rest::run::Operation::new(concat!($(include_str!(concat!("operations/", $file, ".graphql"))),+))
            });
        )+

        #[cfg(test)]
        pub fn operations() -> Vec<&'static $crate::rest::run::Operation> {
            vec![$(&*$name),+]
        }
    };
}
pub(super) use operations;

/// A request whose caller is known and whose query string was read: `P` are the route's parameters.
pub struct Call<P = NoParameters> {
    engine: Arc<Engine>,
    caller: Caller,
    /// What the query string says.
    pub parameters: P,
}

impl<P: DeserializeOwned> FromRequestParts<Arc<Engine>> for Call<P> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, engine: &Arc<Engine>) -> Result<Self, Failure> {
        let Some(Identified(caller)) = parts.extensions.get().cloned() else {
            return Err(Error::internal(anyhow::anyhow!("nobody found out who asks")).into());
        };
        Ok(Self { engine: Arc::clone(engine), caller: caller?, parameters: parameters(&parts.uri)? })
    }
}

impl<P> Call<P> {
    /// Runs an operation and reads its result.
    pub async fn run<T: DeserializeOwned>(&self, operation: &Operation, variables: Value) -> Result<T, Failure> {
        #[derive(Deserialize)]
        struct Data<T> {
            result: T,
        }

        let answer = self.engine.execute(self.caller.clone(), operation.with(variables)?).await;
        if let Some(error) = answer.errors.into_iter().next() {
            return Err(error.into());
        }
        let Data { result } = answer.data.read()?;
        Ok(result)
    }

    /// Reads one object, of a kind that has a name.
    pub async fn find<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        kind: &'static str,
        id: Uuid,
    ) -> Result<T, Failure> {
        let found: Option<T> = self.run(operation, json!({ "id": id })).await?;
        found.ok_or_else(|| Error::not_found(kind).into())
    }

    /// Runs a mutation and takes the `object` out of its payload.
    pub async fn change<T: DeserializeOwned>(&self, operation: &Operation, variables: Value) -> Result<T, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload<T> {
            object: Option<T>,
            user_errors: Vec<UserError>,
        }

        let payload: Payload<T> = self.run(operation, variables).await?;
        accepted(payload.object, payload.user_errors)
    }

    /// Reads one page of a list.
    pub async fn list<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        paging: Paging,
        mut variables: Value,
    ) -> Result<Page<T>, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Connection<T> {
            nodes: Vec<T>,
            total_count: i64,
        }

        variables["first"] = paging.limit.into();
        variables["offset"] = paging.offset().into();
        let Connection { nodes, total_count: total } = self.run(operation, variables).await?;
        Ok(Page::of(nodes, Meta { page: paging.page, limit: paging.limit, total }))
    }
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    page: i64,
    limit: i64,
}

impl Paging {
    /// Checks the parameters `page` and `limit`.
    pub fn new(page: Option<i64>, limit: Option<i64>) -> Result<Self, Failure> {
        let paging = Self { page: page.unwrap_or(1), limit: limit.unwrap_or(DEFAULT_PAGE.into()) };
        let mut wrong = Vec::new();
        if !(1..=MAX_PAGE.into()).contains(&paging.limit) {
            wrong.push(FieldError::new("limit", format!("must be a whole number from 1 to {MAX_PAGE}")));
        }
        if paging.page < 1 {
            wrong.push(FieldError::new("page", "must be a whole number, at least 1"));
        } else if wrong.is_empty() && paging.offset() > MAX_OFFSET.into() {
            let last = i64::from(MAX_OFFSET) / paging.limit + 1;
            wrong.push(FieldError::new(
                "page",
                format!("must be at most {last} with this limit; narrow the list down instead"),
            ));
        }
        if wrong.is_empty() { Ok(paging) } else { Err(Failure::validation(wrong)) }
    }

    const fn offset(self) -> i64 {
        (self.page - 1).saturating_mul(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_from_one() {
        let paging = |page, limit| Paging::new(page, limit).map(|paging| (paging.page, paging.limit, paging.offset()));
        assert_eq!(paging(None, None), Ok((1, 20, 0)));
        assert_eq!(paging(Some(3), Some(100)), Ok((3, 100, 200)));
        assert_eq!(paging(Some(10_001), Some(100)), Ok((10_001, 100, 1_000_000)));
    }

    #[test]
    fn pages_out_of_range_are_refused_by_name() {
        let refused = |page, limit| {
            let fields = Paging::new(page, limit).unwrap_err().details.unwrap()["fields"].clone();
            let names = fields.as_array().unwrap().iter().filter_map(|field| field["field"].as_str());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(refused(Some(0), Some(0)), "limit page");
        assert_eq!(refused(Some(-1), None), "page");
        assert_eq!(refused(None, Some(101)), "limit");
        assert_eq!(refused(Some(10_002), Some(100)), "page");
        assert_eq!(refused(Some(i64::MAX), Some(100)), "page");
        assert_eq!(refused(Some(i64::MIN), Some(i64::MIN)), "limit page");
    }
}
