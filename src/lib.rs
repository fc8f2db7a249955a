//! Mercato: a multi-tenant e-commerce backend. Many shops share one server and one PostgreSQL, each walled off
//! by the database itself; GraphQL first, with REST as a thin adapter over the same resolvers.
//!
//! # The map
//!
//! | module | what lives there |
//! |---|---|
//! | [`app`] | [`app::App`]: everything that a request needs, built once |
//! | [`http`] | the routers put together: authentication, request id, metrics, GraphiQL, health |
//! | [`rest`] | `/api/v1`: the envelope and one thin file a noun, each route a stored GraphQL operation |
//! | [`graphql`] | the schema: context, guards, scalars, pagination, errors, one file a noun |
//! | [`services`] | use cases: each write is one function, one transaction, one commit |
//! | [`jobs`] | background work: settling payments, letting unpaid orders go, sweeping |
//! | [`db`] | the only place where SQL exists: sessions, and one repository file a noun |
//! | [`clients`] | the outside world: Redis, Stripe |
//! | [`domain`] | pure rules and value types, property-tested |
//! | [`config`], [`error`] | typed settings; one error, one code registry, one result |
//! | [`telemetry`] | logs and metrics |
//! | [`dev`] | private PostgreSQL and Redis, the demo shop, the payment simulator |
//!
//! The same noun has the same file name in every layer: `git ls-files '*orders*'` is the feature.
//!
//! # Import rules
//!
//! Imports point down only, which `tests/api/architecture.rs` checks:
//!
//! ```text
//! main, app -> http -> rest -> graphql -> services -> db, clients -> domain;   jobs -> services;   error, config: below all
//! ```

pub mod app;
pub mod clients;
pub mod config;
pub mod db;
pub mod dev;
pub mod domain;
pub mod error;
pub mod graphql;
pub mod http;
pub mod jobs;
pub mod rest;
pub mod services;
pub mod telemetry;
