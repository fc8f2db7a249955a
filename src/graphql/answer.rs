//! What an operation answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_graphql::{Response, ServerError, Value};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

/// The response to an operation, as the GraphQL specification has it.
#[derive(Debug, Default, Serialize)]
pub struct Answer {
    /// What was asked for; null when nothing could be answered.
    pub data: Data,
    /// What goes beyond the specification.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, Value>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ServerError>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Data {
    /// Made for this request.
    Made(Value),
    /// Written down for an earlier one.
    Kept(Arc<RawValue>),
}

impl Default for Data {
    fn default() -> Self {
        Self::Made(Value::Null)
    }
}

impl Data {
    /// Whether there is none.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Made(Value::Null))
    }

    /// Reads it as a type of its shape.
    ///
    /// # Errors
    ///
    /// When it is of another shape.
    pub fn read<T: DeserializeOwned>(self) -> Result<T> {
        let read = match self {
            Self::Made(value) => async_graphql::from_value(value).map_err(anyhow::Error::new),
            Self::Kept(json) => serde_json::from_str(json.get()).map_err(anyhow::Error::new),
        };
        read.map_err(|error| Error::internal(error.context("a result of another shape")))
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Made(value) => value.serialize(serializer),
            Self::Kept(json) => json.serialize(serializer),
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self { data: Data::Made(response.data), extensions: response.extensions, errors: response.errors }
    }
}
