//! What `mercato dev` and `mercato seed` add to the server: private PostgreSQL and Redis, a demo shop, made-up catalogs,
//! simulated payments.

pub mod demo;
pub mod seed;
pub mod services;
pub mod stripe;
