//! Hashing and checking passwords with argon2id, off the async threads.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::{Error, Result};

/// How long a password waits for its turn before its request is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hashes and checks passwords.
///
/// Parameters are the crate's defaults, which are OWASP's first choice for argon2id: 19 MiB, two passes, one lane
/// (Password Storage Cheat Sheet). One hash keeps a core busy for about 20 ms, so they run on blocking threads, and
/// only so many at once: a flood of logins then waits for itself and not the shop for it.
#[derive(Clone, Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
}

/// Checked when there is no such account, so that the answer takes as long: random bytes, of the parameters that hashes have.
/// To make one at the start would take its time, and 19 MiB of memory.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$55J4T0J0zAn8Z6Glaf/qyg$mZU0rvBYt1RsbzseQCz3mDOE5+ArEKK3GBTGf4o1/6g";

impl Passwords {
    /// Allows that many hashes to be computed at once.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { running: Arc::new(Semaphore::new(at_once)) }
    }

    /// The password's hash in PHC string format, with a new salt.
    pub async fn hash(&self, password: String) -> Result<String> {
        self.run(move || hash(password.as_bytes())).await
    }

    /// Whether this is the password of that hash. Without a hash the answer is no, after the same work.
    pub async fn verify(&self, password: String, expected: Option<String>) -> Result<bool> {
        self.run(move || {
            let known = expected.is_some();
            let parsed = PasswordHash::new(expected.as_deref().unwrap_or(NOBODY)).map_err(broken)?;
            let matches = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(known && matches)
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let busy = |_| Error::Unavailable(anyhow::anyhow!("too many passwords wait to be hashed"));
        let permit = timeout(PATIENCE, Arc::clone(&self.running).acquire_owned()).await.map_err(busy)?;
        let permit = permit.map_err(Error::internal)?;
        let work = move || {
            let _running = permit;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
    }
}

fn hash(password: &[u8]) -> Result<String> {
    Ok(Argon2::default().hash_password(password).map_err(broken)?.to_string())
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(anyhow::anyhow!("password hashing: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_matches() -> Result<()> {
        let passwords = Passwords::new(1);
        let hash = passwords.hash("correct horse battery".into()).await?;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(NOBODY[..31], hash[..31], "the same work");
        assert_eq!(NOBODY.len(), hash.len());
        assert!(passwords.verify("correct horse battery".into(), Some(hash.clone())).await?);
        assert!(!passwords.verify("Correct horse battery".into(), Some(hash)).await?);
        assert!(!passwords.verify("correct horse battery".into(), None).await?);
        Ok(())
    }
}
