//! The outside world, PostgreSQL excepted.

pub mod redis;
pub mod stripe;
