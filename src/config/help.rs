//! The texts that say what can be set.

use std::fmt::Write;

use super::Mode;
use super::table::{About, Default, TABLE};

/// How long a line may be.
const WIDTH: usize = 100;

/// What `mercato serve --help` says about settings.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Settings are environment variables, or lines of the file .env in the working directory.\n\
         An empty value counts as not set. Instead of a secret (*), NAME_FILE can name a file that holds it.\n\n",
    );
    let left = |about: &About| {
        let mark = if about.secret { " (*)" } else { "" };
        format!("{}={}{mark}", about.name, about.value)
    };
    let column = TABLE.iter().map(|about| left(about).len()).max().unwrap_or_default();
    for about in TABLE {
        let mut left = left(about);
        for line in wrap(described(about), WIDTH - column - 4) {
            text.push_str(format!("  {left:column$}  {line}").trim_end());
            text.push('\n');
            left.clear();
        }
    }
    text
}

/// What the file `.env.example` is.
#[must_use]
pub fn env_example() -> String {
    let mut text = String::from(
        "# Copy this file to .env, and uncomment what you set. `make run` needs none of it.\n\
         # An empty value counts as not set. Instead of a secret, NAME_FILE can name a file that holds it.\n\
         #\n\
         # Written by `make generated` from src/config/table.rs.\n",
    );
    for about in TABLE {
        text.push('\n');
        for line in wrap(described(about), WIDTH - 2) {
            let _ = writeln!(text, "# {line}");
        }
        let default = about.default.value(Mode::Serve).unwrap_or_default();
        let value = if about.example.is_empty() { &default } else { about.example };
        let _ = writeln!(text, "#{}={value}", about.name);
        if about.secret {
            let _ = writeln!(text, "#{}_FILE=/run/secrets/{}", about.name, about.name.to_lowercase());
        }
    }
    text
}

/// What a setting is for, word by word, and what happens without it, which is not broken into lines.
fn described(about: &About) -> Vec<String> {
    let note = match about.default {
        Default::Nothing if about.needed_by.is_empty() => "optional".to_owned(),
        Default::Nothing => format!("needed by {}", about.needed_by),
        Default::Value(value) => format!("default: {value}"),
        Default::PerMode { serve, dev } => format!("default: {serve}; {dev} in dev"),
        Default::Cores => "default: one per core".to_owned(),
    };
    about.what.split(' ').map(str::to_owned).chain([format!("[{note}]")]).collect()
}

/// Puts words into lines of at most `width` bytes, unless one is longer itself.
fn wrap(words: Vec<String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}
