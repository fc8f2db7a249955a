//! Reads settings one after the other and remembers all that is wrong with them.

use std::fs;

use super::table::{About, Setting};
use super::{ConfigErrors, Lookup, Mode};

/// Reads settings and collects what is wrong.
pub(super) struct Reader<'a> {
    mode: Mode,
    lookup: &'a Lookup,
    problems: Vec<String>,
}

/// A value and the variable that it came from.
struct Found {
    variable: String,
    in_file: bool,
    text: String,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(mode: Mode, lookup: &'a Lookup) -> Self {
        Self { mode, lookup, problems: Vec::new() }
    }

    /// The value, or its default. Nothing means that the reason has been noted.
    pub(super) fn required<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        let About { name, what, .. } = setting.about;
        let value = self.value(setting).and_then(|value| value.ok_or_else(|| format!("{name} is not set: {what}")));
        value.map_err(|problem| self.problems.push(problem)).ok()
    }

    /// The value, or its default, or nothing: because it is not set, or for a reason that has been noted.
    pub(super) fn optional<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        let value = self.value(setting);
        value.map_err(|problem| self.problems.push(problem)).ok().flatten()
    }

    /// What `build` makes, unless something was wrong.
    pub(super) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigErrors> {
        match build() {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(ConfigErrors(self.problems)),
        }
    }

    fn value<T>(&self, setting: &Setting<T>) -> Result<Option<T>, String> {
        let about = &setting.about;
        let Some(found) = self.find(about)? else {
            let default = about.default.value(self.mode);
            return default.map(|text| (setting.parse)(&text)).transpose();
        };
        let verb = if found.in_file { "must hold" } else { "must be" };
        let shown = if about.secret { String::new() } else { format!(", not {:?}", found.text) };
        let wrong = |right| format!("{} {verb} {right}{shown}", found.variable);
        (setting.parse)(&found.text).map(Some).map_err(wrong)
    }

    fn find(&self, about: &About) -> Result<Option<Found>, String> {
        let name = about.name;
        let file_name = format!("{name}_FILE");
        let text = self.text(name);
        let path = if about.secret { self.text(&file_name) } else { None };
        match (text, path) {
            (Some(_), Some(_)) => Err(format!("{name} and {file_name} are both set: keep one")),
            (Some(text), None) => Ok(Some(Found { variable: name.to_owned(), in_file: false, text })),
            (None, Some(path)) => match fs::read_to_string(&path) {
                Ok(text) => Ok(Some(Found { variable: file_name, in_file: true, text: text.trim().to_owned() })),
                Err(error) => Err(format!("{file_name}: cannot read {path}: {error}")),
            },
            (None, None) => Ok(None),
        }
    }

    /// A variable's value; an empty one counts as not set.
    fn text(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}
