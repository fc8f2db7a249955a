//! Tests from outside: each starts the real server on a database of its own, and talks HTTP.
//!
//! They need the services that `make test` starts (`mercato dev -- cargo nextest run`).

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "tests read the environment and make ids as they like")]

mod architecture;
mod audit_log;
mod auth;
mod bad_bodies;
mod bad_input;
mod bombs;
mod canaries;
mod catalog_cache;
mod crash;
mod descriptions;
mod dev;
mod faults;
mod forged_tokens;
mod generated;
mod graphiql;
mod http_limits;
mod http_protocol;
mod idempotency;
mod inventory;
mod isolation;
mod keys;
mod limits;
mod mfa;
mod migrations;
mod misuse;
mod money;
mod null_bubbling;
mod one_connection;
mod order_status;
mod orders;
mod pages;
mod payments;
mod product_lists;
mod products;
mod query_counts;
mod race_orders;
mod race_payments;
mod readme;
mod rest;
mod roles;
mod row_security;
mod schema_rules;
mod service_accounts;
mod sessions;
mod slow_clients;
mod startup;
mod stripe_webhooks;
mod support;
mod tenants;
mod throttles;
mod users;
mod wrong_tokens;
