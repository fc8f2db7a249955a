//! Finds the server programs that are installed, or says what to install.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The oldest PostgreSQL that Mercato runs on.
const OLDEST_MAJOR: u32 = 15;

const INSTALL: &str = concat!(
    "  Debian, Ubuntu:  sudo apt-get install postgresql redis-server\n",
    "  macOS:           brew install postgresql@17 redis\n",
    "or let `make setup` do it.",
);

/// Where packages put PostgreSQL: a directory, and how the name of each version's directory there begins, before the
/// number. The programs are in `bin` in that.
const POSTGRES_HOMES: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
    ("/usr", "pgsql-"),
];

/// Where to look for Redis after the PATH, which may leave out what only administrators are thought to need.
const REDIS_HOMES: [&str; 8] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/redis/bin",
    "/opt/homebrew/opt/valkey/bin",
    "/usr/local/opt/redis/bin",
    "/usr/local/opt/valkey/bin",
];

/// An installed PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postgres {
    /// The directory with `initdb` and `postgres`.
    bin: PathBuf,
    /// Its major version, such as 17.
    major: u32,
}

impl Postgres {
    /// The program that makes a data directory.
    pub(super) fn initdb(&self) -> PathBuf {
        self.bin.join("initdb")
    }

    /// The server.
    pub(super) fn postgres(&self) -> PathBuf {
        self.bin.join("postgres")
    }

    /// The server in `bin`, if there is one that runs.
    fn probe(bin: &Path) -> Option<Self> {
        if !is_program(&bin.join("initdb")) || !is_program(&bin.join("postgres")) {
            return None;
        }
        let output = Command::new(bin.join("postgres")).arg("--version").stdin(Stdio::null()).output().ok()?;
        Some(Self { bin: bin.to_owned(), major: parse_major(&String::from_utf8_lossy(&output.stdout))? })
    }
}

/// Finds a PostgreSQL server: of major version `wanted`, which existing data demands, or else the first that is new
/// enough, on the PATH before the places where packages put it.
///
/// # Errors
/// When there is none; the text says what to install.
pub(super) fn postgres(wanted: Option<u32>) -> anyhow::Result<Postgres> {
    let candidates = path().chain(
        POSTGRES_HOMES
            .iter()
            .flat_map(|(parent, prefix)| versions(Path::new(parent), prefix).into_iter().map(|dir| dir.join("bin"))),
    );
    choose(wanted, candidates)
}

fn choose(wanted: Option<u32>, candidates: impl Iterator<Item = PathBuf>) -> anyhow::Result<Postgres> {
    let mut others = Vec::new();
    for found in candidates.filter_map(|bin| Postgres::probe(&bin)) {
        if wanted.map_or(found.major >= OLDEST_MAJOR, |wanted| found.major == wanted) {
            return Ok(found);
        }
        others.push(format!("{} in {}", found.major, found.bin.display()));
    }
    let others = if others.is_empty() { String::new() } else { format!(" (found: {})", others.join(", ")) };
    match wanted {
        Some(wanted) => anyhow::bail!(
            "the data is of PostgreSQL {wanted}, which is no longer installed{others}: install it again, or start \
             with empty data: mercato dev --fresh"
        ),
        None => anyhow::bail!(
            "no PostgreSQL server of version {OLDEST_MAJOR} or newer is installed{others}. To install one:\n{INSTALL}\n\
             Older systems find newer versions at https://www.postgresql.org/download/"
        ),
    }
}

/// Finds `redis-server`, or Valkey's equivalent.
///
/// # Errors
/// When there is neither; the text says what to install.
pub(super) fn redis() -> anyhow::Result<PathBuf> {
    path()
        .chain(REDIS_HOMES.iter().map(PathBuf::from))
        .flat_map(|dir| [dir.join("redis-server"), dir.join("valkey-server")])
        .find(|program| is_program(program))
        .ok_or_else(|| {
            anyhow::anyhow!("neither redis-server nor valkey-server is installed. To install one:\n{INSTALL}")
        })
}

/// The first program called `name` on the PATH.
pub(super) fn in_path(name: &str) -> Option<PathBuf> {
    path().map(|dir| dir.join(name)).find(|program| is_program(program))
}

/// The directories of the PATH. This is the one setting read outside `config`: it says how this machine finds
/// programs, not how Mercato behaves.
fn path() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // A relative entry would mean something else after changing directories.
    env::split_paths(&path).filter(|dir| dir.is_absolute()).collect::<Vec<_>>().into_iter()
}

fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// The directories in `parent` named `prefix` and a number, the highest first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path()))
        })
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The major version in what `postgres --version` prints: `postgres (PostgreSQL) 17.2 (Debian 17.2-1)`, also `18rc1`.
fn parse_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory of programs that say they are PostgreSQL `version`.
    fn fake(parent: &Path, version: &str) -> PathBuf {
        let bin = parent.join(version);
        fs::create_dir(&bin).unwrap();
        for name in ["initdb", "postgres"] {
            let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
            fs::write(bin.join(name), script).unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        bin
    }

    #[test]
    fn versions_are_parsed() {
        let debian = "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n";
        assert_eq!(parse_major(debian), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18rc1\n"), Some(18));
        assert_eq!(parse_major("not a server"), None);
    }

    #[test]
    fn newest_version_first_by_number() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["pgsql-9", "pgsql-17", "pgsql-16", "pgsql-devel", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let names: Vec<_> =
            versions(dir.path(), "pgsql-").iter().map(|dir| dir.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["pgsql-17", "pgsql-16", "pgsql-9"]);
        assert!(versions(&dir.path().join("missing"), "").is_empty());
    }

    #[test]
    fn existing_data_decides_the_version() {
        let dir = tempfile::tempdir().unwrap();
        let bins = ["14.9", "17.2", "16.1"].map(|version| fake(dir.path(), version));
        let choose = |wanted| choose(wanted, bins.iter().cloned());
        assert_eq!(choose(None).unwrap().major, 17);
        assert_eq!(choose(Some(16)).unwrap().major, 16);
        let error = choose(Some(15)).unwrap_err().to_string();
        assert!(error.contains("PostgreSQL 15") && error.contains("--fresh"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let old = fake(dir.path(), "14.9");
        let error = choose(None, [old].into_iter()).unwrap_err().to_string();
        for part in ["14 in", "apt-get install", "brew install", "make setup"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
