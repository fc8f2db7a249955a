//! How many files the process may have open. Connections are files, too.

use mercato::config::ServerSettings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open beside the connections of clients and to PostgreSQL: those to Redis and Stripe, and what the runtime needs.
const SPARE: u64 = 64;

/// Lets the process have as many files open as it can be allowed to, and returns how many; none when there is no limit.
///
/// What a process starts with is often 1,024, for the sake of programs that know no more.
pub fn raise() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where even that is forbidden, the limit stays what it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current
}

/// Raises the limit, and makes sure that every connection which the settings allow can be open. Otherwise accepting,
/// PostgreSQL and Redis would fail together, just when most is asked of them.
///
/// # Errors
///
/// When there can be more connections than open files.
pub fn suffice(settings: &ServerSettings) -> anyhow::Result<()> {
    let (clients, pool) = (settings.max_connections, settings.database_pool_size);
    let needed = u64::try_from(clients)?.saturating_add(u64::from(pool) + SPARE);
    match raise() {
        Some(limit) if limit < needed => anyhow::bail!(
            "MAX_CONNECTIONS={clients} needs {needed} open files, with the {pool} of DATABASE_POOL_SIZE and {SPARE} spare \
             ones, but this process may open {limit} at most: raise that limit (ulimit -n, or LimitNOFILE of systemd), or \
             lower MAX_CONNECTIONS"
        ),
        _ => Ok(()),
    }
}
