//! Time, identifiers and randomness, injected so that tests can hold them still.
//!
//! Everything else in the crate is forbidden to ask the system for these (see `clippy.toml`).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::{Error, Result};

/// Where the program gets what it cannot compute.
pub trait Sources: Send + Sync {
    /// The present moment.
    fn now(&self) -> DateTime<Utc>;
    /// A new version 7 UUID (RFC 9562), so that ids sort by time of creation.
    fn id(&self) -> Uuid;
    /// 256 bits that nobody can guess.
    fn secret(&self) -> Result<[u8; 32]>;
}

/// The sources as the program shares them.
pub type SharedSources = Arc<dyn Sources>;

/// The real ones: the system's clock and its random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSources;

#[expect(clippy::disallowed_methods, reason = "the one place where the system is asked")]
impl Sources for SystemSources {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn id(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn secret(&self) -> Result<[u8; 32]> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| Error::internal(anyhow::anyhow!("the system has no random numbers")))?;
        Ok(bytes)
    }
}
