//! Tests from outside: each starts the real server on a database of its own, and talks HTTP.
//!
//! They need the services that `make test` starts (`mercato dev -- cargo nextest run`).

mod architecture;
mod catalog;
mod generated;
mod inventory;
mod order_status;
mod orders;
mod product_lists;
mod products;
mod race_orders;
mod roles;
mod support;
mod tenants;
mod users;
