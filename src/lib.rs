pub mod db;
pub mod domain;
pub mod error;
pub mod graphql;
pub mod services;
pub mod telemetry;
