//! `mercato keys`: making keys, and replacing the one that signs without logging anybody out.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Subcommand, ValueEnum};
use mercato::domain::sources::{Sources, SystemSources};
use mercato::services::{tokens, vault};

use super::tools::print;

#[derive(Subcommand)]
pub enum Keys {
    /// Print a new key
    Generate {
        /// What for: `JWT_PRIVATE_KEY` (an RSA key in PEM) or `DATA_ENCRYPTION_KEY` (32 bytes in base64)
        #[arg(long, value_enum, default_value_t = Kind::Signing)]
        kind: Kind,
    },
    /// Replace the signing key in a file of `JWT_PRIVATE_KEY_FILE`, in three steps; docs/keys.md has the drill
    Rotate {
        /// The file
        file: PathBuf,
        /// The step to take
        #[arg(long, value_enum)]
        stage: Stage,
    },
}

/// What a key is for.
#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    /// Signing access tokens
    Signing,
    /// Sealing secrets in the database
    Data,
}

/// The steps of replacing a key. Between them, every replica must have read the file.
#[derive(Clone, Copy, ValueEnum)]
pub enum Stage {
    /// Add a new key, which does not sign yet
    Publish,
    /// Sign with the new key; tokens of the old one stay good
    Sign,
    /// Forget the old key
    Retire,
}

impl Keys {
    /// Does it, and says what comes next.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Generate { kind: Kind::Signing } => print(&tokens::generate_private_key()?),
            Self::Generate { kind: Kind::Data } => print(&format!("{}\n", vault::encode_key(SystemSources.secret()?))),
            Self::Rotate { file, stage } => rotate(file, *stage),
        }
    }
}

fn rotate(file: &Path, stage: Stage) -> anyhow::Result<ExitCode> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut keys = pem::parse_many(&text).with_context(|| format!("{} holds no keys in PEM", file.display()))?;
    // Two keys look alike, so the file says which of the steps between the first and the last it is at.
    let is_signing = text.lines().any(|line| line == SIGNING);
    let next = match stage {
        Stage::Publish => {
            ensure!(
                keys.len() == 1,
                "there must be one key, and there are {}: end the last rotation first",
                keys.len()
            );
            keys.push(pem::parse(tokens::generate_private_key()?)?);
            "The new key is there and does not sign yet. Restart every replica, wait ten minutes until those who cache \
             /.well-known/jwks.json have seen it, and go on with --stage sign."
        }
        Stage::Sign => {
            ensure!(
                keys.len() == 2,
                "there must be two keys, and there are {}: begin with --stage publish",
                keys.len()
            );
            ensure!(!is_signing, "the new key signs already: go on with --stage retire");
            keys.rotate_right(1);
            "The new key signs. Restart every replica, wait an hour until all tokens of the old one have ended, and go on \
             with --stage retire."
        }
        Stage::Retire => {
            ensure!(
                keys.len() == 2,
                "there must be two keys, and there are {}: begin with --stage publish",
                keys.len()
            );
            ensure!(is_signing, "the new key does not sign yet: go on with --stage sign");
            keys.truncate(1);
            "The old key is forgotten. Restart every replica."
        }
    };
    let line_ends = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let keys = pem::encode_many_config(&keys, line_ends);
    replace(file, &if matches!(stage, Stage::Sign) { format!("{SIGNING}\n{keys}") } else { keys })?;
    println!("{next}");
    Ok(ExitCode::SUCCESS)
}

/// A line in front of the keys (RFC 7468, section 2, has readers pass by it), once the new one signs.
const SIGNING: &str = "# The first key signs, and is the new one.";

/// Replaces the file in one step, so that whoever reads it sees the keys of before or those of after. Who may read it stays
/// the same.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(&new);
    let opened = opened.with_context(|| format!("cannot write {}", new.display()))?;
    let replaced = fill(opened, text, &fs::metadata(file)?).and_then(|()| Ok(fs::rename(&new, file)?));
    if replaced.is_err() {
        // Otherwise it would be in the way of the next attempt.
        fs::remove_file(&new)?;
    }
    replaced.with_context(|| format!("cannot replace {}", file.display()))
}

/// Writes a new file for those who may read the old one.
fn fill(mut new: fs::File, text: &str, old: &fs::Metadata) -> anyhow::Result<()> {
    new.write_all(text.as_bytes())?;
    let own = new.metadata()?;
    if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
        fchown(&new, Some(old.uid()), Some(old.gid())).context("it belongs to somebody else; do this as its owner")?;
    }
    new.set_permissions(old.permissions())?;
    Ok(new.sync_all()?)
}
